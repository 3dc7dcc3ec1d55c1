/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handler.h - the backend's worker for channels, as handler.c (the requests)
 * and backend.c (the control side) share it.
 *
 * A channel belongs to the control thread until it is handed to a handler, to
 * the handler's thread until that has retired it (drained), and then to the
 * control thread again.  `stop`, `drained` and `bad` are how the two talk.
 */
#ifndef CBD_HANDLER_H
#define CBD_HANDLER_H

#include <pthread.h>

#include "ring/channel.h"
#include "memory/wait.h"

struct cbd_hrequest {
	struct cbd_request pub; /* first: the engine has a pointer to it */
	struct cbd_hchannel *hc;
	struct cbd_se se; /* the private, validated copy */
	void *private;
	size_t private_size;
	uint64_t retry_until_ns;   /* a write's payload did not check; 0: it did */
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
	unsigned misses;		  /* looks since the last request */
	unsigned streak;		  /* looks in a row that found one */
	bool unrung;			  /* answers are out, the bell was not thought of */
	struct cbd_hchannel *next_unrung; /* in the handler's list */
	struct cbd_hrequest *requests, *free;
	struct cbd_hrequest *retries;

	bool stop;    /* control: fetch no more, drain, retire */
	bool drained; /* handler: retired */
	bool bad;     /* handler: the epoch has to be left */

	struct cbd_hchannel *next; /* in a handler's incoming list */
};

struct cbd_handler {
	struct cbd_backend *b;
	unsigned index;
	size_t align;
	const uint64_t *beaten_ns; /* CLOCK_BOOTTIME of the last good beat */
	uint64_t lease_ns;
	struct cbd_wait wait;
	struct cbd_hchannel **active; /* the first n_hot are looked at in each round */
	unsigned n_active, n_hot;
	unsigned first, cold; /* who is looked at first, in turn */
	unsigned fetched;     /* in the round before */
	/* what cbd_handler_wait() has seen, for the next fetch: the line, copied */
	struct cbd_hchannel *peeked;
	struct cbd_se peeked_se;
	struct cbd_hchannel *unrung;
	unsigned inflight, n_retries;
	unsigned assigned; /* control side: channels that it serves */

	pthread_mutex_t lock; /* guards incoming and word */
	struct cbd_hchannel *incoming;
	bool changed;  /* there is something incoming */
	uint32_t word; /* woken out of a wait */
};

int cbd_handler_init(struct cbd_handler *h, struct cbd_backend *b, unsigned index, unsigned most,
		     enum cbd_poll poll, size_t align);
void cbd_handler_free(struct cbd_handler *h);

/* handler.c, for handler-wait.c: the bells that are due; and drop the next lines of
 * the channels FROM to UNTIL under one fence. */
void cbd_handler_ring(struct cbd_handler *h);
void cbd_handler_invalidate(const struct cbd_handler *h, unsigned from, unsigned until);

/* Control side: give a channel (its epoch entered, cursors at 0) to a handler. */
int cbd_hchannel_prepare(struct cbd_hchannel *hc, unsigned depth);
void cbd_hchannel_free(struct cbd_hchannel *hc);
void cbd_handler_give(struct cbd_handler *h, struct cbd_hchannel *hc);

#endif
