/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rates.c - sums, rates and percentiles of counters.
 *
 * Counters are a peer's word: one that goes down, or is as large as can be, gives a number
 * that makes no sense, and nothing worse.
 */
#include <config.h>

#include "sample.h"

static unsigned does(unsigned op)
{
	return op == CBD_OP_READ ? DO_READ : op == CBD_OP_WRITE ? DO_WRITE : DO_OTHER;
}

static double since(uint64_t now, uint64_t before)
{
	return now > before ? (double)(now - before) : 0;
}

/* In the bucket, as if its times lay evenly between its bounds. */
static uint64_t percentile(const double buckets[CBD_LATENCY_BUCKETS], double share)
{
	double total = 0, below = 0;

	for (unsigned k = 0; k < CBD_LATENCY_BUCKETS; k++)
		total += buckets[k];
	if (total <= 0)
		return 0;
	for (unsigned k = 0; k < CBD_LATENCY_BUCKETS; k++) {
		double from = k == 0 ? 0 : (double)(1ull << (k + 7)),
		       to = (double)(1ull << (k + 8));

		if (buckets[k] > 0 && below + buckets[k] >= share * total)
			return (uint64_t)(from +
					  (to - from) * (share * total - below) / buckets[k]);
		below += buckets[k];
	}
	return 0;
}

static void add_percentiles(struct activity *a, const struct cbd_counters *now,
			    const struct cbd_counters *before)
{
	double both[CBD_LATENCY_BUCKETS] = { 0 };

	for (unsigned of = 0; of < CBD_LATENCIES; of++) {
		double buckets[CBD_LATENCY_BUCKETS];

		for (unsigned k = 0; k < CBD_LATENCY_BUCKETS; k++) {
			buckets[k] = since(now->latency[of][k], before->latency[of][k]);
			if (of != CBD_LATENCY_OTHER)
				both[k] += buckets[k];
		}
		a->does[of].p50_ns = percentile(buckets, 0.5);
		a->does[of].p99_ns = percentile(buckets, 0.99);
	}
	a->p50_ns = percentile(both, 0.5);
	a->p99_ns = percentile(both, 0.99);
}

static struct activity compare(const struct cbd_counters *now, const struct cbd_counters *before)
{
	struct activity a = { .there = true,
			      .seconds = since(now->uptime_ns, before->uptime_ns) / 1e9 };

	for (unsigned op = 0; op < CBD_COUNTED_OPS; op++) {
		const struct cbd_op_counters *n = &now->ops[op], *b = &before->ops[op];
		struct doing *d = &a.does[does(op)];

		d->requests += since(n->requests, b->requests);
		d->bytes += since(n->bytes, b->bytes);
		d->errors += since(n->errors, b->errors);
		a.in_flight += n->begun - n->requests;
	}
	add_percentiles(&a, now, before);
	return a;
}

double activity_requests(const struct activity *a)
{
	return a->does[DO_READ].requests + a->does[DO_WRITE].requests + a->does[DO_OTHER].requests;
}

double activity_errors(const struct activity *a)
{
	return a->does[DO_READ].errors + a->does[DO_WRITE].errors + a->does[DO_OTHER].errors;
}

struct activity activity_total(const struct counted *now)
{
	static const struct cbd_counters zero;

	if (!now->there)
		return (struct activity){ .there = false };
	return compare(&now->c, &zero);
}

struct activity activity_since(const struct counted *now, const struct counted *before)
{
	static const struct cbd_counters zero;
	bool same = before && before->there && before->c.incarnation == now->c.incarnation &&
		    before->c.blkdev_incarnation == now->c.blkdev_incarnation &&
		    before->c.sequence <= now->c.sequence;
	struct activity a;

	if (!now->there || (before && before->unknown))
		return (struct activity){ .there = false };
	a = compare(&now->c, same ? &before->c : &zero);
	if (a.seconds <= 0) /* nothing was stored since */
		return (struct activity){ .there = false, .in_flight = a.in_flight };
	for (unsigned i = 0; i < DOES; i++) {
		a.does[i].requests /= a.seconds;
		a.does[i].bytes /= a.seconds;
		a.does[i].errors /= a.seconds;
	}
	return a;
}
