/* SPDX-License-Identifier: BSD-3-Clause */
/* test-overlap.c - the order of overlapping writes against a model. */
#include <config.h>

#include "blkdev/overlap.h"
#include "unit.h"

#define MOST 200
#define GRAIN (1ull << CBD_OVERLAP_GRAIN_BITS)

struct write {
	struct cbd_overlap_node node; /* first */
	uint64_t offset, length, age;
	bool inside, runs;
};

static struct cbd_overlap o;
static struct write writes[MOST];
static uint64_t age;

static bool overlaps(const struct write *a, const struct write *b)
{
	return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

/* The model: a write runs when no older one that is inside overlaps it. */
static bool may_run(const struct write *w)
{
	for (unsigned i = 0; i < MOST; i++)
		if (writes[i].inside && writes[i].age < w->age && overlaps(&writes[i], w))
			return false;
	return true;
}

static void check(void)
{
	for (unsigned i = 0; i < MOST; i++)
		/* an assertion of check(3) takes a system call */
		if (writes[i].inside && writes[i].runs != may_run(&writes[i]))
			ck_abort_msg("write %u %s", i, writes[i].runs ? "runs" : "waits");
}

static void start(void)
{
	memset(&o, 0, sizeof(o));
	memset(writes, 0, sizeof(writes));
	age = 0;
}

static void submit(struct write *w, uint64_t offset, uint64_t length)
{
	*w = (struct write){ .offset = offset, .length = length, .age = age, .inside = true };
	age++;
	w->runs = cbd_overlap_add(&o, &w->node, offset, length);
}

static uint64_t freed_age;

static void freed(void *opaque, struct cbd_overlap_node *n)
{
	struct write *w = (struct write *)n;

	(void)opaque;
	ck_assert(w->inside && !w->runs);
	ck_assert_uint_ge(w->age, freed_age); /* the oldest first */
	freed_age = w->age;
	w->runs = true;
}

static void complete(struct write *w)
{
	ck_assert(w->runs);
	w->inside = false;
	freed_age = 0;
	cbd_overlap_remove(&o, &w->node, freed, NULL);
}

static void nothing_is_left(void)
{
	ck_assert_ptr_null(o.newest);
	ck_assert_uint_eq(o.wide, 0);
	for (unsigned i = 0; i < CBD_OVERLAP_GRAINS; i++)
		ck_assert_uint_eq(o.inside[i], 0);
}

static void random_steps(uint64_t size, uint64_t most, unsigned steps)
{
	uint64_t state = size + most;

	start();
	for (unsigned i = 0; i < steps; i++) {
		struct write *w = &writes[unit_random(&state) % MOST];

		if (!w->inside)
			submit(w, unit_random(&state) % size, 1 + unit_random(&state) % most);
		else if (w->runs)
			complete(w);
		check();
	}
	/* What runs completes: in the end nothing is left, so nothing waits in a circle. */
	for (unsigned left = MOST; left > 0; left--)
		for (unsigned i = 0; i < MOST; i++)
			if (writes[i].inside && writes[i].runs)
				complete(&writes[i]);
	nothing_is_left();
}

START_TEST(random_small)
{
	random_steps(4096, 600, 4000);
}
END_TEST

START_TEST(random_large)
{
	random_steps(64ull << 20, 4ull << 20, 4000);
}
END_TEST

/* Some are wider than all counters together. */
START_TEST(random_wide)
{
	random_steps(1ull << 40, 3 * GRAIN * CBD_OVERLAP_GRAINS, 4000);
}
END_TEST

/* Neighbours do not overlap, by one byte; the ends of the address range count too. */
START_TEST(edges)
{
	start();
	submit(&writes[0], 0, 4096);
	submit(&writes[1], 4096, 4096);
	submit(&writes[2], 4095, 1);
	submit(&writes[3], UINT64_MAX - 4095, 4096);
	submit(&writes[4], UINT64_MAX, 1);
	ck_assert(writes[0].runs && writes[1].runs && !writes[2].runs);
	ck_assert(writes[3].runs && !writes[4].runs);
	complete(&writes[0]);
	ck_assert(writes[2].runs);
	complete(&writes[3]);
	ck_assert(writes[4].runs);
}
END_TEST

/* Grains that share a counter: no overlap, so both run. */
START_TEST(shared_counter)
{
	start();
	submit(&writes[0], 0, 4096);
	submit(&writes[1], GRAIN * CBD_OVERLAP_GRAINS, 4096);
	ck_assert(writes[0].runs && writes[1].runs);
	complete(&writes[0]);
	complete(&writes[1]);
	nothing_is_left();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("overlap");
	TCase *c = tcase_create("overlap");

	tcase_set_timeout(c, UNIT_TIMEOUT);
	tcase_add_test(c, random_small);
	tcase_add_test(c, random_large);
	tcase_add_test(c, random_wide);
	tcase_add_test(c, edges);
	tcase_add_test(c, shared_counter);
	suite_add_tcase(s, c);
	return unit_main(s);
}
