/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hchannel.h - a channel as the backend serves it, and its requests.
 *
 * A channel belongs to the control thread until it is handed to a handler, to
 * the handler's thread until that has retired it, and then to the control thread
 * again.  Two words say where it is: `pool`, written by the control thread alone,
 * and `work`, written by the thread that the channel belongs to.  Each thread
 * reads the other's word.
 */
#ifndef CBD_HCHANNEL_H
#define CBD_HCHANNEL_H

#include "ring/channel.h"
#include "slots/counters.h"

/*
 * Where a channel of the backend's pool is.  Written by the control thread, in
 * grants.c, which has the table of what may become what; the handler reads whether
 * it is CBD_POOL_STOPPING.
 */
enum cbd_pool_state {
	CBD_POOL_FREE,	      /* nobody's: may be granted */
	CBD_POOL_SERVED,      /* granted to a blkdev, and a handler fetches from it */
	CBD_POOL_ASKED,	      /* granted, broken; the blkdev was asked to leave the epoch */
	CBD_POOL_STOPPING,    /* the handler was told to fetch no more and to retire it */
	CBD_POOL_QUARANTINED, /* granted by the backend before; its blkdev, whose claim or
			       * lines cannot be read, may be using it (adopt.c) */
	CBD_POOL_CLOSED,      /* given back while the backend stops: not granted again */
};
#define CBD_POOL_STATES 6

/*
 * What the handler does with a channel.  Written by the handler's thread, in
 * hchannel.c, from cbd_handler_give() until CBD_WORK_RETIRED; by the control thread
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
	/* of a WRITE: its payload was invalidated since its SE came, and not copied since */
	bool invalidated;
	char *hot; /* where in the hot part of the private memory; NULL: it has none of that */
	/* of a READ: the engine has copied it into the extent, this is its CRC (payload.c) */
	bool delivered;
	uint32_t crc;
	/* of a BLOCK_STATUS: the answer, in private memory, and of how many bytes it tells */
	struct cbd_run *runs;
	uint32_t n_runs, told;
	bool told_all; /* one found no room: what comes behind it is left out too */
	/* of a WRITE whose payload had a wrong CRC: copied again at retry_ns */
	uint64_t retry_ns, retry_pause_ns, retry_until_ns;
	uint64_t timed_ns; /* cbd_boottime_ns() when it was fetched; 0: its time is not taken */
	struct cbd_hrequest *next; /* free or retrying */
};

struct cbd_hchannel {
	struct cbd_channel ch;
	struct cbd_handler *h;
	bool same_boot, data_crc;
	bool block_status; /* CBD_FEATURE_BLOCK_STATUS is granted */
	uint64_t disk_size;
	uint32_t max_data, max_range;
	bool read_only;
	uint64_t position, count; /* cursors of the SE and the CE ring */
	unsigned depth, inflight;
	uint64_t tag;	 /* virtual time until which it was served (handler.c) */
	uint64_t cost;	 /* of its next SE, as far as is known, or of the last one */
	unsigned misses; /* looks since the last request */
	unsigned streak; /* looks in a row that found one */
	/* CEs were stored, and the sleep flag was not read again after the fence */
	bool bell_due;
	struct cbd_hchannel *next_bell_due; /* in the handler's list */
	char *private;			    /* of payload.c, or NULL */
	uint32_t hot_used;		    /* bytes of its hot part (payload.h) */
	unsigned hot_users;		    /* requests that have some of them */
	struct cbd_hrequest *requests, *free;
	struct cbd_hrequest *retries;

	uint32_t pool; /* enum cbd_pool_state */
	uint32_t work; /* enum cbd_work_state */

	struct cbd_hchannel *next; /* in a handler's incoming list */

	struct cbd_timing timing;
	uint64_t counting_ns;	    /* since when it counts for its blkdev */
	struct cbd_counted counted; /* SEs; `now` is of the thread that the channel belongs to,
				     * and the control thread stores it (counters.c) */
};

static inline enum cbd_pool_state cbd_hchannel_pool(const struct cbd_hchannel *hc)
{
	return (enum cbd_pool_state)cbd_word_load(&hc->pool);
}

static inline enum cbd_work_state cbd_hchannel_work(const struct cbd_hchannel *hc)
{
	return (enum cbd_work_state)cbd_word_load(&hc->work);
}

#endif
