/* SPDX-License-Identifier: BSD-3-Clause */
/* disk-sysfs.c - what the kernel says of a block device in sysfs. */
#include <config.h>

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "disk.h"

static bool sysfs_read(const char *path, char *value, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, value, size - 1);
	close(fd);
	while (n > 0 && isspace((unsigned char)value[n - 1]))
		n--;
	if (n <= 0)
		return false;
	value[n] = '\0';
	return true;
}

bool disk_sysfs(dev_t device, const char *attribute, char *value, size_t size)
{
	static const char *const parents[] = { "", "../" };
	char path[128];

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s%s", major(device),
			 minor(device), parents[i], attribute);
		if (sysfs_read(path, value, size))
			return true;
	}
	return false;
}

unsigned long long disk_sysfs_number(dev_t device, const char *attribute)
{
	char value[32];

	return disk_sysfs(device, attribute, value, sizeof(value)) ? strtoull(value, NULL, 10) : 0;
}
