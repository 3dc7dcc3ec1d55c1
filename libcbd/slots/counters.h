/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counters.h - what the owner of a slot counts, and its block in shared memory.
 *
 * Counting is in private memory that one thread, or the threads that hold one lock, write:
 * an addition without an atomic read-modify-write, so a thread that stores the block at a
 * beat may read beside it.  What a value means is in cbd-format.h; reading blocks of
 * others is counters-get.c's.
 */
#ifndef CBD_COUNTERS_H
#define CBD_COUNTERS_H

#include "transport/transport.h"

#define CBD_COUNTERS_EVERY_NS 90000000ull /* stored at a beat, but at most ten times a second */

/* Private memory of who counts: NOW has the values; its heads, sequences, incarnations and
 * CRCs are not used. */
struct cbd_counted {
	struct cbd_counter_block now;
	struct cbd_counter_block stored; /* as it was stored last */
	unsigned turn;			 /* the line that is stored again next */
	bool whole;			 /* all lines were stored since cbd_counters_afresh() */
};

/* --------------------------------------------------------------- counting */

static inline struct cbd_counter_op_line *cbd_counter_op(struct cbd_counter_block *b, unsigned op)
{
	return &b->ops[op < CBD_COUNTED_OPS ? op : 0];
}

static inline void cbd_counters_begin(struct cbd_counter_block *b, unsigned op)
{
	cbd_count_add(&cbd_counter_op(b, op)->begun, 1);
}

static inline void cbd_counters_end(struct cbd_counter_block *b, unsigned op, uint64_t bytes,
				    bool failed)
{
	struct cbd_counter_op_line *l = cbd_counter_op(b, op);

	cbd_count_add(&l->requests, 1);
	if (failed)
		cbd_count_add(&l->errors, 1);
	else
		cbd_count_add(&l->bytes, bytes);
}

/* A request that has ended took NS. */
void cbd_counters_time(struct cbd_counter_block *b, unsigned op, uint64_t ns);

/*
 * Which requests are timed: the first sixteen of each tick of a coarse clock (1 to 10 ms),
 * then one in sixty-four.  So a slow load is timed whole, and a fast one, for which a look at
 * the clock is dear, at little cost.
 */
struct cbd_timing {
	uint64_t tick;
	unsigned left; /* of the first ones */
	unsigned nth;
};

static inline bool cbd_timing_is_due(struct cbd_timing *t, uint64_t tick)
{
	if (tick != t->tick) {
		t->tick = tick;
		t->left = 16;
	}
	if (t->left > 0) {
		t->left--;
		return true;
	}
	return ++t->nth % 64 == 0;
}

/* ------------------------------------------------------------------- blocks */

/* Add the values of FROM, which another thread may be counting in. */
void cbd_counters_add(struct cbd_counter_block *to, const struct cbd_counter_block *from);
void cbd_counters_forget(struct cbd_counter_block *b); /* they become zero */

/*
 * Store what has changed, a few other lines, and the head.  HEAD: incarnation, slot and
 * queue, and when the owner began (uptime_ns: its cbd_now_ns() then); the rest is filled
 * in.  Only the owner of the block may call this.  Memory that is gone is no error: the
 * beat reports it.
 */
void cbd_counters_put(const struct cbd_transport *t, struct cbd_counter_block *shared,
		      struct cbd_counted *c, struct cbd_counter_head head);

/* Others may have written where the block is: store all lines the next time. */
void cbd_counters_afresh(struct cbd_counted *c);

/* CRC of the CRCs of the lines behind the head. */
uint32_t cbd_counters_digest(const struct cbd_transport *t, const struct cbd_counter_block *b);

static inline struct cbd_line *cbd_counters_line(struct cbd_counter_block *b, unsigned i)
{
	return (struct cbd_line *)(void *)b + i;
}

#endif
