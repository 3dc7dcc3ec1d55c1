/* SPDX-License-Identifier: BSD-3-Clause */
/* channel.c - see channel.h. */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "ring/channel.h"
#include "base/crc.h"
#include "memory/fault.h"
#include "memory/wait.h"

/* How long a line may fail its CRC before it counts as damaged.  Another host sees a
 * store after milliseconds at worst; but the writer may lose its CPU between two words
 * of the line for longer. */
#define BAD_LINE_NS 200000000ull

enum direction { DIRECTION_SE = 1, DIRECTION_CE = 2 };

static size_t ring_bytes(uint32_t slots)
{
	return ((size_t)slots * CBD_LINE_SIZE + CBD_PAGE_SIZE - 1) / CBD_PAGE_SIZE * CBD_PAGE_SIZE;
}

void cbd_channel_init(struct cbd_channel *ch, const struct cbd_transport *t, unsigned backend,
		      unsigned id)
{
	const struct cbd_area *area = cbd_channel_area(t, backend, id);
	size_t ring = ring_bytes(t->header.ring_slots);
	size_t control = CBD_CHANNEL_RINGS * CBD_PAGE_SIZE;

	memset(ch, 0, sizeof(*ch));
	ch->t = t;
	ch->backend = backend;
	ch->id = id;
	ch->slots = t->header.ring_slots;
	ch->base = t->base + area->offset;
	ch->length = area->length;
	ch->se = (struct cbd_se *)(ch->base + control);
	ch->ce = (struct cbd_ce *)(ch->base + control + ring);
	ch->data = ch->base + control + 2 * ring;
	ch->data_size = area->length - control - 2 * ring;
}

/* Rule 3: the CRC of a line of another format, channel, direction or epoch is wrong. */
static uint32_t epoch_seed(const struct cbd_channel *ch, enum direction direction)
{
	const struct {
		uint32_t backend, channel, direction, zero;
		uint64_t epoch;
	} who = { ch->backend, ch->id, direction, 0, ch->epoch };

	return cbd_crc32c(ch->t->seed, &who, sizeof(who));
}

void cbd_channel_enter(struct cbd_channel *ch, uint64_t epoch)
{
	ch->epoch = epoch;
	ch->se_seed = epoch_seed(ch, DIRECTION_SE);
	ch->ce_seed = epoch_seed(ch, DIRECTION_CE);
	ch->bad_since_ns = 0;
}

/* ---------------------------------------------------------------- entries */

static uint32_t entry_crc(uint32_t seed, const void *entry)
{
	return cbd_crc32c(seed, entry, offsetof(struct cbd_line, crc));
}

/* In the first round of an epoch an older one may have left the same position in the
 * line.  Its first word alone would not tell then that the entry is whole. */
static void start_inside(const struct cbd_channel *ch, void *line, const void *entry)
{
	uint64_t position;

	memcpy(&position, entry, sizeof(position));
	if (position < ch->slots)
		cbd_line_forget(&ch->t->mem, line);
	cbd_line_store_start(&ch->t->mem, line, entry);
}

static int start(struct cbd_channel *ch, void *line, void *entry, uint32_t seed)
{
	struct cbd_fault f;

	((struct cbd_line *)entry)->crc = entry_crc(seed, entry);
	cbd_mem_store_done(&ch->t->mem);
	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	start_inside(ch, line, entry);
	cbd_fault_end(&f);
	return 0;
}

static int send(struct cbd_channel *ch, void *line, void *entry, uint32_t seed)
{
	int r = start(ch, line, entry, seed);

	cbd_mem_store_done(&ch->t->mem);
	return r;
}

/* Position and epoch are the first two words of an SE and of a CE. */
static int accept(struct cbd_channel *ch, uint64_t position, uint32_t seed, const void *copy)
{
	uint64_t words[2];

	memcpy(words, copy, sizeof(words));
	if (words[0] != position || words[1] != ch->epoch)
		return 0; /* not yet, or left over from an older epoch */
	if (((const struct cbd_line *)copy)->crc == entry_crc(seed, copy)) {
		ch->bad_since_ns = 0;
		return 1;
	}
	if (!ch->bad_since_ns)
		ch->bad_since_ns = cbd_now_ns();
	return 0;
}

static int receive(struct cbd_channel *ch, const void *line, uint64_t position, uint32_t seed,
		   void *copy)
{
	struct cbd_fault f;
	bool there;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	there = cbd_line_await(&ch->t->mem, line, position, copy);
	cbd_fault_end(&f);
	return there ? accept(ch, position, seed, copy) : 0;
}

int cbd_channel_accept_se(struct cbd_channel *ch, uint64_t position, const struct cbd_se *se)
{
	return accept(ch, position, ch->se_seed, se);
}

int cbd_channel_accept_ce(struct cbd_channel *ch, uint64_t count, const struct cbd_ce *ce)
{
	return accept(ch, count, ch->ce_seed, ce);
}

int cbd_channel_send_se(struct cbd_channel *ch, struct cbd_se *se)
{
	se->epoch = ch->epoch;
	return send(ch, &ch->se[se->position & (ch->slots - 1)], se, ch->se_seed);
}

void cbd_channel_start_se_inside(struct cbd_channel *ch, struct cbd_se *se)
{
	se->epoch = ch->epoch;
	se->crc = entry_crc(ch->se_seed, se);
	start_inside(ch, &ch->se[se->position & (ch->slots - 1)], se);
}

int cbd_channel_send_ce(struct cbd_channel *ch, struct cbd_ce *ce)
{
	ce->epoch = ch->epoch;
	return send(ch, &ch->ce[ce->count & (ch->slots - 1)], ce, ch->ce_seed);
}

int cbd_channel_start_ce(struct cbd_channel *ch, struct cbd_ce *ce)
{
	ce->epoch = ch->epoch;
	return start(ch, &ch->ce[ce->count & (ch->slots - 1)], ce, ch->ce_seed);
}

int cbd_channel_receive_se(struct cbd_channel *ch, uint64_t position, struct cbd_se *se)
{
	return receive(ch, &ch->se[position & (ch->slots - 1)], position, ch->se_seed, se);
}

int cbd_channel_receive_ce(struct cbd_channel *ch, uint64_t count, struct cbd_ce *ce)
{
	return receive(ch, &ch->ce[count & (ch->slots - 1)], count, ch->ce_seed, ce);
}

int cbd_channel_assert_se(struct cbd_channel *ch, struct cbd_se *se)
{
	void *line = &ch->se[se->position & (ch->slots - 1)];
	struct cbd_line now;
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	cbd_line_load(&ch->t->mem, line, &now);
	cbd_fault_end(&f);
	return memcmp(&now, se, sizeof(now)) == 0 ? 0 : cbd_channel_send_se(ch, se);
}

bool cbd_channel_has_ce(const struct cbd_channel *ch, uint64_t count)
{
	struct cbd_ce ce;
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return false;
	cbd_line_load(&ch->t->mem, &ch->ce[count & (ch->slots - 1)], &ce);
	cbd_fault_end(&f);
	return ce.count == count && ce.epoch == ch->epoch && ce.crc == entry_crc(ch->ce_seed, &ce);
}

bool cbd_channel_lost_ce(const struct cbd_channel *ch, uint64_t count)
{
	if (cbd_channel_has_ce(ch, count))
		return false;
	for (uint64_t c = count + 1; c < count + ch->slots; c++)
		if (cbd_channel_has_ce(ch, c))
			return !cbd_channel_has_ce(ch, count); /* it may have come meanwhile */
	return false;
}

bool cbd_channel_bad(const struct cbd_channel *ch, uint64_t now_ns)
{
	return ch->bad_since_ns && now_ns - ch->bad_since_ns > BAD_LINE_NS;
}

uint32_t cbd_channel_payload_crc(uint32_t seed, const void *data, size_t len)
{
	return cbd_crc32c(seed, data, len);
}

bool cbd_channel_sleeps(const uint32_t *sleeps)
{
	struct cbd_fault f;
	bool yes;

	if (!CBD_FAULT_TRY(&f))
		return false;
	yes = cbd_word_load(sleeps) != 0;
	cbd_fault_end(&f);
	return yes;
}

void cbd_channel_wake_inside(uint32_t *bell, const uint32_t *sleeps)
{
	cbd_store_load_fence();
	if (cbd_word_load(sleeps)) {
		cbd_word_store(bell, cbd_word_load(bell) + 1);
		cbd_futex_wake(bell);
	}
}

void cbd_channel_wake(uint32_t *bell, const uint32_t *sleeps)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return; /* the next access to the channel reports it */
	cbd_channel_wake_inside(bell, sleeps);
	cbd_fault_end(&f);
}

void cbd_channel_write_back_bells(const struct cbd_channel *ch, const void *first_line)
{
	cbd_fault_write_back(&ch->t->mem, first_line, 2 * CBD_LINE_SIZE);
}

/* ------------------------------------------------------------------ sweep */

int cbd_channel_user(const struct cbd_transport *t, unsigned backend, unsigned id)
{
	struct cbd_channel ch;
	struct cbd_grant_line g;

	cbd_channel_init(&ch, t, backend, id);
	if (cbd_line_get(t, cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT), &g) < 0)
		return -2;
	return g.state == CBD_GRANT_FREE ? -1 : g.blkdev;
}

void cbd_channel_write_back(const struct cbd_transport *t, unsigned backend, unsigned id)
{
	const struct cbd_area *area = cbd_channel_area(t, backend, id);

	cbd_fault_write_back(&t->mem, t->base + area->offset, area->length);
}
