/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-checks.c - every check of what a peer wrote into a control line, with a value
 * that fails this check alone, and one at its edge that passes all.  What is in entries
 * is in test-lies.c, the header in test-header.c.
 */
#include <config.h>

#include <errno.h>

#include "slots/host.h"
#include "unit.h"

static struct pair p;

static void open_pair(void)
{
	pair_open(&p, &(struct pair_options){ .data_crc = true, .depth = 8, .stepping = true });
}

static struct cbd_bchannel *bchannel(void)
{
	return &p.backend->channels[p.q->ch.id];
}

/* ------------------------------------------------------------------ grants */

/* At attach a queue has no parts, and the grant tells how many there may be. */
static struct cbd_queue fresh(void)
{
	struct cbd_queue q = *p.q;

	q.parts.all = NULL;
	q.parts.depth = 0;
	return q;
}

static void refused(const struct cbd_queue *q, struct cbd_grant_line g)
{
	unit_fails(cbd_grant_valid(q, &g), EPROTO);
}

static void accepted(const struct cbd_queue *q, struct cbd_grant_line g)
{
	unit_ok(cbd_grant_valid(q, &g));
}

static bool is_own(struct cbd_grant_line g)
{
	return cbd_grant_is_own(p.q, &g);
}

#define WITH(field, to)                            \
	({                                         \
		struct cbd_grant_line changed = g; \
		changed.field = (to);              \
		changed;                           \
	})

START_TEST(grant_numbers)
{
	struct cbd_grant_line g;
	struct cbd_queue q;
	uint32_t pages, most;

	open_pair();
	g = bchannel()->grant;
	q = fresh();
	pages = (uint32_t)(p.q->ch.length / CBD_PAGE_SIZE);
	most = p.blkdev->geometry.max_data / CBD_PAGE_SIZE;
	accepted(p.q, g);
	accepted(&q, g);
	refused(p.q, WITH(ring_slots, (uint16_t)(g.ring_slots * 2)));
	refused(&q, WITH(depth, 0));
	accepted(&q, WITH(depth, 1));
	refused(&q, WITH(depth, (uint16_t)(g.ring_slots + 1)));
	refused(p.q, WITH(depth, (uint16_t)(p.q->parts.depth - 1)));
	ck_assert_uint_eq(p.q->parts.extents.units, g.data_pages);
	refused(p.q, WITH(data_pages, g.data_pages - 1));
	accepted(&q, WITH(data_pages, g.data_pages - 1));
	refused(&q, WITH(data_page, g.data_page - 1));
	refused(&q, WITH(data_page, pages + 1));
	refused(&q, WITH(data_page, UINT32_MAX));
	refused(&q, WITH(data_pages, g.data_pages + 1));
	refused(&q, WITH(data_pages, UINT32_MAX));
	refused(&q, WITH(data_pages, most - 1));
	accepted(&q, WITH(data_pages, most));
	pair_close(&p);
}
END_TEST

START_TEST(grant_of_others)
{
	struct cbd_grant_line g;

	open_pair();
	g = bchannel()->grant;
	ck_assert(is_own(g));
	ck_assert(!is_own(WITH(epoch, 0)));
	ck_assert(!is_own(WITH(state, CBD_GRANT_FREE)));
	ck_assert(!is_own(WITH(blkdev, (uint16_t)(g.blkdev + 1))));
	ck_assert(!is_own(WITH(incarnation, g.incarnation + 1)));
	ck_assert(!is_own(WITH(queue, 1)));
	pair_close(&p);
}
END_TEST

/* ---------------------------------------------------------------- geometry */

static const struct cbd_geometry_line geometries[] = {
	{ .size = 0, .max_data = 4096, .max_range = 4096 },
	{ .size = 1ull << 63, .max_data = 4096, .max_range = 4096 },
	{ .size = 4096, .max_data = 0, .max_range = 4096 },
	{ .size = 4096, .max_data = 4096 + 512, .max_range = 4096 },
	{ .size = 4096, .max_data = 4096, .max_range = 0 },
	{ .size = 4096, .max_data = 4096, .max_range = 4096 + 512 },
	/* and one that makes sense */
	{ .size = INT64_MAX, .max_data = 4096, .max_range = 4096 },
};
#define SANE_GEOMETRY 6

START_TEST(geometry)
{
	struct cbd_blkdev_options o;
	struct cbd_blkdev *b = NULL;
	int r;

	pair_format(&p, &(struct pair_options){ .data_crc = true });
	pair_publish(&p);
	server_stop(&p);
	p.backend->geometry = geometries[_i]; /* so it stores that line again at each beat */
	unit_ok(cbd_line_put(p.bt, cbd_backend_info_at(p.bt, 0, CBD_BACKEND_GEOMETRY),
			     &p.backend->geometry));
	server_start(&p);
	o = pair_blkdev_options(&p);
	r = cbd_blkdev_open(p.ct, &o, sizeof(o), &b);
	if (_i == SANE_GEOMETRY)
		unit_ok(r);
	else
		unit_fails(r, EPROTO);
	cbd_blkdev_close(b);
	pair_close(&p);
}
END_TEST

/* ---------------------------------------------------------------- requests */

#define SLOT 2

static struct cbd_claim claim;
static struct cbd_state_line state;
static struct cbd_request_line request;

/* A blkdev slot with its lines, as its owner would write them. */
static void claim_slot(void)
{
	pair_format(&p, &(struct pair_options){ .data_crc = true });
	pair_publish(&p);
	server_stop(&p);
	unit_ok(cbd_transport_join(p.ct));
	claim = (struct cbd_claim)CBD_CLAIM_INIT;
	unit_ok(cbd_claim_take(p.ct, CBD_SIDE_BLKDEV, SLOT, &claim));
	state = (struct cbd_state_line){ .incarnation = 7,
					 .state = CBD_SLOT_STARTING,
					 .host = (uint16_t)p.ct->host };
	memcpy(state.owner, claim.line.owner, sizeof(state.owner));
	memcpy(state.boot_id, claim.line.boot_id, sizeof(state.boot_id));
	request = (struct cbd_request_line){ .incarnation = 7,
					     .sequence = 1,
					     .state = CBD_REQUEST_ATTACH,
					     .host = (uint16_t)p.ct->host,
					     .queues = 1 };
}

static void put_lines(void)
{
	unit_ok(cbd_line_put(p.ct, cbd_blkdev_info_at(p.ct, SLOT, CBD_BLKDEV_STATE), &state));
	unit_ok(cbd_line_put(p.ct, cbd_blkdev_info_at(p.ct, SLOT, CBD_BLKDEV_REQUEST), &request));
}

/* After some beats of the backend. */
static struct cbd_reply_line reply(void)
{
	uint64_t counter = p.backend->beat.counter;
	struct cbd_reply_line r;

	unit_wait(cbd_backend_tick(p.backend) > 0 && p.backend->beat.counter > counter + 2);
	unit_ok(cbd_line_get(p.ct, cbd_backend_reply_at(p.ct, 0, SLOT), &r));
	return r;
}

static void expect_reply(enum cbd_reply_state expected, enum cbd_refusal reason)
{
	struct cbd_reply_line r;

	put_lines();
	r = reply();
	ck_assert_uint_eq(r.state, expected);
	ck_assert_uint_eq(r.reason, reason);
	if (expected != CBD_REPLY_NONE)
		ck_assert_uint_eq(r.sequence, request.sequence);
	request.sequence++;
}

static void close_slot(void)
{
	cbd_claim_release(&claim);
	pair_close(&p);
}

START_TEST(requests)
{
	struct cbd_request_line sane;

	claim_slot();
	sane = request;
	request.host = (uint16_t)p.ct->header.hosts;
	expect_reply(CBD_REPLY_REFUSED, CBD_REFUSED_REQUEST);
	request.host = sane.host;
	request.queues = 0;
	expect_reply(CBD_REPLY_REFUSED, CBD_REFUSED_REQUEST);
	request.queues = (uint16_t)(p.ct->header.channels + 1);
	expect_reply(CBD_REPLY_REFUSED, CBD_REFUSED_REQUEST);
	request.queues = (uint16_t)p.ct->header.channels;
	request.depth = (uint16_t)(p.ct->header.ring_slots + 1);
	expect_reply(CBD_REPLY_REFUSED, CBD_REFUSED_REQUEST);
	request.depth = (uint16_t)p.ct->header.ring_slots;
	expect_reply(CBD_REPLY_GRANTED, CBD_REFUSED_NOT);
	close_slot();
}
END_TEST

/* Lines that are not all of the owner of the claim have no answer. */
START_TEST(bound_to_the_claim)
{
	claim_slot();
	state.incarnation = 6;
	expect_reply(CBD_REPLY_NONE, CBD_REFUSED_NOT);
	state.incarnation = 7;
	state.owner[3] ^= 1;
	expect_reply(CBD_REPLY_NONE, CBD_REFUSED_NOT);
	state.owner[3] ^= 1;
	request.backend = 1;
	expect_reply(CBD_REPLY_NONE, CBD_REFUSED_NOT);
	request.backend = 0;
	expect_reply(CBD_REPLY_GRANTED, CBD_REFUSED_NOT);
	close_slot();
}
END_TEST

/* ------------------------------------------------------------------ leaves */

static void put_leave(uint64_t epoch, uint32_t incarnation)
{
	struct cbd_leave_line line = { .epoch = epoch,
				       .incarnation = incarnation,
				       .reason = CBD_LEAVE_STALLED };
	uint64_t counter = p.backend->beat.counter;

	unit_ok(cbd_line_put(p.ct, cbd_channel_blkdev_line(&p.q->ch, CBD_CHANNEL_LEAVE), &line));
	unit_wait(cbd_backend_tick(p.backend) > 0 && p.backend->beat.counter > counter + 1);
}

START_TEST(leave_of_another)
{
	struct cbd_grant_line g;

	open_pair();
	g = bchannel()->grant;
	put_leave(g.epoch, g.incarnation - 1);
	ck_assert_uint_eq(cbd_hchannel_pool(&bchannel()->hc), CBD_POOL_SERVED);
	put_leave(g.epoch + 1, g.incarnation);
	ck_assert_uint_eq(cbd_hchannel_pool(&bchannel()->hc), CBD_POOL_SERVED);
	put_leave(g.epoch, g.incarnation);
	ck_assert_uint_ne(cbd_hchannel_pool(&bchannel()->hc), CBD_POOL_SERVED);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("checks");
	TCase *t = tcase_create("checks");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, grant_numbers);
	tcase_add_test(t, grant_of_others);
	tcase_add_loop_test(t, geometry, 0, SANE_GEOMETRY + 1);
	tcase_add_test(t, requests);
	tcase_add_test(t, bound_to_the_claim);
	tcase_add_test(t, leave_of_another);
	suite_add_tcase(s, t);
	return unit_main(s);
}
