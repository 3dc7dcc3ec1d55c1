/* SPDX-License-Identifier: BSD-3-Clause */
/* foreign.c - see foreign.h. */
#include <config.h>

#include <blkid/blkid.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "admin/foreign.h"
#include "base/bytes.h"

/* Images of virtual disks, which libblkid does not know: docs/interop of QEMU,
 * MS-VHDX 2.2.1, VMware's "Virtual Disk Format 1.1". */
static const struct {
	const char *magic, *name;
	off_t offset;
} images[] = {
	{ "QFI\xfb", "qcow2", 0 },
	{ "QED", "qed", 0 },
	{ "vhdxfile", "vhdx", 0 },
	{ "conectix", "vhd", 0 },
	{ "KDMV", "vmdk", 0 },
	{ "# Disk DescriptorFile", "vmdk", 0 },
	{ "\x7f\x10\xda\xbe", "vdi", 64 },
};

static const char *image_name(int fd)
{
	char start[32];

	for (size_t i = 0; i < sizeof(images) / sizeof(images[0]); i++) {
		size_t length = strlen(images[i].magic);

		if (pread(fd, start, length, images[i].offset) == (ssize_t)length &&
		    memcmp(start, images[i].magic, length) == 0)
			return images[i].name;
	}
	return NULL;
}

static const char *name_of(blkid_probe probe)
{
	const char *name;

	if (blkid_probe_lookup_value(probe, "TYPE", &name, NULL) == 0 ||
	    blkid_probe_lookup_value(probe, "PTTYPE", &name, NULL) == 0)
		return name;
	return "unknown";
}

/* Whether the bytes from START to END are not all zero; what cannot be read is
 * somebody's as well. */
static bool range_has_content(int fd, off_t start, off_t end)
{
	static char block[65536];
	ssize_t n = 1;

	for (; start < end && n > 0; start += n) {
		n = pread(fd, block, sizeof(block), start);
		if (n < 0 || (n > 0 && !cbd_is_zero(block, (size_t)n)))
			return true;
	}
	return false;
}

/* A file system without holes shows all of a file as data. */
static bool has_content(int fd)
{
	off_t start = 0, end = 0;

	while ((start = lseek(fd, end, SEEK_DATA)) >= 0) {
		end = lseek(fd, start, SEEK_HOLE);
		if (end < 0 || range_has_content(fd, start, end))
			return true;
	}
	return false;
}

/* What blkid cannot probe is judged by its bytes. */
int cbd_foreign_check(const char *path, int fd)
{
	const char *image = image_name(fd);
	blkid_probe probe;
	int r = 0;

	if (image)
		return cbd_error(EEXIST, "%s: holds data (%s)", path, image);
	probe = blkid_new_probe();
	if (!probe)
		return cbd_error(ENOMEM, "%s: %m", path);
	if (blkid_probe_set_device(probe, fd, 0, 0) == 0) {
		blkid_probe_enable_superblocks(probe, 1);
		blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE);
		blkid_probe_enable_partitions(probe, 1);
		switch (blkid_do_safeprobe(probe)) {
		case 0:
			r = cbd_error(EEXIST, "%s: holds data (%s)", path, name_of(probe));
			break;
		case -2:
			r = cbd_error(EEXIST, "%s: holds data (of several kinds)", path);
			break;
		default:
			break;
		}
	}
	blkid_free_probe(probe);
	if (r == 0 && has_content(fd))
		r = cbd_error(EEXIST, "%s: holds data", path);
	return r;
}
