/* SPDX-License-Identifier: BSD-3-Clause */
/* header.c - see header.h. */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/crc.h"
#include "base/error.h"
#include "memory/fault.h"
#include "transport/header.h"

#define DEFAULT_HOSTS 16
#define DEFAULT_BACKENDS 4
#define DEFAULT_BLKDEVS 16
#define DEFAULT_CHANNELS 8
#define DEFAULT_DEPTH 128
#define DEFAULT_HEARTBEAT_MS 500
#define DEFAULT_DEAD_AFTER 10
#define MAX_HEARTBEAT_MS 60000
#define MAX_DEAD_AFTER 1000
#define MAX_SILENCE_MS 60000 /* of a suspect: who watches waits about twice as long */

typedef unsigned long long ull;

static uint64_t pages(uint64_t bytes)
{
	return (bytes + CBD_PAGE_SIZE - 1) / CBD_PAGE_SIZE;
}

unsigned cbd_host_pages(const struct cbd_header *h)
{
	return CBD_HOST_REQUESTS + pages((uint64_t)h->backends * CBD_LINE_SIZE);
}

unsigned cbd_backend_pages(const struct cbd_header *h)
{
	return CBD_BACKEND_REPLIES + pages((uint64_t)h->blkdevs * CBD_LINE_SIZE);
}

static uint64_t header_area_length(const struct cbd_header *h)
{
	return CBD_PAGE_SIZE *
	       (1 + pages((uint64_t)h->backends * h->channels * sizeof(struct cbd_area)));
}

/* ------------------------------------------------------------------ check */

static int check_range(const char *path, const char *what, uint64_t value, uint64_t min,
		       uint64_t max)
{
	if (value < min || value > max)
		return cbd_error(EINVAL, "%s: %s: %llu is not in %llu..%llu", path, what,
				 (ull)value, (ull)min, (ull)max);
	return 0;
}

static int check_numbers(const char *path, const struct cbd_header *h)
{
	const struct {
		const char *what;
		uint64_t value, min, max;
	} ranges[] = {
		{ "hosts", h->hosts, 1, CBD_MAX_HOSTS },
		{ "backends", h->backends, 1, CBD_MAX_BACKENDS },
		{ "blkdevs", h->blkdevs, 1, CBD_MAX_BLKDEVS },
		{ "channels", h->channels, 1, CBD_MAX_CHANNELS },
		{ "depth", h->ring_slots, CBD_MIN_DEPTH, CBD_MAX_DEPTH },
		{ "heartbeat", h->heartbeat_ms, 1, MAX_HEARTBEAT_MS },
		{ "dead-after", h->dead_after, 2, MAX_DEAD_AFTER },
		{ "coherence", h->coherence, CBD_COHERENCE_HARDWARE, CBD_COHERENCE_SOFTWARE },
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		int r = check_range(path, ranges[i].what, ranges[i].value, ranges[i].min,
				    ranges[i].max);

		if (r < 0)
			return r;
	}
	if ((uint64_t)h->heartbeat_ms * h->dead_after > MAX_SILENCE_MS)
		return cbd_error(EINVAL,
				 "%s: dead-after: %u heartbeats of %u ms are more than %u ms", path,
				 h->dead_after, h->heartbeat_ms, MAX_SILENCE_MS);
	if (h->ring_slots & (h->ring_slots - 1))
		return cbd_error(EINVAL, "%s: depth: %u is not a power of two", path,
				 h->ring_slots);
	return 0;
}

/* Each area begins where the one before ends, so none overlaps another. */
static int check_areas(const char *path, const struct cbd_header *h)
{
	const struct {
		const char *what;
		const struct cbd_area *area;
		uint64_t length; /* 0: what is left */
	} areas[] = {
		{ "header", &h->header_area, header_area_length(h) },
		{ "hosts", &h->host_area, (uint64_t)h->hosts * cbd_host_pages(h) * CBD_PAGE_SIZE },
		{ "backends", &h->backend_area,
		  (uint64_t)h->backends * cbd_backend_pages(h) * CBD_PAGE_SIZE },
		{ "blkdevs", &h->blkdev_area,
		  (uint64_t)h->blkdevs * CBD_BLKDEV_PAGES * CBD_PAGE_SIZE },
		{ "channels", &h->channel_area, 0 },
		{ "header copy", &h->copy_area, header_area_length(h) },
	};
	uint64_t end = 0;

	for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
		const struct cbd_area *a = areas[i].area;

		if (a->offset != end || a->length > h->size - end ||
		    a->length % CBD_PAGE_SIZE != 0 ||
		    (areas[i].length && a->length != areas[i].length))
			return cbd_error(EINVAL, "%s: header: the area of the %s is impossible",
					 path, areas[i].what);
		end += a->length;
	}
	if (end != h->size)
		return cbd_error(EINVAL, "%s: header: the areas do not fill the transport", path);
	return 0;
}

static uint32_t header_crc(const struct cbd_header *h)
{
	return cbd_crc32c(0, h, offsetof(struct cbd_header, crc));
}

static uint32_t table_crc(const struct cbd_header *h, const struct cbd_area *table)
{
	uint32_t seed = cbd_crc32c(0, h->uuid, sizeof(h->uuid));

	return cbd_crc32c(seed, table, (size_t)h->table_entries * sizeof(*table));
}

int cbd_header_check(const char *path, const struct cbd_header *h, uint64_t size)
{
	int r;

	if (memcmp(h->magic, CBD_MAGIC, sizeof(h->magic)) != 0)
		return cbd_error(ENOMEDIUM, "%s: not a cbd transport (no magic)", path);
	/* the version comes first: a newer one may keep its CRC elsewhere */
	if (h->version != CBD_FORMAT_VERSION)
		return cbd_error(EPROTONOSUPPORT, "%s: format version %u, this program knows %u",
				 path, h->version, CBD_FORMAT_VERSION);
	if (h->crc != header_crc(h))
		return cbd_error(EBADMSG, "%s: the header is damaged (CRC)", path);
	if (h->incompat & ~CBD_INCOMPAT_KNOWN)
		return cbd_error(EPROTONOSUPPORT,
				 "%s: has features (incompat %#llx) that this version does not know",
				 path, (ull)(h->incompat & ~CBD_INCOMPAT_KNOWN));
	if (h->header_size != CBD_PAGE_SIZE || h->page_size != CBD_PAGE_SIZE)
		return cbd_error(EINVAL, "%s: header: impossible page size", path);
	if (h->size > size)
		return cbd_error(EINVAL, "%s: is %llu bytes, its header says %llu", path, (ull)size,
				 (ull)h->size);
	if (h->size < 2 * CBD_PAGE_SIZE || h->size % CBD_PAGE_SIZE)
		return cbd_error(EINVAL, "%s: header: impossible size %llu", path, (ull)h->size);
	r = check_numbers(path, h);
	if (r == 0 && h->table_entries != h->backends * h->channels)
		r = cbd_error(EINVAL, "%s: header: impossible channel table", path);
	if (r == 0 && memchr(h->label, 0, sizeof(h->label)) == NULL)
		r = cbd_error(EINVAL, "%s: header: the label has no end", path);
	return r < 0 ? r : check_areas(path, h);
}

/* Channels are in ascending order inside their area, so none overlaps another. */
int cbd_table_check(const char *path, const struct cbd_header *h, const struct cbd_area *table)
{
	uint64_t at = h->channel_area.offset, end = at + h->channel_area.length;
	uint64_t rings = 2 * pages((uint64_t)h->ring_slots * CBD_LINE_SIZE);
	uint64_t least = (CBD_CHANNEL_RINGS + rings + 1) * CBD_PAGE_SIZE;

	if (h->table_crc != table_crc(h, table))
		return cbd_error(EBADMSG, "%s: the channel table is damaged (CRC)", path);
	for (uint32_t i = 0; i < h->table_entries; i++) {
		if (table[i].offset < at || table[i].offset > end ||
		    table[i].length > end - table[i].offset || table[i].length < least ||
		    table[i].offset % CBD_PAGE_SIZE || table[i].length % CBD_PAGE_SIZE ||
		    table[i].length > CBD_MAX_CHANNEL_SIZE)
			return cbd_error(EINVAL, "%s: header: channel %u is impossible", path, i);
		at = table[i].offset + table[i].length;
	}
	return 0;
}

int cbd_header_read(const char *path, const struct cbd_mem *mem, const char *base, uint64_t size,
		    uint64_t offset, struct cbd_header *h, struct cbd_area **table)
{
	struct cbd_area *copy;
	size_t bytes;
	int r;

	if (cbd_fault_load(mem, h, base + offset, sizeof(*h)) < 0)
		return cbd_error(EIO, "%s: the header is poisoned", path);
	r = cbd_header_check(path, h, size);
	if (r < 0)
		return r;
	if (offset && h->copy_area.offset != offset)
		return cbd_error(EBADMSG, "%s: a header copy that is not at its place", path);
	bytes = (size_t)h->table_entries * sizeof(*copy);
	copy = malloc(bytes);
	if (!copy)
		return cbd_error(ENOMEM, "%s: %m", path);
	r = cbd_fault_load(mem, copy, base + offset + CBD_PAGE_SIZE, bytes);
	r = r < 0 ? cbd_error(EIO, "%s: the channel table is poisoned", path)
		  : cbd_table_check(path, h, copy);
	if (r < 0)
		free(copy);
	else
		*table = copy;
	return r;
}

/* The copy whose area ends at END.  The header that says how long that area is may be
 * lost, so each length that is possible is tried. */
static int copy_before(const char *path, const struct cbd_mem *mem, const char *base, uint64_t size,
		       uint64_t end, struct cbd_header *h, struct cbd_area **table)
{
	uint64_t most = 1 + pages((uint64_t)CBD_MAX_BACKENDS * CBD_MAX_CHANNELS *
				  sizeof(struct cbd_area));

	for (uint64_t p = 2; p <= most && p * CBD_PAGE_SIZE < end; p++) {
		uint64_t offset = end - p * CBD_PAGE_SIZE;

		if (cbd_header_read(path, mem, base, size, offset, h, table) < 0)
			continue;
		if (h->copy_area.offset == offset)
			return 0;
		free(*table);
		*table = NULL;
	}
	return -ENOMEDIUM;
}

int cbd_header_find_copy(const char *path, const struct cbd_mem *mem, const char *base,
			 uint64_t size, uint64_t hint, struct cbd_header *h,
			 struct cbd_area **table)
{
	uint64_t end = size / CBD_PAGE_SIZE * CBD_PAGE_SIZE;

	if (hint < end && hint % CBD_PAGE_SIZE == 0 &&
	    copy_before(path, mem, base, size, hint, h, table) == 0)
		return 0;
	return copy_before(path, mem, base, size, end, h, table);
}

int cbd_header_find(const char *path, const struct cbd_mem *mem, const char *base, uint64_t size,
		    struct cbd_header *h, struct cbd_area **table, bool *damaged)
{
	struct cbd_header copy;
	int r;

	*damaged = false;
	memset(h, 0, sizeof(*h));
	r = cbd_header_read(path, mem, base, size, 0, h, table);
	/* no damage: the version is newer, or memory ran out */
	if (r == 0 || r == -EPROTONOSUPPORT || r == -ENOMEM)
		return r;
	if (cbd_header_find_copy(path, mem, base, size, h->size, &copy, table) == 0) {
		*h = copy;
		*damaged = true;
		return 0;
	}
	/* again, so that the message is that of the header */
	return cbd_header_read(path, mem, base, size, 0, h, table);
}

/* ------------------------------------------------------------------ build */

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
	return value ? value : otherwise;
}

static void header_numbers(struct cbd_header *h, const struct cbd_format_options *o, uint64_t size)
{
	memcpy(h->magic, CBD_MAGIC, sizeof(h->magic));
	h->version = CBD_FORMAT_VERSION;
	h->header_size = h->page_size = CBD_PAGE_SIZE;
	h->size = size / CBD_PAGE_SIZE * CBD_PAGE_SIZE;
	cbd_random(h->uuid, sizeof(h->uuid));
	h->uuid[6] = (h->uuid[6] & 0x0f) | 0x40; /* RFC 9562: version 4 */
	h->uuid[8] = (h->uuid[8] & 0x3f) | 0x80;
	h->coherence = o->coherence;
	h->hosts = or_default(o->hosts, DEFAULT_HOSTS);
	h->backends = or_default(o->backends, DEFAULT_BACKENDS);
	h->blkdevs = or_default(o->blkdevs, DEFAULT_BLKDEVS);
	h->channels = or_default(o->channels, DEFAULT_CHANNELS);
	h->ring_slots = or_default(o->depth, DEFAULT_DEPTH);
	h->heartbeat_ms = or_default(o->heartbeat_ms, DEFAULT_HEARTBEAT_MS);
	h->dead_after = or_default(o->dead_after, DEFAULT_DEAD_AFTER);
	h->flags = o->data_crc ? CBD_HEADER_DATA_CRC : 0;
	h->created = time(NULL);
	h->table_entries = h->backends * h->channels;
}

static void header_areas(struct cbd_header *h)
{
	uint64_t at = 0, copy = header_area_length(h);
	struct {
		struct cbd_area *area;
		uint64_t length;
	} areas[] = {
		{ &h->header_area, copy },
		{ &h->host_area, (uint64_t)h->hosts * cbd_host_pages(h) * CBD_PAGE_SIZE },
		{ &h->backend_area, (uint64_t)h->backends * cbd_backend_pages(h) * CBD_PAGE_SIZE },
		{ &h->blkdev_area, (uint64_t)h->blkdevs * CBD_BLKDEV_PAGES * CBD_PAGE_SIZE },
	};

	for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
		*areas[i].area = (struct cbd_area){ at, areas[i].length };
		at += areas[i].length;
	}
	h->channel_area.offset = at;
	h->channel_area.length = h->size > at + copy ? h->size - at - copy : 0;
	h->copy_area = (struct cbd_area){ h->size - copy, copy };
}

static int pick_channel_size(const char *path, struct cbd_header *h, uint32_t wanted)
{
	uint64_t fits = h->channel_area.length / h->table_entries / CBD_PAGE_SIZE * CBD_PAGE_SIZE;
	uint64_t least = wanted ? wanted : CBD_MIN_CHANNEL_SIZE;
	uint64_t needed = h->channel_area.offset + h->table_entries * least + h->copy_area.length;
	uint64_t size = wanted ? wanted : fits;

	if (size > CBD_MAX_CHANNEL_SIZE && !wanted)
		size = CBD_MAX_CHANNEL_SIZE;
	if (wanted && (wanted < CBD_MIN_CHANNEL_SIZE || wanted > CBD_MAX_CHANNEL_SIZE ||
		       wanted % CBD_PAGE_SIZE))
		return cbd_error(EINVAL, "%s: channel-size: %u is not a multiple of 4096 in %u..%u",
				 path, wanted, CBD_MIN_CHANNEL_SIZE, CBD_MAX_CHANNEL_SIZE);
	if (size < CBD_MIN_CHANNEL_SIZE || size > fits)
		return cbd_error(ENOSPC,
				 "%s: too small: %llu bytes; %u channels of %llu bytes need %llu",
				 path, (ull)h->size, h->table_entries, (ull)least, (ull)needed);
	h->channel_size = size;
	return 0;
}

int cbd_header_build(const char *path, const struct cbd_format_options *o, uint64_t size,
		     struct cbd_header *h, struct cbd_area **table)
{
	int r;

	memset(h, 0, sizeof(*h));
	header_numbers(h, o, size);
	r = check_numbers(path, h);
	if (r < 0)
		return r;
	if (o->label && strlen(o->label) >= sizeof(h->label))
		return cbd_error(EINVAL, "%s: label: longer than %zu bytes", path,
				 sizeof(h->label) - 1);
	if (o->label)
		memcpy(h->label, o->label, strlen(o->label));
	header_areas(h);
	if (h->copy_area.length > h->size)
		h->channel_area.length = 0;
	r = pick_channel_size(path, h, o->channel_size);
	if (r < 0)
		return r;
	*table = calloc(h->table_entries, sizeof(**table));
	if (!*table)
		return cbd_error(ENOMEM, "%s: %m", path);
	for (uint32_t i = 0; i < h->table_entries; i++)
		(*table)[i] = (struct cbd_area){ h->channel_area.offset + i * h->channel_size,
						 h->channel_size };
	h->table_crc = table_crc(h, *table);
	h->crc = header_crc(h);
	return 0;
}

/* ------------------------------------------------------------------ write */

static int magic_store(const struct cbd_mem *mem, char *at, const struct cbd_header *h)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	cbd_line_store(mem, at, h);
	cbd_fault_end(&f);
	return 0;
}

int cbd_header_put(const struct cbd_mem *mem, char *at, const struct cbd_header *h,
		   const struct cbd_area *table)
{
	int r = cbd_fault_wipe(mem, at, 0, CBD_LINE_SIZE);

	if (r == 0)
		r = cbd_fault_store(mem, at + CBD_PAGE_SIZE, table,
				    (size_t)h->table_entries * sizeof(*table));
	if (r == 0)
		r = cbd_fault_store(mem, at + CBD_LINE_SIZE, (const char *)h + CBD_LINE_SIZE,
				    CBD_PAGE_SIZE - CBD_LINE_SIZE);
	/* the line with the magic comes last */
	return r == 0 ? magic_store(mem, at, h) : r;
}
