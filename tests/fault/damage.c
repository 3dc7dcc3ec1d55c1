/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * damage.c - see damage.h.
 *
 * Lines of slots in use: backend 0, the blkdev and the host that list as live.
 * The places come from libcbd's own inline functions.
 */
#include <config.h>

#include <string.h>

#include "damage.h"
#include "memory.h"
#include "ring/channel.h"
#include "slots/claim.h"

struct target {
	const char *name;
	void *(*place)(struct random *r);
	unsigned weight;
};

/* ----------------------------------------------------------------- places */

/* The blkdev that is attached; only one is at a time. */
static unsigned blkdev_slot(void)
{
	for (unsigned d = 0; d < memory.header.blkdevs; d++) {
		struct cbd_state_line *s = cbd_blkdev_line(&memory, d, CBD_BLKDEV_INFO,
							   CBD_BLKDEV_STATE);

		if (s->state == CBD_SLOT_LIVE)
			return d;
	}
	return 0;
}

static struct cbd_channel channel(struct random *r)
{
	struct cbd_channel ch;
	unsigned used[CBD_MAX_CHANNELS], n = 0;

	for (unsigned c = 0; c < memory.header.channels; c++) {
		struct cbd_grant_line *g;

		cbd_channel_init(&ch, &memory, 0, c);
		g = cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT);
		if (g->state == CBD_GRANT_GRANTED)
			used[n++] = c;
	}
	cbd_channel_init(&ch, &memory, 0, n ? used[below(r, n)] : 0);
	return ch;
}

static void *se(struct random *r)
{
	struct cbd_se *ring = channel(r).se;

	return ring + below(r, memory.header.ring_slots);
}

static void *ce(struct random *r)
{
	struct cbd_ce *ring = channel(r).ce;

	return ring + below(r, memory.header.ring_slots);
}

static void *grant(struct random *r)
{
	struct cbd_channel ch = channel(r);

	return cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT);
}

static void *leave(struct random *r)
{
	struct cbd_channel ch = channel(r);

	return cbd_channel_blkdev_line(&ch, CBD_CHANNEL_LEAVE);
}

static void *bell(struct random *r)
{
	struct cbd_channel ch = channel(r);

	switch (below(r, 4)) {
	case 0:
		return cbd_channel_backend_line(&ch, CBD_CHANNEL_CE_BELL);
	case 1:
		return cbd_channel_backend_line(&ch, CBD_CHANNEL_HANDLER_SLEEPS);
	case 2:
		return cbd_channel_blkdev_line(&ch, CBD_CHANNEL_SE_BELL);
	default:
		return cbd_channel_blkdev_line(&ch, CBD_CHANNEL_BLKDEV_SLEEPS);
	}
}

/* The hosts of the processes that run: nobody restores lines of another. */
static unsigned host_of(const struct cbd_state_line *s)
{
	return s->host < memory.header.hosts ? s->host : 0;
}

static unsigned backend_host(void)
{
	return host_of(cbd_backend_info_at(&memory, 0, CBD_BACKEND_STATE));
}

static unsigned blkdev_host(void)
{
	return host_of(cbd_blkdev_info_at(&memory, blkdev_slot(), CBD_BLKDEV_STATE));
}

static unsigned host_slot(struct random *r)
{
	return one_in(r, 2) ? backend_host() : blkdev_host();
}

#define BLKDEV_PLACE(name, page, line)                                      \
	static void *name(struct random *r)                                 \
	{                                                                   \
		(void)r;                                                    \
		return cbd_blkdev_line(&memory, blkdev_slot(), page, line); \
	}

BLKDEV_PLACE(blkdev_claim, CBD_BLKDEV_CLAIMS, blkdev_host())
BLKDEV_PLACE(blkdev_state, CBD_BLKDEV_INFO, CBD_BLKDEV_STATE)
BLKDEV_PLACE(blkdev_beat, CBD_BLKDEV_INFO, CBD_BLKDEV_BEAT)
BLKDEV_PLACE(request, CBD_BLKDEV_INFO, CBD_BLKDEV_REQUEST)
BLKDEV_PLACE(doorbell, CBD_BLKDEV_INFO, CBD_BLKDEV_DOORBELL)

#define BACKEND_PLACE(name, page, line)                          \
	static void *name(struct random *r)                      \
	{                                                        \
		(void)r;                                         \
		return cbd_backend_line(&memory, 0, page, line); \
	}

BACKEND_PLACE(backend_claim, CBD_BACKEND_CLAIMS, backend_host())
BACKEND_PLACE(backend_state, CBD_BACKEND_INFO, CBD_BACKEND_STATE)
BACKEND_PLACE(backend_beat, CBD_BACKEND_INFO, CBD_BACKEND_BEAT)
BACKEND_PLACE(geometry, CBD_BACKEND_INFO, CBD_BACKEND_GEOMETRY)
BACKEND_PLACE(identity, CBD_BACKEND_INFO, CBD_BACKEND_IDENTITY)
BACKEND_PLACE(access_line, CBD_BACKEND_INFO, CBD_BACKEND_ACCESS)
BACKEND_PLACE(backend_name, CBD_BACKEND_INFO, CBD_BACKEND_NAME)
BACKEND_PLACE(backend_path, CBD_BACKEND_INFO, CBD_BACKEND_PATH)
BACKEND_PLACE(reply, CBD_BACKEND_REPLIES, blkdev_slot())

#define HOST_PLACE(name, page, line)                                     \
	static void *name(struct random *r)                              \
	{                                                                \
		return cbd_host_line(&memory, host_slot(r), page, line); \
	}

HOST_PLACE(host_claim, CBD_HOST_CLAIM, 0)
HOST_PLACE(host_state, CBD_HOST_INFO, CBD_HOST_STATE)
HOST_PLACE(host_beat, CBD_HOST_INFO, CBD_HOST_BEAT)
HOST_PLACE(host_name, CBD_HOST_INFO, CBD_HOST_NAME)

static const struct target targets[] = {
	{ "se", se, 6 },
	{ "ce", ce, 6 },
	{ "grant", grant, 4 },
	{ "leave", leave, 1 },
	{ "bell", bell, 1 },
	{ "blkdev-claim", blkdev_claim, 2 },
	{ "blkdev-state", blkdev_state, 1 },
	{ "blkdev-beat", blkdev_beat, 1 },
	{ "request", request, 2 },
	{ "doorbell", doorbell, 1 },
	{ "backend-claim", backend_claim, 2 },
	{ "backend-state", backend_state, 1 },
	{ "backend-beat", backend_beat, 1 },
	{ "geometry", geometry, 1 },
	{ "identity", identity, 1 },
	{ "access", access_line, 1 },
	{ "name", backend_name, 1 },
	{ "path", backend_path, 1 },
	{ "reply", reply, 2 },
	{ "host-claim", host_claim, 1 },
	{ "host-state", host_state, 1 },
	{ "host-beat", host_beat, 1 },
	{ "host-name", host_name, 1 },
};

#define TARGETS (sizeof(targets) / sizeof(targets[0]))

/* ----------------------------------------------------------------- damage */

bool damage_knows(const char *name)
{
	for (unsigned i = 0; i < TARGETS; i++)
		if (strcmp(targets[i].name, name) == 0)
			return true;
	return false;
}

static const struct target *choose(struct random *r)
{
	unsigned sum = 0, n;

	for (unsigned i = 0; i < TARGETS; i++) {
		if (options.line && strcmp(targets[i].name, options.line) == 0)
			return &targets[i];
		sum += targets[i].weight;
	}
	n = below(r, sum);
	for (unsigned i = 0;; i++) {
		if (n < targets[i].weight)
			return &targets[i];
		n -= targets[i].weight;
	}
}

/* One byte, or all of them: noise, or zeroes as of a cleared page. */
static void write_over(struct random *r, unsigned char *line)
{
	unsigned char all[CBD_LINE_SIZE] = { 0 };

	switch (below(r, 4)) {
	case 0:
		for (unsigned i = 0; i < sizeof(all); i++)
			all[i] = (unsigned char)next(r);
		memcpy(line, all, sizeof(all));
		break;
	case 1:
		memcpy(line, all, sizeof(all));
		break;
	default:
		line[below(r, CBD_LINE_SIZE)] ^= (unsigned char)(1 + below(r, 255));
	}
}

const char *damage_line(struct random *r)
{
	const struct target *target = choose(r);

	write_over(r, target->place(r));
	return target->name;
}
