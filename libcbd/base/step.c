/* SPDX-License-Identifier: BSD-3-Clause */
/* step.c - see step.h. */
#include <config.h>

#include "base/step.h"

#ifdef CBD_TEST_HOOKS

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cbd_step(const char *name)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static unsigned long reached;
	const char *what = getenv("CBD_TEST_STEP"), *count;
	size_t len = strlen(name);
	unsigned long wanted;
	bool now;

	if (!what || strncmp(what, name, len) != 0 || what[len] != ':')
		return;
	what += len + 1;
	count = strchr(what, ':');
	wanted = count ? strtoul(count + 1, NULL, 10) : 1;
	pthread_mutex_lock(&lock);
	now = ++reached == wanted;
	pthread_mutex_unlock(&lock);
	if (now)
		kill(getpid(), strncmp(what, "stop", 4) == 0 ? SIGSTOP : SIGKILL);
}

#endif
