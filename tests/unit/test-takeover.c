/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-takeover.c - what a process that has handed its slot over makes of what its
 * successor does next (rule 7.6).
 */
#include <config.h>

#include <errno.h>
#include <unistd.h>

#include "machines.h"

static const struct cbd_disk_geometry geometry = { .size = 1u << 20,
						   .logical_block = 512,
						   .physical_block = 512,
						   .optimal_block = 4096,
						   .disk_id = "disk",
						   .verifier = 0x10000 };

static struct cbd_backend *old;

static struct cbd_backend *open_backend(struct cbd_transport *t)
{
	const struct cbd_backend_options o = { .id = 1 };
	struct cbd_backend *b;

	unit_ok(cbd_backend_open(t, &o, sizeof(o), &b));
	return b;
}

static struct cbd_backend *serve(struct cbd_transport *t)
{
	struct cbd_backend *b = open_backend(t);

	unit_ok(cbd_backend_publish(b, &geometry, sizeof(geometry)));
	ck_assert_int_ge(cbd_backend_tick(b), 0);
	return b;
}

static bool has_drained(struct cbd_backend *b)
{
	ck_assert_int_ge(cbd_backend_tick(b), 0);
	return cbd_backend_drained(b);
}

static void stop_in_order(struct cbd_backend *b)
{
	cbd_backend_drain(b);
	unit_wait(has_drained(b));
	cbd_backend_close(b);
}

/* B gives its slot to a process that has opened T. */
static struct cbd_takeover *hand_over(struct cbd_backend *b, struct cbd_transport *t)
{
	struct cbd_takeover *k;

	unit_ok(cbd_takeover_begin(t, 1, 10000, &k));
	unit_wait(has_drained(b));
	ck_assert(cbd_backend_handed_over(b));
	cbd_backend_release(b);
	ck_assert_int_eq(cbd_takeover_poll(k), 1);
	ck_assert_int_eq(cbd_backend_successor(b), 0);
	return k;
}

static void setup(void)
{
	machines_setup();
	old = serve(t1);
}

static void teardown(void)
{
	cbd_backend_close(old);
	machines_teardown();
}

static bool told(int expected)
{
	int r = cbd_backend_successor(old);

	ck_assert(r == 0 || r == expected);
	return r == expected;
}

START_TEST(serves)
{
	struct cbd_takeover *k = hand_over(old, t2);
	struct cbd_backend *new = serve(t2);

	ck_assert_int_eq(cbd_backend_successor(old), 0); /* may give up yet */
	cbd_takeover_end(k);
	unit_wait(cbd_backend_tick(new) >= 0 && told(1));
	stop_in_order(new);
}
END_TEST

/* From a container with another machine-id: told at once, not after the time-out. */
START_TEST(another_identity)
{
	struct cbd_takeover *k;

	unit_container(t2, 0x40);
	unit_fails(cbd_takeover_begin(t2, 1, 10000, &k), EBUSY);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "another identity of this boot, host 0"));
	ck_assert_int_ge(cbd_backend_tick(old), 0);
	ck_assert(!cbd_backend_handed_over(old));
	unit_ok(cbd_claim_check(&old->claim));
}
END_TEST

START_TEST(never_takes_the_slot)
{
	struct cbd_takeover *k = hand_over(old, t2);

	cbd_takeover_end(k);
	ck_assert_int_eq(cbd_backend_successor(old), -ESRCH);
}
END_TEST

/* It has failed on its way, in order. */
START_TEST(closes_unpublished)
{
	struct cbd_takeover *k = hand_over(old, t2);

	cbd_backend_close(open_backend(t2));
	cbd_takeover_end(k);
	ck_assert_int_eq(cbd_backend_successor(old), -ESRCH);
}
END_TEST

START_TEST(dies)
{
	struct cbd_takeover *k = hand_over(old, t2);
	struct cbd_backend *new = serve(t2);

	cbd_takeover_end(k);
	cbd_backend_close(new); /* not drained: as a crash leaves it */
	ck_assert_int_eq(cbd_backend_successor(old), -ESRCH);
}
END_TEST

/* The administrator stops the new process before the old one has looked: nobody is to
 * serve then. */
START_TEST(is_stopped_at_once)
{
	struct cbd_takeover *k = hand_over(old, t2);
	struct cbd_backend *new = serve(t2);

	cbd_takeover_end(k);
	stop_in_order(new);
	ck_assert_int_eq(cbd_backend_successor(old), 1);
}
END_TEST

static uint64_t host_counter(void)
{
	return cbd_host_counter(t2, (unsigned)t2->host);
}

static bool host_beats(uint64_t since)
{
	ck_assert_int_eq(cbd_backend_successor(old), 0);
	return host_counter() > since;
}

/* The new process hangs: the host is seen to live nevertheless, by the old one. */
START_TEST(hangs)
{
	struct cbd_takeover *k = hand_over(old, t2);

	uint64_t counter = host_counter();

	unit_wait(host_beats(counter));
	unit_wait(host_beats(counter + 1));
	cbd_takeover_end(k);
	ck_assert_int_eq(cbd_backend_successor(old), -ESRCH);
}
END_TEST

/* The transport is formatted again, by a process that does not see the locks: nothing of the
 * old format is stored into the new one. */
START_TEST(formatted_again)
{
	const struct cbd_format_options o = { .size = 6u << 20,
					      .hosts = 4,
					      .backends = 2,
					      .blkdevs = 3,
					      .channels = 2,
					      .heartbeat_ms = HEARTBEAT_MS };
	struct cbd_transport *fresh;
	char path[UNIT_PATH];

	cbd_takeover_end(hand_over(old, t2));
	unit_path(path);
	unit_ok(cbd_format(path, &o, sizeof(o)));
	unit_ok(cbd_transport_open(path, 0, &fresh));
	memcpy(t1->base, fresh->base, fresh->header.size);
	old->tick_ns = 0; /* a beat is due */
	unit_fails(cbd_backend_successor(old), ESTALE);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "was formatted again"));
	ck_assert(memcmp(t1->base, fresh->base, fresh->header.size) == 0);
	cbd_transport_close(fresh);
	unlink(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("takeover");
	TCase *t = tcase_create("successor");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, serves);
	tcase_add_test(t, another_identity);
	tcase_add_test(t, never_takes_the_slot);
	tcase_add_test(t, closes_unpublished);
	tcase_add_test(t, dies);
	tcase_add_test(t, is_stopped_at_once);
	tcase_add_test(t, hangs);
	tcase_add_test(t, formatted_again);
	suite_add_tcase(s, t);
	return unit_main(s);
}
