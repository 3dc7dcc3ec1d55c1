/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blkdev.c - the life of a blkdev: claim a slot, enter it with a new incarnation,
 * attach, close.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "blkdev/blkdev.h"
#include "base/error.h"
#include "base/features.h"
#include "base/sized.h"
#include "slots/host.h"
#include "base/step.h"

#define MAX_REQUESTS 8192u /* of a queue, unless the user says otherwise: 2 MiB */

/* ------------------------------------------------------------------- open */

/* The first slot that no other process holds.  Of one that is locked cbd_claim_take() would
 * look for the process, among all its descriptors and under the join lock, to name it. */
static int claim_any(struct cbd_blkdev *b)
{
	for (unsigned d = 0; d < b->t->header.blkdevs; d++) {
		int r;

		if (cbd_lock_held(b->t->fd, CBD_LOCK_BLKDEV(d)))
			continue;
		r = cbd_claim_take(b->t, CBD_SIDE_BLKDEV, d, &b->claim);
		if (r == 0) {
			b->slot = d;
			return 0;
		}
		if (r != -EBUSY)
			return r;
	}
	return cbd_error(EBUSY, "%s: all %u blkdev slots are taken ('cbdctl list' shows by whom)",
			 b->t->path, b->t->header.blkdevs);
}

/* The state line has it; when its writer died while it was stored, the lines beside it. */
static uint32_t last_incarnation(struct cbd_blkdev *b, uint32_t known)
{
	struct cbd_beat_line beat;
	struct cbd_request_line request;

	if (known)
		return known;
	if (cbd_line_get(b->t, cbd_blkdev_info(b, CBD_BLKDEV_BEAT), &beat) == 0)
		known = cbd_newer(known, beat.incarnation);
	if (cbd_line_get(b->t, cbd_blkdev_info(b, CBD_BLKDEV_REQUEST), &request) == 0)
		known = cbd_newer(known, request.incarnation);
	if (!known)
		cbd_random(&known, sizeof(known));
	return known;
}

/* With a new incarnation, so that the lines of the slot's last owner mean nothing. */
static int enter_slot(struct cbd_blkdev *b)
{
	struct cbd_state_line old;
	struct cbd_doorbell_line bell;
	uint32_t incarnation;
	int r = cbd_line_get(b->t, cbd_blkdev_info(b, CBD_BLKDEV_STATE), &old);

	if (r == -EIO)
		return r;
	incarnation = last_incarnation(b, r == 0 ? old.incarnation : 0) + 1;
	b->state = (struct cbd_state_line){
		.incarnation = incarnation ? incarnation : 1,
		.host = (uint16_t)b->t->host,
		.pid = (uint32_t)getpid(),
		.backend = (uint16_t)b->backend,
		.count = (uint16_t)b->n_queues,
	};
	memcpy(b->state.owner, b->claim.line.owner, 16);
	memcpy(b->state.boot_id, b->t->identity.boot_id, 16);
	b->request = (struct cbd_request_line){
		.incarnation = b->state.incarnation,
		.backend = (uint16_t)b->backend,
		.host = (uint16_t)b->t->host,
		.queues = (uint16_t)b->n_queues,
		.depth = (uint16_t)b->depth,
		.flags = b->read_only ? CBD_REQUEST_READ_ONLY : 0,
		.features = cbd_features_known(),
	};
	/* rule 4.2: an answer to a former owner that had, or forged, this incarnation */
	cbd_random(&b->request.sequence, sizeof(b->request.sequence));
	b->doorbell.incarnation = b->beat.incarnation = b->state.incarnation;
	/* it goes on from where it was: a backend compares it with what it has seen */
	if (cbd_line_get(b->t, cbd_blkdev_info(b, CBD_BLKDEV_DOORBELL), &bell) < 0)
		cbd_random(&bell.count, sizeof(bell.count));
	b->doorbell.count = bell.count;
	r = cbd_blkdev_put_state(b, CBD_SLOT_STARTING);
	cbd_step("blkdev-entered");
	if (r == 0)
		r = cbd_line_put(b->t, cbd_blkdev_info(b, CBD_BLKDEV_REQUEST), &b->request);
	return r == 0 ? cbd_blkdev_beat(b) : r;
}

static int open_claimed(struct cbd_blkdev *b, const struct cbd_blkdev_options *o)
{
	int r = enter_slot(b);

	if (r == 0)
		r = cbd_attach(b, o);
	if (r == 0)
		r = cbd_blkdev_put_state(b, CBD_SLOT_LIVE);
	return r;
}

static struct cbd_blkdev *new_blkdev(struct cbd_transport *t, const struct cbd_blkdev_options *o)
{
	struct cbd_blkdev *b = calloc(1, sizeof(*b));
	pthread_condattr_t attr;

	if (!b)
		return NULL;
	b->t = t;
	b->counting_ns = cbd_now_ns();
	b->claim.lock.fd = -1;
	b->poll = o->poll;
	b->timeout_s = o->timeout_s;
	b->read_only = o->read_only;
	b->depth = o->depth;
	b->max_requests = o->max_requests ? o->max_requests : MAX_REQUESTS;
	b->n_queues = o->queues ? o->queues : 1;
	b->own.b = b;
	pthread_mutex_init(&b->lines, NULL);
	pthread_mutex_init(&b->lock, NULL);
	pthread_mutex_init(&b->writes_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->stop_cond, &attr);
	pthread_condattr_destroy(&attr);
	b->queues = calloc(b->n_queues, sizeof(*b->queues));
	for (unsigned i = 0; b->queues && i < b->n_queues; i++)
		cbd_queue_init(&b->queues[i], b, i);
	return b;
}

static int check_arguments(const struct cbd_transport *t, struct cbd_blkdev **out)
{
	int r = cbd_transport_writable(t);

	if (r < 0)
		return r;
	return out ? 0 : cbd_error(EINVAL, "%s: no place for the blkdev given", t->path);
}

static int check_options(const struct cbd_transport *t, const struct cbd_blkdev_options *o)
{
	const struct cbd_header *h = &t->header;
	int r;

	if (!o->backend)
		return cbd_error(EINVAL, "%s: no backend given", t->path);
	if (o->queues > h->channels)
		return cbd_error(EINVAL, "%s: queues: %u is more than the %u channels of a backend",
				 t->path, o->queues, h->channels);
	if (o->depth > h->ring_slots)
		return cbd_error(EINVAL, "%s: depth: %u is more than the %u slots of a ring",
				 t->path, o->depth, h->ring_slots);
	r = cbd_poll_check(o->poll);
	if (r < 0)
		return r;
	return cbd_reserved_check(o->reserved, sizeof(o->reserved), "cbd_blkdev_options");
}

int cbd_blkdev_open(struct cbd_transport *t, const struct cbd_blkdev_options *options, size_t size,
		    struct cbd_blkdev **out)
{
	struct cbd_blkdev_options o;
	struct cbd_blkdev *b;
	int r = cbd_sized_get(&o, sizeof(o), options, size, "cbd_blkdev_options"), backend;

	if (r == 0)
		r = check_arguments(t, out);
	if (r == 0)
		r = check_options(t, &o);
	if (r < 0)
		return r;
	backend = cbd_attach_find(t, o.backend);
	if (backend < 0)
		return backend;
	r = cbd_host_join(t, -1);
	if (r < 0)
		return r;
	r = cbd_claim_sweep(t, true);
	if (r < 0)
		return r;
	b = new_blkdev(t, &o);
	if (!b || !b->queues) {
		cbd_blkdev_close(b);
		return cbd_error(ENOMEM, "blkdev: %m");
	}
	b->backend = (unsigned)backend;
	r = claim_any(b);
	if (r == 0)
		r = open_claimed(b, &o);
	if (r < 0) {
		char message[512];

		/* closing may overwrite the message of what went wrong */
		strncpy(message, cbd_errmsg(), sizeof(message) - 1);
		message[sizeof(message) - 1] = 0;
		cbd_blkdev_close(b);
		return cbd_error(-r, "%s", message);
	}
	*out = b;
	return 0;
}

void cbd_blkdev_stop_waiting(struct cbd_blkdev *b)
{
	if (cbd_flag_get(&b->impatient))
		return;
	cbd_shared_set(&b->impatient_ns, cbd_now_ns());
	cbd_flag_set(&b->impatient, true);
}

bool cbd_blkdev_suspects(const struct cbd_blkdev *b)
{
	return cbd_flag_get(&b->suspect);
}

/* Wait up to one suspicion time for the requests in flight. */
static void drain(struct cbd_blkdev *b)
{
	uint64_t deadline = cbd_now_ns() + cbd_suspect_ns(b->t);

	for (unsigned i = 0; i < b->n_queues; i++) {
		struct cbd_queue *q = &b->queues[i];

		pthread_mutex_lock(&q->lock);
		if (q->parts.all && !cbd_flag_get(&b->suspect) && !cbd_flag_get(&b->lost))
			cbd_queue_await_idle_unlocks(q, deadline);
		cbd_queue_unlock_and_tell(q);
	}
}

/* Requests that were not answered; their completions will not be reaped. */
static void end_all(struct cbd_blkdev *b)
{
	for (unsigned i = 0; i < b->n_queues; i++) {
		struct cbd_queue *q = &b->queues[i];

		pthread_mutex_lock(&q->lock);
		cbd_queue_break(q, -ESHUTDOWN);
		cbd_queue_unlock_and_tell(q);
	}
}

static void leave_slot(struct cbd_blkdev *b)
{
	bool abandoned = b->request.state == CBD_REQUEST_ABANDONED;

	cbd_blkdev_put_counters(b);
	cbd_blkdev_put_state(b, abandoned ? CBD_SLOT_ABANDONED : CBD_SLOT_FREE);
	cbd_step("blkdev-left");
	cbd_claim_release(&b->claim);
}

void cbd_blkdev_close(struct cbd_blkdev *b)
{
	bool claimed = b && b->claim.lock.fd >= 0;

	if (!b)
		return;
	/* while the heartbeat thread runs, or others would suspect this blkdev */
	if (claimed && (b->started || cbd_claim_check(&b->claim) == 0))
		drain(b);
	cbd_heartbeat_stop(b);
	if (claimed && cbd_claim_check(&b->claim) < 0)
		b->lost = true;
	if (claimed && b->lost) {
		cbd_lock_release(&b->claim.lock);
	} else if (claimed) {
		cbd_detach(b);
		leave_slot(b);
	}
	if (b->queues)
		end_all(b);
	for (unsigned i = 0; b->queues && i < b->n_queues; i++)
		cbd_queue_free(&b->queues[i]);
	free(b->queues);
	cbd_connections_forget(b);
	pthread_cond_destroy(&b->stop_cond);
	pthread_mutex_destroy(&b->lines);
	pthread_mutex_destroy(&b->lock);
	pthread_mutex_destroy(&b->writes_lock);
	free(b);
}

/* ------------------------------------------------------------- properties */

void cbd_blkdev_geometry(const struct cbd_blkdev *b, struct cbd_blkdev_geometry *geometry,
			 size_t size)
{
	const struct cbd_geometry_line *l = &b->geometry;
	const struct cbd_blkdev_geometry g = {
		.size = cbd_shared_get(&l->size),
		.logical_block = l->logical_block,
		.physical_block = l->physical_block,
		.optimal_block = l->optimal_block,
		.max_data = l->max_data,
		.rotational = l->flags & CBD_GEOMETRY_ROTATIONAL,
		.read_only = cbd_flag_get(&b->read_only),
		.discard = l->flags & CBD_GEOMETRY_DISCARD,
		.fast_zero = l->flags & CBD_GEOMETRY_FAST_ZERO,
		.write_through = l->flags & CBD_GEOMETRY_WRITE_THROUGH,
		.block_status = cbd_flag_get(&b->block_status),
	};

	cbd_sized_put(geometry, size, &g, sizeof(g));
}

unsigned cbd_blkdev_id(const struct cbd_blkdev *b)
{
	return b->slot;
}

unsigned cbd_blkdev_queues(const struct cbd_blkdev *b)
{
	return b->n_queues;
}

struct cbd_queue *cbd_blkdev_queue(struct cbd_blkdev *b, unsigned i)
{
	return i < b->n_queues ? &b->queues[i] : NULL;
}
