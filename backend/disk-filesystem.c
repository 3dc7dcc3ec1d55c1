/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-filesystem.c - a name for a file system that stays when it is mounted
 * again, at another place or under another device number.
 *
 * Owns the choice of the source; docs/design.md has the table of what was tried.
 *
 * statfs() gives an id.  ext4, btrfs, tmpfs and most overlays make it from
 * their uuid (btrfs: and the subvolume, so that a snapshot is another one).
 * XFS, and others, give the device number, which is told by its upper half
 * being zero: then the uuid counts, as the kernel or the superblock has it.
 * NFS gives nothing, but its file handles are the server's own and stay.  FUSE,
 * 9p and the like give nothing at all: what was mounted is their name.
 */
#include <config.h>

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <libmount/libmount.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "disk.h"
#include "../common/log.h"

#define UUID_SIZE 16

/* FS_IOC_GETFSUUID of Linux 6.9, for older headers. */
struct fs_uuid {
	uint8_t length;
	uint8_t uuid[UUID_SIZE];
};
#define GET_FS_UUID _IOR(0x15, 0, struct fs_uuid)

/* The kernel's encoding of a device number in 32 bits. */
static dev_t decode_device(uint32_t n)
{
	return makedev((n & 0xfff00) >> 8, (n & 0xff) | ((n >> 12) & 0xfff00));
}

static bool uuid_of_kernel(int fd, uint8_t *uuid)
{
	static const uint8_t none[UUID_SIZE];
	struct fs_uuid u = { .length = UUID_SIZE };

	if (ioctl(fd, GET_FS_UUID, &u) < 0 || u.length != UUID_SIZE ||
	    memcmp(u.uuid, none, UUID_SIZE) == 0)
		return false;
	memcpy(uuid, u.uuid, UUID_SIZE);
	return true;
}

static bool uuid_of_superblock(dev_t device, uint8_t *uuid)
{
	char *path = blkid_devno_to_devname(device);
	blkid_probe probe = path == NULL ? NULL : blkid_new_probe_from_filename(path);
	const char *raw;
	size_t length;
	bool found;

	free(path);
	if (probe == NULL)
		return false;
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_UUIDRAW);
	found = blkid_do_safeprobe(probe) == 0 &&
		blkid_probe_lookup_value(probe, "UUID_RAW", &raw, &length) == 0 && length > 0 &&
		length <= UUID_SIZE;
	memset(uuid, 0, UUID_SIZE);
	if (found)
		memcpy(uuid, raw, length);
	blkid_free_probe(probe);
	return found;
}

static uint64_t name_by_uuid(const struct disk_file *f, uint32_t number)
{
	uint8_t uuid[UUID_SIZE];

	if (uuid_of_kernel(f->fd, uuid) || uuid_of_superblock(decode_device(number), uuid))
		return disk_digest(0, uuid, sizeof(uuid));
	log_warning("%s: the uuid of its file system cannot be read: after that is mounted under "
		    "another device number, clients will take this for another disk",
		    f->name);
	return number;
}

/* The server's handle of this one file. */
static uint64_t name_by_handle(const struct disk_file *f)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = { .handle.handle_bytes = MAX_HANDLE_SZ };
	int mount;

	if (name_to_handle_at(f->fd, "", &u.handle, &mount, AT_EMPTY_PATH) < 0)
		return 0;
	return disk_digest((uint64_t)u.handle.handle_type, u.handle.f_handle,
			   u.handle.handle_bytes);
}

/* "server:/volume", the tag of a virtiofs ... */
static uint64_t name_by_source(const struct disk_file *f, dev_t device)
{
	struct libmnt_table *table = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_fs *fs = table == NULL
				       ? NULL
				       : mnt_table_find_devno(table, device, MNT_ITER_BACKWARD);
	const char *source = fs == NULL ? NULL : mnt_fs_get_source(fs);
	uint64_t id = device;

	if (source != NULL)
		id = disk_digest(0, source, strlen(source));
	log_debug("%s: its file system is known by its source, %s", f->name,
		  source != NULL ? source : "which is unknown");
	mnt_unref_table(table);
	return id;
}

int disk_filesystem(const struct disk_file *f, uint32_t *type, uint64_t *id)
{
	struct statfs fs;
	struct stat st;
	uint32_t half[2];

	if (fstatfs(f->fd, &fs) < 0 || fstat(f->fd, &st) < 0) {
		log_error("%s: %s", f->name, strerror(errno));
		return -errno;
	}
	*type = (uint32_t)fs.f_type;
	memcpy(id, &fs.f_fsid, sizeof(*id));
	memcpy(half, &fs.f_fsid, sizeof(half));
	if (half[0] != 0 && half[1] == 0)
		*id = name_by_uuid(f, half[0]);
	if (*id == 0 && fs.f_type == NFS_SUPER_MAGIC)
		*id = name_by_handle(f);
	if (*id == 0)
		*id = name_by_source(f, st.st_dev);
	return 0;
}
