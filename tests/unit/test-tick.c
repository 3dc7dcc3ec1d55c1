/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-tick.c - the control thread of a backend with many blkdevs: how
 * long one call of cbd_backend_tick() takes.
 */
#include <config.h>

#include <time.h>
#include <unistd.h>

#include "unit.h"

#define BLKDEVS 64 /* each with a channel of 1 MiB */

static struct pair p;
static struct cbd_blkdev *blkdevs[BLKDEVS];

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void open_many(unsigned n, enum cbd_coherence kind)
{
	struct cbd_format_options f = { .size = (uint64_t)(n + 8) << 20,
					.hosts = 4,
					.backends = 1,
					.blkdevs = n,
					.channels = n,
					.channel_size = 1u << 20,
					.depth = 16,
					/* short slices; 10 s until anything is suspect */
					.heartbeat_ms = 20,
					.dead_after = 500,
					.coherence = kind };
	struct cbd_backend_options bo = { .name = "disk", .handlers = 1, .max_blkdevs = n };
	struct cbd_blkdev_options o;

	pair_format(&p, &(struct pair_options){ .kind = kind });
	cbd_transport_close(p.bt);
	cbd_transport_close(p.ct);
	unlink(p.path);
	unit_ok(cbd_format(p.path, &f, sizeof(f)));
	unit_ok(cbd_transport_open(p.path, 0, &p.bt));
	unit_ok(cbd_transport_open(p.path, 0, &p.ct));
	unit_ok(cbd_backend_open(p.bt, &bo, sizeof(bo), &p.backend));
	unit_ok(cbd_backend_publish(p.backend, &p.geometry, sizeof(p.geometry)));
	server_start(&p);
	o = pair_blkdev_options(&p);
	for (unsigned i = 0; i < n; i++)
		unit_ok(cbd_blkdev_open(p.ct, &o, sizeof(o), &blkdevs[i]));
	server_stop(&p);
}

static uint64_t tick_cost(void)
{
	uint64_t at = cpu_ns();

	unit_ok(cbd_backend_tick(p.backend));
	return cpu_ns() - at;
}

static unsigned attached(void)
{
	unsigned n = 0;

	for (unsigned d = 0; d < BLKDEVS; d++)
		n += p.backend->att[d].state != CBD_ATT_NONE;
	return n;
}

/* One tick of the backend whose blkdevs have died, and a round of its handler. */
static bool all_swept(uint64_t *most, uint64_t *sum)
{
	struct cbd_request *r[1];
	uint64_t cost = tick_cost();

	*sum += cost;
	if (cost > *most)
		*most = cost;
	cbd_handler_fetch(cbd_backend_handler(p.backend, 0), r, 1);
	return attached() == 0;
}

/* Their process dies: their channels are written back, in software mode all of them. */
START_TEST(all_blkdevs_die)
{
	uint64_t most = 0, sum = 0, beats;

	open_many(BLKDEVS, _i ? CBD_COHERENCE_SOFTWARE : CBD_COHERENCE_HARDWARE);
	ck_assert_uint_eq(attached(), BLKDEVS);
	for (unsigned i = 0; i < BLKDEVS; i++)
		cbd_lock_release(&blkdevs[i]->claim.lock);
	beats = p.backend->beat.counter;
	unit_wait(all_swept(&most, &sum));
	ck_assert_uint_gt(p.backend->beat.counter, beats);
	/* in slices, with beats between; in hardware mode there is nothing to write back */
	if (_i)
		ck_assert_uint_lt(most, sum / 2);
	server_start(&p);
	for (unsigned i = 0; i < BLKDEVS; i++)
		cbd_blkdev_close(blkdevs[i]);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tick");
	TCase *t = tcase_create("tick");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, all_blkdevs_die, 0, 2);
	suite_add_tcase(s, t);
	return unit_main(s);
}
