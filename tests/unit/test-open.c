/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-open.c - a transport is found and opened: by its header or the copy,
 * damaged, of another version, cut short; and what is none.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "small.h"
#include "unit.h"

START_TEST(copy_serves)
{
	char zeroes[8192] = { 0 };

	small_make();
	small_opens(false);
	small_flip(100);
	small_opens(true);
	small_flip(100);
	small_flip(4096 + 8); /* the table */
	small_opens(true);
	small_flip(4096 + 8);
	small_opens(false);
	small_write(0, zeroes, sizeof(zeroes));
	small_opens(true);
}
END_TEST

START_TEST(damaged_copy)
{
	small_make();
	small_flip(SMALL_SIZE - 8192 + 100);
	small_opens(false); /* the first is sound */
	small_flip(100);
	small_open_fails(EBADMSG);
	small_flip(SMALL_SIZE - 8192 + 100);
	small_opens(true);
	small_flip(SMALL_SIZE - 4096 + 8); /* the table of the copy */
	small_open_fails(EBADMSG);
}
END_TEST

/* What is newer is not damaged: the copy of an older format is no help. */
START_TEST(newer_version)
{
	uint32_t version = CBD_FORMAT_VERSION + 1;

	small_make();
	small_write(8, &version, sizeof(version));
	small_open_fails(EPROTONOSUPPORT);
}
END_TEST

static void change_header(uint64_t incompat, uint64_t ro_compat, uint64_t compat)
{
	struct cbd_header h;

	small_read(0, &h, sizeof(h));
	h.incompat = incompat;
	h.ro_compat = ro_compat;
	h.compat = compat;
	small_seal(&h);
	small_write(0, &h, sizeof(h));
}

START_TEST(features_at_open)
{
	struct cbd_transport *t;

	small_make();
	change_header(0, 0, 1ull << 63);
	small_opens(false);
	change_header(0, 1, 0);
	unit_fails(cbd_transport_open(small_path, 0, &t), EPROTONOSUPPORT);
	unit_ok(cbd_transport_open(small_path, CBD_TRANSPORT_READ_ONLY, &t));
	cbd_transport_close(t);
	change_header(1ull << 40, 0, 0);
	small_open_fails(EPROTONOSUPPORT);
}
END_TEST

START_TEST(cut_short)
{
	small_make();
	ck_assert_int_eq(truncate(small_path, SMALL_SIZE - 4096), 0);
	small_open_fails(EINVAL);
	ck_assert_int_eq(truncate(small_path, 4096), 0);
	small_open_fails(EINVAL);
	ck_assert_int_eq(truncate(small_path, 100), 0);
	small_open_fails(ENOMEDIUM);
	ck_assert_int_eq(truncate(small_path, 0), 0);
	small_open_fails(ENOMEDIUM);
}
END_TEST

START_TEST(no_transport)
{
	char noise[65536];
	int fd;

	unit_path(small_path);
	small_open_fails(ENOENT);
	fd = open(small_path, O_CREAT | O_WRONLY, 0600);
	unit_fill(noise, sizeof(noise), 9);
	ck_assert_int_eq(write(fd, noise, sizeof(noise)), sizeof(noise));
	close(fd);
	small_open_fails(ENOMEDIUM);
	unlink(small_path);
	ck_assert_int_eq(mkfifo(small_path, 0600), 0);
	small_open_fails(EINVAL);
	strcpy(small_path, "/dev/zero");
	small_open_fails(ENODEV);
	strcpy(small_path, "/dev");
	small_open_fails(EISDIR);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("open");
	TCase *t = tcase_create("open");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, copy_serves);
	tcase_add_test(t, damaged_copy);
	tcase_add_test(t, newer_version);
	tcase_add_test(t, features_at_open);
	tcase_add_test(t, cut_short);
	tcase_add_test(t, no_transport);
	suite_add_tcase(s, t);
	return unit_main(s);
}
