/* SPDX-License-Identifier: BSD-3-Clause */
/* lock.c - OFD locks; see lock.h. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
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

/* A line "lock:" of fdinfo: number, kind, ADVISORY, type, pid, device:inode, first and
 * last byte (proc(5)).  It is a lock of that descriptor.  The device there is not always
 * the one that stat() tells (btrfs, overlayfs), so the file is asked for by stat(). */
static bool is_lock_line(const char *line, int64_t byte)
{
	int64_t first;

	return sscanf(line, "lock: %*s OFDLCK ADVISORY WRITE %*d %*s %" SCNd64, &first) == 1 &&
	       first == lock_byte(byte);
}

static bool has_lock_line(FILE *f, int64_t byte)
{
	char line[256];

	while (fgets(line, sizeof(line), f))
		if (is_lock_line(line, byte))
			return true;
	return false;
}

/* What a failed look tells of the lock: nothing is there, or it is kept from this process. */
static int not_seen(void)
{
	return errno == EACCES || errno == EPERM ? -EACCES : 0;
}

/* PROC: /proc/PID; NAME: the number of the descriptor. */
static int descriptor_holds(int proc, const char *name, const struct stat *file, int64_t byte)
{
	char path[32];
	struct stat st;
	bool holds;
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "fdinfo/%.20s", name);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return not_seen();
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return 0;
	}
	holds = has_lock_line(f, byte);
	fclose(f);
	if (!holds)
		return 0;
	snprintf(path, sizeof(path), "fd/%.20s", name);
	if (fstatat(proc, path, &st, 0) < 0)
		return not_seen();
	return st.st_dev == file->st_dev && st.st_ino == file->st_ino;
}

static int any_holds(int proc, const struct stat *file, int64_t byte)
{
	int fd = openat(proc, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	int r, holds = 0;
	DIR *d;

	if (fd < 0)
		return not_seen();
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return 0;
	}
	while (holds <= 0 && (entry = readdir(d))) {
		r = entry->d_name[0] == '.' ? 0 : descriptor_holds(proc, entry->d_name, file, byte);
		if (r != 0)
			holds = r;
	}
	closedir(d);
	return holds;
}

int cbd_lock_is_of(uint32_t pid, int fd, int64_t byte)
{
	struct stat file;
	char path[24];
	int proc, holds;

	snprintf(path, sizeof(path), "/proc/%" PRIu32, pid);
	/* one process from here on, also when its number is given to another one */
	proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return not_seen();
	holds = fstat(fd, &file) == 0 ? any_holds(proc, &file, byte) : 0;
	close(proc);
	return holds;
}
