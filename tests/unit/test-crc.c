/* SPDX-License-Identifier: BSD-3-Clause */
/* test-crc.c - CRC32C: the vectors of RFC 3720, B.4, and continuation. */
#include <config.h>

#include "base/crc.h"
#include "unit.h"

START_TEST(vectors)
{
	unsigned char buf[32];
	/* the SCSI READ(10) command of the RFC */
	static const unsigned char command[48] = {
		0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0,	0, 0, 0, 0,
		0x14, 0,    0, 0, 0, 0, 4, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
		0x28, 0,    0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0,	0, 0, 0, 0,
	};

	memset(buf, 0, sizeof(buf));
	ck_assert_uint_eq(cbd_crc32c(0, buf, 32), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	ck_assert_uint_eq(cbd_crc32c(0, buf, 32), 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++)
		buf[i] = (unsigned char)i;
	ck_assert_uint_eq(cbd_crc32c(0, buf, 32), 0x46dd794e);
	for (unsigned i = 0; i < 32; i++)
		buf[i] = (unsigned char)(31 - i);
	ck_assert_uint_eq(cbd_crc32c(0, buf, 32), 0x113fdb5c);
	ck_assert_uint_eq(cbd_crc32c(0, command, 48), 0xd9963a56);
	ck_assert_uint_eq(cbd_crc32c(0, "123456789", 9), 0xe3069283);
	ck_assert_uint_eq(cbd_crc32c(0, "", 0), 0);
}
END_TEST

/* One bit at a time, to compare with. */
static uint32_t slow_crc(uint32_t crc, const unsigned char *p, size_t len)
{
	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

START_TEST(every_length)
{
	unsigned char buf[700];

	unit_fill(buf, sizeof(buf), 3);
	for (size_t len = 0; len < 600; len++)
		for (size_t at = 0; at < 9; at++)
			ck_assert_uint_eq(cbd_crc32c(0, buf + at, len), slow_crc(0, buf + at, len));
}
END_TEST

START_TEST(continuation)
{
	static unsigned char buf[70000];
	uint32_t whole;
	uint64_t state = 5;

	unit_fill(buf, sizeof(buf), 4);
	whole = slow_crc(0, buf, sizeof(buf));
	ck_assert_uint_eq(cbd_crc32c(0, buf, sizeof(buf)), whole);
	for (int i = 0; i < 200; i++) {
		size_t a = unit_random(&state) % sizeof(buf);
		size_t b = a + unit_random(&state) % (sizeof(buf) - a);
		uint32_t crc = cbd_crc32c(0, buf, a);

		crc = cbd_crc32c(crc, buf + a, b - a);
		ck_assert_uint_eq(cbd_crc32c(crc, buf + b, sizeof(buf) - b), whole);
	}
}
END_TEST

/* A seed is no filter: each changes the result of the same bytes. */
START_TEST(seeds)
{
	uint32_t a = cbd_crc32c(1, "payload", 7), b = cbd_crc32c(2, "payload", 7);

	ck_assert_uint_ne(a, b);
	ck_assert_uint_eq(a, slow_crc(1, (const unsigned char *)"payload", 7));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("crc");
	TCase *t = tcase_create("crc");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, vectors);
	tcase_add_test(t, every_length);
	tcase_add_test(t, continuation);
	tcase_add_test(t, seeds);
	suite_add_tcase(s, t);
	return unit_main(s);
}
