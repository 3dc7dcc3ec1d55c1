/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * coherence.c - the parts of the native coherence header that loop, and the
 * choice of instructions.
 */
#include <config.h>

#include <pthread.h>

#include "memory/coherence.h"

#ifndef CBD_COHERENCE_IMPL

#if defined(__x86_64__) && !defined(CBD_CPU_IMPL)
#include <cpuid.h>
#include <emmintrin.h>

bool cbd_cpu_clflushopt, cbd_cpu_clwb;

static void find_instructions(void)
{
	unsigned a, b, c, d;

	/* CPUID leaf 7, EBX: bit 23 CLFLUSHOPT, bit 24 CLWB */
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
		cbd_cpu_clflushopt = b & (1u << 23);
		cbd_cpu_clwb = b & (1u << 24);
	}
}

/*
 * Non-temporal stores bypass the cache; a line that was in it is evicted, so nothing is
 * left to be written back (Intel SDM vol. 1, 10.4.6.2, which excepts older CPUs that
 * stored in place: none of those has CLFLUSHOPT).  pmem_memcpy() of libpmem gives no such
 * promise: its flag is a hint, which PMEM_NO_MOVNT=1 turns off.
 */
bool cbd_cpu_stream(void *dst, const void *src, size_t lines)
{
	__m128i *to = dst;
	const __m128i_u *from = src;

	for (const __m128i *end = to + lines * 4; to < end; to += 4, from += 4) {
		__m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1),
			c = _mm_loadu_si128(from + 2), d = _mm_loadu_si128(from + 3);

		_mm_stream_si128(to, a);
		_mm_stream_si128(to + 1, b);
		_mm_stream_si128(to + 2, c);
		_mm_stream_si128(to + 3, d);
	}
	return cbd_cpu_clflushopt;
}

/*
 * What another CPU has stored, or memory that is in no cache: memcpy(3) of the C library
 * takes REP MOVSB from 2 KiB on, which an AMD EPYC copies from there at half the speed of
 * single loads (docs/performance.md).
 */
void cbd_cpu_copy_lines(void *dst, const void *src, size_t lines)
{
	__m128i_u *to = dst;
	const __m128i_u *from = src;

	for (const __m128i_u *end = from + lines * 4; from < end; to += 4, from += 4) {
		__m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1),
			c = _mm_loadu_si128(from + 2), d = _mm_loadu_si128(from + 3);

		_mm_storeu_si128(to, a);
		_mm_storeu_si128(to + 1, b);
		_mm_storeu_si128(to + 2, c);
		_mm_storeu_si128(to + 3, d);
	}
}
#else
static void find_instructions(void)
{
}
#endif

#if defined(__aarch64__) && !defined(CBD_CPU_IMPL)
/* STNP is a hint: the lines may be in the cache behind it as well. */
bool cbd_cpu_stream(void *dst, const void *src, size_t lines)
{
	memcpy(dst, src, lines * CBD_LINE);
	return false;
}

void cbd_cpu_copy_lines(void *dst, const void *src, size_t lines)
{
	memcpy(dst, src, lines * CBD_LINE);
}
#endif

void cbd_coherence_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, find_instructions);
}

static const char *line_of(const void *p)
{
	return (const char *)((uintptr_t)p & ~(uintptr_t)(CBD_LINE - 1));
}

static void start_write_back(const char *p, size_t len)
{
	const char *end = p + len;

	for (const char *l = line_of(p); l < end; l += CBD_LINE)
		cbd_cpu_write_back(l);
}

void cbd_cpu_write_back_range(const void *p, size_t len)
{
	start_write_back(p, len);
	cbd_cpu_store_fence();
}

void cbd_cpu_invalidate_range(const void *p, size_t len)
{
	const char *end = (const char *)p + len;

	for (const char *l = line_of(p); l < end; l += CBD_LINE)
		cbd_cpu_invalidate(l);
}

/* The bytes of [DST, DST + LEN) before the first line that begins there. */
static size_t head_of(const void *dst, size_t len)
{
	size_t head = (size_t)(-(uintptr_t)dst % CBD_LINE);

	return head < len ? head : len;
}

/* Nothing is written back, of parts of lines either, nor where cbd_cpu_stream() leaves lines in
 * the cache: all that reads the disk is coherent with this CPU. */
void cbd_cpu_copy_around(void *dst, const void *src, size_t len)
{
	size_t head = head_of(dst, len), lines = (len - head) / CBD_LINE,
	       tail = head + lines * CBD_LINE;
	char *to = dst;
	const char *from = src;

	memcpy(to, from, head);
	cbd_cpu_stream(to + head, from + head, lines);
	memcpy(to + tail, from + tail, len - tail);
	cbd_cpu_store_fence();
}

/* A part of a line. */
static void copy_edge(char *dst, const char *src, size_t len)
{
	cbd_cpu_write(dst, src, len);
	start_write_back(dst, len);
}

/* No fence here: who stores the entry that names the payload has one before it. */
void cbd_cpu_copy_in(void *dst, const void *src, size_t len)
{
	size_t head = head_of(dst, len), whole, tail;
	char *to = dst;
	const char *from = src;

	tail = (len - head) % CBD_LINE;
	whole = len - head - tail;
	if (head)
		copy_edge(to, from, head);
	if (!cbd_cpu_stream(to + head, from + head, whole / CBD_LINE))
		start_write_back(to + head, whole);
	if (tail)
		copy_edge(to + head + whole, from + head + whole, tail);
}

#endif
