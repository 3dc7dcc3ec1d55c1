/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lead.c - threads that wait on a queue: one of them leads and polls for all
 * (rule 11).
 *
 * A thread that waits for its request
 *   leads    (q->waiters.leader): it looks at the ring and completes what was answered;
 *   is awake (CBD_WAITER_AWAKE, counted in q->waiters.n_awake): it yields, and takes the
 *            lead when nobody has it;
 *   sleeps   (CBD_WAITER_ASLEEP, in q->waiters.asleep) until it is told.
 * A leader that waits for its own request and would yield gives the lead away first:
 * of all that wait, whoever gets the CPU next is to look at the ring, not the one that
 * did before.
 *
 * To stay awake is worth it where many threads share few CPUs: they take turns at the
 * price of a switch each, while a sleep costs a wake-up, which is dearer still when it
 * has to go to another CPU.  How long is learnt: patience grows when a request was
 * answered meanwhile, and falls to a single yield when none is.
 *
 * Nobody is forgotten: while requests are in flight somebody leads, or is awake and
 * looks for the lead before it sleeps; otherwise who leaves wakes one that sleeps.  One
 * that is awake but has no CPU, because somebody uses all he can get, looks when he has
 * had his time: some milliseconds.
 *
 * Fast path: cbd_reap_until -> lead -> cbd_reap_ring.
 */
#include <config.h>

#include <string.h>

#include "blkdev/blkdev.h"
#include "memory/fault.h"

#define PEEKS_LOCAL 64	    /* looks at the ring between two at the clock, about 1 us */
#define PEEKS_INVALIDATED 4 /* the same where each look is a drop */
#define FOLLOW_US 1000000   /* somebody ends that sleep; it goes on if nobody did */
#define GRANT_NS 1000000ull /* look at the grant after so long a wait */

/* What a thread spends on being awake before it sleeps: no more than about what
 * to sleep and to be woken costs. */
#define PATIENCE_MOST_NS 20000ull
#define PATIENCE_STEP_NS 500ull
#define PATIENCE_LEAST_NS 500ull

static bool satisfied(const struct cbd_queue *q, const struct cbd_pending *mine)
{
	return mine ? mine->done : q->pending.done != NULL;
}

static bool idle(const struct cbd_queue *q)
{
	return q->parts.n_free == q->parts.depth && !q->pending.waiting;
}

static bool expired(uint64_t deadline_ns)
{
	return deadline_ns != UINT64_MAX && cbd_now_ns() >= deadline_ns;
}

/* Inside a recovery point. */
static bool there(const struct cbd_queue *q, uint64_t epoch, uint64_t count, struct cbd_ce *ce)
{
	cbd_channel_invalidate_ce(&q->ch, count);
	cbd_invalidate_done(&q->ch.t->mem);
	return cbd_line_await(&q->ch.t->mem, &q->ch.ce[count & (q->ch.slots - 1)], count, ce) &&
	       ce->epoch == epoch;
}

/* Up to so many looks, without the lock: only the leader advances COUNT. */
static bool peek(const struct cbd_queue *q, uint64_t epoch, uint64_t count, unsigned times,
		 struct cbd_ce *ce)
{
	struct cbd_fault f;
	bool found = false;

	if (!CBD_FAULT_TRY(&f)) {
		memset(ce, 0xff, sizeof(*ce)); /* no answer; the look around finds it out */
		return true;
	}
	for (unsigned i = 0; i < times && !found; i++) {
		if (i > 0)
			cbd_relax();
		found = there(q, epoch, count, ce);
	}
	cbd_fault_end(&f);
	return found;
}

/* Rule 11: sample the bell, set the flag, look again, sleep on the sample. */
static void sleep_on_bell(struct cbd_queue *q, uint64_t epoch, uint64_t count, unsigned us)
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
	if (!peek(q, epoch, count, 1, &ce))
		cbd_futex_wait(bell, sample, us);
	cbd_word_store(sleeps, 0);
	cbd_fault_end(&f);
}

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

/* The leader found nothing: spin, yield or sleep once (what cbd_wait_next() said),
 * without the lock.  True when it has seen an answer meanwhile: CE is a copy. */
static bool rest(struct cbd_queue *q, unsigned us, uint64_t deadline_ns, struct cbd_ce *ce)
{
	uint64_t count = q->cursors.ce_next, epoch = q->ch.epoch;
	/* what makes us leave an epoch stays in the ring until it is left: no
	 * reason to stay awake */
	bool attached = q->attached && q->epoch.left_epoch != epoch;
	bool local = attached && cbd_flag_get(&q->b->same_boot);
	bool found = false;

	pthread_mutex_unlock(&q->lock);
	if (us == CBD_WAIT_YIELD)
		cbd_wait_yield(&q->lead.wait);
	if (us == CBD_WAIT_YIELD || us == CBD_WAIT_SPIN)
		found = attached &&
			peek(q, epoch, count,
			     q->ch.t->mem.software ? PEEKS_INVALIDATED : PEEKS_LOCAL, ce);
	else if (local)
		sleep_on_bell(q, epoch, count, until(deadline_ns, us));
	else
		cbd_sleep_us(until(deadline_ns, us));
	pthread_mutex_lock(&q->lock);
	return found;
}

/* What a wait that takes long looks at. */
static void look_around(struct cbd_queue *q)
{
	uint64_t now = cbd_now_ns();

	if (q->lead.looked_ns == 0)
		q->lead.looked_ns = now;
	if (now - q->lead.looked_ns < GRANT_NS)
		return;
	q->lead.looked_ns = now;
	if (q->attached && cbd_channel_bad(&q->ch, now))
		cbd_leave(q, CBD_LEAVE_BAD_ENTRY);
	cbd_grant_check(q);
	cbd_queue_issue(q);
}

/* A wait begins, or goes on after an answer. */
static void wait_anew(struct cbd_queue *q)
{
	cbd_wait_hit(&q->lead.wait);
	q->lead.looked_ns = 0;
}

static bool look(struct cbd_queue *q, const struct cbd_ce *peeked)
{
	bool hit;

	q->waiters.gathering = true;
	hit = cbd_reap_ring(q, peeked);
	cbd_waiters_wake_gathered(q);
	if (hit)
		wait_anew(q);
	return hit;
}

/* Until the request is done; or, returning true, until there is nothing to do but
 * to yield. */
static bool lead(struct cbd_queue *q, struct cbd_pending *mine, uint64_t deadline_ns)
{
	struct cbd_ce ce, *peeked = NULL;

	while (!satisfied(q, mine) && !(idle(q) && !mine)) {
		bool stuck = peeked != NULL; /* if not hit: seen, and not what it seemed */
		unsigned us;

		if (look(q, peeked)) {
			peeked = NULL;
			continue;
		}
		if (expired(deadline_ns))
			return false;
		q->lead.wait.alone = q->parts.n_free + 1 >= q->parts.depth && !q->pending.waiting;
		us = cbd_wait_next(&q->lead.wait);
		if (us == CBD_WAIT_YIELD && mine) {
			look_around(q);
			return true;
		}
		peeked = rest(q, us, deadline_ns, &ce) ? &ce : NULL;
		if (!peeked || stuck)
			look_around(q);
	}
	return false;
}

static bool answered_awake(struct cbd_queue *q)
{
	uint64_t patience = cbd_shared_get(&q->lead.patience_ns);

	if (patience < PATIENCE_MOST_NS)
		cbd_shared_set(&q->lead.patience_ns, patience + PATIENCE_STEP_NS);
	return false;
}

static void out_of_patience(struct cbd_queue *q)
{
	cbd_shared_set(&q->lead.patience_ns, cbd_shared_get(&q->lead.patience_ns) / 2);
}

/*
 * Yield until the request is done, nobody leads, or nothing is left of LEFT_NS, what
 * may be spent.  NULL: once.  False: the request is done, and the lock was not
 * taken again.
 */
static bool stay_awake(struct cbd_queue *q, struct cbd_waiter *w, uint64_t *left_ns)
{
	w->word = CBD_WAITER_AWAKE;
	q->waiters.n_awake++;
	pthread_mutex_unlock(&q->lock);
	for (;;) {
		uint64_t cost = cbd_wait_yield(&q->lead.wait);

		if (cbd_word_load(&w->word) == CBD_WAITER_DONE)
			return answered_awake(q);
		if (left_ns)
			*left_ns -= cost < *left_ns ? cost : *left_ns;
		if (!left_ns || *left_ns == 0) {
			pthread_mutex_lock(&q->lock);
			break;
		}
		/* no queue for the lock: whoever has it may be about to complete ours */
		if (!cbd_flag_get(&q->waiters.leader) && pthread_mutex_trylock(&q->lock) == 0)
			break;
	}
	if (w->word == CBD_WAITER_AWAKE) {
		w->word = CBD_WAITER_WOKEN;
		q->waiters.n_awake--;
		if (left_ns && *left_ns == 0)
			out_of_patience(q);
	}
	return true;
}

/* Somebody else leads, or nothing is in flight: sleep until woken.  False: the
 * request is done, and the lock was not taken again. */
static bool follow(struct cbd_queue *q, struct cbd_waiter *w, uint64_t deadline_ns)
{
	w->word = CBD_WAITER_ASLEEP;
	cbd_waiter_link(q, w);
	pthread_mutex_unlock(&q->lock);
	while (cbd_word_load(&w->word) == CBD_WAITER_ASLEEP && !expired(deadline_ns))
		cbd_futex_wait_private(&w->word, CBD_WAITER_ASLEEP, until(deadline_ns, FOLLOW_US));
	if (cbd_word_load(&w->word) == CBD_WAITER_DONE)
		return false;
	pthread_mutex_lock(&q->lock);
	if (w->linked)
		cbd_waiter_unlink(q, w);
	w->word = CBD_WAITER_WOKEN; /* also when the time was over */
	return true;
}

/* Until nothing is in flight; nobody else uses the queue. */
void cbd_reap_idle(struct cbd_queue *q, uint64_t deadline_ns)
{
	struct cbd_ce ce;

	wait_anew(q);
	while (!idle(q) && !q->broken && !expired(deadline_ns)) {
		if (cbd_reap_ring(q, NULL))
			continue;
		if (!rest(q, cbd_wait_next(&q->lead.wait), deadline_ns, &ce))
			look_around(q);
	}
}

void cbd_reap_late(struct cbd_queue *q)
{
	if (q->waiters.leader || !cbd_shared_get(&q->b->timed_out))
		return;
	cbd_flag_set(&q->waiters.leader, true);
	while (cbd_reap_ring(q, NULL))
		;
	cbd_flag_set(&q->waiters.leader, false);
}

/* One step of a wait.  False: the request is done, and the lock was not taken
 * again. */
static bool wait_step(struct cbd_queue *q, struct cbd_pending *mine, struct cbd_waiter *w,
		      uint64_t *left_ns, uint64_t deadline_ns)
{
	bool yields;

	if (q->waiters.leader || (!mine && idle(q))) {
		if (mine && *left_ns > 0)
			return stay_awake(q, w, left_ns);
		return follow(q, w, deadline_ns);
	}
	cbd_flag_set(&q->waiters.leader, true);
	yields = lead(q, mine, deadline_ns);
	cbd_flag_set(&q->waiters.leader, false);
	return !yields || satisfied(q, mine) || stay_awake(q, w, NULL);
}

static uint64_t patience(const struct cbd_queue *q)
{
	return q->lead.wait.poll == CBD_POLL_SLEEP
		       ? 0
		       : PATIENCE_LEAST_NS + cbd_shared_get(&q->lead.patience_ns);
}

bool cbd_reap_until(struct cbd_queue *q, struct cbd_pending *mine, uint64_t deadline_ns)
{
	struct cbd_waiter any = { .word = CBD_WAITER_WOKEN }, *w = mine ? mine->waiter : &any;
	uint64_t left_ns = patience(q);

	if (!q->waiters.leader && !q->waiters.n_awake)
		wait_anew(q);
	while (!satisfied(q, mine)) {
		if (!wait_step(q, mine, w, &left_ns, deadline_ns))
			return false;
		if (expired(deadline_ns))
			break;
	}
	/* Whoever leaves, not the leader alone: a thread that was woken to
	 * lead may find itself satisfied. */
	cbd_wake_one(q);
	return true;
}
