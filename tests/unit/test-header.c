/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-header.c - the header of a transport, in private memory: laid out, and
 * checked field by field.
 */
#include <config.h>

#include <errno.h>
#include <stddef.h>

#include "base/crc.h"
#include "base/text.h"
#include "small.h"
#include "transport/header.h"
#include "unit.h"

static struct cbd_header h;
static struct cbd_area *table;

static void build(void)
{
	struct cbd_format_options o = small_options;

	o.coherence = CBD_COHERENCE_SOFTWARE;
	o.label = "a label";
	unit_ok(cbd_header_build("x", &o, SMALL_SIZE, &h, &table));
}

static void teardown(void)
{
	free(table);
	table = NULL;
}

static void seal_table(void)
{
	h.table_crc = cbd_crc32c(cbd_crc32c(0, h.uuid, 16), table, h.table_entries * 16);
	small_seal(&h);
}

/* ------------------------------------------------------------------ build */

/* The whole layout of the defaults, in numbers. */
START_TEST(default_layout)
{
	struct cbd_format_options o = { .coherence = CBD_COHERENCE_HARDWARE };

	unit_ok(cbd_header_build("x", &o, 64 * MIB, &h, &table));
	ck_assert_mem_eq(h.magic, "CBDshmem", 8);
	ck_assert_uint_eq(h.version, CBD_FORMAT_VERSION);
	ck_assert_uint_eq(h.header_size, 4096);
	ck_assert_uint_eq(h.page_size, 4096);
	ck_assert_uint_eq(h.size, 67108864);
	ck_assert_uint_eq(h.coherence, 1);
	ck_assert_uint_eq(h.hosts, 16);
	ck_assert_uint_eq(h.backends, 4);
	ck_assert_uint_eq(h.blkdevs, 16);
	ck_assert_uint_eq(h.channels, 8);
	ck_assert_uint_eq(h.ring_slots, 128);
	ck_assert_uint_eq(h.heartbeat_ms, 500);
	ck_assert_uint_eq(h.dead_after, 10);
	ck_assert_uint_eq(h.flags, 0);
	ck_assert_uint_eq(h.table_entries, 32);
	ck_assert_uint_eq(h.header_area.offset, 0);
	ck_assert_uint_eq(h.header_area.length, 8192);
	ck_assert_uint_eq(h.host_area.offset, 8192);
	ck_assert_uint_eq(h.host_area.length, 16 * 3 * 4096);
	ck_assert_uint_eq(h.backend_area.offset, 204800);
	ck_assert_uint_eq(h.backend_area.length, 4 * 4 * 4096);
	ck_assert_uint_eq(h.blkdev_area.offset, 270336);
	ck_assert_uint_eq(h.blkdev_area.length, 16 * 3 * 4096);
	ck_assert_uint_eq(h.channel_area.offset, 466944);
	ck_assert_uint_eq(h.channel_area.length, 66633728);
	ck_assert_uint_eq(h.copy_area.offset, 67108864 - 8192);
	ck_assert_uint_eq(h.copy_area.length, 8192);
	ck_assert_uint_eq(h.channel_size, 508 * 4096);
	for (unsigned i = 0; i < 32; i++) {
		ck_assert_uint_eq(table[i].offset, 466944 + i * 508ull * 4096);
		ck_assert_uint_eq(table[i].length, 508 * 4096);
	}
	unit_ok(cbd_header_check("x", &h, 64 * MIB));
	unit_ok(cbd_table_check("x", &h, table));
}
END_TEST

/* Several pages of requests, replies and table. */
START_TEST(largest_layout)
{
	struct cbd_format_options o = { .coherence = CBD_COHERENCE_SOFTWARE,
					.hosts = 64,
					.backends = 64,
					.blkdevs = 256,
					.channels = 256,
					.depth = 4096,
					.data_crc = true };
	uint64_t size = 64ull * 256 * 2 * MIB;

	unit_ok(cbd_header_build("x", &o, size, &h, &table));
	ck_assert_uint_eq(h.header_area.length, 4096 * (1 + 64));
	ck_assert_uint_eq(h.host_area.length, 64 * (2 + 1) * 4096);
	ck_assert_uint_eq(h.backend_area.length, 64 * (3 + 4) * 4096);
	ck_assert_uint_eq(h.blkdev_area.length, 256 * 3 * 4096);
	ck_assert_uint_eq(h.flags, 1);
	unit_ok(cbd_header_check("x", &h, size));
	unit_ok(cbd_table_check("x", &h, table));
}
END_TEST

static void build_fails(const struct cbd_format_options *o, uint64_t size, int error)
{
	struct cbd_format_options with_kind = *o;

	if (!with_kind.coherence)
		with_kind.coherence = CBD_COHERENCE_HARDWARE;
	unit_fails(cbd_header_build("x", &with_kind, size, &h, &table), error);
	ck_assert_ptr_null(table);
	ck_assert_msg(strlen(cbd_errmsg()) > 10, "no message");
}

START_TEST(build_limits)
{
	const struct cbd_format_options bad[] = {
		{ .hosts = 65 },
		{ .backends = 65 },
		{ .blkdevs = 257 },
		{ .channels = 257 },
		{ .depth = 3 },
		{ .depth = 8192 },
		{ .heartbeat_ms = 60001 },
		{ .dead_after = 1 },
		{ .dead_after = 1001 },
		{ .coherence = 3 },
		{ .channel_size = MIB - 4096 },
		{ .channel_size = MIB + 512 },
		{ .channel_size = 16 * MIB + 4096 },
		{ .label = "0123456789012345678901234567890123456789012345678901234567890123" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		build_fails(&bad[i], 4096 * MIB, EINVAL);
}
END_TEST

START_TEST(build_too_small)
{
	const struct cbd_format_options two_mib = { .channels = 1, .channel_size = 2 * MIB };
	static const uint64_t sizes[] = { 0, 1, 4095, 4096, 8192, 20480, 466944, 8 * MIB, 32 * MIB };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		build_fails(&(struct cbd_format_options){ 0 }, sizes[i], ENOSPC);
	build_fails(&two_mib, 8 * MIB, ENOSPC);
}
END_TEST

START_TEST(build_smallest)
{
	struct cbd_format_options o = { .hosts = 1,
					.backends = 1,
					.blkdevs = 1,
					.channels = 1,
					.coherence = CBD_COHERENCE_HARDWARE };
	/* header 2, host 3, backend 4, blkdev 3, copy 2 pages */
	uint64_t least = 14 * 4096 + MIB;

	build_fails(&o, least - 1, ENOSPC);
	unit_ok(cbd_header_build("x", &o, least, &h, &table));
	ck_assert_uint_eq(h.channel_size, MIB);
	unit_ok(cbd_header_check("x", &h, least));
}
END_TEST

START_TEST(uuid_is_new)
{
	uint8_t first[16];

	build();
	memcpy(first, h.uuid, 16);
	ck_assert_uint_eq(h.uuid[6] >> 4, 4); /* RFC 9562: version 4, variant 2 */
	ck_assert_uint_eq(h.uuid[8] >> 6, 2);
	free(table);
	build();
	ck_assert_mem_ne(h.uuid, first, 16);
}
END_TEST

/* ------------------------------------------------------------------ check */

/* One field of the header gets VALUE, everything else is sound. */
struct damage {
	const char *name;
	size_t offset, size;
	uint64_t value;
	int error;
};

#define D(field, value, error)                                                \
	{                                                                     \
#field " = " #value, offsetof(struct cbd_header, field),      \
			sizeof(((struct cbd_header *)0)->field), value, error \
	}
/* offset and length of an area: first the field, then of what it should be */
#define AREA(area)                                                                             \
	D(area.offset, 4096 * 1000, EINVAL), D(area.offset, UINT64_MAX - 4095, EINVAL),        \
		D(area.offset, 1, EINVAL), D(area.length, 0, EINVAL),                          \
		D(area.length, 4096, EINVAL), D(area.length, SMALL_SIZE + 4096, EINVAL),       \
		D(area.length, UINT64_MAX - 4095, EINVAL), D(area.length, UINT64_MAX, EINVAL), \
		D(area.length, 4097, EINVAL)

static const struct damage damages[] = {
	D(version, 0, EPROTONOSUPPORT),
	D(version, CBD_FORMAT_VERSION + 1, EPROTONOSUPPORT),
	D(version, UINT32_MAX, EPROTONOSUPPORT),
	D(header_size, 0, EINVAL),
	D(header_size, 4095, EINVAL),
	D(header_size, 8192, EINVAL),
	D(page_size, 0, EINVAL),
	D(page_size, 8192, EINVAL),
	D(compat, UINT64_MAX, 0),
	D(ro_compat, UINT64_MAX, 0), /* judged at open, by its mode */
	D(size, 0, EINVAL),
	D(size, 4096, EINVAL),
	D(size, SMALL_SIZE - 4096, EINVAL),
	D(size, SMALL_SIZE + 4096, EINVAL),
	D(size, SMALL_SIZE - 1, EINVAL),
	D(size, UINT64_MAX, EINVAL),
	D(size, UINT64_MAX - 4095, EINVAL),
	D(coherence, 0, EINVAL),
	D(coherence, 3, EINVAL),
	D(hosts, 0, EINVAL),
	D(hosts, 5, EINVAL),
	D(hosts, 65, EINVAL),
	D(hosts, UINT32_MAX, EINVAL),
	D(backends, 0, EINVAL),
	D(backends, 3, EINVAL),
	D(backends, 65, EINVAL),
	D(backends, 0x80000000u, EINVAL),
	D(blkdevs, 0, EINVAL),
	D(blkdevs, 5, EINVAL),
	D(blkdevs, 257, EINVAL),
	D(blkdevs, UINT32_MAX, EINVAL),
	D(channels, 0, EINVAL),
	D(channels, 3, EINVAL),
	D(channels, 257, EINVAL),
	D(channels, 0x80000002u, EINVAL), /* times backends it is 4 again */
	D(ring_slots, 0, EINVAL),
	D(ring_slots, 12, EINVAL),
	D(ring_slots, 8192, EINVAL),
	D(ring_slots, 0x80000000u, EINVAL),
	D(heartbeat_ms, 0, EINVAL),
	D(heartbeat_ms, 60001, EINVAL),
	D(dead_after, 0, EINVAL),
	D(dead_after, 1, EINVAL),
	D(dead_after, 1001, EINVAL),
	D(table_entries, 0, EINVAL),
	D(table_entries, 3, EINVAL),
	D(table_entries, 5, EINVAL),
	D(table_entries, UINT32_MAX, EINVAL),
	D(created, UINT64_MAX, 0),
	AREA(header_area),
	AREA(host_area),
	AREA(backend_area),
	AREA(blkdev_area),
	AREA(channel_area),
	AREA(copy_area),
};

static void set_field(struct cbd_header *bad, const struct damage *d)
{
	uint32_t word = (uint32_t)d->value;

	memcpy((char *)bad + d->offset, d->size == 4 ? (void *)&word : (void *)&d->value, d->size);
}

START_TEST(each_field)
{
	const struct damage *d = &damages[_i];
	struct cbd_header bad;
	int r;

	build();
	bad = h;
	set_field(&bad, d);
	small_seal(&bad); /* so that the field itself is judged */
	r = cbd_header_check("x", &bad, SMALL_SIZE);
	ck_assert_msg(r == -d->error, "%s: %d, not %d", d->name, r, -d->error);
	if (d->error)
		ck_assert_msg(strstr(cbd_errmsg(), "x: ") == cbd_errmsg(), "%s: no message",
			      d->name);
}
END_TEST

/* Each area begins where the one before ends, and the last one before the end. */
START_TEST(areas_end_early)
{
	build();
	h.channel_area.length -= 4096;
	h.copy_area.offset -= 4096;
	small_seal(&h);
	unit_fails(cbd_header_check("x", &h, SMALL_SIZE), EINVAL);
}
END_TEST

START_TEST(without_seal)
{
	struct cbd_header bad;

	build();
	/* every byte but magic, version and CRC is under the CRC */
	for (size_t i = 12; i < 4096; i++) {
		bad = h;
		((unsigned char *)&bad)[i] ^= 0x40;
		unit_fails(cbd_header_check("x", &bad, SMALL_SIZE), EBADMSG);
	}
	for (size_t i = 0; i < 8; i++) {
		bad = h;
		((unsigned char *)&bad)[i] ^= 0x40;
		unit_fails(cbd_header_check("x", &bad, SMALL_SIZE), ENOMEDIUM);
	}
	/* a newer version may keep its CRC elsewhere */
	bad = h;
	bad.version = CBD_FORMAT_VERSION + 1;
	unit_fails(cbd_header_check("x", &bad, SMALL_SIZE), EPROTONOSUPPORT);
}
END_TEST

START_TEST(feature_bits)
{
	build();
	for (unsigned bit = 0; bit < 64; bit++) {
		h.incompat = 1ull << bit;
		small_seal(&h);
		unit_fails(cbd_header_check("x", &h, SMALL_SIZE), EPROTONOSUPPORT);
		h.incompat = 0;
		h.compat = h.ro_compat = 1ull << bit;
		small_seal(&h);
		unit_ok(cbd_header_check("x", &h, SMALL_SIZE));
		h.compat = h.ro_compat = 0;
	}
}
END_TEST

START_TEST(label_and_reserved)
{
	build();
	ck_assert_str_eq(h.label, "a label");
	memset(h.label, 'x', sizeof(h.label));
	small_seal(&h);
	unit_fails(cbd_header_check("x", &h, SMALL_SIZE), EINVAL);
	h.label[63] = 0;
	memset(h.reserved, 0xff, sizeof(h.reserved)); /* ignored by readers */
	small_seal(&h);
	unit_ok(cbd_header_check("x", &h, SMALL_SIZE));
}
END_TEST

START_TEST(shorter_and_longer)
{
	build();
	unit_ok(cbd_header_check("x", &h, SMALL_SIZE + 4096));
	unit_ok(cbd_header_check("x", &h, UINT64_MAX));
	unit_fails(cbd_header_check("x", &h, SMALL_SIZE - 1), EINVAL);
	unit_fails(cbd_header_check("x", &h, 4096), EINVAL);
}
END_TEST

/* ------------------------------------------------------------------ table */

struct table_damage {
	unsigned entry;
	bool length; /* else the offset */
	int64_t add; /* to the right value */
	int error;
};

static const struct table_damage table_damages[] = {
	{ 0, false, -4096, EINVAL }, /* in the blkdevs */
	{ 0, false, 4096, EINVAL },  /* its end in the next one */
	{ 1, false, -4096, EINVAL }, /* its start in the one before */
	{ 1, false, -512, EINVAL },	{ 1, true, -512, EINVAL },
	{ 1, true, 4096, EINVAL },	{ 3, true, 8 * MIB, EINVAL }, /* beyond the area */
	{ 3, false, 8 * MIB, EINVAL },	{ 3, false, INT64_MIN, EINVAL },
	{ 3, true, INT64_MIN, EINVAL }, { 0, true, -4096, 0 }, /* smaller ones are sound */
	{ 3, true, -4096, 0 },
};

/* Who watches waits for as long as the header says. */
START_TEST(silence)
{
	struct cbd_format_options o = small_options;

	o.heartbeat_ms = 60000;
	o.dead_after = 2;
	unit_path(small_path);
	unit_fails(cbd_format(small_path, &o, sizeof(o)), EINVAL);
	o.heartbeat_ms = 60;
	o.dead_after = 1000;
	unit_ok(cbd_format(small_path, &o, sizeof(o)));
}
END_TEST

static const struct {
	const char *written, *shown;
} texts[] = {
	{ "disk-1 (a)", "disk-1 (a)" },
	{ "Gr\u00fc\u00dfe \u65e5\u672c \u0430", "Gr\u00fc\u00dfe \u65e5\u672c \u0430" },
	{ "a\x1b[2Jb\x7f\n", "a?[2Jb??" },
	{ "a\xc2\x9b"
	  "2Jb",
	  "a?2Jb" }, /* U+009B, CSI in one character */
	{ "a\u202e"
	  "b\u2066"
	  "c\u200f",
	  "a?b?c?" }, /* directions of writing */
	{ "a\u2028"
	  "b\u2029",
	  "a?b?" }, /* separators of lines */
	{ "a\u200b"
	  "b\ufeff"
	  "c\u00ad",
	  "a?b?c?" },		/* not seen at all */
	{ "a\xff\xc3", "a??" }, /* no UTF-8 */
	{ "\ue000"
	  "a\U000e0041",
	  "?a?" }, /* private, tags */
};

START_TEST(printable)
{
	char text[64];

	strcpy(text, texts[_i].written);
	cbd_text_make_printable(text);
	ck_assert_str_eq(text, texts[_i].shown);
}
END_TEST

START_TEST(each_channel)
{
	const struct table_damage *d = &table_damages[_i];
	uint64_t *field;
	int r;

	build();
	field = d->length ? &table[d->entry].length : &table[d->entry].offset;
	*field += (uint64_t)d->add;
	seal_table();
	unit_ok(cbd_header_check("x", &h, SMALL_SIZE));
	r = cbd_table_check("x", &h, table);
	ck_assert_msg(r == -d->error, "%d instead of %d", r, -d->error);
}
END_TEST

START_TEST(table_numbers)
{
	build();
	table[1].length = UINT64_MAX - 4095;
	seal_table();
	unit_fails(cbd_table_check("x", &h, table), EINVAL);
	table[1].length = 0;
	seal_table();
	unit_fails(cbd_table_check("x", &h, table), EINVAL);
	table[1].length = 4 * 4096; /* control pages and rings, no data */
	seal_table();
	unit_fails(cbd_table_check("x", &h, table), EINVAL);
	table[1].length = 5 * 4096;
	seal_table();
	unit_ok(cbd_table_check("x", &h, table));
	table[1].offset += 512; /* between the others, and no page */
	seal_table();
	unit_fails(cbd_table_check("x", &h, table), EINVAL);
	table[1].offset -= 512;
	seal_table();
	unit_ok(cbd_table_check("x", &h, table));
	table[1].length = 6 * 4096; /* without seal */
	unit_fails(cbd_table_check("x", &h, table), EBADMSG);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("header");
	TCase *t = tcase_create("header");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, default_layout);
	tcase_add_test(t, largest_layout);
	tcase_add_test(t, build_limits);
	tcase_add_test(t, build_too_small);
	tcase_add_test(t, build_smallest);
	tcase_add_test(t, uuid_is_new);
	tcase_add_loop_test(t, each_field, 0, sizeof(damages) / sizeof(damages[0]));
	tcase_add_test(t, areas_end_early);
	tcase_add_test(t, without_seal);
	tcase_add_test(t, feature_bits);
	tcase_add_test(t, label_and_reserved);
	tcase_add_test(t, shorter_and_longer);
	tcase_add_loop_test(t, each_channel, 0, sizeof(table_damages) / sizeof(table_damages[0]));
	tcase_add_test(t, silence);
	tcase_add_loop_test(t, printable, 0, sizeof(texts) / sizeof(texts[0]));
	tcase_add_test(t, table_numbers);
	suite_add_tcase(s, t);
	return unit_main(s);
}
