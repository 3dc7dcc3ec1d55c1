/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * findings.h - what a check finds, and of which line; kept in a list, and told to
 * the caller.  check-lines.c finds, check.c judges, check-repair.c repairs.
 *
 * "Rule N" is rule N of docs/protocol.md, in all files of this folder.
 */
#ifndef CBD_FINDINGS_H
#define CBD_FINDINGS_H

#include "cbd.h"

enum spot_type {
	HOST_CLAIM,
	HOST_STATE,
	HOST_BEAT,
	HOST_NAME,
	HOST_REQUEST,
	BACKEND_CLAIM,
	BACKEND_STATE,
	BACKEND_BEAT,
	BACKEND_GEOMETRY,
	BACKEND_IDENTITY,
	BACKEND_ACCESS,
	BACKEND_NAME,
	BACKEND_PATH,
	BACKEND_REPLY,
	BACKEND_GRANT,
	BACKEND_LEAVE,
	BLKDEV_CLAIM,
	BLKDEV_STATE,
	BLKDEV_BEAT,
	BLKDEV_REQUEST,
	BLKDEV_DOORBELL,
};

/* A line: its type, its slot, and which of several of that type. */
struct spot {
	enum spot_type type;
	unsigned slot, index;
	void *line;
};

struct finding {
	struct spot at;
	const char *what;    /* a literal: compared as a pointer */
	uint32_t stamp;	     /* CRC of the bytes in which it was found */
	bool damaged;	     /* the line itself is, so that storing another repairs it */
	bool note;	     /* nothing is wrong, but people should know */
	bool if_alive;	     /* damage only while the owners of both slots live */
	int backend, blkdev; /* these slots; -1: none */
};

struct findings {
	struct finding *list;
	size_t count, room;
	bool failed; /* no memory */
};

struct check {
	struct cbd_transport *t;
	const struct cbd_header *h;
	bool repair;
	cbd_check_fn *fn;
	void *opaque;
	struct findings now;
	unsigned left; /* problems that stay */
};

/* Add to c->now. */
void cbd_check_add(struct check *c, struct finding f);

/* Tell the caller, and count what stays. */
void cbd_check_tell(struct check *c, const struct finding *f, enum cbd_verdict verdict);

/* Does host slot HOST have a host, or a damaged claim that may be one? */
bool cbd_check_has_host(const struct check *c, unsigned host);

#endif
