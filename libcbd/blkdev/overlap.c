/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * overlap.c - see overlap.h.
 *
 * The writes form a list by age.  To look through it for each write would cost more
 * than the write at a large depth, so counters come first: where no counter of a
 * write's grains is raised, no write that is inside overlaps it.
 */
#include <config.h>

#include <stddef.h>

#include "blkdev/overlap.h"

static uint64_t grain(uint64_t at)
{
	return at >> CBD_OVERLAP_GRAIN_BITS;
}

static bool is_wide(const struct cbd_overlap_node *n)
{
	return grain(n->last) - grain(n->first) >= CBD_OVERLAP_GRAINS;
}

static bool overlap(const struct cbd_overlap_node *a, const struct cbd_overlap_node *b)
{
	return a->first <= b->last && b->first <= a->last;
}

/* Raise or lower the counters of a write by BY; returns whether one was raised before. */
static bool count(struct cbd_overlap *o, const struct cbd_overlap_node *n, int by)
{
	bool raised = o->wide > 0;

	if (is_wide(n)) {
		o->wide += (unsigned)by;
		return true;
	}
	for (uint64_t g = grain(n->first); g <= grain(n->last); g++) {
		uint32_t *inside = &o->inside[g % CBD_OVERLAP_GRAINS];

		raised |= *inside > 0;
		*inside = *inside + (uint32_t)by;
	}
	return raised;
}

bool cbd_overlap_add(struct cbd_overlap *o, struct cbd_overlap_node *n, uint64_t offset,
		     uint64_t length)
{
	bool look;

	*n = (struct cbd_overlap_node){
		.first = offset,
		.last = offset + length - 1,
		.earlier = o->newest,
	};
	look = count(o, n, 1);
	if (o->newest)
		o->newest->later = n;
	o->newest = n;
	if (!look)
		return true;
	for (struct cbd_overlap_node *e = n->earlier; e; e = e->earlier)
		if (overlap(e, n)) {
			e->has_waiters = true;
			n->waits_for++;
		}
	return n->waits_for == 0;
}

void cbd_overlap_remove(struct cbd_overlap *o, struct cbd_overlap_node *n, cbd_overlap_fn *freed,
			void *opaque)
{
	struct cbd_overlap_node *later = n->later;

	count(o, n, -1);
	if (later)
		later->earlier = n->earlier;
	else
		o->newest = n->earlier;
	if (n->earlier)
		n->earlier->later = later;
	if (!n->has_waiters)
		return;
	for (; later; later = later->later)
		if (overlap(later, n) && --later->waits_for == 0)
			freed(opaque, later);
}
