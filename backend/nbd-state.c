/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbd-state.c - the file that stands for the disk of an NBD server on this host.
 *
 * An NBD server has no lock for a disk, so the processes of one host agree by a lock on
 * this file (rule 7.1), whose name is made from what identifies the disk.  It also tells
 * how the last process has ended: in order, with everything flushed, or not; then writes
 * of it may be on their way still, and may have been lost (rule 8).  It lies in memory:
 * after a boot there is none.
 *
 * Root has one folder; any other user has one of his own, and excludes himself only.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/log.h"
#include "nbd.h"

#define MAGIC 0x31646e2d64626331ull

struct content {
	uint64_t magic, serial, source, clean, check;
};

/* A folder that is this user's, and into which nobody else can put a name. */
static int open_folder(const char *path)
{
	struct stat st;
	int fd;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -1;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 022) == 0)
		return fd;
	close(fd);
	errno = EPERM;
	return -1;
}

static int open_state_folder(char *path, size_t size)
{
	if (geteuid() == 0) {
		snprintf(path, size, "/run/cbd-backend");
		return open_folder(path);
	}
	/* not in /run/user: that comes and goes with the sessions of the user, and two processes
	 * with locks in two folders do not see each other */
	snprintf(path, size, "/dev/shm/cbd-backend-%u", (unsigned)geteuid());
	return open_folder(path);
}

int nbd_state_open(const char *name, const char *known_as)
{
	char path[PATH_MAX], file[48];
	int folder = open_state_folder(path, sizeof(path));
	int fd = -1;

	snprintf(file, sizeof(file), "nbd-%016llx%016llx",
		 (unsigned long long)disk_digest(0, known_as, strlen(known_as)),
		 (unsigned long long)disk_digest(1, known_as, strlen(known_as)));
	if (folder >= 0)
		fd = openat(folder, file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		log_error("%s: its lock, %s/%s: %s", name, path, file, strerror(errno));
	else
		log_debug("%s: its lock is %s/%s", name, path, file);
	if (folder >= 0)
		close(folder);
	return fd;
}

static uint64_t check_of(const struct content *c)
{
	return disk_digest(0, c, offsetof(struct content, check));
}

bool nbd_state_read(int fd, struct nbd_state *state)
{
	struct content c = { 0 };
	ssize_t n = pread(fd, &c, sizeof(c), 0);

	*state = (struct nbd_state){ 0 };
	if (n == 0)
		return false;
	if (n != sizeof(c) || c.magic != MAGIC || c.check != check_of(&c))
		return true;
	state->serial = c.serial;
	state->source = c.source;
	state->clean = c.clean != 0;
	return true;
}

int nbd_state_write(int fd, const struct nbd_state *state)
{
	struct content c = {
		.magic = MAGIC,
		.serial = state->serial,
		.source = state->source,
		.clean = state->clean,
	};

	c.check = check_of(&c);
	if (pwrite(fd, &c, sizeof(c), 0) == sizeof(c))
		return 0;
	return errno != 0 ? -errno : -EIO;
}
