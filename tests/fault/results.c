/* SPDX-License-Identifier: BSD-3-Clause */
/* results.c - see results.h. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#include "results.h"

void result_recovery(struct result *r, uint64_t ns)
{
	if (!r->ns)
		r->ns = calloc(MOST_ROUNDS, sizeof(*r->ns));
	if (!r->ns)
		die("malloc: %m");
	r->ns[r->recoveries++] = ns;
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void result_show(struct result *r, const char *name)
{
	unsigned n = r->recoveries;

	if (r->count == 0)
		return;
	printf("fault %s %s %u", options.engine, name, r->count);
	if (n > 0) {
		qsort(r->ns, n, sizeof(*r->ns), by_time);
		printf(" ms: median %.1f worst %.1f", (double)r->ns[n / 2] / MS,
		       (double)r->ns[n - 1] / MS);
	}
	printf("\n");
}
