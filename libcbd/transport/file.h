/* SPDX-License-Identifier: BSD-3-Clause */
/* file.h - the file or devdax device of a transport: open it, map it. */
#ifndef CBD_FILE_H
#define CBD_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What a path is, before it is mapped. */
struct cbd_file {
	int fd;
	uint64_t size;	/* usable bytes; 0: empty file */
	uint64_t align; /* of length and offset of a mapping */
	bool devdax, dax;
	dev_t dev;
	ino_t ino;
};

/* -ENOENT and so on, with a message.  CREATE makes a missing file. */
int cbd_file_open(const char *path, bool writable, bool create, struct cbd_file *file);

/* Map LENGTH bytes, rounded up to the file's alignment. */
int cbd_file_map(const struct cbd_file *file, const char *path, bool writable, uint64_t length,
		 char **base, size_t *map_length);

#endif
