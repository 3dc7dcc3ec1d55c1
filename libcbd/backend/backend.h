/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend.h - the control side of a backend, as its files share it: takeover.c,
 * precheck.c, grants.c, attachment.c, adopt.c, admit.c, offer.c, counters.c, and backend.c
 * (life, beat, drain).
 *
 * All of it belongs to the control thread, the one that calls cbd_backend_tick();
 * but handlers call cbd_backend_data_lost(), so `verifier_lock` guards what that
 * changes.
 *
 * "Rule N" is rule N of docs/protocol.md; those of docs/coherence.md are cited as
 * "coherence rule N".
 */
#ifndef CBD_BACKEND_H
#define CBD_BACKEND_H

#include "slots/claim.h"
#include "backend/handler.h"

/* What the backend knows of a blkdev slot.  Changed by attachment.c alone, which has the
 * table of what may become what. */
enum cbd_attachment_state {
	CBD_ATT_NONE,	   /* no blkdev of this backend */
	CBD_ATT_LIVE,	   /* attached: its channels are served */
	CBD_ATT_DETACHING, /* it asked to detach: answered when its channels are retired */
	CBD_ATT_DYING,	   /* dead or replaced: its channels are given back when they are
			    * retired */
	CBD_ATT_STAYING,   /* the backend stops: the blkdev waits for the next one, which
			    * its channels are kept for */
};
#define CBD_ATT_STATES 5

struct cbd_attachment {
	enum cbd_attachment_state state;
	uint32_t incarnation;
	uint32_t features; /* granted, CBD_FEATURE_* */
	unsigned host;
	uint8_t owner[16];
};

/* The control side's view of a channel of the pool. */
struct cbd_bchannel {
	struct cbd_hchannel hc;
	struct cbd_grant_line grant; /* as this backend stored it */
	uint32_t grants;	     /* of this incarnation: the epoch's lower half */
};

/* While a backend has handed over: what is seen of the next one. */
struct cbd_successor {
	uint64_t since_ns;    /* released, or tried to take back */
	uint32_t incarnation; /* that was live when nobody asked any more, 0: none */
	uint64_t counter;     /* of its beat, then */
};

struct cbd_backend {
	struct cbd_transport *t;
	struct cbd_claim claim;
	unsigned id;
	unsigned n_handlers, max_blkdevs;
	uint64_t allow_hosts;
	uint32_t features;
	bool entered, published, draining, drained;
	bool sweeping; /* slots of dead processes of this host are not all swept */
	bool waiting;  /* a request is not decided, or a channel not retired */
	struct cbd_handler *handlers;
	unsigned handlers_ready;
	struct cbd_bchannel *channels; /* of the pool */
	struct cbd_attachment *att;    /* by blkdev slot */
	struct cbd_reply_line *replies;
	uint64_t *bells;	       /* doorbell counts seen, by blkdev slot */
	uint64_t asked[CBD_MAX_HOSTS]; /* request sequences seen, by host */
	bool handover;		       /* it stops because another process takes over */
	uint64_t fenced;	       /* bit h: the opener says that host h is fenced */

	char name[CBD_TEXT_SIZE + 1], path[CBD_PATH_LINES * CBD_TEXT_SIZE + 1];
	struct cbd_state_line state, found; /* found: as the last owner left it */
	struct cbd_beat_line beat;
	struct cbd_geometry_line geometry;
	struct cbd_identity_line identity;
	struct cbd_access_line access;
	uint64_t tick_ns;   /* last beat, CLOCK_MONOTONIC */
	uint64_t beaten_ns; /* last good beat, CLOCK_BOOTTIME: the lease */

	struct cbd_successor successor; /* after cbd_backend_release() */

	pthread_mutex_t verifier_lock; /* guards grant and identity lines, and: */
	uint64_t losses;	       /* how often a sync has failed; read without the lock */

	struct cbd_counter_block ended; /* of channels that were given back, and of epochs */
	struct cbd_counted counted;	/* of all channels and handlers */
	uint64_t counting_ns;		/* since when this backend counts */
	uint64_t counted_ns;		/* when its counters were stored last */
};

/* precheck.c: what tells that a disk is the same one; and FNV-1a (RFC
 * draft-eastlake-fnv, 64 bits) from HASH on: a digest, not a secret. */
uint64_t cbd_disk_digest(const struct cbd_disk_geometry *g);
uint64_t cbd_digest(uint64_t hash, const void *data, size_t len);

/* What cbd_backend_check_options() finds. */
int cbd_options_check_numbers(const struct cbd_transport *t, const struct cbd_backend_options *o);
int cbd_options_check(struct cbd_transport *t, const struct cbd_backend_options *o);

/* The host that served the slot last and may still write back what it has
 * in its page cache; -1: none. */
int cbd_backend_may_write_back(struct cbd_transport *t, unsigned id);

/* offer.c: a line of the slot; store the state line, with STATE; say that everything is
 * synced. */
void *cbd_backend_info_line(const struct cbd_backend *b, unsigned line);
int cbd_backend_put_state(struct cbd_backend *b, enum cbd_slot_state state);
void cbd_backend_put_settled(struct cbd_backend *b);

/* takeover.c: is there a process that asks for the slot, and is it alive? */
bool cbd_takeover_is_asked(const struct cbd_transport *t, unsigned id);

/* admit.c: look at requests, leaves and stopping channels.  True while something is under
 * way, which the next call goes on with. */
bool cbd_backend_admit(struct cbd_backend *b, bool beat);

/* counters.c: store those of the backend and of each channel that is served. */
void cbd_backend_put_counters(struct cbd_backend *b);

/* grants.c: has a handler the channel? */
bool cbd_backend_serves(const struct cbd_bchannel *bc);
/* Tell its handler to fetch no more, answer everything and retire it. */
void cbd_backend_stop_channel(struct cbd_bchannel *bc);
int cbd_backend_put_grant(struct cbd_backend *b, struct cbd_bchannel *bc);

/* attachment.c: the reply line of a blkdev slot. */
void *cbd_backend_reply(const struct cbd_backend *b, unsigned d);

#endif
