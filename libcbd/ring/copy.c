/* SPDX-License-Identifier: BSD-3-Clause */
/* copy.c - see copy.h. */
#include <config.h>

#include "ring/channel.h"
#include "ring/copy.h"

#define PIECE_IN (16u << 10) /* half of the first-level cache of usual CPUs */
#define PIECE_OUT 2048u	     /* 32 lines: some more than a CPU awaits at a time */

/* How much to copy next: without a CRC there is no reason to stop. */
static size_t piece(size_t left, size_t most, const uint32_t *crc)
{
	return left < most || !crc ? left : most;
}

void cbd_copy_in(const struct cbd_mem *m, char *to, const char *from, size_t len, uint32_t *crc)
{
	for (size_t at = 0, n; at < len; at += n) {
		n = piece(len - at, PIECE_IN, crc);
		if (crc)
			*crc = cbd_channel_payload_crc(*crc, from + at, n);
		cbd_mem_store(m, to + at, from + at, n);
	}
}

/* The next piece is on its way from memory or from another CPU's cache while the CRC of the
 * one before is taken. */
void cbd_copy_out(const struct cbd_mem *m, char *to, const char *from, size_t len, uint32_t *crc)
{
	for (size_t at = 0, n; at < len; at += n) {
		n = piece(len - at, PIECE_OUT, crc);
		cbd_mem_read(m, to + at, from + at, n);
		if (!crc)
			continue;
		cbd_mem_fetch(m, from + at + n, piece(len - at - n, PIECE_OUT, crc));
		*crc = cbd_channel_payload_crc(*crc, to + at, n);
	}
}
