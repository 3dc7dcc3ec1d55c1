/* SPDX-License-Identifier: BSD-3-Clause */
/* counters.c - see counters.h. */
#include <config.h>

#include <string.h>

#include "base/clock.h"
#include "base/crc.h"
#include "memory/fault.h"
#include "slots/counters.h"
#include "transport/lines.h"

#define AGAIN 4 /* lines that are stored again at each beat, though nothing has changed */

/* A line of any kind: its values. */
struct values {
	uint64_t sequence;
	uint64_t value[6];
	uint32_t incarnation;
	uint32_t crc;
};
CBD_PIN(struct values, CBD_LINE_SIZE);

static struct values *values_of(struct cbd_counter_block *b, unsigned i)
{
	return (struct values *)(void *)cbd_counters_line(b, i);
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned log2 = 63 - (unsigned)__builtin_clzll(ns | 1);
	unsigned k = log2 < 8 ? 0 : log2 - 7;

	return k < CBD_LATENCY_BUCKETS ? k : CBD_LATENCY_BUCKETS - 1;
}

void cbd_counters_time(struct cbd_counter_block *b, unsigned op, uint64_t ns)
{
	struct cbd_counter_op_line *l = cbd_counter_op(b, op);
	unsigned of = op == CBD_SE_OP_READ ? 0 : op == CBD_SE_OP_WRITE ? 1 : 2;
	unsigned k = bucket_of(ns);

	cbd_count_add(&l->timed, 1);
	cbd_count_add(&l->time_ns, ns);
	cbd_count_add(&b->latency[of][k / CBD_BUCKETS_PER_LINE].bucket[k % CBD_BUCKETS_PER_LINE],
		      1);
}

void cbd_counters_add(struct cbd_counter_block *to, const struct cbd_counter_block *from)
{
	for (unsigned i = 1; i < CBD_COUNTER_LINES; i++) {
		const struct values *f = (const struct values *)(const void *)from + i;
		struct values *v = values_of(to, i);

		for (unsigned w = 0; w < 6; w++)
			v->value[w] += cbd_count_get(&f->value[w]);
	}
}

void cbd_counters_forget(struct cbd_counter_block *b)
{
	memset(b, 0, sizeof(*b));
}

/* Not of whole lines: a sound line and its CRC are a multiple of the polynomial, so any
 * other sound line in its place would give the same CRC of the two together. */
uint32_t cbd_counters_digest(const struct cbd_transport *t, const struct cbd_counter_block *b)
{
	uint32_t crcs[CBD_COUNTER_LINES - 1];

	for (unsigned i = 1; i < CBD_COUNTER_LINES; i++)
		crcs[i - 1] = ((const struct cbd_line *)(const void *)b + i)->crc;
	return cbd_crc32c(t->seed, crcs, sizeof(crcs));
}

/* ------------------------------------------------------------------- store */

/* A line that was never stored is zero still, with the same values. */
static bool update(const struct cbd_transport *t, struct cbd_counter_block *shared,
		   struct cbd_counted *c, unsigned i, uint32_t incarnation)
{
	struct values *from = values_of(&c->now, i), *to = values_of(&c->stored, i);
	struct values v = { .sequence = c->stored.head.sequence, .incarnation = incarnation };

	for (unsigned w = 0; w < 6; w++)
		v.value[w] = cbd_count_get(&from->value[w]);
	if (memcmp(v.value, to->value, sizeof(v.value)) == 0)
		return false;
	cbd_line_seal(t->seed, (uint64_t)((char *)cbd_counters_line(shared, i) - t->base),
		      (struct cbd_line *)(void *)&v);
	*to = v;
	return true;
}

/* LINES, in runs of neighbours, then the head.  Inside a recovery point. */
static void store_inside(const struct cbd_mem *m, struct cbd_counter_block *shared,
			 struct cbd_counter_block *stored, uint64_t lines)
{
	unsigned i = 1, n;

	while (i < CBD_COUNTER_LINES) {
		for (n = 0; i + n < CBD_COUNTER_LINES && (lines >> (i + n) & 1); n++)
			;
		if (n > 0)
			cbd_mem_store(m, cbd_counters_line(shared, i), cbd_counters_line(stored, i),
				      n * CBD_LINE_SIZE);
		i += n + 1;
	}
	cbd_mem_store_done(m);
	cbd_mem_store(m, shared, stored, sizeof(stored->head));
	cbd_mem_store_done(m);
}

/* Memory that is gone is no error here. */
static void store(const struct cbd_mem *m, struct cbd_counter_block *shared,
		  struct cbd_counter_block *stored, const uint64_t *lines)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return;
	store_inside(m, shared, stored, *lines);
	cbd_fault_end(&f);
}

void cbd_counters_afresh(struct cbd_counted *c)
{
	c->whole = false;
}

/* Lines that are stored also when they have not changed. */
static uint64_t take_turn(struct cbd_counted *c)
{
	uint64_t lines = 0;

	if (!c->whole) {
		c->whole = true;
		return ((1ull << CBD_COUNTER_LINES) - 1) & ~1ull;
	}
	for (unsigned n = 0; n < AGAIN; n++) {
		c->turn = c->turn % (CBD_COUNTER_LINES - 1) + 1;
		lines |= 1ull << c->turn;
	}
	return lines;
}

static void seal_head(const struct cbd_transport *t, const struct cbd_counter_block *shared,
		      struct cbd_counter_block *stored, struct cbd_counter_head head)
{
	head.sequence = stored->head.sequence;
	head.uptime_ns = cbd_now_ns() - head.uptime_ns;
	head.stored_ns = cbd_day_ns();
	head.digest = cbd_counters_digest(t, stored);
	memset(head.reserved, 0, sizeof(head.reserved));
	cbd_line_seal(t->seed, (uint64_t)((const char *)shared - t->base),
		      (struct cbd_line *)(void *)&head);
	stored->head = head;
}

void cbd_counters_put(const struct cbd_transport *t, struct cbd_counter_block *shared,
		      struct cbd_counted *c, struct cbd_counter_head head)
{
	uint64_t lines = take_turn(c);

	c->stored.head.sequence++;
	for (unsigned i = 1; i < CBD_COUNTER_LINES; i++)
		if (update(t, shared, c, i, head.incarnation))
			lines |= 1ull << i;
	seal_head(t, shared, &c->stored, head);
	store(&t->mem, shared, &c->stored, &lines);
}
