/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * offer.c - what a backend offers: its disk's geometry and identity, and the verifier
 * that tells clients of lost writes (rules 7.8 and 8); publish and resize.
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "backend/adopt.h"
#include "backend/backend.h"
#include "base/error.h"
#include "base/features.h"
#include "base/sized.h"
#include "base/step.h"

#define MIN_BLOCK 512u
#define MAX_DATA (512u << 10)
#define MAX_RANGE (32u << 20)
#define LOST_MASK 0xffffull /* of a verifier: counts failed syncs */

void *cbd_backend_info_line(const struct cbd_backend *b, unsigned line)
{
	return cbd_backend_info_at(b->t, b->id, line);
}

int cbd_backend_put_state(struct cbd_backend *b, enum cbd_slot_state state)
{
	b->state.state = state;
	return cbd_line_put(b->t, cbd_backend_info_line(b, CBD_BACKEND_STATE), &b->state);
}

/* ---------------------------------------------------------------- publish */

/*
 * Rule 8.  What is published stays while nothing can have been lost since: the last
 * backend has synced everything and stopped in order, or had the same from its engine
 * (then it may have counted failed syncs that no blkdev has seen).  Else it is
 * one that was never published for this disk before.
 */
static uint64_t choose_verifier(const struct cbd_backend *b, const struct cbd_disk_geometry *g,
				const struct cbd_identity_line *old)
{
	uint64_t hash;

	if (old->disk_identity == b->identity.disk_identity &&
	    ((old->flags & CBD_IDENTITY_SETTLED) || old->source == g->verifier))
		return old->verifier;
	/* the slot was free, had another disk by a mistake (rule 7.7), or is damaged */
	if (old->disk_identity != b->identity.disk_identity)
		return g->verifier;
	hash = cbd_digest(g->verifier, &b->state.incarnation, sizeof(b->state.incarnation));
	return (hash & ~LOST_MASK) | (g->verifier & LOST_MASK);
}

static void fill_identity(struct cbd_backend *b, const struct cbd_disk_geometry *g)
{
	struct cbd_identity_line old;

	memcpy(b->identity.disk_id, g->disk_id, sizeof(g->disk_id));
	b->identity.disk_identity = cbd_disk_digest(g);
	b->identity.source = g->verifier;
	b->identity.flags = 0;
	if (cbd_line_get(b->t, cbd_backend_info_line(b, CBD_BACKEND_IDENTITY), &old) < 0)
		memset(&old, 0, sizeof(old)); /* damaged */
	b->identity.verifier = choose_verifier(b, g, &old);
}

/* Everything is synced, and whoever serves the disk next need not know how it was
 * left. */
void cbd_backend_put_settled(struct cbd_backend *b)
{
	pthread_mutex_lock(&b->verifier_lock);
	b->identity.flags |= CBD_IDENTITY_SETTLED;
	cbd_line_put(b->t, cbd_backend_info_line(b, CBD_BACKEND_IDENTITY), &b->identity);
	pthread_mutex_unlock(&b->verifier_lock);
}

/* A quarter of the smallest data area, so that several large requests fit. */
static uint32_t max_data(const struct cbd_backend *b)
{
	uint64_t least = UINT64_MAX;

	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (b->channels[c].hc.ch.data_size < least)
			least = b->channels[c].hc.ch.data_size;
	least = least / 4 / CBD_UNIT_SIZE * CBD_UNIT_SIZE;
	if (least < CBD_UNIT_SIZE)
		least = CBD_UNIT_SIZE;
	return least < MAX_DATA ? (uint32_t)least : MAX_DATA;
}

/* Rule 7.8: one that no blkdev has seen with another size. */
static uint32_t next_generation(const struct cbd_backend *b)
{
	struct cbd_geometry_line old;

	if (cbd_line_get(b->t, cbd_backend_info_line(b, CBD_BACKEND_GEOMETRY), &old) < 0)
		cbd_random(&old.generation, sizeof(old.generation));
	return old.generation + 1 ? old.generation + 1 : 1;
}

static void fill_geometry(struct cbd_backend *b, const struct cbd_disk_geometry *g)
{
	b->geometry = (struct cbd_geometry_line){
		.size = g->size,
		.generation = next_generation(b),
		.logical_block = g->logical_block,
		.physical_block = g->physical_block,
		.optimal_block = g->optimal_block,
		.max_data = max_data(b),
		.max_range = MAX_RANGE,
		.flags = (g->rotational ? CBD_GEOMETRY_ROTATIONAL : 0) |
			 (g->read_only ? CBD_GEOMETRY_READ_ONLY : 0) |
			 (g->write_through ? CBD_GEOMETRY_WRITE_THROUGH : 0) |
			 (g->discard ? CBD_GEOMETRY_DISCARD : 0) |
			 (g->fast_zero ? CBD_GEOMETRY_FAST_ZERO : 0),
	};
}

static bool is_power_of_two(uint32_t n)
{
	return n && (n & (n - 1)) == 0;
}

static int check_block(const char *which, uint32_t size)
{
	if (size < MIN_BLOCK || !is_power_of_two(size))
		return cbd_error(EINVAL, "%s block: %u is not a power of two from %u on", which,
				 size, MIN_BLOCK);
	return 0;
}

/* Zero is the default: blocks of 512 bytes, or as large as the smaller kind. */
static void fill_defaults(struct cbd_disk_geometry *g)
{
	if (!g->logical_block)
		g->logical_block = MIN_BLOCK;
	if (!g->physical_block)
		g->physical_block = g->logical_block;
	if (!g->optimal_block)
		g->optimal_block = g->physical_block;
}

static int check_geometry(const struct cbd_disk_geometry *g)
{
	int r = check_block("logical", g->logical_block);

	if (r == 0)
		r = check_block("physical", g->physical_block);
	if (r == 0)
		r = check_block("optimal", g->optimal_block);
	if (r < 0)
		return r;
	if (g->size == 0 || g->size > INT64_MAX || g->size % g->logical_block)
		return cbd_error(EINVAL, "disk size %llu: impossible", (unsigned long long)g->size);
	if (g->verifier & LOST_MASK)
		return cbd_error(EINVAL, "verifier %#llx: its low 16 bits are not 0",
				 (unsigned long long)g->verifier);
	return cbd_reserved_check(g->reserved, sizeof(g->reserved), "cbd_disk_geometry");
}

static int check_publish(const struct cbd_backend *b)
{
	if (!b)
		return cbd_error(EINVAL, "no backend given");
	if (b->published)
		return cbd_error(EINVAL, "%s: backend %u: is published already", b->t->path, b->id);
	if (b->draining)
		return cbd_error(EINVAL, "%s: backend %u: drains already", b->t->path, b->id);
	return 0;
}

int cbd_backend_publish(struct cbd_backend *b, const struct cbd_disk_geometry *geometry,
			size_t size)
{
	struct cbd_disk_geometry g;
	int r = cbd_sized_get(&g, sizeof(g), geometry, size, "cbd_disk_geometry");
	bool crc;

	if (r == 0)
		r = check_publish(b);
	if (r < 0)
		return r;
	fill_defaults(&g);
	r = check_geometry(&g);
	if (r < 0)
		return r;
	crc = b->t->mem.software || (b->t->header.flags & CBD_HEADER_DATA_CRC);
	b->features = (crc ? CBD_FEATURE_DATA_CRC : 0) |
		      (g.block_status ? CBD_FEATURE_BLOCK_STATUS & cbd_features_known() : 0);
	fill_geometry(b, &g);
	fill_identity(b, &g);
	b->access.allow_hosts = b->allow_hosts;
	b->access.max_blkdevs = b->max_blkdevs;
	b->access.features = b->features;
	r = cbd_line_put(b->t, cbd_backend_info_line(b, CBD_BACKEND_GEOMETRY), &b->geometry);
	if (r == 0)
		r = cbd_line_put(b->t, cbd_backend_info_line(b, CBD_BACKEND_IDENTITY),
				 &b->identity);
	if (r == 0)
		r = cbd_line_put(b->t, cbd_backend_info_line(b, CBD_BACKEND_ACCESS), &b->access);
	if (r < 0)
		return r;
	cbd_shared_set(&b->beaten_ns, cbd_boottime_ns());
	cbd_step("publish-described");
	cbd_backend_adopt(b);
	cbd_step("publish-adopted");
	r = cbd_backend_put_state(b, CBD_SLOT_LIVE);
	b->published = r == 0;
	return r;
}

/* The grants name the new generation: blkdevs look at them. */
static int put_generation(struct cbd_backend *b)
{
	int r = 0;

	pthread_mutex_lock(&b->verifier_lock);
	for (unsigned c = 0; c < b->t->header.channels && r == 0; c++) {
		struct cbd_bchannel *bc = &b->channels[c];

		if (!cbd_backend_serves(bc))
			continue;
		bc->grant.geometry_generation = b->geometry.generation;
		r = cbd_backend_put_grant(b, bc);
	}
	pthread_mutex_unlock(&b->verifier_lock);
	return r;
}

int cbd_backend_resize(struct cbd_backend *b, uint64_t size)
{
	int r;

	if (size < b->geometry.size || size > INT64_MAX)
		return cbd_error(EINVAL, "backend %u: disk size %llu: only growth is followed",
				 b->id, (unsigned long long)size);
	/* before a blkdev can know of it */
	for (unsigned c = 0; c < b->t->header.channels; c++)
		cbd_shared_set(&b->channels[c].hc.disk_size, size);
	b->geometry.size = size;
	b->geometry.generation = next_generation(b);
	r = cbd_line_put(b->t, cbd_backend_info_line(b, CBD_BACKEND_GEOMETRY), &b->geometry);
	cbd_step("resize");
	return r < 0 ? r : put_generation(b);
}

/* ------------------------------------------------------------------- loss */

/* Rule 8: the verifier is changed and written back before the CE of the sync that
 * failed. */
void cbd_backend_data_lost(struct cbd_backend *b)
{
	pthread_mutex_lock(&b->verifier_lock);
	cbd_count_add(&b->losses, 1);
	b->identity.verifier = (b->identity.verifier & ~LOST_MASK) |
			       ((b->identity.verifier + 1) & LOST_MASK);
	cbd_line_put(b->t, cbd_backend_info_line(b, CBD_BACKEND_IDENTITY), &b->identity);
	for (unsigned c = 0; c < b->t->header.channels; c++) {
		struct cbd_bchannel *bc = &b->channels[c];

		bc->grant.verifier = b->identity.verifier;
		if (bc->grant.state == CBD_GRANT_GRANTED || bc->grant.state == CBD_GRANT_LEAVING)
			cbd_backend_put_grant(b, bc);
	}
	pthread_mutex_unlock(&b->verifier_lock);
	cbd_log(CBD_LOG_ERROR, "backend %u: a sync has failed; written data may be lost", b->id);
}
