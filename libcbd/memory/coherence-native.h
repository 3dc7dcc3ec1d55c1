/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * coherence-native.h - the accesses of coherence.h, made of what a CPU does with
 * shared memory: coherence-cpu.h, or the header that CBD_CPU_IMPL names (hosts with
 * simulated caches, tests/sim).  Owns the order of loads, stores, write-backs,
 * invalidations and fences; no instruction.
 */
#ifndef CBD_COHERENCE_NATIVE_H
#define CBD_COHERENCE_NATIVE_H

#include <string.h>

#define CBD_LINE_WORDS (CBD_LINE / 8)

#ifdef CBD_CPU_IMPL
#include CBD_CPU_IMPL
#else
#include "memory/coherence-cpu.h"
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

static inline void cbd_line_copy_rest(const void *line, void *copy, int from_word)
{
	const cbd_word64 *from = line;

	for (int i = from_word; i < CBD_LINE_WORDS; i++)
		cbd_copy_set(copy, i, cbd_cpu_load(&from[i]));
}

/* The first word is loaded first: acquire keeps the others behind it, and the
 * writer stored it last. */
static inline void cbd_line_copy(const void *line, void *copy, uint64_t first)
{
	cbd_copy_set(copy, 0, first);
	cbd_line_copy_rest(line, copy, 1);
}

static inline bool cbd_line_await(const struct cbd_mem *m, const void *line, uint64_t word,
				  void *copy)
{
	uint64_t second;

	(void)m;
	if (cbd_cpu_load_acquire(line) != word)
		return false;
	/* The same first word may have stood there before, see cbd_line_forget(): when the
	 * second word is a new one, the first word that is loaded behind it is too. */
	second = cbd_cpu_load_acquire((const cbd_word64 *)line + 1);
	if (cbd_cpu_load_again(line) != word)
		return false;
	cbd_copy_set(copy, 0, word);
	cbd_copy_set(copy, 1, second);
	cbd_line_copy_rest(line, copy, 2);
	return true;
}

static inline void cbd_line_load(const struct cbd_mem *m, const void *line, void *copy)
{
	cbd_line_invalidate_start(m, line);
	cbd_invalidate_done(m);
	cbd_line_copy(line, copy, cbd_cpu_load_acquire(line));
}

static inline void cbd_mem_store_done(const struct cbd_mem *m)
{
	if (m->software)
		cbd_cpu_store_fence();
}

static inline void cbd_line_store_start(const struct cbd_mem *m, void *line, const void *copy)
{
	cbd_word64 *to = line;

	for (int i = 1; i < CBD_LINE_WORDS; i++)
		cbd_cpu_store(&to[i], cbd_copy_get(copy, i));
	cbd_cpu_store_release(&to[0], cbd_copy_get(copy, 0));
	if (m->software)
		cbd_cpu_write_back(line);
}

static inline void cbd_line_store(const struct cbd_mem *m, void *line, const void *copy)
{
	/* Non-temporal and written-back payload becomes visible before the
	 * line that announces it. */
	cbd_mem_store_done(m);
	cbd_line_store_start(m, line, copy);
	cbd_mem_store_done(m);
}

static inline void cbd_line_forget(const struct cbd_mem *m, void *line)
{
	if (m->software)
		cbd_cpu_store_fence();
	cbd_cpu_store_release(line, CBD_LINE_FORGOTTEN);
	if (m->software) {
		cbd_cpu_write_back(line);
		cbd_cpu_store_fence();
	}
	cbd_cpu_order();
}

/* --------------------------------------------------------------- payload */

void cbd_cpu_write_back_range(const void *p, size_t len);
void cbd_cpu_invalidate_range(const void *p, size_t len); /* no fence */
void cbd_cpu_copy_in(void *dst, const void *src, size_t len);
void cbd_cpu_copy_around(void *dst, const void *src, size_t len);

static inline void cbd_mem_write_back(const struct cbd_mem *m, const void *p, size_t len)
{
	if (m->software)
		cbd_cpu_write_back_range(p, len);
}

static inline void cbd_mem_invalidate_start(const struct cbd_mem *m, const void *p, size_t len)
{
	if (m->software)
		cbd_cpu_invalidate_range(p, len);
}

static inline void cbd_mem_invalidate(const struct cbd_mem *m, const void *p, size_t len)
{
	cbd_mem_invalidate_start(m, p, len);
	cbd_invalidate_done(m);
}

static inline void cbd_mem_fetch(const struct cbd_mem *m, const void *p, size_t len)
{
	(void)m;
	for (size_t at = 0; at < len; at += CBD_LINE)
		cbd_cpu_fetch((const char *)p + at);
}

static inline void cbd_mem_copy(void *dst, const void *src, size_t len)
{
	cbd_cpu_read(dst, src, len);
}

static inline void cbd_mem_copy_around(void *dst, const void *src, size_t len)
{
	cbd_cpu_copy_around(dst, src, len);
}

static inline void cbd_mem_read(const struct cbd_mem *m, void *dst, const void *src, size_t len)
{
	(void)m;
	cbd_cpu_read(dst, src, len);
}

static inline void cbd_mem_store(const struct cbd_mem *m, void *dst, const void *src, size_t len)
{
	if (m->software)
		cbd_cpu_copy_in(dst, src, len);
	else
		cbd_cpu_write(dst, src, len);
}

static inline void cbd_mem_load(const struct cbd_mem *m, void *dst, const void *src, size_t len)
{
	cbd_mem_invalidate(m, src, len);
	cbd_cpu_read(dst, src, len);
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
	return cbd_cpu_load32(w);
}

static inline void cbd_word_store(uint32_t *w, uint32_t value)
{
	cbd_cpu_store32(w, value);
}

static inline void cbd_store_load_fence(void)
{
	cbd_cpu_order();
}

static inline bool cbd_token_swap(uint64_t *token, uint64_t expected, uint64_t desired)
{
	return cbd_cpu_swap(token, expected, desired);
}

static inline bool cbd_flag_get(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static inline void cbd_flag_set(bool *flag, bool value)
{
	__atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

static inline bool cbd_flag_swap(bool *flag, bool value)
{
	return __atomic_exchange_n(flag, value, __ATOMIC_SEQ_CST);
}

static inline uint64_t cbd_shared_get(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_ACQUIRE);
}

static inline void cbd_shared_set(uint64_t *value, uint64_t to)
{
	__atomic_store_n(value, to, __ATOMIC_RELEASE);
}

static inline uint64_t cbd_count_get(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static inline void cbd_count_add(uint64_t *value, uint64_t more)
{
	__atomic_store_n(value, cbd_count_get(value) + more, __ATOMIC_RELAXED);
}

#endif
