/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-channel.c - entries and rings of a channel, without queue and handler:
 * across the wrap, full and empty, of other epochs and channels, damaged.
 */
#include <config.h>

#include <unistd.h>

#include "unit.h"

static const enum cbd_coherence kinds[] = { CBD_COHERENCE_HARDWARE, CBD_COHERENCE_SOFTWARE };

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

/* The copy counts: the line may have been stored again since its first word was seen. */
START_TEST(copy_of_another_position)
{
	struct cbd_se se = { .position = 4, .tid = 1 };
	struct cbd_ce ce = { .count = 4, .tid = 1 };

	open_channel(kinds[_i], 4);
	unit_ok(cbd_channel_send_se(&a, &se));
	unit_ok(cbd_channel_send_ce(&a, &ce));
	ck_assert_int_eq(cbd_channel_accept_se(&b, 4, &se), 1);
	ck_assert_int_eq(cbd_channel_accept_se(&b, 0, &se), 0);
	ck_assert_int_eq(cbd_channel_accept_ce(&b, 4, &ce), 1);
	ck_assert_int_eq(cbd_channel_accept_ce(&b, 8, &ce), 0);
	close_channel();
}
END_TEST

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

int main(void)
{
	Suite *s = suite_create("channel");
	TCase *t = tcase_create("channel");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, copy_of_another_position, 0, 2);
	tcase_add_loop_test(t, wraps, 0, 2);
	tcase_add_loop_test(t, fresh_is_empty, 0, 2);
	tcase_add_loop_test(t, full_and_overwritten, 0, 2);
	tcase_add_loop_test(t, other_epochs, 0, 2);
	tcase_add_loop_test(t, other_seeds, 0, 2);
	tcase_add_loop_test(t, damaged_lines, 0, 2);
	tcase_add_loop_test(t, payload_crcs, 0, 2);
	suite_add_tcase(s, t);
	return unit_main(s);
}
