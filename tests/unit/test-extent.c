/* SPDX-License-Identifier: BSD-3-Clause */
/* test-extent.c - the allocator of the data area against a model. */
#include <config.h>

#include "blkdev/extent.h"
#include "unit.h"

static struct cbd_extents e;

/* The model: one byte a unit. */
static bool model[CBD_MAX_UNITS];

static unsigned model_longest(uint32_t units)
{
	unsigned run = 0, longest = 0;

	for (uint32_t u = 0; u < units; u++) {
		run = model[u] ? 0 : run + 1;
		if (run > longest)
			longest = run;
	}
	return longest;
}

static void model_set(uint32_t first, uint32_t count, bool value)
{
	for (uint32_t u = first; u < first + count; u++) {
		if (model[u] == value) /* an assertion of check(3) takes a system call */
			ck_abort_msg("unit %u is %s twice", u, value ? "given" : "given back");
		model[u] = value;
	}
}

static void start(uint32_t units)
{
	cbd_extents_init(&e, units, false);
	memset(model, 0, sizeof(model));
}

struct extent {
	uint32_t first, count;
};

/* Allocate when it can be done, and only then. */
static bool allocate(uint32_t count, struct extent *x)
{
	int first = cbd_extent_alloc(&e, count);

	if (first < 0) {
		ck_assert_uint_lt(model_longest(e.units), count);
		return false;
	}
	ck_assert_uint_le((uint32_t)first + count, e.units);
	model_set((uint32_t)first, count, true);
	*x = (struct extent){ (uint32_t)first, count };
	return true;
}

static void give_back(const struct extent *x)
{
	model_set(x->first, x->count, false);
	cbd_extent_free(&e, x->first, x->count);
}

static void random_steps(uint32_t units, uint32_t most, unsigned steps)
{
	static struct extent held[CBD_MAX_UNITS];
	unsigned n = 0, failures = 0, taken = 0;
	uint64_t state = units * 1000 + most;

	start(units);
	for (unsigned i = 0; i < steps; i++) {
		/* periods that fill and periods that empty */
		unsigned fills = i / 500 % 2 ? 40 : 60;

		if (n && unit_random(&state) % 100 >= fills) {
			unsigned k = (unsigned)(unit_random(&state) % n);

			give_back(&held[k]);
			taken -= held[k].count;
			held[k] = held[--n];
		} else if (allocate(1 + (uint32_t)(unit_random(&state) % most), &held[n])) {
			taken += held[n++].count;
		} else {
			failures++;
		}
		ck_assert_uint_eq(e.free, units - taken);
	}
	ck_assert_msg(failures || units > 4000, "%u units were never full", units);
	while (n)
		give_back(&held[--n]);
	ck_assert_uint_eq(e.free, units);
	ck_assert_int_ge(cbd_extent_alloc(&e, units), 0);
}

START_TEST(random_small)
{
	static const uint32_t units[] = { 1, 2, 3, 7, 63, 64, 65, 100, 127, 128, 129, 200 };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		random_steps(units[i], 1 + units[i] / 3, unit_share(5000));
}
END_TEST

START_TEST(random_channel)
{
	random_steps(253, 32, unit_share(100000)); /* of a channel of 1 MiB */
}
END_TEST

START_TEST(random_large)
{
	random_steps(CBD_MAX_UNITS, 200, unit_share(10000));
	random_steps(CBD_MAX_UNITS - 1, 64, unit_share(10000));
}
END_TEST

START_TEST(full_and_empty)
{
	start(100);
	for (int i = 0; i < 100; i++)
		ck_assert_int_ge(cbd_extent_alloc(&e, 1), 0);
	ck_assert_int_eq(cbd_extent_alloc(&e, 1), -1);
	ck_assert_uint_eq(e.free, 0);
	for (uint32_t u = 0; u < 100; u++)
		cbd_extent_free(&e, u, 1);
	ck_assert_int_ge(cbd_extent_alloc(&e, 100), 0);
	ck_assert_int_eq(cbd_extent_alloc(&e, 1), -1);
}
END_TEST

START_TEST(impossible)
{
	start(100);
	ck_assert_int_eq(cbd_extent_alloc(&e, 0), -1);
	ck_assert_int_eq(cbd_extent_alloc(&e, 101), -1);
	ck_assert_int_eq(cbd_extent_alloc(&e, UINT32_MAX), -1);
	ck_assert_uint_eq(e.free, 100);
	start(CBD_MAX_UNITS + 5); /* more than the map holds */
	ck_assert_uint_eq(e.units, CBD_MAX_UNITS);
	start(0);
	ck_assert_int_eq(cbd_extent_alloc(&e, 1), -1);
}
END_TEST

START_TEST(fragments)
{
	start(130);
	for (int i = 0; i < 130; i++)
		ck_assert_int_ge(cbd_extent_alloc(&e, 1), 0);
	for (uint32_t u = 0; u < 130; u += 2)
		cbd_extent_free(&e, u, 1);
	ck_assert_uint_eq(e.free, 65);
	ck_assert_int_eq(cbd_extent_alloc(&e, 2), -1);
	cbd_extent_free(&e, 63, 1); /* a hole of 3 across a word */
	ck_assert_int_eq(cbd_extent_alloc(&e, 4), -1);
	ck_assert_int_eq(cbd_extent_alloc(&e, 3), 62);
}
END_TEST

/* Rotating, the search goes on where it ended: an extent that was given back a moment
 * ago is not the next one. */
START_TEST(hint_wraps)
{
	start(10);
	e.rotate = true;
	ck_assert_int_eq(cbd_extent_alloc(&e, 4), 0);
	cbd_extent_free(&e, 0, 4);
	ck_assert_int_eq(cbd_extent_alloc(&e, 4), 4);
	cbd_extent_free(&e, 4, 4);
	/* 2 are left behind the hint, and an extent never wraps */
	ck_assert_int_eq(cbd_extent_alloc(&e, 4), 0);
	ck_assert_int_eq(cbd_extent_alloc(&e, 6), 4);
	ck_assert_uint_eq(e.free, 0);
	cbd_extent_free(&e, 0, 4);
	cbd_extent_free(&e, 4, 6);
	/* a hole that begins before the hint and ends behind it */
	ck_assert_int_eq(cbd_extent_alloc(&e, 5), 0);
	cbd_extent_free(&e, 0, 5);
	ck_assert_int_eq(cbd_extent_alloc(&e, 10), 0);
}
END_TEST

/* Else an extent that was given back a moment ago is the next one: it is cached. */
START_TEST(lowest_first)
{
	start(10);
	ck_assert_int_eq(cbd_extent_alloc(&e, 4), 0);
	cbd_extent_free(&e, 0, 4);
	ck_assert_int_eq(cbd_extent_alloc(&e, 4), 0);
	ck_assert_int_eq(cbd_extent_alloc(&e, 4), 4);
	cbd_extent_free(&e, 0, 4);
	/* the hole in front is too small */
	ck_assert_int_eq(cbd_extent_alloc(&e, 5), -1);
	ck_assert_int_eq(cbd_extent_alloc(&e, 2), 0);
	ck_assert_int_eq(cbd_extent_alloc(&e, 2), 2);
	ck_assert_int_eq(cbd_extent_alloc(&e, 2), 8);
	ck_assert_uint_eq(e.free, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("extent");
	TCase *t = tcase_create("extent");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, full_and_empty);
	tcase_add_test(t, impossible);
	tcase_add_test(t, fragments);
	tcase_add_test(t, hint_wraps);
	tcase_add_test(t, lowest_first);
	tcase_add_test(t, random_small);
	tcase_add_test(t, random_channel);
	tcase_add_test(t, random_large);
	suite_add_tcase(s, t);
	return unit_main(s);
}
