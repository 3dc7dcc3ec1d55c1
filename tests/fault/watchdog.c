/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watchdog.c - nothing waits for ever: a thread that ends the run when what is
 * under way takes too long.
 */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "fault.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static const char *doing;
static uint64_t deadline;

static void *guard(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	for (;;) {
		struct timespec ts = { .tv_sec = (time_t)(deadline / 1000000000),
				       .tv_nsec = (long)(deadline % 1000000000) };

		if (!doing)
			pthread_cond_wait(&changed, &lock);
		else if (pthread_cond_timedwait(&changed, &lock, &ts) == ETIMEDOUT && doing &&
			 now_ns() >= deadline)
			die("%s: takes too long", doing);
	}
	return NULL;
}

void watchdog_start(void)
{
	pthread_condattr_t attr;
	pthread_t thread;
	sigset_t all, before;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&changed, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, guard, NULL) != 0)
		die("watchdog: cannot start");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_detach(thread);
}

void watch(const char *what, unsigned seconds)
{
	pthread_mutex_lock(&lock);
	doing = what;
	deadline = now_ns() + patience_ns(seconds);
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}
