/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * histogram.h - latencies in buckets of at most 1.6% width.
 *
 * An octave has 64 buckets; below 64 ns each nanosecond is one.  Recording is
 * one addition, so it may stand between two requests.  One thread each; merge
 * them afterwards.
 */
#ifndef CBD_BENCH_HISTOGRAM_H
#define CBD_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BITS 6
#define HISTOGRAM_STEPS (1u << HISTOGRAM_BITS)
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_BITS + 1) * HISTOGRAM_STEPS)

struct histogram {
	uint64_t count, sum, min, max; /* ns */
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t ns)
{
	unsigned octave;

	if (ns < HISTOGRAM_STEPS)
		return (unsigned)ns;
	octave = 63 - (unsigned)__builtin_clzll(ns) - HISTOGRAM_BITS;
	return (octave << HISTOGRAM_BITS) + (unsigned)(ns >> octave);
}

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
	if (h->count == 0 || ns < h->min)
		h->min = ns;
	if (ns > h->max)
		h->max = ns;
	h->count++;
	h->sum += ns;
	h->buckets[histogram_bucket(ns)]++;
}

static inline void histogram_merge(struct histogram *to, const struct histogram *from)
{
	if (from->count == 0)
		return;
	if (to->count == 0 || from->min < to->min)
		to->min = from->min;
	if (from->max > to->max)
		to->max = from->max;
	to->count += from->count;
	to->sum += from->sum;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		to->buckets[i] += from->buckets[i];
}

/* The middle of a bucket. */
static inline uint64_t histogram_value(unsigned bucket)
{
	unsigned octave;
	uint64_t low;

	if (bucket < 2 * HISTOGRAM_STEPS)
		return bucket;
	octave = (bucket >> HISTOGRAM_BITS) - 1;
	low = (uint64_t)(bucket - (octave << HISTOGRAM_BITS)) << octave;
	return low + (1ull << octave) / 2;
}

/* What FRACTION (0 to 1) of the values do not exceed, ns. */
static inline uint64_t histogram_percentile(const struct histogram *h, double fraction)
{
	uint64_t rank = (uint64_t)(fraction * (double)h->count), seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen > rank)
			return histogram_value(i) < h->max ? histogram_value(i) : h->max;
	}
	return h->max;
}

#endif
