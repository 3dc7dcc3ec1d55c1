/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clear.c - free what a dead host, backend or blkdev has left.
 *
 * Rule 2: suspect is not dead.  A slot is cleared when its owner released it,
 * when the lock proves on this host that its process is dead, when its host
 * shows another boot, or on the operator's word that the host is gone; never
 * while its owner is seen to live.  Rule 3: the incarnation stays.
 *
 * Where nobody owns the slot, it is taken like by any owner, marked free and
 * released.  Where the owner is gone by the operator's word, its raised claim
 * keeps all others out meanwhile, and is lowered last: a clear that dies can be
 * done again.  Should that owner come back, it finds its claim lowered and
 * stops.
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "slots/claim.h"
#include "base/error.h"
#include "memory/fault.h"
#include "slots/host.h"
#include "base/step.h"

/* A slot on its way to be cleared. */
struct victim {
	struct cbd_transport *t;
	enum cbd_side side;
	unsigned slot;
	int host; /* its owner's, -1: nobody's */
	uint32_t pid;
	struct cbd_claim_line claim;
	enum cbd_liveness liveness;
};

/* ------------------------------------------------------------------- look */

static int look(struct cbd_transport *t, enum cbd_side side, unsigned slot, struct victim *v)
{
	struct cbd_backend_info backend = { .id = 0 };
	struct cbd_blkdev_info blkdev = { .id = 0 };
	int r;

	*v = (struct victim){ .t = t, .side = side, .slot = slot };
	r = side == CBD_SIDE_BACKEND ? cbd_backend_get(t, slot, &backend)
				     : cbd_blkdev_get(t, slot, &blkdev);
	if (r < 0)
		return r;
	v->pid = side == CBD_SIDE_BACKEND ? backend.pid : blkdev.pid;
	v->liveness = side == CBD_SIDE_BACKEND ? backend.liveness : blkdev.liveness;
	v->host = cbd_claim_owner(t, side, slot, &v->claim);
	return 0;
}

/* The lock of a process of this boot is held: it lives, though it may be
 * stopped and not beat. */
static bool is_locked(const struct victim *v)
{
	return v->host >= 0 && cbd_boot_is_local(v->t, v->claim.boot_id) &&
	       cbd_lock_held(v->t->fd, cbd_side_lock_byte(v->side, v->slot));
}

static bool host_beats(struct cbd_transport *t, unsigned host)
{
	struct cbd_host_info info;

	return cbd_host_get(t, host, &info) == 0 && info.liveness == CBD_ALIVE;
}

static int refuse_alive(const struct victim *v)
{
	char text[100];

	return cbd_error(EBUSY, "%s: %s %u: is alive: process %u on %s; stop it there", v->t->path,
			 cbd_side_name(v->side), v->slot, v->pid,
			 cbd_host_describe(v->t, (unsigned)v->host, text, sizeof(text)));
}

static int refuse_suspect(const struct victim *v)
{
	char text[100];

	return cbd_error(EBUSY,
			 "%s: %s %u: its owner, process %u on %s, is suspect, not proven dead; "
			 "end it there, or if that host is off, say --host-gone %d",
			 v->t->path, cbd_side_name(v->side), v->slot, v->pid,
			 cbd_host_describe(v->t, (unsigned)v->host, text, sizeof(text)), v->host);
}

/* Is the operator's word there, and can it be true? */
static int check_word(struct cbd_transport *t, int host, const struct cbd_clear_options *o)
{
	char text[100];

	if (o->host_gone >= 0 && o->host_gone != host)
		return cbd_error(EINVAL, "%s: --host-gone %d: the owner is on %s", t->path,
				 o->host_gone,
				 cbd_host_describe(t, (unsigned)host, text, sizeof(text)));
	if (o->host_gone >= 0 && host_beats(t, (unsigned)host))
		return cbd_error(EBUSY, "%s: --host-gone %d: %s is not gone, it beats", t->path,
				 o->host_gone,
				 cbd_host_describe(t, (unsigned)host, text, sizeof(text)));
	return o->host_gone >= 0 || o->force ? 0 : -EBUSY;
}

/* ------------------------------------------------------------------ clear */

/*
 * Whether a backend left data in a page cache that lives is told by host and
 * boot in the state line (rule 7.5), so these stay unless the host is gone.
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

/* Nobody owns it, or only by a claim that is void. */
static int clear_unowned(struct victim *v)
{
	struct cbd_claim claim = CBD_CLAIM_INIT;
	int r = cbd_host_join(v->t, -1);

	if (r == 0)
		r = cbd_claim_take(v->t, v->side, v->slot, &claim);
	if (r < 0)
		return r;
	cbd_step("clear-taken");
	r = put_free(v, false);
	cbd_claim_release(&claim);
	return r;
}

/* The lock proves that its process is dead; the sweep pushes what it left. */
static int clear_dead(struct victim *v)
{
	int r = cbd_host_join(v->t, v->host);

	if (r == 0)
		r = cbd_claim_sweep(v->t, true);
	return r < 0 ? r : clear_unowned(v);
}

/* As if in the owner's place, which has the slot until its claim is lowered. */
static int clear_gone(struct victim *v)
{
	struct cbd_lock join = CBD_LOCK_NONE, lock = CBD_LOCK_NONE;
	int r = cbd_join_lock(v->t, &join);

	if (r < 0)
		return r;
	r = cbd_lock_take(&lock, v->t->fd, cbd_side_lock_byte(v->side, v->slot), false, 0);
	if (r < 0)
		r = cbd_error(-r, "%s: %s %u: lock: %m", v->t->path, cbd_side_name(v->side),
			      v->slot);
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
	int r = look(t, side, slot, &v);

	if (r < 0)
		return r;
	if (v.liveness == CBD_FREE)
		return cbd_error(ENOENT, "%s: %s %u: is not in use", t->path, cbd_side_name(side),
				 slot);
	if (v.host < 0)
		return clear_unowned(&v);
	if (v.liveness == CBD_ALIVE || is_locked(&v))
		return refuse_alive(&v);
	if (v.liveness == CBD_DEAD)
		return clear_dead(&v);
	r = check_word(t, v.host, o);
	if (r == -EBUSY && o->host_gone < 0)
		return refuse_suspect(&v);
	return r < 0 ? r : clear_gone(&v);
}

/* ------------------------------------------------------------------- host */

static bool owns(struct cbd_transport *t, unsigned host, enum cbd_side side, unsigned slot,
		 struct victim *v)
{
	return look(t, side, slot, v) == 0 && v->host == (int)host;
}

/* The first slot of the host, in V. */
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

static int wipe(struct cbd_transport *t, void *line)
{
	static const struct cbd_line zero;
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return cbd_error(EIO, "%s: the memory is poisoned or gone", t->path);
	cbd_line_store(&t->mem, line, &zero);
	cbd_fault_end(&f);
	return 0;
}

/* The claim goes last: until then nobody takes the slot. */
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
		r = wipe(t, cbd_host_request_at(t, host, b));
	if (r == 0)
		r = wipe(t, cbd_host_info_at(t, host, CBD_HOST_NAME));
	if (r == 0)
		r = wipe(t, cbd_host_claim_at(t, host));
	return r;
}

static int refuse_host(struct cbd_transport *t, unsigned host)
{
	char text[100];

	return cbd_error(EBUSY, "%s: %s is alive: it beats", t->path,
			 cbd_host_describe(t, host, text, sizeof(text)));
}

static int refuse_owner(struct cbd_transport *t, unsigned host, const struct victim *v)
{
	char text[100];

	return cbd_error(EBUSY,
			 "%s: %s owns %s %u (process %u) and may come back; if it is off, say "
			 "--host-gone %u",
			 t->path, cbd_host_describe(t, host, text, sizeof(text)),
			 cbd_side_name(v->side), v->slot, v->pid, host);
}

/* This machine's own slot: the dead are swept, and no process may be left. */
static int prepare_own_host(struct cbd_transport *t, unsigned host)
{
	int r;

	if (cbd_lock_held(t->fd, CBD_LOCK_HOST(host)))
		return refuse_host(t, host);
	t->host = (int)host; /* without a beat: the slot is about to go */
	r = cbd_claim_sweep(t, true);
	t->host = -1;
	return r < 0 ? r : 0;
}

static int clear_host(struct cbd_transport *t, unsigned host, const struct cbd_clear_options *o)
{
	struct cbd_host_info info;
	struct victim v;
	int r = cbd_host_get(t, host, &info);

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
		r = check_word(t, (int)host, o);
		if (r == -EBUSY && o->host_gone < 0)
			return refuse_owner(t, host, &v);
		if (r == 0)
			r = clear_slots_of(t, host);
	}
	return r < 0 ? r : free_host(t, host);
}

int cbd_clear(struct cbd_transport *t, enum cbd_object object, unsigned id,
	      const struct cbd_clear_options *o)
{
	int r;

	if (o->host_gone >= (int)t->header.hosts)
		return cbd_error(EINVAL, "%s: --host-gone %d: the transport has hosts 0..%u",
				 t->path, o->host_gone, t->header.hosts - 1);
	r = cbd_transport_watch(t);
	if (r < 0)
		return r;
	switch (object) {
	case CBD_OBJECT_HOST:
		return clear_host(t, id, o);
	case CBD_OBJECT_BACKEND:
		return clear_slot(t, CBD_SIDE_BACKEND, id, o);
	case CBD_OBJECT_BLKDEV:
		return clear_slot(t, CBD_SIDE_BLKDEV, id, o);
	default:
		return cbd_error(EINVAL, "%s: cannot clear that", t->path);
	}
}
