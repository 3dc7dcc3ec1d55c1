/* SPDX-License-Identifier: BSD-3-Clause */
/* progress.c - see progress.h. */
#include <config.h>

#include <ctype.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "progress.h"

#define INTERVAL_NS 250000000
#define LINE_SIZE 512

static struct {
	progress_text_fn *text;
	void *opaque;
	bool runs;
	pthread_t thread;
} line;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
/* With the lock: */
static bool ended;
static size_t shown; /* characters on the terminal */

/* A path may hold anything, and must not move the cursor. */
static void make_printable(char *text)
{
	for (; *text != '\0'; text++)
		if (iscntrl((unsigned char)*text))
			*text = '?';
}

/* Characters that fit: a longer line would wrap, and could not be written over. */
static size_t room(void)
{
	struct winsize w;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) < 0 || w.ws_col == 0)
		return 79;
	return w.ws_col - 1u;
}

/* In place of what is there. */
static void show(const char *text)
{
	char out[2 * LINE_SIZE];
	size_t length = strlen(text), fits = room();
	int n;

	if (length > fits)
		length = fits;
	n = snprintf(out, sizeof(out), "\r%.*s%*s%s", (int)length, text,
		     shown > length ? (int)(shown - length) : 0, "", length == 0 ? "\r" : "");
	if (n > 0 && write(STDERR_FILENO, out, (size_t)n) < 0)
		return; /* the terminal is gone: so is the line */
	shown = length;
}

/* A job in the background would be stopped, or write into the line of another one. */
static bool is_in_front(void)
{
	return tcgetpgrp(STDERR_FILENO) == getpgrp();
}

static void draw(void)
{
	char text[LINE_SIZE];

	if (!is_in_front())
		return;
	line.text(line.opaque, text, sizeof(text));
	make_printable(text);
	show(text);
}

/* With the lock.  False: it is time for the next one. */
static bool wait_for_end(struct timespec *next)
{
	int r = 0;

	next->tv_nsec += INTERVAL_NS;
	if (next->tv_nsec >= 1000000000) {
		next->tv_nsec -= 1000000000;
		next->tv_sec++;
	}
	while (!ended && r == 0)
		r = pthread_cond_timedwait(&changed, &lock, next);
	return ended;
}

static void *line_main(void *opaque)
{
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	pthread_mutex_lock(&lock);
	while (!wait_for_end(&next))
		draw();
	pthread_mutex_unlock(&lock);
	return opaque;
}

static bool has_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb") != 0);
}

void progress_start(progress_text_fn *text, void *opaque)
{
	pthread_condattr_t attr;
	sigset_t all, before;

	if (line.runs || !has_terminal())
		return;
	line.text = text;
	line.opaque = opaque;
	shown = 0;
	ended = false;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&changed, &attr);
	pthread_condattr_destroy(&attr);
	/* signals are for the program's own threads */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	line.runs = pthread_create(&line.thread, NULL, line_main, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void progress_stop(void)
{
	if (!line.runs)
		return;
	pthread_mutex_lock(&lock);
	if (shown > 0)
		show("");
	ended = true;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

void progress_end(void)
{
	if (!line.runs)
		return;
	progress_stop();
	pthread_join(line.thread, NULL);
	pthread_cond_destroy(&changed);
	line.runs = false;
}
