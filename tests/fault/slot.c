/* SPDX-License-Identifier: BSD-3-Clause */
/* slot.c - see slot.h. */
#include <config.h>

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include "memory.h"
#include "ring/channel.h"
#include "slot.h"

#define LOOK_US 50

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wanted = PTHREAD_COND_INITIALIZER;
static bool watching;
static uint32_t before; /* incarnation */
static uint64_t seen[SLOT_STEPS];

static pid_t victim; /* 0: nobody is to be killed */
static enum slot_step kill_step;
static uint64_t kill_after_ns;

/* A line that is just being written may be seen in part: the next look sees it. */
static bool read_state(struct cbd_state_line *s)
{
	const volatile struct cbd_state_line *line = cbd_backend_info_at(&memory, 0,
									 CBD_BACKEND_STATE);

	s->incarnation = line->incarnation;
	s->state = line->state;
	return line->incarnation == s->incarnation;
}

static bool has_granted(uint32_t incarnation)
{
	for (unsigned c = 0; c < memory.header.channels; c++) {
		const volatile struct cbd_grant_line *g;
		struct cbd_channel ch;

		cbd_channel_init(&ch, &memory, 0, c);
		g = cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT);
		if (g->state == CBD_GRANT_GRANTED && g->epoch >> 32 == incarnation)
			return true;
	}
	return false;
}

static void note(enum slot_step step, uint64_t now)
{
	if (seen[step] == 0)
		seen[step] = now;
}

static void look(void)
{
	uint64_t now = now_ns();
	struct cbd_state_line s;

	if (!read_state(&s))
		return;
	if (s.incarnation == before) {
		if (s.state == CBD_SLOT_DRAINING)
			note(SLOT_DRAINING, now);
		else if (s.state == CBD_SLOT_HANDOVER || s.state == CBD_SLOT_GONE)
			note(SLOT_LEFT, now);
		return;
	}
	note(SLOT_TAKEN, now);
	if (has_granted(s.incarnation))
		note(SLOT_GRANTED, now);
	if (s.state == CBD_SLOT_LIVE)
		note(SLOT_LIVE, now);
}

/* A state that lasts for less than a look is passed by unseen. */
static uint64_t reached(enum slot_step step)
{
	while (step < SLOT_LIVE && seen[step] == 0)
		step++;
	return seen[step];
}

static void kill_when_due(void)
{
	uint64_t ns = victim ? reached(kill_step) : 0;

	if (ns == 0 || now_ns() < ns + kill_after_ns)
		return;
	kill(victim, SIGKILL);
	victim = 0;
}

static void *watcher(void *arg)
{
	const struct timespec pause = { .tv_nsec = LOOK_US * 1000 };

	(void)arg;
	prctl(PR_SET_TIMERSLACK, 1000);
	for (;;) {
		pthread_mutex_lock(&lock);
		while (!watching)
			pthread_cond_wait(&wanted, &lock);
		look();
		kill_when_due();
		pthread_mutex_unlock(&lock);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

void slot_init(void)
{
	pthread_t thread;
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&thread, NULL, watcher, NULL) != 0)
		die("the watcher of the slot cannot be started");
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_detach(thread);
}

void slot_watch(void)
{
	struct cbd_state_line s;

	pthread_mutex_lock(&lock);
	while (!read_state(&s))
		;
	before = s.incarnation;
	for (unsigned i = 0; i < SLOT_STEPS; i++)
		seen[i] = 0;
	watching = true;
	pthread_cond_signal(&wanted);
	pthread_mutex_unlock(&lock);
}

void slot_rest(void)
{
	pthread_mutex_lock(&lock);
	watching = false;
	victim = 0;
	pthread_mutex_unlock(&lock);
}

uint64_t slot_ns(enum slot_step step)
{
	uint64_t ns;

	pthread_mutex_lock(&lock);
	ns = seen[step];
	pthread_mutex_unlock(&lock);
	return ns;
}

void slot_kill_at(enum slot_step step, unsigned us, pid_t pid)
{
	pthread_mutex_lock(&lock);
	kill_step = step;
	kill_after_ns = us * UINT64_C(1000);
	victim = pid;
	pthread_mutex_unlock(&lock);
}
