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
#define ENTRY 60	 /* a line without its CRC: four of them for each request */

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
	if (len >= sizeof(half)) {
		memcpy(&half, p, sizeof(half));
		crc = __builtin_ia32_crc32si(crc, half);
		len -= sizeof(half);
		p += sizeof(half);
	}
	for (; len > 0; len--)
		crc = __builtin_ia32_crc32qi(crc, *p++);
	return crc;
}

/* The same with a length that the compiler knows: no loop. */
__attribute__((target("sse4.2"))) static uint32_t crc_entry(uint32_t crc, const unsigned char *p)
{
	uint64_t sum = crc, word[ENTRY / 8];
	uint32_t half;

	memcpy(word, p, sizeof(word));
	memcpy(&half, p + sizeof(word), sizeof(half));
	sum = __builtin_ia32_crc32di(sum, word[0]);
	sum = __builtin_ia32_crc32di(sum, word[1]);
	sum = __builtin_ia32_crc32di(sum, word[2]);
	sum = __builtin_ia32_crc32di(sum, word[3]);
	sum = __builtin_ia32_crc32di(sum, word[4]);
	sum = __builtin_ia32_crc32di(sum, word[5]);
	sum = __builtin_ia32_crc32di(sum, word[6]);
	return __builtin_ia32_crc32si((uint32_t)sum, half);
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

static uint32_t crc_entry(uint32_t crc, const unsigned char *p)
{
	return crc_short(crc, p, ENTRY);
}

static bool has_instruction(void)
{
	return false;
}

#endif

/* Not inlined: what it saves on the stack, a line would pay for too. */
__attribute__((noinline)) static uint32_t crc_long(uint32_t crc, const void *buf, size_t len)
{
	/* crc32_iscsi() does not write, it only lacks the const */
	unsigned char *p = (unsigned char *)(uintptr_t)buf;

	while (len > PIECE) {
		crc = crc32_iscsi(p, PIECE, crc);
		p += PIECE;
		len -= PIECE;
	}
	return crc32_iscsi(p, (int)len, crc);
}

uint32_t cbd_crc32c(uint32_t crc, const void *buf, size_t len)
{
	if (len == ENTRY && has_instruction())
		return ~crc_entry(~crc, buf);
	if (len <= SHORT && has_instruction())
		return ~crc_short(~crc, buf, len);
	return ~crc_long(~crc, buf, len);
}
