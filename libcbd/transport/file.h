/* SPDX-License-Identifier: BSD-3-Clause */
/* file.h - the file or devdax device of a transport: open it, map it. */
#ifndef CBD_FILE_H
#define CBD_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* An open file or device, not mapped yet. */
struct cbd_file {
	int fd;
	uint64_t size;	/* bytes; 0: an empty file */
	uint64_t align; /* length and offset of a mapping are multiples of it */
	bool devdax;	/* a character device of memory */
	bool dax;	/* mappings bypass the page cache (devdax, fsdax) */
	dev_t dev;
	ino_t ino;
};

/* -ERR with the message for a devdax device whose driver is DRIVER (NULL: none) and
 * not device_dax. */
int cbd_devdax_mode_error(const char *path, int err, const char *driver);

/* Open a regular file or a devdax device; CREATE makes a missing file; -EEXIST:
 * its name is taken, perhaps by a symbolic link.  The caller closes file->fd.  0, or a
 * negative errno with a message. */
int cbd_file_open(const char *path, bool writable, bool create, struct cbd_file *file);

/* Map LENGTH bytes from the start, rounded up to the file's alignment.  The caller
 * unmaps *map_length bytes.  0, or a negative errno with a message. */
int cbd_file_map(const struct cbd_file *file, const char *path, bool writable, uint64_t length,
		 char **base, size_t *map_length);

#endif
