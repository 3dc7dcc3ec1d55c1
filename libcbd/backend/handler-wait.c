/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handler-wait.c - how a handler waits when no channel has a request: it looks for a
 * while at the SE lines that come next, then yields, then sleeps until a bell rings.
 *
 * Takes no SE out of a ring: one that it sees while it looks is copied to
 * handler->peeked_se, and handler.c begins the next round with that copy (rule 11).
 */
#include <config.h>

#include <errno.h>

#include "base/error.h"
#include "memory/fault.h"
#include "backend/handler.h"

/* Is there a reason not to sleep: an SE, a channel to take or to retire? */
static bool something(const struct cbd_handler *h)
{
	struct cbd_se se;

	if (cbd_flag_get(&h->changed))
		return true;
	cbd_handler_invalidate(h, 0, h->n_active);
	for (unsigned i = 0; i < h->n_active; i++) {
		struct cbd_hchannel *hc = h->active[i];

		if (cbd_hchannel_pool(hc) == CBD_POOL_STOPPING) {
			if (hc->inflight == 0)
				return true;
		} else if (cbd_hchannel_work(hc) == CBD_WORK_FETCHING &&
			   cbd_handler_may_submit(h) &&
			   cbd_channel_receive_se(&hc->ch, hc->position, &se) != 0) {
			return true;
		}
	}
	return false;
}

/* The bells of the handler's channels, after its own word.  Inside a recovery
 * point. */
static unsigned sample_bells(const struct cbd_handler *h, struct cbd_futex *futexes)
{
	unsigned n = 1;

	for (unsigned i = 0; i < h->n_active && n < CBD_FUTEX_MAX; i++) {
		const uint32_t *bell;

		if (!h->active[i]->same_boot)
			continue;
		bell = cbd_channel_blkdev_line(&h->active[i]->ch, CBD_CHANNEL_SE_BELL);
		futexes[n++] = (struct cbd_futex){ bell, cbd_word_load(bell) };
	}
	return n;
}

/* What the handler sleeps on: its own word and the bells of its channels, with the
 * values that they have now.  Returns their number. */
static unsigned sample(struct cbd_handler *h, struct cbd_futex *futexes)
{
	struct cbd_fault f;
	unsigned n;

	futexes[0] = (struct cbd_futex){ &h->word, cbd_word_load(&h->word) };
	if (!CBD_FAULT_TRY(&f))
		return 1;
	n = sample_bells(h, futexes);
	cbd_fault_end(&f);
	return n;
}

/* Look at the first word of the next SE line of each hot channel.  Inside a recovery
 * point. */
static bool peek_once(struct cbd_handler *h)
{
	for (unsigned i = 0; i < h->n_hot; i++)
		cbd_channel_invalidate_se(&h->active[i]->ch, h->active[i]->position);
	cbd_invalidate_done(&h->active[0]->ch.t->mem);
	for (unsigned i = 0; i < h->n_hot; i++) {
		struct cbd_hchannel *hc = h->active[i];
		const struct cbd_se *line = &hc->ch.se[hc->position & (hc->ch.slots - 1)];

		if (!cbd_line_await(&hc->ch.t->mem, line, hc->position, &h->peeked_se) ||
		    h->peeked_se.epoch != hc->ch.epoch)
			continue;
		h->peeked = hc;
		return true;
	}
	return cbd_flag_get(&h->changed);
}

/* Look at the hot channels for about a microsecond. */
static void peek(struct cbd_handler *h)
{
	unsigned times;
	struct cbd_fault f;

	if (h->n_hot == 0 || h->peeked || !CBD_FAULT_TRY(&f))
		return; /* the next fetch meets the same fault and reports it */
	times = h->active[0]->ch.t->mem.software ? CBD_LOOKS_INVALIDATED
						 : CBD_LOOKS_CACHED / h->n_hot;
	while (times-- > 0 && !peek_once(h))
		cbd_relax();
	cbd_fault_end(&f);
}

bool cbd_handler_wait(struct cbd_handler *h, unsigned max_us)
{
	struct cbd_futex futexes[CBD_FUTEX_MAX];
	unsigned us, n;

	if (h->armed)
		cbd_handler_disarm(h);
	cbd_handler_answers_done(h);
	us = cbd_wait_next(&h->wait);
	if (us == CBD_WAIT_YIELD)
		cbd_wait_yield(&h->wait);
	if (us == CBD_WAIT_YIELD || us == CBD_WAIT_SPIN) {
		peek(h);
		return true;
	}
	if (max_us == 0)
		return false;
	if (us > max_us)
		us = max_us;
	if (h->n_retries && us > CBD_WAIT_RETRY_US)
		us = CBD_WAIT_RETRY_US;
	if (h->n_active >= CBD_FUTEX_MAX && us > CBD_WAIT_MANY_BELLS_US)
		us = CBD_WAIT_MANY_BELLS_US; /* more bells than one call can watch */
	/* Rule 11: sample, flag, look again, sleep on the sample. */
	n = sample(h, futexes);
	cbd_handler_put_sleeps(h, 1);
	cbd_store_load_fence();
	if (!something(h))
		cbd_futex_wait_any(futexes, n, us);
	cbd_handler_put_sleeps(h, 0);
	cbd_wait_slept(&h->wait, 0);
	return false;
}

/* --------------------------------------------------- for an event loop */

int cbd_handler_fd(struct cbd_handler *h)
{
	struct cbd_watcher *w;
	int r;

	if (!h->watcher) {
		r = cbd_watcher_start(&w, h->mem, h->room, h->wait.poll,
				      CBD_WAIT_HANDLER_REMOTE_US);
		if (r < 0)
			return r;
		pthread_mutex_lock(&h->lock); /* for cbd_handler_wake() */
		h->watcher = w;
		pthread_mutex_unlock(&h->lock);
	}
	return cbd_watcher_fd(h->watcher);
}

/* The lines and bells of the channels that fetch; none after this process was away for
 * too long, until the control thread has beaten. */
static unsigned watched(struct cbd_handler *h)
{
	unsigned n = 0;

	if (!cbd_handler_may_submit(h))
		return 0;
	for (unsigned i = 0; i < h->n_active; i++) {
		struct cbd_hchannel *hc = h->active[i];
		struct cbd_watched *e = &h->watched[n];

		if (cbd_hchannel_pool(hc) == CBD_POOL_STOPPING ||
		    cbd_hchannel_work(hc) != CBD_WORK_FETCHING)
			continue;
		*e = (struct cbd_watched){ .bell = NULL };
		if (hc->same_boot) {
			e->bell = cbd_channel_blkdev_line(&hc->ch, CBD_CHANNEL_SE_BELL);
		} else {
			e->line = &hc->ch.se[hc->position & (hc->ch.slots - 1)];
			e->position = hc->position;
			e->epoch = hc->ch.epoch;
		}
		n++;
	}
	return n;
}

/* What a bell does not tell: a payload or an SE that does not check yet, a beat. */
static unsigned longest_us(const struct cbd_handler *h)
{
	if (h->n_retries)
		return CBD_WAIT_RETRY_US;
	if (!cbd_handler_may_submit(h))
		return CBD_ARMED_AWAY_US;
	return h->n_active ? CBD_ARMED_US : 0;
}

static bool was_woken(struct cbd_handler *h)
{
	bool woken;

	pthread_mutex_lock(&h->lock);
	woken = h->woken;
	h->woken = false;
	pthread_mutex_unlock(&h->lock);
	return woken;
}

int cbd_handler_arm(struct cbd_handler *h)
{
	if (!h->watcher)
		return cbd_error(EINVAL,
				 "handler %u: no file descriptor to arm: none was asked for",
				 h->index);
	cbd_handler_answers_done(h);
	h->armed = true;
	h->armed_ns = cbd_now_ns();
	cbd_watcher_arm(h->watcher, h->watched, watched(h), longest_us(h));
	/* rule 11, with a thread that sleeps in this one's place */
	cbd_handler_put_sleeps(h, 1);
	cbd_store_load_fence();
	if (!was_woken(h) && !something(h))
		return 0;
	cbd_handler_disarm(h);
	return 1;
}

void cbd_handler_hit(struct cbd_handler *h)
{
	cbd_wait_hit(&h->wait);
}
