/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.h - OFD byte-range locks on the transport's file (fcntl(2)).
 *
 * Each lock has an open file description of its own: on a shared one a second
 * F_OFD_SETLK succeeds, and F_OFD_GETLK then says unlocked.  It is proof of
 * life between processes of one boot and one (st_dev, st_ino), nothing else.
 */
#ifndef CBD_LOCK_H
#define CBD_LOCK_H

#include <stdbool.h>
#include <stdint.h>

struct cbd_lock {
	int fd; /* -1: not held */
	int64_t byte;
	bool shared;
};

#define CBD_LOCK_NONE    \
	{                \
		.fd = -1 \
	}

/* Open the file behind FD again, whatever its path means by now. */
int cbd_lock_reopen(int fd, bool writable);

/* Take BYTE of the file behind FD.  -EBUSY: held by another.  WAIT_MS bounds
 * the tries (0: one). */
int cbd_lock_take(struct cbd_lock *l, int fd, int64_t byte, bool shared, unsigned wait_ms);

/* Unlocked explicitly: a forked child's copy of the descriptor would keep it. */
void cbd_lock_release(struct cbd_lock *l);

/* Put the lock on a fresh description, so that copies of the old one in a
 * parent process keep nothing alive.  For a moment it is free: the caller
 * keeps claimers out. */
int cbd_lock_renew(struct cbd_lock *l);

/* Would an exclusive lock conflict?  FD must hold no lock itself. */
bool cbd_lock_held(int fd, int64_t byte);

/* Has another program locked any of what is in the file? */
bool cbd_lock_content_held(int fd);

#endif
