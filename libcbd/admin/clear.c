/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clear.c - free what a dead host, backend or blkdev has left.
 *
 * Rule 2: suspect is not dead.  A slot is cleared when its owner has released it, when
 * the lock proves on this host that its process is dead, when its host is another identity
 * of this boot, the lock is free and the beat stands still (rule 7.5), when its host shows
 * another boot, or when the caller says that its host is off; never while its owner beats.
 * Rule 3: the incarnation stays.
 *
 * A slot without an owner is claimed as by any owner, marked free and released.  A slot
 * whose owner's host is said to be off keeps that owner's claim, which keeps all others
 * out, until it is marked free; then the claim is lowered.  A clear that dies between
 * can be done again.  If the owner was not off, it finds its claim lowered and stops.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ring/channel.h"
#include "slots/claim.h"
#include "base/error.h"
#include "base/sized.h"
#include "memory/fault.h"
#include "slots/host.h"
#include "base/step.h"

/* The slot to be cleared. */
struct victim {
	struct cbd_transport *t;
	enum cbd_side side;
	unsigned slot;
	int host; /* of its owner, -1: it has none */
	struct cbd_claim_line claim;
	enum cbd_state state;
	enum cbd_liveness liveness;
	uint64_t counter; /* its beat, when it had been watched */
	bool for_good;	  /* a backend that does not come back, not one whose host is gone */
};

/* ----------------------------------------------------------------- victim */

static int find_victim(struct cbd_transport *t, enum cbd_side side, unsigned slot, struct victim *v)
{
	struct cbd_backend_info backend = { .id = 0 };
	struct cbd_blkdev_info blkdev = { .id = 0 };
	int r;

	*v = (struct victim){ .t = t, .side = side, .slot = slot };
	v->counter = cbd_claim_counter(t, side, slot);
	r = side == CBD_SIDE_BACKEND ? cbd_backend_get(t, slot, &backend, sizeof(backend))
				     : cbd_blkdev_get(t, slot, &blkdev, sizeof(blkdev));
	if (r < 0)
		return r;
	v->state = side == CBD_SIDE_BACKEND ? backend.state : blkdev.state;
	v->liveness = side == CBD_SIDE_BACKEND ? backend.liveness : blkdev.liveness;
	v->host = cbd_claim_owner(t, side, slot, &v->claim);
	return 0;
}

/* Does a process of this boot hold the slot's lock?  Then it lives, even when it does not
 * beat because it was stopped. */
static bool is_locked(const struct victim *v)
{
	return v->host >= 0 && cbd_boot_is_local(v->t, v->claim.boot_id) &&
	       cbd_lock_held(v->t->fd, cbd_side_lock_byte(v->side, v->slot));
}

static bool host_beats(struct cbd_transport *t, unsigned host)
{
	struct cbd_host_info info;

	return cbd_host_get(t, host, &info, sizeof(info)) == 0 && info.liveness == CBD_ALIVE;
}

/* "process 12 on host 1 (name)", or what can be said of it: the number of a process only
 * where the kernel confirms what the slot says. */
static const char *describe_owner(const struct victim *v, char *text, size_t size)
{
	enum cbd_object object = v->side == CBD_SIDE_BACKEND ? CBD_OBJECT_BACKEND
							     : CBD_OBJECT_BLKDEV;
	int pid = cbd_owner_pid(v->t, object, v->slot);
	char host[100];

	cbd_host_describe(v->t, (unsigned)v->host, host, sizeof(host));
	if (pid > 0)
		snprintf(text, size, "process %d on %s", pid, host);
	else
		snprintf(text, size, "a process on %s", host);
	return text;
}

static int refuse_alive(const struct victim *v)
{
	char text[140];

	return cbd_error(EBUSY, "%s: %s %u: is alive: %s; stop it there", v->t->path,
			 cbd_side_name(v->side), v->slot, describe_owner(v, text, sizeof(text)));
}

static int refuse_suspect(const struct victim *v)
{
	char text[140];

	describe_owner(v, text, sizeof(text));
	/* that this machine is off is no advice to who sits at it */
	if (cbd_boot_is_local(v->t, v->claim.boot_id))
		return cbd_error(EBUSY,
				 "%s: %s %u: its owner, %s, is suspect, not proven dead: that is "
				 "this machine, but the process uses another device node, whose "
				 "locks are not seen; end it there",
				 v->t->path, cbd_side_name(v->side), v->slot, text);

	return cbd_error(EBUSY,
			 "%s: %s %u: its owner, %s, is suspect, not proven dead; end it there, or "
			 "declare that host gone if it is off",
			 v->t->path, cbd_side_name(v->side), v->slot, text);
}

/* May the slot of a silent owner on HOST be cleared?  Only if the caller says that the
 * host is off, and that host does not beat.  -EBUSY without a message: the caller has
 * not said so. */
static int check_gone(struct cbd_transport *t, int host, const struct cbd_clear_options *o)
{
	char text[100];

	bool gone = o->hosts_gone >> host & 1;

	if (o->hosts_gone && !gone)
		return cbd_error(EINVAL, "%s: the owner is on %s, which is not declared gone",
				 t->path, cbd_host_describe(t, (unsigned)host, text, sizeof(text)));
	if (gone && host_beats(t, (unsigned)host))
		return cbd_error(EBUSY, "%s: %s is not gone, it beats", t->path,
				 cbd_host_describe(t, (unsigned)host, text, sizeof(text)));
	return gone || o->force ? 0 : -EBUSY;
}

/* ------------------------------------------------------------------ clear */

/*
 * The next backend tells from host and boot in the state line whether the old one may
 * have left data in the page cache of a host that runs (rule 7.5), so they stay; the
 * boot id does not when the host is gone.
 */
static int put_free(const struct victim *v, bool host_gone)
{
	struct cbd_state_line old, line = { .state = CBD_SLOT_FREE };
	int r = cbd_line_get(v->t, cbd_side_state_at(v->t, v->side, v->slot), &old);

	if (r == -EIO)
		return r;
	if (r == -EBADMSG) {
		cbd_random(&line.incarnation, sizeof(line.incarnation));
	} else {
		line.incarnation = old.incarnation;
		line.host = old.host;
		if (!host_gone)
			memcpy(line.boot_id, old.boot_id, 16);
	}
	r = cbd_line_put(v->t, cbd_side_state_at(v->t, v->side, v->slot), &line);
	cbd_step("clear-state");
	return r;
}

/* Does a blkdev of this backend still ask for the channel that G was the grant of? */
static bool has_blkdev(const struct victim *v, const struct cbd_grant_line *g)
{
	struct cbd_request_line q;

	if (g->epoch == 0 || g->state == CBD_GRANT_CLOSED || g->blkdev >= v->t->header.blkdevs)
		return false;
	return g->state != CBD_GRANT_FREE ||
	       (cbd_line_get(v->t, cbd_blkdev_info_at(v->t, g->blkdev, CBD_BLKDEV_REQUEST), &q) ==
			0 &&
		q.state == CBD_REQUEST_ATTACH && q.backend == v->slot &&
		q.incarnation == g->incarnation);
}

/* Rule 7.4: the backend does not come back, so those that wait for it end.  These are
 * lines of the backend: they are stored in the place of the slot's owner, with the claim
 * taken (clear_unowned) or, when its host is said to be gone, behind the old claim, which
 * keeps others out (clear_gone); before the slot is marked free. */
static int close_grants(const struct victim *v)
{
	struct cbd_grant_line g;
	struct cbd_channel ch;
	int r = 0;

	for (unsigned c = 0; v->for_good && c < v->t->header.channels; c++) {
		void *place;

		cbd_channel_init(&ch, v->t, v->slot, c);
		place = cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT);
		if (cbd_line_get(v->t, place, &g) < 0 || !has_blkdev(v, &g))
			continue;
		g.state = CBD_GRANT_CLOSED;
		r = cbd_line_put(v->t, place, &g);
		cbd_step("clear-closed");
		if (r < 0)
			return r;
	}
	return 0;
}

/* The slot has no owner, or only a void claim. */
static int clear_unowned(struct victim *v)
{
	struct cbd_claim claim = CBD_CLAIM_INIT;
	int r = cbd_host_join(v->t, -1);

	if (r == 0)
		r = cbd_claim_take(v->t, v->side, v->slot, &claim);
	if (r < 0)
		return r;
	cbd_step("clear-taken");
	r = close_grants(v);
	if (r == 0)
		r = put_free(v, false);
	cbd_claim_release(&claim);
	return r;
}

/* The owner's process is dead, perhaps one of another identity of this boot; the sweep
 * writes back what it left.  To join may take as long as a suspicion, so the beat is looked
 * at once more. */
static int clear_dead(struct victim *v)
{
	struct cbd_lock join = CBD_LOCK_NONE;
	int r = cbd_host_join(v->t, -1);
	bool still;

	if (r == 0)
		r = cbd_join_lock(v->t, &join);
	if (r < 0)
		return r;
	still = cbd_claim_sweep_slot(v->t, v->side, v->slot, (unsigned)v->host, v->counter);
	cbd_lock_release(&join);
	return still ? clear_unowned(v) : refuse_alive(v);
}

/* The owner's host is off: store in its place.  Its claim keeps others out until then. */
static int clear_gone(struct victim *v)
{
	struct cbd_lock join = CBD_LOCK_NONE, lock = CBD_LOCK_NONE;
	int r = cbd_join_lock(v->t, &join);

	if (r < 0)
		return r;
	r = cbd_lock_take(&lock, v->t->fd, cbd_side_lock_byte(v->side, v->slot), false, 0);
	if (r < 0)
		r = cbd_error(-r, "%s: %s %u: cannot lock: %m", v->t->path, cbd_side_name(v->side),
			      v->slot);
	if (r == 0)
		r = close_grants(v);
	if (r == 0)
		r = put_free(v, true);
	if (r == 0) {
		v->claim.state = CBD_CLAIM_DEAD;
		r = cbd_line_put(v->t, cbd_side_claim_at(v->t, v->side, v->slot, (unsigned)v->host),
				 &v->claim);
		cbd_step("clear-lowered");
	}
	cbd_lock_release(&lock);
	cbd_lock_release(&join);
	return r;
}

static int clear_slot(struct cbd_transport *t, enum cbd_side side, unsigned slot,
		      const struct cbd_clear_options *o)
{
	struct victim v;
	int r = find_victim(t, side, slot, &v);

	if (r < 0)
		return r;
	v.for_good = side == CBD_SIDE_BACKEND;
	if (v.liveness == CBD_FREE && v.state == CBD_STATE_FREE)
		return cbd_error(ENOENT, "%s: %s %u: is not in use", t->path, cbd_side_name(side),
				 slot);
	if (v.host < 0)
		return clear_unowned(&v);
	if (v.liveness == CBD_ALIVE || is_locked(&v))
		return refuse_alive(&v);
	if (v.liveness == CBD_DEAD)
		return clear_dead(&v);
	r = check_gone(t, v.host, o);
	if (r == -EBUSY && !o->hosts_gone)
		return refuse_suspect(&v);
	return r < 0 ? r : clear_gone(&v);
}

/* ------------------------------------------------------------------- host */

static bool owns(struct cbd_transport *t, unsigned host, enum cbd_side side, unsigned slot,
		 struct victim *v)
{
	return find_victim(t, side, slot, v) == 0 && v->host == (int)host;
}

/* Has a process of the host a slot?  The first is in V. */
static bool owns_any(struct cbd_transport *t, unsigned host, struct victim *v)
{
	for (int side = CBD_SIDE_BACKEND; side <= CBD_SIDE_BLKDEV; side++)
		for (unsigned i = 0; i < cbd_side_slots(t, side); i++)
			if (owns(t, host, side, i, v))
				return true;
	return false;
}

static int clear_slots_of(struct cbd_transport *t, unsigned host)
{
	struct victim v;
	int r = 0;

	for (int side = CBD_SIDE_BACKEND; side <= CBD_SIDE_BLKDEV; side++)
		for (unsigned i = 0; i < cbd_side_slots(t, side) && r == 0; i++)
			if (owns(t, host, side, i, &v))
				r = v.liveness == CBD_ALIVE || is_locked(&v) ? refuse_alive(&v)
									     : clear_gone(&v);
	return r;
}

/* The claim is wiped last: until then no other host takes the slot. */
static int free_host(struct cbd_transport *t, unsigned host)
{
	struct cbd_host_line old, line = { .state = 0 };
	void *place = cbd_host_info_at(t, host, CBD_HOST_STATE);
	int r = cbd_line_get(t, place, &old);

	if (r == -EIO)
		return r;
	if (r == 0)
		line.incarnation = old.incarnation;
	r = cbd_line_put(t, place, &line);
	cbd_step("clear-host");
	for (unsigned b = 0; b < t->header.backends && r == 0; b++)
		r = cbd_line_wipe(t, cbd_host_request_at(t, host, b));
	if (r == 0)
		r = cbd_line_wipe(t, cbd_host_info_at(t, host, CBD_HOST_NAME));
	if (r == 0)
		r = cbd_line_wipe(t, cbd_host_claim_at(t, host));
	return r;
}

static int refuse_host(struct cbd_transport *t, unsigned host)
{
	char text[100];

	return cbd_error(EBUSY, "%s: %s is alive: it beats", t->path,
			 cbd_host_describe(t, host, text, sizeof(text)));
}

static int refuse_owner(struct cbd_transport *t, const struct victim *v)
{
	char text[140];

	describe_owner(v, text, sizeof(text));
	if (cbd_boot_is_local(t, v->claim.boot_id))
		return cbd_error(EBUSY, "%s: %s owns %s %u; that is this machine: end the process",
				 t->path, text, cbd_side_name(v->side), v->slot);

	return cbd_error(EBUSY, "%s: %s owns %s %u and may come back; declare it gone if it is off",
			 t->path, text, cbd_side_name(v->side), v->slot);
}

/* Another identity of this boot: what it owns has been watched, and must stand still. */
static int check_still(struct cbd_transport *t, unsigned host)
{
	struct victim v;

	for (int side = CBD_SIDE_BACKEND; side <= CBD_SIDE_BLKDEV; side++)
		for (unsigned i = 0; i < cbd_side_slots(t, side); i++)
			if (owns(t, host, side, i, &v) && v.liveness == CBD_ALIVE)
				return refuse_alive(&v);
	return 0;
}

/* The slot is of this boot: no process of it may run, and what dead ones left is swept. */
static int prepare_own_host(struct cbd_transport *t, unsigned host)
{
	int r;

	if (cbd_lock_held(t->fd, CBD_LOCK_HOST(host)))
		return refuse_host(t, host);
	r = cbd_host_is_own(t, host) ? 0 : check_still(t, host);
	if (r < 0)
		return r;
	t->host = (int)host; /* joined, but without a beat: the slot is to be freed */
	r = cbd_claim_sweep(t, true);
	t->host = -1;
	return r < 0 ? r : 0;
}

static int clear_host(struct cbd_transport *t, unsigned host, const struct cbd_clear_options *o)
{
	struct cbd_host_info info;
	struct victim v;
	int r = cbd_host_get(t, host, &info, sizeof(info));

	if (r < 0)
		return r;
	if (info.liveness == CBD_FREE)
		return cbd_error(ENOENT, "%s: host %u: is not in use", t->path, host);
	if (info.liveness == CBD_ALIVE)
		return refuse_host(t, host);
	if (cbd_boot_is_local(t, info.boot_id)) {
		r = prepare_own_host(t, host);
		if (r < 0)
			return r;
	}
	if (owns_any(t, host, &v)) {
		r = check_gone(t, (int)host, o);
		if (r == -EBUSY && !o->hosts_gone)
			return refuse_owner(t, &v);
		if (r == 0)
			r = clear_slots_of(t, host);
	}
	return r < 0 ? r : free_host(t, host);
}

/* Before anything is watched, which takes long. */
static int check_object(const struct cbd_transport *t, enum cbd_object object, unsigned id,
			const struct cbd_clear_options *o)
{
	const struct cbd_header *h = &t->header;
	const struct {
		const char *name;
		unsigned slots;
	} objects[] = {
		[CBD_OBJECT_HOST] = { "host", h->hosts },
		[CBD_OBJECT_BACKEND] = { "backend", h->backends },
		[CBD_OBJECT_BLKDEV] = { "blkdev", h->blkdevs },
	};

	if ((unsigned)object >= sizeof(objects) / sizeof(objects[0]))
		return cbd_error(EINVAL, "%s: cannot clear that", t->path);
	if (id >= objects[object].slots)
		return cbd_error(EINVAL, "%s: %s %u: the transport has 0..%u", t->path,
				 objects[object].name, id, objects[object].slots - 1);
	if (h->hosts < 64 && o->hosts_gone >> h->hosts)
		return cbd_error(EINVAL, "%s: hosts_gone: the transport has hosts 0..%u", t->path,
				 h->hosts - 1);
	return cbd_reserved_check(o->reserved, sizeof(o->reserved), "cbd_clear_options");
}

int cbd_clear(struct cbd_transport *t, enum cbd_object object, unsigned id,
	      const struct cbd_clear_options *options, size_t size)
{
	struct cbd_clear_options o;
	int r = cbd_sized_get(&o, sizeof(o), options, size, "cbd_clear_options");

	if (r == 0)
		r = cbd_transport_writable(t);
	if (r == 0)
		r = check_object(t, object, id, &o);
	if (r == 0)
		r = cbd_transport_watch(t);
	if (r < 0)
		return r;
	if (object == CBD_OBJECT_HOST)
		return clear_host(t, id, &o);
	return clear_slot(t, object == CBD_OBJECT_BACKEND ? CBD_SIDE_BACKEND : CBD_SIDE_BLKDEV, id,
			  &o);
}
