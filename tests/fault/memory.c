/* SPDX-License-Identifier: BSD-3-Clause */
/* memory.c - see memory.h. */
#include <config.h>

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "memory.h"

struct cbd_transport memory;

void memory_init(void)
{
	struct stat st;
	int fd = open(options.transport, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		die("%s: %m", options.transport);
	memory.base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory.base == MAP_FAILED)
		die("%s: mmap: %m", options.transport);
	memcpy(&memory.header, memory.base, sizeof(memory.header));
	memory.table = (struct cbd_area *)(memory.base + CBD_PAGE_SIZE);
	close(fd);
}
