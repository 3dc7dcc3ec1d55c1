/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blkdev.h - the blkdev side, as its files share it.  Their order, bottom up:
 * extent.c, split.c, durability.c, waiters.c, pending.c, parts.c, lines.c, epoch.c, attach.c,
 * reap.c, lead.c, heartbeat.c, queue.c, blkdev.c; a file calls only those before it.
 *
 * Locks, in this order: queue->lock, then blkdev->lock.  The blkdev's own
 * lines are written by the thread that opens and closes it and by its
 * heartbeat thread, under blkdev->lines.
 */
#ifndef CBD_BLKDEV_H
#define CBD_BLKDEV_H

#include <pthread.h>

#include "ring/channel.h"
#include "slots/claim.h"
#include "slots/watch.h"
#include "blkdev/extent.h"
#include "memory/wait.h"

#define CBD_COPY_LOCKED 4096u /* bytes that are copied faster than the lock is given away */
#define CBD_MAX_RESENDS 3
#define CBD_MAX_WAKES 64 /* at the end of a batch */
#define CBD_MAX_LEAVES 3 /* in a row, then EIO */

struct cbd_connection {
	struct cbd_blkdev *b;
	uint64_t losses; /* of which it was told */
};

/* A user's request while it is inside. */
struct cbd_pending {
	struct cbd_io io;
	uint64_t at, left; /* what has no part yet */
	uint64_t since_ns; /* submitted */
	unsigned parts;	   /* in flight */
	int result;	   /* the first error */
	bool done;
	struct cbd_waiter *waiter; /* of a synchronous call; NULL: to be reaped */
	struct cbd_pending *next;
	uint64_t generation; /* FLUSH: the writes that it covers */
	uint64_t losses;     /* FLUSH: at its submission */
};

enum cbd_part_state {
	CBD_PART_FREE,
	CBD_PART_READY,	    /* filled or not, not published in this epoch */
	CBD_PART_PUBLISHED, /* its SE is out */
	CBD_PART_ARRIVED,   /* its CE was read */
};

/* One SE's worth of a request; its index is its tag. */
struct cbd_part {
	enum cbd_part_state state;
	bool busy;		     /* a thread copies from or to the user's buffer */
	uint16_t generation;	     /* upper half of the tid: old answers never match */
	struct cbd_pending *pending; /* NULL: timed out, its answer is awaited */
	struct cbd_se se;	     /* as published, without position and epoch */
	char *buf;
	int extent; /* first unit, -1: none */
	uint32_t units;
	uint64_t order;		 /* of first submission */
	uint64_t fill_epoch;	 /* whose payload CRC and extent content it has */
	uint64_t retry_until_ns; /* a read's payload did not check; 0: it did */
	struct cbd_ce ce;
	unsigned resends;
};

enum { CBD_WAITER_ASLEEP, CBD_WAITER_AWAKE, CBD_WAITER_WOKEN, CBD_WAITER_DONE };

/* A thread that waits while another one polls for it. */
struct cbd_waiter {
	uint32_t word;		     /* one of these; it sleeps on it */
	struct cbd_pending *pending; /* NULL: any completion */
	struct cbd_waiter *next;
	bool linked; /* only while it sleeps */
};

/* pending.c: the requests that are inside. */
struct cbd_requests {
	struct cbd_pending *waiting, **waiting_tail; /* have bytes without a part */
	struct cbd_pending *done, **done_tail;	     /* for cbd_queue_poll() */
	struct cbd_pending *spare;		     /* allocated, for the next ones */
};

/* parts.c: tags and the data area. */
struct cbd_parts {
	struct cbd_part *all; /* by tag */
	uint16_t *free_tags;
	unsigned depth, n_free;
	struct cbd_extents extents;
	uint64_t order;	    /* of the next first submission */
	unsigned n_retries; /* arrived parts whose payload did not check */
};

/* Positions of this epoch: epoch.c starts them, parts.c counts SEs, reap.c CEs. */
struct cbd_cursors {
	uint64_t se_next, ce_next;
	uint64_t moved_ns; /* last CE, or the first SE after idleness */
};

/* epoch.c: what the backend grants. */
struct cbd_epoch {
	uint32_t backend_incarnation; /* that granted it */
	uint64_t verifier;
	struct cbd_grant_line grant; /* as it was checked last */
	bool quiet;	     /* it asked for nothing: while it stays the same, nothing does */
	uint64_t left_epoch; /* asked to leave it */
	enum cbd_leave_reason leave_reason;
	unsigned leaves; /* in a row */
};

/* waiters.c: the threads that wait on the queue. */
struct cbd_waiters {
	struct cbd_waiter *asleep;
	bool leader;	  /* somebody polls for all; set with the lock, read without */
	unsigned n_awake; /* CBD_WAITER_AWAKE: one of them takes the lead when it is free */
	bool gathering;	  /* the leader wakes others after the batch, not now */
	const uint32_t *to_wake[CBD_MAX_WAKES];
	unsigned n_to_wake;
};

/* lead.c: how long to wait, and how. */
struct cbd_lead {
	struct cbd_wait wait; /* with the queue's lock, but for cbd_wait_yield() */
	uint64_t patience_ns; /* what a thread may spend awake; without the lock */
	uint64_t looked_ns;   /* when the leader looked around, in this wait */
};

/* reap.c: payloads that did not check (rule 10). */
struct cbd_reap {
	unsigned bad_payloads; /* since: */
	uint64_t bad_since_ns;
};

/* Each part is changed by the file that is named with it. */
struct cbd_queue {
	struct cbd_blkdev *b;
	unsigned index;
	pthread_mutex_t lock; /* guards all below but for what is excepted there */
	struct cbd_channel ch;
	bool attached; /* an epoch is in force */
	bool foreign;  /* the backend came back with another disk */
	bool closing;  /* the backend has stopped in order: ESHUTDOWN */
	bool draining; /* the backend drains it: LEAVING */
	int broken;    /* negative errno: every request ends with it */
	struct cbd_requests pending;
	struct cbd_parts parts;
	struct cbd_cursors cursors;
	struct cbd_epoch epoch;
	struct cbd_waiters waiters;
	struct cbd_lead lead;
	struct cbd_reap reap;
	struct cbd_counters counters;
};

struct cbd_blkdev {
	struct cbd_transport *t;
	struct cbd_claim claim;
	unsigned backend, slot;
	enum cbd_poll poll;
	unsigned timeout_s;
	bool read_only, data_crc, same_boot;
	struct cbd_geometry_line geometry;
	uint64_t disk_identity;
	unsigned depth, n_queues;
	struct cbd_queue *queues;

	pthread_mutex_t lines; /* own lines: */
	struct cbd_state_line state;
	struct cbd_request_line request;
	struct cbd_doorbell_line doorbell;
	struct cbd_beat_line beat;

	pthread_t thread;
	bool started, stop;
	pthread_cond_t stop_cond; /* with lines */

	pthread_mutex_t lock;	      /* guards: */
	uint32_t backend_incarnation; /* newest seen */
	uint64_t verifier;	      /* and its newest */
	uint64_t written, flushed;    /* write generations (rule 8) */
	uint64_t losses;
	uint64_t timed_out; /* read without the lock */
	struct cbd_connection own;

	struct cbd_watch watch; /* of the backend, by the heartbeat thread */
	bool suspect;		/* said so in the log */
	bool impatient;		/* requests do not wait for a suspect */
	bool lost;		/* the slot is another's, or the memory is gone: write nothing */
};

/* durability.c, rule 8 */
bool cbd_written(struct cbd_queue *q); /* false: acknowledged by a gone backend */
void cbd_flush_submitted(struct cbd_blkdev *b, struct cbd_pending *p);
bool cbd_flush_failed(struct cbd_blkdev *b, const struct cbd_pending *p);
void cbd_flush_done(struct cbd_queue *q, struct cbd_pending *p);
void cbd_verifier_seen(struct cbd_blkdev *b, uint32_t incarnation, uint64_t verifier, bool lost,
		       bool out);

/* waiters.c; queue lock held */
void cbd_wake(struct cbd_queue *q, struct cbd_waiter *w, uint32_t why);
void cbd_waiters_wake_gathered(struct cbd_queue *q);
void cbd_waiter_link(struct cbd_queue *q, struct cbd_waiter *w);
void cbd_waiter_unlink(struct cbd_queue *q, struct cbd_waiter *w);
void cbd_waiter_done(struct cbd_queue *q, struct cbd_waiter *w);
void cbd_wake_one(struct cbd_queue *q);

/* pending.c; queue lock held */
struct cbd_pending *cbd_pending_get(struct cbd_queue *q, const struct cbd_io *io);
void cbd_pending_put(struct cbd_queue *q, struct cbd_pending *p);
void cbd_pending_enqueue(struct cbd_queue *q, struct cbd_pending *p);
void cbd_pending_dequeue(struct cbd_queue *q);
void cbd_pending_complete(struct cbd_queue *q, struct cbd_pending *p);
struct cbd_pending *cbd_pending_reap(struct cbd_queue *q);
void cbd_pending_timeouts(struct cbd_queue *q, uint64_t now_ns, uint64_t most_ns);
void cbd_pendings_init(struct cbd_requests *r);
void cbd_pendings_free(struct cbd_requests *r);

/* parts.c; queue lock held */
void cbd_queue_issue(struct cbd_queue *q);
void cbd_part_publish(struct cbd_queue *q, struct cbd_part *p);
void cbd_part_retry(struct cbd_queue *q, struct cbd_part *p, uint64_t until_ns);
void cbd_part_end(struct cbd_queue *q, struct cbd_part *p, int result);
void cbd_queue_break(struct cbd_queue *q, int error);
void cbd_queue_timeouts(struct cbd_queue *q, uint64_t now_ns);

/* lines.c */
void *cbd_blkdev_info(const struct cbd_blkdev *b, unsigned line);
int cbd_blkdev_put_state(struct cbd_blkdev *b, enum cbd_slot_state state);
int cbd_ring_doorbell(struct cbd_blkdev *b);
int cbd_blkdev_put_request(struct cbd_blkdev *b, enum cbd_request_state state);
void cbd_blkdev_put_counters(struct cbd_blkdev *b);
int cbd_blkdev_beat(struct cbd_blkdev *b);

/* epoch.c; queue lock held */
bool cbd_grant_is_own(const struct cbd_queue *q, const struct cbd_grant_line *g);
int cbd_grant_valid(const struct cbd_queue *q, const struct cbd_grant_line *g);
void cbd_blkdev_find_peer(struct cbd_blkdev *b);
void cbd_epoch_enter(struct cbd_queue *q, const struct cbd_grant_line *g);

/* Look at the grant of a queue and follow it: a new epoch, a leave, a close.
 * Queue lock held; may drop it. Returns true when the epoch is unchanged, false
 * also when that cannot be told. */
bool cbd_grant_check(struct cbd_queue *q);

/* The same, at the price of a load while the line has not changed. */
bool cbd_grant_recheck(struct cbd_queue *q);
void cbd_leave(struct cbd_queue *q, enum cbd_leave_reason reason);
void cbd_leave_assert(struct cbd_queue *q);

/* attach.c */
int cbd_attach_find(struct cbd_transport *t, const char *backend);
int cbd_attach(struct cbd_blkdev *b, const struct cbd_blkdev_options *o);
void cbd_detach(struct cbd_blkdev *b);

/* reap.c; queue lock held.  One look at the ring; PEEKED is a copy of the next CE that
 * was seen without the lock, or NULL.  False: there was nothing. */
bool cbd_reap_ring(struct cbd_queue *q, const struct cbd_ce *peeked);

/* lead.c; queue lock held */
/* False: the request is done, and the lock was not taken again. */
bool cbd_reap_until(struct cbd_queue *q, struct cbd_pending *mine, uint64_t deadline_ns);
void cbd_reap_idle(struct cbd_queue *q, uint64_t deadline_ns);
/* The answers to timed-out requests, for which nobody waits: new writes do
 * (rule 9). */
void cbd_reap_late(struct cbd_queue *q);

/* heartbeat.c; cbd_blkdev_start() too */
void cbd_heartbeat_stop(struct cbd_blkdev *b);

/* queue.c */
void cbd_queue_init(struct cbd_queue *q, struct cbd_blkdev *b, unsigned index);
void cbd_queue_free(struct cbd_queue *q);

#endif
