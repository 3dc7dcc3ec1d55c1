/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * checks.h - the check of a transport, as its files share it: check.c (passes,
 * liveness, header), check-lines.c (what is wrong with a line), check-repair.c
 * (what may be written).
 */
#ifndef CBD_CHECKS_H
#define CBD_CHECKS_H

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

/* check.c */
void cbd_check_add(struct check *c, struct finding f);
void cbd_check_tell(struct check *c, const struct finding *f, enum cbd_verdict verdict);

/* check-lines.c: look at everything once; findings go to c->now. */
void cbd_check_pass(struct check *c);
bool cbd_check_has_host(const struct check *c, unsigned host);

/* check-repair.c: c->now, each told with what was done. */
int cbd_check_repair(struct check *c);

#endif
