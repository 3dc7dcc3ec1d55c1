/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread.h - threads of a daemon.
 */
#ifndef CBD_THREAD_H
#define CBD_THREAD_H

#include <pthread.h>

/*
 * Start a thread that no signal reaches but those that the thread itself causes, so that the
 * main thread gets all the others.  Joined by the caller.  0, or a negative errno without a
 * message.
 */
int thread_create(pthread_t *thread, void *(*run)(void *), void *argument);

#endif
