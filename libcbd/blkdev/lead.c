/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lead.c - how threads wait on a queue: one of them, the leader, polls for all (rule 11).
 *
 * A thread that waits for its request
 *   leads    (cbd_waiters.leader): it looks at the ring and completes what was answered;
 *   is awake (CBD_WAITER_AWAKE, counted in n_awake): it yields, and takes the lead when
 *            nobody has it;
 *   sleeps   (CBD_WAITER_ASLEEP, in the list asleep) until it is woken.
 * A leader that waits for its own request and would yield gives the lead away first: of
 * all threads that wait, the one that gets the CPU next is to look at the ring.
 *
 * Staying awake pays where many threads share few CPUs: they take turns at the price of
 * a switch each, while a sleep costs a wake-up, which is dearer still when it has to go to
 * another CPU.  How long is learnt: the time grows when a request was answered meanwhile,
 * and halves, down to a single yield, when none was.
 *
 * No thread is forgotten: while requests are in flight a thread leads, or is awake and
 * looks for the lead before it sleeps; else the thread that leaves wakes one that sleeps.
 * One that is awake but has no CPU, because another process uses all it can get, looks
 * when it has the CPU again, some milliseconds later.
 *
 * A leader that spins looks without the lock (watch_ring).  The CE that it has seen is a
 * private copy, which it gives to reap.c with the lock: the line is not read twice.
 *
 * Fast path: cbd_queue_await_answer_and_unlock -> wait_unlocks -> lead_unlocks ->
 * reap_and_wake_unlocks -> cbd_reap_ring_unlocks (reap.c).
 */
#include <config.h>

#include <string.h>

#include "blkdev/blkdev.h"
#include "memory/fault.h"

/* What ended a wait without the lock. */
enum waited {
	ANSWERED_UNLOCKED, /* the thread's own request is done; the lock was not taken again */
	LOCKED_AGAIN,	   /* the lock is held, and everything has to be looked at anew */
};

enum led {
	LED_TO_END,   /* the wait is over: answered, nothing to wait for, or out of time */
	LED_TO_YIELD, /* nothing is there, and the leader would yield */
};

static bool satisfied(const struct cbd_queue *q, const struct cbd_pending *own)
{
	return own ? own->done : q->pending.done != NULL;
}

static bool idle(const struct cbd_queue *q)
{
	return cbd_parts_await_nothing(&q->parts) && !q->pending.waiting;
}

static bool expired(uint64_t deadline_ns)
{
	return deadline_ns != UINT64_MAX && cbd_now_ns() >= deadline_ns;
}

/* As much of US as is left until the deadline, at least 1. */
static unsigned until(uint64_t deadline_ns, unsigned us)
{
	uint64_t now;

	if (deadline_ns == UINT64_MAX)
		return us;
	now = cbd_now_ns();
	if (now + us * 1000ull <= deadline_ns)
		return us;
	return now < deadline_ns ? (unsigned)((deadline_ns - now) / 1000) + 1 : 1;
}

/* --------------------------------------------------- waiting as the leader */

/* Where the leader looks while it does not hold the lock.  Only a leader advances
 * ce_next, so it stays true. */
struct spot {
	uint64_t epoch, ce_next;
};

/* A CE for which there is no SE is none, or a leader would never sleep again: reap.c does
 * not take it. */
static bool ce_is_there_inside(const struct cbd_queue *q, const struct spot *s, struct cbd_ce *ce)
{
	cbd_channel_invalidate_ce(&q->ch, s->ce_next);
	cbd_invalidate_done(&q->ch.t->mem);
	return cbd_channel_await_ce_inside(&q->ch, s->ce_next, ce) && ce->epoch == s->epoch &&
	       cbd_shared_get(&q->cursors.se_next) != s->ce_next;
}

/* Look at the ring up to TIMES times, without the lock.  True: CE is a copy of the next
 * entry.  After a SIGBUS it is one that matches nothing, and reading the ring with the
 * lock reports the error. */
static bool watch_ring(const struct cbd_queue *q, const struct spot *s, unsigned times,
		       struct cbd_ce *ce)
{
	struct cbd_fault f;
	bool found = false;

	if (!CBD_FAULT_TRY(&f)) {
		memset(ce, 0xff, sizeof(*ce));
		return true;
	}
	for (unsigned i = 0; i < times && !found; i++) {
		if (i > 0)
			cbd_relax();
		found = ce_is_there_inside(q, s, ce);
	}
	cbd_fault_end(&f);
	return found;
}

/* Rule 11: sample the bell, set the flag, look again, sleep on the sample. */
static void sleep_on_bell(const struct cbd_queue *q, const struct spot *s, unsigned us)
{
	const uint32_t *bell = cbd_channel_backend_line(&q->ch, CBD_CHANNEL_CE_BELL);
	uint32_t *sleeps = cbd_channel_blkdev_line(&q->ch, CBD_CHANNEL_BLKDEV_SLEEPS);
	struct cbd_fault f;
	struct cbd_ce ce;
	uint32_t sample;

	if (!CBD_FAULT_TRY(&f))
		return;
	sample = cbd_word_load(bell);
	cbd_word_store(sleeps, 1);
	cbd_store_load_fence();
	if (!ce_is_there_inside(q, s, &ce))
		cbd_futex_wait(bell, sample, us);
	cbd_word_store(sleeps, 0);
	cbd_fault_end(&f);
}

/*
 * The leader found nothing: spin, yield or sleep once, as cbd_wait_next() said, without
 * the lock.  True: CE is a copy of an entry that has come meanwhile.
 */
static bool rest_unlocks(struct cbd_queue *q, unsigned turn, uint64_t deadline_ns,
			 struct cbd_ce *ce)
{
	struct spot s = { q->ch.epoch, q->cursors.ce_next };
	bool watch = cbd_queue_may_leave(q);
	bool local = watch && cbd_flag_get(&q->b->same_boot);
	bool found = false;

	pthread_mutex_unlock(&q->lock);
	if (turn == CBD_WAIT_YIELD)
		cbd_wait_yield(&q->lead.wait);
	if (turn == CBD_WAIT_YIELD || turn == CBD_WAIT_SPIN)
		found = watch &&
			watch_ring(q, &s,
				   q->ch.t->mem.software ? CBD_LOOKS_INVALIDATED : CBD_LOOKS_CACHED,
				   ce);
	else if (local)
		sleep_on_bell(q, &s, until(deadline_ns, turn));
	else
		cbd_sleep_us(until(deadline_ns, turn));
	pthread_mutex_lock(&q->lock);
	if (turn != CBD_WAIT_YIELD && turn != CBD_WAIT_SPIN)
		cbd_wait_slept(&q->lead.wait, 0);
	return found;
}

void cbd_look_now_unlocks(struct cbd_queue *q, uint64_t now_ns)
{
	if (cbd_channel_bad(&q->ch, now_ns))
		cbd_leave(q, CBD_LEAVE_BAD_ENTRY);
	cbd_grant_check_unlocks(q);
	cbd_queue_issue_unlocks(q);
}

/* What a leader that waits for long looks at beside the ring. */
static void look_around_unlocks(struct cbd_queue *q)
{
	uint64_t now = cbd_now_ns();

	if (q->lead.looked_ns == 0)
		q->lead.looked_ns = now;
	if (now - q->lead.looked_ns < CBD_LOOK_AROUND_NS)
		return;
	q->lead.looked_ns = now;
	cbd_look_now_unlocks(q, now);
}

/* A wait begins, or goes on after an answer. */
static void begin_wait(struct cbd_queue *q)
{
	cbd_wait_hit(&q->lead.wait);
	q->lead.looked_ns = 0;
}

/* Those who are answered are woken after the whole batch. */
static bool reap_and_wake_unlocks(struct cbd_queue *q, const struct cbd_ce *seen)
{
	bool hit;

	cbd_waiters_gather(q);
	hit = cbd_reap_ring_unlocks(q, seen);
	cbd_waiters_wake_gathered_unlocks(q);
	if (cbd_flag_get(&q->b->freed_elsewhere)) {
		pthread_mutex_unlock(&q->lock);
		cbd_blkdev_issue_freed(q->b);
		pthread_mutex_lock(&q->lock);
	}
	if (hit)
		begin_wait(q);
	return hit;
}

static enum led lead_unlocks(struct cbd_queue *q, struct cbd_pending *own, uint64_t deadline_ns)
{
	struct cbd_ce ce, *seen = NULL;

	while (!satisfied(q, own) && !(idle(q) && !own)) {
		bool had_seen = seen != NULL;
		unsigned turn;

		if (reap_and_wake_unlocks(q, seen)) {
			seen = NULL;
			continue;
		}
		if (expired(deadline_ns))
			return LED_TO_END;
		q->lead.wait.alone = q->parts.n_free + 1 >= q->parts.depth && !q->pending.waiting;
		turn = cbd_wait_next(&q->lead.wait);
		if (turn == CBD_WAIT_YIELD && own) {
			look_around_unlocks(q);
			return LED_TO_YIELD;
		}
		seen = rest_unlocks(q, turn, deadline_ns, &ce) ? &ce : NULL;
		/* also when an entry of this position and epoch was there before, and was not
		 * taken: its CRC is bad, and it may stay so */
		if (!seen || had_seen)
			look_around_unlocks(q);
	}
	return LED_TO_END;
}

/* --------------------------------------------------- waiting for the leader */

static void answered_awake(struct cbd_queue *q)
{
	uint64_t most = cbd_shared_get(&q->lead.awake_ns);

	if (most < CBD_AWAKE_MOST_NS)
		cbd_shared_set(&q->lead.awake_ns, most + CBD_AWAKE_STEP_NS);
}

static void not_answered_awake(struct cbd_queue *q)
{
	cbd_shared_set(&q->lead.awake_ns, cbd_shared_get(&q->lead.awake_ns) / 2);
}

/* Yield until the request is done, nobody leads, or nothing is left of LEFT_NS.  NULL:
 * yield once. */
static enum waited stay_awake_unlocks(struct cbd_queue *q, struct cbd_waiter *w, uint64_t *left_ns)
{
	w->word = CBD_WAITER_AWAKE;
	q->waiters.n_awake++;
	pthread_mutex_unlock(&q->lock);
	for (;;) {
		uint64_t cost = cbd_wait_yield(&q->lead.wait);

		if (cbd_word_load(&w->word) == CBD_WAITER_DONE) {
			answered_awake(q);
			return ANSWERED_UNLOCKED;
		}
		if (left_ns)
			*left_ns -= cost < *left_ns ? cost : *left_ns;
		if (!left_ns || *left_ns == 0) {
			pthread_mutex_lock(&q->lock);
			break;
		}
		/* not waiting for the lock: its holder may be about to complete this request */
		if (!cbd_flag_get(&q->waiters.leader) && pthread_mutex_trylock(&q->lock) == 0)
			break;
	}
	if (w->word == CBD_WAITER_AWAKE) {
		w->word = CBD_WAITER_WOKEN;
		q->waiters.n_awake--;
		if (left_ns && *left_ns == 0)
			not_answered_awake(q);
	}
	return LOCKED_AGAIN;
}

static enum waited sleep_unlocks(struct cbd_queue *q, struct cbd_waiter *w, uint64_t deadline_ns)
{
	w->word = CBD_WAITER_ASLEEP;
	cbd_waiter_link(q, w);
	pthread_mutex_unlock(&q->lock);
	while (cbd_word_load(&w->word) == CBD_WAITER_ASLEEP && !expired(deadline_ns))
		cbd_futex_wait_private(&w->word, CBD_WAITER_ASLEEP,
				       until(deadline_ns, CBD_FOLLOWER_SLEEP_US));
	if (cbd_word_load(&w->word) == CBD_WAITER_DONE)
		return ANSWERED_UNLOCKED;
	pthread_mutex_lock(&q->lock);
	if (w->linked)
		cbd_waiter_unlink(q, w);
	w->word = CBD_WAITER_WOKEN; /* also when the time was over */
	return LOCKED_AGAIN;
}

/* One turn of a thread that is not answered: lead if nobody does, else stay awake for
 * what is left of LEFT_NS, else sleep. */
static enum waited wait_unlocks(struct cbd_queue *q, struct cbd_pending *own, struct cbd_waiter *w,
				uint64_t *left_ns, uint64_t deadline_ns)
{
	enum led led;

	if (q->waiters.leader || (!own && idle(q))) {
		if (own && *left_ns > 0)
			return stay_awake_unlocks(q, w, left_ns);
		return sleep_unlocks(q, w, deadline_ns);
	}
	cbd_lead_take(q);
	led = lead_unlocks(q, own, deadline_ns);
	cbd_lead_give(q);
	if (led == LED_TO_YIELD && !satisfied(q, own))
		return stay_awake_unlocks(q, w, NULL);
	return LOCKED_AGAIN;
}

/* How long a thread may stay awake in one wait. */
static uint64_t awake_ns(const struct cbd_queue *q)
{
	if (q->lead.wait.poll == CBD_POLL_SLEEP)
		return 0;
	return CBD_AWAKE_LEAST_NS + cbd_shared_get(&q->lead.awake_ns);
}

static void begin_wait_if_first(struct cbd_queue *q)
{
	if (!q->waiters.leader && !q->waiters.n_awake)
		begin_wait(q);
}

/* ------------------------------------------------------------------- waits */

void cbd_queue_await_answer_and_unlock(struct cbd_queue *q, struct cbd_pending *own)
{
	uint64_t left_ns = awake_ns(q);

	begin_wait_if_first(q);
	while (!own->done)
		if (wait_unlocks(q, own, own->waiter, &left_ns, UINT64_MAX) == ANSWERED_UNLOCKED)
			return;
	/* every thread that leaves, not the leader alone: one that was woken to lead may
	 * find itself answered */
	cbd_wake_one(q);
	cbd_queue_unlock_and_tell(q);
}

void cbd_queue_await_completion_unlocks(struct cbd_queue *q, uint64_t deadline_ns)
{
	struct cbd_waiter any = { .word = CBD_WAITER_WOKEN };
	uint64_t left_ns = 0;

	begin_wait_if_first(q);
	while (!satisfied(q, NULL)) {
		/* nobody answers this waiter itself, so the lock is held again */
		wait_unlocks(q, NULL, &any, &left_ns, deadline_ns);
		if (expired(deadline_ns))
			break;
	}
	cbd_wake_one(q);
}

/* The lead keeps the heartbeat thread, which reads late answers, out of the ring. */
void cbd_queue_await_idle_unlocks(struct cbd_queue *q, uint64_t deadline_ns)
{
	struct cbd_ce ce;

	while (q->waiters.leader && !expired(deadline_ns)) {
		pthread_mutex_unlock(&q->lock);
		cbd_sleep_us(CBD_CLOSE_STEP_US);
		pthread_mutex_lock(&q->lock);
	}
	if (q->waiters.leader)
		return;
	cbd_lead_take(q);
	begin_wait(q);
	while (!idle(q) && !cbd_queue_has_ended(q) && !expired(deadline_ns)) {
		if (cbd_reap_ring_unlocks(q, NULL))
			continue;
		if (!rest_unlocks(q, cbd_wait_next(&q->lead.wait), deadline_ns, &ce))
			look_around_unlocks(q);
	}
	cbd_lead_give(q);
}

void cbd_reap_late_unlocks(struct cbd_queue *q)
{
	if (q->waiters.leader || !cbd_shared_get(&q->b->timed_out))
		return;
	cbd_lead_take(q);
	while (cbd_reap_ring_unlocks(q, NULL))
		;
	cbd_lead_give(q);
}
