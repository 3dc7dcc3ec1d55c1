/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * coherence-native.h - the accesses of coherence.h on a real CPU.
 *
 * Push and drop are own instructions, not libpmem's flush: pmem_flush()
 * prefers clwb, which keeps the line cached, so it cannot serve a reader; and
 * it turns into nothing with eADR or PMEM_NO_FLUSH=1.
 *
 * x86: Intel SDM vol. 2, CLFLUSHOPT, CLWB; vol. 3, 12.4.1 (ordering).
 * arm64: Arm ARM, DC CIVAC, DC CVAC, DSB.
 */
#ifndef CBD_COHERENCE_NATIVE_H
#define CBD_COHERENCE_NATIVE_H

#include <string.h>

typedef uint64_t __attribute__((may_alias)) cbd_word64;

#define CBD_LINE_WORDS (CBD_LINE / 8)

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

/* Once, before the first access: find what this CPU can do. */
void cbd_coherence_init(void);

/* ----------------------------------------------------------------- lines */

static inline void cbd_line_invalidate_start(const struct cbd_mem *m, const void *line)
{
	if (m->software)
		cbd_cpu_invalidate(line);
}

static inline void cbd_invalidate_done(const struct cbd_mem *m)
{
	if (m->software)
		cbd_cpu_full_fence();
}

/* A private copy need not be aligned for words: memcpy. */
static inline void cbd_copy_set(void *copy, int word, uint64_t value)
{
	memcpy((char *)copy + word * sizeof(value), &value, sizeof(value));
}

static inline uint64_t cbd_copy_get(const void *copy, int word)
{
	uint64_t value;

	memcpy(&value, (const char *)copy + word * sizeof(value), sizeof(value));
	return value;
}

/* The first word is loaded first: acquire keeps the others behind it, and the
 * writer stored it last. */
static inline void cbd_line_copy(const void *line, void *copy, uint64_t first)
{
	const cbd_word64 *from = line;

	cbd_copy_set(copy, 0, first);
	for (int i = 1; i < CBD_LINE_WORDS; i++)
		cbd_copy_set(copy, i, __atomic_load_n(&from[i], __ATOMIC_RELAXED));
}

static inline bool cbd_line_await(const struct cbd_mem *m, const void *line, uint64_t word,
				  void *copy)
{
	(void)m;
	if (__atomic_load_n((const cbd_word64 *)line, __ATOMIC_ACQUIRE) != word)
		return false;
	cbd_line_copy(line, copy, word);
	return true;
}

static inline void cbd_line_load(const struct cbd_mem *m, const void *line, void *copy)
{
	cbd_line_invalidate_start(m, line);
	cbd_invalidate_done(m);
	cbd_line_copy(line, copy, __atomic_load_n((const cbd_word64 *)line, __ATOMIC_ACQUIRE));
}

static inline void cbd_line_store(const struct cbd_mem *m, void *line, const void *copy)
{
	cbd_word64 *to = line;

	/* Non-temporal and written-back payload becomes visible before the
	 * line that announces it. */
	if (m->software)
		cbd_cpu_store_fence();
	for (int i = 1; i < CBD_LINE_WORDS; i++)
		__atomic_store_n(&to[i], cbd_copy_get(copy, i), __ATOMIC_RELAXED);
	__atomic_store_n(&to[0], cbd_copy_get(copy, 0), __ATOMIC_RELEASE);
	if (m->software) {
		cbd_cpu_write_back(line);
		cbd_cpu_store_fence();
	}
}

/* --------------------------------------------------------------- payload */

void cbd_cpu_write_back_range(const void *p, size_t len);
void cbd_cpu_invalidate_range(const void *p, size_t len);
void cbd_cpu_copy_in(void *dst, const void *src, size_t len);

static inline void cbd_mem_write_back(const struct cbd_mem *m, const void *p, size_t len)
{
	if (m->software)
		cbd_cpu_write_back_range(p, len);
}

static inline void cbd_mem_invalidate(const struct cbd_mem *m, const void *p, size_t len)
{
	if (m->software)
		cbd_cpu_invalidate_range(p, len);
}

static inline void cbd_mem_store(const struct cbd_mem *m, void *dst, const void *src, size_t len)
{
	if (m->software)
		cbd_cpu_copy_in(dst, src, len);
	else
		memcpy(dst, src, len);
}

static inline void cbd_mem_load(const struct cbd_mem *m, void *dst, const void *src, size_t len)
{
	cbd_mem_invalidate(m, src, len);
	memcpy(dst, src, len);
}

static inline void cbd_sys_landed(const struct cbd_mem *m, void *p, size_t len)
{
	cbd_mem_write_back(m, p, len);
}

static inline void cbd_sys_take(const struct cbd_mem *m, const void *p, size_t len)
{
	cbd_mem_invalidate(m, p, len);
}

/* ----------------------------------------------- one boot, one process */

static inline uint32_t cbd_word_load(const uint32_t *w)
{
	return __atomic_load_n(w, __ATOMIC_ACQUIRE);
}

static inline void cbd_word_store(uint32_t *w, uint32_t value)
{
	__atomic_store_n(w, value, __ATOMIC_RELEASE);
}

static inline void cbd_store_load_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline bool cbd_token_swap(uint64_t *token, uint64_t expected, uint64_t desired)
{
	return __atomic_compare_exchange_n(token, &expected, desired, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

static inline bool cbd_flag_get(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static inline void cbd_flag_set(bool *flag, bool value)
{
	__atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

static inline uint64_t cbd_shared_get(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_ACQUIRE);
}

static inline void cbd_shared_set(uint64_t *value, uint64_t to)
{
	__atomic_store_n(value, to, __ATOMIC_RELEASE);
}

#endif
