/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * coherence.c - the parts of the native coherence header that loop, and the
 * choice of instructions.
 */
#include <config.h>

#include <libpmem.h>
#include <pthread.h>

#include "memory/coherence.h"

#ifndef CBD_COHERENCE_IMPL

#if defined(__x86_64__) && !defined(CBD_CPU_IMPL)
#include <cpuid.h>

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
#else
static void find_instructions(void)
{
}
#endif

void cbd_coherence_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, find_instructions);
}

#ifndef CBD_CPU_IMPL
void cbd_cpu_stream(void *dst, const void *src, size_t len)
{
	pmem_memcpy(dst, src, len, PMEM_F_MEM_NONTEMPORAL | PMEM_F_MEM_NODRAIN);
}
#endif

static const char *line_of(const void *p)
{
	return (const char *)((uintptr_t)p & ~(uintptr_t)(CBD_LINE - 1));
}

void cbd_cpu_write_back_range(const void *p, size_t len)
{
	const char *end = (const char *)p + len;

	for (const char *l = line_of(p); l < end; l += CBD_LINE)
		cbd_cpu_write_back(l);
	cbd_cpu_store_fence();
}

void cbd_cpu_invalidate_range(const void *p, size_t len)
{
	const char *end = (const char *)p + len;

	for (const char *l = line_of(p); l < end; l += CBD_LINE)
		cbd_cpu_invalidate(l);
	cbd_cpu_full_fence();
}

/*
 * libpmem picks the widest non-temporal stores.  What it leaves in the cache
 * (edges, or everything with PMEM_NO_MOVNT=1) it may not flush (PMEM_NO_FLUSH=1,
 * eADR), so the lines are written back here again: cheap for lines that are not
 * cached.  No fence here: cbd_line_store() of the entry that names the payload has one.
 */
void cbd_cpu_copy_in(void *dst, const void *src, size_t len)
{
	const char *end = (const char *)dst + len;

	cbd_cpu_stream(dst, src, len);
	for (const char *l = line_of(dst); l < end; l += CBD_LINE)
		cbd_cpu_write_back(l);
}

#endif
