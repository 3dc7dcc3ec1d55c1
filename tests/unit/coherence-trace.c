/* SPDX-License-Identifier: BSD-3-Clause */
/* coherence-trace.c - see coherence-trace.h. */
#include <config.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cbd-format.h"
#include "memory/coherence.h"

#define SIDES 2
#define LINES (1u << 17) /* of a mapping, 8 MiB */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct trace seen;
static struct {
	const struct cbd_mem *m;
	const char *base;
	size_t size;
} sides[SIDES];
static unsigned n_sides;
static unsigned char writer[LINES]; /* side + 1 */
static struct {
	size_t se, ce, data, end;
} rings;
/* by page of the data area: who stored payload there last, and was it
 * announced since */
static unsigned char filled[LINES / CBD_LINES_PER_PAGE];
/* by tag: the extents of reads that are not answered */
#define READS 4096
static struct {
	uint64_t data_offset;
	uint32_t length;
} reads[READS];

static int side_of(const struct cbd_mem *m, const void *p, size_t *offset)
{
	for (unsigned i = 0; i < n_sides; i++)
		if (sides[i].m == m && (const char *)p >= sides[i].base &&
		    (const char *)p < sides[i].base + sides[i].size) {
			*offset = (size_t)((const char *)p - sides[i].base);
			return (int)i;
		}
	return -1;
}

void trace_start(void)
{
	pthread_mutex_lock(&lock);
	memset(&seen, 0, sizeof(seen));
	memset(writer, 0, sizeof(writer));
	memset(filled, 0, sizeof(filled));
	memset(&rings, 0, sizeof(rings));
	memset(reads, 0, sizeof(reads));
	n_sides = 0;
	pthread_mutex_unlock(&lock);
}

void trace_side(const struct cbd_mem *m, const char *base, size_t size)
{
	pthread_mutex_lock(&lock);
	if (n_sides == SIDES || size / CBD_LINE > LINES)
		abort();
	sides[n_sides].m = m;
	sides[n_sides].base = base;
	sides[n_sides++].size = size;
	pthread_mutex_unlock(&lock);
}

void trace_rings(size_t se, size_t ce, size_t data, size_t end)
{
	pthread_mutex_lock(&lock);
	rings.se = se;
	rings.ce = ce;
	rings.data = data;
	rings.end = end;
	pthread_mutex_unlock(&lock);
}

struct trace trace_get(void)
{
	struct trace now;

	pthread_mutex_lock(&lock);
	now = seen;
	pthread_mutex_unlock(&lock);
	return now;
}

static void count(uint64_t *what)
{
	pthread_mutex_lock(&lock);
	++*what;
	pthread_mutex_unlock(&lock);
}

/* ------------------------------------------------------------------ drops */

/*
 * What this thread has dropped and not read since.  A load brings the line
 * back into the cache, so each await needs a drop of its own.
 */
#define DROPPED 2048

static __thread struct {
	const void *line;
	bool fenced;
} dropped[DROPPED];
static __thread unsigned n_invalidated;

static int find_invalidated(const void *line)
{
	for (unsigned i = 0; i < n_invalidated; i++)
		if (dropped[i].line == line)
			return (int)i;
	return -1;
}

static void note_invalidate(const void *line)
{
	int i = find_invalidated(line);

	if (i < 0) {
		if (n_invalidated == DROPPED)
			n_invalidated = 0; /* only costs false alarms */
		i = (int)n_invalidated++;
	}
	dropped[i].line = line;
	dropped[i].fenced = false;
}

/* What this thread has stored since its last fence.  (That of cbd_line_forget() does not
 * count: only the entries of the first round of an epoch have one.) */
static __thread struct {
	bool payload, se, ce;
} unfenced;

static void note_await(const struct cbd_mem *m, const void *line)
{
	int i = find_invalidated(line);

	pthread_mutex_lock(&lock);
	seen.awaits++;
	seen.unfinished += unfenced.se;
	if (m->software && i < 0)
		seen.undropped++;
	else if (m->software && !dropped[i].fenced)
		seen.unfenced++;
	pthread_mutex_unlock(&lock);
	if (i >= 0)
		dropped[i] = dropped[--n_invalidated];
}

/* Payloads that this thread has dropped, the part of each that was not read since. */
#define PAYLOADS 128

static __thread struct {
	const char *from, *end;
	bool fenced;
} payloads[PAYLOADS];
static __thread unsigned n_payloads;

static void note_payload_invalidate(const void *p, size_t len)
{
	const char *from = p;
	unsigned i;

	/* what was dropped before, and never read, does not serve a second copy */
	for (i = 0; i < n_payloads;)
		if (payloads[i].from < from + len && from < payloads[i].end)
			payloads[i] = payloads[--n_payloads];
		else
			i++;
	i = n_payloads < PAYLOADS ? n_payloads++ : 0; /* only costs false alarms */
	payloads[i].from = from;
	payloads[i].end = payloads[i].from + len;
	payloads[i].fenced = false;
}

static void note_payload_read(const struct cbd_mem *m, const char *from, size_t len)
{
	for (unsigned i = 0; i < n_payloads; i++) {
		if (from < payloads[i].from || from + len > payloads[i].end || !payloads[i].fenced)
			continue;
		payloads[i].from = from + len;
		if (payloads[i].from == payloads[i].end)
			payloads[i] = payloads[--n_payloads];
		return;
	}
	if (m->software)
		count(&seen.undropped_payloads);
}

/* ----------------------------------------------------------------- stores */

static void note_payload(const struct cbd_mem *m, const void *p, size_t len)
{
	size_t offset;
	int side;

	pthread_mutex_lock(&lock);
	seen.payload_stores++;
	side = side_of(m, p, &offset);
	if (side >= 0 && rings.end && offset >= rings.data && offset < rings.end)
		for (size_t at = offset; at < offset + len; at += CBD_PAGE_SIZE)
			filled[at / CBD_PAGE_SIZE] = (unsigned char)(side + 1);
	pthread_mutex_unlock(&lock);
}

/* The payload that an entry names was stored by the entry's side, after what
 * was announced before. */
static void check_payload(int side, uint64_t data_offset, uint32_t length)
{
	for (uint64_t at = 0; at < length; at += CBD_PAGE_SIZE) {
		unsigned char *f = &filled[(rings.data + data_offset + at) / CBD_PAGE_SIZE];

		if (*f != side + 1)
			seen.late_payload++;
		*f = 0;
	}
}

/* An SE announces the payload of its write, a CE that of the read that it answers. */
static void check_entry(int side, size_t offset, const void *copy)
{
	const struct cbd_se *se = copy;
	const struct cbd_ce *ce = copy;

	if (offset >= rings.se && offset < rings.ce) {
		if (se->op == CBD_SE_OP_WRITE)
			check_payload(side, se->data_offset, se->length);
		reads[se->tid % READS].data_offset = se->data_offset;
		reads[se->tid % READS].length = se->op == CBD_SE_OP_READ	   ? se->length
						: se->op == CBD_SE_OP_BLOCK_STATUS ? 1
										   : 0;
	} else if (offset >= rings.ce && offset < rings.data && ce->result == CBD_RESULT_OK) {
		check_payload(side, reads[ce->tid % READS].data_offset,
			      reads[ce->tid % READS].length);
	}
}

static void note_store(const struct cbd_mem *m, const void *line, const void *copy)
{
	size_t offset;
	int side;

	pthread_mutex_lock(&lock);
	seen.stores++;
	side = side_of(m, line, &offset);
	if (side >= 0) {
		unsigned char *w = &writer[offset / CBD_LINE];

		if (*w && *w != side + 1)
			seen.two_writers++;
		*w = (unsigned char)(side + 1);
		if (rings.end)
			check_entry(side, offset, copy);
	}
	pthread_mutex_unlock(&lock);
}

/* SEs of a batch may come in any order; a CE comes behind the one before it. */
static void note_order(const struct cbd_mem *m, const void *line)
{
	size_t offset;
	bool se, ce;

	pthread_mutex_lock(&lock);
	if (rings.end && side_of(m, line, &offset) >= 0) {
		se = offset >= rings.se && offset < rings.ce;
		ce = offset >= rings.ce && offset < rings.data;
		seen.unordered += (se || ce) && (unfenced.payload || (ce && unfenced.ce));
		unfenced.se |= se;
		unfenced.ce |= ce;
	}
	pthread_mutex_unlock(&lock);
}

/* The first word of an entry tells that it is whole: then it must not stand in the line
 * before, with the epoch of another use of the ring. */
static void note_first_word(const struct cbd_mem *m, const uint64_t *line, const uint64_t *words)
{
	size_t offset;

	if (rings.end && side_of(m, line, &offset) >= 0 && offset >= rings.se &&
	    offset < rings.data && line[0] == words[0] && line[1] != words[1])
		count(&seen.not_forgotten);
}

/* -------------------------------------------------------------- interface */

void cbd_coherence_init(void)
{
}

void cbd_line_invalidate_start(const struct cbd_mem *m, const void *line)
{
	(void)m;
	note_invalidate(line);
}

void cbd_invalidate_done(const struct cbd_mem *m)
{
	(void)m;
	for (unsigned i = 0; i < n_invalidated; i++)
		dropped[i].fenced = true;
	for (unsigned i = 0; i < n_payloads; i++)
		payloads[i].fenced = true;
}

static void copy_line(const void *line, void *copy, uint64_t first)
{
	const uint64_t *from = line;
	uint64_t words[8] = { first };

	for (int i = 1; i < 8; i++)
		words[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	memcpy(copy, words, sizeof(words));
}

bool cbd_line_await(const struct cbd_mem *m, const void *line, uint64_t word, void *copy)
{
	note_await(m, line);
	if (__atomic_load_n((const uint64_t *)line, __ATOMIC_ACQUIRE) != word)
		return false;
	copy_line(line, copy, word);
	return true;
}

void cbd_line_load(const struct cbd_mem *m, const void *line, void *copy)
{
	(void)m;
	count(&seen.loads);
	copy_line(line, copy, __atomic_load_n((const uint64_t *)line, __ATOMIC_ACQUIRE));
}

void cbd_mem_store_done(const struct cbd_mem *m)
{
	(void)m;
	memset(&unfenced, 0, sizeof(unfenced));
}

void cbd_line_store_start(const struct cbd_mem *m, void *line, const void *copy)
{
	uint64_t words[8], *to = line;

	note_order(m, line);
	note_store(m, line, copy);
	memcpy(words, copy, sizeof(words));
	note_first_word(m, to, words);
	for (int i = 1; i < 8; i++)
		__atomic_store_n(&to[i], words[i], __ATOMIC_RELAXED);
	__atomic_store_n(&to[0], words[0], __ATOMIC_RELEASE);
}

void cbd_line_store(const struct cbd_mem *m, void *line, const void *copy)
{
	cbd_mem_store_done(m);
	cbd_line_store_start(m, line, copy);
	cbd_mem_store_done(m);
}

void cbd_line_forget(const struct cbd_mem *m, void *line)
{
	(void)m;
	__atomic_store_n((uint64_t *)line, CBD_LINE_FORGOTTEN, __ATOMIC_SEQ_CST);
}

void cbd_mem_store(const struct cbd_mem *m, void *dst, const void *src, size_t len)
{
	note_payload(m, dst, len);
	unfenced.payload = true;
	memcpy(dst, src, len);
}

void cbd_mem_load(const struct cbd_mem *m, void *dst, const void *src, size_t len)
{
	(void)m;
	count(&seen.payload_loads);
	memcpy(dst, src, len);
}

void cbd_mem_write_back(const struct cbd_mem *m, const void *p, size_t len)
{
	(void)m;
	(void)p;
	(void)len;
}

void cbd_mem_invalidate_start(const struct cbd_mem *m, const void *p, size_t len)
{
	(void)m;
	note_payload_invalidate(p, len);
}

void cbd_mem_invalidate(const struct cbd_mem *m, const void *p, size_t len)
{
	cbd_mem_invalidate_start(m, p, len);
	cbd_invalidate_done(m);
}

void cbd_mem_read(const struct cbd_mem *m, void *dst, const void *src, size_t len)
{
	note_payload_read(m, src, len);
	count(&seen.payload_loads);
	memcpy(dst, src, len);
}

void cbd_mem_copy(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
}

void cbd_mem_copy_around(void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
}

void cbd_mem_fetch(const struct cbd_mem *m, const void *p, size_t len)
{
	(void)m;
	(void)p;
	(void)len;
}

void cbd_sys_landed(const struct cbd_mem *m, void *p, size_t len)
{
	note_payload(m, p, len);
	count(&seen.landed);
}

void cbd_sys_take(const struct cbd_mem *m, const void *p, size_t len)
{
	(void)m;
	(void)p;
	(void)len;
	count(&seen.taken);
}

uint32_t cbd_word_load(const uint32_t *w)
{
	return __atomic_load_n(w, __ATOMIC_ACQUIRE);
}

void cbd_word_store(uint32_t *w, uint32_t value)
{
	__atomic_store_n(w, value, __ATOMIC_RELEASE);
}

void cbd_store_load_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool cbd_token_swap(uint64_t *token, uint64_t expected, uint64_t desired)
{
	count(&seen.swaps);
	return __atomic_compare_exchange_n(token, &expected, desired, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

void cbd_relax(void)
{
}

bool cbd_flag_get(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

void cbd_flag_set(bool *flag, bool value)
{
	__atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

bool cbd_flag_swap(bool *flag, bool value)
{
	return __atomic_exchange_n(flag, value, __ATOMIC_SEQ_CST);
}

uint64_t cbd_shared_get(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_ACQUIRE);
}

void cbd_shared_set(uint64_t *value, uint64_t to)
{
	__atomic_store_n(value, to, __ATOMIC_RELEASE);
}

uint64_t cbd_count_get(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

void cbd_count_add(uint64_t *value, uint64_t more)
{
	__atomic_store_n(value, cbd_count_get(value) + more, __ATOMIC_RELAXED);
}
