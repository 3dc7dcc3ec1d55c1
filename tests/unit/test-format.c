/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-format.c - the header of a transport: built, checked field by field,
 * found again when damaged; and what cbd_format() refuses.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "transport/header.h"
#include "unit.h"

#define MIB (1ull << 20)
#define SIZE (8 * MIB)

static struct cbd_header h;
static struct cbd_area *table;

static const struct cbd_format_options small = {
	.size = SIZE,
	.hosts = 4,
	.backends = 2,
	.blkdevs = 4,
	.channels = 2,
	.depth = 16,
	.heartbeat_ms = 20,
	.dead_after = 3,
};

static void build(void)
{
	struct cbd_format_options o = small;

	o.coherence = CBD_COHERENCE_SOFTWARE;
	o.label = "a label";
	unit_ok(cbd_header_build("x", &o, SIZE, &h, &table));
}

static void teardown(void)
{
	free(table);
	table = NULL;
}

static void seal(struct cbd_header *header)
{
	header->crc = cbd_crc32c(0, header, 4092);
}

static void seal_table(void)
{
	h.table_crc = cbd_crc32c(cbd_crc32c(0, h.uuid, 16), table, h.table_entries * 16);
	seal(&h);
}

/* ------------------------------------------------------------------ build */

/* The whole layout of the defaults, in numbers. */
START_TEST(default_layout)
{
	struct cbd_format_options o = { .coherence = CBD_COHERENCE_HARDWARE };

	unit_ok(cbd_header_build("x", &o, 64 * MIB, &h, &table));
	ck_assert_mem_eq(h.magic, "CBDshmem", 8);
	ck_assert_uint_eq(h.version, 0);
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
		D(area.length, 4096, EINVAL), D(area.length, SIZE + 4096, EINVAL),             \
		D(area.length, UINT64_MAX - 4095, EINVAL), D(area.length, UINT64_MAX, EINVAL), \
		D(area.length, 4097, EINVAL)

static const struct damage damages[] = {
	D(version, 1, EPROTONOSUPPORT),
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
	D(size, SIZE - 4096, EINVAL),
	D(size, SIZE + 4096, EINVAL),
	D(size, SIZE - 1, EINVAL),
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
	seal(&bad); /* so that the field itself is judged */
	r = cbd_header_check("x", &bad, SIZE);
	ck_assert_msg(r == -d->error, "%s: %d, not %d", d->name, r, -d->error);
	if (d->error)
		ck_assert_msg(strstr(cbd_errmsg(), "x: ") == cbd_errmsg(), "%s: no message",
			      d->name);
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
		unit_fails(cbd_header_check("x", &bad, SIZE), EBADMSG);
	}
	for (size_t i = 0; i < 8; i++) {
		bad = h;
		((unsigned char *)&bad)[i] ^= 0x40;
		unit_fails(cbd_header_check("x", &bad, SIZE), ENOMEDIUM);
	}
	/* a newer version may keep its CRC elsewhere */
	bad = h;
	bad.version = 1;
	unit_fails(cbd_header_check("x", &bad, SIZE), EPROTONOSUPPORT);
}
END_TEST

START_TEST(feature_bits)
{
	build();
	for (unsigned bit = 0; bit < 64; bit++) {
		h.incompat = 1ull << bit;
		seal(&h);
		unit_fails(cbd_header_check("x", &h, SIZE), EPROTONOSUPPORT);
		h.incompat = 0;
		h.compat = h.ro_compat = 1ull << bit;
		seal(&h);
		unit_ok(cbd_header_check("x", &h, SIZE));
		h.compat = h.ro_compat = 0;
	}
}
END_TEST

START_TEST(label_and_reserved)
{
	build();
	ck_assert_str_eq(h.label, "a label");
	memset(h.label, 'x', sizeof(h.label));
	seal(&h);
	unit_fails(cbd_header_check("x", &h, SIZE), EINVAL);
	h.label[63] = 0;
	memset(h.reserved, 0xff, sizeof(h.reserved)); /* ignored by readers */
	seal(&h);
	unit_ok(cbd_header_check("x", &h, SIZE));
}
END_TEST

START_TEST(shorter_and_longer)
{
	build();
	unit_ok(cbd_header_check("x", &h, SIZE + 4096));
	unit_ok(cbd_header_check("x", &h, UINT64_MAX));
	unit_fails(cbd_header_check("x", &h, SIZE - 1), EINVAL);
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

START_TEST(each_channel)
{
	const struct table_damage *d = &table_damages[_i];
	uint64_t *field;
	int r;

	build();
	field = d->length ? &table[d->entry].length : &table[d->entry].offset;
	*field += (uint64_t)d->add;
	seal_table();
	unit_ok(cbd_header_check("x", &h, SIZE));
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
	table[1].length = 6 * 4096; /* without seal */
	unit_fails(cbd_table_check("x", &h, table), EBADMSG);
}
END_TEST

/* ------------------------------------------------------------------- open */

static char path[UNIT_PATH];

static void make(void)
{
	unit_path(path);
	unit_ok(cbd_format(path, &small));
}

static void read_at(uint64_t offset, void *buf, size_t size)
{
	int fd = open(path, O_RDONLY);

	ck_assert_int_eq(pread(fd, buf, size, (off_t)offset), size);
	close(fd);
}

static void write_at(uint64_t offset, const void *buf, size_t size)
{
	int fd = open(path, O_WRONLY);

	ck_assert_int_eq(pwrite(fd, buf, size, (off_t)offset), size);
	close(fd);
}

static void flip(uint64_t offset)
{
	unsigned char byte;

	read_at(offset, &byte, 1);
	byte ^= 1;
	write_at(offset, &byte, 1);
}

/* Open, expect DAMAGED, close. */
static void opens(bool damaged)
{
	struct cbd_transport *t;
	struct cbd_header first;

	read_at(SIZE - 8192, &first, sizeof(first));
	unit_ok(cbd_transport_open(path, 0, &t));
	ck_assert_int_eq(cbd_transport_damaged(t), damaged);
	if (damaged)
		ck_assert_mem_eq(cbd_transport_header(t), &first, sizeof(first));
	cbd_transport_close(t);
}

static void open_fails(int error)
{
	struct cbd_transport *t = NULL;

	unit_fails(cbd_transport_open(path, 0, &t), error);
	unit_fails(cbd_transport_open(path, CBD_TRANSPORT_READ_ONLY, &t), error);
	ck_assert_ptr_null(t);
	ck_assert_msg(strncmp(cbd_errmsg(), path, strlen(path)) == 0, "%s", cbd_errmsg());
}

START_TEST(copy_serves)
{
	char zeroes[8192] = { 0 };

	make();
	opens(false);
	flip(100);
	opens(true);
	flip(100);
	flip(4096 + 8); /* the table */
	opens(true);
	flip(4096 + 8);
	opens(false);
	write_at(0, zeroes, sizeof(zeroes));
	opens(true);
}
END_TEST

START_TEST(damaged_copy)
{
	make();
	flip(SIZE - 8192 + 100);
	opens(false); /* the first is sound */
	flip(100);
	open_fails(EBADMSG);
	flip(SIZE - 8192 + 100);
	opens(true);
	flip(SIZE - 4096 + 8); /* the table of the copy */
	open_fails(EBADMSG);
}
END_TEST

/* What is newer is not damaged: the copy of an older format is no help. */
START_TEST(newer_version)
{
	uint32_t version = 1;

	make();
	write_at(8, &version, sizeof(version));
	open_fails(EPROTONOSUPPORT);
}
END_TEST

static void change_header(uint64_t incompat, uint64_t ro_compat, uint64_t compat)
{
	read_at(0, &h, sizeof(h));
	h.incompat = incompat;
	h.ro_compat = ro_compat;
	h.compat = compat;
	seal(&h);
	write_at(0, &h, sizeof(h));
}

START_TEST(features_at_open)
{
	struct cbd_transport *t;

	make();
	change_header(0, 0, 1ull << 63);
	opens(false);
	change_header(0, 1, 0);
	unit_fails(cbd_transport_open(path, 0, &t), EPROTONOSUPPORT);
	unit_ok(cbd_transport_open(path, CBD_TRANSPORT_READ_ONLY, &t));
	cbd_transport_close(t);
	change_header(1ull << 40, 0, 0);
	open_fails(EPROTONOSUPPORT);
}
END_TEST

START_TEST(cut_short)
{
	make();
	ck_assert_int_eq(truncate(path, SIZE - 4096), 0);
	open_fails(EINVAL);
	ck_assert_int_eq(truncate(path, 4096), 0);
	open_fails(EINVAL);
	ck_assert_int_eq(truncate(path, 100), 0);
	open_fails(ENOMEDIUM);
	ck_assert_int_eq(truncate(path, 0), 0);
	open_fails(ENOMEDIUM);
}
END_TEST

START_TEST(no_transport)
{
	char noise[65536];
	int fd;

	unit_path(path);
	open_fails(ENOENT);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	unit_fill(noise, sizeof(noise), 9);
	ck_assert_int_eq(write(fd, noise, sizeof(noise)), sizeof(noise));
	close(fd);
	open_fails(ENOMEDIUM);
	unlink(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	open_fails(EINVAL);
	strcpy(path, "/dev/zero");
	open_fails(ENODEV);
	strcpy(path, "/dev");
	open_fails(EISDIR);
}
END_TEST

/* ----------------------------------------------------------------- format */

START_TEST(both_kinds)
{
	struct cbd_format_options o = small;
	struct cbd_transport *t;

	for (unsigned kind = 0; kind <= CBD_COHERENCE_SOFTWARE; kind++) {
		unit_path(path);
		o.coherence = kind;
		o.label = kind ? "one" : NULL;
		unit_ok(cbd_format(path, &o));
		unit_ok(cbd_transport_open(path, 0, &t));
		/* the default of a file in the page cache is hardware */
		ck_assert_uint_eq(cbd_transport_header(t)->coherence,
				  kind ? kind : CBD_COHERENCE_HARDWARE);
		ck_assert_str_eq(cbd_transport_header(t)->label, kind ? "one" : "");
		cbd_transport_close(t);
		unlink(path);
	}
}
END_TEST

/* Where the slots' lines lie in the memory, in numbers. */
START_TEST(places)
{
	struct cbd_transport *t;
	struct cbd_channel ch;

	make();
	unit_ok(cbd_transport_open(path, 0, &t));
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

	make();
	unit_ok(cbd_transport_open(path, 0, &t));
	for (unsigned i = 0; i < 4; i++) {
		unit_ok(cbd_host_get(t, i, &host));
		ck_assert_int_eq(host.liveness, CBD_FREE);
		unit_ok(cbd_blkdev_get(t, i, &blkdev));
		ck_assert_int_eq(blkdev.liveness, CBD_FREE);
		unit_ok(cbd_backend_get(t, i / 2, &backend));
		ck_assert_int_eq(backend.liveness, CBD_FREE);
		unit_ok(cbd_channel_get(t, i / 2, i % 2, &channel));
		ck_assert_int_eq(channel.state, CBD_GRANT_FREE);
		ck_assert_uint_eq(channel.epoch, 0);
	}
	unit_fails(cbd_host_get(t, 4, &host), EINVAL);
	unit_fails(cbd_backend_get(t, 2, &backend), EINVAL);
	unit_fails(cbd_blkdev_get(t, 4, &blkdev), EINVAL);
	unit_fails(cbd_channel_get(t, 0, 2, &channel), EINVAL);
	/* of an older format nothing is met again */
	first = incarnation(t, 0);
	ck_assert_uint_ne(first, incarnation(t, 1));
	cbd_transport_close(t);
}
END_TEST

START_TEST(format_again)
{
	struct cbd_format_options o = small;
	uint8_t before[16], after[16];
	char noise[4096];

	make();
	read_at(offsetof(struct cbd_header, uuid), before, 16);
	/* what an old transport left in slots and rings must not come back */
	unit_fill(noise, sizeof(noise), 2);
	write_at(8192, noise, sizeof(noise));
	write_at(139264 + 8192, noise, sizeof(noise));
	unit_fails(cbd_format(path, &o), EEXIST);
	read_at(offsetof(struct cbd_header, uuid), after, 16);
	ck_assert_mem_eq(before, after, 16);
	o.force = 1;
	unit_ok(cbd_format(path, &o));
	read_at(offsetof(struct cbd_header, uuid), after, 16);
	ck_assert_mem_ne(before, after, 16);
	read_at(8192, noise, sizeof(noise));
	ck_assert(cbd_is_zero(noise, sizeof(noise)));
	read_at(139264 + 8192, noise, sizeof(noise));
	ck_assert(cbd_is_zero(noise, sizeof(noise)));
	opens(false);
}
END_TEST

/* The copy of a larger one before, at the end of the file, must not serve. */
START_TEST(format_smaller)
{
	struct cbd_format_options o = small;
	struct cbd_transport *t;
	char zeroes[4096] = { 0 };

	make();
	o.force = 1;
	o.size = 6 * MIB;
	unit_ok(cbd_format(path, &o));
	flip(100);
	unit_ok(cbd_transport_open(path, 0, &t));
	ck_assert(cbd_transport_damaged(t));
	ck_assert_uint_eq(cbd_transport_header(t)->size, 6 * MIB);
	cbd_transport_close(t);
	write_at(0, zeroes, sizeof(zeroes)); /* nothing says where it ends */
	open_fails(ENOMEDIUM);
}
END_TEST

START_TEST(format_damaged)
{
	struct cbd_format_options o = small;

	make();
	flip(100);
	flip(SIZE - 8192 + 100);
	unit_fails(cbd_format(path, &o), EEXIST);
	o.force = 1;
	unit_ok(cbd_format(path, &o));
	opens(false);
}
END_TEST

START_TEST(format_in_use)
{
	struct cbd_format_options o = small;
	struct cbd_transport *t;

	make();
	unit_ok(cbd_transport_open(path, 0, &t));
	unit_fails(cbd_format(path, &o), EBUSY);
	o.force = 1;
	unit_fails(cbd_format(path, &o), EBUSY);
	o.force = 2;
	unit_ok(cbd_format(path, &o));
	cbd_transport_close(t);
	/* who only lists is no user */
	unit_ok(cbd_transport_open(path, CBD_TRANSPORT_READ_ONLY, &t));
	o.force = 1;
	unit_ok(cbd_format(path, &o));
	cbd_transport_close(t);
}
END_TEST

/* Somebody's file, by a wrong path: here it looks like swap space. */
START_TEST(format_foreign)
{
	struct cbd_format_options o = small;
	struct flock lock = { .l_type = F_WRLCK };
	char zeroes[4096] = { 0 }, magic[] = "SWAPSPACE2";
	uint32_t version_and_pages[2] = { 1, 100 };
	int fd;

	make();
	write_at(0, zeroes, sizeof(zeroes));
	write_at(SIZE - 8192, zeroes, sizeof(zeroes));
	write_at(4096 - 10, magic, 10);
	write_at(1024, version_and_pages, sizeof(version_and_pages));
	unit_fails(cbd_format(path, &o), EEXIST);
	read_at(4096 - 10, zeroes, 10);
	ck_assert_mem_eq(zeroes, magic, 10);
	/* a program that uses it is no user of a transport */
	o.force = 2;
	fd = open(path, O_RDWR);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
	unit_fails(cbd_format(path, &o), EBUSY);
	close(fd);
	o.force = 1;
	unit_ok(cbd_format(path, &o));
	opens(false);
}
END_TEST

/* Leave a raised claim behind, as a process that was killed does; of this
 * machine or, without locks to prove anything, of another one. */
static void leave_claim(bool other_machine)
{
	struct cbd_transport *t;
	struct cbd_claim c;

	unit_ok(cbd_transport_open(path, 0, &t));
	if (other_machine) {
		memset(t->identity.uuid, 0x11, 16);
		memset(t->identity.boot_id, 0x22, 16);
	}
	unit_ok(cbd_host_join(t, -1));
	unit_ok(cbd_claim_take(t, CBD_CLAIM_BACKEND, 1, &c));
	cbd_lock_release(&c.lock);
	cbd_transport_close(t);
}

START_TEST(format_over_owners)
{
	struct cbd_format_options o = small;

	o.force = 1;
	make();
	leave_claim(false);
	unit_ok(cbd_format(path, &o)); /* proven dead */
	leave_claim(true);
	unit_fails(cbd_format(path, &o), EBUSY); /* silent, perhaps not dead */
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "backend 1"));
	o.force = 2;
	unit_ok(cbd_format(path, &o));
	opens(false);
}
END_TEST

START_TEST(format_fails_cleanly)
{
	struct cbd_format_options o = small;
	struct stat st;
	int fd;

	unit_path(path);
	o.size = 0;
	unit_fails(cbd_format(path, &o), ENOENT);
	o.size = 100000;
	unit_fails(cbd_format(path, &o), ENOSPC);
	ck_assert_int_ne(access(path, F_OK), 0); /* it was not there before */
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	o.size = 0;
	unit_fails(cbd_format(path, &o), EINVAL);
	o.size = 100000;
	unit_fails(cbd_format(path, &o), ENOSPC);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_size, 0);
	unit_fails(cbd_format("/dev/zero", &small), ENODEV);
	unit_fails(cbd_format("/dev", &small), EISDIR);
}
END_TEST

START_TEST(format_sizes)
{
	struct cbd_format_options o = small;
	struct cbd_transport *t;
	struct stat st;

	unit_path(path);
	o.size = SIZE + 1000;
	unit_ok(cbd_format(path, &o));
	unit_ok(cbd_transport_open(path, 0, &t));
	ck_assert_uint_eq(cbd_transport_header(t)->size, SIZE);
	cbd_transport_close(t);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_ge(st.st_size, SIZE + 1000);
	o.force = 1;
	o.size = 0; /* as it is */
	unit_ok(cbd_format(path, &o));
	o.channel_size = 1u << 20;
	unit_ok(cbd_format(path, &o));
	unit_ok(cbd_transport_open(path, 0, &t));
	ck_assert_uint_eq(cbd_transport_header(t)->channel_size, MIB);
	ck_assert_uint_eq(t->table[3].length, MIB);
	cbd_transport_close(t);
}
END_TEST

static TCase *header_case(void)
{
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
	tcase_add_test(t, without_seal);
	tcase_add_test(t, feature_bits);
	tcase_add_test(t, label_and_reserved);
	tcase_add_test(t, shorter_and_longer);
	tcase_add_loop_test(t, each_channel, 0, sizeof(table_damages) / sizeof(table_damages[0]));
	tcase_add_test(t, table_numbers);
	return t;
}

static TCase *file_case(void)
{
	TCase *t = tcase_create("file");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, copy_serves);
	tcase_add_test(t, damaged_copy);
	tcase_add_test(t, newer_version);
	tcase_add_test(t, features_at_open);
	tcase_add_test(t, cut_short);
	tcase_add_test(t, no_transport);
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
	return t;
}

int main(void)
{
	Suite *s = suite_create("format");

	suite_add_tcase(s, header_case());
	suite_add_tcase(s, file_case());
	return unit_main(s);
}
