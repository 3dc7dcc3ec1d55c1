/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * coherence.h - every access to shared memory goes through here.
 *
 * This file owns all atomics, fences, cache-line instructions and volatile
 * accesses of the project.  It knows nothing of the format but the size of a
 * line.  docs/coherence.md has the rules, cited as "coherence rule N" ("rule N" alone is
 * of docs/protocol.md); in short:
 *
 *   write back  make this host's stores visible to others       (clwb, sfence)
 *   invalidate  forget this host's cached copy before a read    (clflushopt, mfence)
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

/* Between a thread and its own signal handler: when the handler runs, the thread's
 * stores before this are done and its accesses after it are not begun. */
static inline void cbd_signal_fence(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* What a line or payload access needs to know of the memory. */
struct cbd_mem {
	bool software; /* hosts are not coherent: write back and invalidate */
};

/* A first word that nobody awaits: of a position, a count, a beat or a number that
 * starts at 0 and is raised. */
#define CBD_LINE_FORGOTTEN UINT64_MAX

#ifdef CBD_COHERENCE_IMPL
#include CBD_COHERENCE_IMPL
#else
#include "memory/coherence-native.h"
#endif

/*
 * The interface, as both implementations give it (static inline or extern):
 *
 * void cbd_line_load(const struct cbd_mem *, const void *line, void *copy)
 *	Invalidate the line and copy its 64 bytes to private memory.
 * void cbd_line_invalidate_start(const struct cbd_mem *, const void *line)
 * void cbd_invalidate_done(const struct cbd_mem *)
 *	Invalidate many lines under one fence; then
 * bool cbd_line_await(const struct cbd_mem *, const void *line, uint64_t word, void *copy)
 *	copies an invalidated line if its first 8 bytes equal WORD.  All that the
 *	writer stored before that word is in the copy.
 * void cbd_line_store(const struct cbd_mem *, void *line, const void *copy)
 *	Order all earlier payload before, store the line, its first 8 bytes
 *	last, and write it back.
 * void cbd_line_store_start(const struct cbd_mem *, void *line, const void *copy)
 *	The same without an order to what comes before and after: for several lines that go
 *	together, with a cbd_mem_store_done() before the first and one after the last.
 * void cbd_line_forget(const struct cbd_mem *, void *line)
 *	Before a cbd_line_store() whose first word may stand in the line already, from an
 *	earlier use: without this cbd_line_await() might find it while the other words
 *	are stored.  The second word has to be one that did not stand there (an epoch).
 * void cbd_mem_store(const struct cbd_mem *, void *dst, const void *src, size_t)
 *	Copy payload in and write it back; ordered by the next cbd_line_store() or
 *	cbd_mem_store_done().
 * void cbd_mem_store_done(const struct cbd_mem *)
 *	Order the payload and the lines that this thread has stored before any line that
 *	this or another thread stores later: a fence is for the stores of its own thread.
 * void cbd_mem_load(const struct cbd_mem *, void *dst, const void *src, size_t)
 *	Invalidate payload and copy it out.
 * void cbd_mem_invalidate_start(const struct cbd_mem *, const void *, size_t)
 *	Of several payloads, under one fence, cbd_invalidate_done(); then
 * void cbd_mem_read(const struct cbd_mem *, void *dst, const void *src, size_t)
 *	copies out what was invalidated.
 * void cbd_mem_fetch(const struct cbd_mem *, const void *, size_t)
 *	A hint: what was invalidated is read soon.  The CPU may bring it meanwhile; it
 *	faults nowhere.
 * void cbd_mem_copy(void *dst, const void *src, size_t)
 *	Copy without write-back and invalidation.  Faster than memcpy(3) for what is in no
 *	cache, or in another CPU's.
 * void cbd_mem_copy_around(void *dst, const void *src, size_t)
 *	The same into memory of the disk, which does not come into the cache for it; before
 *	all that this thread stores later.
 * void cbd_mem_write_back(const struct cbd_mem *, const void *, size_t)
 * void cbd_mem_invalidate(const struct cbd_mem *, const void *, size_t)
 * void cbd_sys_landed(const struct cbd_mem *, void *, size_t)
 *	The kernel or a device has stored here for this process (read(2)): write back.
 *	In hardware mode there is nothing to do: those stores come before the return of the
 *	system call, or before the completion that liburing has read with acquire order,
 *	and so before the line that is stored next (release order).
 * void cbd_sys_take(const struct cbd_mem *, const void *, size_t)
 *	The kernel is going to load from here (write(2)): invalidate.
 * uint32_t cbd_word_load(const uint32_t *), void cbd_word_store(uint32_t *, uint32_t)
 *	A hint between processes of one boot (bell, sleep flag).
 * void cbd_store_load_fence(void)
 *	Orders the caller's stores before it and loads after it: for sleeping and waking.
 * bool cbd_token_swap(uint64_t *, uint64_t expected, uint64_t desired)
 *	Compare-and-swap across hosts; hardware mode only.
 * void cbd_relax(void)
 *	One turn of a spinning loop.
 * bool cbd_flag_get(const bool *), void cbd_flag_set(bool *, bool)
 * uint64_t cbd_shared_get(const uint64_t *), void cbd_shared_set(uint64_t *, uint64_t)
 *	Private memory, between threads: acquire and release.
 * void cbd_count_add(uint64_t *, uint64_t), uint64_t cbd_count_get(const uint64_t *)
 *	The same without an order: a counter with one writer, which others may read.
 * bool cbd_flag_swap(bool *, bool)
 *	The same; stores and returns what was there, in one order for all threads.
 */

#endif
