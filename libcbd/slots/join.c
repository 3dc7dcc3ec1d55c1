/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * join.c - this machine takes its slot in the transport, and enters its boot.
 *
 * States of a host slot: free (claim line zero), taken (token), named (claim
 * line sealed), and then a boot id that follows the machine's boots.  A
 * process that dies between two of them leaves a slot which the next process
 * of the same host finishes: the token tells whose it is.
 */
#include <config.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/error.h"
#include "base/step.h"
#include "memory/fault.h"
#include "slots/claim.h"
#include "slots/host.h"
#include "slots/leftover.h"

/* Software mode: how long a host waits after it has stored its claim before it reads it
 * back.  Another host sees a store within milliseconds at worst; a host waits once in
 * its life. */
#define CLAIM_WAIT_US 20000
#define ENTER_TRIES 8

/* How long the last look at a slot that was left in order takes, in heartbeats, and at least.
 * A process of that boot at another node of the device stores IN_USE again within one
 * heartbeat, and a busy machine may give it its CPU late. */
#define LEFT_BEATS 2
#define LEFT_LEAST_NS 500000000ull

/* A process that closes the transport waits for others that do, but not for one that joins:
 * that is a process of this host too, and so this one is not the last. */
#define LEAVE_WAIT_MS 500

/* ------------------------------------------------------------------- slot */

enum slot_is { SLOT_FREE, SLOT_OWN, SLOT_FOREIGN };

/* The state line decides, where there is one: a claim line may be that of a process which
 * died before it was written back, and came late, over the owner's. */
static enum slot_is slot_is(const struct cbd_transport *t, unsigned h)
{
	struct cbd_host_claim_line line;
	struct cbd_host_line state;
	int r = cbd_line_get(t, cbd_host_info_at(t, h, CBD_HOST_STATE), &state);

	if (r == 0 && state.state != 0)
		return memcmp(state.uuid, t->identity.uuid, 16) == 0 ? SLOT_OWN : SLOT_FOREIGN;
	r = cbd_line_get(t, cbd_host_claim_at(t, h), &line);
	if (r == 0 && cbd_is_zero(&line, sizeof(line)))
		return SLOT_FREE;
	if (r == 0 && memcmp(line.uuid, t->identity.uuid, 16) == 0)
		return SLOT_OWN;
	/* A token without a name.  This host's token: a process of it died
	 * between the two.  Another: that host is just taking the slot. */
	if (r == -EBADMSG && line.token == cbd_host_token(t->identity.uuid))
		return SLOT_OWN;
	return SLOT_FOREIGN;
}

/* Hardware mode: of several hosts one sets the token FROM to its own. */
static bool token_taken(struct cbd_transport *t, unsigned h, uint64_t from, uint64_t token)
{
	struct cbd_host_claim_line *line = cbd_host_claim_at(t, h);
	struct cbd_fault f;
	bool taken;

	if (!CBD_FAULT_TRY(&f))
		return false;
	taken = cbd_token_swap(&line->token, from, token);
	cbd_fault_end(&f);
	return taken;
}

/* 0; -EAGAIN: another host was faster; -EIO. */
static int slot_take(struct cbd_transport *t, unsigned h)
{
	struct cbd_host_claim_line line = { .token = cbd_host_token(t->identity.uuid) };
	uint8_t jitter;

	memcpy(line.uuid, t->identity.uuid, 16);
	if (!t->mem.software) {
		if (!token_taken(t, h, 0, line.token))
			return -EAGAIN;
		cbd_step("host-taken");
		return cbd_line_put(t, cbd_host_claim_at(t, h), &line);
	}
	if (cbd_line_put(t, cbd_host_claim_at(t, h), &line) < 0)
		return -EIO;
	cbd_random(&jitter, 1);
	cbd_sleep_us(CLAIM_WAIT_US + jitter * 40u);
	cbd_step("host-written");
	return slot_is(t, h) == SLOT_OWN ? 0 : -EAGAIN;
}

/* The slot is this host's.  If a process died before it stored the name, store it. */
static int slot_name(struct cbd_transport *t, unsigned h)
{
	struct cbd_host_claim_line line;
	int r = cbd_line_get(t, cbd_host_claim_at(t, h), &line);

	if (r != -EBADMSG)
		return r < 0 ? r : (int)h;
	line = (struct cbd_host_claim_line){ .token = cbd_host_token(t->identity.uuid) };
	memcpy(line.uuid, t->identity.uuid, 16);
	r = cbd_line_put(t, cbd_host_claim_at(t, h), &line);
	return r < 0 ? r : (int)h;
}

/* A backend slot that goes by host slot H to tell whose page cache may hold unwritten data
 * (rule 7.5), or -1. */
static int needed_by(const struct cbd_transport *t, unsigned h)
{
	for (unsigned b = 0; b < t->header.backends; b++)
		if (cbd_leftover_in_page_cache(t, b) == (int)h)
			return (int)b;
	return -1;
}

static bool has_process(const struct cbd_transport *t, unsigned h)
{
	return cbd_lock_held(t->fd, CBD_LOCK_HOST(h)) || cbd_lock_held(t->fd, CBD_LOCK_MEMBER(h));
}

/* Host slot H is not this identity's: whose it is, and what to do. */
static int refuse_configured(const struct cbd_transport *t, unsigned h)
{
	int backend = needed_by(t, h);
	char text[100];

	cbd_host_describe(t, h, text, sizeof(text));
	if (!cbd_host_is_local(t, h))
		return cbd_error(EEXIST, "%s: host id %u belongs to another machine, %s", t->path,
				 h, text);
	if (backend < 0 || has_process(t, h))
		return cbd_error(EEXIST,
				 "%s: host id %u belongs to another identity of this boot, %s, and "
				 "is in use",
				 t->path, h, text);
	return cbd_error(EEXIST,
			 "%s: host id %u belongs to another identity of this boot, %s, which is "
			 "expected back: it served backend %d and did not stop in order; start it "
			 "under that identity, or give it up with 'cbdctl clear host %u'",
			 t->path, h, text, backend, h);
}

static int slot_configured(struct cbd_transport *t, unsigned h)
{
	enum slot_is is;

	if (h >= t->header.hosts)
		return cbd_error(EINVAL, "%s: host id %u: the transport has 0..%u", t->path, h,
				 t->header.hosts - 1);
	is = slot_is(t, h);
	if (is == SLOT_OWN)
		return slot_name(t, h);
	if (is == SLOT_FREE && slot_take(t, h) == 0)
		return (int)h;
	return refuse_configured(t, h);
}

static int slot_find(struct cbd_transport *t)
{
	for (unsigned h = 0; h < t->header.hosts; h++)
		if (slot_is(t, h) == SLOT_OWN)
			return slot_name(t, h);
	for (unsigned h = 0; h < t->header.hosts; h++)
		if (slot_is(t, h) == SLOT_FREE && slot_take(t, h) == 0)
			return (int)h;
	return cbd_error(ENOSPC,
			 "%s: all %u host slots are taken; 'cbdctl clear host' frees that of a "
			 "machine that is gone",
			 t->path, t->header.hosts);
}

/* ------------------------------------------------------------------- boot */

/* Does the slot's heartbeat move?  LOOK_NS: for how long that is looked at. */
static bool slot_beats(const struct cbd_transport *t, unsigned h, uint64_t look_ns)
{
	uint64_t before = cbd_host_counter(t, h), until = cbd_now_ns() + look_ns;

	do {
		cbd_sleep_us(t->header.heartbeat_ms * 250);
		if (cbd_host_counter(t, h) != before)
			return true;
	} while (cbd_now_ns() < until);
	return false;
}

static int boot_write(struct cbd_transport *t, unsigned h, uint32_t incarnation)
{
	struct cbd_host_line line = { .incarnation = incarnation, .state = CBD_HOST_IN_USE };
	int r;

	memcpy(line.uuid, t->identity.uuid, 16);
	memcpy(line.boot_id, t->identity.boot_id, 16);
	r = cbd_text_put(t, cbd_host_info_at(t, h, CBD_HOST_NAME), CBD_NAME_LINES,
			 t->identity.name);
	cbd_step("host-named");
	if (r == 0)
		r = cbd_line_put(t, cbd_host_info_at(t, h, CBD_HOST_STATE), &line);
	t->host_line = line;
	return r;
}

/*
 * Enter a slot that nobody had.  When two hosts took it at once, with a pause between look
 * and store, both have stored: the last one has it, and the other one looks for another
 * slot (-EAGAIN).
 */
static int boot_first(struct cbd_transport *t, unsigned h, uint32_t incarnation)
{
	struct cbd_host_line line;
	uint8_t jitter;
	int r = boot_write(t, h, incarnation);

	if (r < 0 || !t->mem.software)
		return r;
	cbd_random(&jitter, 1);
	cbd_sleep_us(CLAIM_WAIT_US + jitter * 40u);
	r = cbd_line_get(t, cbd_host_info_at(t, h, CBD_HOST_STATE), &line);
	if (r == 0 && memcmp(line.uuid, t->identity.uuid, 16) != 0)
		return -EAGAIN;
	return r == -EIO ? r : 0;
}

/* A slot of this boot. */
static int boot_again(struct cbd_transport *t, unsigned h, const struct cbd_host_line *line)
{
	if (line->state == CBD_HOST_LEFT)
		return boot_write(t, h, line->incarnation);
	t->host_line = *line;
	return 0;
}

/*
 * Is the earlier boot of this identity gone?  Silence as long as a suspicion takes says so;
 * where the last process of that boot has left, it is enough to wait for a process that its
 * locks do not show (LEFT_BEATS).  -EADDRINUSE: it beats; -EAGAIN: somebody entered the slot
 * meanwhile.
 */
static int boot_gone(const struct cbd_transport *t, unsigned h, bool left)
{
	uint64_t look_ns = t->header.heartbeat_ms * UINT64_C(1000000) * LEFT_BEATS;
	struct cbd_host_line line;
	int r;

	if (look_ns < LEFT_LEAST_NS)
		look_ns = LEFT_LEAST_NS;
	if (slot_beats(t, h, left ? look_ns : cbd_suspect_ns(t)))
		return cbd_error(EADDRINUSE,
				 "%s: host id %u is in use by another machine with the same "
				 "identity; write a uuid of its own to %s, or give host-id",
				 t->path, h, CBD_HOST_ID_FILE);
	if (!left)
		return 0;
	r = cbd_line_get(t, cbd_host_info_at(t, h, CBD_HOST_STATE), &line);
	if (r == -EIO)
		return r;
	/* damaged by now: the long look decides */
	return r == 0 && line.state == CBD_HOST_LEFT ? 0 : -EAGAIN;
}

/* To others the boot id proves that the earlier boot of this host is gone (rule 2), so it
 * must not be stored while that boot still beats. */
static int boot_enter(struct cbd_transport *t, unsigned h)
{
	struct cbd_host_line line;
	int r = cbd_line_get(t, cbd_host_info_at(t, h, CBD_HOST_STATE), &line), gone;

	if (r == -EIO)
		return r;
	if (r == 0 && line.state == CBD_HOST_FREE)
		return boot_first(t, h, line.incarnation + 1);
	if (r == 0 && memcmp(line.uuid, t->identity.uuid, 16) != 0)
		return -EAGAIN; /* another host has entered it meanwhile */
	if (r == 0 && memcmp(line.boot_id, t->identity.boot_id, 16) == 0)
		return boot_again(t, h, &line);
	gone = boot_gone(t, h, r == 0 && line.state == CBD_HOST_LEFT);
	if (gone < 0)
		return gone;
	cbd_leftover_write_back_host(t, h);
	return boot_write(t, h, r == 0 ? line.incarnation + 1 : 1);
}

/*
 * This process closes the transport.  When it is the last one of the host (by the locks of
 * this node of the device), its next boot need not wait for as long as a suspicion takes:
 * nothing of this boot can be there to be robbed.  With the join lock, so that no process
 * enters between the look and the store.  Where anything fails the line stays IN_USE, which
 * costs the next boot time and nothing else: so where this process has become a user that
 * may not open the file again, which a lock needs.
 */
static void host_leave(struct cbd_transport *t)
{
	void *place = cbd_host_info_at(t, (unsigned)t->host, CBD_HOST_STATE);
	struct cbd_lock lock = CBD_LOCK_NONE;
	struct cbd_host_line line;

	if (cbd_lock_take(&lock, t->fd, CBD_LOCK_JOIN, false, LEAVE_WAIT_MS) < 0)
		return;
	cbd_lock_release(&t->host_lock);
	cbd_lock_release(&t->member_lock);
	if (!has_process(t, (unsigned)t->host) && cbd_line_get(t, place, &line) == 0 &&
	    memcmp(&line, &t->host_line, sizeof(line)) == 0) {
		line.state = CBD_HOST_LEFT;
		cbd_step("host-leaving");
		(void)cbd_line_put(t, place, &line);
	}
	cbd_lock_release(&lock);
}

/* The slot that was entered. */
static int slot_enter(struct cbd_transport *t, int host_id)
{
	for (unsigned tries = 0; tries < ENTER_TRIES; tries++) {
		int h = host_id >= 0 ? slot_configured(t, (unsigned)host_id) : slot_find(t);
		int r = h < 0 ? h : boot_enter(t, (unsigned)h);

		if (r != -EAGAIN)
			return r < 0 ? r : h;
	}
	return cbd_error(EBUSY, "%s: other hosts take each slot at the same moment; try again",
			 t->path);
}

/* ------------------------------------------------------------------ reuse */

/* Slots of other identities of this boot that have no process, when they were seen so. */
struct left_behind {
	bool is[CBD_MAX_HOSTS];
	uint64_t counters[CBD_MAX_HOSTS];
	uint64_t tokens[CBD_MAX_HOSTS];
	struct cbd_slot_beats beats;
};

/* No process that opened this file belongs to the host of the slot, and none is expected
 * back for its disk. */
static bool is_left_behind(const struct cbd_transport *t, unsigned h)
{
	struct cbd_host_line line;

	return cbd_line_get(t, cbd_host_info_at(t, h, CBD_HOST_STATE), &line) == 0 &&
	       line.state != 0 && cbd_boot_is_local(t, line.boot_id) &&
	       memcmp(line.uuid, t->identity.uuid, 16) != 0 && !has_process(t, h) &&
	       needed_by(t, h) < 0;
}

static bool is_asked_for(unsigned h, int host_id)
{
	return host_id < 0 || h == (unsigned)host_id;
}

static uint64_t token_of(const struct cbd_transport *t, unsigned h)
{
	struct cbd_host_claim_line line;

	/* also of a damaged line: only that it stays the same counts */
	return cbd_line_get(t, cbd_host_claim_at(t, h), &line) == -EIO ? 0 : line.token;
}

/*
 * Processes that opened another node of the device lock another inode: they are seen by
 * their beats alone, so these have to stand still for as long as a suspicion takes.
 * Without the join lock, for several processes may wait at a time.
 */
static bool watch_left_behind(const struct cbd_transport *t, int host_id, struct left_behind *left)
{
	bool any = false;

	cbd_claim_note_beats(t, &left->beats);
	for (unsigned h = 0; h < t->header.hosts; h++) {
		left->is[h] = is_asked_for(h, host_id) && is_left_behind(t, h);
		if (!left->is[h])
			continue;
		left->counters[h] = cbd_host_counter(t, h);
		left->tokens[h] = token_of(t, h);
		any = true;
	}
	if (any)
		cbd_sleep_us((unsigned)(cbd_suspect_ns(t) / 1000));
	return any;
}

/*
 * Whether the slot was got.  Processes that opened another node of the device have a join
 * lock of their own: of those that watched the slot at the same time one swaps the token
 * that all of them have seen.  In software mode a token that has changed says the same, and
 * of two that have found it unchanged boot_first() lets the last one have the slot.  The state
 * line decides whose the slot is, and is stored last: a process that dies before leaves
 * the slot the old identity's; claim and name are stored again by the next process that
 * enters it.
 */
static bool slot_replace(struct cbd_transport *t, unsigned h, uint64_t seen)
{
	struct cbd_host_claim_line claim = { .token = cbd_host_token(t->identity.uuid) };
	struct cbd_host_line line;

	memcpy(claim.uuid, t->identity.uuid, 16);
	return cbd_line_get(t, cbd_host_info_at(t, h, CBD_HOST_STATE), &line) == 0 &&
	       (t->mem.software ? token_of(t, h) == seen : token_taken(t, h, seen, claim.token)) &&
	       cbd_line_put(t, cbd_host_claim_at(t, h), &claim) == 0 &&
	       boot_first(t, h, line.incarnation + 1) == 0;
}

/* With the join lock.  What a dead process of that host owned is released, where that slot
 * has stood still too; a claim that stays is of a process that may live. */
static int slot_reuse(struct cbd_transport *t, const struct left_behind *left)
{
	for (unsigned h = 0; h < t->header.hosts; h++) {
		if (!left->is[h] || cbd_host_counter(t, h) != left->counters[h] ||
		    !is_left_behind(t, h) || !cbd_claim_sweep_host(t, h, &left->beats) ||
		    !slot_replace(t, h, left->tokens[h]))
			continue;
		cbd_log(CBD_LOG_INFO,
			"%s: host %u: was another identity of this boot, without a process; reused",
			t->path, h);
		return (int)h;
	}
	return -1;
}

/* No slot is free, or the one that was asked for is another host's. */
static bool is_full(int r)
{
	return r == -ENOSPC || r == -EEXIST;
}

/* ------------------------------------------------------------------- join */

/* LEFT: what may be reused where no slot is free, or NULL. */
static int enter(struct cbd_transport *t, int host_id, const struct left_behind *left)
{
	struct cbd_lock lock = CBD_LOCK_NONE;
	int h, reused, r = cbd_join_lock(t, &lock);

	if (r < 0)
		return r;
	if (t->host >= 0) { /* another thread of this process was faster */
		cbd_lock_release(&lock);
		return 0;
	}
	h = slot_enter(t, host_id);
	reused = is_full(h) && left ? slot_reuse(t, left) : -1;
	if (reused >= 0)
		h = reused; /* else with the message of slot_enter() */
	r = h < 0 ? h : cbd_lock_take(&t->member_lock, t->fd, CBD_LOCK_MEMBER(h), true, 0);
	if (r == 0) {
		t->host = h;
		t->leave = host_leave;
	} else if (h >= 0)
		r = cbd_error(-r, "%s: cannot lock: %m", t->path);
	cbd_lock_release(&lock);
	return r;
}

int cbd_host_join(struct cbd_transport *t, int host_id)
{
	struct left_behind left;
	int r = cbd_transport_writable(t);

	if (r < 0)
		return r;
	if (t->host >= 0) {
		if (host_id >= 0 && host_id != t->host)
			return cbd_error(EINVAL, "%s: joined as host %d already", t->path, t->host);
		return 0;
	}
	r = enter(t, host_id, NULL);
	if (is_full(r) && watch_left_behind(t, host_id, &left))
		r = enter(t, host_id, &left);
	return r < 0 ? r : cbd_host_beat(t);
}

int cbd_transport_join(struct cbd_transport *t)
{
	int r = cbd_host_join(t, -1);

	return r < 0 ? r : t->host;
}

int cbd_transport_join_as(struct cbd_transport *t, unsigned host_id)
{
	int r = cbd_host_join(t, (int)(host_id <= INT_MAX ? host_id : INT_MAX));

	return r < 0 ? r : t->host;
}
