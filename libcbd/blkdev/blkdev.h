/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blkdev.h - the blkdev side, as its files share it.  Each file calls only files that
 * stand before it: extent.c, overlap.c, split.c, blocks.c, state.c, notes.c, vector.c, durability.c,
 * event.c, waiters.c, pending.c, parts.c, publish.c, lines.c, epoch.c, attach.c, reap.c,
 * lead.c, heartbeat.c, queue.c, blkdev.c.
 *
 * "Rule N" is rule N of docs/protocol.md; those of docs/coherence.md are cited as
 * "coherence rule N".
 *
 * Locks, in this order: queue->lock, then one of blkdev->lock, blkdev->lines and
 * blkdev->writes_lock.  Functions on a queue, a part, a pending request or a waiter are called
 * with the queue's lock held.  One whose name ends in _unlocks drops it in between and
 * returns with it held: what was read before has to be read again.  One that ends in
 * _and_unlock or _and_tell returns without it.  Functions that end in _inside are called
 * inside a recovery point (memory/fault.h).
 */
#ifndef CBD_BLKDEV_H
#define CBD_BLKDEV_H

#include <pthread.h>

#include "ring/channel.h"
#include "ring/watcher.h"
#include "slots/claim.h"
#include "slots/counters.h"
#include "slots/watch.h"
#include "blkdev/extent.h"
#include "blkdev/overlap.h"
#include "memory/wait.h"

/* Bytes: the lock is dropped while more are copied, of one write, or of all reads whose CEs
 * are read together; so a single 4 KiB payload is copied with the lock. */
#define CBD_COPY_LOCKED 4096u
#define CBD_MAX_RESENDS 3
#define CBD_MAX_WAKES 64 /* threads that are woken at the end of a batch */
#define CBD_WHY_TIMEOUT "it took longer than its time-out"
#define CBD_WHY_SILENT "the backend beats, and has not answered it for five minutes"
#define CBD_ANSWER_MOST_NS 300000000000ull /* of time in which the backend beats (rule 9) */
#define CBD_QUIT_MOST_NS 30000000000ull
#define CBD_WHY_LOSS "writes that were not flushed before may be lost"
#define CBD_MAX_LEAVES 3  /* epochs in a row that are left; then EIO */
#define CBD_DOUBT_BEATS 3 /* of the backend, that a doubtful grant has to stay for */

struct cbd_connection {
	struct cbd_blkdev *b;
	uint64_t losses; /* of which it was told */
	uint64_t opened; /* the flushes that were submitted before */
	bool doubtful;	 /* the verifier changed before a flush came after that */
	struct cbd_connection *next, **link; /* of the blkdev's list */
};

/* A place in a user's iovec. */
struct cbd_vector {
	const struct iovec *iov; /* NULL: it is one buffer */
	size_t skip;		 /* bytes into the first piece */
};

/* A user's request while it is inside. */
struct cbd_pending {
	struct cbd_io io;
	uint64_t at, left;	  /* the bytes that have no part yet */
	uint64_t since_ns;	  /* submitted */
	uint64_t since_beating;	  /* the blkdev's beating_ns, then, or when the write that it had
				   * to wait for was complete */
	unsigned parts;		  /* not ended */
	int result;		  /* the first error, */
	const char *why;	  /* and the same for people: static */
	struct cbd_vector vector; /* of the bytes that have no part yet */
	bool done;
	struct cbd_waiter *waiter; /* of a synchronous call; NULL: for cbd_queue_poll() */
	struct cbd_pending *next;
	struct cbd_queue *q;		 /* of a write: where it was submitted */
	struct cbd_overlap_node overlap; /* of a write, while it is inside (rule 13) */
	uint64_t generation;		 /* FLUSH: the writes that it covers */
	uint64_t losses;		 /* FLUSH: at its submission */
	uint64_t number;		 /* FLUSH: of all flushes, from 1 */
	uint64_t timed_ns;		 /* when it was submitted; 0: its time is not taken */
};

enum cbd_part_state {
	CBD_PART_FREE,
	CBD_PART_READY,	    /* tag and extent taken; not published in this epoch */
	CBD_PART_PUBLISHED, /* its SE is in the ring */
	CBD_PART_ARRIVED,   /* its CE was read */
	CBD_PART_BEHIND,    /* it has timed out, and an epoch in which it was published was left:
			     * free when the next one is certain (rule 7.9) */
};

/* One SE's worth of a request; its index is its tag. */
struct cbd_part {
	enum cbd_part_state state;
	uint64_t held_beat;  /* cbd_beat_now() since when its answer is held; 0: it is not */
	bool busy;	     /* a thread copies its payload without the lock */
	bool out;	     /* published, in whatever epoch, and its CE was not read: the
			      * backend may have it */
	uint16_t generation; /* upper half of the tid: old answers never match */
	struct cbd_pending *pending; /* NULL: timed out, its answer is awaited */
	struct cbd_se se;	     /* as published, without position and epoch */
	char *buf;
	struct cbd_vector vector;
	int extent; /* first unit, -1: none */
	uint32_t units;
	uint64_t order;		 /* of the first submission */
	uint64_t fill_epoch;	 /* for which payload CRC and extent were filled */
	uint64_t retry_until_ns; /* a read's payload did not check; 0: it did */
	struct cbd_ce ce;
	unsigned resends;
};

enum cbd_waiter_word {
	CBD_WAITER_ASLEEP,
	CBD_WAITER_AWAKE,
	CBD_WAITER_WOKEN,
	CBD_WAITER_DONE,
};

/* A thread that waits while another one polls for it. */
struct cbd_waiter {
	uint32_t word;		     /* enum cbd_waiter_word; it sleeps on it */
	struct cbd_pending *pending; /* NULL: any completion */
	struct cbd_waiter *next;
	bool linked; /* only while it sleeps */
};

/* ------------------------------------------------------------------- queue */

/* The table of what each may become is in state.c, who does it in docs/design.md. */
enum cbd_queue_state {
	CBD_QUEUE_NEW,	     /* it has no channel yet */
	CBD_QUEUE_ATTACHED,  /* an epoch is in force */
	CBD_QUEUE_LEAVING,   /* the same; this side has asked to leave it */
	CBD_QUEUE_DRAINING,  /* the same; the grant says LEAVING, and this side has left: the
			      * backend drains it, and will grant a new one */
	CBD_QUEUE_CLOSING,   /* the same; the administrator has cleared the backend, and the
			      * answers that it had stored are read */
	CBD_QUEUE_UNGRANTED, /* the channel is granted to nobody, or to another blkdev: requests
			      * wait for a new grant */
	CBD_QUEUE_RETURNING, /* the queue had followed a grant that was not true, and is back in
			      * the epoch of the true one (rule 7.9), where its positions are
			      * lost.  It has asked to leave that epoch: requests wait until
			      * the backend has drained it and grants a new one */
	CBD_QUEUE_STOPPED,   /* the administrator has cleared the backend: requests end with
			      * ESHUTDOWN, until a new epoch comes */
	CBD_QUEUE_BROKEN,    /* requests end with the queue's error, for ever */
	CBD_QUEUE_STATES
};

/* pending.c: the requests that are inside. */
struct cbd_requests {
	struct cbd_pending *waiting, **waiting_tail; /* have bytes without a part */
	struct cbd_pending *done, **done_tail;	     /* for cbd_queue_poll() */
	unsigned n_inside;			     /* submitted and not reaped */
	struct cbd_pending *spare;		     /* allocated, for the next ones */
	/* with blkdev->writes_lock: writes that waited for others (rule 13) and may be
	 * executed now.  The flag says that there are some; read without the lock */
	struct cbd_pending *freed, **freed_tail;
	bool has_freed;
};

/* parts.c: tags and the data area. */
struct cbd_parts {
	struct cbd_part *all; /* by tag */
	uint16_t *free_tags;
	unsigned depth, n_free;
	struct cbd_extents extents;
	uint64_t order;		 /* of the next part */
	uint64_t oldest;	 /* the order of the oldest one that waits for its answer, */
	uint64_t oldest_beating; /* and the blkdev's beating_ns since when that is so */
	unsigned n_retries;	 /* arrived parts whose payload did not check */
	unsigned n_behind;	 /* CBD_PART_BEHIND */
};

/* The positions of this epoch: epoch.c resets them, publish.c counts SEs, reap.c CEs. */
struct cbd_cursors {
	uint64_t se_next; /* read without the lock, by the leader */
	uint64_t ce_next;
	uint64_t moved_ns; /* the last answer, or the first part after idleness; later by the
			    * time in which the backend did not beat */
};

/* What the grant that a queue has followed last says of the backend. */
struct cbd_belief {
	uint64_t order; /* the later of two has the higher one; 0: none */
	uint32_t incarnation;
	uint64_t verifier;
};

/* A grant that is not believed at once: since when it is there, unchanged. */
struct cbd_doubt {
	struct cbd_grant_line grant;
	uint64_t since_beat; /* cbd_beat_now() then; 0: there is none */
};

/* epoch.c: what the backend grants. */
struct cbd_epoch {
	uint32_t backend_incarnation; /* of the backend that granted it */
	uint64_t verifier;
	struct cbd_doubt doubt;
	uint64_t stays_since; /* cbd_beat_now() since when each look has found the grant of the
			       * epoch in force; 0: not so.  Counted while a part is behind */
	uint64_t returned;    /* the epoch that the queue went back to; 0: none */
	uint64_t disbelieved; /* the order of a belief of another queue that is not true of this
			       * one's channel; 0: none.  It needs no end: a belief that comes
			       * back, or changes, is another one */
	struct cbd_grant_line checked; /* the grant, validated and GRANTED: identical bytes need
					* no second check; epoch 0: there is none */
	uint64_t left_epoch;	       /* the epoch that was left last */
	enum cbd_leave_reason leave_reason;
	unsigned leaves; /* in a row, but for slowness: */
	unsigned stalls;
	bool drains;	      /* RETURNING: the backend says that it drains the epoch */
	bool block_status;    /* the backend has granted CBD_FEATURE_BLOCK_STATUS */
	uint64_t left_behind; /* the epoch that was left without a drain, to go back; 0: none */
};

/* waiters.c: the threads that wait on the queue. */
struct cbd_waiters {
	struct cbd_waiter *asleep;
	bool leader;	  /* a thread polls for all; set with the lock, read without */
	unsigned n_awake; /* CBD_WAITER_AWAKE: one of them takes the lead when it is free */
	bool gathering;	  /* wakes are put off to the end of the leader's batch */
	const uint32_t *to_wake[CBD_MAX_WAKES];
	unsigned n_to_wake;
};

/* event.c: the file descriptor for an event loop. */
struct cbd_event {
	struct cbd_watcher *watcher; /* NULL: nobody has asked for it */
	bool armed;
	bool own_bell;		    /* the caller waits for the bell in place of the watcher */
	struct cbd_watched watched; /* what it was told last to wait for; epoch 0: for nothing */
	unsigned latest_us;	    /* and to fire after, in any case; 0: never */
	uint64_t looked_ns;	    /* when an arm looked around */
};

/* lead.c: how long to wait, and how. */
struct cbd_lead {
	struct cbd_wait wait; /* cbd_wait_yield() is called without the lock */
	uint64_t awake_ns;    /* how long it pays to stay awake: learnt, without the lock */
	uint64_t looked_ns;   /* when the leader looked around in this wait; 0: not yet */
};

/* reap.c: payloads that did not check (rule 10). */
struct cbd_reap {
	unsigned bad_payloads; /* since bad_since_ns */
	uint64_t bad_since_ns;
};

/* Each part is changed by the file that is named with it. */
struct cbd_queue {
	struct cbd_blkdev *b;
	unsigned index;
	pthread_mutex_t lock; /* guards all below, but what says otherwise */
	struct cbd_channel ch;
	enum cbd_queue_state state; /* changed by cbd_queue_become() alone */
	int error;		    /* STOPPED, BROKEN: the negative errno of every request */
	struct cbd_requests pending;
	struct cbd_parts parts;
	struct cbd_cursors cursors;
	struct cbd_epoch epoch;
	struct cbd_waiters waiters;
	struct cbd_event event;
	struct cbd_lead lead;
	struct cbd_reap reap;
	struct cbd_note *notes;	    /* notes.c: messages to be told after unlocking */
	struct cbd_counted counted; /* lines.c stores them */
	struct cbd_timing timing;
	struct cbd_belief belief; /* durability.c, with blkdev->lock */
};

struct cbd_blkdev {
	struct cbd_transport *t;
	struct cbd_claim claim;
	unsigned backend, slot;
	enum cbd_poll poll;
	unsigned timeout_s;
	bool read_only, data_crc, same_boot;
	bool block_status; /* as granted last; set with a queue's lock, and read without */
	struct cbd_geometry_line geometry; /* size and generation change: with lock, and
					    * read without */
	uint64_t disk_identity;
	bool foreign; /* the slot serves another disk; of the heartbeat thread */
	unsigned depth, n_queues, max_requests;
	struct cbd_queue *queues;

	pthread_mutex_t lines; /* guards the lines of its slot, and stop: */
	struct cbd_state_line state;
	struct cbd_request_line request;
	struct cbd_doorbell_line doorbell;
	struct cbd_beat_line beat;

	pthread_t thread;
	bool started, stop;
	pthread_cond_t stop_cond; /* with lines */

	pthread_mutex_t lock;	   /* guards: */
	struct cbd_belief newest;  /* of the queues that are not broken */
	uint64_t believed;	   /* counts what queues have come to believe */
	uint64_t written, flushed; /* write generations (rule 8) */
	uint64_t losses;
	uint64_t flushes, flushes_done; /* submitted; the last one that has succeeded */
	struct cbd_connection *connections;
	uint64_t timed_out; /* parts whose answer is awaited (rule 9); read without the lock */
	struct cbd_connection own;

	pthread_mutex_t writes_lock; /* guards the writes that are inside, of all queues; a single
				      * queue's lock is enough (pending.c): */
	struct cbd_overlap writes;
	bool freed_elsewhere; /* a completion has freed a write of another queue; read
			       * without the lock */

	struct cbd_watch watch;	      /* of the backend; by the heartbeat thread once it runs */
	bool suspect;		      /* the backend is */
	bool cleared;		      /* of a queue, as the heartbeat thread sees it */
	bool told_silent;	      /* the log knows that it does not beat, */
	uint64_t silent_ns;	      /* and since when */
	uint64_t backend_beats;	      /* that the heartbeat thread has seen; read by all threads */
	uint64_t backend_count;	      /* the counter that it has seen last */
	uint32_t beating_incarnation; /* of who has beaten then; read by all threads */
	uint64_t beating_ns;	      /* time in which the backend beats and its disk is the right
				 * one, as the heartbeat thread sees it; read by all */
	uint64_t round_ns;	      /* when the heartbeat thread began its last round */
	struct cbd_counted counted;   /* of all queues; of the heartbeat thread once it runs: */
	uint64_t counting_ns;	      /* since when this blkdev counts */
	uint64_t counted_ns;	      /* when its counters were stored last */
	uint64_t silent_sum_ns;	      /* in which the backend was suspect */
	bool impatient;	       /* the program is to end: requests do not wait for a backend that
				 * is suspect or has another disk, */
	uint64_t impatient_ns; /* and for no other for longer than CBD_QUIT_MOST_NS from then */
	bool lost;	       /* the slot is another process's, or the memory is gone: nothing is
				 * written there any more */
};

/* state.c */
bool cbd_queue_may_become(enum cbd_queue_state from, enum cbd_queue_state to);
void cbd_queue_become(struct cbd_queue *q, enum cbd_queue_state to);
bool cbd_queue_has_epoch(const struct cbd_queue *q);
bool cbd_queue_has_left(const struct cbd_queue *q); /* has asked to leave the epoch */
/* It has an epoch and has not left it.  In one that was left the CE for which it was left
 * may lie in the ring for as long as the drain takes: that one is nothing to wait for, and
 * no reason to stay awake. */
bool cbd_queue_may_leave(const struct cbd_queue *q);
bool cbd_queue_has_ended(const struct cbd_queue *q); /* STOPPED or BROKEN */
/* CLOSING or STOPPED: the administrator has cleared the backend, and no new epoch was seen */
bool cbd_queue_is_cleared(const struct cbd_queue *q);

/* notes.c: a message for the user's log, told by the next cbd_queue_unlock_and_tell(). */
void cbd_queue_note(struct cbd_queue *q, enum cbd_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void cbd_queue_unlock_and_tell(struct cbd_queue *q);

/* vector.c: a part's payload from and to the user's memory, and its CRC there. */
void cbd_vector_skip(struct cbd_vector *v, size_t length);
void cbd_part_store_inside(const struct cbd_mem *m, const struct cbd_part *p, char *to,
			   uint32_t *crc);
void cbd_part_load_inside(const struct cbd_mem *m, const struct cbd_part *p, const char *from,
			  uint32_t *crc);

/* The first error of a request counts; WHY is static. */
static inline void cbd_pending_fail(struct cbd_pending *p, int error, const char *why)
{
	if (error == 0 || p->result < 0)
		return;
	p->result = error;
	p->why = why;
}

/* No part is inside that will be answered. */
static inline bool cbd_parts_await_nothing(const struct cbd_parts *p)
{
	return p->n_free + p->n_behind == p->depth;
}

/* The next CE lies in the ring.  While each SE has its CE it answers nothing, whatever lies
 * there: reap.c does not read it, so nobody may wait until it is gone. */
static inline bool cbd_answer_is_there(const struct cbd_queue *q)
{
	return q->cursors.se_next != q->cursors.ce_next &&
	       cbd_channel_has_ce(&q->ch, q->cursors.ce_next);
}

/* The beats of the backend that were seen, counted from 1. */
static inline uint64_t cbd_beat_now(const struct cbd_blkdev *b)
{
	return cbd_shared_get(&b->backend_beats) + 1;
}

/* Since SINCE, a cbd_beat_now(), the backend has beaten so often that it has stored each
 * of its lines again: the first beat may be one that was seen late, the second one
 * stores, and the third one tells that the second one is complete. */
static inline bool cbd_beats_suffice(const struct cbd_blkdev *b, uint64_t since)
{
	return since && cbd_beat_now(b) - since >= CBD_DOUBT_BEATS;
}

/* durability.c, rule 8 */
enum cbd_written {
	CBD_WRITTEN,	      /* counted */
	CBD_WRITTEN_REPLACED, /* not counted: by a backend that another queue knows as replaced */
};

/* The backend has acknowledged a write.  CERTAIN: it counts in any case. */
enum cbd_written cbd_written(struct cbd_queue *q, bool certain);
void cbd_flush_submitted(struct cbd_blkdev *b, struct cbd_pending *p);
bool cbd_flush_failed(struct cbd_blkdev *b, const struct cbd_pending *p);
void cbd_flush_done(struct cbd_queue *q, struct cbd_pending *p);
void cbd_connections_forget(struct cbd_blkdev *b);

/* What the queue believes of its backend, at each new epoch and when its verifier changes.
 * LOST: it differs from the one before, so what was not flushed may be gone.  IN_FLIGHT: so
 * may a write that is not answered yet. */
void cbd_verifier_seen(struct cbd_queue *q, uint32_t incarnation, uint64_t verifier, bool lost,
		       bool in_flight);
void cbd_belief_drop(struct cbd_queue *q); /* the queue is broken: it flushes nothing more */

/* event.c; cbd_event_close() without the lock */
void cbd_event_fire(struct cbd_queue *q);      /* something is there for cbd_queue_poll() */
void cbd_event_watch(struct cbd_queue *q);     /* if it is armed and no thread leads */
void cbd_event_submitted(struct cbd_queue *q); /* requests are in flight again */
void cbd_event_review(struct cbd_queue *q);    /* watch what is to be watched by now */
void cbd_event_disarm(struct cbd_queue *q);
int cbd_event_arm(struct cbd_queue *q); /* 1: there is something; 0: armed */
/* The same.  *BELL: NULL, or for what the caller has to wait as well, as long as it is VALUE */
int cbd_event_arm_bell(struct cbd_queue *q, const uint32_t **bell, uint32_t *value);
int cbd_event_open(struct cbd_queue *q); /* its descriptor */
void cbd_event_close(struct cbd_queue *q);

/* waiters.c */
void cbd_wake(struct cbd_queue *q, struct cbd_waiter *w, enum cbd_waiter_word why);
void cbd_wake_one(struct cbd_queue *q);
void cbd_waiters_gather(struct cbd_queue *q); /* put wakes off until: */
void cbd_waiters_wake_gathered_unlocks(struct cbd_queue *q);
void cbd_waiter_link(struct cbd_queue *q, struct cbd_waiter *w);
void cbd_waiter_unlink(struct cbd_queue *q, struct cbd_waiter *w);
void cbd_waiter_done(struct cbd_queue *q, struct cbd_waiter *w); /* its request is */
void cbd_lead_take(struct cbd_queue *q);
void cbd_lead_give(struct cbd_queue *q);

/* pending.c */
struct cbd_pending *cbd_pending_get(struct cbd_queue *q, const struct cbd_io *io);
void cbd_pending_put(struct cbd_queue *q, struct cbd_pending *p);
void cbd_pending_enqueue(struct cbd_queue *q, struct cbd_pending *p); /* it waits for a tag */
void cbd_pending_dequeue(struct cbd_queue *q);			      /* the first of these */
void cbd_pending_give_up(struct cbd_queue *q, struct cbd_pending *p); /* the same; it failed */
void cbd_pending_end_waiting(struct cbd_queue *q, int error, const char *why); /* all of these */
/* Why a request is late; NULL: it is not.  PATIENT: only the user's time-out counts. */
const char *cbd_pending_is_late(const struct cbd_queue *q, const struct cbd_pending *p,
				uint64_t now_ns, bool patient);
void cbd_pending_timeouts(struct cbd_queue *q, uint64_t now_ns, bool patient);
void cbd_pending_complete(struct cbd_queue *q, struct cbd_pending *p);
struct cbd_pending *cbd_pending_reap(struct cbd_queue *q); /* the next one that is done */
bool cbd_pending_may_start(struct cbd_queue *q, struct cbd_pending *p);
void cbd_pending_take_freed(struct cbd_queue *q);
void cbd_pendings_init(struct cbd_requests *r);
void cbd_pendings_free(struct cbd_requests *r);

/* parts.c */
struct cbd_part *cbd_part_take(struct cbd_queue *q, struct cbd_pending *io);
void cbd_part_retry(struct cbd_queue *q, struct cbd_part *p, uint64_t until_ns);
const char *cbd_why_ended(const struct cbd_queue *q); /* STOPPED, BROKEN: for people */
/* RESULT: a negative errno; the number of blocks that a BLOCK_STATUS was answered with; 0. */
void cbd_part_end(struct cbd_queue *q, struct cbd_part *p, int result);
/* A BLOCK_STATUS of which nobody can tell more. */
void cbd_part_end_as_data(struct cbd_queue *q, struct cbd_part *p);
void cbd_part_leave_behind(struct cbd_queue *q, struct cbd_part *p);
void cbd_parts_end_behind(struct cbd_queue *q); /* all of these */

/* Everything ends with ERROR, now and later.  EIO: the memory or the slot is gone, the
 * channel keeps failing, or the program was told to stop waiting for the backend;
 * ESHUTDOWN: the blkdev is closed. */
void cbd_queue_break(struct cbd_queue *q, int error);

/* Everything ends with ESHUTDOWN until a new epoch comes: the administrator has cleared
 * the backend. */
void cbd_queue_stop(struct cbd_queue *q);
void cbd_queue_timeouts(struct cbd_queue *q, uint64_t now_ns, bool patient);

/* publish.c: of what waits, all that gets a tag and an extent; parts that are ready, in
 * this order; one part. */
void cbd_queue_issue_unlocks(struct cbd_queue *q);
/* No queue's lock held: publish the writes of any queue that completions have freed. */
void cbd_blkdev_issue_freed(struct cbd_blkdev *b);
void cbd_parts_publish_unlocks(struct cbd_queue *q, struct cbd_part **parts, unsigned n);
void cbd_part_publish_unlocks(struct cbd_queue *q, struct cbd_part *p);

/* lines.c: the lines of the blkdev's slot; no lock of a queue is needed */
void *cbd_blkdev_info(const struct cbd_blkdev *b, unsigned line);
int cbd_blkdev_put_state(struct cbd_blkdev *b, enum cbd_slot_state state);
int cbd_ring_doorbell(struct cbd_blkdev *b);
int cbd_blkdev_put_request(struct cbd_blkdev *b, enum cbd_request_state state);
void cbd_blkdev_put_counters(struct cbd_blkdev *b);
void cbd_queue_put_counters(struct cbd_queue *q); /* its channel is granted to it */
int cbd_blkdev_beat(struct cbd_blkdev *b);

/* epoch.c */
bool cbd_grant_is_own(const struct cbd_queue *q, const struct cbd_grant_line *g);
int cbd_grant_valid(const struct cbd_queue *q, const struct cbd_grant_line *g);
void cbd_blkdev_find_peer(struct cbd_blkdev *b); /* is the backend of this boot? */
void cbd_epoch_enter(struct cbd_queue *q, const struct cbd_grant_line *g);

enum cbd_epoch_check {
	CBD_EPOCH_SAME,	   /* the epoch is in force */
	CBD_EPOCH_CHANGED, /* another one is, or the queue has ended */
	CBD_EPOCH_UNCLEAR, /* the grant cannot be read, or is not this queue's */
};

/* Read the grant and follow it: into a new epoch, a leave, a close. */
enum cbd_epoch_check cbd_grant_check_unlocks(struct cbd_queue *q);

/* The same with a copy of the line that was just read; cheap while it has not changed. */
enum cbd_epoch_check cbd_grant_recheck_unlocks(struct cbd_queue *q, const struct cbd_grant_line *g);

/* Ask the backend to end the epoch in force with a drain, and to grant a new one. */
void cbd_leave(struct cbd_queue *q, enum cbd_leave_reason reason);
void cbd_leave_assert(struct cbd_queue *q); /* at each beat */

/* attach.c */
int cbd_attach_find(struct cbd_transport *t, const char *backend);
int cbd_attach(struct cbd_blkdev *b, const struct cbd_blkdev_options *o);
void cbd_detach(struct cbd_blkdev *b);

/* reap.c: one look at the ring, by the leader.  SEEN is a copy of the next CE that it has
 * made without the lock, or NULL.  False: nothing was there. */
bool cbd_reap_ring_unlocks(struct cbd_queue *q, const struct cbd_ce *seen);

/* lead.c: wait until OWN is done; until a completion can be reaped; until nothing is in
 * flight, at close. */
void cbd_queue_await_answer_and_unlock(struct cbd_queue *q, struct cbd_pending *own);
void cbd_queue_await_completion_unlocks(struct cbd_queue *q, uint64_t deadline_ns);
/* What a wait that takes long looks at. */
void cbd_look_now_unlocks(struct cbd_queue *q, uint64_t now_ns);
void cbd_queue_await_idle_unlocks(struct cbd_queue *q, uint64_t deadline_ns);

/* The answers to requests that have timed out: no thread waits for them, but new writes
 * are refused until they are read (rule 9). */
void cbd_reap_late_unlocks(struct cbd_queue *q);

/* heartbeat.c; cbd_blkdev_start() too */
void cbd_heartbeat_stop(struct cbd_blkdev *b);

/* queue.c */
void cbd_queue_init(struct cbd_queue *q, struct cbd_blkdev *b, unsigned index);
void cbd_queue_free(struct cbd_queue *q);

#endif
