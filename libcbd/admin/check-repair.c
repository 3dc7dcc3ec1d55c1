/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-repair.c - repair what a check has found, where no other process can be
 * writing: lines of slots without an owner, claim lines of this boot whose lock is
 * free.
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "ring/channel.h"
#include "admin/check-repair.h"
#include "slots/claim.h"
#include "base/error.h"
#include "memory/fault.h"
#include "slots/host.h"
#include "base/step.h"

/* No process of the host that writes the claim line can be alive. */
static bool may_wipe_claim(const struct check *c, const struct spot *s)
{
	enum cbd_side side = s->type == BACKEND_CLAIM ? CBD_SIDE_BACKEND : CBD_SIDE_BLKDEV;
	int64_t byte = cbd_side_lock_byte(side, s->slot);

	return !cbd_check_has_host(c, s->index) ||
	       (cbd_host_is_local(c->t, s->index) && !cbd_lock_held(c->t->fd, byte));
}

static bool nobody_owns(const struct check *c, enum cbd_side side, unsigned slot)
{
	struct cbd_claim_line line;

	return cbd_claim_owner(c->t, side, slot, &line) < 0;
}

static bool may_write(const struct check *c, const struct spot *s)
{
	int user;

	switch (s->type) {
	case HOST_CLAIM:
		return false;
	case HOST_STATE:
	case HOST_BEAT:
	case HOST_NAME:
	case HOST_REQUEST:
		return !cbd_check_has_host(c, s->slot);
	case BACKEND_CLAIM:
	case BLKDEV_CLAIM:
		return may_wipe_claim(c, s);
	case BACKEND_LEAVE:
		user = cbd_channel_user(c->t, s->slot, s->index);
		return user < 0 || (unsigned)user >= c->h->blkdevs ||
		       nobody_owns(c, CBD_SIDE_BLKDEV, (unsigned)user);
	default:
		return nobody_owns(c, s->type < BLKDEV_CLAIM ? CBD_SIDE_BACKEND : CBD_SIDE_BLKDEV,
				   s->slot);
	}
}

/* Rule 3: where the incarnation is lost, a random one differs from all before. */
static int put_free_state(const struct check *c, void *line)
{
	struct cbd_state_line free_state = { .state = CBD_SLOT_FREE };

	cbd_random(&free_state.incarnation, sizeof(free_state.incarnation));
	return cbd_line_put(c->t, line, &free_state);
}

/* A host stores its claim once and never again, so it has to be made from the state. */
static int repair_host_claim(const struct check *c, const struct spot *s)
{
	struct cbd_host_line state;
	struct cbd_host_claim_line claim = { .token = 0 };

	if (cbd_line_get(c->t, cbd_host_info_at(c->t, s->slot, CBD_HOST_STATE), &state) < 0 ||
	    state.state == CBD_HOST_FREE)
		return -EBADMSG;
	memcpy(&claim.token, state.uuid, sizeof(claim.token));
	claim.token |= 1;
	memcpy(claim.uuid, state.uuid, 16);
	return cbd_line_put(c->t, s->line, &claim);
}

static bool repair_line(const struct check *c, const struct finding *f)
{
	const struct spot *s = &f->at;

	if (!f->damaged)
		return false;
	if (s->type == HOST_CLAIM)
		return repair_host_claim(c, s) == 0;
	if (!may_write(c, s))
		return false;
	if (s->type == BACKEND_STATE || s->type == BLKDEV_STATE)
		return put_free_state(c, s->line) == 0;
	return cbd_line_wipe(c->t, s->line) == 0;
}

/* Rule 2: processes of this host that are dead are no owners; write their lines back. */
static void sweep(struct check *c)
{
	for (unsigned h = 0; h < c->h->hosts; h++)
		if (cbd_host_is_local(c->t, h)) {
			c->t->host = (int)h;
			cbd_claim_sweep(c->t, true);
		}
	c->t->host = -1;
}

static bool is_claim(const struct finding *f)
{
	return f->at.type == BACKEND_CLAIM || f->at.type == BLKDEV_CLAIM;
}

/* Claims are repaired first, since a damaged claim counts as an owner. */
int cbd_check_repair(struct check *c)
{
	struct cbd_lock join = CBD_LOCK_NONE;
	int r;

	sweep(c);
	r = cbd_join_lock(c->t, &join);
	if (r < 0)
		return r;
	for (int claims = 1; claims >= 0; claims--)
		for (size_t i = 0; i < c->now.count; i++) {
			struct finding *f = &c->now.list[i];

			if (f->note || is_claim(f) != claims)
				continue;
			cbd_step("check-repair");
			cbd_check_tell(c, f,
				       repair_line(c, f) ? CBD_CHECK_REPAIRED : CBD_CHECK_LEFT);
		}
	cbd_lock_release(&join);
	return 0;
}
