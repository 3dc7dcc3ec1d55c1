/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * takeover.c - a slot changes hands between two processes of one host (rule 7.6):
 * the side of the process that asks, and how the one that has handed over learns
 * whether the other one serves.
 *
 * Owns the take-over lock and the host's request line of a slot.  The draining and
 * the slot itself belong to backend.c.  A process that dies gives the take-over
 * lock up: what it has asked is not obeyed any more, and the old process takes the
 * slot back unless the new one has confirmed that it serves by giving it up itself.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "backend/backend.h"
#include "base/error.h"
#include "base/step.h"
#include "slots/host.h"

#define SUCCESSOR_NS 30000000000ull /* a newcomer that has not taken the slot by then */

struct cbd_takeover {
	struct cbd_transport *t;
	unsigned id;
	bool asked;
	uint32_t pid; /* of the process that serves, for people */
	uint64_t until_ns;
	struct cbd_lock lock;
	struct cbd_host_request_line request;
};

bool cbd_takeover_is_asked(const struct cbd_transport *t, unsigned id)
{
	return cbd_lock_held(t->fd, CBD_LOCK_TAKEOVER(id));
}

static void *request_place(const struct cbd_takeover *k)
{
	return cbd_host_request_at(k->t, (unsigned)k->t->host, k->id);
}

static int put_request(struct cbd_takeover *k, enum cbd_host_request request, uint32_t incarnation)
{
	struct cbd_host_request_line *q = &k->request;

	if (cbd_line_get(k->t, request_place(k), q) < 0)
		cbd_random(&q->sequence, sizeof(q->sequence));
	*q = (struct cbd_host_request_line){
		.sequence = q->sequence + 1,
		.request = request,
		.incarnation = incarnation,
	};
	cbd_random(q->owner, sizeof(q->owner));
	return cbd_line_put(k->t, request_place(k), q);
}

/* A process looks at the requests of its own host: another identity of this boot, as that
 * of another container, would wait in vain. */
static int check_identity(const struct cbd_takeover *k)
{
	struct cbd_claim_line claim;
	int owner = cbd_claim_owner(k->t, CBD_SIDE_BACKEND, k->id, &claim);
	char text[100];

	if (owner < 0 || owner == k->t->host || !cbd_boot_is_local(k->t, claim.boot_id))
		return 0;
	return cbd_error(EBUSY,
			 "%s: backend %u: is served under another identity of this boot, %s, and is "
			 "handed over under that one only; start it so, or stop the other process",
			 k->t->path, k->id,
			 cbd_host_describe(k->t, (unsigned)owner, text, sizeof(text)));
}

/* Whoever serves the slot now, if it is a process of this host. */
static int ask(struct cbd_takeover *k)
{
	struct cbd_state_line s;
	int r = cbd_line_get(k->t, cbd_backend_info_at(k->t, k->id, CBD_BACKEND_STATE), &s);

	if (r < 0 || !cbd_lock_held(k->t->fd, CBD_LOCK_BACKEND(k->id)))
		return r;
	r = check_identity(k);
	if (r < 0)
		return r;
	k->pid = s.pid;
	k->asked = true;
	cbd_step("takeover");
	r = put_request(k, CBD_HOST_REQUEST_TAKEOVER, s.incarnation);
	cbd_step("takeover-requested");
	return r;
}

int cbd_takeover_begin(struct cbd_transport *t, unsigned id, unsigned timeout_ms,
		       struct cbd_takeover **takeover)
{
	struct cbd_takeover *k;
	int r = cbd_transport_writable(t);

	if (r < 0)
		return r;
	if (!takeover)
		return cbd_error(EINVAL, "%s: no place for the take-over given", t->path);
	if (id >= t->header.backends)
		return cbd_error(EINVAL, "%s: backend %u: the transport has 0..%u", t->path, id,
				 t->header.backends - 1);
	r = cbd_host_join(t, -1);
	if (r < 0)
		return r;
	k = calloc(1, sizeof(*k));
	if (!k)
		return cbd_error(ENOMEM, "takeover: %m");
	k->t = t;
	k->id = id;
	k->until_ns = cbd_now_ns() + timeout_ms * 1000000ull;
	k->lock = (struct cbd_lock)CBD_LOCK_NONE;
	r = cbd_lock_take(&k->lock, t->fd, CBD_LOCK_TAKEOVER(id), false, 0);
	if (r == -EBUSY)
		r = cbd_error(EBUSY, "%s: backend %u: another process is taking it over", t->path,
			      id);
	else if (r < 0)
		r = cbd_error(-r, "%s: lock: %m", t->path);
	else
		r = ask(k);
	if (r < 0) {
		cbd_takeover_end(k);
		return r;
	}
	*takeover = k;
	return 0;
}

int cbd_takeover_poll(struct cbd_takeover *k)
{
	int r;

	if (!cbd_lock_held(k->t->fd, CBD_LOCK_BACKEND(k->id)))
		return 1;
	if (cbd_now_ns() >= k->until_ns)
		return cbd_error(ETIMEDOUT,
				 "%s: backend %u: the process that serves it (pid %u) does not "
				 "hand over",
				 k->t->path, k->id, k->pid);
	r = k->asked ? cbd_line_assert(k->t, request_place(k), &k->request) : 0;
	return r < 0 ? r : 0;
}

void cbd_takeover_end(struct cbd_takeover *k)
{
	if (!k)
		return;
	if (k->asked)
		put_request(k, CBD_HOST_REQUEST_NONE, 0);
	cbd_step("takeover-end");
	cbd_lock_release(&k->lock);
	free(k);
}

/* ------------------------------------------------------ has handed over */

static bool is_later(const struct cbd_backend *b, const struct cbd_state_line *s)
{
	return (int32_t)(s->incarnation - b->state.incarnation) > 0;
}

/* A successor served, and an administrator has stopped it.  (HANDOVER tells nothing: a
 * newcomer that gives up puts it back.) */
static bool has_stopped_in_order(const struct cbd_backend *b, const struct cbd_state_line *s)
{
	return is_later(b, s) && s->state == CBD_SLOT_GONE;
}

/* This process may still hold the host's lock, and then nobody else beats for the host.  A
 * host slot that is lost is found out by the next beat of the process that serves. */
static void beat_for_host(struct cbd_backend *b)
{
	uint64_t now = cbd_now_ns();

	if (now - b->tick_ns < cbd_interval_ns(b->t))
		return;
	b->tick_ns = now;
	cbd_host_beat(b->t);
}

int cbd_backend_successor(struct cbd_backend *b)
{
	struct cbd_successor *w = &b->successor;
	struct cbd_state_line s;
	struct cbd_beat_line beat;
	int r = cbd_transport_verify(b->t);

	if (r < 0)
		return r; /* neither beat nor slot are this process's to store any more */
	beat_for_host(b);
	if (cbd_takeover_is_asked(b->t, b->id)) {
		w->incarnation = 0;
		if (cbd_now_ns() - w->since_ns < SUCCESSOR_NS)
			return 0;
		w->since_ns = cbd_now_ns();
		return -ETIMEDOUT;
	}
	if (cbd_line_get(b->t, cbd_backend_info_at(b->t, b->id, CBD_BACKEND_STATE), &s) < 0)
		return -ESRCH;
	if (has_stopped_in_order(b, &s))
		return 1;
	if (!cbd_lock_held(b->t->fd, CBD_LOCK_BACKEND(b->id)))
		return -ESRCH;
	if (s.state != CBD_SLOT_LIVE || !is_later(b, &s) ||
	    cbd_line_get(b->t, cbd_backend_info_at(b->t, b->id, CBD_BACKEND_BEAT), &beat) < 0)
		return 0; /* somebody has the slot, and has not come far */
	/* Who was live when the take-over lock was free, and beats after that, has
	 * confirmed it; a lock may be the last that a dying process gives up. */
	if (w->incarnation != s.incarnation) {
		w->incarnation = s.incarnation;
		w->counter = beat.counter;
		return 0;
	}
	return beat.counter != w->counter;
}
