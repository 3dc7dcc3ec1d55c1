/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend.h - the control side of a backend, as backend.c (life, beat, drain)
 * and admit.c (requests, grants, epochs) share it.  One thread, but for
 * `verifier_lock`: data_lost comes from handlers.
 */
#ifndef CBD_BACKEND_H
#define CBD_BACKEND_H

#include "slots/claim.h"
#include "backend/handler.h"

enum cbd_attachment_state {
	CBD_ATT_NONE,
	CBD_ATT_LIVE,
	CBD_ATT_DETACHING, /* it asked; drained, it is answered */
	CBD_ATT_DYING,	   /* proven dead; drained, its channels are free */
};

struct cbd_attachment {
	enum cbd_attachment_state state;
	uint32_t incarnation;
	unsigned host;
	uint8_t owner[16];
};

/* The control side's view of a channel of the pool. */
struct cbd_bchannel {
	struct cbd_hchannel hc;
	struct cbd_grant_line grant; /* as I stored it */
	uint32_t grants;	     /* of this incarnation: the epoch's lower half */
	bool given;		     /* a handler has it */
	bool quarantined;	     /* its blkdev may live, and is not mine */
};

struct cbd_backend {
	struct cbd_transport *t;
	struct cbd_claim claim;
	unsigned id;
	unsigned n_handlers, max_blkdevs;
	uint64_t allow_hosts;
	uint32_t features;
	bool entered, published, draining, drained;
	bool waiting; /* a request is not decided, a channel not drained */
	struct cbd_handler *handlers;
	unsigned handlers_ready;
	struct cbd_bchannel *channels; /* of the pool */
	struct cbd_attachment *att;    /* by blkdev slot */
	struct cbd_reply_line *replies;
	uint64_t *bells;	       /* doorbell counts seen, by blkdev slot */
	uint64_t asked[CBD_MAX_HOSTS]; /* request sequences seen, by host */
	bool handover;		       /* another process takes over: blkdevs wait */
	int handover_host;
	int fenced; /* the host that is, -1: none */

	char name[CBD_TEXT_SIZE + 1], path[CBD_PATH_LINES * CBD_TEXT_SIZE + 1];
	struct cbd_state_line state, found; /* found: as the one before left it */
	struct cbd_beat_line beat;
	struct cbd_geometry_line geometry;
	struct cbd_identity_line identity;
	struct cbd_access_line access;
	uint64_t tick_ns;   /* last beat, CLOCK_MONOTONIC */
	uint64_t beaten_ns; /* last good beat, CLOCK_BOOTTIME: the lease */

	pthread_mutex_t verifier_lock; /* grant and identity lines */
};

/* admit.c */
void cbd_backend_adopt(struct cbd_backend *b);
/* Requests, leaves, drains; returns true while something is under way. */
bool cbd_backend_admit(struct cbd_backend *b, bool beat);
void cbd_backend_stop_channel(struct cbd_bchannel *bc);
int cbd_backend_put_grant(struct cbd_backend *b, struct cbd_bchannel *bc);
void *cbd_backend_reply(const struct cbd_backend *b, unsigned d);

#endif
