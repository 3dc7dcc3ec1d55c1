/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * coherence-cpu.h - what a CPU does with shared memory: single loads and stores,
 * cache-line instructions, fences, copies.  Owns every instruction of the project
 * that is not plain C; in which order they are used is coherence-native.h's.
 *
 * Write back and invalidate are own instructions, not libpmem's flush: pmem_flush()
 * prefers clwb, which keeps the line cached, so it cannot serve a reader; and
 * it turns into nothing with eADR or PMEM_NO_FLUSH=1.
 *
 * x86: Intel SDM vol. 2, CLFLUSHOPT, CLWB; vol. 3, 12.4.1 (ordering).
 * arm64: Arm ARM, DC CIVAC, DC CVAC, DSB.
 */
#ifndef CBD_COHERENCE_CPU_H
#define CBD_COHERENCE_CPU_H

#include <stdbool.h>
#include <string.h>

typedef uint64_t __attribute__((may_alias)) cbd_word64;

#if defined(__x86_64__)

/* Chosen at run time: CPUs without them, and valgrind, which hides them. */
extern bool cbd_cpu_clflushopt, cbd_cpu_clwb;

static inline void cbd_cpu_invalidate(const void *p)
{
	if (cbd_cpu_clflushopt)
		__asm__ volatile("clflushopt (%0)" : : "r"(p) : "memory");
	else
		__asm__ volatile("clflush (%0)" : : "r"(p) : "memory");
}

static inline void cbd_cpu_write_back(const void *p)
{
	if (cbd_cpu_clwb)
		__asm__ volatile("clwb (%0)" : : "r"(p) : "memory");
	else
		cbd_cpu_invalidate(p);
}

static inline void cbd_cpu_store_fence(void)
{
	__asm__ volatile("sfence" : : : "memory");
}

/* clflushopt is ordered by mfence and sfence only; the load that follows
 * must not pass it, so it takes mfence. */
static inline void cbd_cpu_full_fence(void)
{
	__asm__ volatile("mfence" : : : "memory");
}

static inline void cbd_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

#elif defined(__aarch64__)

static inline void cbd_cpu_invalidate(const void *p)
{
	__asm__ volatile("dc civac, %0" : : "r"(p) : "memory");
}

static inline void cbd_cpu_write_back(const void *p)
{
	__asm__ volatile("dc cvac, %0" : : "r"(p) : "memory");
}

static inline void cbd_cpu_store_fence(void)
{
	__asm__ volatile("dsb sy" : : : "memory");
}

static inline void cbd_cpu_full_fence(void)
{
	__asm__ volatile("dsb sy" : : : "memory");
}

static inline void cbd_relax(void)
{
	__asm__ volatile("yield" : : : "memory");
}

#else
#error "cbd needs cache-line write-back instructions: x86-64 or arm64"
#endif

/* ------------------------------------------------------ loads and stores */

static inline uint64_t cbd_cpu_load(const cbd_word64 *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline uint64_t cbd_cpu_load_acquire(const void *p)
{
	return __atomic_load_n((const cbd_word64 *)p, __ATOMIC_ACQUIRE);
}

/* A second look at a word without an invalidation between: it may be as old as the
 * first. */
static inline uint64_t cbd_cpu_load_again(const void *p)
{
	return cbd_cpu_load_acquire(p);
}

static inline void cbd_cpu_store(cbd_word64 *p, uint64_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELAXED);
}

static inline void cbd_cpu_store_release(cbd_word64 *p, uint64_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

static inline uint32_t cbd_cpu_load32(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void cbd_cpu_store32(uint32_t *p, uint32_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

/* Stores before, loads after, of memory that is coherent between the two sides. */
static inline void cbd_cpu_order(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline bool cbd_cpu_swap(uint64_t *p, uint64_t expected, uint64_t desired)
{
	return __atomic_compare_exchange_n(p, &expected, desired, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

/* ---------------------------------------------------------------- copies */

/* A hint that a line is loaded soon; faults nowhere (Intel SDM vol. 2, PREFETCHh; Arm ARM,
 * PRFM). */
static inline void cbd_cpu_fetch(const void *p)
{
	__builtin_prefetch(p);
}

/* Copy whole lines through the cache; nothing need be aligned.  In coherence.c. */
void cbd_cpu_copy_lines(void *dst, const void *src, size_t lines);

/* Copy out of shared memory. */
static inline void cbd_cpu_read(void *dst, const void *src, size_t len)
{
	size_t lines = len / CBD_LINE, whole = lines * CBD_LINE;

	cbd_cpu_copy_lines(dst, src, lines);
	if (len > whole)
		memcpy((char *)dst + whole, (const char *)src + whole, len - whole);
}

/* Copy into shared memory, through the cache. */
static inline void cbd_cpu_write(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
}

/* Copy LINES whole lines around the cache to DST, which begins a line if LINES is not 0; no
 * fence.  False: this CPU may leave them in its cache, and the caller writes them back.  In
 * coherence.c. */
bool cbd_cpu_stream(void *dst, const void *src, size_t lines);

#endif
