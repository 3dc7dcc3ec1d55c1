/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * waiters.c - the threads that wait on a queue while another one, the leader, polls for
 * them: the list of those that sleep, and how each is woken (rule 11).  Which thread
 * waits how, and for how long, is decided in lead.c.
 */
#include <config.h>

#include <string.h>

#include "blkdev/blkdev.h"

/* After CBD_WAITER_DONE the waiter may return and be gone.  Only the address of its word
 * is used then, which at worst wakes a thread that sleeps on something else there. */
void cbd_wake(struct cbd_queue *q, struct cbd_waiter *w, enum cbd_waiter_word why)
{
	const uint32_t *word = &w->word;

	cbd_word_store(&w->word, why);
	if (q->waiters.gathering && q->waiters.n_to_wake < CBD_MAX_WAKES)
		q->waiters.to_wake[q->waiters.n_to_wake++] = word;
	else
		cbd_futex_wake_private(word);
}

void cbd_waiters_gather(struct cbd_queue *q)
{
	q->waiters.gathering = true;
}

/* Without the lock, or those who wake would wait for it first of all. */
void cbd_waiters_wake_gathered_unlocks(struct cbd_queue *q)
{
	const uint32_t *words[CBD_MAX_WAKES];
	unsigned n = q->waiters.n_to_wake;

	q->waiters.gathering = false;
	q->waiters.n_to_wake = 0;
	if (n == 0)
		return;
	memcpy(words, q->waiters.to_wake, n * sizeof(words[0]));
	pthread_mutex_unlock(&q->lock);
	for (unsigned i = 0; i < n; i++)
		cbd_futex_wake_private(words[i]);
	pthread_mutex_lock(&q->lock);
}

void cbd_waiter_link(struct cbd_queue *q, struct cbd_waiter *w)
{
	w->next = q->waiters.asleep;
	q->waiters.asleep = w;
	w->linked = true;
}

void cbd_waiter_unlink(struct cbd_queue *q, struct cbd_waiter *w)
{
	struct cbd_waiter **p = &q->waiters.asleep;

	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	w->linked = false;
}

/* A thread that was woken to lead (CBD_WAITER_WOKEN) is not told: it finds out with the
 * lock held, because it has to wake another one in its place. */
void cbd_waiter_done(struct cbd_queue *q, struct cbd_waiter *w)
{
	if (w->word == CBD_WAITER_ASLEEP) {
		cbd_waiter_unlink(q, w);
		cbd_wake(q, w, CBD_WAITER_DONE);
	} else if (w->word == CBD_WAITER_AWAKE) {
		q->waiters.n_awake--;
		cbd_word_store(&w->word, CBD_WAITER_DONE); /* from here on it may be gone */
	}
}

/* A sleeping thread takes the lead; one that is awake takes it without being told. */
void cbd_wake_one(struct cbd_queue *q)
{
	if (q->waiters.leader || q->waiters.n_awake)
		return;
	for (struct cbd_waiter *w = q->waiters.asleep; w; w = w->next)
		if (w->word == CBD_WAITER_ASLEEP) {
			cbd_wake(q, w, CBD_WAITER_WOKEN);
			return;
		}
}

void cbd_lead_take(struct cbd_queue *q)
{
	cbd_flag_set(&q->waiters.leader, true);
}

void cbd_lead_give(struct cbd_queue *q)
{
	cbd_flag_set(&q->waiters.leader, false);
	cbd_event_watch(q);
}
