/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-ring.c - entries and rings: across the wrap, full and empty, of other
 * epochs and channels, damaged; completion in every order at small depths; and
 * peers that lie.
 */
#include <config.h>

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

static const enum cbd_coherence kinds[] = { CBD_COHERENCE_HARDWARE, CBD_COHERENCE_SOFTWARE };

/* ---------------------------------------------------- channel, without pair */

#define EPOCH 0x500000001ull

static char path[UNIT_PATH];
static struct cbd_transport *ta, *tb;
static struct cbd_channel a, b; /* the two sides of one channel */

static void open_channel(enum cbd_coherence kind, unsigned slots)
{
	struct cbd_format_options o = { .size = 4u << 20,
					.hosts = 1,
					.backends = 1,
					.blkdevs = 1,
					.channels = 2,
					.depth = slots,
					.coherence = kind };

	unit_path(path);
	unit_ok(cbd_format(path, &o, sizeof(o)));
	unit_ok(cbd_transport_open(path, 0, &ta));
	unit_ok(cbd_transport_open(path, 0, &tb));
	cbd_channel_init(&a, ta, 0, 0);
	cbd_channel_init(&b, tb, 0, 0);
	cbd_channel_enter(&a, EPOCH);
	cbd_channel_enter(&b, EPOCH);
}

static void close_channel(void)
{
	cbd_transport_close(ta);
	cbd_transport_close(tb);
	ta = tb = NULL;
	unlink(path);
}

static int receive_se(struct cbd_channel *ch, uint64_t position, struct cbd_se *se)
{
	cbd_channel_invalidate_se(ch, position);
	cbd_invalidate_done(&ch->t->mem);
	return cbd_channel_receive_se(ch, position, se);
}

static int receive_ce(struct cbd_channel *ch, uint64_t count, struct cbd_ce *ce)
{
	cbd_channel_invalidate_ce(ch, count);
	cbd_invalidate_done(&ch->t->mem);
	return cbd_channel_receive_ce(ch, count, ce);
}

/* Both rings are the same to the tests below. */
enum ring { SE, CE, RINGS };

static void send(enum ring ring, uint64_t position, uint32_t tid)
{
	struct cbd_se se = { .position = position, .tid = tid, .data_offset = ~position };
	struct cbd_ce ce = { .count = position, .tid = tid, .aux = ~position };

	if (ring == SE)
		unit_ok(cbd_channel_send_se(&a, &se));
	else
		unit_ok(cbd_channel_send_ce(&a, &ce));
}

static int receive(enum ring ring, uint64_t position, uint32_t *tid)
{
	struct cbd_se se;
	struct cbd_ce ce;
	int r;

	if (ring == SE)
		r = receive_se(&b, position, &se);
	else
		r = receive_ce(&b, position, &ce);
	if (r != 1)
		return r;
	*tid = ring == SE ? se.tid : ce.tid;
	ck_assert_uint_eq(ring == SE ? se.data_offset : ce.aux, ~position);
	ck_assert_uint_eq(ring == SE ? se.epoch : ce.epoch, EPOCH);
	return 1;
}

static void expect(enum ring ring, uint64_t position, uint32_t tid)
{
	uint32_t got = 0;

	ck_assert_int_eq(receive(ring, position, &got), 1);
	ck_assert_uint_eq(got, tid);
}

static void expect_none(enum ring ring, uint64_t position)
{
	uint32_t got;

	ck_assert_int_eq(receive(ring, position, &got), 0);
}

/* AHEAD entries in flight, from FROM on. */
static void run_ring(enum ring ring, uint64_t from, unsigned ahead, unsigned count)
{
	uint64_t sent = from;

	for (uint64_t p = from; p != from + count; p++) {
		for (; sent != p + ahead; sent++)
			send(ring, sent, (uint32_t)(sent * 7));
		expect(ring, p, (uint32_t)(p * 7));
		expect_none(ring, p + ahead); /* empty behind the last one */
	}
	ck_assert_uint_eq(b.bad_since_ns, 0);
}

START_TEST(wraps)
{
	static const unsigned slots[] = { 1, 2, 4, 64, 128 };

	for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
		open_channel(kinds[_i], slots[i]);
		for (enum ring ring = SE; ring < RINGS; ring++) {
			run_ring(ring, 0, slots[i], 5 * slots[i] + 3);
			run_ring(ring, 0xfffffff0u, slots[i], 600);
			run_ring(ring, UINT64_MAX - 300, slots[i], 290);
		}
		close_channel();
	}
}
END_TEST

START_TEST(fresh_is_empty)
{
	open_channel(kinds[_i], 8);
	/* all zero: position 0 of epoch 0, which is none */
	for (enum ring ring = SE; ring < RINGS; ring++)
		for (uint64_t p = 0; p < 9; p++)
			expect_none(ring, p);
	ck_assert_uint_eq(b.bad_since_ns, 0);
	close_channel();
}
END_TEST

/* A full ring is none that was read: each of N entries is there, and the one
 * that overwrites makes the older one vanish, not match. */
START_TEST(full_and_overwritten)
{
	open_channel(kinds[_i], 8);
	for (enum ring ring = SE; ring < RINGS; ring++) {
		for (uint64_t p = 0; p < 8; p++)
			send(ring, p, 100 + (uint32_t)p);
		for (uint64_t p = 0; p < 8; p++)
			expect(ring, p, 100 + (uint32_t)p);
		expect_none(ring, 8);
		send(ring, 8, 200);
		expect_none(ring, 0);
		expect(ring, 8, 200);
		expect(ring, 1, 101);
	}
	close_channel();
}
END_TEST

START_TEST(other_epochs)
{
	open_channel(kinds[_i], 4);
	for (enum ring ring = SE; ring < RINGS; ring++) {
		send(ring, 0, 1);
		for (int64_t add = -2; add < 3; add++) {
			cbd_channel_enter(&b, EPOCH + (uint64_t)add);
			if (add)
				expect_none(ring, 0);
			else
				expect(ring, 0, 1);
			ck_assert_uint_eq(b.bad_since_ns, 0); /* old, not damaged */
		}
		cbd_channel_enter(&b, EPOCH);
	}
	close_channel();
}
END_TEST

/* The line at the same place, of the same position and epoch, that was sealed
 * for something else. */
static void expect_foreign(enum ring ring)
{
	cbd_channel_enter(&b, EPOCH);
	expect_none(ring, 0);
	ck_assert_uint_ne(b.bad_since_ns, 0);
}

START_TEST(other_seeds)
{
	struct cbd_channel other;

	open_channel(kinds[_i], 4);
	cbd_channel_init(&other, ta, 0, 1);
	cbd_channel_enter(&other, EPOCH);
	ck_assert_uint_ne(other.se_seed, a.se_seed);
	ck_assert_uint_ne(a.se_seed, a.ce_seed);
	for (enum ring ring = SE; ring < RINGS; ring++) {
		send(ring, 0, 1);
		expect(ring, 0, 1);
		/* another channel's */
		if (ring == SE)
			unit_ok(cbd_channel_send_se(&other, &(struct cbd_se){ .tid = 1 }));
		else
			unit_ok(cbd_channel_send_ce(&other, &(struct cbd_ce){ .tid = 1 }));
		memcpy(ring == SE ? (void *)a.se : a.ce, ring == SE ? (void *)other.se : other.ce,
		       64);
		expect_foreign(ring);
	}
	/* the other direction's: position, epoch and tid lie at the same places */
	send(SE, 0, 1);
	memcpy(a.ce, a.se, 64);
	expect_foreign(CE);
	send(CE, 0, 1);
	memcpy(a.se, a.ce, 64);
	expect_foreign(SE);
	/* another format's */
	ta->seed ^= 1;
	cbd_channel_enter(&a, EPOCH);
	send(SE, 0, 1);
	expect_foreign(SE);
	/* another backend's */
	ta->seed ^= 1;
	a.backend = 1;
	cbd_channel_enter(&a, EPOCH);
	send(SE, 0, 1);
	expect_foreign(SE);
	close_channel();
}
END_TEST

static void damage_each_bit(enum ring ring)
{
	unsigned char *line = ring == SE ? (void *)&a.se[1] : (void *)&a.ce[1];

	for (unsigned bit = 0; bit < 512; bit++) {
		send(ring, 1, 5);
		line[bit / 8] ^= (unsigned char)(1u << bit % 8);
		expect_none(ring, 1);
		/* one that claims this position and epoch is damaged */
		ck_assert_int_eq(b.bad_since_ns != 0, bit >= 128);
		send(ring, 1, 5);
		expect(ring, 1, 5);
		ck_assert_uint_eq(b.bad_since_ns, 0);
	}
}

START_TEST(damaged_lines)
{
	uint64_t since;

	open_channel(kinds[_i], 4);
	damage_each_bit(SE);
	damage_each_bit(CE);
	ck_assert(!cbd_channel_bad(&b, cbd_now_ns()));
	send(SE, 1, 5);
	((unsigned char *)&a.se[1])[40] ^= 1;
	expect_none(SE, 1);
	since = b.bad_since_ns;
	ck_assert(!cbd_channel_bad(&b, since));
	ck_assert(!cbd_channel_bad(&b, since + 10000000));
	ck_assert(cbd_channel_bad(&b, since + 1000000000));
	expect_none(SE, 1); /* the time counts from the first look */
	ck_assert_uint_eq(b.bad_since_ns, since);
	close_channel();
}
END_TEST

START_TEST(payload_crcs)
{
	open_channel(kinds[_i], 4);
	ck_assert_uint_ne(cbd_channel_payload_crc(a.se_seed, "1234", 4),
			  cbd_channel_payload_crc(a.ce_seed, "1234", 4));
	ck_assert_uint_ne(cbd_channel_payload_crc(a.se_seed, "1234", 4),
			  cbd_channel_payload_crc(a.se_seed, "1235", 4));
	ck_assert_uint_eq(cbd_channel_payload_crc(a.se_seed, "1234", 4),
			  cbd_channel_payload_crc(b.se_seed, "1234", 4));
	close_channel();
}
END_TEST

/* -------------------------------------------------------------- every order */

static struct pair p;
static unsigned char buf[64][8192], want[8192];

static void open_pair(enum cbd_coherence kind, unsigned ring_slots, unsigned depth)
{
	pair_open(&p, &(struct pair_options){ .kind = kind,
					      .data_crc = true,
					      .ring_slots = ring_slots,
					      .depth = depth,
					      .stepping = true });
	ck_assert_uint_eq(p.q->parts.depth, depth);
}

static struct cbd_hchannel *hchannel(void)
{
	return &p.backend->channels[p.q->ch.id].hc;
}

static bool is_broken(void)
{
	return cbd_hchannel_work(hchannel()) == CBD_WORK_BROKEN;
}

/* The k-th permutation of 0..n-1. */
static void permute(unsigned k, unsigned n, unsigned *order)
{
	unsigned left[8], i;

	for (i = 0; i < n; i++)
		left[i] = i;
	for (i = n; i > 0; i--) {
		unsigned pick = k % i;

		k /= i;
		order[n - i] = left[pick];
		memmove(&left[pick], &left[pick + 1], (n - pick - 1) * sizeof(left[0]));
	}
}

static unsigned factorial(unsigned n)
{
	return n < 2 ? 1 : n * factorial(n - 1);
}

/* DEPTH requests out, answered in this order, reaped in the order of their
 * answers; one more waits until the first tag is back. */
static void one_order(unsigned depth, const unsigned *order)
{
	struct cbd_request *r[8];
	uint64_t position = p.q->cursors.se_next;

	for (unsigned i = 0; i <= depth; i++)
		pair_submit(&p, i % 2 ? CBD_OP_READ : CBD_OP_WRITE, buf[i], i * 8192, 8192, i);
	pair_fetch_all(&p, r, depth);
	ck_assert_uint_eq(pair_fetch(&p, r + depth, 1), 0); /* never more than the depth */
	pair_reap_none(&p);
	for (unsigned i = 0; i < depth; i++)
		ck_assert_uint_eq(r[i]->offset, i * 8192); /* in order of submission */
	for (unsigned i = 0; i < depth; i++) {
		struct cbd_completion c;

		pair_complete(&p, r[order[i]]);
		c = pair_reap(&p);
		ck_assert_uint_eq((uintptr_t)c.cookie, order[i]);
		ck_assert_int_eq(c.result, 0);
	}
	pair_fetch_all(&p, r, 1);
	ck_assert_uint_eq(r[0]->offset, depth * 8192);
	pair_complete(&p, r[0]);
	ck_assert_uint_eq((uintptr_t)pair_reap(&p).cookie, depth);
	ck_assert_uint_eq(p.q->cursors.se_next, position + depth + 1);
	ck_assert_uint_eq(p.q->parts.n_free, depth);
}

START_TEST(every_order)
{
	enum cbd_coherence kind = kinds[_i % 2];
	unsigned depth = 1 + (unsigned)_i / 2, order[8];

	open_pair(kind, depth == 3 ? 4 : depth, depth);
	for (unsigned round = 0; round < 3 + 12 / depth; round++)
		for (unsigned k = 0; k < factorial(depth); k++) {
			unit_fill(buf, sizeof(buf), round * 100 + k);
			permute(k, depth, order);
			one_order(depth, order);
			for (unsigned i = 0; i <= depth; i++)
				ck_assert_mem_eq(buf[i], unit_disk_data(&p.disk) + i * 8192, 8192);
		}
	ck_assert_uint_gt(p.q->cursors.se_next, 5 * p.q->ch.slots);
	ck_assert_uint_eq(p.q->counters.leaves, 0);
	pair_close(&p);
}
END_TEST

/* Requests that wait, answers at random, for many turns of the rings. */
START_TEST(random_order)
{
	unsigned depth = 1 + (unsigned)_i / 2, held = 0, in = 0, out = 0;
	struct cbd_request *r[8];
	uint64_t state = (uint64_t)_i;
	bool seen[1000] = { false };

	open_pair(kinds[_i % 2], 4, depth);
	while (out < 1000) {
		struct cbd_completion c;

		while (in < 1000 && in < out + 10) {
			pair_submit(&p, CBD_OP_READ, buf[in % 10], in * 512, 512, in);
			in++;
		}
		held += pair_fetch(&p, r + held, 8 - held);
		ck_assert_uint_le(held, depth);
		if (held) {
			unsigned k = (unsigned)(unit_random(&state) % held);

			pair_complete(&p, r[k]);
			r[k] = r[--held];
		}
		while (cbd_queue_poll(p.q, &c, 0, 1, 0) == 1) {
			unsigned n = (unsigned)(uintptr_t)c.cookie;

			ck_assert(!seen[n] && c.result == 0);
			seen[n] = true;
			ck_assert_mem_eq(buf[n % 10], unit_disk_data(&p.disk) + n * 512, 512);
			out++;
			if (in < 1000)
				break; /* a buffer is used again only then */
		}
	}
	ck_assert_uint_eq(p.q->cursors.se_next, 1000);
	pair_close(&p);
}
END_TEST

/* ----------------------------------------------------------- peers that lie */

/* Both sides, once; true when a completion came. */
static bool both_sides(struct cbd_completion *c)
{
	struct cbd_request *r[16];
	unsigned n = pair_fetch(&p, r, 16);

	for (unsigned i = 0; i < n; i++)
		pair_complete(&p, r[i]);
	return cbd_queue_poll(p.q, c, 1, 1, 2) == 1;
}

static struct cbd_completion drive(void)
{
	struct cbd_completion c = { .result = 1 };

	unit_wait(both_sides(&c));
	return c;
}

/* Nothing is there to be fetched; to be used in conditions. */
static bool fetch_none(void)
{
	struct cbd_request *r[1];

	ck_assert_uint_eq(pair_fetch(&p, r, 1), 0);
	return true;
}

/* Long enough for a look at the grant, which a waiting queue takes. */
static bool reap_none(void)
{
	struct cbd_completion c;

	ck_assert_int_eq(cbd_queue_poll(p.q, &c, 1, 1, 2), 0);
	return true;
}

static void drive_ok(uintptr_t cookie)
{
	struct cbd_completion c = drive();

	ck_assert_uint_eq((uintptr_t)c.cookie, cookie);
	ck_assert_int_eq(c.result, 0);
}

/* After whatever happened: I/O goes on. */
static void check_sane(void)
{
	unit_fill(buf[20], 8192, 20);
	pair_submit(&p, CBD_OP_WRITE, buf[20], 4096, 8192, 20);
	drive_ok(20);
	ck_assert_mem_eq(unit_disk_data(&p.disk) + 4096, buf[20], 8192);
	pair_submit(&p, CBD_OP_READ, buf[21], 4096, 8192, 21);
	drive_ok(21);
	ck_assert_mem_eq(buf[20], buf[21], 8192);
}

START_TEST(more_than_depth)
{
	struct cbd_channel liar;
	struct cbd_request *r[8];
	uint64_t epoch;
	unsigned n;

	open_pair(kinds[_i], 4, 2);
	liar = p.q->ch;
	epoch = liar.epoch;
	for (uint64_t at = 0; at < 4; at++)
		unit_ok(cbd_channel_send_se(&liar, &(struct cbd_se){ .position = at,
								     .tid = (uint32_t)at,
								     .op = CBD_OP_READ,
								     .length = 512 }));
	/* a look may bring one at a time */
	for (n = 0; n < 2 || !is_broken();)
		n += pair_fetch(&p, r + n, 8 - n);
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_eq(pair_fetch(&p, r + n, 8), 0);
	ck_assert_uint_eq(p.backend->channels[liar.id].grant.state, CBD_GRANT_LEAVING);
	for (unsigned i = 0; i < n; i++)
		pair_complete(&p, r[i]);
	/* the blkdev was asked to leave, and leaves */
	check_sane();
	ck_assert_uint_ne(p.q->ch.epoch, epoch);
	ck_assert_uint_eq(p.q->counters.leaves, 1);
	pair_close(&p);
}
END_TEST

#define DISK (1u << 20)
#define BIG UINT64_MAX

static const struct nonsense {
	struct cbd_se se;
	uint32_t result;
} nonsenses[] = {
	{ { .op = 0, .length = 512 }, CBD_RESULT_NOTSUP },
	{ { .op = CBD_SE_OP_EXTENTS, .length = 512 }, CBD_RESULT_NOTSUP },
	{ { .op = 7, .length = 512 }, CBD_RESULT_NOTSUP },
	{ { .op = 0xffff, .length = 512 }, CBD_RESULT_NOTSUP },
	{ { .op = 0x101, .length = 512 }, CBD_RESULT_NOTSUP },
	{ { .op = CBD_OP_READ, .length = 512, .flags = 8 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_FLUSH, .flags = 0x8000 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 0 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 0 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_DISCARD, .length = 0 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE_ZEROES, .length = 0 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = UINT32_MAX }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = UINT32_MAX }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 0x80000000u }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 512u << 10 }, CBD_RESULT_INVAL }, /* > max_data */
	{ { .op = CBD_OP_DISCARD, .length = UINT32_MAX }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 512, .offset = DISK }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 513, .offset = DISK - 512 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 512, .offset = BIG }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 512, .offset = BIG - 511 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_DISCARD, .length = 4096, .offset = BIG - 4095 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE_ZEROES, .length = 1, .offset = DISK }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 512, .data_offset = 512 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 512, .data_offset = 4095 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 512, .data_offset = 1u << 20 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_WRITE, .length = 512, .data_offset = BIG - 4095 }, CBD_RESULT_INVAL },
	{ { .op = CBD_OP_READ, .length = 512, .data_offset = 1ull << 63 }, CBD_RESULT_INVAL },
	/* the last page of the data area, and one byte more than it has */
	{ { .op = CBD_OP_READ, .length = 4097, .data_offset = (1u << 20) - 4 * 4096 - 4096 },
	  CBD_RESULT_INVAL },
};

#define N_NONSENSES (sizeof(nonsenses) / sizeof(nonsenses[0]))

START_TEST(nonsense)
{
	struct cbd_channel liar;
	struct cbd_request *r[4];
	struct cbd_ce ce;

	open_pair(kinds[_i], 16, 16);
	liar = p.q->ch;
	ck_assert_uint_eq(liar.data_size, (1u << 20) - 4 * 4096);
	for (size_t i = 0; i < N_NONSENSES; i++) {
		struct cbd_se se = nonsenses[i].se;

		se.position = i;
		se.tid = (uint32_t)i;
		unit_ok(cbd_channel_send_se(&liar, &se));
		ck_assert_msg(pair_fetch(&p, r, 4) == 0, "%zu: accepted", i);
		ck_assert_msg(receive_ce(&liar, i, &ce) == 1, "%zu: no answer", i);
		ck_assert_msg(ce.result == nonsenses[i].result, "%zu: %u", i, ce.result);
		ck_assert_uint_eq(ce.tid, i);
		ck_assert_uint_eq(ce.length, 0);
	}
	ck_assert(!is_broken()); /* nonsense is answered; the ring is sound */
	/* so that it was the nonsense: the same entry without any */
	unit_ok(cbd_channel_send_se(&liar,
				    &(struct cbd_se){ .position = N_NONSENSES,
						      .op = CBD_OP_READ,
						      .length = 4096,
						      .offset = DISK - 4096,
						      .data_offset = (1u << 20) - 5 * 4096 }));
	ck_assert_uint_eq(pair_fetch(&p, r, 4), 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(receive_ce(&liar, N_NONSENSES, &ce), 1);
	ck_assert_uint_eq(ce.result, CBD_RESULT_OK);
	pair_close(&p);
}
END_TEST

START_TEST(writes_to_read_only)
{
	static const enum cbd_op ops[] = { CBD_OP_WRITE, CBD_OP_DISCARD, CBD_OP_WRITE_ZEROES };
	struct cbd_request *r[4];
	struct cbd_channel liar;
	struct cbd_ce ce;

	pair_open(&p, &(struct pair_options){
			      .kind = kinds[_i], .disk_read_only = true, .stepping = true });
	liar = p.q->ch;
	for (unsigned i = 0; i < 3; i++) {
		unit_ok(cbd_channel_send_se(
			&liar, &(struct cbd_se){ .position = i, .op = ops[i], .length = 512 }));
		ck_assert_uint_eq(pair_fetch(&p, r, 4), 0);
		ck_assert_int_eq(receive_ce(&liar, i, &ce), 1);
		ck_assert_uint_eq(ce.result, CBD_RESULT_PERM);
	}
	pair_close(&p);
}
END_TEST

/* ------------------------------------------------------------------- leave */

/* The backend answers what was never asked. */
static void send_bogus(uint32_t tid)
{
	struct cbd_hchannel *hc = hchannel();

	ck_assert_uint_eq(hc->count, p.q->cursors.ce_next);
	unit_ok(cbd_channel_send_ce(&hc->ch, &(struct cbd_ce){ .count = hc->count++, .tid = tid }));
}

static struct cbd_leave_line leave_line(void)
{
	struct cbd_leave_line l;

	unit_ok(cbd_line_get(p.ct, cbd_channel_blkdev_line(&p.q->ch, CBD_CHANNEL_LEAVE), &l));
	return l;
}

START_TEST(unknown_tid)
{
	struct cbd_request *r[4];
	uint64_t epoch;
	uint32_t tid;

	open_pair(kinds[_i], 4, 4);
	epoch = p.q->ch.epoch;
	unit_fill(buf[0], 8192, 77);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 8192, 1);
	pair_submit(&p, CBD_OP_READ, buf[1], 65536, 8192, 2);
	pair_fetch_all(&p, r, 2);
	tid = p.q->parts.all[0].se.tid;
	/* the right tag of another life, and tags that do not exist */
	send_bogus(_i ? tid ^ 0x10000 : 0xffff);
	pair_reap_none(&p);
	ck_assert_uint_eq(p.q->counters.leaves, 1);
	ck_assert_uint_eq(leave_line().epoch, epoch);
	ck_assert_uint_eq(leave_line().reason, CBD_LEAVE_UNKNOWN_TID);
	/* no new epoch before what was taken is answered */
	for (int i = 0; i < 20; i++)
		ck_assert_uint_eq(pair_fetch(&p, r + 2, 2), 0);
	pair_reap_none(&p);
	ck_assert_uint_eq(p.q->ch.epoch, epoch);
	pair_complete(&p, r[0]);
	pair_complete(&p, r[1]);
	/* both are executed again, in order, and then they are answered */
	unit_wait(reap_none() && pair_fetch(&p, r, 1) == 1);
	ck_assert_uint_gt(p.q->ch.epoch, epoch);
	ck_assert_int_eq(r[0]->op, CBD_OP_WRITE);
	pair_fetch_all(&p, r + 1, 1);
	ck_assert_int_eq(r[1]->op, CBD_OP_READ);
	pair_complete(&p, r[1]);
	pair_complete(&p, r[0]);
	ck_assert_uint_eq((uintptr_t)pair_reap(&p).cookie, 2);
	ck_assert_uint_eq((uintptr_t)pair_reap(&p).cookie, 1);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 8192);
	ck_assert_mem_eq(unit_disk_data(&p.disk) + 65536, buf[1], 8192);
	check_sane();
	pair_close(&p);
}
END_TEST

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* The entry for which an epoch is left stays in the ring, perhaps for long:
 * whoever waits does not take it for something new all the time. */
START_TEST(unknown_tid_is_slept_through)
{
	struct cbd_request *r[1];
	struct cbd_completion c;
	uint64_t cpu;

	open_pair(kinds[_i], 4, 4);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	send_bogus(0xffff);
	pair_reap_none(&p);
	cpu = cpu_ns();
	ck_assert_int_eq(cbd_queue_poll(p.q, &c, 1, 1, 400), 0);
	ck_assert_uint_lt(cpu_ns() - cpu, 200000000);
	pair_complete(&p, r[0]);
	pair_close(&p);
}
END_TEST

/* An answer twice: the second one finds its tag free. */
START_TEST(answered_twice)
{
	struct cbd_request *r[4];
	uint32_t tid;

	open_pair(kinds[_i], 4, 4);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 512, 1);
	tid = p.q->parts.all[0].se.tid;
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	send_bogus(tid);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 512, 2);
	ck_assert_uint_ne(p.q->parts.all[0].se.tid, tid);
	pair_reap_none(&p);
	ck_assert_uint_eq(p.q->counters.leaves, 1);
	drive_ok(2);
	check_sane();
	pair_close(&p);
}
END_TEST

/* A few times in a row, then EIO: never a hang. */
START_TEST(keeps_failing)
{
	struct cbd_completion c;
	struct cbd_request *r[4];

	open_pair(kinds[_i], 4, 4);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	for (unsigned leave = 1; leave <= CBD_MAX_LEAVES; leave++) {
		send_bogus(0xffff);
		pair_reap_none(&p);
		ck_assert_uint_eq(p.q->counters.leaves, leave);
		pair_complete(&p, r[0]);
		/* drained, granted anew and published again */
		unit_wait(reap_none() && pair_fetch(&p, r, 1) == 1);
	}
	send_bogus(0xffff);
	c = pair_reap(&p);
	ck_assert_int_eq(c.result, -EIO);
	pair_complete(&p, r[0]);
	unit_fails(cbd_queue_read(p.q, buf[0], 512, 0), EIO);
	pair_close(&p);
}
END_TEST

START_TEST(damaged_ce)
{
	struct cbd_request *r[4];

	open_pair(kinds[_i], 4, 4);
	unit_fill(buf[0], 512, 5);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 512, 1);
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	p.q->ch.ce[0].result ^= 1;
	unit_wait(reap_none() && p.q->counters.leaves == 1);
	ck_assert_uint_eq(leave_line().reason, CBD_LEAVE_BAD_ENTRY);
	drive_ok(1);
	check_sane();
	pair_close(&p);
}
END_TEST

START_TEST(damaged_se)
{
	open_pair(kinds[_i], 4, 4);
	unit_fill(buf[0], 512, 5);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 512, 1);
	p.q->ch.se[0].length += 512;
	unit_wait(fetch_none() && is_broken());
	drive_ok(1);
	ck_assert_uint_eq(p.q->counters.leaves, 1);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 512);
	check_sane();
	pair_close(&p);
}
END_TEST

/* A channel of the backend through its states, with a request in flight where
 * that holds it back. */
START_TEST(channel_states)
{
	struct cbd_hchannel *hc;
	struct cbd_request *r[1];

	open_pair(kinds[_i], 4, 4);
	hc = hchannel();
	ck_assert_uint_eq(cbd_hchannel_pool(hc), CBD_POOL_SERVED);
	ck_assert_uint_eq(cbd_hchannel_work(hc), CBD_WORK_FETCHING);
	pair_submit(&p, CBD_OP_FLUSH, NULL, 0, 0, 1);
	pair_fetch_all(&p, r, 1);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 512, 2);
	p.q->ch.se[1].length += 512;
	unit_wait(fetch_none() && is_broken());
	unit_ok(cbd_backend_tick(p.backend));
	ck_assert_uint_eq(cbd_hchannel_pool(hc), CBD_POOL_ASKED);
	/* the blkdev sees the grant and leaves */
	unit_wait(reap_none() && fetch_none() && cbd_hchannel_pool(hc) == CBD_POOL_STOPPING);
	ck_assert_uint_eq(cbd_hchannel_work(hc), CBD_WORK_BROKEN);
	pair_complete(&p, r[0]);
	ck_assert_uint_eq(cbd_handler_fetch(cbd_backend_handler(p.backend, 0), r, 1), 0);
	ck_assert_uint_eq(cbd_hchannel_work(hc), CBD_WORK_RETIRED);
	unit_ok(cbd_backend_tick(p.backend));
	ck_assert_uint_eq(cbd_hchannel_pool(hc), CBD_POOL_SERVED);
	ck_assert_uint_eq(cbd_hchannel_work(hc), CBD_WORK_FETCHING);
	drive_ok(1);
	drive_ok(2);
	server_start(&p);
	cbd_blkdev_close(p.blkdev);
	p.blkdev = NULL;
	server_stop(&p);
	ck_assert_uint_eq(cbd_hchannel_pool(hc), CBD_POOL_FREE);
	ck_assert_uint_eq(cbd_hchannel_work(hc), CBD_WORK_NONE);
	pair_close(&p);
}
END_TEST

/* ----------------------------------------------------------------- payload */

static void corrupt_payload(void)
{
	p.q->ch.data[p.q->parts.all[0].se.data_offset + 4000] ^= 0x10;
}

/* The handler gives the payload some milliseconds, then answers BADCRC. */
static void wait_badcrc(void)
{
	uint64_t count = hchannel()->count;

	unit_wait(fetch_none() && hchannel()->count == count + 1);
}

START_TEST(bad_write_payload)
{
	open_pair(kinds[_i], 4, 1);
	unit_fill(buf[0], 8192, 8);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 8192, 1);
	corrupt_payload();
	wait_badcrc();
	pair_reap_none(&p); /* copied and submitted again */
	ck_assert_uint_eq(p.q->counters.resends, 1);
	drive_ok(1);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 8192);
	ck_assert_uint_eq(p.disk.ops[CBD_OP_WRITE], 1);
	check_sane();
	pair_close(&p);
}
END_TEST

/* Late is not bad: a payload that becomes visible is taken. */
START_TEST(late_write_payload)
{
	struct cbd_request *r[1];

	open_pair(kinds[_i], 4, 1);
	unit_fill(buf[0], 8192, 8);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 8192, 1);
	corrupt_payload();
	ck_assert_uint_eq(pair_fetch(&p, r, 1), 0);
	hchannel()->retries->retry_until_ns += 20000000000ull;
	ck_assert_uint_eq(pair_fetch(&p, r, 1), 0);
	corrupt_payload(); /* back again */
	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_uint_eq(p.q->counters.resends, 0);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 8192);
	pair_close(&p);
}
END_TEST

START_TEST(persistent_bad_write)
{
	struct cbd_completion c;

	open_pair(kinds[_i], 4, 1);
	memcpy(want, unit_disk_data(&p.disk), 8192);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 8192, 1);
	for (unsigned i = 0; i <= CBD_MAX_RESENDS; i++) {
		corrupt_payload();
		wait_badcrc();
		if (i < CBD_MAX_RESENDS)
			pair_reap_none(&p);
	}
	c = pair_reap(&p);
	ck_assert_int_eq(c.result, -EIO);
	ck_assert_uint_eq(p.q->counters.bad_payloads, 4);
	ck_assert_uint_eq(p.disk.ops[CBD_OP_WRITE], 0);
	ck_assert_mem_eq(unit_disk_data(&p.disk), want, 8192);
	check_sane();
	pair_close(&p);
}
END_TEST

/* Serve one read and corrupt what it brings. */
static void serve_corrupted(void)
{
	struct cbd_request *r[1];

	pair_fetch_all(&p, r, 1);
	pair_complete(&p, r[0]);
	corrupt_payload();
}

START_TEST(bad_read_payload)
{
	open_pair(kinds[_i], 4, 1);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 8192, 1);
	serve_corrupted();
	unit_wait(reap_none() && p.q->counters.resends == 1);
	drive_ok(1);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 8192);
	check_sane();
	pair_close(&p);
}
END_TEST

START_TEST(persistent_bad_read)
{
	struct cbd_completion c;

	open_pair(kinds[_i], 4, 1);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 8192, 1);
	for (unsigned i = 1; i <= CBD_MAX_RESENDS; i++) {
		serve_corrupted();
		unit_wait(reap_none() && p.q->counters.resends == i);
	}
	serve_corrupted();
	c = pair_reap(&p);
	ck_assert_int_eq(c.result, -EIO);
	ck_assert_uint_eq(p.q->counters.bad_payloads, 4);
	check_sane();
	pair_close(&p);
}
END_TEST

/* One read that ends with EIO, its payload bad each time. */
static void bad_read(void)
{
	uint64_t resends = p.q->counters.resends;

	pair_submit(&p, CBD_OP_READ, buf[0], 0, 8192, 1);
	for (unsigned i = 1; i <= CBD_MAX_RESENDS; i++) {
		serve_corrupted();
		unit_wait(reap_none() && p.q->counters.resends == resends + i);
	}
	serve_corrupted();
	ck_assert_int_eq(pair_reap(&p).result, -EIO);
}

/* A channel whose payloads are bad again and again is left, and used again in the
 * next epoch. */
START_TEST(bad_rate)
{
	struct cbd_leave_line *leave;
	struct cbd_request *r[1];
	uint64_t epoch;

	open_pair(kinds[_i], 4, 1);
	epoch = p.q->ch.epoch;
	leave = cbd_channel_blkdev_line(&p.q->ch, CBD_CHANNEL_LEAVE);
	bad_read();
	ck_assert_uint_eq(p.q->counters.leaves, 0);
	for (unsigned i = 0; i < 50 && p.q->counters.leaves == 0; i++)
		bad_read();
	ck_assert_uint_eq(p.q->counters.leaves, 1);
	ck_assert_uint_eq(leave->epoch, epoch);
	ck_assert_uint_eq(leave->reason, CBD_LEAVE_BAD_RATE);
	/* the backend drains and grants anew before it is asked for more */
	unit_wait(pair_fetch(&p, r, 1) == 0 &&
		  p.backend->channels[p.q->ch.id].grant.epoch != epoch);
	pair_submit(&p, CBD_OP_READ, buf[0], 0, 8192, 1);
	drive_ok(1);
	ck_assert_uint_ne(p.q->ch.epoch, epoch);
	ck_assert_mem_eq(unit_disk_data(&p.disk), buf[0], 8192);
	pair_close(&p);
}
END_TEST

/* Without CRC, in hardware mode, nothing is checked: the disk gets what lies
 * in shared memory, from there. */
START_TEST(without_crc)
{
	struct cbd_request *r[1];

	pair_open(&p, &(struct pair_options){ .stepping = true });
	unit_fill(buf[0], 8192, 8);
	pair_submit(&p, CBD_OP_WRITE, buf[0], 0, 8192, 1);
	corrupt_payload();
	pair_fetch_all(&p, r, 1);
	ck_assert(r[0]->shared);
	ck_assert_ptr_eq(r[0]->buf, hchannel()->ch.data + p.q->parts.all[0].se.data_offset);
	pair_complete(&p, r[0]);
	ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_mem_ne(unit_disk_data(&p.disk), buf[0], 8192);
	pair_close(&p);
}
END_TEST

static TCase *new_case(const char *name)
{
	TCase *t = tcase_create(name);

	tcase_set_timeout(t, UNIT_TIMEOUT);
	return t;
}

static TCase *channel_case(void)
{
	TCase *t = new_case("channel");

	tcase_add_loop_test(t, wraps, 0, 2);
	tcase_add_loop_test(t, fresh_is_empty, 0, 2);
	tcase_add_loop_test(t, full_and_overwritten, 0, 2);
	tcase_add_loop_test(t, other_epochs, 0, 2);
	tcase_add_loop_test(t, other_seeds, 0, 2);
	tcase_add_loop_test(t, damaged_lines, 0, 2);
	tcase_add_loop_test(t, payload_crcs, 0, 2);
	return t;
}

static TCase *pair_case(void)
{
	TCase *t = new_case("pair");

	tcase_add_loop_test(t, every_order, 0, 8);
	tcase_add_loop_test(t, random_order, 0, 8);
	tcase_add_loop_test(t, more_than_depth, 0, 2);
	tcase_add_loop_test(t, nonsense, 0, 2);
	tcase_add_loop_test(t, writes_to_read_only, 0, 2);
	tcase_add_loop_test(t, unknown_tid, 0, 2);
	tcase_add_loop_test(t, unknown_tid_is_slept_through, 0, 2);
	tcase_add_loop_test(t, answered_twice, 0, 2);
	tcase_add_loop_test(t, keeps_failing, 0, 2);
	tcase_add_loop_test(t, damaged_ce, 0, 2);
	tcase_add_loop_test(t, damaged_se, 0, 2);
	tcase_add_loop_test(t, channel_states, 0, 2);
	return t;
}

static TCase *payload_case(void)
{
	TCase *t = new_case("payload");

	tcase_add_loop_test(t, bad_write_payload, 0, 2);
	tcase_add_loop_test(t, late_write_payload, 0, 2);
	tcase_add_loop_test(t, persistent_bad_write, 0, 2);
	tcase_add_loop_test(t, bad_read_payload, 0, 2);
	tcase_add_loop_test(t, persistent_bad_read, 0, 2);
	tcase_add_loop_test(t, bad_rate, 0, 2);
	tcase_add_test(t, without_crc);
	return t;
}

int main(void)
{
	Suite *s = suite_create("ring");

	suite_add_tcase(s, channel_case());
	suite_add_tcase(s, pair_case());
	suite_add_tcase(s, payload_case());
	return unit_main(s);
}
