/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * heartbeat.c - the heartbeat thread of a blkdev: it beats, watches the backend, and
 * looks at each queue for a new grant, time-outs, a stall, and what its descriptor waits for.
 */
#include <config.h>

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "blkdev/blkdev.h"
#include "base/error.h"
#include "slots/host.h"

/* Rule 6: nothing has come for so long although the backend beats. */
#define LOST_NS 200000000ull	/* lines may be lost: they are stored again */
#define SLOW_NS 5000000000ull	/* a new epoch is asked for */
#define SLOW_MOST 5		/* and doubled at most so often */
#define STALL_NS 30000000000ull /* and it does not come: requests end with EIO */

static void watch_backend(struct cbd_blkdev *b)
{
	struct cbd_beat_line beat;
	enum cbd_liveness l;

	/* a damaged line does not move: a backend that lives stores it again */
	if (cbd_line_get(b->t, cbd_backend_info_at(b->t, b->backend, CBD_BACKEND_BEAT), &beat) < 0)
		beat.counter = b->watch.counter;
	else if (!b->backend_beats || beat.counter != b->backend_count) {
		cbd_word_store(&b->beating_incarnation, beat.incarnation);
		cbd_shared_set(&b->backend_beats, b->backend_beats + 1);
	}
	b->backend_count = beat.counter;
	l = cbd_watch_sample(&b->watch, beat.counter, cbd_now_ns(), cbd_interval_ns(b->t),
			     b->t->header.dead_after);
	if (l == CBD_SUSPECT || l == CBD_ALIVE)
		cbd_flag_set(&b->suspect, l == CBD_SUSPECT);
}

/*
 * After the queues were looked at.  A backend beats before it grants: while a queue knows
 * only that the one before was cleared, its requests end with ESHUTDOWN, and nobody is
 * told that the backend is back.
 */
static void tell_of_backend(struct cbd_blkdev *b)
{
	if (b->suspect && !b->told_silent) {
		b->told_silent = true;
		b->silent_ns = cbd_now_ns() - cbd_suspect_ns(b->t);
		cbd_log(CBD_LOG_WARNING, "backend %u: does not beat%s", b->backend,
			b->cleared ? " and was cleared: its requests end with ESHUTDOWN"
				   : ": its requests wait");
	}
	if (!b->suspect && b->told_silent && !b->cleared) {
		b->told_silent = false;
		cbd_log(CBD_LOG_WARNING, "backend %u: is back, after %u s without a beat",
			b->backend, (unsigned)((cbd_now_ns() - b->silent_ns) / 1000000000));
	}
}

/* Rule 7.7: requests wait for the disk that they are for. */
static void watch_disk(struct cbd_blkdev *b)
{
	struct cbd_identity_line line;
	bool foreign;

	if (cbd_line_get(b->t, cbd_backend_info_at(b->t, b->backend, CBD_BACKEND_IDENTITY), &line) <
	    0)
		return;
	foreign = line.disk_identity != b->disk_identity;
	if (foreign && !b->foreign)
		cbd_log(CBD_LOG_ERROR,
			"backend %u: serves another disk; I/O waits for the right one", b->backend);
	if (!foreign && b->foreign)
		cbd_log(CBD_LOG_INFO, "backend %u: serves the right disk again", b->backend);
	b->foreign = foreign;
}

/* Rule 6, "Storing SEs again": an SE that was lost before it was fetched is stored again,
 * while no later one has its place in the ring. */
static void assert_entries(struct cbd_queue *q)
{
	for (unsigned tag = 0; tag < q->parts.depth; tag++) {
		struct cbd_part *p = &q->parts.all[tag];

		if (p->state == CBD_PART_PUBLISHED &&
		    q->cursors.se_next - p->se.position <= q->ch.slots &&
		    cbd_channel_assert_se(&q->ch, &p->se) < 0) {
			cbd_queue_break(q, -EIO);
			return;
		}
	}
}

/* The user does not poll. */
static bool answer_waits(const struct cbd_queue *q)
{
	return cbd_queue_may_leave(q) && cbd_answer_is_there(q);
}

static bool drains(const struct cbd_queue *q)
{
	return q->state == CBD_QUEUE_DRAINING ||
	       (q->state == CBD_QUEUE_RETURNING && q->epoch.drains);
}

/* Each time that nothing came of it twice as long: a handler that is in a slow call of its
 * disk has to get to this channel before the next one is left. */
static uint64_t slow_ns(const struct cbd_queue *q)
{
	return SLOW_NS << (q->epoch.stalls < SLOW_MOST ? q->epoch.stalls : SLOW_MOST);
}

/*
 * Nothing moves although the backend beats.  Lost SEs are stored again, a lost CE shows by
 * those behind it.  Else the epoch is left, which costs little when the disk is only
 * slow: the backend says that it drains (DRAINING), and takes its time; what it answers
 * meanwhile is movement.  When it does not even say that, the lines between the two are
 * damaged in a way that nothing repairs.  What a backend that lies can do beside,
 * cbd_queue_timeouts() bounds.
 */
static void look_for_stall(struct cbd_blkdev *b, struct cbd_queue *q, uint64_t now)
{
	uint64_t silent = now - q->cursors.moved_ns;

	if (cbd_parts_await_nothing(&q->parts) || silent < LOST_NS)
		return;
	if (drains(q) || answer_waits(q)) {
		q->cursors.moved_ns = now;
		return;
	}
	if (cbd_queue_has_epoch(q))
		assert_entries(q);
	if (cbd_queue_may_leave(q) && cbd_channel_lost_ce(&q->ch, q->cursors.ce_next)) {
		cbd_leave(q, CBD_LEAVE_BAD_ENTRY);
		return;
	}
	/* not before a backend that has crashed is known to be silent */
	if (silent < (cbd_queue_may_leave(q) ? slow_ns(q) : STALL_NS + cbd_suspect_ns(b->t)))
		return;
	q->cursors.moved_ns = now;
	if (cbd_queue_may_leave(q)) {
		cbd_leave(q, CBD_LEAVE_STALLED);
		return;
	}
	cbd_queue_note(q, CBD_LOG_ERROR,
		       "backend %u: channel %u: nothing is answered although the backend beats: "
		       "its requests end with EIO",
		       b->backend, q->ch.id);
	cbd_queue_break(q, -EIO);
}

/* Time in which nothing can be answered counts for no stall and no bound. */
static uint64_t count_time(struct cbd_blkdev *b)
{
	uint64_t now = cbd_now_ns(), passed = b->round_ns ? now - b->round_ns : 0;
	bool counts = !b->suspect && !b->foreign;

	b->round_ns = now;
	if (b->suspect)
		b->silent_sum_ns += passed;
	/* this thread was stopped, and so may the machine have been */
	if (passed > cbd_interval_ns(b->t) + CBD_BUSY_NS)
		counts = false;
	if (counts)
		cbd_shared_set(&b->beating_ns, cbd_shared_get(&b->beating_ns) + passed);
	return counts ? 0 : passed;
}

static bool waits_no_longer(const struct cbd_blkdev *b, uint64_t now)
{
	return cbd_flag_get(&b->impatient) &&
	       (b->suspect || b->foreign ||
		now >= cbd_shared_get(&b->impatient_ns) + CBD_QUIT_MOST_NS);
}

static void look_at_queue(struct cbd_blkdev *b, struct cbd_queue *q, uint64_t lost_ns, bool count)
{
	uint64_t now;

	pthread_mutex_lock(&q->lock);
	q->cursors.moved_ns += lost_ns;
	cbd_grant_check_unlocks(q);
	cbd_leave_assert(q);
	now = cbd_now_ns(); /* with the lock held: no time in the queue is later */
	if (q->cursors.moved_ns > now)
		q->cursors.moved_ns = now;
	cbd_queue_timeouts(q, now, answer_waits(q));
	if (!b->suspect && !b->foreign)
		look_for_stall(b, q, now);
	cbd_reap_late_unlocks(q);
	if (waits_no_longer(b, now) && !cbd_queue_has_ended(q))
		cbd_queue_break(q, -EIO);
	cbd_wake_one(q);
	b->cleared |= cbd_queue_is_cleared(q);
	cbd_event_review(q);
	if (count && cbd_queue_has_epoch(q))
		cbd_queue_put_counters(q);
	cbd_queue_unlock_and_tell(q);
}

/* The slot or the memory is lost: nothing is written there any more. */
static void give_up(struct cbd_blkdev *b)
{
	cbd_log(CBD_LOG_ERROR, "%s", cbd_errmsg());
	cbd_flag_set(&b->lost, true);
	for (unsigned i = 0; i < b->n_queues; i++) {
		pthread_mutex_lock(&b->queues[i].lock);
		cbd_queue_break(&b->queues[i], -EIO);
		cbd_queue_unlock_and_tell(&b->queues[i]);
	}
	cbd_blkdev_issue_freed(b);
}

static bool counters_are_due(struct cbd_blkdev *b)
{
	if (b->round_ns - b->counted_ns < CBD_COUNTERS_EVERY_NS)
		return false;
	b->counted_ns = b->round_ns;
	return true;
}

/* Sleep until the next beat is due.  False: the thread is to end. */
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
	uint64_t lost_ns;
	bool count;

	while (pause_beat(b)) {
		if (cbd_blkdev_beat(b) < 0) {
			give_up(b);
			break;
		}
		watch_backend(b);
		watch_disk(b);
		lost_ns = count_time(b);
		b->cleared = false;
		count = counters_are_due(b);
		for (unsigned i = 0; i < b->n_queues; i++)
			look_at_queue(b, &b->queues[i], lost_ns, count);
		tell_of_backend(b);
		cbd_blkdev_issue_freed(b); /* by time-outs, or by a queue that has ended */
		if (count)
			cbd_blkdev_put_counters(b);
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
	int r;

	if (!b)
		return cbd_error(EINVAL, "no blkdev given");
	if (b->started)
		return cbd_error(EINVAL, "%s: blkdev %u: has begun already", b->t->path, b->slot);
	r = cbd_join_lock(b->t, &join);
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
	r = cbd_blkdev_put_state(b, CBD_SLOT_LIVE);
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

void cbd_heartbeat_stop(struct cbd_blkdev *b)
{
	if (!b->started)
		return;
	pthread_mutex_lock(&b->lines);
	b->stop = true;
	pthread_cond_signal(&b->stop_cond);
	pthread_mutex_unlock(&b->lines);
	pthread_join(b->thread, NULL);
}
