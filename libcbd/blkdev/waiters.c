/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * waiters.c - the threads that wait on a queue while another one polls for them: the
 * list of those that sleep, and how they are woken (rule 11).  Who waits how, and for
 * how long, is decided in lead.c.
 */
#include <config.h>

#include <string.h>

#include "blkdev/blkdev.h"

/*
 * After CBD_WAITER_DONE the waiter may be gone: of it only the address is used any
 * more, which at worst wakes somebody for nothing.
 */
void cbd_wake(struct cbd_queue *q, struct cbd_waiter *w, uint32_t why)
{
	const uint32_t *word = &w->word;

	cbd_word_store(&w->word, why);
	if (q->waiters.gathering && q->waiters.n_to_wake < CBD_MAX_WAKES)
		q->waiters.to_wake[q->waiters.n_to_wake++] = word;
	else
		cbd_futex_wake_private(word);
}

/* All that were answered in one batch, without the lock: it is not to be the first
 * thing that those who wake have to wait for. */
void cbd_waiters_wake_gathered(struct cbd_queue *q)
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

/* One that was woken to lead finds out with the lock, because it has to pass that
 * on. */
void cbd_waiter_done(struct cbd_queue *q, struct cbd_waiter *w)
{
	if (w->word == CBD_WAITER_ASLEEP) {
		cbd_waiter_unlink(q, w);
		cbd_wake(q, w, CBD_WAITER_DONE);
	} else if (w->word == CBD_WAITER_AWAKE) {
		q->waiters.n_awake--;
		cbd_word_store(&w->word, CBD_WAITER_DONE); /* and then it may be gone */
	}
}

/* One that still waits may lead; whoever is awake finds that out. */
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
