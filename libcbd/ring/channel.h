/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * channel.h - one channel: where its lines lie, how entries are sealed, sent and
 * received.  Queues and handlers both use it.  What is in an entry, beside its
 * position, epoch and CRC, is theirs to know; which operations change the disk, and which
 * bring a payload, is told here (cbd_op_writes, cbd_op_brings), for both.
 *
 * "Rule N" is rule N of docs/protocol.md, in all files of this folder; those of
 * docs/coherence.md are cited as "coherence rule N".
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
	uint64_t epoch;
	uint32_t se_seed, ce_seed; /* of the CRCs of this epoch's entries */
	uint64_t bad_since_ns;	   /* since when the awaited line fails its CRC; 0: it does not */
};

/* Channel ID of a backend's pool; both are inside the tables of the header. */
void cbd_channel_init(struct cbd_channel *ch, const struct cbd_transport *t, unsigned backend,
		      unsigned id);

/* From here on entries are of this epoch: lines of others are not received. */
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
 * Entries.  Send: seal the entry, store it in the line of se->position (ce->count), write
 * it back.  Receive: 1 and a private copy when the entry POSITION of this epoch is there
 * and its CRC is right; 0 when it is not there yet, or its line is damaged (see
 * cbd_channel_bad()); -EIO when the memory is poisoned.  The caller of receive has
 * invalidated the line before, with others under one fence: see below.
 */
int cbd_channel_send_se(struct cbd_channel *ch, struct cbd_se *se);
int cbd_channel_send_ce(struct cbd_channel *ch, struct cbd_ce *ce);

/*
 * Send a CE, behind all that this thread has stored before, but do not wait until it is
 * written back: cbd_mem_store_done() does, or the next CE.  So the next request is executed
 * meanwhile.  That no CE is there before an earlier one, cbd_channel_lost_ce() relies on.
 */
int cbd_channel_start_ce(struct cbd_channel *ch, struct cbd_ce *ce);

int cbd_channel_receive_se(struct cbd_channel *ch, uint64_t position, struct cbd_se *se);
int cbd_channel_receive_ce(struct cbd_channel *ch, uint64_t count, struct cbd_ce *ce);

/* Receive, when the caller has copied the line already. */
int cbd_channel_accept_se(struct cbd_channel *ch, uint64_t position, const struct cbd_se *se);
int cbd_channel_accept_ce(struct cbd_channel *ch, uint64_t count, const struct cbd_ce *ce);

/* Invalidate the line of a position, or of several before one cbd_invalidate_done().
 * The caller has a recovery point (fault.h). */
static inline void cbd_channel_invalidate_se(const struct cbd_channel *ch, uint64_t position)
{
	cbd_line_invalidate_start(&ch->t->mem, &ch->se[position & (ch->slots - 1)]);
}

static inline void cbd_channel_invalidate_ce(const struct cbd_channel *ch, uint64_t count)
{
	cbd_line_invalidate_start(&ch->t->mem, &ch->ce[count & (ch->slots - 1)]);
}

/*
 * Inside a recovery point of the caller, for many entries under one: send an SE, between
 * a cbd_mem_store_done() before the first of several and one after the last; copy the
 * line of CE COUNT when its first word says that it is there (then accept it).
 */
void cbd_channel_start_se_inside(struct cbd_channel *ch, struct cbd_se *se);

static inline bool cbd_channel_await_ce_inside(const struct cbd_channel *ch, uint64_t count,
					       struct cbd_ce *ce)
{
	return cbd_line_await(&ch->t->mem, &ch->ce[count & (ch->slots - 1)], count, ce);
}

static inline bool cbd_op_writes(unsigned op)
{
	return op == CBD_OP_WRITE || op == CBD_OP_DISCARD || op == CBD_OP_WRITE_ZEROES;
}

/* Its answer has a payload. */
static inline bool cbd_op_brings(unsigned op)
{
	return op == CBD_OP_READ || op == CBD_OP_BLOCK_STATUS;
}

/*
 * Wake the peer, a process of the same boot (rule 11), after sending an entry.  BELL is
 * the first word of a line that the caller writes and the peer sleeps on, SLEEPS the flag
 * that the peer sets before it sleeps.  A fence orders the entry before the reading of the
 * flag: without it the peer may see no entry and sleep, while the caller sees no flag.
 */
void cbd_channel_wake(uint32_t *bell, const uint32_t *sleeps);

/* The same inside a recovery point of the caller. */
void cbd_channel_wake_inside(uint32_t *bell, const uint32_t *sleeps);

/*
 * Write back the bell and the flag that one side owns, from FIRST_LINE (its bell) on.
 * They are stored without a write-back, because only processes of one boot look at them;
 * before the channel changes hands each side does it, or an eviction would bring them
 * back later, over what another host has stored there (coherence rule 8).
 */
void cbd_channel_write_back_bells(const struct cbd_channel *ch, const void *first_line);

/* For the blkdev, of an SE that has had no answer for long: store it again when its
 * line is not what was sent.  Only while no later SE has taken its line. */
int cbd_channel_assert_se(struct cbd_channel *ch, struct cbd_se *se);

/* Does the line of CE COUNT hold it? */
bool cbd_channel_has_ce(const struct cbd_channel *ch, uint64_t count);

/* Is a later CE there though CE COUNT is not?  The handler stores CEs in the order of
 * their numbers, so CE COUNT was lost. */
bool cbd_channel_lost_ce(const struct cbd_channel *ch, uint64_t count);

/* The flag alone, without the fence: false may be out of date. */
bool cbd_channel_sleeps(const uint32_t *sleeps);

/* Has the awaited line, of the right position and epoch, failed its CRC for longer than a
 * store needs to be seen (rule 6)? */
bool cbd_channel_bad(const struct cbd_channel *ch, uint64_t now_ns);

/* CRC of payload in private memory; SEED is se_seed or ce_seed. */
uint32_t cbd_channel_payload_crc(uint32_t seed, const void *data, size_t len);

/* The blkdev slot that the channel's grant line names; -1: none, -2: the line is
 * damaged. */
int cbd_channel_user(const struct cbd_transport *t, unsigned backend, unsigned id);

/* Write all of a channel back, for a process of this host that died. */
void cbd_channel_write_back(const struct cbd_transport *t, unsigned backend, unsigned id);

#endif
