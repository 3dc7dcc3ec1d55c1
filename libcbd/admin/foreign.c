/* SPDX-License-Identifier: BSD-3-Clause */
/* foreign.c - see foreign.h. */
#include <config.h>

#include <blkid/blkid.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "admin/foreign.h"

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

/* What cannot be probed is as good as not recognized: format finds out itself
 * when it cannot read the file. */
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
	return r;
}
