/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-moved.c - a backend slot that another host served last (rule 7.5): its
 * page cache may be written back long after, so how it was left counts.
 */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "slots/info.h"
#include "slots/leftover.h"
#include "unit.h"

static char path[UNIT_PATH];
static struct cbd_transport *here, *there, *third;
static struct cbd_backend *backend;

static struct cbd_transport *open_machine(unsigned char who)
{
	struct cbd_transport *t;

	unit_ok(cbd_transport_open(path, 0, &t));
	if (who > 0)
		unit_machine(t, 0x30 + who);
	return t;
}

static void setup(void)
{
	struct cbd_format_options o = { .size = 6u << 20,
					.hosts = 4,
					.backends = 2,
					.blkdevs = 3,
					.channels = 2,
					.heartbeat_ms = 20,
					.dead_after = 3 };

	unit_path(path);
	unit_ok(cbd_format(path, &o, sizeof(o)));
	here = open_machine(0);
	there = open_machine(1);
	third = open_machine(2);
}

static void teardown(void)
{
	cbd_transport_close(here);
	cbd_transport_close(there);
	cbd_transport_close(third);
	unlink(path);
}

static int open_backend(struct cbd_transport *t, bool fenced)
{
	struct cbd_backend_options o = { .handlers = 1, .fenced_hosts = fenced ? 1 : 0 };

	return cbd_backend_open(t, &o, sizeof(o), &backend);
}

static void serve(struct cbd_transport *t, bool write_through)
{
	struct cbd_disk_geometry g = { .size = 1u << 20,
				       .logical_block = 512,
				       .write_through = write_through,
				       .disk_id = "a disk",
				       .verifier = 0x10000 };

	unit_ok(open_backend(t, false));
	unit_ok(cbd_backend_publish(backend, &g, sizeof(g)));
	unit_ok(cbd_backend_tick(backend));
}

/* Without an order: what it wrote is in its page cache still. */
static void crash(void)
{
	cbd_backend_close(backend);
}

static void stop(void)
{
	cbd_backend_drain(backend);
	unit_ok(cbd_backend_tick(backend));
	ck_assert(cbd_backend_drained(backend));
	cbd_backend_close(backend);
}

static void clear(struct cbd_transport *t)
{
	unit_ok(cbd_clear(t, CBD_OBJECT_BACKEND, 0, NULL, 0));
}

static void refused(void)
{
	unit_fails(open_backend(there, false), EBUSY);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "did not stop in order"));
}

static void admitted(struct cbd_transport *t, bool fenced)
{
	unit_ok(open_backend(t, fenced));
	cbd_backend_close(backend);
}

START_TEST(stopped_in_order)
{
	serve(here, false);
	stop();
	admitted(there, false);
}
END_TEST

START_TEST(crashed)
{
	serve(here, false);
	crash();
	refused();
	refused(); /* trying changes nothing */
	admitted(here, false);
	refused();
	admitted(there, true);
}
END_TEST

/* Clearing frees the slot, it writes nothing back. */
START_TEST(cleared)
{
	serve(here, false);
	crash();
	clear(_i ? there : here);
	refused();
	admitted(here, false);
}
END_TEST

/* Two standby hosts fence the same one: the first gets the slot, and the second
 * does not take it from the first. */
START_TEST(two_successors)
{
	struct cbd_backend *first;

	serve(here, false);
	cbd_lock_release(&backend->claim.lock); /* switched off: its claim stays */
	first = backend;
	unit_ok(open_backend(there, true));
	unit_ok(cbd_claim_check(&backend->claim));
	unit_fails(cbd_claim_check(&first->claim), ESTALE);
	cbd_backend_close(first);
	first = backend;
	unit_fails(open_backend(third, true), EBUSY);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "is owned by host 1"));
	unit_ok(cbd_claim_check(&first->claim));
	cbd_backend_close(first);
}
END_TEST

/* The beat of the host that is switched off was left damaged: it does not move. */
START_TEST(damaged_beat)
{
	void *place = cbd_backend_info_at(there, 0, CBD_BACKEND_BEAT);
	struct cbd_backend *first;
	struct cbd_line line;

	serve(here, false);
	cbd_lock_release(&backend->claim.lock);
	first = backend;
	cbd_line_load(&there->mem, place, &line);
	line.crc ^= 1;
	cbd_line_store(&there->mem, place, &line);
	unit_ok(open_backend(there, true));
	cbd_backend_close(first);
	cbd_backend_close(backend);
}
END_TEST

/* A state line that names a host which is none, or one that never had the slot: nobody is
 * fenced for it. */
START_TEST(names_no_owner)
{
	static const uint16_t hosts[] = { 4, 63, 65535, 2 };
	void *place = cbd_backend_info_at(there, 0, CBD_BACKEND_STATE);
	struct cbd_host_info host;
	struct cbd_state_line s;

	serve(here, false);
	crash();
	clear(here);
	unit_ok(cbd_transport_join(third));
	unit_ok(cbd_transport_join(there));
	ck_assert_int_eq(cbd_backend_to_fence(there, 0, &host, sizeof(host)), 1);
	ck_assert_uint_eq(host.id, 0);
	unit_ok(cbd_line_get(there, place, &s));
	s.host = hosts[_i];
	if (_i == 3) /* with the boot id of that host */
		memcpy(s.boot_id, third->identity.boot_id, 16);
	unit_ok(cbd_line_put(there, place, &s));
	ck_assert_int_eq(cbd_backend_to_fence(there, 0, &host, sizeof(host)), 0);
	admitted(there, false);
}
END_TEST

/* One that is replaced while its disk settles leaves the lines of the new owner
 * alone: "stopped in order" would be a lie. */
START_TEST(replaced_while_stopping)
{
	struct cbd_backend *first;
	struct cbd_backend_info info;

	serve(here, false);
	first = backend;
	cbd_backend_drain(first);
	unit_ok(cbd_backend_tick(first));
	ck_assert(cbd_backend_drained(first));
	unit_ok(open_backend(there, true));
	cbd_backend_close(first);
	unit_ok(cbd_backend_get(third, 0, &info, sizeof(info)));
	ck_assert_uint_eq(info.state, CBD_SLOT_STARTING);
	ck_assert_uint_eq(info.host_id, 1);
	ck_assert(!cbd_lock_held(here->fd, CBD_LOCK_BACKEND(0)));
	cbd_backend_close(backend);
}
END_TEST

START_TEST(booted_again)
{
	struct cbd_host_line line;
	void *place = cbd_host_line(here, 0, CBD_HOST_INFO, CBD_HOST_STATE);

	serve(here, false);
	crash();
	if (_i)
		clear(here);
	unit_ok(cbd_line_get(here, place, &line));
	line.boot_id[0]++;
	unit_ok(cbd_line_put(here, place, &line));
	admitted(there, false);
}
END_TEST

START_TEST(write_through)
{
	serve(here, true);
	crash();
	admitted(there, false);
}
END_TEST

START_TEST(never_served)
{
	admitted(here, false);
	admitted(there, false);
}
END_TEST

/* The slots of containers of this boot are full, and that of a host whose backend was killed
 * is kept: in another slot the backend would be refused. */
START_TEST(host_is_expected_back)
{
	struct cbd_transport *containers[4];

	serve(here, false);
	for (unsigned i = 0; i < 4; i++) {
		containers[i] = open_machine(0);
		unit_container(containers[i], (unsigned char)(0x40 + i));
		if (i < 3)
			unit_ok(cbd_host_join(containers[i], -1));
	}
	crash();
	if (_i)
		clear(here);
	cbd_host_leave(here);
	unit_fails(cbd_host_join(containers[3], -1), ENOSPC);
	unit_fails(cbd_host_join(containers[3], 0), EEXIST);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "expected back: it served backend 0"));
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "'cbdctl clear host 0'"));
	cbd_host_leave(containers[2]);
	unit_ok(cbd_host_join(containers[3], -1));
	ck_assert_int_eq(containers[3]->host, 3);
	serve(here, false);
	ck_assert_int_eq(here->host, 0);
	stop();
	/* nothing is left to be written back */
	cbd_host_leave(here);
	unit_ok(cbd_host_join(containers[2], -1));
	ck_assert_int_eq(containers[2]->host, 0);
	for (unsigned i = 0; i < 4; i++)
		cbd_transport_close(containers[i]);
}
END_TEST

/* A container that has another machine-id at each start: its backend was killed. */
START_TEST(cleared_by_another_identity)
{
	struct cbd_transport *container = open_machine(0);
	struct cbd_backend *killed;
	struct cbd_host_info host;

	unit_container(container, 0x40);
	serve(here, _i);
	cbd_lock_release(&backend->claim.lock);
	killed = backend;
	cbd_host_leave(here);
	unit_fails(open_backend(container, false), EBUSY);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "whose process is dead"));
	clear(container);
	ck_assert_int_eq(container->host, 1);
	unit_ok(cbd_host_get(container, 0, &host, sizeof(host)));
	ck_assert_mem_eq(host.uuid, here->identity.uuid, 16);
	if (_i) {
		admitted(container, false);
	} else {
		unit_fails(open_backend(container, false), EBUSY);
		ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "start it under that identity"));
		admitted(container, true);
	}
	cbd_backend_close(killed);
	cbd_transport_close(container);
}
END_TEST

/* The table is full, and a host is kept for its backend: the host is cleared first. */
START_TEST(cleared_in_a_full_table)
{
	struct cbd_backend *killed;
	struct cbd_transport *containers[4];

	serve(here, false);
	killed = backend;
	for (unsigned i = 0; i < 4; i++) {
		containers[i] = open_machine(0);
		unit_container(containers[i], (unsigned char)(0x40 + i));
		if (i < 3)
			unit_ok(cbd_host_join(containers[i], -1));
	}
	cbd_lock_release(&backend->claim.lock);
	cbd_host_leave(here);
	unit_fails(cbd_clear(containers[3], CBD_OBJECT_BACKEND, 0, NULL, 0), ENOSPC);
	unit_ok(cbd_clear(containers[3], CBD_OBJECT_HOST, 0, NULL, 0));
	ck_assert_int_eq(cbd_leftover_in_page_cache(containers[3], 0), -1);
	clear(containers[3]);
	ck_assert_int_eq(containers[3]->host, 0);
	/* of this machine still */
	ck_assert_int_eq(cbd_leftover_in_page_cache(containers[3], 0), 0);
	admitted(containers[3], false);
	cbd_backend_close(killed);
	for (unsigned i = 0; i < 4; i++)
		cbd_transport_close(containers[i]);
}
END_TEST

static bool stop_beating;

/* The owner in a copy of this virtual machine: boot and file are the same, its locks are not
 * seen.  Only the slot's beat moves. */
static void *beat(void *owner)
{
	struct cbd_backend *b = owner;

	while (!cbd_flag_get(&stop_beating)) {
		b->beat.counter++;
		cbd_line_put(b->t, cbd_backend_info_at(b->t, b->id, CBD_BACKEND_BEAT), &b->beat);
		cbd_sleep_us(10000);
	}
	return NULL;
}

static void fails_to_clear(struct cbd_transport *t, enum cbd_object object)
{
	const struct cbd_clear_options force = { .force = true };

	unit_fails(cbd_clear(t, object, 0, NULL, 0), EBUSY);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "is alive"));
	unit_fails(cbd_clear(t, object, 0, &force, sizeof(force)), EBUSY);
}

/* Another identity of this boot whose lock is free, but which beats, is not dead: neither its
 * slot nor that of its host is cleared, nor is the transport formatted. */
START_TEST(cleared_while_it_beats)
{
	struct cbd_transport *container = open_machine(0);
	struct cbd_backend_info info;
	pthread_t thread;

	unit_container(container, 0x40);
	serve(here, false);
	cbd_lock_release(&backend->claim.lock);
	cbd_lock_release(&here->host_lock);
	stop_beating = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, beat, backend), 0);
	fails_to_clear(container, _i ? CBD_OBJECT_HOST : CBD_OBJECT_BACKEND);
	unit_fails(cbd_transport_owned(container), EBUSY);
	unit_ok(cbd_backend_get(container, 0, &info, sizeof(info)));
	ck_assert_int_eq(info.liveness, CBD_ALIVE);
	unit_ok(cbd_claim_check(&backend->claim));
	cbd_flag_set(&stop_beating, true);
	pthread_join(thread, NULL);
	unit_ok(cbd_clear(container, _i ? CBD_OBJECT_HOST : CBD_OBJECT_BACKEND, 0, NULL, 0));
	cbd_backend_close(backend);
	cbd_transport_close(container);
}
END_TEST

/* Only the slot that was asked for is swept, also where its beat was left damaged. */
START_TEST(cleared_alone)
{
	struct cbd_transport *container = open_machine(0);
	void *place = cbd_backend_info_at(container, 0, CBD_BACKEND_BEAT);
	struct cbd_claim other = CBD_CLAIM_INIT;
	struct cbd_line line;

	unit_container(container, 0x40);
	serve(here, false);
	cbd_line_load(&container->mem, place, &line);
	line.crc ^= 1;
	cbd_line_store(&container->mem, place, &line);
	unit_ok(cbd_claim_take(here, CBD_SIDE_BLKDEV, 1, &other));
	cbd_lock_release(&backend->claim.lock);
	cbd_lock_release(&other.lock);
	clear(container);
	unit_fails(cbd_claim_check(&backend->claim), ESTALE);
	unit_ok(cbd_claim_check(&other));
	cbd_backend_close(backend);
	cbd_transport_close(container);
}
END_TEST

static struct cbd_backend *serve_named(struct cbd_transport *t, unsigned id)
{
	const struct cbd_backend_options o = { .id = id, .handlers = 1, .name = "a name" };
	const struct cbd_disk_geometry g = {
		.size = 1u << 20, .logical_block = 512, .disk_id = "a disk", .verifier = 0x10000
	};
	struct cbd_backend *b;

	unit_ok(cbd_backend_open(t, &o, sizeof(o), &b));
	unit_ok(cbd_backend_publish(b, &g, sizeof(g)));
	unit_ok(cbd_backend_tick(b));
	return b;
}

/* A name finds the backend that lives, where one was killed under another identity. */
START_TEST(named_as_one_that_was_killed)
{
	struct cbd_transport *container = open_machine(0);
	struct cbd_backend *killed = serve_named(here, 0);

	unit_container(container, 0x40);
	cbd_lock_release(&killed->claim.lock);
	backend = serve_named(container, 1);
	ck_assert_int_eq(cbd_attach_find(container, "a name"), 1);
	cbd_backend_close(backend);
	cbd_backend_close(killed);
	cbd_transport_close(container);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("moved");
	TCase *t = tcase_create("moved");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_checked_fixture(t, setup, teardown);
	suite_add_tcase(s, t);
	tcase_add_test(t, stopped_in_order);
	tcase_add_test(t, crashed);
	tcase_add_loop_test(t, cleared, 0, 2);
	tcase_add_test(t, two_successors);
	tcase_add_test(t, damaged_beat);
	tcase_add_loop_test(t, names_no_owner, 0, 4);
	tcase_add_test(t, replaced_while_stopping);
	tcase_add_loop_test(t, booted_again, 0, 2);
	tcase_add_test(t, write_through);
	tcase_add_test(t, never_served);
	tcase_add_loop_test(t, host_is_expected_back, 0, 2);
	tcase_add_loop_test(t, cleared_by_another_identity, 0, 2);
	tcase_add_loop_test(t, cleared_while_it_beats, 0, 2);
	tcase_add_test(t, cleared_alone);
	tcase_add_test(t, cleared_in_a_full_table);
	tcase_add_test(t, named_as_one_that_was_killed);
	return unit_main(s);
}
