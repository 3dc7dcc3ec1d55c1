/* SPDX-License-Identifier: BSD-3-Clause */
/* crc.c - CRC32C by ISA-L, with the usual inversion at both ends. */
#include <config.h>

#include <isa-l/crc.h>

#include "crc.h"

#define PIECE (1u << 30) /* crc32_iscsi() takes an int */

uint32_t cbd_crc32c(uint32_t crc, const void *buf, size_t len)
{
	/* crc32_iscsi() does not write, it only lacks the const */
	unsigned char *p = (unsigned char *)(uintptr_t)buf;

	crc = ~crc;
	while (len > PIECE) {
		crc = crc32_iscsi(p, PIECE, crc);
		p += PIECE;
		len -= PIECE;
	}
	return ~crc32_iscsi(p, (int)len, crc);
}
