/* SPDX-License-Identifier: BSD-3-Clause */
/* log-limit.c - see log-limit.h. */
#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log-limit.h"

#define BURST 10	/* messages of a kind in its first window */
#define KINDS 64	/* at once; the rest are one kind, whatever they say */
#define MOST_WINDOWS 60 /* a window that follows others is at most so many long */
#define TEXT 600
#define REPORT (TEXT + 60)

struct kind {
	uint64_t hash; /* of its words without digits; 0: unused */
	uint64_t begun_ms, length_ms;
	unsigned left; /* messages that may be written in this window */
	uint64_t more; /* that were not */
	int priority;
	char last[TEXT];
};

static struct {
	pthread_mutex_t lock; /* guards the others, and is held while one message is written */
	pthread_cond_t changed;
	pthread_t thread;
	log_write_fn *write; /* NULL: not started */
	unsigned window_ms;
	bool running, stop;
	struct kind kinds[KINDS], others;
} limit = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ------------------------------------------------------------------ kinds */

/* FNV-1a of the words without digits: what a peer can vary without end is numbers. */
static uint64_t hash_of(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	while (*text) {
		size_t n = strcspn(text, " ,;:/()='\""), digit = strcspn(text, "0123456789");

		if (n == 0)
			n = 1;
		for (size_t i = 0; i < n && digit >= n; i++)
			hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3ull;
		text += n;
	}
	return hash ? hash : 1;
}

static bool is_over(const struct kind *k, uint64_t now)
{
	return now - k->begun_ms >= k->length_ms;
}

static struct kind *kind_of(const char *message, uint64_t now)
{
	uint64_t hash = hash_of(message);
	struct kind *free = NULL;

	for (unsigned i = 0; i < KINDS; i++) {
		struct kind *k = &limit.kinds[i];

		if (k->hash == hash)
			return k;
		if (!free && (!k->hash || (is_over(k, now) && !k->more)))
			free = k;
	}
	if (!free)
		return &limit.others;
	*free = (struct kind){ .hash = hash };
	return free;
}

/* ---------------------------------------------------------------- windows */

static void tell_more(struct kind *k, uint64_t now)
{
	char text[REPORT];

	if (!k->more)
		return;
	snprintf(text, sizeof(text), "%" PRIu64 " more like this in %" PRIu64 " s: %s", k->more,
		 (now - k->begun_ms + 999) / 1000, k->last);
	k->more = 0;
	limit.write(k->priority, text);
}

/* A window in which something was held back is followed by a longer one with less. */
static void next_window(struct kind *k, uint64_t now)
{
	uint64_t most = (uint64_t)limit.window_ms * MOST_WINDOWS;
	bool goes_on = k->more && now - k->begun_ms < 2 * k->length_ms;

	tell_more(k, now);
	k->begun_ms = now;
	k->left = goes_on ? 1 : BURST;
	k->length_ms = goes_on ? 2 * k->length_ms : limit.window_ms;
	if (k->length_ms > most)
		k->length_ms = most;
}

/* When the next window ends in which something is held back; 0: none. */
static uint64_t tell_what_is_over(uint64_t now)
{
	uint64_t next = 0;

	for (unsigned i = 0; i <= KINDS; i++) {
		struct kind *k = i < KINDS ? &limit.kinds[i] : &limit.others;
		uint64_t end = k->begun_ms + k->length_ms;

		if (!k->more)
			continue;
		if (is_over(k, now))
			next_window(k, now);
		else if (!next || end < next)
			next = end;
	}
	return next;
}

/* ----------------------------------------------------------------- thread */

static void *teller(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&limit.lock);
	while (!limit.stop) {
		uint64_t next = tell_what_is_over(now_ms());
		struct timespec ts = { .tv_sec = (time_t)(next / 1000),
				       .tv_nsec = (long)(next % 1000) * 1000000 };

		if (next)
			pthread_cond_timedwait(&limit.changed, &limit.lock, &ts);
		else
			pthread_cond_wait(&limit.changed, &limit.lock);
	}
	pthread_mutex_unlock(&limit.lock);
	return NULL;
}

/* Signals are the business of the program's own threads. */
static void start_teller(void)
{
	sigset_t all, old;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	/* without it the next message of the kind, or the end, tells */
	limit.running = pthread_create(&limit.thread, NULL, teller, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void hold_back(struct kind *k, int priority, const char *message)
{
	k->priority = priority;
	snprintf(k->last, sizeof(k->last), "%s", message);
	if (k->more++ > 0)
		return;
	if (limit.running)
		pthread_cond_signal(&limit.changed);
	else
		start_teller();
}

/* -------------------------------------------------------------- interface */

void log_limit_start(log_write_fn *write, unsigned window_ms)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_lock(&limit.lock);
	pthread_cond_init(&limit.changed, &attr);
	limit.write = write;
	limit.window_ms = window_ms;
	limit.stop = false;
	pthread_mutex_unlock(&limit.lock);
	pthread_condattr_destroy(&attr);
}

void log_limit(log_write_fn *write, int priority, const char *message)
{
	uint64_t now;
	struct kind *k;

	pthread_mutex_lock(&limit.lock);
	if (!limit.write) {
		write(priority, message);
		pthread_mutex_unlock(&limit.lock);
		return;
	}
	now = now_ms(); /* not earlier than what another thread has begun */
	k = kind_of(message, now);
	if (is_over(k, now))
		next_window(k, now);
	if (k->left > 0) {
		k->left--;
		write(priority, message);
	} else {
		hold_back(k, priority, message);
	}
	pthread_mutex_unlock(&limit.lock);
}

void log_limit_end(void)
{
	bool running;

	pthread_mutex_lock(&limit.lock);
	running = limit.running;
	limit.running = false;
	limit.stop = true;
	if (running)
		pthread_cond_signal(&limit.changed);
	pthread_mutex_unlock(&limit.lock);
	if (running)
		pthread_join(limit.thread, NULL);
	pthread_mutex_lock(&limit.lock);
	for (unsigned i = 0; i <= KINDS && limit.write; i++)
		tell_more(i < KINDS ? &limit.kinds[i] : &limit.others, now_ms());
	memset(limit.kinds, 0, sizeof(limit.kinds));
	memset(&limit.others, 0, sizeof(limit.others));
	limit.write = NULL;
	pthread_mutex_unlock(&limit.lock);
}
