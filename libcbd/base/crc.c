/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crc.c - CRC32C with the usual inversion at both ends: of payload by ISA-L, of
 * lines by the CPU's instruction, which has no start-up cost.
 */
#include <config.h>

#include <isa-l/crc.h>
#include <stdbool.h>
#include <string.h>

#include "base/crc.h"

#define PIECE (1u << 30) /* crc32_iscsi() takes an int */
#define SHORT 64	 /* a line */

#if defined(__x86_64__)

/* Intel SDM vol. 2, CRC32; SSE4.2.  8 bytes in 3 cycles. */
__attribute__((target("sse4.2"))) static uint32_t crc_short(uint32_t crc, const unsigned char *p,
							    size_t len)
{
	uint64_t sum = crc, word;
	uint32_t half;

	for (; len >= sizeof(word); len -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		sum = __builtin_ia32_crc32di(sum, word);
	}
	crc = (uint32_t)sum;
	if (len >= sizeof(half)) { /* a line without its CRC ends so */
		memcpy(&half, p, sizeof(half));
		crc = __builtin_ia32_crc32si(crc, half);
		len -= sizeof(half);
		p += sizeof(half);
	}
	for (; len > 0; len--)
		crc = __builtin_ia32_crc32qi(crc, *p++);
	return crc;
}

static bool has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2");
}

#else

static uint32_t crc_short(uint32_t crc, const unsigned char *p, size_t len)
{
	return crc32_iscsi((unsigned char *)(uintptr_t)p, (int)len, crc);
}

static bool has_instruction(void)
{
	return false;
}

#endif

uint32_t cbd_crc32c(uint32_t crc, const void *buf, size_t len)
{
	/* crc32_iscsi() does not write, it only lacks the const */
	unsigned char *p = (unsigned char *)(uintptr_t)buf;

	crc = ~crc;
	if (len <= SHORT && has_instruction())
		return ~crc_short(crc, p, len);
	while (len > PIECE) {
		crc = crc32_iscsi(p, PIECE, crc);
		p += PIECE;
		len -= PIECE;
	}
	return ~crc32_iscsi(p, (int)len, crc);
}
