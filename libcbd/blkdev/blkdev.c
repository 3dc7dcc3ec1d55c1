/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blkdev.c - the life of a blkdev: claim a slot, attach, beat, close; and
 * the accounting of what was written and not flushed (rule 8).
 */
#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "blkdev/blkdev.h"
#include "base/error.h"
#include "memory/fault.h"
#include "slots/host.h"
#include "base/step.h"

#define STALL_NS 30000000000ull
#define LOST_NS 200000000ull  /* nothing has come: have lines been lost? */
#define SLOW_NS 5000000000ull /* or something else that a new epoch mends? */

static void *info_line(const struct cbd_blkdev *b, unsigned line)
{
	return cbd_blkdev_line(b->t, b->slot, CBD_BLKDEV_INFO, line);
}

/* ------------------------------------------------------------- durability */

/* Blkdev lock held. */
static void count_loss(struct cbd_blkdev *b)
{
	b->losses++;
	b->flushed = b->written;
	cbd_log(CBD_LOG_ERROR,
		"backend %u: writes that were not flushed may be lost; the next flush fails",
		b->backend);
}

/*
 * A write was acknowledged.  False when a newer backend has been seen since:
 * the answer is of a process that is gone, and what it wrote may be lost
 * without anybody being told; so the write is executed again.  When another
 * queue has seen a failed sync of this backend since this one looked at its
 * grant, the write may be lost too, and was not there to be counted.
 */
bool cbd_written(struct cbd_queue *q)
{
	struct cbd_blkdev *b = q->b;
	bool current;

	pthread_mutex_lock(&b->lock);
	current = q->backend_incarnation == b->backend_incarnation;
	if (current)
		b->written++;
	if (current && q->verifier != b->verifier)
		count_loss(b);
	pthread_mutex_unlock(&b->lock);
	return current;
}

static struct cbd_connection *connection_of(struct cbd_blkdev *b, const struct cbd_pending *p)
{
	return p->io.connection ? p->io.connection : &b->own;
}

/* A flush covers what was complete when it was submitted.  The first one after
 * a loss fails, on each connection that was open at the loss. */
void cbd_flush_submitted(struct cbd_blkdev *b, struct cbd_pending *p)
{
	struct cbd_connection *c = connection_of(b, p);

	pthread_mutex_lock(&b->lock);
	p->generation = b->written;
	p->losses = b->losses;
	if (c->losses != b->losses) {
		c->losses = b->losses;
		p->result = -EIO;
	}
	pthread_mutex_unlock(&b->lock);
}

/* Was something lost since it was submitted? */
bool cbd_flush_failed(struct cbd_blkdev *b, const struct cbd_pending *p)
{
	bool failed;

	pthread_mutex_lock(&b->lock);
	failed = p->losses != b->losses;
	pthread_mutex_unlock(&b->lock);
	return failed;
}

/* Also a flush that was in flight at a loss fails. */
void cbd_flush_done(struct cbd_queue *q, struct cbd_pending *p)
{
	struct cbd_blkdev *b = q->b;

	pthread_mutex_lock(&b->lock);
	if (p->losses != b->losses) {
		connection_of(b, p)->losses = b->losses;
		p->result = -EIO;
	} else if (p->result == 0 && p->generation > b->flushed) {
		b->flushed = p->generation;
	}
	pthread_mutex_unlock(&b->lock);
}

/* OUT: a write that may have been executed before the loss is not answered
 * yet. */
void cbd_verifier_seen(struct cbd_blkdev *b, uint32_t incarnation, uint64_t verifier, bool lost,
		       bool out)
{
	pthread_mutex_lock(&b->lock);
	if ((int32_t)(incarnation - b->backend_incarnation) >= 0) {
		b->backend_incarnation = incarnation;
		b->verifier = verifier;
	}
	/* each queue sees the change for itself: one loss may count twice,
	 * which fails one flush more, never one less */
	if (lost && (out || b->written != b->flushed))
		count_loss(b);
	pthread_mutex_unlock(&b->lock);
}

struct cbd_connection *cbd_connection_open(struct cbd_blkdev *b)
{
	struct cbd_connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->b = b;
	pthread_mutex_lock(&b->lock);
	c->losses = b->losses;
	pthread_mutex_unlock(&b->lock);
	return c;
}

void cbd_connection_close(struct cbd_connection *c)
{
	free(c);
}

/* ------------------------------------------------------------------ lines */

int cbd_ring_doorbell(struct cbd_blkdev *b)
{
	int r;

	pthread_mutex_lock(&b->lines);
	b->doorbell.count++;
	r = cbd_line_put(b->t, info_line(b, CBD_BLKDEV_DOORBELL), &b->doorbell);
	pthread_mutex_unlock(&b->lines);
	return r;
}

static int put_state(struct cbd_blkdev *b, enum cbd_slot_state state)
{
	b->state.state = state;
	return cbd_line_put(b->t, info_line(b, CBD_BLKDEV_STATE), &b->state);
}

static void put_counters(struct cbd_blkdev *b)
{
	struct cbd_counters sum = { .errors = 0 };
	const size_t words = sizeof(sum) / sizeof(uint64_t);
	struct cbd_fault f;

	for (unsigned i = 0; i < b->n_queues; i++) {
		struct cbd_queue *q = &b->queues[i];
		const uint64_t *from = (const uint64_t *)&q->counters;
		uint64_t *to = (uint64_t *)&sum;

		pthread_mutex_lock(&q->lock);
		for (size_t w = 0; w < words; w++)
			to[w] += from[w];
		pthread_mutex_unlock(&q->lock);
	}
	if (!CBD_FAULT_TRY(&f))
		return;
	cbd_mem_store(&b->t->mem, cbd_blkdev_line(b->t, b->slot, CBD_BLKDEV_COUNTERS, 0), &sum,
		      sizeof(sum));
	cbd_fault_end(&f);
}

/* Rule 1: owners store their control lines again when they were lost. */
int cbd_blkdev_beat(struct cbd_blkdev *b)
{
	int r;

	pthread_mutex_lock(&b->lines);
	b->beat.counter++;
	r = cbd_claim_check(&b->claim);
	if (r == 0)
		r = cbd_line_put(b->t, info_line(b, CBD_BLKDEV_BEAT), &b->beat);
	if (r == 0)
		r = cbd_line_assert(b->t, info_line(b, CBD_BLKDEV_STATE), &b->state);
	if (r == 0)
		r = cbd_line_assert(b->t, info_line(b, CBD_BLKDEV_REQUEST), &b->request);
	if (r == 0)
		r = cbd_line_assert(b->t, info_line(b, CBD_BLKDEV_DOORBELL), &b->doorbell);
	if (r == 0)
		r = cbd_host_beat(b->t);
	pthread_mutex_unlock(&b->lines);
	return r;
}

/* -------------------------------------------------------- heartbeat thread */

static void watch_backend(struct cbd_blkdev *b)
{
	struct cbd_beat_line beat;
	enum cbd_liveness l;

	if (cbd_line_get(b->t,
			 cbd_backend_line(b->t, b->backend, CBD_BACKEND_INFO, CBD_BACKEND_BEAT),
			 &beat) < 0)
		return;
	l = cbd_watch_sample(&b->watch, beat.counter, cbd_now_ns(), cbd_interval_ns(b->t),
			     b->t->header.dead_after);
	if (l == CBD_SUSPECT && !b->suspect)
		cbd_log(CBD_LOG_WARNING, "backend %u: does not beat; its I/O waits", b->backend);
	if (l == CBD_ALIVE && b->suspect)
		cbd_log(CBD_LOG_INFO, "backend %u: beats again", b->backend);
	if (l == CBD_SUSPECT || l == CBD_ALIVE)
		cbd_flag_set(&b->suspect, l == CBD_SUSPECT);
}

/* Rule 1 for entries: an SE that was lost before it was fetched is stored
 * again, while no later one has its slot. */
static void assert_entries(struct cbd_queue *q)
{
	for (unsigned tag = 0; tag < q->depth; tag++) {
		struct cbd_part *p = &q->parts[tag];

		if (p->state == CBD_PART_PUBLISHED && q->position - p->se.position <= q->ch.slots &&
		    cbd_channel_assert_se(&q->ch, &p->se) < 0) {
			cbd_queue_break(q, -EIO);
			return;
		}
	}
}

/*
 * Nothing moves although the backend beats.  Lost SEs are mended, a lost CE is
 * seen by those behind it.  Else the epoch is left, which costs little when
 * the disk is only slow: the backend says that it drains and takes its time.
 * When it does not even say that, the lines between us are not sane, and
 * nobody will mend them.
 */
static void look_for_stall(struct cbd_blkdev *b, struct cbd_queue *q, uint64_t now)
{
	uint64_t silent = now - q->moved_ns;
	bool may_leave = q->attached && q->left_epoch != q->ch.epoch;

	if (b->suspect || q->n_free == q->depth || q->draining || silent < LOST_NS)
		return;
	/* the user does not poll; but not the CE for which the epoch was left */
	if (may_leave && cbd_channel_has_ce(&q->ch, q->count)) {
		q->moved_ns = now;
		return;
	}
	if (q->attached && !q->broken)
		assert_entries(q);
	if (may_leave && cbd_channel_lost_ce(&q->ch, q->count)) {
		cbd_leave(q, CBD_LEAVE_BAD_ENTRY);
		return;
	}
	/* not before a backend that has crashed is known to be silent */
	if (silent < (may_leave ? SLOW_NS : STALL_NS + cbd_suspect_ns(b->t)))
		return;
	q->moved_ns = now;
	if (may_leave) {
		q->leaves = 0; /* slow is not broken */
		cbd_leave(q, CBD_LEAVE_STALLED);
		return;
	}
	cbd_log(CBD_LOG_ERROR, "backend %u: channel %u does not move; its I/O ends", b->backend,
		q->ch.id);
	cbd_queue_break(q, -EIO);
}

static void look_at_queue(struct cbd_blkdev *b, struct cbd_queue *q)
{
	uint64_t now;

	pthread_mutex_lock(&q->lock);
	cbd_grant_check(q);
	cbd_leave_assert(q);
	now = cbd_now_ns(); /* with the lock: nothing in the queue is younger */
	cbd_queue_timeouts(q, now);
	look_for_stall(b, q, now);
	cbd_reap_late(q);
	if (b->suspect && cbd_flag_get(&b->impatient))
		cbd_queue_break(q, -EIO);
	cbd_wake_one(q);
	pthread_mutex_unlock(&q->lock);
}

/* Slot or memory lost: nothing more may be written there. */
static void give_up(struct cbd_blkdev *b)
{
	cbd_log(CBD_LOG_ERROR, "%s", cbd_errmsg());
	cbd_flag_set(&b->lost, true);
	for (unsigned i = 0; i < b->n_queues; i++) {
		pthread_mutex_lock(&b->queues[i].lock);
		cbd_queue_break(&b->queues[i], -EIO);
		pthread_mutex_unlock(&b->queues[i].lock);
	}
}

/* Until the next beat, or stop. */
static bool pause_beat(struct cbd_blkdev *b)
{
	struct timespec ts;
	uint64_t until = cbd_now_ns() + cbd_interval_ns(b->t);
	bool stop;

	ts.tv_sec = (time_t)(until / 1000000000);
	ts.tv_nsec = (long)(until % 1000000000);
	pthread_mutex_lock(&b->lines);
	while (!b->stop && pthread_cond_timedwait(&b->stop_cond, &b->lines, &ts) != ETIMEDOUT)
		;
	stop = b->stop;
	pthread_mutex_unlock(&b->lines);
	return !stop;
}

static void *heartbeat(void *arg)
{
	struct cbd_blkdev *b = arg;

	while (pause_beat(b)) {
		if (cbd_blkdev_beat(b) < 0) {
			give_up(b);
			break;
		}
		watch_backend(b);
		for (unsigned i = 0; i < b->n_queues; i++)
			look_at_queue(b, &b->queues[i]);
		put_counters(b);
	}
	return NULL;
}

static void block_signals(sigset_t *old)
{
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	pthread_sigmask(SIG_SETMASK, &all, old);
}

int cbd_blkdev_start(struct cbd_blkdev *b)
{
	struct cbd_lock join = CBD_LOCK_NONE;
	sigset_t old;
	int r = cbd_join_lock(b->t, &join);

	/* After a fork the parent may live on with copies of the descriptors
	 * that carry the locks.  The join lock keeps sweepers out meanwhile. */
	if (r == 0)
		r = cbd_claim_renew(&b->claim);
	if (r == 0)
		r = cbd_host_renew(b->t);
	cbd_lock_release(&join);
	if (r < 0)
		return r;
	pthread_mutex_lock(&b->lines);
	b->state.pid = (uint32_t)getpid();
	r = put_state(b, CBD_SLOT_LIVE);
	pthread_mutex_unlock(&b->lines);
	if (r == 0)
		r = cbd_blkdev_beat(b);
	if (r < 0)
		return r;
	/* a forked child would keep the mapping, and so the memory, in use */
	madvise(b->t->base, b->t->map_length, MADV_DONTFORK);
	block_signals(&old);
	r = pthread_create(&b->thread, NULL, heartbeat, b);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0)
		return cbd_error(r, "heartbeat thread: %m");
	b->started = true;
	return 0;
}

/* ------------------------------------------------------------ open, close */

/* Any slot will do; one that an other process holds is passed by. */
static int claim_any(struct cbd_blkdev *b)
{
	for (unsigned d = 0; d < b->t->header.blkdevs; d++) {
		int r = cbd_claim_take(b->t, CBD_CLAIM_BLKDEV, d, &b->claim);

		if (r == 0) {
			b->slot = d;
			return 0;
		}
		if (r != -EBUSY)
			return r;
	}
	return cbd_error(EBUSY, "%s: all %u blkdev slots are taken", b->t->path,
			 b->t->header.blkdevs);
}

/* The state line tells; when it was torn by a death, the lines beside it. */
static uint32_t last_incarnation(struct cbd_blkdev *b, uint32_t known)
{
	struct cbd_beat_line beat;
	struct cbd_request_line request;

	if (known)
		return known;
	if (cbd_line_get(b->t, info_line(b, CBD_BLKDEV_BEAT), &beat) == 0)
		known = cbd_newer(known, beat.incarnation);
	if (cbd_line_get(b->t, info_line(b, CBD_BLKDEV_REQUEST), &request) == 0)
		known = cbd_newer(known, request.incarnation);
	if (!known)
		cbd_random(&known, sizeof(known));
	return known;
}

/* A new incarnation; the lines of the one before lose their meaning. */
static int enter_slot(struct cbd_blkdev *b)
{
	struct cbd_state_line old;
	struct cbd_doorbell_line bell;
	uint32_t incarnation;
	int r = cbd_line_get(b->t, info_line(b, CBD_BLKDEV_STATE), &old);

	if (r == -EIO)
		return r;
	incarnation = last_incarnation(b, r == 0 ? old.incarnation : 0) + 1;
	b->state = (struct cbd_state_line){
		.incarnation = incarnation ? incarnation : 1,
		.host = (uint16_t)b->t->host,
		.pid = (uint32_t)getpid(),
		.backend = (uint16_t)b->backend,
		.count = (uint16_t)b->n_queues,
	};
	memcpy(b->state.owner, b->claim.line.owner, 16);
	memcpy(b->state.boot_id, b->t->identity.boot_id, 16);
	b->request = (struct cbd_request_line){
		.incarnation = b->state.incarnation,
		.backend = (uint16_t)b->backend,
		.host = (uint16_t)b->t->host,
		.queues = (uint16_t)b->n_queues,
		.depth = (uint16_t)b->depth,
		.flags = b->read_only ? CBD_REQUEST_READ_ONLY : 0,
		.features = CBD_FEATURES_KNOWN,
	};
	b->doorbell.incarnation = b->beat.incarnation = b->state.incarnation;
	/* goes on from where it was: a backend compares it with what it saw */
	if (cbd_line_get(b->t, info_line(b, CBD_BLKDEV_DOORBELL), &bell) < 0)
		cbd_random(&bell.count, sizeof(bell.count));
	b->doorbell.count = bell.count;
	r = put_state(b, CBD_SLOT_STARTING);
	cbd_step("blkdev-entered");
	if (r == 0)
		r = cbd_line_put(b->t, info_line(b, CBD_BLKDEV_REQUEST), &b->request);
	return r == 0 ? cbd_blkdev_beat(b) : r;
}

static int open_claimed(struct cbd_blkdev *b, const struct cbd_blkdev_options *o)
{
	int r = enter_slot(b);

	if (r == 0)
		r = cbd_attach(b, o);
	if (r == 0)
		r = put_state(b, CBD_SLOT_LIVE);
	return r;
}

static struct cbd_blkdev *new_blkdev(struct cbd_transport *t, const struct cbd_blkdev_options *o)
{
	struct cbd_blkdev *b = calloc(1, sizeof(*b));
	pthread_condattr_t attr;

	if (!b)
		return NULL;
	b->t = t;
	b->claim.lock.fd = -1;
	b->poll = o->poll;
	b->timeout_s = o->timeout_s;
	b->read_only = o->read_only;
	b->depth = o->depth;
	b->n_queues = o->queues ? o->queues : 1;
	b->own.b = b;
	pthread_mutex_init(&b->lines, NULL);
	pthread_mutex_init(&b->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->stop_cond, &attr);
	pthread_condattr_destroy(&attr);
	b->queues = calloc(b->n_queues, sizeof(*b->queues));
	for (unsigned i = 0; b->queues && i < b->n_queues; i++)
		cbd_queue_init(&b->queues[i], b, i);
	return b;
}

static int check_options(const struct cbd_transport *t, const struct cbd_blkdev_options *o)
{
	const struct cbd_header *h = &t->header;

	if (!o->backend)
		return cbd_error(EINVAL, "%s: no backend given", t->path);
	if (o->queues > h->channels)
		return cbd_error(EINVAL, "%s: queues: %u is more than the %u channels of a backend",
				 t->path, o->queues, h->channels);
	if (o->depth > h->ring_slots)
		return cbd_error(EINVAL, "%s: depth: %u is more than the %u slots of a ring",
				 t->path, o->depth, h->ring_slots);
	return 0;
}

int cbd_blkdev_open(struct cbd_transport *t, const struct cbd_blkdev_options *o,
		    struct cbd_blkdev **out)
{
	struct cbd_blkdev *b;
	int r = check_options(t, o), backend;

	if (r < 0)
		return r;
	backend = cbd_attach_find(t, o->backend);
	if (backend < 0)
		return backend;
	r = cbd_host_join(t, o->host_id);
	if (r < 0)
		return r;
	r = cbd_claim_sweep(t, true);
	if (r < 0)
		return r;
	b = new_blkdev(t, o);
	if (!b || !b->queues) {
		cbd_blkdev_close(b);
		return cbd_error(ENOMEM, "blkdev: %m");
	}
	b->backend = (unsigned)backend;
	r = claim_any(b);
	if (r == 0)
		r = open_claimed(b, o);
	if (r < 0) {
		char message[512];

		/* closing may overwrite the message of what went wrong */
		strncpy(message, cbd_errmsg(), sizeof(message) - 1);
		message[sizeof(message) - 1] = 0;
		cbd_blkdev_close(b);
		return cbd_error(-r, "%s", message);
	}
	*out = b;
	return 0;
}

static void stop_thread(struct cbd_blkdev *b)
{
	if (!b->started)
		return;
	pthread_mutex_lock(&b->lines);
	b->stop = true;
	pthread_cond_signal(&b->stop_cond);
	pthread_mutex_unlock(&b->lines);
	pthread_join(b->thread, NULL);
}

void cbd_blkdev_stop_waiting(struct cbd_blkdev *b)
{
	cbd_flag_set(&b->impatient, true);
}

bool cbd_blkdev_suspects(const struct cbd_blkdev *b)
{
	return cbd_flag_get(&b->suspect);
}

/* What was submitted and not reaped: finished if that is to be had. */
static void drain(struct cbd_blkdev *b)
{
	uint64_t deadline = cbd_now_ns() + cbd_suspect_ns(b->t);

	for (unsigned i = 0; i < b->n_queues; i++) {
		struct cbd_queue *q = &b->queues[i];

		pthread_mutex_lock(&q->lock);
		if (q->parts && !cbd_flag_get(&b->suspect) && !cbd_flag_get(&b->lost))
			cbd_reap_idle(q, deadline);
		pthread_mutex_unlock(&q->lock);
	}
}

/* Requests that nobody will answer; their completions are not reaped. */
static void end_all(struct cbd_blkdev *b)
{
	for (unsigned i = 0; i < b->n_queues; i++) {
		struct cbd_queue *q = &b->queues[i];

		pthread_mutex_lock(&q->lock);
		cbd_queue_break(q, -ESHUTDOWN);
		pthread_mutex_unlock(&q->lock);
	}
}

static void leave_slot(struct cbd_blkdev *b)
{
	bool abandoned = b->request.state == CBD_REQUEST_ABANDONED;

	put_counters(b);
	put_state(b, abandoned ? CBD_SLOT_ABANDONED : CBD_SLOT_FREE);
	cbd_step("blkdev-left");
	cbd_claim_release(&b->claim);
}

void cbd_blkdev_close(struct cbd_blkdev *b)
{
	bool claimed = b && b->claim.lock.fd >= 0;

	if (!b)
		return;
	/* with the heartbeat, or others would suspect what only waits */
	if (claimed && (b->started || cbd_claim_check(&b->claim) == 0))
		drain(b);
	stop_thread(b);
	if (claimed && cbd_claim_check(&b->claim) < 0)
		b->lost = true;
	if (claimed && b->lost) {
		cbd_lock_release(&b->claim.lock);
	} else if (claimed) {
		cbd_detach(b);
		leave_slot(b);
	}
	if (b->queues)
		end_all(b);
	for (unsigned i = 0; b->queues && i < b->n_queues; i++)
		cbd_queue_free(&b->queues[i]);
	free(b->queues);
	pthread_cond_destroy(&b->stop_cond);
	pthread_mutex_destroy(&b->lines);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

/* ------------------------------------------------------------- properties */

void cbd_blkdev_geometry(const struct cbd_blkdev *b, struct cbd_blkdev_geometry *g)
{
	const struct cbd_geometry_line *l = &b->geometry;

	*g = (struct cbd_blkdev_geometry){
		.size = l->size,
		.logical_block = l->logical_block,
		.physical_block = l->physical_block,
		.optimal_block = l->optimal_block,
		.max_data = l->max_data,
		.rotational = l->flags & CBD_GEOMETRY_ROTATIONAL,
		.read_only = b->read_only,
		.discard = l->flags & CBD_GEOMETRY_DISCARD,
		.fast_zero = l->flags & CBD_GEOMETRY_FAST_ZERO,
		.write_through = l->flags & CBD_GEOMETRY_WRITE_THROUGH,
	};
}

unsigned cbd_blkdev_id(const struct cbd_blkdev *b)
{
	return b->slot;
}

unsigned cbd_blkdev_queues(const struct cbd_blkdev *b)
{
	return b->n_queues;
}

struct cbd_queue *cbd_blkdev_queue(struct cbd_blkdev *b, unsigned i)
{
	return i < b->n_queues ? &b->queues[i] : NULL;
}
