/* SPDX-License-Identifier: BSD-3-Clause */
/* extent.c - a bit map, searched from its beginning or from where the last search ended. */
#include <config.h>

#include <string.h>

#include "blkdev/extent.h"

void cbd_extents_init(struct cbd_extents *e, uint32_t units, bool rotate)
{
	if (units > CBD_MAX_UNITS)
		units = CBD_MAX_UNITS;
	memset(e->used, 0xff, sizeof(e->used));
	e->units = e->free = units;
	e->hint = 0;
	e->rotate = rotate;
	for (uint32_t u = 0; u < units; u++)
		e->used[u / 64] &= ~(1ull << (u % 64));
}

/* First unit in [from, until) whose bit is VALUE; UNTIL if there is none. */
static uint32_t find_bit(const struct cbd_extents *e, uint32_t from, uint32_t until, bool value)
{
	while (from < until) {
		uint64_t word = value ? e->used[from / 64] : ~e->used[from / 64];

		word &= ~0ull << (from % 64);
		if (word) {
			from = from / 64 * 64 + (uint32_t)__builtin_ctzll(word);
			return from < until ? from : until;
		}
		from = (from / 64 + 1) * 64;
	}
	return until;
}

static void mark(struct cbd_extents *e, uint32_t first, uint32_t count, bool value)
{
	while (count > 0) {
		uint32_t bit = first % 64, n = 64 - bit < count ? 64 - bit : count;
		uint64_t mask = (n == 64 ? ~0ull : (1ull << n) - 1) << bit;

		if (value)
			e->used[first / 64] |= mask;
		else
			e->used[first / 64] &= ~mask;
		first += n;
		count -= n;
	}
}

/* A hole of COUNT units that starts in [from, until).  Only COUNT units of it are looked
 * at: an area that is almost empty is not searched to its end. */
static int find_hole(const struct cbd_extents *e, uint32_t from, uint32_t until, uint32_t count)
{
	while (from < until) {
		uint32_t start = find_bit(e, from, until, false);
		uint32_t end;

		if (start >= until || e->units - start < count)
			return -1;
		end = find_bit(e, start, start + count, true);
		if (end - start == count)
			return (int)start;
		from = end;
	}
	return -1;
}

int cbd_extent_alloc(struct cbd_extents *e, uint32_t count)
{
	int first;

	if (count == 0 || count > e->free)
		return -1;
	first = find_hole(e, e->hint, e->units, count);
	if (first < 0)
		first = find_hole(e, 0, e->hint, count);
	if (first < 0)
		return -1;
	mark(e, (uint32_t)first, count, true);
	e->free -= count;
	if (e->rotate)
		e->hint = ((uint32_t)first + count) % e->units;
	return first;
}

void cbd_extent_free(struct cbd_extents *e, uint32_t first, uint32_t count)
{
	mark(e, first, count, false);
	e->free += count;
}
