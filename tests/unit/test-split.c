/* SPDX-License-Identifier: BSD-3-Clause */
/* test-split.c - parts join exactly, and are cut at multiples of 4 KiB. */
#include <config.h>

#include "blkdev/split.h"
#include "unit.h"

static unsigned cover(uint64_t offset, uint64_t length, uint32_t most)
{
	unsigned parts = 0;

	while (length) {
		uint32_t n = cbd_split_first(offset, length, most);

		if (n == 0 || n > most || n > length) /* an assertion takes a system call */
			ck_abort_msg("a part of %llu bytes", (unsigned long long)n);
		offset += n;
		length -= n;
		parts++;
		if (length && offset % 4096 != 0)
			ck_abort_msg("a part ends at %llu", (unsigned long long)offset);
	}
	return parts;
}

/* As few parts as the rules allow. */
static unsigned fewest(uint64_t offset, uint64_t length, uint32_t most)
{
	uint64_t head = offset % 4096;

	return length ? (unsigned)((head + length + most - 1) / most) : 0;
}

static void check(uint64_t offset, uint64_t length, uint32_t most)
{
	ck_assert_uint_eq(cover(offset, length, most), fewest(offset, length, most));
}

START_TEST(literal)
{
	ck_assert_uint_eq(cbd_split_first(0, 0, 4096), 0);
	ck_assert_uint_eq(cbd_split_first(0, 1, 4096), 1);
	ck_assert_uint_eq(cbd_split_first(0, 4096, 4096), 4096);
	ck_assert_uint_eq(cbd_split_first(0, 4097, 4096), 4096);
	ck_assert_uint_eq(cbd_split_first(4095, 2, 4096), 1);
	ck_assert_uint_eq(cbd_split_first(1, 4096, 4096), 4095);
	ck_assert_uint_eq(cbd_split_first(512, 8192, 8192), 7680);
	ck_assert_uint_eq(cbd_split_first(512, 7680, 8192), 7680);
	ck_assert_uint_eq(cbd_split_first(100, 64u << 20, 512u << 10), (512u << 10) - 100);
	ck_assert_uint_eq(cbd_split_first(0, 1ull << 40, 0xfffff000u), 0xfffff000u);
}
END_TEST

START_TEST(edges)
{
	static const uint64_t offsets[] = { 0,
					    1,
					    511,
					    512,
					    4095,
					    4096,
					    4097,
					    8191,
					    1u << 31,
					    0xffffffffull,
					    (1ull << 62) - 1,
					    (1ull << 63) - 65536,
					    (1ull << 63) - 65535,
					    UINT64_MAX - (16u << 20) };
	static const uint64_t lengths[] = {
		1,     511,   512,   4095,     4096,	       4097,	      8192,
		12287, 65535, 65536, 1u << 20, (1u << 20) + 1, (8u << 20) - 1
	};
	static const uint32_t mosts[] = { 4096,	      8192,	 12288,	     65536,
					  512u << 10, 32u << 20, 0xfffff000u };

	for (size_t o = 0; o < sizeof(offsets) / sizeof(offsets[0]); o++)
		for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++)
			for (size_t m = 0; m < sizeof(mosts) / sizeof(mosts[0]); m++)
				check(offsets[o], lengths[l], mosts[m]);
}
END_TEST

START_TEST(random_requests)
{
	unsigned n = unit_share(100000);
	uint64_t state = 6;

	for (unsigned i = 0; i < n; i++) {
		uint64_t offset = unit_random(&state) >> (unit_random(&state) % 64);
		uint64_t length = unit_random(&state) % (1u << 20);
		uint32_t most = 4096 * (1 + (uint32_t)(unit_random(&state) % 128));

		if (offset > UINT64_MAX - length)
			offset = UINT64_MAX - length;
		check(offset, length, most);
	}
}
END_TEST

/* A length that does not fit in 32 bits is not cut to its lower half. */
START_TEST(huge_lengths)
{
	check(1, 5ull << 32, 0xfffff000u);
	check(4095, 1ull << 33, 32u << 20);
	check(8192, 0xffffe123u, 0xfffff000u);
	check(77, (1ull << 33) - 5, 0xfffff000u);
	ck_assert_uint_eq(cbd_split_first(0, 0x80000005u, 0xfffff000u), 0x80000005u);
	ck_assert_uint_eq(cbd_split_first(0, 1ull << 32, 8192), 8192);
	ck_assert_uint_eq(cbd_split_first(7, (1ull << 63) + 1, 8192), 8185);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("split");
	TCase *t = tcase_create("split");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, literal);
	tcase_add_test(t, edges);
	tcase_add_test(t, random_requests);
	tcase_add_test(t, huge_lengths);
	suite_add_tcase(s, t);
	return unit_main(s);
}
