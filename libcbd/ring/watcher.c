/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watcher.c - see watcher.h.
 *
 * No wake-up is lost.  The owner sets `armed`, then its sleep flags, then a fence, then
 * looks at its rings.  An entry that was published before that look is found by it.  One
 * that is published later sees the flag, so its bell changes after `armed` was set; the
 * thread compares each bell with the value that it has seen last, which is older, and
 * fires.  A bell that rang for an earlier arm fires the next one for nothing.
 *
 * To arm again with the same bells costs no wake-up of the thread: it goes on waiting on
 * them whether it is armed or not.  Only what has to be looked at (another boot, a time
 * that is soon) has to be told.
 */
#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "memory/fault.h"
#include "memory/wait.h"
#include "memory/wait-times.h"
#include "ring/watcher.h"

struct cbd_watcher {
	const struct cbd_mem *mem;
	int fd;
	pthread_t thread;
	enum cbd_poll poll;
	unsigned most_us; /* between two looks at a line */
	unsigned room;
	uint64_t latest_ns; /* when to fire at the latest; 0: never */
	bool armed;	    /* cbd_flag_swap() */

	pthread_mutex_t lock; /* guards the rest */
	uint32_t word;	      /* another set: the thread sleeps on it too */
	bool stop;
	struct cbd_watched *entries;
	uint32_t *samples; /* of their bells, from before the owner set its flags */
	unsigned n;

	/* of the thread alone */
	struct cbd_watched *mine;
	uint32_t *rung; /* each bell as it was seen last */
	unsigned n_mine;
};

bool cbd_watcher_fire(struct cbd_watcher *w)
{
	const uint64_t one = 1;

	if (!cbd_flag_swap(&w->armed, false))
		return false;
	/* it cannot be full: it is emptied at each arm */
	return write(w->fd, &one, sizeof(one)) == (ssize_t)sizeof(one);
}

/* -------------------------------------------------------------- the thread */

/* Inside a recovery point. */
static bool has_come(struct cbd_watcher *w, unsigned i)
{
	const struct cbd_watched *e = &w->mine[i];
	uint64_t words[CBD_LINE_SIZE / sizeof(uint64_t)];
	uint32_t now;

	if (e->bell) {
		now = cbd_word_load(e->bell);
		if (now == w->rung[i])
			return false;
		w->rung[i] = now;
		return true;
	}
	cbd_line_invalidate_start(w->mem, e->line);
	cbd_invalidate_done(w->mem);
	return cbd_line_await(w->mem, e->line, e->position, words) && words[1] == e->epoch;
}

/* Inside a recovery point; all of them, so that each bell is noticed once. */
static bool look_at_all(struct cbd_watcher *w)
{
	bool come = false;

	for (unsigned i = 0; i < w->n_mine; i++)
		if (w->mine[i].bell || cbd_flag_get(&w->armed))
			come |= has_come(w, i);
	return come;
}

/* True also when the memory is gone: its owner finds that out. */
static bool any_has_come(struct cbd_watcher *w)
{
	struct cbd_fault f;
	bool come;

	if (!CBD_FAULT_TRY(&f))
		return true;
	come = look_at_all(w);
	cbd_fault_end(&f);
	return come;
}

static bool is_late(const struct cbd_watcher *w)
{
	uint64_t latest = cbd_shared_get(&w->latest_ns);

	return latest && cbd_now_ns() >= latest;
}

/* A bell that was in the set before keeps the value that the thread has seen last. */
static bool take_set(struct cbd_watcher *w, uint32_t *seen)
{
	bool stop;

	pthread_mutex_lock(&w->lock);
	*seen = w->word;
	stop = w->stop;
	for (unsigned i = 0; i < w->n; i++) {
		bool same = i < w->n_mine && w->mine[i].bell == w->entries[i].bell;

		w->mine[i] = w->entries[i];
		if (!same)
			w->rung[i] = w->samples[i];
	}
	w->n_mine = w->n;
	pthread_mutex_unlock(&w->lock);
	return !stop;
}

static unsigned futexes_of(const struct cbd_watcher *w, uint32_t seen, struct cbd_futex *f,
			   bool *looks)
{
	unsigned n = 0;

	f[n++] = (struct cbd_futex){ &w->word, seen };
	*looks = false;
	for (unsigned i = 0; i < w->n_mine; i++) {
		if (w->mine[i].bell && n < CBD_FUTEX_MAX)
			f[n++] = (struct cbd_futex){ w->mine[i].bell, w->rung[i] };
		else
			*looks = true;
	}
	return n;
}

static unsigned until_latest(const struct cbd_watcher *w, unsigned us)
{
	uint64_t latest = cbd_shared_get(&w->latest_ns), now;

	if (!latest || !cbd_flag_get(&w->armed))
		return us;
	now = cbd_now_ns();
	if (now >= latest)
		return 1;
	return latest - now < us * 1000ull ? (unsigned)((latest - now) / 1000) + 1 : us;
}

/* A turn of waiting: on the bells, and as long as lines have to be looked at, by the
 * policy. */
static void wait_once(struct cbd_watcher *w, uint32_t seen, struct cbd_wait *policy)
{
	struct cbd_futex f[CBD_FUTEX_MAX];
	bool looks;
	unsigned n = futexes_of(w, seen, f, &looks), us;

	us = cbd_shared_get(&w->latest_ns) ? CBD_ARMED_US : CBD_ARMED_IDLE_US;
	if (looks && cbd_flag_get(&w->armed)) {
		us = cbd_wait_next(policy);
		if (us == CBD_WAIT_YIELD)
			cbd_wait_yield(policy);
		if (us == CBD_WAIT_YIELD || us == CBD_WAIT_SPIN)
			return;
	}
	cbd_futex_wait_any(f, n, until_latest(w, us));
}

static void *watch(void *arg)
{
	struct cbd_watcher *w = arg;
	struct cbd_wait policy;
	uint32_t seen;

	cbd_wait_init(&policy, w->poll == CBD_POLL_BUSY ? w->poll : CBD_POLL_SLEEP, w->most_us);
	while (take_set(w, &seen)) {
		cbd_wait_hit(&policy);
		while (cbd_word_load(&w->word) == seen) {
			if (any_has_come(w) || is_late(w))
				cbd_watcher_fire(w);
			wait_once(w, seen, &policy);
		}
	}
	return NULL;
}

/* --------------------------------------------------------------- its owner */

static void tell_thread(struct cbd_watcher *w)
{
	pthread_mutex_lock(&w->lock);
	cbd_word_store(&w->word, w->word + 1);
	pthread_mutex_unlock(&w->lock);
	cbd_futex_wake(&w->word);
}

static void forget_fire(struct cbd_watcher *w)
{
	uint64_t count;

	if (read(w->fd, &count, sizeof(count)) < 0)
		return; /* it has not fired */
}

static void sample_bells(struct cbd_watcher *w)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return;
	for (unsigned i = 0; i < w->n; i++)
		w->samples[i] = w->entries[i].bell ? cbd_word_load(w->entries[i].bell) : 0;
	cbd_fault_end(&f);
}

/* True when the thread has to know. */
static bool put_set(struct cbd_watcher *w, const struct cbd_watched *entries, unsigned n)
{
	bool looks = false, same;

	for (unsigned i = 0; i < n; i++)
		looks |= !entries[i].bell;
	pthread_mutex_lock(&w->lock);
	same = n == w->n && (n == 0 || memcmp(w->entries, entries, n * sizeof(*entries)) == 0);
	if (!same) {
		memcpy(w->entries, entries, n * sizeof(*entries));
		w->n = n;
		sample_bells(w);
	}
	pthread_mutex_unlock(&w->lock);
	return looks || !same;
}

void cbd_watcher_arm(struct cbd_watcher *w, const struct cbd_watched *entries, unsigned n,
		     unsigned latest_us)
{
	/* it may sleep for longer than that */
	bool soon = latest_us && (latest_us < CBD_ARMED_US || !cbd_shared_get(&w->latest_ns));

	forget_fire(w);
	cbd_shared_set(&w->latest_ns, latest_us ? cbd_now_ns() + latest_us * 1000ull : 0);
	cbd_flag_swap(&w->armed, true);
	if (put_set(w, entries, n < w->room ? n : w->room) || soon)
		tell_thread(w);
}

void cbd_watcher_disarm(struct cbd_watcher *w)
{
	cbd_flag_swap(&w->armed, false);
}

int cbd_watcher_fd(const struct cbd_watcher *w)
{
	return w->fd;
}

static void free_watcher(struct cbd_watcher *w)
{
	pthread_mutex_destroy(&w->lock);
	if (w->fd >= 0)
		close(w->fd);
	free(w->entries);
	free(w->mine);
	free(w->rung);
	free(w->samples);
	free(w);
}

static int start_thread(struct cbd_watcher *w)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&w->thread, NULL, watch, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

int cbd_watcher_start(struct cbd_watcher **out, const struct cbd_mem *mem, unsigned room,
		      enum cbd_poll poll, unsigned most_us)
{
	struct cbd_watcher *w = calloc(1, sizeof(*w));
	int r = 0;

	if (!w)
		return cbd_error(ENOMEM, "file descriptor of completions: %m");
	pthread_mutex_init(&w->lock, NULL);
	w->mem = mem;
	w->poll = poll;
	w->most_us = most_us;
	w->room = room;
	w->entries = calloc(room, sizeof(*w->entries));
	w->mine = calloc(room, sizeof(*w->mine));
	w->rung = calloc(room, sizeof(*w->rung));
	w->samples = calloc(room, sizeof(*w->samples));
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->fd < 0)
		r = errno;
	else if (!w->entries || !w->mine || !w->rung || !w->samples)
		r = ENOMEM;
	else
		r = start_thread(w);
	if (r != 0) {
		free_watcher(w);
		return cbd_error(r, "file descriptor for an event loop: %m");
	}
	*out = w;
	return 0;
}

void cbd_watcher_stop(struct cbd_watcher *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_mutex_unlock(&w->lock);
	tell_thread(w);
	pthread_join(w->thread, NULL);
	free_watcher(w);
}
