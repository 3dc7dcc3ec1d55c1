/* SPDX-License-Identifier: BSD-3-Clause */
/* thread.c - see thread.h. */
#include <config.h>

#include <signal.h>

#include "thread.h"

int thread_create(pthread_t *thread, void *(*run)(void *), void *argument)
{
	sigset_t block, old;
	int error;

	sigfillset(&block);
	sigdelset(&block, SIGBUS);
	sigdelset(&block, SIGSEGV);
	sigdelset(&block, SIGFPE);
	sigdelset(&block, SIGILL);
	pthread_sigmask(SIG_SETMASK, &block, &old);
	error = pthread_create(thread, NULL, run, argument);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -error;
}
