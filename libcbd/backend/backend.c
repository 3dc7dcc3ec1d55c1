/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend.c - the life of a backend slot: claim, beat, drain, close.
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

#include "backend/backend.h"
#include "base/error.h"
#include "base/sized.h"
#include "memory/fault.h"
#include "slots/host.h"
#include "slots/watch.h"
#include "base/step.h"

#define TICK_MS 5
#define TICK_BUSY_MS 1
#define SWEEP_SLICES 8 /* of an interval: one is what a tick may sweep */

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
	if (cbd_line_get(b->t, cbd_backend_info_line(b, CBD_BACKEND_BEAT), &beat) == 0)
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
	int r = cbd_text_assert(b->t, cbd_backend_info_line(b, CBD_BACKEND_NAME), CBD_NAME_LINES,
				b->name);

	if (r == 0)
		r = cbd_text_assert(b->t, cbd_backend_info_line(b, CBD_BACKEND_PATH),
				    CBD_PATH_LINES, b->path);
	return r;
}

/* Begin a new incarnation: what the slot's lines say under a lower one is of an
 * earlier process. */
static int enter_slot(struct cbd_backend *b, const struct cbd_backend_options *o)
{
	struct cbd_state_line old;
	uint32_t incarnation;
	int r = cbd_line_get(b->t, cbd_backend_info_line(b, CBD_BACKEND_STATE), &old);

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
	r = cbd_backend_put_state(b, CBD_SLOT_STARTING);
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
	b->counting_ns = cbd_now_ns();
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
	cbd_host_describe(b->t, (unsigned)host, text, sizeof(text));
	/* a container, whose page cache is this one, or a copy of this machine, which has its
	 * own: the boot id is that of both */
	if (cbd_host_is_local(b->t, (unsigned)host))
		return cbd_error(EBUSY,
				 "%s: backend %u: was served by %s, another identity of this boot, "
				 "which did not stop in order; start it under that identity, or, "
				 "if that was a container of this machine, with --fenced",
				 b->t->path, b->id, text);
	return cbd_error(EBUSY,
			 "%s: backend %u: was served by %s, which did not stop in order and may "
			 "still write back old data; start it there, or fence that host",
			 b->t->path, b->id, text);
}

/* Does the slot's counter move?  As long as a suspicion takes; this host beats
 * meanwhile.  A damaged line does not move: an owner would store it again. */
static int watch_owner(struct cbd_backend *b)
{
	uint64_t end = cbd_now_ns() +
		       cbd_watch_most_ns(cbd_interval_ns(b->t), b->t->header.dead_after);
	struct cbd_watch watch = { .sampled_ns = 0 };
	enum cbd_liveness l = CBD_UNDECIDED;
	struct cbd_beat_line beat;
	int r = 0;

	while (r == 0 && l == CBD_UNDECIDED && cbd_now_ns() < end) {
		if (cbd_line_get(b->t, cbd_backend_info_line(b, CBD_BACKEND_BEAT), &beat) < 0)
			beat.counter = watch.counter;
		l = cbd_watch_sample(&watch, beat.counter, cbd_now_ns(), cbd_interval_ns(b->t),
				     b->t->header.dead_after);
		cbd_sleep_us(b->t->header.heartbeat_ms * 250);
		r = cbd_host_beat(b->t);
	}
	if (r == 0 && l == CBD_UNDECIDED)
		return cbd_error(EBUSY,
				 "%s: backend %u: this machine is too busy to see whether its "
				 "owner beats; try again",
				 b->t->path, b->id);
	return r < 0 ? r : l == CBD_ALIVE;
}

/* Rule 7.5: the word that a host is fenced is not believed while its process beats. */
static int check_fenced(struct cbd_backend *b, unsigned host)
{
	char text[100];
	int r = watch_owner(b);

	if (r <= 0)
		return r;
	return cbd_error(EBUSY, "%s: backend %u: is alive: a process on %s; stop it there",
			 b->t->path, b->id, cbd_host_describe(b->t, host, text, sizeof(text)));
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
		r = cbd_line_assert(b->t, cbd_backend_info_line(b, CBD_BACKEND_IDENTITY),
				    &b->identity);
	pthread_mutex_unlock(&b->verifier_lock);
	return r;
}

static int assert_lines(struct cbd_backend *b)
{
	int r = cbd_line_assert(b->t, cbd_backend_info_line(b, CBD_BACKEND_STATE), &b->state);

	if (r == 0)
		r = assert_texts(b);
	/* until this backend has published, these lines are of the one before, and
	 * say how that left the slot */
	if (r < 0 || !b->published)
		return r;
	r = cbd_line_assert(b->t, cbd_backend_info_line(b, CBD_BACKEND_GEOMETRY), &b->geometry);
	if (r == 0)
		r = cbd_line_assert(b->t, cbd_backend_info_line(b, CBD_BACKEND_ACCESS), &b->access);
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
		r = cbd_line_put(b->t, cbd_backend_info_line(b, CBD_BACKEND_BEAT), &b->beat);
	if (r == 0)
		r = assert_lines(b);
	if (r == 0)
		r = cbd_host_beat(b->t);
	if (r < 0)
		return r;
	cbd_shared_set(&b->beaten_ns, cbd_boottime_ns());
	b->sweeping = true;
	if (b->published && b->tick_ns - b->counted_ns >= CBD_COUNTERS_EVERY_NS) {
		b->counted_ns = b->tick_ns;
		cbd_backend_put_counters(b);
	}
	return 0;
}

/* What dead processes of this host have left: a slice of it in each tick, so that the
 * next beat, and the handlers' lease, do not wait for all of it.  Not while another
 * process sweeps: then at the next beat. */
static void sweep_slice(struct cbd_backend *b)
{
	uint64_t until = cbd_now_ns() + cbd_interval_ns(b->t) / SWEEP_SLICES;

	if (b->sweeping)
		cbd_claim_sweep_some(b->t, until, &b->sweeping);
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
	sweep_slice(b);
	look_at_hosts(b);
	if (b->published)
		busy = cbd_backend_admit(b, beat);
	finish_drain(b);
	return busy || b->draining || b->sweeping ? TICK_BUSY_MS : TICK_MS;
}

/* ------------------------------------------------------------------ drain */

void cbd_backend_drain(struct cbd_backend *b)
{
	if (b->draining)
		return;
	b->draining = true;
	cbd_backend_put_state(b, CBD_SLOT_DRAINING);
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

/* ------------------------------------------------------------------ close */

/* This backend never served: put back how the last one left the slot, but not its
 * incarnation. */
static void put_back(struct cbd_backend *b)
{
	uint32_t incarnation = b->state.incarnation;

	b->state = b->found;
	b->state.incarnation = incarnation;
	cbd_line_put(b->t, cbd_backend_info_line(b, CBD_BACKEND_STATE), &b->state);
}

static void leave_slot(struct cbd_backend *b)
{
	/* the disk may have taken long to settle, without a tick */
	if (cbd_claim_check(&b->claim) < 0) {
		cbd_lock_release(&b->claim.lock); /* the lines have another owner now */
		return;
	}
	if (b->published)
		cbd_backend_put_counters(b);
	/* published and not drained: as after a crash, blkdevs wait */
	if (!b->published && b->entered) {
		put_back(b);
	} else if (b->drained && b->handover) {
		cbd_backend_put_state(b, CBD_SLOT_HANDOVER);
	} else if (b->drained) {
		cbd_backend_put_settled(b);
		cbd_step("backend-settled");
		cbd_backend_put_state(b, CBD_SLOT_GONE);
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
