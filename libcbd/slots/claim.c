/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * claim.c - claims of slots: raise, check, release, sweep.
 *
 * States of a slot's line of one host: none or released or dead -> raised ->
 * released (by the owner) or dead (by a process of the same boot that got the
 * owner's lock).  A process that dies after raising leaves a raised line with
 * a free lock, which the sweep of this host finds; if the whole host died,
 * its next boot makes the line void.
 */
#include <config.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "slots/claim.h"
#include "base/error.h"
#include "slots/host.h"
#include "slots/leftover.h"
#include "base/step.h"

#define RAISE_TRIES 16

/* Locks prove something only to a process that opened the same file in the same boot. */
static bool same_lock(const struct cbd_transport *t, const struct cbd_claim_line *line)
{
	return cbd_boot_is_local(t, line->boot_id) && line->lock_dev == (uint64_t)t->dev &&
	       line->lock_ino == (uint64_t)t->ino;
}

/* No host has this slot: a host enters its slot before it claims anything. */
static bool is_free_host(const struct cbd_transport *t, unsigned host)
{
	struct cbd_host_line line;

	return cbd_line_get(t, cbd_host_info_at(t, host, CBD_HOST_STATE), &line) == 0 &&
	       line.state == 0;
}

bool cbd_claim_raised(const struct cbd_transport *t, enum cbd_side side, unsigned slot,
		      unsigned host, struct cbd_claim_line *line)
{
	uint8_t boot[16];

	/* A damaged line counts as raised, so that no slot is freed on a guess.
	 * If it has an owner, that stores it again at its next beat; if not, a
	 * sweep of its host finds that out.  Where there is no such host, nobody would
	 * ever: the line came late, from before the memory was formatted. */
	if (cbd_line_get(t, cbd_side_claim_at(t, side, slot, host), line) < 0) {
		memset(line, 0, sizeof(*line));
		return !is_free_host(t, host);
	}
	if (line->state != CBD_CLAIM_RAISED)
		return false;
	return !cbd_host_boot(t, host, boot) || memcmp(boot, line->boot_id, 16) == 0;
}

/* Does the slot's state line name this claim?  Its owner wrote it after the claim. */
static bool has_entered(const struct cbd_transport *t, enum cbd_side side, unsigned slot,
			const struct cbd_claim_line *line)
{
	struct cbd_state_line state;

	return cbd_line_get(t, cbd_side_state_at(t, side, slot), &state) == 0 &&
	       memcmp(state.owner, line->owner, sizeof(state.owner)) == 0;
}

/*
 * Two raised lines of one generation: a process died between the store of its claim and
 * the write-back, which came late, when another host had found the slot free.  The owner
 * that lives has entered the slot; at its next beat it raises its claim above.
 */
int cbd_claim_owner(const struct cbd_transport *t, enum cbd_side side, unsigned slot,
		    struct cbd_claim_line *line)
{
	struct cbd_claim_line l;
	uint64_t generation = 0;
	int owner = -1;

	for (unsigned h = 0; h < t->header.hosts; h++) {
		if (!cbd_claim_raised(t, side, slot, h, &l))
			continue;
		if (owner >= 0 && (l.generation < generation ||
				   (l.generation == generation && !has_entered(t, side, slot, &l))))
			continue;
		owner = (int)h;
		generation = l.generation;
		*line = l;
	}
	return owner;
}

bool cbd_claim_is_dead(const struct cbd_transport *t, enum cbd_side side, unsigned slot,
		       const struct cbd_claim_line *line)
{
	return same_lock(t, line) && !cbd_lock_held(t->fd, cbd_side_lock_byte(side, slot));
}

static int lower(struct cbd_transport *t, enum cbd_side side, unsigned slot, unsigned host,
		 struct cbd_claim_line *line, enum cbd_claim_state state)
{
	line->state = state;
	return cbd_line_put(t, cbd_side_claim_at(t, side, slot, host), line);
}

/* Mark the line of HOST dead: this host, or another identity of this boot.  The caller holds
 * the slot's lock, so the process that raised the line is gone.  1: marked, 0: it was not
 * raised, or a negative errno. */
static int bury(struct cbd_transport *t, enum cbd_side side, unsigned slot, unsigned host)
{
	struct cbd_claim_line line;
	int r = cbd_line_get(t, cbd_side_claim_at(t, side, slot, host), &line);

	if (r == -EIO)
		return r;
	if (r == -EBADMSG) {
		/* no process of this host holds the lock, and no other host
		 * writes this line: it may be stored again */
		memset(&line, 0, sizeof(line));
	} else if (line.state != CBD_CLAIM_RAISED) {
		return 0;
	}
	if (r == 0 && cbd_boot_is_local(t, line.boot_id) && !same_lock(t, &line))
		return cbd_error(
			EBUSY,
			"%s: %s %u: is owned by a process of this host that opened it under "
			"another device node",
			t->path, cbd_side_name(side), slot);
	cbd_leftover_write_back(t, side, slot);
	cbd_step("claim-swept");
	r = lower(t, side, slot, host, &line, CBD_CLAIM_DEAD);
	return r < 0 ? r : 1;
}

/* A host other than this one that claims the slot, or -1.  Raises *generation to the
 * highest that any line shows. */
static int other_raised(const struct cbd_claim *c, uint64_t *generation)
{
	const struct cbd_transport *t = c->t;
	struct cbd_claim_line line;
	int other = -1;

	for (unsigned h = 0; h < t->header.hosts; h++) {
		if ((int)h == t->host)
			continue;
		if (cbd_claim_raised(t, c->side, c->slot, h, &line) && (int)h != c->gone)
			other = (int)h;
		if (line.generation > *generation)
			*generation = line.generation;
	}
	return other;
}

int cbd_claim_pid(const struct cbd_transport *t, enum cbd_side side, unsigned slot)
{
	struct cbd_state_line state;
	int r;

	if (cbd_line_get(t, cbd_side_state_at(t, side, slot), &state) < 0 || state.pid <= 1 ||
	    state.pid > INT_MAX)
		return 0;
	r = cbd_lock_is_of(state.pid, t->fd, cbd_side_lock_byte(side, slot));
	return r > 0 ? (int)state.pid : r;
}

/* By another host: its word on a process cannot be confirmed here.  The caller has the
 * slot's lock, so a process of this boot is dead. */
static int owned_by(const struct cbd_transport *t, enum cbd_side side, unsigned slot, int host)
{
	struct cbd_claim_line line;
	char text[100];

	cbd_host_describe(t, (unsigned)host, text, sizeof(text));
	if (cbd_line_get(t, cbd_side_claim_at(t, side, slot, (unsigned)host), &line) < 0 ||
	    !same_lock(t, &line))
		return cbd_error(EBUSY, "%s: %s %u: is owned by %s", t->path, cbd_side_name(side),
				 slot, text);
	return cbd_error(EBUSY,
			 "%s: %s %u: is owned by %s, another identity of this boot, whose process "
			 "is dead; %s",
			 t->path, cbd_side_name(side), slot, text,
			 side == CBD_SIDE_BACKEND ? "start it under that identity, or, if that was "
						    "a container of this machine, with --fenced"
						  : "'cbdctl clear' frees it");
}

static int in_use(const struct cbd_transport *t, enum cbd_side side, unsigned slot)
{
	int pid = cbd_claim_pid(t, side, slot);

	if (pid <= 0)
		return cbd_error(EBUSY, "%s: %s %u: is in use by a process of this host", t->path,
				 cbd_side_name(side), slot);
	return cbd_error(EBUSY, "%s: %s %u: is in use by process %d of this host", t->path,
			 cbd_side_name(side), slot, pid);
}

/* Rule 1.2: store the own line as raised, then read those of all other hosts.  Two hosts
 * that do so at once both see each other, and both lower their lines and try again. */
static int raise_line(struct cbd_claim *c)
{
	struct cbd_transport *t = c->t;
	struct cbd_claim_line old;
	uint64_t generation = 0;
	uint8_t jitter;
	int other, r;

	if (cbd_line_get(t, cbd_side_claim_at(t, c->side, c->slot, (unsigned)t->host), &old) == 0)
		generation = old.generation;
	for (int tries = 0; tries < RAISE_TRIES; tries++) {
		other = other_raised(c, &generation);
		if (other >= 0)
			return owned_by(t, c->side, c->slot, other);
		c->line.generation = ++generation;
		c->line.state = CBD_CLAIM_RAISED;
		r = cbd_line_put(t, cbd_side_claim_at(t, c->side, c->slot, (unsigned)t->host),
				 &c->line);
		if (r < 0)
			return r;
		cbd_step("claim-raised");
		cbd_store_load_fence();
		other = other_raised(c, &generation);
		if (other < 0)
			return 0;
		r = lower(t, c->side, c->slot, (unsigned)t->host, &c->line, CBD_CLAIM_RELEASED);
		if (r < 0)
			return r;
		cbd_random(&jitter, 1);
		cbd_sleep_us(1000 + jitter * 100u);
	}
	return owned_by(t, c->side, c->slot, other);
}

/* This host may write the line of the host that is gone: no process there does. */
static int lower_gone(struct cbd_claim *c)
{
	void *place = cbd_side_claim_at(c->t, c->side, c->slot, (unsigned)c->gone);
	struct cbd_claim_line line;

	if (cbd_line_get(c->t, place, &line) < 0)
		memset(&line, 0, sizeof(line));
	line.state = CBD_CLAIM_DEAD;
	return cbd_line_put(c->t, place, &line);
}

static int take_locked(struct cbd_claim *c)
{
	struct cbd_transport *t = c->t;
	int r = cbd_lock_take(&c->lock, t->fd, cbd_side_lock_byte(c->side, c->slot), false, 0);

	if (r == -EBUSY)
		return in_use(t, c->side, c->slot);
	if (r < 0)
		return cbd_error(-r, "%s: cannot lock: %m", t->path);
	cbd_step("claim-locked");
	r = bury(t, c->side, c->slot, (unsigned)t->host);
	if (r >= 0)
		r = raise_line(c);
	if (r >= 0 && c->gone >= 0)
		r = lower_gone(c);
	if (r < 0)
		cbd_lock_release(&c->lock);
	return r;
}

int cbd_claim_take(struct cbd_transport *t, enum cbd_side side, unsigned slot, struct cbd_claim *c)
{
	return cbd_claim_take_from(t, side, slot, -1, c);
}

int cbd_claim_take_from(struct cbd_transport *t, enum cbd_side side, unsigned slot, int host,
			struct cbd_claim *c)
{
	struct cbd_lock join = CBD_LOCK_NONE;
	int r;

	*c = (struct cbd_claim){
		.t = t, .side = side, .slot = slot, .lock = CBD_LOCK_NONE, .gone = host
	};
	if (slot >= cbd_side_slots(t, side))
		return cbd_error(EINVAL, "%s: %s %u: the transport has 0..%u", t->path,
				 cbd_side_name(side), slot, cbd_side_slots(t, side) - 1);
	cbd_random(c->line.owner, sizeof(c->line.owner));
	memcpy(c->line.boot_id, t->identity.boot_id, 16);
	c->line.lock_dev = t->dev;
	c->line.lock_ino = t->ino;
	r = cbd_join_lock(t, &join);
	if (r < 0)
		return r;
	r = take_locked(c);
	cbd_lock_release(&join);
	return r;
}

/*
 * Another host has a higher claim on the slot.  Nobody takes the slot of a blkdev that
 * was not freed first, in its owner's own line: a higher claim on one that was not is a
 * lie.  The slot of a backend is taken over by a higher claim (rule 7.5).
 */
static bool is_false(const struct cbd_claim *c)
{
	struct cbd_claim_line own;

	return c->side == CBD_SIDE_BLKDEV &&
	       cbd_line_get(c->t, cbd_side_claim_at(c->t, c->side, c->slot, (unsigned)c->t->host),
			    &own) == 0 &&
	       own.state == CBD_CLAIM_RAISED && memcmp(own.owner, c->line.owner, 16) == 0 &&
	       has_entered(c->t, c->side, c->slot, &c->line);
}

/* Above GENERATION; where there is nothing above, equal, and the state line decides. */
static void raise_above(struct cbd_claim *c, uint64_t generation)
{
	c->line.generation = generation == UINT64_MAX ? generation : generation + 1;
}

int cbd_claim_check(struct cbd_claim *c)
{
	struct cbd_transport *t = c->t;
	struct cbd_claim_line line;
	int r = cbd_transport_verify(t);

	if (r < 0)
		return r;
	cbd_transport_check_path(t);
	for (unsigned h = 0; h < t->header.hosts; h++) {
		if ((int)h == t->host || !cbd_claim_raised(t, c->side, c->slot, h, &line) ||
		    line.state != CBD_CLAIM_RAISED || line.generation < c->line.generation)
			continue;
		if (line.generation > c->line.generation && !is_false(c))
			return cbd_error(ESTALE, "%s: %s %u: host %u has taken it over", t->path,
					 cbd_side_name(c->side), c->slot, h);
		/* an equal claim came late: see cbd_claim_owner() */
		raise_above(c, line.generation);
	}
	r = cbd_line_get(t, cbd_side_claim_at(t, c->side, c->slot, (unsigned)t->host), &line);
	if (r == 0 && line.state != CBD_CLAIM_RAISED && memcmp(line.owner, c->line.owner, 16) == 0)
		return cbd_error(ESTALE, "%s: %s %u: it was cleared", t->path,
				 cbd_side_name(c->side), c->slot);
	/* a later boot of this host has taken the slot: this process is a leftover */
	if (r == 0 && line.state == CBD_CLAIM_RAISED && line.generation > c->line.generation &&
	    memcmp(line.owner, c->line.owner, 16) != 0)
		return cbd_error(ESTALE, "%s: %s %u: a later boot of this host has taken it over",
				 t->path, cbd_side_name(c->side), c->slot);
	return cbd_line_assert(t, cbd_side_claim_at(t, c->side, c->slot, (unsigned)t->host),
			       &c->line);
}

void cbd_claim_release(struct cbd_claim *c)
{
	if (c->lock.fd < 0)
		return;
	cbd_step("claim-release");
	lower(c->t, c->side, c->slot, (unsigned)c->t->host, &c->line, CBD_CLAIM_RELEASED);
	cbd_lock_release(&c->lock);
}

int cbd_claim_renew(struct cbd_claim *c)
{
	int r = cbd_lock_renew(&c->lock);

	return r < 0 ? cbd_error(-r, "%s: cannot lock: %m", c->t->path) : 0;
}

/* ------------------------------------------------------------------ sweep */

/* DAMAGED: damaged lines have stayed so for long, and so have no owner. */
static int sweep_slot(struct cbd_transport *t, enum cbd_side side, unsigned slot, unsigned host,
		      bool damaged)
{
	struct cbd_lock lock = CBD_LOCK_NONE;
	struct cbd_claim_line line;
	int r = cbd_line_get(t, cbd_side_claim_at(t, side, slot, host), &line);

	if (r == -EIO || (r == -EBADMSG && !damaged))
		return 0;
	if (r == 0 && line.state != CBD_CLAIM_RAISED)
		return 0;
	if (r == 0 && cbd_boot_is_local(t, line.boot_id) && !same_lock(t, &line))
		return 0;
	if (cbd_lock_take(&lock, t->fd, cbd_side_lock_byte(side, slot), false, 0) < 0)
		return 0;
	r = bury(t, side, slot, host);
	cbd_lock_release(&lock);
	if (r > 0)
		cbd_log(CBD_LOG_INFO, "%s: %s %u: its process on this host is dead; released",
			t->path, cbd_side_name(side), slot);
	return r > 0;
}

/* Is there anything to sweep?  Asked without the join lock, since mostly there is not. */
static bool sweep_needed(struct cbd_transport *t, enum cbd_side side, bool *damaged)
{
	struct cbd_claim_line line;
	bool needed = false;

	for (unsigned i = 0; i < cbd_side_slots(t, side); i++) {
		int r = cbd_line_get(t, cbd_side_claim_at(t, side, i, (unsigned)t->host), &line);

		if (r == -EIO || (r == 0 && line.state != CBD_CLAIM_RAISED) ||
		    cbd_lock_held(t->fd, cbd_side_lock_byte(side, i)))
			continue;
		*damaged |= r < 0;
		needed |= r == 0;
	}
	return needed;
}

/*
 * Nobody can take a slot while its line is damaged.  An owner that opened another device
 * node, whose lock this process does not see, stores its line again at its next beat; so
 * a line that is still damaged after three beats has no living owner.
 */
static bool stays_damaged(struct cbd_transport *t, bool damaged)
{
	uint64_t now = cbd_now_ns(), since = cbd_shared_get(&t->claims_damaged_ns);

	if (!damaged || since == 0)
		cbd_shared_set(&t->claims_damaged_ns, damaged ? now : 0);
	return damaged && since != 0 && now - since > 3 * cbd_interval_ns(t);
}

/* Every slot of a side, but no further one after UNTIL_NS; *MORE: some are left. */
static int sweep_side(struct cbd_transport *t, enum cbd_side side, bool damaged, uint64_t until_ns,
		      bool *more)
{
	int count = 0;

	for (unsigned i = 0; i < cbd_side_slots(t, side) && !*more; i++) {
		int swept = sweep_slot(t, side, i, (unsigned)t->host, damaged);

		count += swept;
		/* only what was swept has cost anything */
		*more = swept && cbd_now_ns() >= until_ns;
	}
	return count;
}

static int sweep_sides(struct cbd_transport *t, bool damaged, uint64_t until_ns, bool *more)
{
	int count = sweep_side(t, CBD_SIDE_BLKDEV, damaged, until_ns, more);

	/* in this order: MORE ends the second */
	return count + sweep_side(t, CBD_SIDE_BACKEND, damaged, until_ns, more);
}

static int sweep(struct cbd_transport *t, bool wait, uint64_t until_ns, bool *more)
{
	struct cbd_lock join = CBD_LOCK_NONE;
	bool damaged = false, needed = sweep_needed(t, CBD_SIDE_BLKDEV, &damaged);
	int count = 0, r;

	needed |= sweep_needed(t, CBD_SIDE_BACKEND, &damaged);
	damaged = stays_damaged(t, damaged);
	if (!needed && !damaged)
		return 0;
	r = wait ? cbd_join_lock(t, &join) : cbd_lock_take(&join, t->fd, CBD_LOCK_JOIN, false, 0);
	if (r < 0)
		return r;
	count = sweep_sides(t, damaged, until_ns, more);
	cbd_lock_release(&join);
	return count;
}

int cbd_claim_sweep(struct cbd_transport *t, bool wait)
{
	bool more = false;

	return sweep(t, wait, UINT64_MAX, &more);
}

int cbd_claim_sweep_some(struct cbd_transport *t, uint64_t until_ns, bool *more)
{
	*more = false;
	return sweep(t, false, until_ns, more);
}

/* -------------------------------------------------------- another identity */

static bool owns_any(const struct cbd_transport *t, enum cbd_side side, unsigned host)
{
	struct cbd_claim_line line;

	for (unsigned i = 0; i < cbd_side_slots(t, side); i++)
		if (cbd_claim_raised(t, side, i, host, &line))
			return true;
	return false;
}

uint64_t cbd_claim_counter(const struct cbd_transport *t, enum cbd_side side, unsigned slot)
{
	struct cbd_beat_line line;

	return cbd_line_get(t, cbd_side_beat_at(t, side, slot), &line) < 0 ? 0 : line.counter;
}

void cbd_claim_note_beats(const struct cbd_transport *t, struct cbd_slot_beats *beats)
{
	for (int side = CBD_SIDE_BACKEND; side <= CBD_SIDE_BLKDEV; side++)
		for (unsigned i = 0; i < cbd_side_slots(t, side); i++)
			beats->counter[side][i] = cbd_claim_counter(t, side, i);
}

bool cbd_claim_sweep_slot(struct cbd_transport *t, enum cbd_side side, unsigned slot, unsigned host,
			  uint64_t counter)
{
	if (cbd_claim_counter(t, side, slot) != counter)
		return false;
	sweep_slot(t, side, slot, host, false);
	return true;
}

bool cbd_claim_sweep_host(struct cbd_transport *t, unsigned host,
			  const struct cbd_slot_beats *beats)
{
	for (unsigned i = 0; i < t->header.blkdevs; i++)
		cbd_claim_sweep_slot(t, CBD_SIDE_BLKDEV, i, host,
				     beats->counter[CBD_SIDE_BLKDEV][i]);
	for (unsigned i = 0; i < t->header.backends; i++)
		cbd_claim_sweep_slot(t, CBD_SIDE_BACKEND, i, host,
				     beats->counter[CBD_SIDE_BACKEND][i]);
	return !owns_any(t, CBD_SIDE_BLKDEV, host) && !owns_any(t, CBD_SIDE_BACKEND, host);
}
