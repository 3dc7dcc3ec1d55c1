/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.h - the command line of cbd-ublk.
 *
 * Owns its syntax and the ranges of its numbers.  Whether a value fits a transport or
 * the driver is found out by those who use it.
 */
#ifndef CBD_UBLK_OPTIONS_H
#define CBD_UBLK_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <cbd.h>

#define EXIT_USAGE 2

enum command { COMMAND_ADD, COMMAND_RECOVER, COMMAND_DEL, COMMAND_LIST, COMMANDS };

struct options {
	enum command command;
	const char *name; /* operand, or --name; NULL: none */

	const char *transport;
	const char *backend;
	unsigned queues, depth;
	int number;  /* of /dev/ublkbN; -1: the driver chooses */
	int host_id; /* -1: found by identity */
	enum cbd_poll poll;
	unsigned timeout_s, wait_s;
	bool read_only, unprivileged;
	bool recover;
	bool force;
	const char *udev; /* a node, or NULL */
	bool foreground, verbose;
};

/* Fill *o from the command line.  Does not return for --help and --version (exit 0) and for
 * mistakes (a message, exit 2).  Strings point into argv. */
void options_parse(struct options *o, int argc, char **argv);

#endif
