/* SPDX-License-Identifier: BSD-3-Clause */
/* disk-digest.c - names of any length as a number. */
#include <config.h>

#include "disk.h"

/* FNV-1a; names are chosen by administrators, not by enemies. */
uint64_t disk_digest(uint64_t seed, const void *data, size_t length)
{
	const unsigned char *p = data;
	uint64_t hash = 0xcbf29ce484222325ull ^ seed;

	while (length-- > 0)
		hash = (hash ^ *p++) * 0x100000001b3ull;
	return hash;
}
