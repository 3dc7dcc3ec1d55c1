/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz.c - see fuzz.h. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cbd.h>

#include "base/crc.h"
#include "base/error.h"
#include "fuzz.h"
#include "ring/channel.h"
#include "transport/lines.h"
#include "transport/places.h"

#define SIZE (6u << 20)

static char path[sizeof("/proc/self/fd/2147483647")];
static char *memory, *pristine;
static struct cbd_transport *t; /* to know where lines are; of the pristine header */

/* To see what an input does: FUZZ_LOG=1. */
static void print(void *opaque, enum cbd_log_level level, const char *message)
{
	(void)opaque;
	(void)level;
	fprintf(stderr, "%s\n", message);
}

static void make(void)
{
	const struct cbd_format_options o = {
		.size = SIZE,
		.hosts = FUZZ_HOSTS,
		.backends = FUZZ_BACKENDS,
		.blkdevs = FUZZ_BLKDEVS,
		.channels = FUZZ_CHANNELS,
		.channel_size = 1u << 20,
		.depth = FUZZ_SLOTS,
		.heartbeat_ms = 100,
		.dead_after = 10,
		.coherence = CBD_COHERENCE_HARDWARE,
		.data_crc = true,
	};
	/* it goes with this process, also when that aborts */
	int fd = memfd_create("cbd-fuzz", MFD_CLOEXEC);

	if (getenv("FUZZ_LOG"))
		cbd_set_log(print, NULL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (cbd_format(path, &o, sizeof(o)) < 0 || cbd_transport_open(path, 0, &t) < 0) {
		fprintf(stderr, "%s\n", cbd_errmsg());
		abort();
	}
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pristine = malloc(SIZE);
	if (memory == MAP_FAILED || !pristine)
		abort();
	memcpy(pristine, memory, SIZE);
}

static void restore(uint64_t from, uint64_t length)
{
	memcpy(memory + from, pristine + from, length);
}

/* All but the data areas, of which only as much as fuzz_change() reaches. */
const char *fuzz_transport(void)
{
	if (!memory)
		make();
	restore(0, t->header.channel_area.offset);
	for (unsigned i = 0; i < t->header.table_entries; i++)
		restore(t->table[i].offset, 1u << 17);
	restore(t->header.copy_area.offset, t->header.copy_area.length);
	return path;
}

char *fuzz_memory(size_t *size)
{
	*size = SIZE;
	return memory;
}

/* ------------------------------------------------------------------ places */

static void *host_place(unsigned slot, unsigned line)
{
	slot %= FUZZ_HOSTS;
	if (line % 6 < 3)
		return cbd_host_info_at(t, slot, line % 6);
	return line % 6 == 3 ? cbd_host_claim_at(t, slot)
			     : cbd_host_request_at(t, slot, line % FUZZ_BACKENDS);
}

static void *backend_place(unsigned slot, unsigned line)
{
	slot %= FUZZ_BACKENDS;
	if (line % 16 < 8)
		return cbd_backend_info_at(t, slot, line % 8);
	if (line % 16 < 12)
		return cbd_backend_reply_at(t, slot, line % FUZZ_BLKDEVS);
	return cbd_side_claim_at(t, CBD_SIDE_BACKEND, slot, line % FUZZ_HOSTS);
}

static void *blkdev_place(unsigned slot, unsigned line)
{
	slot %= FUZZ_BLKDEVS;
	if (line % 6 < 4)
		return cbd_blkdev_info_at(t, slot, line % 6);
	return cbd_side_claim_at(t, CBD_SIDE_BLKDEV, slot, line % FUZZ_HOSTS);
}

static void *channel_place(unsigned slot, unsigned line)
{
	struct cbd_channel ch;

	cbd_channel_init(&ch, t, slot / FUZZ_CHANNELS % FUZZ_BACKENDS, slot % FUZZ_CHANNELS);
	switch (line % 8) {
	case 0:
	case 1:
		return cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT);
	case 2:
		return cbd_channel_blkdev_line(&ch, CBD_CHANNEL_LEAVE);
	case 3:
		return ch.se + line / 8 % FUZZ_SLOTS;
	case 4:
		return ch.ce + line / 8 % FUZZ_SLOTS;
	case 5:
		return cbd_channel_backend_line(&ch, 1 + line / 8 % 2);
	case 6:
		return cbd_channel_blkdev_line(&ch, 1 + line / 8 % 2);
	default:
		return ch.data + line / 8 * CBD_LINE_SIZE;
	}
}

/* WHERE: two bits of the kind of slot, six of its number; PLACE: the line from bit 6
 * on, the word in it, and what is done. */
static char *place_of(const struct fuzz_record *r)
{
	unsigned slot = r->where >> 2, line = r->place >> 6;

	switch (r->where & 3) {
	case 0:
		return host_place(slot, line);
	case 1:
		return backend_place(slot, line);
	case 2:
		return blkdev_place(slot, line);
	default:
		return channel_place(slot, line);
	}
}

static void change_word(char *at, unsigned how, uint32_t value)
{
	uint32_t word;

	memcpy(&word, at, 4);
	if (how == 0)
		word += value;
	else if (how == 1)
		word = value;
	else
		word ^= 1u << value % 32;
	memcpy(at, &word, 4);
}

/* Seals with the CRC of control lines; of entries the seeds are another matter: see
 * fuzz-pair.c. */
void fuzz_change(const struct fuzz_record *r)
{
	char *line = place_of(r) - t->base + memory;
	unsigned how = r->place >> 4 & 3;

	change_word(line + 4 * (r->place & 15), how == 3 ? 0 : how, r->value);
	if (how != 3 && (r->place & 15) != 15)
		cbd_line_seal(t->seed, (uint64_t)(line - memory), (struct cbd_line *)(void *)line);
}

void fuzz_change_header(const struct fuzz_record *r)
{
	struct cbd_header *first = (struct cbd_header *)(void *)memory, *copy;
	unsigned how = r->place >> 14;

	copy = (struct cbd_header *)(void *)(memory + t->header.copy_area.offset);
	change_word((char *)first + 4 * (r->place % 64), how == 3 ? 0 : how, r->value);
	if (how == 3)
		return;
	first->crc = cbd_crc32c(0, first, 4092);
	if (r->where & 1)
		memcpy(copy, first, sizeof(*copy));
}
