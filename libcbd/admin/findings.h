/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * findings.h - what a check finds: of which line, and what; collected, told.
 * What is wrong with a line is for check-lines.c, what may be written for
 * check-repair.c.
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

/* One line: which, of which slot, which of several. */
struct spot {
	enum spot_type type;
	unsigned slot, index;
	void *line;
};

struct finding {
	struct spot at;
	const char *what; /* a literal: compared as a pointer */
	uint32_t stamp;	  /* of the bytes that it was found in */
	bool damaged;	  /* the line itself, so that rewriting it helps */
	bool note;	  /* told, and sound */
	bool if_alive;	  /* only damage while the owners of these live */
	int backend, blkdev;
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

void cbd_check_add(struct check *c, struct finding f);
void cbd_check_tell(struct check *c, const struct finding *f, enum cbd_verdict verdict);

/* Has anybody the slot, or may somebody have it? */
bool cbd_check_has_host(const struct check *c, unsigned host);

#endif
