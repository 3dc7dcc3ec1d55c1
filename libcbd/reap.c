/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reap.c - the way out: read CEs in order, copy a read's payload out, give tag
 * and extent back, complete requests.
 *
 * Of the threads that wait on a queue one is the leader and polls for all
 * (rule 11); the others sleep.  A leader that has what it came for wakes one
 * of those that still wait.
 *
 * Fast path: cbd_reap_until -> lead -> poll_ring -> gather -> copy_out ->
 * arrived -> cbd_part_end.
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "blkdev.h"
#include "error.h"
#include "fault.h"
#include "step.h"

#define BATCH 32
#define DROP_BATCH 8	    /* lines that are dropped under one fence */
#define PEEKS_LOCAL 64	    /* looks at the ring between two at the clock, about 1 us */
#define PEEKS_DROPPED 4	    /* the same where each look is a drop */
#define FOLLOW_US 1000000   /* a bound for a sleep that somebody ends */
#define GRANT_NS 1000000ull /* look at the grant after so long a wait */
#define RETRY_NS 5000000ull /* read a bad payload again for so long */
#define BAD_MOST 16	    /* bad payloads in BAD_NS: the epoch is left */
#define BAD_NS 1000000000ull

/* --------------------------------------------------------------- payload */

/* From DATA, the data area of the epoch.  -EAGAIN: its CRC does not match (yet). */
static int copy_payload(const struct cbd_queue *q, const struct cbd_part *p, const char *data,
			uint32_t seed)
{
	int r = cbd_fault_load(&q->ch.t->mem, p->buf, data + p->se.data_offset, p->se.length);

	if (r < 0 || !q->b->data_crc)
		return r;
	/* the private copy, not what lies in shared memory by now */
	return cbd_channel_payload_crc(seed, p->buf, p->se.length) == p->ce.data_crc ? 0 : -EAGAIN;
}

static bool needs_copy(const struct cbd_part *p)
{
	return p->pending && p->se.op == CBD_OP_READ && p->ce.result == CBD_RESULT_OK;
}

static uint32_t bytes_to_copy(struct cbd_part **batch, unsigned n)
{
	uint32_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += needs_copy(batch[i]) ? batch[i]->se.length : 0;
	return bytes;
}

/* Copy read data out, without the lock when it is much; results in R.  The
 * heartbeat thread may enter a new epoch meanwhile: what belongs to this one is
 * looked up before. */
static void copy_out(struct cbd_queue *q, struct cbd_part **batch, unsigned n, int *r)
{
	const char *data = q->ch.data;
	uint32_t seed = q->ch.ce_seed;
	bool unlock = bytes_to_copy(batch, n) > CBD_COPY_LOCKED;
	bool mine[BATCH];

	for (unsigned i = 0; i < n; i++) {
		r[i] = 0;
		mine[i] = needs_copy(batch[i]);
		if (mine[i])
			batch[i]->busy = true;
	}
	if (unlock)
		pthread_mutex_unlock(&q->lock);
	for (unsigned i = 0; i < n; i++)
		if (mine[i])
			r[i] = copy_payload(q, batch[i], data, seed);
	if (unlock)
		pthread_mutex_lock(&q->lock);
	/* not those of others: a write of this batch may be filled for the
	 * next epoch by now */
	for (unsigned i = 0; i < n; i++)
		if (mine[i])
			batch[i]->busy = false;
}

/* ------------------------------------------------------------------- CEs */

/* The part that this CE answers; NULL: none, the channel is not sane. */
static struct cbd_part *part_of(struct cbd_queue *q, const struct cbd_ce *ce)
{
	unsigned tag = ce->tid & 0xffff;
	struct cbd_part *p = tag < q->depth ? &q->parts[tag] : NULL;

	if (!p || p->state != CBD_PART_PUBLISHED || p->se.tid != ce->tid)
		return NULL;
	return p;
}

/* Drop the lines of the next CEs under one fence, as many as may be there. */
static unsigned drop_ces(struct cbd_queue *q)
{
	uint64_t out = q->position - q->count;
	unsigned n = out < DROP_BATCH ? (unsigned)out : DROP_BATCH;
	struct cbd_fault f;

	if (!q->ch.t->mem.software || !CBD_FAULT_TRY(&f))
		return n; /* whoever receives finds the fault */
	for (unsigned i = 0; i < n; i++)
		cbd_channel_drop_ce(&q->ch, q->count + i);
	cbd_drop_done(&q->ch.t->mem);
	cbd_fault_end(&f);
	return n;
}

/*
 * Strictly in order, each CE once; none is looked for when each SE has its answer.
 * PEEKED: a copy of the first one, which was seen without the lock, or NULL.
 * Returns the number of parts in BATCH.
 */
static unsigned gather(struct cbd_queue *q, struct cbd_part **batch, const struct cbd_ce *peeked)
{
	unsigned n = 0, dropped = 0;

	while (n < BATCH && q->position != q->count) {
		struct cbd_ce ce;
		struct cbd_part *p;
		int r;

		if (n == 0 && peeked) {
			ce = *peeked;
			r = cbd_channel_accept_ce(&q->ch, q->count, &ce);
		} else {
			if (dropped == 0)
				dropped = drop_ces(q);
			dropped--;
			r = cbd_channel_receive_dropped_ce(&q->ch, q->count, &ce);
		}
		if (r < 0)
			cbd_queue_break(q, -EIO);
		if (r <= 0)
			break;
		p = part_of(q, &ce);
		if (!p) {
			cbd_leave(q, CBD_LEAVE_UNKNOWN_TID);
			break;
		}
		q->count++;
		p->ce = ce;
		p->state = CBD_PART_ARRIVED;
		batch[n++] = p;
	}
	return q->broken ? 0 : n;
}

/* Parts whose payload did not check are tried again beside new ones. */
static unsigned gather_retries(struct cbd_queue *q, struct cbd_part **batch, unsigned n)
{
	for (unsigned tag = 0; tag < q->depth && n < BATCH; tag++) {
		struct cbd_part *p = &q->parts[tag];

		if (p->state == CBD_PART_ARRIVED && p->retry_until_ns)
			batch[n++] = p;
	}
	return n;
}

/* Rule 10: one is an accident, many are a channel that is not sane. */
static void note_bad(struct cbd_queue *q)
{
	uint64_t now = cbd_now_ns();

	q->counters.bad_payloads++;
	if (now - q->bad_since_ns > BAD_NS) {
		q->bad_since_ns = now;
		q->bad = 0;
	}
	if (++q->bad == BAD_MOST)
		cbd_leave(q, CBD_LEAVE_BAD_RATE);
}

/* Copied and submitted again, three times, then EIO (rule 10). */
static void resend(struct cbd_queue *q, struct cbd_part *p)
{
	cbd_part_retry(q, p, 0);
	note_bad(q);
	if (p->resends++ == CBD_MAX_RESENDS || !p->pending) {
		cbd_part_end(q, p, -EIO);
		return;
	}
	q->counters.resends++;
	p->fill_epoch = 0;
	cbd_part_publish(q, p);
}

static void bad_payload(struct cbd_queue *q, struct cbd_part *p)
{
	uint64_t now = cbd_now_ns();

	if (!p->retry_until_ns)
		cbd_part_retry(q, p, now + RETRY_NS);
	else if (now >= p->retry_until_ns)
		resend(q, p);
}

static bool is_write(enum cbd_op op)
{
	return op == CBD_OP_WRITE || op == CBD_OP_DISCARD || op == CBD_OP_WRITE_ZEROES;
}

/* A part with its answer, the epoch still in force. */
static void arrived(struct cbd_queue *q, struct cbd_part *p, int copied)
{
	int result = cbd_result_to_errno(p->ce.result);

	if (copied == -EAGAIN) {
		bad_payload(q, p);
		return;
	}
	if (p->ce.result == CBD_RESULT_BADCRC) {
		resend(q, p);
		return;
	}
	/* the answer of a backend that another one has replaced: not for
	 * the user, the next epoch executes it again */
	if (result == 0 && is_write(p->se.op) && !cbd_written(q))
		return;
	cbd_part_end(q, p, copied < 0 ? copied : result);
}

/* The epoch or the queue ended while these were copied, and whoever ended it
 * passed them by. */
static void publish_left(struct cbd_queue *q, struct cbd_part **batch, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct cbd_part *p = batch[i];

		if (p->busy || p->state == CBD_PART_FREE)
			continue;
		if (q->broken)
			cbd_part_end(q, p, q->broken);
		else if (p->state == CBD_PART_READY && q->attached)
			cbd_part_publish(q, p);
		else if (p->state == CBD_PART_ARRIVED)
			cbd_part_retry(q, p, cbd_now_ns() + RETRY_NS); /* its answer stands */
	}
}

/*
 * One look at the ring.  The grant is read again between the copy and the
 * completion: were it no longer ours, what was copied might be another's
 * (rule 5); then the parts are published again in the next epoch.
 */
static bool poll_ring(struct cbd_queue *q, const struct cbd_ce *peeked)
{
	struct cbd_part *batch[BATCH];
	uint64_t epoch = q->ch.epoch;
	unsigned n;
	int r[BATCH];

	if (!q->attached)
		return false;
	n = gather(q, batch, peeked);
	if (q->n_retries)
		n = gather_retries(q, batch, n);
	if (n == 0) {
		/* closed in order, and all that it did was read */
		if (q->closing && q->attached)
			cbd_queue_break(q, -ESHUTDOWN);
		return false;
	}
	cbd_step("io-reap");
	copy_out(q, batch, n, r);
	cbd_step("io-reaped");
	q->moved_ns = cbd_coarse_ns();
	q->leaves = 0;
	if (!cbd_grant_recheck(q) || q->ch.epoch != epoch) {
		publish_left(q, batch, n);
		/* when the grant cannot be read: rest, and look again */
		return q->broken || q->ch.epoch != epoch;
	}
	for (unsigned i = 0; i < n; i++) {
		/* resending drops the lock, and the epoch may end meanwhile */
		if (q->ch.epoch != epoch || batch[i]->state != CBD_PART_ARRIVED)
			continue;
		arrived(q, batch[i], r[i]);
	}
	cbd_queue_issue(q);
	return true;
}

/* -------------------------------------------------------------- waiting */

static bool satisfied(const struct cbd_queue *q, const struct cbd_pending *mine)
{
	return mine ? mine->done : q->done != NULL;
}

static bool idle(const struct cbd_queue *q)
{
	return q->n_free == q->depth && !q->waiting;
}

static bool expired(uint64_t deadline_ns)
{
	return deadline_ns != UINT64_MAX && cbd_now_ns() >= deadline_ns;
}

/* Inside a recovery point. */
static bool there(const struct cbd_queue *q, uint64_t epoch, uint64_t count, struct cbd_ce *ce)
{
	cbd_channel_drop_ce(&q->ch, count);
	cbd_drop_done(&q->ch.t->mem);
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

/* The leader found nothing: spin, yield or sleep once, without the lock.  True
 * when it has seen an answer meanwhile: CE is a copy. */
static bool rest(struct cbd_queue *q, uint64_t deadline_ns, struct cbd_ce *ce)
{
	uint64_t count = q->count, epoch = q->ch.epoch;
	/* what makes us leave an epoch stays in the ring until it is left: no
	 * reason to stay awake */
	bool attached = q->attached && q->left_epoch != epoch;
	bool local = attached && cbd_flag_get(&q->b->same_boot);
	bool found = false;
	unsigned us;

	pthread_mutex_unlock(&q->lock);
	us = cbd_wait_next(&q->wait);
	if (us == CBD_WAIT_YIELD)
		cbd_wait_yield(&q->wait);
	if (us == CBD_WAIT_YIELD || us == CBD_WAIT_SPIN)
		found = attached && peek(q, epoch, count,
					 q->ch.t->mem.software ? PEEKS_DROPPED : PEEKS_LOCAL, ce);
	else if (local)
		sleep_on_bell(q, epoch, count, until(deadline_ns, us));
	else
		cbd_sleep_us(until(deadline_ns, us));
	pthread_mutex_lock(&q->lock);
	return found;
}

/* What a wait that takes long looks at. */
static void look_around(struct cbd_queue *q, uint64_t *looked_ns)
{
	uint64_t now = cbd_now_ns();

	if (*looked_ns == 0)
		*looked_ns = now;
	if (now - *looked_ns < GRANT_NS)
		return;
	*looked_ns = now;
	if (q->attached && cbd_channel_bad(&q->ch, now))
		cbd_leave(q, CBD_LEAVE_BAD_ENTRY);
	cbd_grant_check(q);
	cbd_queue_issue(q);
}

/*
 * After CBD_WAITER_DONE the waiter may be gone: of it only the address is used any
 * more, which at worst wakes somebody for nothing.
 */
void cbd_wake(struct cbd_queue *q, struct cbd_waiter *w, uint32_t why)
{
	const uint32_t *word = &w->word;

	cbd_word_store(&w->word, why);
	if (q->gathering && q->n_to_wake < CBD_MAX_WAKES)
		q->to_wake[q->n_to_wake++] = word;
	else
		cbd_futex_wake_private(word);
}

/* All that were answered in one batch, without the lock: it is not to be the first
 * thing that those who wake have to wait for. */
static void wake_gathered(struct cbd_queue *q)
{
	const uint32_t *words[CBD_MAX_WAKES];
	unsigned n = q->n_to_wake;

	q->gathering = false;
	q->n_to_wake = 0;
	if (n == 0)
		return;
	memcpy(words, q->to_wake, n * sizeof(words[0]));
	pthread_mutex_unlock(&q->lock);
	for (unsigned i = 0; i < n; i++)
		cbd_futex_wake_private(words[i]);
	pthread_mutex_lock(&q->lock);
}

static void lead(struct cbd_queue *q, struct cbd_pending *mine, uint64_t deadline_ns)
{
	uint64_t looked_ns = 0;
	struct cbd_ce ce, *peeked = NULL;
	bool stuck;

	cbd_wait_hit(&q->wait);
	while (!satisfied(q, mine) && !(idle(q) && !mine)) {
		bool hit;

		q->gathering = true;
		hit = poll_ring(q, peeked);
		wake_gathered(q);
		if (hit) {
			cbd_wait_hit(&q->wait);
			peeked = NULL;
			continue;
		}
		if (expired(deadline_ns))
			return;
		stuck = peeked != NULL; /* seen, and not what it seemed */
		peeked = rest(q, deadline_ns, &ce) ? &ce : NULL;
		if (!peeked || stuck)
			look_around(q, &looked_ns);
	}
}

static void link_waiter(struct cbd_queue *q, struct cbd_waiter *w)
{
	w->next = q->waiters;
	q->waiters = w;
	w->linked = true;
}

void cbd_waiter_unlink(struct cbd_queue *q, struct cbd_waiter *w)
{
	struct cbd_waiter **p = &q->waiters;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	w->linked = false;
}

/* Somebody else leads, or nothing is in flight: sleep until woken.  False: the
 * request is done, and the lock was not taken again. */
static bool follow(struct cbd_queue *q, struct cbd_waiter *w, uint64_t deadline_ns)
{
	w->word = CBD_WAITER_WAITS;
	link_waiter(q, w);
	pthread_mutex_unlock(&q->lock);
	while (cbd_word_load(&w->word) == CBD_WAITER_WAITS && !expired(deadline_ns))
		cbd_futex_wait_private(&w->word, CBD_WAITER_WAITS, until(deadline_ns, FOLLOW_US));
	if (cbd_word_load(&w->word) == CBD_WAITER_DONE)
		return false;
	pthread_mutex_lock(&q->lock);
	if (w->linked)
		cbd_waiter_unlink(q, w);
	return true;
}

/* One that still waits may lead. */
void cbd_wake_one(struct cbd_queue *q)
{
	if (q->leader)
		return;
	for (struct cbd_waiter *w = q->waiters; w; w = w->next)
		if (w->word == CBD_WAITER_WAITS) {
			cbd_wake(q, w, CBD_WAITER_WOKEN);
			return;
		}
}

/* Until nothing is in flight; nobody else uses the queue. */
void cbd_reap_idle(struct cbd_queue *q, uint64_t deadline_ns)
{
	uint64_t looked_ns = 0;
	struct cbd_ce ce;

	cbd_wait_hit(&q->wait);
	while (!idle(q) && !q->broken && !expired(deadline_ns)) {
		if (poll_ring(q, NULL))
			continue;
		if (!rest(q, deadline_ns, &ce))
			look_around(q, &looked_ns);
	}
}

void cbd_reap_late(struct cbd_queue *q)
{
	if (q->leader || !cbd_shared_get(&q->b->timed_out))
		return;
	q->leader = true;
	while (poll_ring(q, NULL))
		;
	q->leader = false;
}

bool cbd_reap_until(struct cbd_queue *q, struct cbd_pending *mine, uint64_t deadline_ns)
{
	struct cbd_waiter any = { .pending = NULL }, *w = mine ? mine->waiter : &any;

	while (!satisfied(q, mine)) {
		if (!q->leader && (mine || !idle(q))) {
			q->leader = true;
			lead(q, mine, deadline_ns);
			q->leader = false;
		} else if (!expired(deadline_ns)) {
			if (!follow(q, w, deadline_ns))
				return false;
		}
		if (expired(deadline_ns))
			break;
	}
	/* Whoever leaves, not the leader alone: a thread that was woken to
	 * lead may find itself satisfied. */
	cbd_wake_one(q);
	return true;
}
