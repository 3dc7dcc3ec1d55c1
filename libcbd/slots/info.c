/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * info.c - what a transport holds, for people and for decisions: reads slots,
 * watches heartbeats.  Writes nothing.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring/channel.h"
#include "slots/claim.h"
#include "base/error.h"
#include "base/sized.h"
#include "slots/host.h"
#include "slots/info.h"
#include "slots/watch.h"

/* All heartbeats in one array: hosts, then backends, then blkdevs. */
static unsigned n_watched(const struct cbd_transport *t)
{
	return t->header.hosts + t->header.backends + t->header.blkdevs;
}

static const void *beat_line(const struct cbd_transport *t, unsigned i)
{
	const struct cbd_header *h = &t->header;

	if (i < h->hosts)
		return cbd_host_info_at(t, i, CBD_HOST_BEAT);
	i -= h->hosts;
	if (i < h->backends)
		return cbd_backend_info_at(t, i, CBD_BACKEND_BEAT);
	return cbd_blkdev_info_at(t, i - h->backends, CBD_BLKDEV_BEAT);
}

/* ------------------------------------------------------------------ slots */

/* The number of a slot among all heartbeats. */
static unsigned watch_index(const struct cbd_transport *t, enum cbd_side side, unsigned slot)
{
	return t->header.hosts + (side == CBD_SIDE_BLKDEV ? t->header.backends : 0) + slot;
}

/* What the last cbd_transport_watch() found of something that is in use; several threads may
 * read slots. */
static enum cbd_liveness watched(struct cbd_transport *t, unsigned i)
{
	enum cbd_liveness l = CBD_UNDECIDED;

	pthread_mutex_lock(&t->liveness_mutex);
	/* a result from when the slot had no owner does not count */
	if (t->liveness && t->liveness[i] != CBD_FREE)
		l = t->liveness[i];
	pthread_mutex_unlock(&t->liveness_mutex);
	return l;
}

/* A free lock of another identity of this boot is no proof: see cbd_claim_is_dead(). */
static bool is_proven_dead(const struct cbd_transport *t, enum cbd_side side, unsigned slot,
			   unsigned owner, const struct cbd_claim_line *claim)
{
	return cbd_claim_is_dead(t, side, slot, claim) && cbd_host_is_own(t, owner);
}

/* Under another identity of this boot the dead hold no lock and stand still. */
static enum cbd_liveness slot_liveness(struct cbd_transport *t, enum cbd_side side, unsigned slot,
				       enum cbd_slot_state state, bool *local)
{
	struct cbd_claim_line claim;
	int owner = cbd_claim_owner(t, side, slot, &claim);
	enum cbd_liveness l;

	*local = owner >= 0 && cbd_boot_is_local(t, claim.boot_id);
	if (owner < 0)
		return state == CBD_SLOT_FREE || state == CBD_SLOT_GONE ||
				       state == CBD_SLOT_ABANDONED
			       ? CBD_FREE
			       : CBD_DEAD;
	if (is_proven_dead(t, side, slot, (unsigned)owner, &claim))
		return CBD_DEAD;
	l = watched(t, watch_index(t, side, slot));
	return l == CBD_SUSPECT && cbd_claim_is_dead(t, side, slot, &claim) ? CBD_DEAD : l;
}

/* INFO: where the caller wants it. */
static int check_slot(const struct cbd_transport *t, const char *what, unsigned id, unsigned count,
		      const void *info)
{
	if (!info)
		return cbd_error(EINVAL, "%s: %s %u: no place for the answer given", t->path, what,
				 id);
	if (id >= count)
		return cbd_error(EINVAL, "%s: %s %u: the transport has 0..%u", t->path, what, id,
				 count - 1);
	return 0;
}

int cbd_host_get(struct cbd_transport *t, unsigned id, struct cbd_host_info *out, size_t size)
{
	struct cbd_host_info info;
	struct cbd_host_claim_line claim;
	struct cbd_host_line line;
	int r = cbd_transport_given(t);

	if (r == 0)
		r = check_slot(t, "host", id, t->header.hosts, out);
	if (r < 0)
		return r;
	info = (struct cbd_host_info){ .id = id, .liveness = CBD_FREE };
	r = cbd_line_get(t, cbd_host_claim_at(t, id), &claim);
	if (r == -EIO)
		return r;
	if (r == 0 && cbd_is_zero(&claim, sizeof(claim))) {
		cbd_sized_put(out, size, &info, sizeof(info));
		return 0;
	}
	memcpy(info.uuid, claim.uuid, 16);
	info.liveness = watched(t, id);
	if (cbd_line_get(t, cbd_host_info_at(t, id, CBD_HOST_STATE), &line) == 0)
		memcpy(info.boot_id, line.boot_id, 16);
	info.local = cbd_boot_is_local(t, info.boot_id);
	cbd_text_get(t, cbd_host_info_at(t, id, CBD_HOST_NAME), CBD_NAME_LINES, info.name);
	cbd_sized_put(out, size, &info, sizeof(info));
	return 0;
}

static int state_get(struct cbd_transport *t, const void *line, struct cbd_state_line *s)
{
	int r = cbd_line_get(t, line, s);

	if (r == -EBADMSG)
		memset(s, 0, sizeof(*s)); /* its owner stores it again */
	return r == -EIO ? r : 0;
}

static void disk_get(struct cbd_transport *t, unsigned id, struct cbd_backend_info *info)
{
	struct cbd_geometry_line g = { .size = 0 };
	struct cbd_identity_line i = { .verifier = 0 };
	struct cbd_access_line a = { .max_blkdevs = 0 };

	if (cbd_line_get(t, cbd_backend_info_at(t, id, CBD_BACKEND_GEOMETRY), &g) == 0) {
		info->size = g.size;
		info->logical_block = g.logical_block;
		info->physical_block = g.physical_block;
		info->optimal_block = g.optimal_block;
		info->rotational = g.flags & CBD_GEOMETRY_ROTATIONAL;
		info->read_only = g.flags & CBD_GEOMETRY_READ_ONLY;
		info->write_through = g.flags & CBD_GEOMETRY_WRITE_THROUGH;
		info->discard = g.flags & CBD_GEOMETRY_DISCARD;
		info->fast_zero = g.flags & CBD_GEOMETRY_FAST_ZERO;
	}
	if (cbd_line_get(t, cbd_backend_info_at(t, id, CBD_BACKEND_IDENTITY), &i) == 0) {
		info->disk_identity = i.disk_identity;
		info->verifier = i.verifier;
	}
	if (cbd_line_get(t, cbd_backend_info_at(t, id, CBD_BACKEND_ACCESS), &a) == 0) {
		info->max_blkdevs = a.max_blkdevs;
		info->allow_hosts = a.allow_hosts;
		info->block_status = a.features & CBD_FEATURE_BLOCK_STATUS;
	}
}

int cbd_backend_get(struct cbd_transport *t, unsigned id, struct cbd_backend_info *out, size_t size)
{
	struct cbd_backend_info info;
	struct cbd_state_line s;
	int r = cbd_transport_given(t);

	if (r == 0)
		r = check_slot(t, "backend", id, t->header.backends, out);
	if (r == 0)
		r = state_get(t, cbd_backend_info_at(t, id, CBD_BACKEND_STATE), &s);
	if (r < 0)
		return r;
	info = (struct cbd_backend_info){
		.id = id,
		.incarnation = s.incarnation,
		.host_id = s.host,
		.pid = s.pid,
		.blkdevs = s.count,
		.handlers = s.handlers,
		.state = (enum cbd_state)s.state,
	};
	info.liveness = slot_liveness(t, CBD_SIDE_BACKEND, id, s.state, &info.local);
	cbd_text_get(t, cbd_backend_info_at(t, id, CBD_BACKEND_NAME), CBD_NAME_LINES, info.name);
	cbd_text_get(t, cbd_backend_info_at(t, id, CBD_BACKEND_PATH), CBD_PATH_LINES, info.path);
	disk_get(t, id, &info);
	cbd_sized_put(out, size, &info, sizeof(info));
	return 0;
}

int cbd_blkdev_get(struct cbd_transport *t, unsigned id, struct cbd_blkdev_info *out, size_t size)
{
	struct cbd_blkdev_info info;
	struct cbd_state_line s;
	struct cbd_request_line q = { .flags = 0 };
	int r = cbd_transport_given(t);

	if (r == 0)
		r = check_slot(t, "blkdev", id, t->header.blkdevs, out);
	if (r == 0)
		r = state_get(t, cbd_blkdev_info_at(t, id, CBD_BLKDEV_STATE), &s);
	if (r < 0)
		return r;
	if (cbd_line_get(t, cbd_blkdev_info_at(t, id, CBD_BLKDEV_REQUEST), &q) < 0)
		q.flags = 0;
	info = (struct cbd_blkdev_info){
		.id = id,
		.incarnation = s.incarnation,
		.host_id = s.host,
		.backend_id = s.backend,
		.pid = s.pid,
		.queues = s.count,
		.read_only = q.flags & CBD_REQUEST_READ_ONLY,
		.state = (enum cbd_state)s.state,
	};
	info.liveness = slot_liveness(t, CBD_SIDE_BLKDEV, id, s.state, &info.local);
	cbd_sized_put(out, size, &info, sizeof(info));
	return 0;
}

int cbd_channel_get(struct cbd_transport *t, unsigned backend, unsigned id,
		    struct cbd_channel_info *out, size_t size)
{
	struct cbd_channel_info info;
	struct cbd_channel ch;
	struct cbd_grant_line g;
	int r = cbd_transport_given(t);

	if (r == 0)
		r = check_slot(t, "backend", backend, t->header.backends, out);
	if (r == 0)
		r = check_slot(t, "channel", id, t->header.channels, out);
	if (r < 0)
		return r;
	cbd_channel_init(&ch, t, backend, id);
	r = cbd_line_get(t, cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT), &g);
	if (r == -EIO)
		return r;
	if (r == -EBADMSG)
		memset(&g, 0, sizeof(g));
	info = (struct cbd_channel_info){
		.backend_id = backend,
		.id = id,
		.blkdev_id = g.blkdev,
		.queue = g.queue,
		.epoch = g.epoch,
		.depth = g.depth,
		.ring_slots = ch.slots,
		.offset = (uint64_t)(ch.base - t->base),
		.length = ch.length,
		.data_size = ch.data_size,
		.state = (enum cbd_channel_state)g.state,
	};
	cbd_sized_put(out, size, &info, sizeof(info));
	return 0;
}

/* ------------------------------------------------------------------ owner */

static int owner_pid(struct cbd_transport *t, enum cbd_side side, unsigned slot)
{
	struct cbd_claim_line claim;
	int pid;

	if (cbd_claim_owner(t, side, slot, &claim) < 0 || !cbd_boot_is_local(t, claim.boot_id))
		return 0;
	pid = cbd_claim_pid(t, side, slot);
	return pid >= 0 ? pid
			: cbd_error(-pid,
				    "%s: %s %u: its process may not be looked at: that takes "
				    "CAP_SYS_PTRACE",
				    t->path, cbd_side_name(side), slot);
}

int cbd_owner_pid(struct cbd_transport *t, enum cbd_object object, unsigned id)
{
	int r = cbd_transport_given(t);

	if (r < 0)
		return r;
	if (object == CBD_OBJECT_BACKEND && id < t->header.backends)
		return owner_pid(t, CBD_SIDE_BACKEND, id);
	if (object == CBD_OBJECT_BLKDEV && id < t->header.blkdevs)
		return owner_pid(t, CBD_SIDE_BLKDEV, id);
	return cbd_error(EINVAL, "%s: no slot %u of that kind", t->path, id);
}

/* ------------------------------------------------------------------ watch */

static bool host_in_use(struct cbd_transport *t, unsigned h)
{
	struct cbd_host_info host;

	return cbd_host_get(t, h, &host, sizeof(host)) == 0 && host.liveness != CBD_FREE;
}

/* Has it an owner that is not proven dead already? */
static bool slot_in_use(const struct cbd_transport *t, enum cbd_side side, unsigned slot)
{
	struct cbd_claim_line claim;
	int owner = cbd_claim_owner(t, side, slot, &claim);

	return owner >= 0 && !is_proven_dead(t, side, slot, (unsigned)owner, &claim);
}

/* What the beats have to decide; other threads go on reading the last result until this
 * one is there. */
static void choose_watched(struct cbd_transport *t, enum cbd_liveness *l)
{
	for (unsigned h = 0; h < t->header.hosts; h++)
		l[h] = host_in_use(t, h) ? CBD_UNDECIDED : CBD_FREE;
	for (int side = CBD_SIDE_BACKEND; side <= CBD_SIDE_BLKDEV; side++)
		for (unsigned i = 0; i < cbd_side_slots(t, side); i++)
			l[watch_index(t, side, i)] = slot_in_use(t, side, i) ? CBD_UNDECIDED
									     : CBD_FREE;
}

/* Sample every beat that is not decided; returns how many are left. */
static unsigned watch_round(struct cbd_transport *t, struct cbd_watch *watches,
			    enum cbd_liveness *l)
{
	unsigned left = 0;

	for (unsigned i = 0; i < n_watched(t); i++) {
		struct cbd_beat_line beat;
		int r;

		if (l[i] != CBD_UNDECIDED)
			continue;
		r = cbd_line_get(t, beat_line(t, i), &beat);
		if (r == -EIO)
			continue;
		if (r < 0)
			beat.counter = 0; /* who lives stores it again, which is a beat */
		l[i] = cbd_watch_sample(&watches[i], beat.counter, cbd_now_ns(), cbd_interval_ns(t),
					t->header.dead_after);
		left += l[i] == CBD_UNDECIDED;
	}
	return left;
}

int cbd_transport_watch(struct cbd_transport *t)
{
	struct cbd_watch *watches;
	enum cbd_liveness *l;
	uint64_t end;
	unsigned n;
	int r = cbd_transport_given(t);

	if (r < 0)
		return r;
	n = n_watched(t);
	l = calloc(n, sizeof(*l));
	watches = calloc(n, sizeof(*watches));
	if (!l || !watches) {
		free(l);
		free(watches);
		return cbd_error(ENOMEM, "%s: %m", t->path);
	}
	choose_watched(t, l);
	/* what is not decided by then stays CBD_UNDECIDED */
	end = cbd_now_ns() + cbd_watch_most_ns(cbd_interval_ns(t), t->header.dead_after);
	while (watch_round(t, watches, l) > 0 && cbd_now_ns() < end)
		cbd_sleep_us(t->header.heartbeat_ms * 200);
	pthread_mutex_lock(&t->liveness_mutex);
	free(t->liveness);
	t->liveness = l;
	pthread_mutex_unlock(&t->liveness_mutex);
	free(watches);
	return 0;
}

static int still_owned(const struct cbd_transport *t, const char *kind, unsigned id, unsigned host,
		       enum cbd_liveness liveness)
{
	if (liveness == CBD_ALIVE)
		return cbd_error(EBUSY, "%s: %s %u of host %u is alive; stop it there", t->path,
				 kind, id, host);
	return cbd_error(EBUSY,
			 "%s: %s %u of host %u is suspect, not dead; clear it if that host is "
			 "off",
			 t->path, kind, id, host);
}

int cbd_transport_owned(struct cbd_transport *t)
{
	int r = cbd_transport_watch(t);
	struct cbd_backend_info backend;
	struct cbd_blkdev_info blkdev;

	if (r < 0)
		return r;
	for (unsigned i = 0; i < t->header.backends; i++)
		if (cbd_backend_get(t, i, &backend, sizeof(backend)) == 0 &&
		    backend.liveness != CBD_FREE && backend.liveness != CBD_DEAD)
			return still_owned(t, "backend", i, backend.host_id, backend.liveness);
	for (unsigned i = 0; i < t->header.blkdevs; i++)
		if (cbd_blkdev_get(t, i, &blkdev, sizeof(blkdev)) == 0 &&
		    blkdev.liveness != CBD_FREE && blkdev.liveness != CBD_DEAD)
			return still_owned(t, "blkdev", i, blkdev.host_id, blkdev.liveness);
	return 0;
}
