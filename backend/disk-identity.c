/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-identity.c - which disk this is, and whether it may have lost data.
 *
 * Clients compare both after a backend has come back (rules 7 and 8 of
 * docs/protocol.md): with another identity they never write again, with another
 * verifier they report a loss.
 *
 * Identity: of a block device what it says of itself (WWID, UUID, serial
 * number), with the place of a partition; without any, its device number,
 * which another boot may give to another disk.  Of a file its file system,
 * inode number and time of birth: a copy of a file, or a file restored from a
 * backup, is another disk.  A file system without an id of its own (NFS, and in
 * effect XFS) is named by its device number, which holds until it is unmounted.
 *
 * Verifier: acknowledged data in the page cache survives the process and not
 * the kernel, so it is made from boot id and identity.  Its low 16 bits are
 * zero: room for libcbd to count failed syncs.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "disk.h"
#include "log.h"

#define VERIFIER_COUNT 0xffffull
#define VERIFIER_DURABLE 1 /* nothing is ever lost */

enum { ID_FILE = 1, ID_DEVICE = 2 };

struct file_id {
	uint32_t kind;
	uint32_t fs_type;
	uint64_t fs_id;
	uint64_t inode;
	uint64_t birth; /* ns, 0: unknown */
};

struct device_id {
	uint32_t kind;
	uint32_t reserved;
	uint64_t start;	  /* of a partition or a loop device */
	uint64_t name[2]; /* digest */
};

_Static_assert(sizeof(struct file_id) == sizeof(((struct cbd_disk_geometry *)0)->disk_id), "");
_Static_assert(sizeof(struct device_id) == sizeof(((struct cbd_disk_geometry *)0)->disk_id), "");

/* FNV-1a; names are chosen by administrators, not by enemies. */
static uint64_t digest(uint64_t seed, const void *data, size_t length)
{
	const unsigned char *p = data;
	uint64_t hash = 0xcbf29ce484222325ull ^ seed;

	while (length-- > 0)
		hash = (hash ^ *p++) * 0x100000001b3ull;
	return hash;
}

static uint64_t file_birth(int fd)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) < 0 || !(stx.stx_mask & STATX_BTIME))
		return 0;
	return stx.stx_btime.tv_sec * 1000000000ull + stx.stx_btime.tv_nsec;
}

static int identify_file(struct disk *d)
{
	struct file_id id = { .kind = ID_FILE };
	struct statfs fs;
	struct stat st;

	if (fstatfs(d->fd, &fs) < 0 || fstat(d->fd, &st) < 0) {
		log_error("%s: %s", d->name, strerror(errno));
		return -errno;
	}
	id.fs_type = fs.f_type;
	memcpy(&id.fs_id, &fs.f_fsid, sizeof(id.fs_id));
	if (id.fs_id == 0)
		id.fs_id = st.st_dev;
	id.inode = st.st_ino;
	id.birth = file_birth(d->fd);
	memcpy(d->geometry.disk_id, &id, sizeof(id));
	return 0;
}

/* "attribute=value" of the first that the device has. */
static void device_name(dev_t device, char *name, size_t size)
{
	static const char *const attributes[] = {
		"wwid", "device/wwid", "dm/uuid", "md/uuid", "loop/backing_file", "serial",
	};
	char value[PATH_MAX];

	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
		if (!disk_sysfs(device, attributes[i], value, sizeof(value)))
			continue;
		snprintf(name, size, "%s=%s", attributes[i], value);
		return;
	}
	snprintf(name, size, "device=%u:%u", major(device), minor(device));
}

static void identify_device(struct disk *d)
{
	struct device_id id = { .kind = ID_DEVICE };
	char name[PATH_MAX + 64], start[32];

	device_name(d->device, name, sizeof(name));
	log_debug("%s: is identified by %s", d->name, name);
	if (disk_sysfs(d->device, "start", start, sizeof(start)) ||
	    disk_sysfs(d->device, "loop/offset", start, sizeof(start)))
		id.start = strtoull(start, NULL, 10);
	id.name[0] = digest(0, name, strlen(name));
	id.name[1] = digest(1, name, strlen(name));
	memcpy(d->geometry.disk_id, &id, sizeof(id));
}

static int read_boot_id(char *boot_id, size_t size)
{
	int fd;
	ssize_t n;

#ifdef CBD_TEST_HOOKS
	/* several hosts on one machine */
	if (getenv("CBD_TEST_BOOT_ID") != NULL)
		return snprintf(boot_id, size, "%s", getenv("CBD_TEST_BOOT_ID"));
#endif
	fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, boot_id, size);
	if (fd >= 0)
		close(fd);
	return n;
}

static int make_verifier(struct disk *d)
{
	struct cbd_disk_geometry *g = &d->geometry;
	char boot_id[64];
	int n;

	if (d->write_through) {
		g->verifier = VERIFIER_DURABLE;
		return 0;
	}
	n = read_boot_id(boot_id, sizeof(boot_id));
	if (n <= 0) {
		log_error("%s: the boot id of this machine cannot be read", d->name);
		return -EIO;
	}
	g->verifier = digest(digest(0, boot_id, n), g->disk_id, sizeof(g->disk_id));
	g->verifier = (g->verifier & ~VERIFIER_COUNT) | (VERIFIER_COUNT + 1);
	return 0;
}

int disk_identify(struct disk *d)
{
	int err = 0;

	if (d->block_device)
		identify_device(d);
	else
		err = identify_file(d);
	return err < 0 ? err : make_verifier(d);
}
