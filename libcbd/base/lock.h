/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.h - OFD byte-range locks on the transport's file (fcntl(2)).
 *
 * Each lock has an open file description of its own: on a shared description a
 * second F_OFD_SETLK succeeds, and F_OFD_GETLK does not report the first lock.  That
 * a lock is held proves that its process lives, to processes of the same boot that
 * opened the same file (st_dev, st_ino); to others it proves nothing.
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

/* Lock BYTE of the file behind FD.  -EBUSY: another description holds it, and still
 * did after WAIT_MS milliseconds (0: a single try). */
int cbd_lock_take(struct cbd_lock *l, int fd, int64_t byte, bool shared, unsigned wait_ms);

/* Unlocks before it closes: a forked child's copy of the descriptor would otherwise
 * keep the lock. */
void cbd_lock_release(struct cbd_lock *l);

/* Move the lock to a fresh description: after a fork the parent's copy of the old one
 * would keep it.  For a moment the lock is free, so the caller holds another that
 * keeps claimers out. */
int cbd_lock_renew(struct cbd_lock *l);

/* Would an exclusive lock conflict?  The description of FD must hold no lock. */
bool cbd_lock_held(int fd, int64_t byte);

/* Does process PID of this boot hold the lock of BYTE, exclusively, on the file behind FD?
 * By what the kernel says of its descriptors: 1, 0, or -EACCES where that may not be
 * read. */
int cbd_lock_is_of(uint32_t pid, int fd, int64_t byte);

/* Has a program, not necessarily one of cbd, locked any of the file's content? */
bool cbd_lock_content_held(int fd);

#endif
