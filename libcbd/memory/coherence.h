/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * coherence.h - every access to shared memory goes through here.
 *
 * This file owns all atomics, fences, cache-line instructions and volatile
 * accesses of the project.  It knows nothing of the format but the size of a
 * line.  docs/coherence.md tells the rules; in short:
 *
 *   push  make my stores visible to other hosts    (clwb, sfence)
 *   drop  forget my cached copy before a read      (clflushopt, mfence)
 *
 * In hardware mode both are nothing, and acquire and release order does the
 * work.  A build can exchange the implementation in two places: CBD_CPU_IMPL names
 * a header in the place of coherence-cpu.h, the instructions (tests/sim does so:
 * hosts with caches of their own); CBD_COHERENCE_IMPL one that defines the functions
 * below.
 */
#ifndef CBD_COHERENCE_H
#define CBD_COHERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CBD_LINE 64

/* For a signal handler of this thread: my stores before are done, my accesses
 * after are not begun. */
static inline void cbd_signal_fence(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* What a line or payload access needs to know of the memory. */
struct cbd_mem {
	bool software; /* hosts are not coherent: push and drop */
};

#ifdef CBD_COHERENCE_IMPL
#include CBD_COHERENCE_IMPL
#else
#include "memory/coherence-native.h"
#endif

/*
 * The interface, as both implementations give it (static inline or extern):
 *
 * void cbd_line_load(const struct cbd_mem *, const void *line, void *copy)
 *	Drop the line and copy its 64 bytes to private memory.
 * void cbd_line_invalidate_start(const struct cbd_mem *, const void *line)
 * void cbd_invalidate_done(const struct cbd_mem *)
 *	The same drop for many lines under one fence; then
 * bool cbd_line_await(const struct cbd_mem *, const void *line, uint64_t word, void *copy)
 *	copies a dropped line if its first 8 bytes equal WORD.  All that the
 *	writer stored before that word is in the copy.
 * void cbd_line_store(const struct cbd_mem *, void *line, const void *copy)
 *	Order all earlier payload before, store the line, its first 8 bytes
 *	last, and push it.
 * void cbd_mem_store(const struct cbd_mem *, void *dst, const void *src, size_t)
 *	Copy payload in and push it; ordered by the next cbd_line_store().
 * void cbd_mem_load(const struct cbd_mem *, void *dst, const void *src, size_t)
 *	Drop payload and copy it out.
 * void cbd_mem_write_back(const struct cbd_mem *, const void *, size_t)
 * void cbd_mem_invalidate(const struct cbd_mem *, const void *, size_t)
 * void cbd_sys_landed(const struct cbd_mem *, void *, size_t)
 *	The kernel or a device stored here for us (read(2)): push.
 * void cbd_sys_take(const struct cbd_mem *, const void *, size_t)
 *	The kernel is going to load from here (write(2)): drop.
 * uint32_t cbd_word_load(const uint32_t *), void cbd_word_store(uint32_t *, uint32_t)
 *	A hint between processes of one boot (bell, sleep flag).
 * void cbd_store_load_fence(void)
 *	My stores before, my loads after: for sleeping and waking.
 * bool cbd_token_swap(uint64_t *, uint64_t expected, uint64_t desired)
 *	Compare-and-swap across hosts; hardware mode only.
 * void cbd_relax(void)
 *	One turn of a spinning loop.
 * bool cbd_flag_get(const bool *), void cbd_flag_set(bool *, bool)
 * uint64_t cbd_shared_get(const uint64_t *), void cbd_shared_set(uint64_t *, uint64_t)
 *	Private memory, between threads: acquire and release.
 */

#endif
