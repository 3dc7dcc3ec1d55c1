/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handler.h - the backend's worker for channels, as handler.c (the requests)
 * and admit.c (the control side) share it.
 *
 * A channel belongs to the control thread until it is handed to a handler, to
 * the handler's thread until that has retired it, and then to the control thread
 * again.  Two words say where it is: `pool`, written by the control thread alone,
 * and `work`, written by the thread that the channel belongs to.  Each thread
 * reads the other's word.
 */
#ifndef CBD_HANDLER_H
#define CBD_HANDLER_H

#include <pthread.h>

#include "ring/channel.h"
#include "ring/watcher.h"
#include "memory/wait.h"

/*
 * Where a channel of the backend's pool is.  Written by the control thread, in
 * admit.c, which has the table of what may become what; the handler reads whether
 * it is CBD_POOL_STOPPING.
 */
enum cbd_pool_state {
	CBD_POOL_FREE,	      /* nobody's: may be granted */
	CBD_POOL_SERVED,      /* granted to a blkdev, and a handler fetches from it */
	CBD_POOL_ASKED,	      /* the same, but the blkdev was asked to leave the epoch */
	CBD_POOL_STOPPING,    /* the handler was told to fetch no more and to retire it */
	CBD_POOL_QUARANTINED, /* found at the start, and its blkdev may be using it */
	CBD_POOL_CLOSED,      /* given back while the backend stops: not granted again */
};
#define CBD_POOL_STATES 6

/*
 * What the handler does with a channel.  Written by the handler's thread, in
 * handler.c, from cbd_handler_give() until CBD_WORK_RETIRED; by the control thread
 * otherwise.
 */
enum cbd_work_state {
	CBD_WORK_NONE,	   /* no handler has it */
	CBD_WORK_FETCHING, /* in order */
	CBD_WORK_BROKEN,   /* fetches no more: the epoch has to be left */
	CBD_WORK_RETIRED,  /* everything is answered; the handler has forgotten it */
};
#define CBD_WORK_STATES 4

struct cbd_hrequest {
	struct cbd_request pub; /* first: the engine has a pointer to it */
	struct cbd_hchannel *hc;
	struct cbd_se se; /* the private, validated copy */
	/* of a WRITE whose payload had a wrong CRC: copied again at retry_ns */
	uint64_t retry_ns, retry_pause_ns, retry_until_ns;
	struct cbd_hrequest *next; /* free or retrying */
};

struct cbd_hchannel {
	struct cbd_channel ch;
	struct cbd_handler *h;
	bool same_boot, data_crc;
	uint64_t disk_size;
	uint32_t max_data, max_range;
	bool read_only;
	uint64_t position, count; /* cursors of the SE and the CE ring */
	unsigned depth, inflight;
	uint64_t tag;	 /* virtual time: how much it was served (handler.c) */
	unsigned misses; /* looks since the last request */
	unsigned streak; /* looks in a row that found one */
	/* CEs were stored, and the sleep flag was not read again after the fence */
	bool bell_due;
	struct cbd_hchannel *next_bell_due; /* in the handler's list */
	char *private;			    /* of payload.c: as large as the data area, or NULL */
	struct cbd_hrequest *requests, *free;
	struct cbd_hrequest *retries;

	uint32_t pool; /* enum cbd_pool_state */
	uint32_t work; /* enum cbd_work_state */

	struct cbd_hchannel *next; /* in a handler's incoming list */
};

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
	bool armed; /* the sleep flags are set, the watcher is waiting */
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

/* For handler-wait.c: ring the bells that are due. */
void cbd_handler_ring(struct cbd_handler *h);
void cbd_handler_put_sleeps(struct cbd_handler *h, uint32_t value);

/* handler.c: it is awake, whatever it has armed. */
void cbd_handler_disarm(struct cbd_handler *h);
/* For handler-wait.c: invalidate the next SE line of each of the channels FROM to
 * UNTIL, under one fence. */
void cbd_handler_invalidate(const struct cbd_handler *h, unsigned from, unsigned until);

static inline enum cbd_pool_state cbd_hchannel_pool(const struct cbd_hchannel *hc)
{
	return (enum cbd_pool_state)cbd_word_load(&hc->pool);
}

static inline enum cbd_work_state cbd_hchannel_work(const struct cbd_hchannel *hc)
{
	return (enum cbd_work_state)cbd_word_load(&hc->work);
}

/* Set `work`: by the thread that the channel belongs to, and only to what the table
 * in handler.c allows. */
void cbd_hchannel_work_become(struct cbd_hchannel *hc, enum cbd_work_state to);

/* Control side: give a channel (its epoch entered, cursors at 0) to a handler. */
int cbd_hchannel_prepare(struct cbd_hchannel *hc, unsigned depth);
void cbd_hchannel_free(struct cbd_hchannel *hc);
void cbd_handler_give(struct cbd_handler *h, struct cbd_hchannel *hc);

#endif
