/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-identity.c - uuids as text.
 */
#include <config.h>

#include "unit.h"

START_TEST(uuids)
{
	static const uint8_t bytes[16] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
					   0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
	uint8_t uuid[16];

	ck_assert(cbd_uuid_parse("00112233445566778899aabbccddeeff\n", uuid));
	ck_assert_mem_eq(uuid, bytes, 16);
	ck_assert(cbd_uuid_parse("00112233-4455-6677-8899-AABBCCDDEEFF", uuid));
	ck_assert_uint_eq(uuid[15], 0xff);
	ck_assert(!cbd_uuid_parse("", uuid));
	ck_assert(!cbd_uuid_parse("00112233445566778899aabbccddeef", uuid));
	ck_assert(!cbd_uuid_parse("00112233445566778899aabbccddeeff0", uuid));
	ck_assert(!cbd_uuid_parse("0011223344556677 899aabbccddeeff", uuid));
	ck_assert(!cbd_uuid_parse("uninitialized", uuid));
	ck_assert(!cbd_uuid_parse("00000000000000000000000000000000", uuid));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("identity");
	TCase *t;

	t = tcase_create("identity");
	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, uuids);
	suite_add_tcase(s, t);
	return unit_main(s);
}
