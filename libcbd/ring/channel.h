/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * channel.h - one channel: where its lines lie, how entries are sealed, sent
 * and received.  Knows nothing of requests; both sides use it.
 */
#ifndef CBD_CHANNEL_H
#define CBD_CHANNEL_H

#include "transport/lines.h"
#include "transport/places.h"

struct cbd_channel {
	const struct cbd_transport *t;
	unsigned backend, id;
	char *base;
	struct cbd_se *se; /* rings, N slots each */
	struct cbd_ce *ce;
	char *data;
	uint64_t length; /* of the whole channel */
	uint64_t data_size;
	uint32_t slots; /* N, a power of two */
	/* of the epoch */
	uint64_t epoch;
	uint32_t se_seed, ce_seed;
	uint64_t bad_since_ns; /* a line of this epoch that does not check */
};

/* Where channel ID of a backend's pool lies; the header was checked. */
void cbd_channel_init(struct cbd_channel *ch, const struct cbd_transport *t, unsigned backend,
		      unsigned id);

/* Enter an epoch: the seeds of its lines. */
void cbd_channel_enter(struct cbd_channel *ch, uint64_t epoch);

static inline void *cbd_channel_backend_line(const struct cbd_channel *ch, unsigned line)
{
	return ch->base + CBD_CHANNEL_BACKEND * CBD_PAGE_SIZE + line * CBD_LINE_SIZE;
}

static inline void *cbd_channel_blkdev_line(const struct cbd_channel *ch, unsigned line)
{
	return ch->base + CBD_CHANNEL_BLKDEV * CBD_PAGE_SIZE + line * CBD_LINE_SIZE;
}

/*
 * Entries.  Send: seal and store the line of se->position (ce->count), push.
 * Receive: 1 and a private copy when the entry POSITION of this epoch is there
 * and its CRC is good, 0 when it is not there yet (also when its line is
 * damaged: see cbd_channel_bad()), -EIO when the memory is poisoned.
 */
int cbd_channel_send_se(struct cbd_channel *ch, struct cbd_se *se);
int cbd_channel_send_ce(struct cbd_channel *ch, struct cbd_ce *ce);
int cbd_channel_receive_se(struct cbd_channel *ch, uint64_t position, struct cbd_se *se);
int cbd_channel_receive_ce(struct cbd_channel *ch, uint64_t count, struct cbd_ce *ce);

/* The line was dropped already, by the caller, with others under one fence. */
int cbd_channel_receive_invalidated_se(struct cbd_channel *ch, uint64_t position,
				       struct cbd_se *se);
int cbd_channel_receive_invalidated_ce(struct cbd_channel *ch, uint64_t count, struct cbd_ce *ce);

/* The same of a copy that the caller has made of the line. */
int cbd_channel_accept_se(struct cbd_channel *ch, uint64_t position, const struct cbd_se *se);
int cbd_channel_accept_ce(struct cbd_channel *ch, uint64_t count, const struct cbd_ce *ce);

/* Drop the line of a position now; several before one cbd_invalidate_done().  Inside
 * a recovery point. */
static inline void cbd_channel_invalidate_se(const struct cbd_channel *ch, uint64_t position)
{
	cbd_line_invalidate_start(&ch->t->mem, &ch->se[position & (ch->slots - 1)]);
}

static inline void cbd_channel_invalidate_ce(const struct cbd_channel *ch, uint64_t count)
{
	cbd_line_invalidate_start(&ch->t->mem, &ch->ce[count & (ch->slots - 1)]);
}

/*
 * Waking, between processes of one boot (rule 11).  The waker has published an
 * entry; MINE is a bell line that it owns, SLEEPS the sleeper's flag line.  The
 * fence keeps the look at the flag behind the entry: without it a sleeper that
 * has just checked its ring is missed.
 */
void cbd_channel_wake(uint32_t *mine, const uint32_t *sleeps);

/* The blkdev's look at an SE that is not answered: stored again when it is not
 * what was sent.  Only while no later SE has its slot. */
int cbd_channel_assert_se(struct cbd_channel *ch, struct cbd_se *se);

/* Is CE COUNT there, for whoever reads them? */
bool cbd_channel_has_ce(const struct cbd_channel *ch, uint64_t count);

/* Is a later CE there, though CE COUNT is not? */
bool cbd_channel_lost_ce(const struct cbd_channel *ch, uint64_t count);

/* The flag alone, without the fence: 0 may be out of date. */
bool cbd_channel_sleeps(const uint32_t *sleeps);

/* A line that claims this epoch has been bad for longer than a store may need
 * to be seen (rule 6). */
bool cbd_channel_bad(const struct cbd_channel *ch, uint64_t now_ns);

/* CRC of payload in private memory, in the direction of an SE or a CE. */
uint32_t cbd_channel_payload_crc(uint32_t seed, const void *data, size_t len);

/* The blkdev slot that channel's grant names; -1: none, -2: it is damaged. */
int cbd_channel_user(const struct cbd_transport *t, unsigned backend, unsigned id);

/* Push everything of a channel, for a process of this host that died. */
void cbd_channel_write_back(const struct cbd_transport *t, unsigned backend, unsigned id);

#endif
