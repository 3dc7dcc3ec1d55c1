/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-format.c - what cbd_format() writes, and what it refuses to write over.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "small.h"
#include "unit.h"

START_TEST(both_kinds)
{
	struct cbd_format_options o = small_options;
	struct cbd_transport *t;

	for (unsigned kind = 0; kind <= CBD_COHERENCE_SOFTWARE; kind++) {
		unit_path(small_path);
		o.coherence = kind;
		o.label = kind ? "one" : NULL;
		unit_ok(cbd_format(small_path, &o, sizeof(o)));
		unit_ok(cbd_transport_open(small_path, 0, &t));
		/* the default of a file in the page cache is hardware */
		ck_assert_uint_eq(t->header.coherence, kind ? kind : CBD_COHERENCE_HARDWARE);
		ck_assert_str_eq(t->header.label, kind ? "one" : "");
		cbd_transport_close(t);
		unlink(small_path);
	}
}
END_TEST

/* Where the slots' lines lie in the memory, in numbers. */
START_TEST(places)
{
	struct cbd_transport *t;
	struct cbd_channel ch;

	small_make();
	unit_ok(cbd_transport_open(small_path, 0, &t));
	ck_assert_int_eq((char *)cbd_host_line(t, 3, 1, 2) - t->base,
			 8192 + 3 * 12288 + 4096 + 128);
	ck_assert_int_eq((char *)cbd_backend_line(t, 1, 3, 2) - t->base,
			 57344 + 16384 + 3 * 4096 + 128);
	ck_assert_int_eq((char *)cbd_blkdev_line(t, 3, 1, 3) - t->base,
			 90112 + 3 * 12288 + 4096 + 192);
	cbd_channel_init(&ch, t, 1, 1);
	ck_assert_int_eq(ch.base - t->base, 139264 + 3 * ch.length);
	ck_assert_uint_eq(ch.length, 2060288);
	ck_assert_int_eq((char *)cbd_channel_backend_line(&ch, 1) - ch.base, 64);
	ck_assert_int_eq((char *)cbd_channel_blkdev_line(&ch, 2) - ch.base, 4096 + 128);
	ck_assert_int_eq((char *)ch.se - ch.base, 8192);
	ck_assert_int_eq((char *)ch.ce - ch.base, 12288);
	ck_assert_int_eq(ch.data - ch.base, 16384);
	ck_assert_uint_eq(ch.data_size, ch.length - 16384);
	ck_assert_uint_eq(ch.slots, 16);
	cbd_transport_close(t);
}
END_TEST

static uint32_t incarnation(const struct cbd_transport *t, unsigned backend)
{
	struct cbd_state_line s;

	unit_ok(cbd_line_get(t, cbd_backend_line(t, backend, CBD_BACKEND_INFO, CBD_BACKEND_STATE),
			     &s));
	ck_assert_uint_eq(s.state, CBD_SLOT_FREE);
	return s.incarnation;
}

START_TEST(empty_after_format)
{
	struct cbd_transport *t;
	struct cbd_host_info host;
	struct cbd_backend_info backend;
	struct cbd_blkdev_info blkdev;
	struct cbd_channel_info channel;
	uint32_t first;

	small_make();
	unit_ok(cbd_transport_open(small_path, 0, &t));
	for (unsigned i = 0; i < 4; i++) {
		unit_ok(cbd_host_get(t, i, &host, sizeof(host)));
		ck_assert_int_eq(host.liveness, CBD_FREE);
		unit_ok(cbd_blkdev_get(t, i, &blkdev, sizeof(blkdev)));
		ck_assert_int_eq(blkdev.liveness, CBD_FREE);
		unit_ok(cbd_backend_get(t, i / 2, &backend, sizeof(backend)));
		ck_assert_int_eq(backend.liveness, CBD_FREE);
		unit_ok(cbd_channel_get(t, i / 2, i % 2, &channel, sizeof(channel)));
		ck_assert_int_eq(channel.state, CBD_GRANT_FREE);
		ck_assert_uint_eq(channel.epoch, 0);
	}
	unit_fails(cbd_host_get(t, 4, &host, sizeof(host)), EINVAL);
	unit_fails(cbd_backend_get(t, 2, &backend, sizeof(backend)), EINVAL);
	unit_fails(cbd_blkdev_get(t, 4, &blkdev, sizeof(blkdev)), EINVAL);
	unit_fails(cbd_channel_get(t, 0, 2, &channel, sizeof(channel)), EINVAL);
	/* of an older format nothing is met again */
	first = incarnation(t, 0);
	ck_assert_uint_ne(first, incarnation(t, 1));
	cbd_transport_close(t);
}
END_TEST

START_TEST(format_again)
{
	struct cbd_format_options o = small_options;
	uint8_t before[16], after[16];
	char noise[4096];

	small_make();
	small_read(offsetof(struct cbd_header, uuid), before, 16);
	/* what an old transport left in slots and rings must not come back */
	unit_fill(noise, sizeof(noise), 2);
	small_write(8192, noise, sizeof(noise));
	small_write(139264 + 8192, noise, sizeof(noise));
	unit_fails(cbd_format(small_path, &o, sizeof(o)), EEXIST);
	small_read(offsetof(struct cbd_header, uuid), after, 16);
	ck_assert_mem_eq(before, after, 16);
	o.force = 1;
	unit_ok(cbd_format(small_path, &o, sizeof(o)));
	small_read(offsetof(struct cbd_header, uuid), after, 16);
	ck_assert_mem_ne(before, after, 16);
	small_read(8192, noise, sizeof(noise));
	ck_assert(cbd_is_zero(noise, sizeof(noise)));
	small_read(139264 + 8192, noise, sizeof(noise));
	ck_assert(cbd_is_zero(noise, sizeof(noise)));
	small_opens(false);
}
END_TEST

/* The copy of a larger one before, at the end of the file, must not serve. */
START_TEST(format_smaller)
{
	struct cbd_format_options o = small_options;
	struct cbd_transport *t;
	char zeroes[4096] = { 0 };

	small_make();
	o.force = 1;
	o.size = 6 * MIB;
	unit_ok(cbd_format(small_path, &o, sizeof(o)));
	small_flip(100);
	unit_ok(cbd_transport_open(small_path, 0, &t));
	ck_assert(t->damaged);
	ck_assert_uint_eq(t->header.size, 6 * MIB);
	cbd_transport_close(t);
	small_write(0, zeroes, sizeof(zeroes)); /* nothing says where it ends */
	small_open_fails(ENOMEDIUM);
}
END_TEST

START_TEST(format_damaged)
{
	struct cbd_format_options o = small_options;

	small_make();
	small_flip(100);
	small_flip(SMALL_SIZE - 8192 + 100);
	unit_fails(cbd_format(small_path, &o, sizeof(o)), EEXIST);
	o.force = 1;
	unit_ok(cbd_format(small_path, &o, sizeof(o)));
	small_opens(false);
}
END_TEST

START_TEST(format_in_use)
{
	struct cbd_format_options o = small_options;
	struct cbd_transport *t;

	small_make();
	unit_ok(cbd_transport_open(small_path, 0, &t));
	unit_fails(cbd_format(small_path, &o, sizeof(o)), EBUSY);
	o.force = 1;
	unit_fails(cbd_format(small_path, &o, sizeof(o)), EBUSY);
	o.force = 2;
	unit_ok(cbd_format(small_path, &o, sizeof(o)));
	cbd_transport_close(t);
	/* who only lists is no user */
	unit_ok(cbd_transport_open(small_path, CBD_TRANSPORT_READ_ONLY, &t));
	o.force = 1;
	unit_ok(cbd_format(small_path, &o, sizeof(o)));
	cbd_transport_close(t);
}
END_TEST

/* Somebody's file, by a wrong small_path: here it looks like swap space. */
START_TEST(format_foreign)
{
	struct cbd_format_options o = small_options;
	struct flock lock = { .l_type = F_WRLCK };
	char zeroes[4096] = { 0 }, magic[] = "SWAPSPACE2";
	uint32_t version_and_pages[2] = { 1, 100 };
	int fd;

	small_make();
	small_write(0, zeroes, sizeof(zeroes));
	small_write(SMALL_SIZE - 8192, zeroes, sizeof(zeroes));
	small_write(4096 - 10, magic, 10);
	small_write(1024, version_and_pages, sizeof(version_and_pages));
	unit_fails(cbd_format(small_path, &o, sizeof(o)), EEXIST);
	small_read(4096 - 10, zeroes, 10);
	ck_assert_mem_eq(zeroes, magic, 10);
	/* a program that uses it is no user of a transport */
	o.force = 2;
	fd = open(small_path, O_RDWR);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
	unit_fails(cbd_format(small_path, &o, sizeof(o)), EBUSY);
	close(fd);
	o.force = 1;
	unit_ok(cbd_format(small_path, &o, sizeof(o)));
	small_opens(false);
}
END_TEST

/* Leave a raised claim behind, as a process that was killed does; of this
 * machine or, without locks to prove anything, of another one. */
static void leave_claim(bool other_machine)
{
	struct cbd_transport *t;
	struct cbd_claim c;

	unit_ok(cbd_transport_open(small_path, 0, &t));
	if (other_machine)
		unit_identity(t, 0x11);
	unit_ok(cbd_host_join(t, -1));
	unit_ok(cbd_claim_take(t, CBD_SIDE_BACKEND, 1, &c));
	cbd_lock_release(&c.lock);
	cbd_transport_close(t);
}

START_TEST(format_over_owners)
{
	struct cbd_format_options o = small_options;

	o.force = 1;
	small_make();
	leave_claim(false);
	unit_ok(cbd_format(small_path, &o, sizeof(o))); /* proven dead */
	leave_claim(true);
	unit_fails(cbd_format(small_path, &o, sizeof(o)), EBUSY); /* silent, perhaps not dead */
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "backend 1"));
	o.force = 2;
	unit_ok(cbd_format(small_path, &o, sizeof(o)));
	small_opens(false);
}
END_TEST

START_TEST(format_fails_cleanly)
{
	struct cbd_format_options o = small_options;
	struct stat st;
	int fd;

	unit_path(small_path);
	o.size = 0;
	unit_fails(cbd_format(small_path, &o, sizeof(o)), ENOENT);
	o.size = 100000;
	unit_fails(cbd_format(small_path, &o, sizeof(o)), ENOSPC);
	ck_assert_int_ne(access(small_path, F_OK), 0); /* it was not there before */
	fd = open(small_path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	o.size = 0;
	unit_fails(cbd_format(small_path, &o, sizeof(o)), EINVAL);
	o.size = 100000;
	unit_fails(cbd_format(small_path, &o, sizeof(o)), ENOSPC);
	ck_assert_int_eq(stat(small_path, &st), 0);
	ck_assert_int_eq(st.st_size, 0);
	unit_fails(cbd_format("/dev/zero", &small_options, sizeof(small_options)), ENODEV);
	unit_fails(cbd_format("/dev", &small_options, sizeof(small_options)), EISDIR);
}
END_TEST

START_TEST(format_sizes)
{
	struct cbd_format_options o = small_options;
	struct cbd_transport *t;
	struct stat st;

	unit_path(small_path);
	o.size = SMALL_SIZE + 1000;
	unit_ok(cbd_format(small_path, &o, sizeof(o)));
	unit_ok(cbd_transport_open(small_path, 0, &t));
	ck_assert_uint_eq(t->header.size, SMALL_SIZE);
	cbd_transport_close(t);
	ck_assert_int_eq(stat(small_path, &st), 0);
	ck_assert_int_ge(st.st_size, SMALL_SIZE + 1000);
	o.force = 1;
	o.size = 0; /* as it is */
	unit_ok(cbd_format(small_path, &o, sizeof(o)));
	o.channel_size = 1u << 20;
	unit_ok(cbd_format(small_path, &o, sizeof(o)));
	unit_ok(cbd_transport_open(small_path, 0, &t));
	ck_assert_uint_eq(t->header.channel_size, MIB);
	ck_assert_uint_eq(t->table[3].length, MIB);
	cbd_transport_close(t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("format");
	TCase *t = tcase_create("format");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, both_kinds);
	tcase_add_test(t, places);
	tcase_add_test(t, empty_after_format);
	tcase_add_test(t, format_again);
	tcase_add_test(t, format_smaller);
	tcase_add_test(t, format_damaged);
	tcase_add_test(t, format_in_use);
	tcase_add_test(t, format_foreign);
	tcase_add_test(t, format_over_owners);
	tcase_add_test(t, format_fails_cleanly);
	tcase_add_test(t, format_sizes);
	suite_add_tcase(s, t);
	return unit_main(s);
}
