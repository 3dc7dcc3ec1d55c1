/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.h - the command line of cbd-backend.
 *
 * Owns its syntax and the ranges of its numbers.  Whether a value fits this
 * transport or this disk is found out by those who use it.
 */
#ifndef CBD_BACKEND_OPTIONS_H
#define CBD_BACKEND_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <cbd.h>

struct options {
	const char *transport;
	const char *disk;
	unsigned id;
	int host_id;	  /* -1: found by identity */
	const char *name; /* or NULL */
	unsigned handlers;
	const char *engine; /* "auto", "psync", "uring", "mmap" */
	bool direct;
	bool read_only;
	bool write_through;
	unsigned max_blkdevs;
	uint64_t allow_hosts; /* bit h; 0: all */
	enum cbd_poll poll;
	bool takeover;
	bool replace;
	const char *fence; /* command, or NULL */
	bool fence_alive;  /* run it also while the owner beats */
	bool fenced;
	const char *user; /* or NULL */
	bool foreground;
	const char *pidfile; /* or NULL */
	bool verbose;
};

/* Fill *o from the command line.  Does not return for --help and --version
 * (exit 0) and for mistakes (a message, exit 2).  Strings point into argv. */
void options_parse(struct options *o, int argc, char **argv);

#endif
