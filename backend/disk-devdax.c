/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-devdax.c - a devdax device as the disk: memory without a file system.
 *
 * Owns what sysfs says of the device: its size, whether it keeps its
 * content without power, and which one it is.  Its I/O is the engine mmap's; there are no
 * system calls for it.
 */
#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cbd.h>

#include "disk.h"
#include "../common/log.h"

#define SECTOR 512u
#define PAGE 4096u

static bool read_text(const char *folder, const char *attribute, char *value, size_t size)
{
	char path[PATH_MAX + 64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, attribute);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, value, size - 1);
	if (fd >= 0)
		close(fd);
	while (n > 0 && isspace((unsigned char)value[n - 1]))
		n--;
	value[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* The device's folder in sysfs, without symbolic links: its parents tell what it is. */
static bool find_folder(dev_t device, char *folder)
{
	char link[64];

	snprintf(link, sizeof(link), "/sys/dev/char/%u:%u", major(device), minor(device));
	return realpath(link, folder) != NULL;
}

static uint64_t number(dev_t device, const char *attribute)
{
	char folder[PATH_MAX], value[32];

	if (!find_folder(device, folder) || !read_text(folder, attribute, value, sizeof(value)))
		return 0;
	return strtoull(value, NULL, 0);
}

bool disk_devdax_is(dev_t device)
{
	char folder[PATH_MAX], link[PATH_MAX + 16], subsystem[PATH_MAX];

	if (!find_folder(device, folder))
		return false;
	snprintf(link, sizeof(link), "%s/subsystem", folder);
	return realpath(link, subsystem) != NULL && strcmp(strrchr(subsystem, '/'), "/dax") == 0;
}

uint64_t disk_devdax_size(const struct disk *d)
{
	return number(d->device, "size");
}

/* The memory of a transport holds other hosts' data and no disk of this one. */
static int check_no_transport(const struct disk *d)
{
	struct cbd_transport *t;
	int r = cbd_transport_open(d->path, CBD_TRANSPORT_READ_ONLY, &t);

	if (r == -ENOMEDIUM)
		return 0;
	if (r >= 0)
		cbd_transport_close(t);
	if (r >= 0 || r == -EBADMSG || r == -EPROTONOSUPPORT || r == -EBUSY)
		log_error("%s: is a cbd transport (cbdctl list), not a disk", d->name);
	else
		log_error("%s", cbd_errmsg());
	return -EBUSY;
}

int disk_devdax_geometry(struct disk *d)
{
	struct cbd_disk_geometry *g = &d->geometry;
	char folder[PATH_MAX] = "";

	find_folder(d->device, folder);
	g->size = disk_devdax_size(d);
	g->logical_block = SECTOR;
	g->physical_block = PAGE;
	g->optimal_block = PAGE;
	d->granule = 1;
	/* regions of persistent memory, also of CXL, are on the bus of libnvdimm */
	if (strstr(folder, "/ndbus") == NULL)
		log_warning("%s: is not known to be persistent memory: without power it may lose "
			    "everything, also what was flushed",
			    d->name);
	return check_no_transport(d);
}

/* The uuid of the namespace or region, and where the device lies in it.  Without one the
 * physical address, which is the same while nobody changes the machine. */
void disk_devdax_name(const struct disk *d, char *name, size_t size)
{
	char folder[PATH_MAX], uuid[64] = "", place[32] = "", *end;

	if (find_folder(d->device, folder)) {
		if (!read_text(folder, "mapping0/page_offset", place, sizeof(place)))
			snprintf(place, sizeof(place), "0");
		while (uuid[0] == '\0' && (end = strrchr(folder, '/')) != NULL && end != folder) {
			if (!read_text(folder, "uuid", uuid, sizeof(uuid)) ||
			    strspn(uuid, "0-") == strlen(uuid))
				uuid[0] = '\0';
			*end = '\0';
		}
	}
	if (uuid[0] != '\0')
		snprintf(name, size, "uuid=%s,place=%s", uuid, place);
	else
		snprintf(name, size, "address=%#llx",
			 (unsigned long long)number(d->device, "resource"));
}
