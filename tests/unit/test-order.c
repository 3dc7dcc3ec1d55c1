/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-order.c - a handler answers in every order, at small depths.
 */
#include <config.h>

#include "drive.h"

static const enum cbd_coherence kinds[] = { CBD_COHERENCE_HARDWARE, CBD_COHERENCE_SOFTWARE };

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

	drive_open(kind, depth == 3 ? 4 : depth, depth);
	for (unsigned round = 0; round < 3 + 12 / depth; round++)
		for (unsigned k = 0; k < factorial(depth); k++) {
			unit_fill(buf, sizeof(buf), round * 100 + k);
			permute(k, depth, order);
			one_order(depth, order);
			for (unsigned i = 0; i <= depth; i++)
				ck_assert_mem_eq(buf[i], unit_disk_data(&p.disk) + i * 8192, 8192);
		}
	ck_assert_uint_gt(p.q->cursors.se_next, 5 * p.q->ch.slots);
	ck_assert_uint_eq(p.q->counted.now.epochs.left, 0);
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

	drive_open(kinds[_i % 2], 4, depth);
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

int main(void)
{
	Suite *s = suite_create("order");
	TCase *t = tcase_create("order");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, every_order, 0, 8);
	tcase_add_loop_test(t, random_order, 0, 8);
	suite_add_tcase(s, t);
	return unit_main(s);
}
