/* SPDX-License-Identifier: BSD-3-Clause */
/* liar-client.c - the blkdev that lies: see liar.h. */
#include <config.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "liar.h"
#include "memory/fault.h"
#include "slots/claim.h"
#include "transport/places.h"

#define BIG_MOST (512u << 10) /* bytes of payload */

/* ---------------------------------------------------------------- attached */

bool liar_attach(struct liar *l, const struct liar_mode *mode)
{
	struct cbd_blkdev_options o = {
		.backend = l->target,
		.queues = mode->queues,
		.depth = mode->depth,
		.attach_timeout_ms = 5000,
	};

	if (cbd_blkdev_open(l->t, &o, sizeof(o), &l->b) < 0)
		return false;
	l->n_channels = cbd_blkdev_queues(l->b);
	for (unsigned i = 0; i < l->n_channels; i++)
		l->channels[i] = (struct liar_channel){ .ch = l->b->queues[i].ch };
	return true;
}

void liar_detach(struct liar *l)
{
	cbd_blkdev_close(l->b);
	l->b = NULL;
	l->n_channels = 0;
}

static void ask_to_leave(struct liar *l, struct liar_channel *c)
{
	struct cbd_leave_line line = { .epoch = c->ch.epoch,
				       .incarnation = l->b->state.incarnation,
				       .reason = CBD_LEAVE_BAD_ENTRY };

	c->asked = c->ch.epoch;
	cbd_line_put(l->t, cbd_channel_blkdev_line(&c->ch, CBD_CHANNEL_LEAVE), &line);
	cbd_ring_doorbell(l->b);
}

/* Into the epoch of the grant; out of one that the backend asks to leave. */
static void follow(struct liar *l, struct liar_channel *c)
{
	const void *place = cbd_channel_backend_line(&c->ch, CBD_CHANNEL_GRANT);

	if (cbd_line_get(l->t, place, &c->grant) < 0 || c->grant.blkdev != l->b->slot ||
	    c->grant.epoch == 0)
		return;
	if (c->grant.epoch != c->ch.epoch) {
		cbd_channel_enter(&c->ch, c->grant.epoch);
		c->position = c->count = 0;
	}
	if (c->grant.state == CBD_GRANT_LEAVING && c->asked != c->ch.epoch)
		ask_to_leave(l, c);
}

void liar_beat(struct liar *l)
{
	uint64_t now = cbd_now_ns();

	for (unsigned i = 0; l->b && i < l->n_channels; i++)
		follow(l, &l->channels[i]);
	if (now - l->beaten_ns < cbd_interval_ns(l->t))
		return;
	l->beaten_ns = now;
	if (l->b)
		liar_check(cbd_blkdev_beat(l->b), "beat");
}

/* ------------------------------------------------------------------ entries */

static void read_answers(struct liar_channel *c)
{
	struct cbd_fault f;
	struct cbd_ce ce;

	if (!CBD_FAULT_TRY(&f))
		return;
	for (;; c->count++) {
		cbd_channel_invalidate_ce(&c->ch, c->count);
		cbd_invalidate_done(&c->ch.t->mem);
		if (cbd_channel_receive_ce(&c->ch, c->count, &ce) != 1)
			break;
	}
	cbd_fault_end(&f);
}

static void wake_handler(const struct liar_channel *c)
{
	cbd_channel_wake(cbd_channel_blkdev_line(&c->ch, CBD_CHANNEL_SE_BELL),
			 cbd_channel_backend_line(&c->ch, CBD_CHANNEL_HANDLER_SLEEPS));
}

static unsigned in_flight(const struct liar_channel *c)
{
	return (unsigned)(c->position - c->count);
}

static bool may_send(const struct liar_channel *c)
{
	return c->grant.state == CBD_GRANT_GRANTED && in_flight(c) < c->grant.depth;
}

static void send(struct liar_channel *c, struct cbd_se se)
{
	se.position = c->position;
	se.tid = (uint32_t)c->position++;
	cbd_channel_send_se(&c->ch, &se);
}

/* The liar may write to the disk; that its neighbours write elsewhere is their deal. */
static uint64_t any_offset(struct liar *l, uint32_t length)
{
	uint64_t half = l->b->geometry.size / 2;

	return half + liar_below(l, (half - length) / CBD_PAGE_SIZE) * CBD_PAGE_SIZE;
}

static uint32_t big(const struct liar *l, const struct liar_channel *c)
{
	uint32_t most = l->b->geometry.max_data;

	if (most > BIG_MOST)
		most = BIG_MOST;
	return most < c->ch.data_size ? most : (uint32_t)c->ch.data_size;
}

static uint64_t any_extent(struct liar *l, const struct liar_channel *c, uint32_t length)
{
	return liar_below(l, (c->ch.data_size - length) / CBD_PAGE_SIZE + 1) * CBD_PAGE_SIZE;
}

/* MAKE's SEs into each ring, until all are full. */
typedef struct cbd_se make_fn(struct liar *l, const struct liar_channel *c);

static void fill_rings(struct liar *l, make_fn *make)
{
	liar_beat(l);
	for (unsigned i = 0; i < l->n_channels; i++) {
		struct liar_channel *c = &l->channels[i];

		read_answers(c);
		while (may_send(c))
			send(c, make(l, c));
		wake_handler(c);
	}
}

static struct cbd_se make_bad_payload(struct liar *l, const struct liar_channel *c)
{
	uint32_t length = big(l, c);

	return (struct cbd_se){ .op = CBD_SE_OP_WRITE,
				.length = length,
				.offset = any_offset(l, length),
				.data_crc = (uint32_t)liar_random(l) };
}

static void bad_payload(struct liar *l)
{
	fill_rings(l, make_bad_payload);
}

static struct cbd_se make_unknown_operation(struct liar *l, const struct liar_channel *c)
{
	(void)c;
	return (struct cbd_se){ .op = (uint16_t)(7 + liar_below(l, 60000)), .length = 512 };
}

static void unknown_operations(struct liar *l)
{
	fill_rings(l, make_unknown_operation);
}

/* Every field is at random, or at the edge of what is allowed.  What is valid stays in
 * the liar's half of the disk. */
static uint64_t any_number(struct liar *l, uint64_t edge)
{
	switch (liar_below(l, 6)) {
	case 0:
		return edge;
	case 1:
		return edge - liar_below(l, 8192);
	case 2:
		return edge + liar_below(l, 8192);
	case 3:
		return UINT64_MAX - liar_below(l, 8192);
	case 4:
		return 1ull << liar_below(l, 64);
	default:
		return liar_random(l);
	}
}

static struct cbd_se make_nonsense(struct liar *l, const struct liar_channel *c)
{
	uint64_t size = l->b->geometry.size;
	struct cbd_se se = { .op = (uint16_t)liar_below(l, 9),
			     .flags = (uint16_t)liar_below(l, 10),
			     .length = (uint32_t)any_number(l, big(l, c)),
			     .offset = any_number(l, size),
			     .data_offset = any_number(l, c->ch.data_size),
			     .auth = liar_random(l),
			     .room = (uint32_t)any_number(l, CBD_UNIT_SIZE),
			     .data_crc = (uint32_t)liar_random(l) };

	if (se.offset < size / 2)
		se.offset += size / 2;
	return se;
}

static void nonsense(struct liar *l)
{
	fill_rings(l, make_nonsense);
}

static struct cbd_se make_flush(struct liar *l, const struct liar_channel *c)
{
	(void)c;
	return (struct cbd_se){ .op = CBD_SE_OP_FLUSH,
				.length = (uint32_t)liar_random(l),
				.offset = liar_random(l),
				.data_offset = liar_random(l) };
}

static void flushes(struct liar *l)
{
	fill_rings(l, make_flush);
}

static struct cbd_se make_read(struct liar *l, const struct liar_channel *c)
{
	uint32_t length = big(l, c);

	return (struct cbd_se){ .op = CBD_SE_OP_READ,
				.length = length,
				.offset = any_offset(l, length),
				.data_offset = any_extent(l, c, length) };
}

static void full_speed(struct liar *l)
{
	fill_rings(l, make_read);
}

static struct cbd_se make_small_read(struct liar *l, const struct liar_channel *c)
{
	return (struct cbd_se){ .op = CBD_SE_OP_READ,
				.length = 4096,
				.offset = any_offset(l, 4096),
				.data_offset = any_extent(l, c, 4096) };
}

static void full_speed_small(struct liar *l)
{
	fill_rings(l, make_small_read);
}

static struct cbd_se make_range(struct liar *l, const struct liar_channel *c)
{
	uint64_t half = l->b->geometry.size / 2;
	uint32_t length = l->b->geometry.max_range;

	(void)c;
	if (length > half)
		length = (uint32_t)half;
	return (struct cbd_se){ .op = liar_below(l, 2) ? CBD_SE_OP_DISCARD : CBD_SE_OP_WRITE_ZEROES,
				.length = length,
				.offset = half };
}

static void ranges(struct liar *l)
{
	fill_rings(l, make_range);
}

/* The whole of what may be asked in one go. */
static struct cbd_se make_block_status(struct liar *l, const struct liar_channel *c)
{
	uint64_t size = l->b->geometry.size;

	return (struct cbd_se){ .op = CBD_SE_OP_BLOCK_STATUS,
				.length = size < CBD_MAX_STATUS ? (uint32_t)size : CBD_MAX_STATUS,
				.room = CBD_MAX_RUNS * sizeof(struct cbd_run),
				.data_offset = any_extent(l, c, CBD_UNIT_SIZE) };
}

static void block_status(struct liar *l)
{
	fill_rings(l, make_block_status);
}

/* Submits for ever and never reads an answer. */
static void never_consumes(struct liar *l)
{
	liar_beat(l);
	for (unsigned i = 0; i < l->n_channels; i++) {
		struct liar_channel *c = &l->channels[i];

		for (unsigned k = 0; k < 8; k++)
			send(c, make_small_read(l, c));
		wake_handler(c);
		if (l->lies % 64 == 63 && c->asked != c->ch.epoch)
			ask_to_leave(l, c);
	}
	cbd_sleep_us(200);
}

static void more_than_depth(struct liar *l)
{
	liar_beat(l);
	for (unsigned i = 0; i < l->n_channels; i++) {
		struct liar_channel *c = &l->channels[i];

		if (c->grant.state != CBD_GRANT_GRANTED || c->position > 0)
			continue;
		for (unsigned k = 0; k < c->ch.slots; k++)
			send(c, make_read(l, c));
		wake_handler(c);
	}
}

/* Entries of the right position and epoch whose CRC stays wrong. */
static void damaged_entries(struct liar *l)
{
	liar_beat(l);
	for (unsigned i = 0; i < l->n_channels; i++) {
		struct liar_channel *c = &l->channels[i];

		if (!may_send(c))
			continue;
		send(c, make_small_read(l, c));
		c->ch.se[(c->position - 1) & (c->ch.slots - 1)].length ^= 1;
		wake_handler(c);
		cbd_sleep_us(100);
	}
}

static void leaves(struct liar *l)
{
	liar_beat(l);
	for (unsigned i = 0; i < l->n_channels; i++)
		if (l->channels[i].asked != l->channels[i].ch.epoch)
			ask_to_leave(l, &l->channels[i]);
}

/* ------------------------------------------------- changes between two reads */

/* One bit of an SE that is on its way, of the payload, or of a line of the liar. */
static void flip_once(struct liar *l, const struct liar_channel *c)
{
	char *at;

	switch (liar_below(l, 3)) {
	case 0:
		at = (char *)c->ch.se + liar_below(l, c->ch.slots * sizeof(*c->ch.se));
		break;
	case 1:
		at = c->ch.data + liar_below(l, 65536);
		break;
	default:
		at = (char *)cbd_blkdev_info(l->b, CBD_BLKDEV_STATE) +
		     liar_below(l, 4 * CBD_LINE_SIZE);
		break;
	}
	*(volatile char *)at = (char)(*(volatile char *)at ^ (char)(1 << liar_below(l, 8)));
}

static void *flipper(void *arg)
{
	struct liar *l = arg, own = *l;

	for (;;)
		flip_once(&own, &own.channels[0]);
	return NULL;
}

static struct cbd_se make_write(struct liar *l, const struct liar_channel *c)
{
	uint64_t extent = liar_below(l, 8) * 8192;

	return (struct cbd_se){ .op = CBD_SE_OP_WRITE,
				.length = 8192,
				.offset = any_offset(l, 8192),
				.data_offset = extent,
				.data_crc = cbd_channel_payload_crc(c->ch.se_seed,
								    c->ch.data + extent, 8192) };
}

static void flips(struct liar *l)
{
	pthread_t thread;

	if (l->lies == 0 && pthread_create(&thread, NULL, flipper, l) != 0)
		abort();
	fill_rings(l, make_write);
}

/* -------------------------------------------------------- attach and claims */

static void attach_loop(struct liar *l)
{
	static const struct liar_mode one = { .queues = 1 };

	if (l->b)
		liar_detach(l);
	liar_attach(l, &one);
}

/* All channels that are free, and it asks for more. */
static void all_channels(struct liar *l)
{
	struct liar_mode m = { .queues = l->t->header.channels };

	if (l->lies == 0) {
		liar_detach(l);
		while (!liar_attach(l, &m) && --m.queues > 0)
			;
	}
	full_speed_small(l);
}

/* Every free blkdev slot. */
static void all_slots(struct liar *l)
{
	static struct cbd_claim claims[CBD_MAX_BLKDEVS];
	static bool mine[CBD_MAX_BLKDEVS];

	for (unsigned d = 0; d < l->t->header.blkdevs; d++) {
		if (!mine[d]) {
			claims[d] = (struct cbd_claim)CBD_CLAIM_INIT;
			mine[d] = cbd_claim_take(l->t, CBD_SIDE_BLKDEV, d, &claims[d]) == 0;
		} else {
			cbd_claim_check(&claims[d]);
		}
	}
	liar_beat(l);
	cbd_sleep_us(1000);
}

/* Claims of no process, which each sweep of this host finds and buries. */
static void dead_claims(struct liar *l)
{
	liar_beat(l);
	for (unsigned d = 0; d < l->t->header.blkdevs; d++) {
		struct cbd_claim_line line = l->b->claim.line, old;
		void *place = cbd_side_claim_at(l->t, CBD_SIDE_BLKDEV, d, (unsigned)l->t->host);

		if (d == l->b->slot || cbd_line_get(l->t, place, &old) < 0 ||
		    (old.state == CBD_CLAIM_RAISED && old.generation < UINT64_MAX / 2))
			continue; /* of an innocent one of this host */
		line.generation = UINT64_MAX / 2 + liar_below(l, 1000);
		cbd_line_put(l->t, place, &line);
	}
}

/* ------------------------------------------------------------- control lines */

static void put_any_request(struct liar *l)
{
	struct cbd_request_line *q = &l->b->request;

	q->state = (uint16_t)liar_below(l, 6);
	q->backend = liar_below(l, 4) ? (uint16_t)l->b->backend : (uint16_t)liar_random(l);
	q->host = liar_below(l, 2) ? (uint16_t)l->t->host : (uint16_t)liar_random(l);
	q->queues = (uint16_t)(liar_below(l, 2) ? liar_below(l, 10) : liar_random(l));
	q->depth = (uint16_t)(liar_below(l, 2) ? liar_below(l, 65) : liar_random(l));
	q->flags = (uint16_t)liar_random(l);
	q->features = (uint32_t)liar_random(l);
	q->incarnation += (uint32_t)(liar_below(l, 8) ? 0 : liar_below(l, 5) - 2);
	cbd_blkdev_put_request(l->b, (enum cbd_request_state)q->state);
}

/* Requests that make no sense, each with an answer. */
static void requests(struct liar *l)
{
	struct cbd_request_line *q = &l->b->request;

	liar_beat(l);
	if (l->lies == 0)
		q->incarnation++;
	q->queues = (uint16_t)(l->t->header.channels + 1);
	cbd_blkdev_put_request(l->b, CBD_REQUEST_ATTACH);
	cbd_sleep_us(50);
}

/* Another life of the slot with each request. */
static void lives(struct liar *l)
{
	liar_beat(l);
	l->b->request.incarnation++;
	l->b->state.incarnation = l->b->request.incarnation;
	cbd_blkdev_put_state(l->b, CBD_SLOT_LIVE);
	cbd_blkdev_put_request(l->b, CBD_REQUEST_ATTACH);
	cbd_sleep_us(50);
}

static void doorbells(struct liar *l)
{
	liar_beat(l);
	cbd_ring_doorbell(l->b);
}

static void put_any_state(struct liar *l)
{
	struct cbd_state_line *s = &l->b->state;

	s->state = (uint16_t)liar_below(l, 9);
	s->incarnation += (uint32_t)liar_below(l, 3) - 1;
	s->host = (uint16_t)(liar_below(l, 2) ? (uint64_t)l->t->host : liar_random(l));
	s->pid = liar_below(l, 2) ? 1 : (uint32_t)liar_random(l);
	s->backend = (uint16_t)liar_below(l, 5);
	s->count = (uint16_t)liar_random(l);
	s->owner[liar_below(l, 16)] ^= liar_below(l, 8) ? 0 : 1;
	cbd_blkdev_put_state(l->b, (enum cbd_slot_state)s->state);
}

static void put_any_leave(struct liar *l, struct liar_channel *c)
{
	struct cbd_leave_line line = { .epoch = c->ch.epoch + liar_below(l, 3) - 1,
				       .incarnation = l->b->state.incarnation,
				       .reason = (uint32_t)liar_below(l, 9) };

	cbd_line_put(l->t, cbd_channel_blkdev_line(&c->ch, CBD_CHANNEL_LEAVE), &line);
	cbd_ring_doorbell(l->b);
}

static void control_lines(struct liar *l)
{
	liar_beat(l);
	switch (liar_below(l, 4)) {
	case 0:
		put_any_request(l);
		break;
	case 1:
		put_any_state(l);
		break;
	case 2:
		put_any_leave(l, &l->channels[liar_below(l, l->n_channels)]);
		break;
	default:
		l->b->beat.counter = liar_random(l);
		l->b->doorbell.count = liar_random(l);
		cbd_ring_doorbell(l->b);
		break;
	}
	cbd_sleep_us((unsigned)liar_below(l, 100));
}

/* The wake-up words are hints: any value. */
static void bells(struct liar *l)
{
	full_speed_small(l);
	for (unsigned i = 0; i < l->n_channels; i++) {
		const struct cbd_channel *ch = &l->channels[i].ch;

		cbd_word_store(cbd_channel_blkdev_line(ch, CBD_CHANNEL_BLKDEV_SLEEPS), 1);
		cbd_word_store(cbd_channel_blkdev_line(ch, CBD_CHANNEL_SE_BELL),
			       (uint32_t)liar_random(l));
		cbd_futex_wake(cbd_channel_blkdev_line(ch, CBD_CHANNEL_SE_BELL));
	}
}

/* Twenty lies of one kind, then of another. */
static void any(struct liar *l)
{
	static void (*const steps[])(struct liar *) = {
		bad_payload,   unknown_operations, nonsense,
		flushes,       full_speed,	   ranges,
		leaves,	       damaged_entries,	   bells,
		control_lines, doorbells,	   never_consumes,
		block_status,
	};
	void (*step)(struct liar *) = steps[liar_below(l, sizeof(steps) / sizeof(steps[0]))];

	for (unsigned i = 0; i < 20; i++)
		step(l);
}

/* No lie at all, but the CPU that it costs: what the others are compared with. */
static void spin(struct liar *l)
{
	if (l->lies % 1024 == 0)
		liar_beat(l);
	cbd_relax();
}

const struct liar_mode liar_client_modes[] = {
	{ .name = "spin", .step = spin },
	{ .name = "bad-payload", .queues = 2, .step = bad_payload, .large = true },
	{ .name = "unknown-operations", .queues = 2, .step = unknown_operations },
	{ .name = "nonsense", .queues = 2, .step = nonsense, .large = true },
	{ .name = "flushes", .queues = 2, .step = flushes, .large = true },
	{ .name = "full-speed", .queues = 3, .step = full_speed, .large = true },
	{ .name = "full-speed-small", .queues = 2, .step = full_speed_small },
	{ .name = "ranges", .queues = 2, .step = ranges, .large = true },
	{ .name = "block-status", .queues = 2, .step = block_status, .large = true },
	{ .name = "never-consumes", .queues = 2, .step = never_consumes },
	{ .name = "more-than-depth",
	  .queues = 2,
	  .depth = 4,
	  .step = more_than_depth,
	  .large = true },
	{ .name = "damaged-entries", .queues = 2, .step = damaged_entries },
	{ .name = "leaves", .queues = 2, .step = leaves },
	{ .name = "flips", .queues = 1, .step = flips },
	{ .name = "attach-loop", .step = attach_loop },
	{ .name = "all-channels", .step = all_channels },
	{ .name = "all-slots", .step = all_slots },
	{ .name = "dead-claims", .step = dead_claims },
	{ .name = "requests", .step = requests },
	{ .name = "lives", .step = lives },
	{ .name = "doorbells", .step = doorbells },
	{ .name = "control-lines", .queues = 2, .step = control_lines },
	{ .name = "bells", .queues = 2, .step = bells },
	{ .name = "random", .queues = 2, .step = any, .large = true },
	{ .name = NULL },
};
