/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counters-get.c - counters for people and monitoring: read a block of any owner, living
 * or not.  A block whose lines do not belong together is none.
 *
 * Owns no judgement of the values: a peer may write any there.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/sized.h"
#include "memory/fault.h"
#include "ring/channel.h"
#include "slots/counters.h"

#define TRIES 8 /* an owner may be storing its block */
#define PAUSE_US 200

struct source {
	struct cbd_transport *t;
	const struct cbd_counter_block *shared;
	char what[48]; /* for messages */
};

/* The owner may be storing it meanwhile; what is torn is found out later.  tests/unit/unit.c
 * names this function, and no other, to ThreadSanitizer. */
static bool load_block_as_it_is(const struct source *s, struct cbd_counter_block *b)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return false;
	cbd_mem_load(&s->t->mem, b, s->shared, sizeof(*b));
	cbd_fault_end(&f);
	return true;
}

static bool is_sound(const struct source *s, struct cbd_counter_block *b, unsigned i)
{
	struct cbd_line l = *cbd_counters_line(b, i);

	cbd_line_seal(s->t->seed,
		      (uint64_t)((const char *)s->shared - s->t->base) + i * CBD_LINE_SIZE, &l);
	return l.crc == cbd_counters_line(b, i)->crc;
}

/* Lines that the owner has not stored yet become zero.  False: a line is damaged, or they
 * do not belong together. */
static bool is_whole(const struct source *s, struct cbd_counter_block *b)
{
	if (!is_sound(s, b, 0))
		return false;
	for (unsigned i = 1; i < CBD_COUNTER_LINES; i++) {
		struct cbd_line *l = cbd_counters_line(b, i);
		/* of all kinds of lines the incarnation is at the same place */
		const struct cbd_counter_wait_line *any = (const void *)l;

		if (cbd_is_zero(l, sizeof(*l)))
			continue;
		if (!is_sound(s, b, i))
			return false;
		if (any->incarnation != b->head.incarnation)
			memset(l, 0, sizeof(*l));
	}
	return cbd_counters_digest(s->t, b) == b->head.digest;
}

static int nothing(const struct source *s)
{
	return cbd_error(ENODATA, "%s: %s: has stored no counters", s->t->path, s->what);
}

static int read_block(const struct source *s, struct cbd_counter_block *b)
{
	for (int tries = 0; tries < TRIES; tries++) {
		if (tries > 0)
			cbd_sleep_us(PAUSE_US);
		if (!load_block_as_it_is(s, b))
			return cbd_error(EIO,
					 "%s: %s: the memory of its counters is poisoned or "
					 "gone",
					 s->t->path, s->what);
		if (cbd_is_zero(&b->head, sizeof(b->head)))
			return nothing(s);
		if (is_whole(s, b))
			return 0;
	}
	return cbd_error(EBADMSG, "%s: %s: its counters are damaged, or were not stored to the end",
			 s->t->path, s->what);
}

/* ----------------------------------------------------------------- answer */

static void fill_op(struct cbd_op_counters *to, const struct cbd_counter_op_line *from)
{
	*to = (struct cbd_op_counters){
		.requests = from->requests,
		/* a handler goes on while its block is stored */
		.begun = from->begun > from->requests ? from->begun : from->requests,
		.bytes = from->bytes,
		.errors = from->errors,
		.timed = from->timed,
		.time_ns = from->time_ns,
	};
}

static void fill(const struct cbd_counter_block *b, struct cbd_counters *c)
{
	*c = (struct cbd_counters){
		.incarnation = b->head.incarnation,
		.blkdev_incarnation = b->head.blkdev_incarnation,
		.sequence = b->head.sequence,
		.uptime_ns = b->head.uptime_ns,
		.stored_ns = b->head.stored_ns,
		.bad_payloads = b->events.bad_payloads,
		.resends = b->events.resends,
		.retries = b->events.retries,
		.time_outs = b->events.time_outs,
		.losses = b->events.losses,
		.epochs = b->epochs.epochs,
		.epochs_left = b->epochs.left,
		.silent_ns = b->epochs.silent_ns,
		.poll_ns = b->waits.poll_ns,
		.sleep_ns = b->waits.sleep_ns,
		.sleeps = b->waits.sleeps,
	};
	for (unsigned op = 0; op < CBD_COUNTED_OPS; op++)
		fill_op(&c->ops[op], &b->ops[op]);
	for (unsigned of = 0; of < CBD_LATENCIES; of++)
		for (unsigned k = 0; k < CBD_LATENCY_BUCKETS; k++)
			c->latency[of][k] = b->latency[of][k / CBD_BUCKETS_PER_LINE]
						    .bucket[k % CBD_BUCKETS_PER_LINE];
}

/* Of the owner INCARNATION; 0: whoever it is. */
static int get(const struct source *s, uint32_t incarnation, struct cbd_counter_block *b)
{
	int r = read_block(s, b);

	if (r == 0 && incarnation && b->head.incarnation != incarnation)
		return nothing(s); /* they are of an earlier owner */
	return r;
}

static int put(const struct cbd_counter_block *b, struct cbd_counters *out, size_t size)
{
	struct cbd_counters c;

	fill(b, &c);
	cbd_sized_put(out, size, &c, sizeof(c));
	return 0;
}

static int check(struct cbd_transport *t, const char *kind, unsigned id, unsigned count,
		 const void *out)
{
	int r = cbd_transport_given(t);

	if (r < 0)
		return r;
	if (!out)
		return cbd_error(EINVAL, "%s: %s %u: no place for the answer given", t->path, kind,
				 id);
	if (id >= count)
		return cbd_error(EINVAL, "%s: %s %u: the transport has 0..%u", t->path, kind, id,
				 count - 1);
	return 0;
}

int cbd_counters_get(struct cbd_transport *t, enum cbd_object object, unsigned id,
		     struct cbd_counters *counters, size_t size)
{
	enum cbd_side side = object == CBD_OBJECT_BACKEND ? CBD_SIDE_BACKEND : CBD_SIDE_BLKDEV;
	struct source s = { .t = t };
	struct cbd_counter_block b;
	struct cbd_state_line state;
	int r = cbd_transport_given(t);

	if (r == 0 && object != CBD_OBJECT_BACKEND && object != CBD_OBJECT_BLKDEV)
		r = cbd_error(EINVAL, "%s: only backends and blkdevs have counters", t->path);
	if (r == 0)
		r = check(t, cbd_side_name(side), id, cbd_side_slots(t, side), counters);
	if (r < 0)
		return r;
	snprintf(s.what, sizeof(s.what), "%s %u", cbd_side_name(side), id);
	s.shared = cbd_side_counters_at(t, side, id);
	if (cbd_line_get(t, cbd_side_state_at(t, side, id), &state) < 0)
		state.incarnation = 0;
	r = get(&s, state.incarnation, &b);
	return r < 0 ? r : put(&b, counters, size);
}

int cbd_channel_counters_get(struct cbd_transport *t, unsigned backend, unsigned id,
			     enum cbd_object counted_by, struct cbd_counters *counters, size_t size)
{
	bool handler = counted_by == CBD_OBJECT_BACKEND;
	struct source s = { .t = t };
	struct cbd_counter_block b;
	struct cbd_grant_line g;
	struct cbd_channel ch;
	int r = cbd_transport_given(t);

	if (r == 0)
		r = check(t, "backend", backend, t->header.backends, counters);
	if (r == 0)
		r = check(t, "channel", id, t->header.channels, counters);
	if (r == 0 && !handler && counted_by != CBD_OBJECT_BLKDEV)
		r = cbd_error(EINVAL, "%s: only backends and blkdevs have counters", t->path);
	if (r < 0)
		return r;
	snprintf(s.what, sizeof(s.what), "backend %u: channel %u", backend, id);
	cbd_channel_init(&ch, t, backend, id);
	r = cbd_line_get(t, cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT), &g);
	if (r < 0)
		return r;
	if (g.state == CBD_GRANT_FREE)
		return nothing(&s);
	s.shared = handler ? cbd_channel_backend_line(&ch, CBD_CHANNEL_COUNTERS)
			   : cbd_channel_blkdev_line(&ch, CBD_CHANNEL_COUNTERS);
	r = get(&s, handler ? (uint32_t)(g.epoch >> 32) : g.incarnation, &b);
	if (r == 0 && (b.head.slot != g.blkdev || b.head.queue != g.queue ||
		       b.head.blkdev_incarnation != g.incarnation))
		r = nothing(&s); /* of the blkdev that had the channel before */
	return r < 0 ? r : put(&b, counters, size);
}
