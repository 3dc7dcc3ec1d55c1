/* SPDX-License-Identifier: BSD-3-Clause */
/* results.c - see results.h. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#include "results.h"

static const char *const names[SERIES] = {
	[FIRST_ANSWER] = "first answer", [PAUSE] = "pause",
	[UNSERVED] = "unserved",	 [PART_ASKED] = "asked",
	[PART_DRAINED] = "drained",	 [PART_TAKEN] = "taken",
	[PART_GRANTED] = "granted",	 [PART_ANSWERED] = "answered",
};

void result_note(struct result *r, enum series series, uint64_t ns)
{
	if (!r->ns[series])
		r->ns[series] = calloc(MOST_ROUNDS, sizeof(*r->ns[series]));
	if (!r->ns[series])
		die("malloc: %m");
	r->ns[series][r->n[series]++] = ns;
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void show_series(struct result *r, enum series series)
{
	uint64_t *ns = r->ns[series];
	unsigned n = r->n[series];

	if (n == 0)
		return;
	qsort(ns, n, sizeof(*ns), by_time);
	printf("; %s %.1f %.1f", names[series], (double)ns[n / 2] / MS, (double)ns[n - 1] / MS);
}

void result_show(struct result *r, const char *name)
{
	if (r->count == 0)
		return;
	printf("fault %s %s %u, ms, median and worst", options.engine, name, r->count);
	for (unsigned i = 0; i < SERIES; i++)
		show_series(r, i);
	printf("\n");
}
