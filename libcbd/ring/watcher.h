/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watcher.h - a file descriptor for an event loop: a thread that waits for entries of
 * rings and then writes an eventfd.
 *
 * The owner (a queue, or a handler) arms it: it sets the sleep flags of its channels as
 * if it slept itself (rule 11), looks once more, and leaves the waiting to the thread.
 * The thread waits on the bells where the other side is of this boot, and looks at the
 * next line of the ring at growing intervals where it is not.  It fires once for each
 * time that it is armed.  Owns no flag and no entry: it only looks.
 */
#ifndef CBD_WATCHER_H
#define CBD_WATCHER_H

#include "ring/channel.h"

/* What to wait for: a bell, or with BELL NULL the entry POSITION of EPOCH in a line.  With a
 * bell the other three are not looked at. */
struct cbd_watched {
	const uint32_t *bell;
	const void *line;
	uint64_t position, epoch;
};

struct cbd_watcher;

/* Starts the thread, for up to ROOM entries.  POLL as the owner waits; lines of
 * another boot are looked at again after MOST_US at the latest. */
int cbd_watcher_start(struct cbd_watcher **w, const struct cbd_mem *mem, unsigned room,
		      enum cbd_poll poll, unsigned most_us);
void cbd_watcher_stop(struct cbd_watcher *w);

/* The eventfd: readable from a fire to the next arm. */
int cbd_watcher_fd(const struct cbd_watcher *w);

/*
 * Forget the last fire, and fire when one of N entries comes, or after LATEST_US (0: in
 * its own time).  Before the owner sets its sleep flags.  One thread at a time; fire and
 * disarm from any.
 */
void cbd_watcher_arm(struct cbd_watcher *w, const struct cbd_watched *entries, unsigned n,
		     unsigned latest_us);
void cbd_watcher_disarm(struct cbd_watcher *w);

/* Once for each arm; false: it was not armed, or has fired. */
bool cbd_watcher_fire(struct cbd_watcher *w);

#endif
