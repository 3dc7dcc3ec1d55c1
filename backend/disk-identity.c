/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-identity.c - which disk this is, and whether it may have lost data.
 *
 * Clients compare both after a backend has come back (rules 7 and 8 of
 * docs/protocol.md): with another identity they never write again, with another
 * verifier they report a loss.
 *
 * Identity: of a block device what it says of itself (WWID, UUID, serial
 * number), with the place of a partition; of a loop device the file behind it;
 * without any, its device number, which another boot may give to another disk.
 * Of a file its file system (disk-filesystem.c), inode number and time of birth,
 * or generation where no birth is kept: a copy of a file, or a file restored
 * from a backup, is another disk; a file that was renamed, has grown, or whose
 * file system was mounted elsewhere, is the same.  Of an NBD server's disk the place of
 * the server and the name of the export; of devdax what the kernel says of its region.
 *
 * Verifier: acknowledged data in the page cache survives the process and not
 * the kernel, so it is made from boot id and identity.  Its low 16 bits are
 * zero: room for libcbd to count failed syncs.  With an NBD server it is made when the
 * lock is taken (nbd-disk.c).
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "disk.h"
#include "../common/log.h"
#include "nbd.h"

#define SECTOR 512u
#define VERIFIER_COUNT 0xffffull
#define VERIFIER_DURABLE (VERIFIER_COUNT + 1) /* nothing is ever lost */

enum { ID_FILE = 1, ID_DEVICE = 2, ID_SERVER = 3, ID_DEVDAX = 4 };

struct file_id {
	uint32_t kind;
	uint32_t fs_type;
	uint64_t fs_id;
	uint64_t inode;
	uint64_t birth; /* ns; or the generation; 0: neither is kept */
};

struct device_id {
	uint32_t kind;
	uint32_t reserved;
	uint64_t start;	  /* bytes, of a partition or a loop device */
	uint64_t name[2]; /* digest */
};

_Static_assert(sizeof(struct file_id) == sizeof(((struct cbd_disk_geometry *)0)->disk_id), "");
_Static_assert(sizeof(struct device_id) == sizeof(((struct cbd_disk_geometry *)0)->disk_id), "");

static uint64_t file_birth(int fd)
{
	struct statx stx;
	long generation = 0;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) == 0 && (stx.stx_mask & STATX_BTIME))
		return stx.stx_btime.tv_sec * 1000000000ull + stx.stx_btime.tv_nsec;
	return ioctl(fd, FS_IOC_GETVERSION, &generation) == 0 ? (uint32_t)generation : 0;
}

static int identify_file(const struct disk_file *f, struct file_id *id)
{
	struct stat st;
	int err;

	*id = (struct file_id){ .kind = ID_FILE };
	err = disk_filesystem(f, &id->fs_type, &id->fs_id);
	if (err < 0)
		return err;
	if (fstat(f->fd, &st) < 0) {
		log_error("%s: %s", f->name, strerror(errno));
		return -errno;
	}
	id->inode = st.st_ino;
	id->birth = file_birth(f->fd);
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

static uint64_t device_number(dev_t device, const char *attribute)
{
	char value[32];

	return disk_sysfs(device, attribute, value, sizeof(value)) ? strtoull(value, NULL, 10) : 0;
}

/* A loop device is identified by the file behind it, not by the path that the file had
 * when the device was set up. Only when the path leads to that file no more the path
 * itself counts. */
static int identify_device(const struct disk *d, struct device_id *id)
{
	const struct disk_file backing = { .name = d->name, .fd = d->backing_fd };
	char name[PATH_MAX + 64];
	struct file_id file;
	int err = 0;

	*id = (struct device_id){ .kind = ID_DEVICE };
	id->start = device_number(d->device, "start") * SECTOR +
		    device_number(d->device, "loop/offset");
	if (d->backing_fd >= 0) {
		err = identify_file(&backing, &file);
		id->name[0] = disk_digest(0, &file, sizeof(file));
		id->name[1] = disk_digest(1, &file, sizeof(file));
		return err;
	}
	device_name(d->device, name, sizeof(name));
	log_debug("%s: is identified by %s", d->name, name);
	id->name[0] = disk_digest(0, name, strlen(name));
	id->name[1] = disk_digest(1, name, strlen(name));
	return 0;
}

/* By a text: two digests of it. */
static void identify_text(uint32_t kind, const char *text, struct device_id *id)
{
	*id = (struct device_id){ .kind = kind };
	id->name[0] = disk_digest(0, text, strlen(text));
	id->name[1] = disk_digest(1, text, strlen(text));
}

static int identify_devdax(const struct disk *d, struct device_id *id)
{
	char name[PATH_MAX];

	disk_devdax_name(d, name, sizeof(name));
	log_debug("%s: is identified by %s", d->name, name);
	identify_text(ID_DEVDAX, name, id);
	return 0;
}

static int identify_any(const struct disk *d, void *id)
{
	const struct disk_file f = { .name = d->name, .fd = d->fd };

	if (d->nbd != NULL) {
		identify_text(ID_SERVER, d->nbd->known_as, id);
		return 0;
	}
	if (d->devdax)
		return identify_devdax(d, id);
	return d->block_device ? identify_device(d, id) : identify_file(&f, id);
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
	g->verifier = disk_digest(disk_digest(0, boot_id, n), g->disk_id, sizeof(g->disk_id));
	g->verifier = (g->verifier & ~VERIFIER_COUNT) | (VERIFIER_COUNT + 1);
	return 0;
}

int disk_identify(struct disk *d)
{
	union {
		struct file_id file;
		struct device_id device;
	} id;
	int err = identify_any(d, &id);

	if (err < 0)
		return err;
	memcpy(d->geometry.disk_id, &id, sizeof(id));
	return make_verifier(d);
}
