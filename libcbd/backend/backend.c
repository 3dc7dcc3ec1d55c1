/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend.c - the life of a backend slot: claim, publish, beat, drain, close.
 *
 * States: starting (claimed, nothing granted), live, draining (fetches no
 * more), gone (all that was fetched is answered).  A process that dies leaves
 * the state as it was and its claim raised; the next one of this host finds
 * the lock free and takes over with a new incarnation.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/adopt.h"
#include "backend/backend.h"
#include "base/error.h"
#include "base/sized.h"
#include "memory/fault.h"
#include "slots/host.h"
#include "slots/watch.h"
#include "base/step.h"

#define TICK_MS 5
#define TICK_BUSY_MS 1
#define MIN_BLOCK 512u
#define MAX_DATA (512u << 10)
#define MAX_RANGE (32u << 20)
#define LOST_MASK 0xffffull /* of a verifier: counts failed syncs */

static void *info_line(const struct cbd_backend *b, unsigned line)
{
	return cbd_backend_info_at(b->t, b->id, line);
}

static int put_state(struct cbd_backend *b, enum cbd_slot_state state)
{
	b->state.state = state;
	return cbd_line_put(b->t, info_line(b, CBD_BACKEND_STATE), &b->state);
}

/* ------------------------------------------------------------------- open */

static int check_arguments(const struct cbd_transport *t, struct cbd_backend **out)
{
	int r = cbd_transport_writable(t);

	if (r < 0)
		return r;
	return out ? 0 : cbd_error(EINVAL, "%s: no place for the backend given", t->path);
}

/* The incarnation that the slot had last: by its state line, or, when a death left
 * that torn, by the lines beside it.  Blkdevs never follow a lower one. */
static uint32_t last_incarnation(const struct cbd_backend *b, uint32_t known)
{
	struct cbd_beat_line beat;
	struct cbd_grant_line g;

	if (known)
		return known;
	if (cbd_line_get(b->t, info_line(b, CBD_BACKEND_BEAT), &beat) == 0)
		known = cbd_newer(known, beat.incarnation);
	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (cbd_line_get(b->t,
				 cbd_channel_backend_line(&b->channels[c].hc.ch, CBD_CHANNEL_GRANT),
				 &g) == 0)
			known = cbd_newer(known, (uint32_t)(g.epoch >> 32));
	if (!known)
		cbd_random(&known, sizeof(known));
	return known;
}

static int assert_texts(struct cbd_backend *b)
{
	int r = cbd_text_assert(b->t, info_line(b, CBD_BACKEND_NAME), CBD_NAME_LINES, b->name);

	if (r == 0)
		r = cbd_text_assert(b->t, info_line(b, CBD_BACKEND_PATH), CBD_PATH_LINES, b->path);
	return r;
}

/* Begin a new incarnation: what the slot's lines say under a lower one is of an
 * earlier process. */
static int enter_slot(struct cbd_backend *b, const struct cbd_backend_options *o)
{
	struct cbd_state_line old;
	uint32_t incarnation;
	int r = cbd_line_get(b->t, info_line(b, CBD_BACKEND_STATE), &old);

	if (r == -EIO)
		return r;
	if (r == -EBADMSG)
		memset(&old, 0, sizeof(old));
	incarnation = last_incarnation(b, old.incarnation) + 1;
	b->state = (struct cbd_state_line){
		.incarnation = incarnation ? incarnation : 1,
		.host = (uint16_t)b->t->host,
		.pid = (uint32_t)getpid(),
		.handlers = (uint16_t)b->n_handlers,
	};
	memcpy(b->state.owner, b->claim.line.owner, 16);
	memcpy(b->state.boot_id, b->t->identity.boot_id, 16);
	b->beat.incarnation = b->state.incarnation;
	b->found = old;
	b->entered = true;
	r = put_state(b, CBD_SLOT_STARTING);
	cbd_step("enter-state");
	snprintf(b->name, sizeof(b->name), "%s", o->name ? o->name : "");
	snprintf(b->path, sizeof(b->path), "%s", o->path ? o->path : "");
	return r == 0 ? assert_texts(b) : r;
}

/* The answers of the backend before still hold: each echoes the request that it
 * answers. */
static int read_replies(struct cbd_backend *b)
{
	for (unsigned d = 0; d < b->t->header.blkdevs; d++) {
		int r = cbd_line_get(b->t, cbd_backend_reply(b, d), &b->replies[d]);

		if (r == -EIO)
			return r;
		if (r == -EBADMSG)
			memset(&b->replies[d], 0, sizeof(b->replies[d]));
	}
	return 0;
}

static struct cbd_backend *new_backend(struct cbd_transport *t, const struct cbd_backend_options *o)
{
	struct cbd_backend *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->t = t;
	b->id = o->id;
	b->claim.lock.fd = -1;
	b->n_handlers = o->handlers ? o->handlers : 1;
	b->max_blkdevs = o->max_blkdevs ? o->max_blkdevs : 1;
	b->allow_hosts = o->allow_hosts;
	b->fenced = o->fenced_hosts;
	pthread_mutex_init(&b->verifier_lock, NULL);
	b->handlers = calloc(b->n_handlers, sizeof(*b->handlers));
	b->channels = calloc(t->header.channels, sizeof(*b->channels));
	b->att = calloc(t->header.blkdevs, sizeof(*b->att));
	b->replies = calloc(t->header.blkdevs, sizeof(*b->replies));
	b->bells = calloc(t->header.blkdevs, sizeof(*b->bells));
	if (!b->handlers || !b->channels || !b->att || !b->replies || !b->bells) {
		cbd_backend_close(b);
		return NULL;
	}
	for (unsigned c = 0; c < t->header.channels; c++)
		cbd_channel_init(&b->channels[c].hc.ch, t, o->id, c);
	return b;
}

static int init_handlers(struct cbd_backend *b, const struct cbd_backend_options *o)
{
	for (unsigned i = 0; i < b->n_handlers; i++) {
		struct cbd_handler *h = &b->handlers[i];
		int r = cbd_handler_init(h, b, i, b->t->header.channels, o->poll);

		b->handlers_ready++;
		if (r < 0)
			return r;
		h->mem = &b->t->mem;
		h->beaten_ns = &b->beaten_ns;
		/* well before anybody may call this host suspect */
		h->lease_ns = cbd_interval_ns(b->t) * b->t->header.dead_after / 2;
	}
	return 0;
}

static bool is_fenced(const struct cbd_backend *b, unsigned host)
{
	return host < 64 && b->fenced >> host & 1;
}

/* Rule 7.5: of a slot that is free. */
static int check_last_owner(struct cbd_backend *b)
{
	int host = cbd_backend_may_write_back(b->t, b->id);
	char text[100];

	if (host < 0 || is_fenced(b, (unsigned)host))
		return 0;
	return cbd_error(EBUSY,
			 "%s: backend %u: was served by %s, which did not stop in order and may "
			 "still write back old data; start it there, or fence that host",
			 b->t->path, b->id,
			 cbd_host_describe(b->t, (unsigned)host, text, sizeof(text)));
}

/* Does the slot's counter move?  As long as a suspicion takes; this host beats
 * meanwhile. */
static int watch_owner(struct cbd_backend *b)
{
	struct cbd_watch watch = { .sampled_ns = 0 };
	enum cbd_liveness l = CBD_UNDECIDED;
	struct cbd_beat_line beat;
	int r = 0;

	while (r == 0 && l == CBD_UNDECIDED) {
		if (cbd_line_get(b->t, info_line(b, CBD_BACKEND_BEAT), &beat) == 0)
			l = cbd_watch_sample(&watch, beat.counter, cbd_now_ns(),
					     cbd_interval_ns(b->t), b->t->header.dead_after);
		cbd_sleep_us(b->t->header.heartbeat_ms * 250);
		r = cbd_host_beat(b->t);
	}
	return r < 0 ? r : l == CBD_ALIVE;
}

/* Rule 7.5: the word that a host is fenced is not believed while its process beats. */
static int check_fenced(struct cbd_backend *b, unsigned host)
{
	struct cbd_state_line s = { .pid = 0 };
	char text[100];
	int r = watch_owner(b);

	if (r <= 0)
		return r;
	cbd_line_get(b->t, info_line(b, CBD_BACKEND_STATE), &s);
	return cbd_error(EBUSY, "%s: backend %u: is alive: process %u on %s; stop it there",
			 b->t->path, b->id, s.pid,
			 cbd_host_describe(b->t, host, text, sizeof(text)));
}

static int claim_slot(struct cbd_backend *b)
{
	struct cbd_claim_line line;
	int owner = cbd_claim_owner(b->t, CBD_SIDE_BACKEND, b->id, &line), r = 0;

	/* of two that fence the same host the second finds the first as owner */
	if (owner < 0 || !is_fenced(b, (unsigned)owner) || owner == b->t->host)
		owner = -1;
	if (owner >= 0)
		r = check_fenced(b, (unsigned)owner);
	if (r == 0)
		r = cbd_claim_take_from(b->t, CBD_SIDE_BACKEND, b->id, owner, &b->claim);
	if (r == 0)
		r = check_last_owner(b);
	if (r < 0)
		cbd_claim_release(&b->claim);
	return r;
}

/* -------------------------------------------------------------- take over */

/* Which hosts' request lines have changed?  All are invalidated under one fence. */
static void sample_hosts(struct cbd_backend *b, bool *changed)
{
	const struct cbd_mem *m = &b->t->mem;
	struct cbd_line copy;
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return; /* the next beat fails on it */
	for (unsigned h = 0; h < b->t->header.hosts; h++)
		cbd_line_invalidate_start(m, cbd_host_request_at(b->t, h, b->id));
	cbd_invalidate_done(m);
	for (unsigned h = 0; h < b->t->header.hosts; h++)
		changed[h] = !cbd_line_await(m, cbd_host_request_at(b->t, h, b->id), b->asked[h],
					     &copy);
	cbd_fault_end(&f);
}

/*
 * Obey the request of this host that names this incarnation, while the process that
 * asks holds the take-over lock: it lives, and has not given up.
 */
static void look_at_hosts(struct cbd_backend *b)
{
	struct cbd_host_request_line q;
	bool changed[CBD_MAX_HOSTS] = { false };
	unsigned h = (unsigned)b->t->host;

	sample_hosts(b, changed);
	if (!changed[h] || cbd_line_get(b->t, cbd_host_request_at(b->t, h, b->id), &q) < 0)
		return;
	b->asked[h] = q.sequence;
	if (q.incarnation != b->state.incarnation || b->draining ||
	    q.request != CBD_HOST_REQUEST_TAKEOVER || !cbd_takeover_is_asked(b->t, b->id))
		return;
	cbd_log(CBD_LOG_INFO, "backend %u: hands over to another process", b->id);
	b->handover = true;
	cbd_backend_drain(b);
}

/* ------------------------------------------------------------------- open */

int cbd_backend_open(struct cbd_transport *t, const struct cbd_backend_options *options,
		     size_t size, struct cbd_backend **out)
{
	struct cbd_backend_options o;
	struct cbd_backend *b;
	int r = cbd_sized_get(&o, sizeof(o), options, size, "cbd_backend_options");

	if (r == 0)
		r = cbd_reserved_check(o.reserved, sizeof(o.reserved), "cbd_backend_options");
	if (r == 0)
		r = check_arguments(t, out);
	if (r == 0)
		r = cbd_options_check_numbers(t, &o);
	if (r == 0)
		r = cbd_host_join(t, -1);
	if (r == 0)
		r = cbd_options_check(t, &o);
	if (r == 0)
		r = cbd_claim_sweep(t, true);
	if (r < 0)
		return r;
	b = new_backend(t, &o);
	if (!b)
		return cbd_error(ENOMEM, "backend: %m");
	r = claim_slot(b);
	if (r == 0)
		r = enter_slot(b, &o);
	if (r == 0)
		r = read_replies(b);
	if (r == 0)
		r = init_handlers(b, &o);
	if (r < 0) {
		cbd_backend_close(b);
		return r;
	}
	*out = b;
	return 0;
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
	if (cbd_line_get(b->t, info_line(b, CBD_BACKEND_IDENTITY), &old) < 0)
		memset(&old, 0, sizeof(old)); /* damaged */
	b->identity.verifier = choose_verifier(b, g, &old);
}

/* Everything is synced, and whoever serves the disk next need not know how it was
 * left. */
static void put_settled(struct cbd_backend *b)
{
	pthread_mutex_lock(&b->verifier_lock);
	b->identity.flags |= CBD_IDENTITY_SETTLED;
	cbd_line_put(b->t, info_line(b, CBD_BACKEND_IDENTITY), &b->identity);
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

	if (cbd_line_get(b->t, info_line(b, CBD_BACKEND_GEOMETRY), &old) < 0)
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
	b->features = crc ? CBD_FEATURE_DATA_CRC : 0;
	fill_geometry(b, &g);
	fill_identity(b, &g);
	b->access.allow_hosts = b->allow_hosts;
	b->access.max_blkdevs = b->max_blkdevs;
	b->access.features = b->features;
	r = cbd_line_put(b->t, info_line(b, CBD_BACKEND_GEOMETRY), &b->geometry);
	if (r == 0)
		r = cbd_line_put(b->t, info_line(b, CBD_BACKEND_IDENTITY), &b->identity);
	if (r == 0)
		r = cbd_line_put(b->t, info_line(b, CBD_BACKEND_ACCESS), &b->access);
	if (r < 0)
		return r;
	cbd_shared_set(&b->beaten_ns, cbd_boottime_ns());
	cbd_step("publish-described");
	cbd_backend_adopt(b);
	cbd_step("publish-adopted");
	r = put_state(b, CBD_SLOT_LIVE);
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
	r = cbd_line_put(b->t, info_line(b, CBD_BACKEND_GEOMETRY), &b->geometry);
	cbd_step("resize");
	return r < 0 ? r : put_generation(b);
}

/* ------------------------------------------------------------------- beat */

static int assert_grants(struct cbd_backend *b)
{
	int r = 0;

	pthread_mutex_lock(&b->verifier_lock);
	for (unsigned c = 0; c < b->t->header.channels && r == 0; c++) {
		struct cbd_bchannel *bc = &b->channels[c];

		r = cbd_line_assert(b->t, cbd_channel_backend_line(&bc->hc.ch, CBD_CHANNEL_GRANT),
				    &bc->grant);
	}
	if (r == 0)
		r = cbd_line_assert(b->t, info_line(b, CBD_BACKEND_IDENTITY), &b->identity);
	pthread_mutex_unlock(&b->verifier_lock);
	return r;
}

static int assert_lines(struct cbd_backend *b)
{
	int r = cbd_line_assert(b->t, info_line(b, CBD_BACKEND_STATE), &b->state);

	if (r == 0)
		r = assert_texts(b);
	/* until this backend has published, these lines are of the one before, and
	 * say how that left the slot */
	if (r < 0 || !b->published)
		return r;
	r = cbd_line_assert(b->t, info_line(b, CBD_BACKEND_GEOMETRY), &b->geometry);
	if (r == 0)
		r = cbd_line_assert(b->t, info_line(b, CBD_BACKEND_ACCESS), &b->access);
	for (unsigned d = 0; d < b->t->header.blkdevs && r == 0; d++)
		r = cbd_line_assert(b->t, cbd_backend_reply(b, d), &b->replies[d]);
	return r == 0 ? assert_grants(b) : r;
}

static unsigned attached(const struct cbd_backend *b)
{
	unsigned n = 0;

	for (unsigned d = 0; d < b->t->header.blkdevs; d++)
		n += b->att[d].state != CBD_ATT_NONE;
	return n;
}

static int do_beat(struct cbd_backend *b)
{
	int r = cbd_claim_check(&b->claim);

	b->beat.counter++;
	b->state.count = (uint16_t)attached(b);
	if (r == 0)
		r = cbd_line_put(b->t, info_line(b, CBD_BACKEND_BEAT), &b->beat);
	if (r == 0)
		r = assert_lines(b);
	if (r == 0)
		r = cbd_host_beat(b->t);
	if (r < 0)
		return r;
	cbd_shared_set(&b->beaten_ns, cbd_boottime_ns());
	cbd_claim_sweep(b->t, false); /* not while another process sweeps: next beat */
	return 0;
}

static void finish_drain(struct cbd_backend *b)
{
	if (!b->draining || b->drained || attached(b) != 0)
		return;
	cbd_step("drained");
	b->drained = true;
}

int cbd_backend_tick(struct cbd_backend *b)
{
	uint64_t now = cbd_now_ns();
	bool beat = now - b->tick_ns >= cbd_interval_ns(b->t), busy = false;
	int r;

	if (beat) {
		b->tick_ns = now;
		r = do_beat(b);
		if (r < 0)
			return r;
	}
	look_at_hosts(b);
	if (b->published)
		busy = cbd_backend_admit(b, beat);
	finish_drain(b);
	return busy || b->draining ? TICK_BUSY_MS : TICK_MS;
}

/* ------------------------------------------------------------------ drain */

void cbd_backend_drain(struct cbd_backend *b)
{
	if (b->draining)
		return;
	b->draining = true;
	put_state(b, CBD_SLOT_DRAINING);
	cbd_step("drain-begun");
	for (unsigned c = 0; c < b->t->header.channels; c++)
		if (cbd_backend_serves(&b->channels[c]))
			cbd_backend_stop_channel(&b->channels[c]);
	if (!b->published)
		b->drained = true;
}

bool cbd_backend_handed_over(const struct cbd_backend *b)
{
	return b->handover && b->drained;
}

bool cbd_backend_drained(const struct cbd_backend *b)
{
	return b->drained;
}

/* Rule 8: the verifier is changed and written back before the CE of the sync that
 * failed. */
void cbd_backend_data_lost(struct cbd_backend *b)
{
	pthread_mutex_lock(&b->verifier_lock);
	b->identity.verifier = (b->identity.verifier & ~LOST_MASK) |
			       ((b->identity.verifier + 1) & LOST_MASK);
	cbd_line_put(b->t, info_line(b, CBD_BACKEND_IDENTITY), &b->identity);
	for (unsigned c = 0; c < b->t->header.channels; c++) {
		struct cbd_bchannel *bc = &b->channels[c];

		bc->grant.verifier = b->identity.verifier;
		if (bc->grant.state == CBD_GRANT_GRANTED || bc->grant.state == CBD_GRANT_LEAVING)
			cbd_backend_put_grant(b, bc);
	}
	pthread_mutex_unlock(&b->verifier_lock);
	cbd_log(CBD_LOG_ERROR, "backend %u: a sync has failed; written data may be lost", b->id);
}

/* ------------------------------------------------------------------ close */

/* This backend never served: put back how the last one left the slot, but not its
 * incarnation. */
static void put_back(struct cbd_backend *b)
{
	uint32_t incarnation = b->state.incarnation;

	b->state = b->found;
	b->state.incarnation = incarnation;
	cbd_line_put(b->t, info_line(b, CBD_BACKEND_STATE), &b->state);
}

static void leave_slot(struct cbd_backend *b)
{
	/* the disk may have taken long to settle, without a tick */
	if (cbd_claim_check(&b->claim) < 0) {
		cbd_lock_release(&b->claim.lock); /* the lines have another owner now */
		return;
	}
	/* published and not drained: as after a crash, blkdevs wait */
	if (!b->published && b->entered) {
		put_back(b);
	} else if (b->drained && b->handover) {
		put_state(b, CBD_SLOT_HANDOVER);
	} else if (b->drained) {
		put_settled(b);
		cbd_step("backend-settled");
		put_state(b, CBD_SLOT_GONE);
	}
	cbd_step("backend-left");
	cbd_claim_release(&b->claim);
}

void cbd_backend_release(struct cbd_backend *b)
{
	leave_slot(b);
	b->successor = (struct cbd_successor){ .since_ns = cbd_now_ns() };
}

void cbd_backend_close(struct cbd_backend *b)
{
	if (!b)
		return;
	if (b->claim.lock.fd >= 0)
		leave_slot(b);
	for (unsigned i = 0; i < b->handlers_ready; i++)
		cbd_handler_free(&b->handlers[i]);
	for (unsigned c = 0; b->channels && c < b->t->header.channels; c++)
		cbd_hchannel_free(&b->channels[c].hc);
	pthread_mutex_destroy(&b->verifier_lock);
	free(b->handlers);
	free(b->channels);
	free(b->att);
	free(b->replies);
	free(b->bells);
	free(b);
}

struct cbd_handler *cbd_backend_handler(struct cbd_backend *b, unsigned i)
{
	return i < b->n_handlers ? &b->handlers[i] : NULL;
}
