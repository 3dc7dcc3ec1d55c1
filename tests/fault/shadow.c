/* SPDX-License-Identifier: BSD-3-Clause */
/* shadow.c - see shadow.h. */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shadow.h"

#define SECTOR 512u
#define WORDS (SECTOR / sizeof(uint64_t))
#define MAGIC 0x6662642d746c7561ull
#define CANDIDATES 12
#define JOURNAL 65536u
#define NEVER UINT64_MAX

struct candidate {
	uint64_t generation; /* 0: zeroes */
	uint64_t request;    /* generation of the request: zeroes have one too */
	uint64_t sent, settled;
	bool durable, lost;
};

struct block {
	struct candidate candidates[CANDIDATES];
	unsigned n;
	unsigned in_flight;
	uint64_t changed; /* when a change was sent or settled last */
};

/* For the report of a failure. */
struct entry {
	uint64_t generation, sent, settled;
	enum change change;
	struct range range;
	unsigned round;
	bool lost;
};

static struct block *blocks;
static struct entry journal[JOURNAL];
static uint64_t moment, generations;

void shadow_init(uint64_t most)
{
	blocks = calloc(most, sizeof(*blocks));
	if (!blocks)
		die("shadow: %m");
	for (uint64_t b = 0; b < most; b++)
		blocks[b].n = 1; /* zeroes, since ever */
}

uint64_t shadow_moment(void)
{
	return ++moment;
}

bool shadow_has_room(struct range range)
{
	for (uint64_t i = 0; i < range.count; i++)
		if (blocks[range.first + i].n == CANDIDATES)
			return false;
	return true;
}

/* ---------------------------------------------------------------- journal */

static struct entry *journal_entry(uint64_t generation)
{
	return &journal[generation % JOURNAL];
}

static void journal_settle(uint64_t generation, bool lost)
{
	struct entry *e = journal_entry(generation);

	if (e->generation != generation)
		return;
	e->settled = moment;
	e->lost = lost;
}

static void journal_show(uint64_t block)
{
	static const char *const names[] = { "write", "zero", "trim" };
	uint64_t first = generations > JOURNAL ? generations - JOURNAL : 0;

	for (uint64_t g = first + 1; g <= generations; g++) {
		const struct entry *e = journal_entry(g);

		if (block < e->range.first || block >= e->range.first + e->range.count)
			continue;
		fprintf(stderr,
			"  request %" PRIu64 ": round %u, %s of blocks %" PRIu64 "+%" PRIu64
			", sent at %" PRIu64 ", ",
			e->generation, e->round, names[e->change], e->range.first, e->range.count,
			e->sent);
		if (e->settled == NEVER)
			fprintf(stderr, "in flight\n");
		else
			fprintf(stderr, "%s at %" PRIu64 "\n", e->lost ? "lost" : "acknowledged",
				e->settled);
	}
}

/* ---------------------------------------------------------------- changes */

uint64_t shadow_begin(enum change change, struct range range)
{
	uint64_t g = ++generations;

	moment++;
	*journal_entry(g) = (struct entry){ .generation = g,
					    .sent = moment,
					    .settled = NEVER,
					    .change = change,
					    .range = range,
					    .round = current_round };
	for (uint64_t i = 0; i < range.count; i++) {
		struct block *b = &blocks[range.first + i];

		b->candidates[b->n++] = (struct candidate){
			.generation = change == CHANGE_WRITE ? g : 0,
			.request = g,
			.sent = moment,
			.settled = NEVER,
		};
		b->in_flight++;
		b->changed = moment;
	}
	return g;
}

static struct candidate *find(struct block *b, uint64_t request)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->candidates[i].request == request)
			return &b->candidates[i];
	die("shadow: request %" PRIu64 " is unknown", request);
}

/* What was settled before a newer request was sent is overruled by it. */
static void overrule(struct block *b, uint64_t sent)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < b->n; i++)
		if (b->candidates[i].settled == NEVER || b->candidates[i].settled >= sent)
			b->candidates[kept++] = b->candidates[i];
	b->n = kept;
}

void shadow_acknowledge(enum change change, struct range range, uint64_t generation, bool fua)
{
	moment++;
	journal_settle(generation, false);
	for (uint64_t i = 0; i < range.count; i++) {
		struct block *b = &blocks[range.first + i];
		struct candidate *c = find(b, generation);

		c->settled = moment;
		c->durable = fua;
		b->in_flight--;
		b->changed = moment;
		/* trim is advice: what was there may stay */
		if (change != CHANGE_TRIM)
			overrule(b, c->sent);
	}
}

void shadow_lost(struct range range, uint64_t generation)
{
	moment++;
	journal_settle(generation, true);
	for (uint64_t i = 0; i < range.count; i++) {
		struct block *b = &blocks[range.first + i];

		struct candidate *c = find(b, generation);

		c->settled = moment;
		c->lost = true;
		b->in_flight--;
		b->changed = moment;
	}
}

void shadow_flushed(uint64_t before)
{
	for (uint64_t k = 0; k < options.blocks; k++) {
		struct block *b = &blocks[k];

		for (unsigned i = 0; i < b->n; i++)
			if (b->candidates[i].settled < before)
				b->candidates[i].durable = true;
	}
}

void shadow_count(uint64_t *durable, uint64_t *open)
{
	*durable = *open = 0;
	for (uint64_t k = 0; k < options.blocks; k++) {
		*open += blocks[k].n > 1;
		*durable += blocks[k].n == 1 && blocks[k].candidates[0].durable;
	}
}

/* --------------------------------------------------------------- contents */

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static void fill_sector(uint64_t block, unsigned sector, uint64_t generation, uint64_t *words)
{
	uint64_t x = mix(options.seed ^ generation << 20 ^ block << 3 ^ sector);

	words[0] = MAGIC;
	words[1] = block << 8 | sector;
	words[2] = generation;
	words[3] = options.seed;
	for (unsigned i = 4; i < WORDS; i++)
		words[i] = x += 0x9e3779b97f4a7c15;
}

static void fill_block(uint64_t block, uint64_t generation, unsigned char *buf)
{
	uint64_t words[WORDS];

	for (unsigned s = 0; s < BLOCK / SECTOR; s++) {
		fill_sector(block, s, generation, words);
		memcpy(buf + s * SECTOR, words, SECTOR);
	}
}

void shadow_fill(struct range range, uint64_t generation, unsigned char *buf)
{
	for (uint64_t i = 0; i < range.count; i++)
		fill_block(range.first + i, generation, buf + i * BLOCK);
}

/* ---------------------------------------------------------------- observe */

static void show_sector(uint64_t block, unsigned s, const unsigned char *sector)
{
	uint64_t words[WORDS], good[WORDS];

	memcpy(words, sector, SECTOR);
	fill_sector(block, s, words[2], good);
	if (memcmp(words, good, SECTOR) == 0)
		fprintf(stderr, "  sector %u: of request %" PRIu64 "\n", s, words[2]);
	else if (words[0] == 0 && memcmp(sector, sector + 8, SECTOR - 8) == 0)
		fprintf(stderr, "  sector %u: zeroes\n", s);
	else
		fprintf(stderr,
			"  sector %u: neither; begins %016" PRIx64 " %016" PRIx64 " %016" PRIx64
			"\n",
			s, words[0], words[1], words[2]);
}

static void show_block(uint64_t block, const unsigned char *buf)
{
	const struct block *b = &blocks[block];

	for (unsigned s = 0; s < BLOCK / SECTOR; s++)
		show_sector(block, s, buf + s * SECTOR);
	for (unsigned i = 0; i < b->n; i++)
		fprintf(stderr, "  may be: %s of request %" PRIu64 "%s\n",
			b->candidates[i].generation ? "data" : "zeroes", b->candidates[i].request,
			b->candidates[i].durable ? ", durable" : "");
	journal_show(block);
}

/* Generation of a whole, untorn block; NEVER: it is torn, or strange. */
static uint64_t recognize(uint64_t block, const unsigned char *buf)
{
	unsigned char good[BLOCK];
	uint64_t generation;

	memcpy(&generation, buf + 2 * sizeof(uint64_t), sizeof(generation));
	if (generation == 0)
		memset(good, 0, BLOCK);
	else
		fill_block(block, generation, good);
	return memcmp(buf, good, BLOCK) == 0 ? generation : NEVER;
}

/* Keep the newest candidate with this content. */
static bool settle_on(struct block *b, uint64_t generation)
{
	for (unsigned i = b->n; i-- > 0;)
		if (b->candidates[i].generation == generation) {
			b->candidates[0] = b->candidates[i];
			b->n = 1;
			return true;
		}
	return false;
}

/*
 * The engine mmap copies, so a process that is killed may leave a block torn; with
 * its client gone too nobody writes it again.  Then each word has to be one that
 * was written there.
 */
static bool torn_by_kill(uint64_t block, const unsigned char *buf)
{
	static unsigned char may_be[CANDIDATES][BLOCK];
	const struct block *b = &blocks[block];
	bool lost = false;

	for (unsigned i = 0; i < b->n; i++) {
		lost |= b->candidates[i].lost;
		memset(may_be[i], 0, BLOCK);
		if (b->candidates[i].generation)
			fill_block(block, b->candidates[i].generation, may_be[i]);
	}
	for (unsigned at = 0; at < BLOCK; at += sizeof(uint64_t)) {
		unsigned i = 0;

		while (i < b->n && memcmp(buf + at, may_be[i] + at, sizeof(uint64_t)) != 0)
			i++;
		if (i == b->n)
			return false;
	}
	return lost && strcmp(options.engine, "mmap") == 0;
}

static void observe(uint64_t block, const unsigned char *buf, const char *where)
{
	uint64_t generation = recognize(block, buf);

	if (generation != NEVER && settle_on(&blocks[block], generation))
		return;
	if (generation == NEVER && torn_by_kill(block, buf))
		return;
	fprintf(stderr, "block %" PRIu64 ", %s:\n", block, where);
	show_block(block, buf);
	if (generation == NEVER)
		die("%s: block %" PRIu64 " is torn, or was never written so", where, block);
	die("%s: block %" PRIu64 " has what it cannot have", where, block);
}

uint64_t shadow_observe(struct range range, const unsigned char *buf, uint64_t since,
			const char *where)
{
	uint64_t checked = 0;

	for (uint64_t i = 0; i < range.count; i++) {
		const struct block *b = &blocks[range.first + i];

		if (b->in_flight || b->changed > since)
			continue;
		observe(range.first + i, buf + i * BLOCK, where);
		checked++;
	}
	return checked;
}
