/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handler.h - the backend's worker for channels, as its thread (handler.c, answer.c,
 * handler-wait.c) and the control thread (grants.c) share it.
 */
#ifndef CBD_HANDLER_H
#define CBD_HANDLER_H

#include <pthread.h>

#include "ring/watcher.h"
#include "backend/hchannel.h"
#include "memory/wait.h"

struct cbd_handler {
	struct cbd_backend *b;
	unsigned index;
	const uint64_t *beaten_ns; /* CLOCK_BOOTTIME of the last good beat */
	uint64_t lease_ns;
	struct cbd_wait wait;
	struct cbd_hchannel **active; /* the first n_hot are looked at in each round */
	unsigned n_active, n_hot;
	unsigned cold;	       /* place in active: the cold one looked at last */
	uint64_t virtual_time; /* of the channels' tags */
	unsigned fetched;      /* in the round before */
	/* cbd_handler_wait() saw an SE: its channel, and the copy for the next fetch */
	struct cbd_hchannel *peeked;
	struct cbd_se peeked_se;
	struct cbd_hchannel *bells_due;
	unsigned inflight, n_retries;
	bool armed;	   /* the sleep flags are set, the watcher is waiting */
	uint64_t armed_ns; /* since when */
	const struct cbd_mem *mem;
	unsigned room;
	struct cbd_watched *watched; /* what it waits for: room for all channels */
	unsigned assigned;	     /* control side: channels that it serves */

	pthread_mutex_t lock; /* guards incoming and word */
	struct cbd_hchannel *incoming;
	bool changed;		     /* there is something incoming */
	struct cbd_watcher *watcher; /* NULL: nobody has asked for its descriptor */
	bool woken;		     /* since the last arm */
	uint32_t word;		     /* woken out of a wait */
};

int cbd_handler_init(struct cbd_handler *h, struct cbd_backend *b, unsigned index, unsigned most,
		     enum cbd_poll poll);
void cbd_handler_free(struct cbd_handler *h);

/* ------------------------------------------------- of its thread: answer.c */

/* Answer R with a CE, and give R back.  The CE is under way to the memory when this
 * returns: cbd_handler_answers_done() follows. */
void cbd_handler_send_ce(struct cbd_hrequest *r, uint32_t result, uint32_t data_crc);

/* After the answers of a round: the CEs are in memory, the bells that are due rung. */
void cbd_handler_answers_done(struct cbd_handler *h);

/* Store the sleep flags of its channels; awake, whatever it has armed. */
void cbd_handler_put_sleeps(struct cbd_handler *h, uint32_t value);
void cbd_handler_disarm(struct cbd_handler *h);

/* ------------------------------------------------ of its thread: handler.c */

/* Invalidate the next SE line of each of the channels FROM to UNTIL, under one fence. */
void cbd_handler_invalidate(const struct cbd_handler *h, unsigned from, unsigned until);

/* ----------------------------------------------------- channels: hchannel.c */

/* Set `work`: by the thread that the channel belongs to, and only to what the table
 * in hchannel.c allows. */
void cbd_hchannel_work_become(struct cbd_hchannel *hc, enum cbd_work_state to);

/* The blkdev does not keep the rules, or the memory is gone: found at any point of
 * a round, and more than once. */
void cbd_hchannel_set_broken(struct cbd_hchannel *hc);
bool cbd_hchannel_is_broken(const struct cbd_hchannel *hc);
bool cbd_hchannel_is_stopping(const struct cbd_hchannel *hc);

/* NULL: as many as the depth are under way. */
struct cbd_hrequest *cbd_hrequest_get(struct cbd_hchannel *hc);
void cbd_hrequest_put(struct cbd_hrequest *r);

/* Control side: give a channel (its epoch entered, cursors at 0) to a handler. */
int cbd_hchannel_prepare(struct cbd_hchannel *hc, unsigned depth);
void cbd_hchannel_free(struct cbd_hchannel *hc);
void cbd_handler_give(struct cbd_handler *h, struct cbd_hchannel *hc);

#endif
