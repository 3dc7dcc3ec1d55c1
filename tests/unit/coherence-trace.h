/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * coherence-trace.h - the interface of coherence.h, watched: the same accesses
 * as on coherent memory, which count themselves and note every breach of the
 * discipline.  A build with CBD_COHERENCE_IMPL naming this file uses it.
 *
 * A side is known by its struct cbd_mem: each transport has one.
 */
#ifndef CBD_COHERENCE_TRACE_H
#define CBD_COHERENCE_TRACE_H

void cbd_coherence_init(void);

void cbd_line_load(const struct cbd_mem *m, const void *line, void *copy);
void cbd_line_invalidate_start(const struct cbd_mem *m, const void *line);
void cbd_invalidate_done(const struct cbd_mem *m);
bool cbd_line_await(const struct cbd_mem *m, const void *line, uint64_t word, void *copy);
void cbd_line_store(const struct cbd_mem *m, void *line, const void *copy);
void cbd_line_store_start(const struct cbd_mem *m, void *line, const void *copy);
void cbd_line_forget(const struct cbd_mem *m, void *line);
void cbd_mem_store(const struct cbd_mem *m, void *dst, const void *src, size_t len);
void cbd_mem_store_done(const struct cbd_mem *m);
void cbd_mem_load(const struct cbd_mem *m, void *dst, const void *src, size_t len);
void cbd_mem_write_back(const struct cbd_mem *m, const void *p, size_t len);
void cbd_mem_invalidate(const struct cbd_mem *m, const void *p, size_t len);
void cbd_mem_invalidate_start(const struct cbd_mem *m, const void *p, size_t len);
void cbd_mem_read(const struct cbd_mem *m, void *dst, const void *src, size_t len);
void cbd_mem_copy(void *dst, const void *src, size_t len);
void cbd_mem_copy_around(void *dst, const void *src, size_t len);
void cbd_mem_fetch(const struct cbd_mem *m, const void *p, size_t len);
void cbd_sys_landed(const struct cbd_mem *m, void *p, size_t len);
void cbd_sys_take(const struct cbd_mem *m, const void *p, size_t len);
uint32_t cbd_word_load(const uint32_t *w);
void cbd_word_store(uint32_t *w, uint32_t value);
void cbd_store_load_fence(void);
bool cbd_token_swap(uint64_t *token, uint64_t expected, uint64_t desired);
void cbd_relax(void);
bool cbd_flag_get(const bool *flag);
void cbd_flag_set(bool *flag, bool value);
bool cbd_flag_swap(bool *flag, bool value);
uint64_t cbd_shared_get(const uint64_t *value);
void cbd_shared_set(uint64_t *value, uint64_t to);
uint64_t cbd_count_get(const uint64_t *value);
void cbd_count_add(uint64_t *value, uint64_t more);

/* What was seen. */
struct trace {
	uint64_t loads, awaits, stores, payload_stores, payload_loads, swaps, landed, taken;
	uint64_t undropped;	     /* awaits of a line that was not dropped before */
	uint64_t unfenced;	     /* ... or dropped without the fence */
	uint64_t undropped_payloads; /* payloads read that were not dropped, and a fence behind
				      * it, since they were read before */
	uint64_t two_writers;	     /* line stores to a line that the other side stores to */
	uint64_t late_payload;	     /* entries published before their payload */
	uint64_t unordered;	/* entries without a fence behind their payload, CEs also without
				 * one behind the CE before */
	uint64_t unfinished;	/* awaits of a thread whose SEs have no fence behind them */
	uint64_t not_forgotten; /* entries over one of an older epoch with their position */
};

/* Forget everything; BASE and SIZE: where a side's mapping lies. */
void trace_start(void);
void trace_side(const struct cbd_mem *m, const char *base, size_t size);
struct trace trace_get(void);

/* Payload at DATA..DATA+SIZE (offsets in the mapping) belongs to entries: SEs
 * lie in [SE, CE), CEs in [CE, DATA). */
void trace_rings(size_t se, size_t ce, size_t data, size_t end);

#endif
