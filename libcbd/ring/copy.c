/* SPDX-License-Identifier: BSD-3-Clause */
/* copy.c - see copy.h. */
#include <config.h>

#include "ring/channel.h"
#include "ring/copy.h"

#define PIECE (16u << 10) /* half of the first-level cache of usual CPUs */

/* How much to copy next: without a CRC there is no reason to stop. */
static size_t piece(size_t left, const uint32_t *crc)
{
	return left < PIECE || !crc ? left : PIECE;
}

void cbd_copy_in(const struct cbd_mem *m, char *to, const char *from, size_t len, uint32_t *crc)
{
	for (size_t at = 0, n; at < len; at += n) {
		n = piece(len - at, crc);
		if (crc)
			*crc = cbd_channel_payload_crc(*crc, from + at, n);
		cbd_mem_store(m, to + at, from + at, n);
	}
}

void cbd_copy_out(const struct cbd_mem *m, char *to, const char *from, size_t len, uint32_t *crc)
{
	for (size_t at = 0, n; at < len; at += n) {
		n = piece(len - at, crc);
		cbd_mem_load(m, to + at, from + at, n);
		if (crc)
			*crc = cbd_channel_payload_crc(*crc, to + at, n);
	}
}
