/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-interface.c - cbd.h as programs of other versions meet it: structures that are
 * smaller or larger than this library's, reserved members, zero as the default.
 */
#include <config.h>

/* Padding that the compiler adds has no value that a program could be held to, and a
 * later member might come to lie there. */
#pragma GCC diagnostic push
#pragma GCC diagnostic error "-Wpadded"
#include <cbd.h>
#pragma GCC diagnostic pop

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "unit.h"

static char path[UNIT_PATH];
static struct cbd_transport *t;

static void setup(void)
{
	struct cbd_format_options o = { .size = 6u << 20, .channels = 1, .hosts = 2, .backends = 1 };

	unit_path(path);
	unit_ok(cbd_format(path, &o, sizeof(o)));
	unit_ok(cbd_transport_open(path, 0, &t));
}

static void teardown(void)
{
	cbd_transport_close(t);
	unlink(path);
}

START_TEST(versions)
{
	char text[32];

	snprintf(text, sizeof(text), "%d.%d.%d", CBD_VERSION_MAJOR, CBD_VERSION_MINOR,
		 CBD_VERSION_PATCH);
	ck_assert_str_eq(text, CBD_VERSION_STRING);
	ck_assert_str_eq(text, PACKAGE_VERSION);
	ck_assert_str_eq(cbd_version(), CBD_VERSION_STRING);
	ck_assert_uint_eq(cbd_version_number(), CBD_VERSION);
	ck_assert(CBD_VERSION_NUMBER(1, 0, 0) > CBD_VERSION_NUMBER(0, 999, 999));
}
END_TEST

/* What an older caller does not know is zero, whatever lies behind its structure. */
START_TEST(older_caller)
{
	struct cbd_format_options o = { .size = 6u << 20, .hosts = 3, .backends = 1, .channels = 1 };
	struct cbd_transport_info info;
	struct cbd_transport *other;

	cbd_transport_close(t);
	t = NULL;
	o.force = 2;
	unit_fails(cbd_format(path, &o, offsetof(struct cbd_format_options, force)), EEXIST);
	unlink(path);
	o.label = (const char *)1;
	o.dead_after = 1; /* no value for it */
	unit_ok(cbd_format(path, &o, offsetof(struct cbd_format_options, dead_after)));
	unit_ok(cbd_transport_open(path, 0, &other));
	memset(&info, 0xff, sizeof(info));
	unit_ok(cbd_transport_get(other, &info, offsetof(struct cbd_transport_info, dead_after)));
	ck_assert_uint_eq(info.hosts, 3);
	ck_assert_uint_eq(info.dead_after, UINT32_MAX); /* not written to */
	unit_ok(cbd_transport_get(other, &info, sizeof(info)));
	ck_assert_uint_eq(info.dead_after, 10);
	ck_assert_str_eq(info.label, "");
	cbd_transport_close(other);
}
END_TEST

/* A newer caller gets what it asks for, or hears that it does not. */
START_TEST(newer_caller)
{
	struct {
		struct cbd_clear_options known;
		uint64_t unknown;
	} clear = { .unknown = 0 };
	struct {
		struct cbd_host_info known;
		char unknown[40];
	} host;
	char zeroes[40] = { 0 };

	unit_fails(cbd_clear(t, CBD_OBJECT_HOST, 0, &clear.known, sizeof(clear)), ENOENT);
	clear.unknown = 1;
	unit_fails(cbd_clear(t, CBD_OBJECT_HOST, 0, &clear.known, sizeof(clear)), E2BIG);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "cbd_clear_options"));
	memset(&host, 0xff, sizeof(host));
	unit_ok(cbd_host_get(t, 1, &host.known, sizeof(host)));
	ck_assert_uint_eq(host.known.id, 1);
	ck_assert_mem_eq(host.unknown, zeroes, sizeof(zeroes));
}
END_TEST

START_TEST(reserved)
{
	struct cbd_format_options f = { .size = 6u << 20, .force = 2, .reserved = { 0, 1 } };
	struct cbd_clear_options c = { .reserved = { 1 } };
	struct cbd_blkdev_options b = { .backend = "0", .reserved = { 0, 0, 0, 0, 0, 0, 1 } };
	struct cbd_blkdev *blkdev;

	unit_fails(cbd_format(path, &f, sizeof(f)), EINVAL);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "reserved"));
	unit_fails(cbd_clear(t, CBD_OBJECT_HOST, 0, &c, sizeof(c)), EINVAL);
	unit_fails(cbd_blkdev_open(t, &b, sizeof(b), &blkdev), EINVAL);
}
END_TEST

/* Zero is the default: NULL is as good, and what has to be given is missed by name. */
START_TEST(nothing_given)
{
	struct cbd_blkdev *blkdev;
	struct cbd_backend *backend;

	unit_fails(cbd_clear(t, CBD_OBJECT_BLKDEV, 0, NULL, 0), ENOENT);
	unit_fails(cbd_blkdev_open(t, NULL, 0, &blkdev), EINVAL);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "no backend"));
	unit_ok(cbd_backend_open(t, NULL, 0, &backend));
	ck_assert_ptr_nonnull(cbd_backend_handler(backend, 0));
	ck_assert_ptr_null(cbd_backend_handler(backend, 1));
	unit_fails(cbd_backend_publish(backend, NULL, 0), EINVAL);
	cbd_backend_close(backend);
}
END_TEST

/* By identity, or as the host that the operator says: one for the whole transport. */
START_TEST(joined_as)
{
	struct cbd_backend *backend;
	struct cbd_backend_info info;

	unit_fails(cbd_transport_join_as(t, 2), EINVAL);
	ck_assert_int_eq(cbd_transport_join_as(t, 1), 1);
	ck_assert_int_eq(cbd_transport_join(t), 1);
	unit_fails(cbd_transport_join_as(t, 0), EINVAL);
	unit_ok(cbd_backend_open(t, NULL, 0, &backend));
	unit_ok(cbd_backend_get(t, 0, &info, sizeof(info)));
	ck_assert_uint_eq(info.host_id, 1);
	cbd_backend_close(backend);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("interface");
	TCase *c = tcase_create("sized");

	tcase_set_timeout(c, UNIT_TIMEOUT);
	tcase_add_checked_fixture(c, setup, teardown);
	suite_add_tcase(s, c);
	tcase_add_test(c, versions);
	tcase_add_test(c, older_caller);
	tcase_add_test(c, newer_caller);
	tcase_add_test(c, reserved);
	tcase_add_test(c, nothing_given);
	tcase_add_test(c, joined_as);
	return unit_main(s);
}
