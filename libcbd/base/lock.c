/* SPDX-License-Identifier: BSD-3-Clause */
/* lock.c - OFD locks; see lock.h. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cbd-format.h"
#include "base/clock.h"
#include "base/lock.h"

/* Open the file behind FD again, also if its path names another one by now. */
static int reopen(int fd, bool writable)
{
	char path[64];
	int copy;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	copy = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	return copy < 0 ? -errno : copy;
}

#ifdef CBD_TEST_HOOKS
/* A test makes several hosts of one machine; they must not see each other's locks. */
static int64_t lock_byte(int64_t byte)
{
	const char *boot = getenv("CBD_TEST_BOOT_ID");
	uint32_t hash = 0;

	while (boot && *boot)
		hash = hash * 31 + (unsigned char)*boot++;
	return byte + ((int64_t)hash << 24);
}
#else
#define lock_byte(byte) (byte)
#endif

static int set_lock(int fd, int64_t byte, short type)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = lock_byte(byte), .l_len = 1
	};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
}

int cbd_lock_take(struct cbd_lock *l, int fd, int64_t byte, bool shared, unsigned wait_ms)
{
	uint64_t until = cbd_now_ns() + wait_ms * 1000000ull;
	int copy = reopen(fd, !shared), r;

	if (copy < 0)
		return copy;
	while ((r = set_lock(copy, byte, shared ? F_RDLCK : F_WRLCK)) == -EBUSY &&
	       cbd_now_ns() < until)
		cbd_sleep_us(500);
	if (r < 0) {
		close(copy);
		return r;
	}
	*l = (struct cbd_lock){ .fd = copy, .byte = byte, .shared = shared };
	return 0;
}

void cbd_lock_release(struct cbd_lock *l)
{
	if (l->fd < 0)
		return;
	set_lock(l->fd, l->byte, F_UNLCK);
	close(l->fd);
	l->fd = -1;
}

int cbd_lock_renew(struct cbd_lock *l)
{
	int copy = reopen(l->fd, !l->shared), r;

	if (copy < 0) /* -EACCES: a daemon that changed its user keeps the old one */
		return copy == -EACCES ? 0 : copy;
	set_lock(l->fd, l->byte, F_UNLCK);
	r = set_lock(copy, l->byte, l->shared ? F_RDLCK : F_WRLCK);
	close(l->fd);
	l->fd = copy;
	return r;
}

bool cbd_lock_held(int fd, int64_t byte)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = lock_byte(byte), .l_len = 1
	};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool cbd_lock_content_held(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = CBD_LOCK_BASE };

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}
