/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-lines.c - one pass of a check: each control line by itself, then whether
 * the lines of one slot agree.
 *
 * What a process leaves when it dies, at any instruction, is sound: its successor goes
 * on from there.  So only what no process leaves is damage.
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "ring/channel.h"
#include "admin/check-lines.h"
#include "slots/claim.h"
#include "base/crc.h"

/* --------------------------------------------------------------- findings */

static uint32_t stamp(const void *line)
{
	return cbd_crc32c(0, line, CBD_LINE_SIZE);
}

static void damaged(struct check *c, const struct spot *s, const void *copy, const char *what)
{
	cbd_check_add(c, (struct finding){ .at = *s,
					   .what = what,
					   .stamp = stamp(copy),
					   .damaged = true,
					   .backend = -1,
					   .blkdev = -1 });
}

static void note(struct check *c, const struct spot *s, const void *copy, const char *what)
{
	cbd_check_add(c, (struct finding){ .at = *s,
					   .what = what,
					   .stamp = stamp(copy),
					   .note = true,
					   .backend = -1,
					   .blkdev = -1 });
}

/* Lines that disagree are damage only while the owners of both slots (-1: none) live. */
static void disagrees(struct check *c, const struct spot *s, uint32_t of, const char *what,
		      int backend, int blkdev)
{
	cbd_check_add(c, (struct finding){ .at = *s,
					   .what = what,
					   .stamp = of,
					   .if_alive = true,
					   .backend = backend,
					   .blkdev = blkdev });
}

/* ------------------------------------------------------------------ lines */

static const char *host_claim_sense(const struct cbd_host_claim_line *l)
{
	uint64_t token;

	memcpy(&token, l->uuid, sizeof(token));
	return l->token == (token | 1) ? NULL : "token and uuid do not agree";
}

static const char *claim_sense(const struct check *c, unsigned host, const struct cbd_claim_line *l)
{
	if (l->state > CBD_CLAIM_DEAD)
		return "has an impossible state";
	if (l->state == CBD_CLAIM_RAISED && !cbd_check_has_host(c, host))
		return "is raised, and there is no such host";
	return NULL;
}

static const char *state_sense(const struct check *c, const struct cbd_state_line *l)
{
	if (l->state > CBD_SLOT_ABANDONED)
		return "has an impossible state";
	if (l->state != CBD_SLOT_FREE && l->host >= c->h->hosts)
		return "names a host beyond the table";
	return NULL;
}

static const char *request_sense(const struct check *c, const struct cbd_request_line *l)
{
	if (l->state > CBD_REQUEST_ABANDONED)
		return "has an impossible state";
	if (l->backend >= c->h->backends)
		return "names a backend beyond the table";
	if (l->host >= c->h->hosts)
		return "names a host beyond the table";
	if (l->queues > c->h->channels)
		return "asks for more queues than a backend has channels";
	if (l->depth > c->h->ring_slots)
		return "asks for more depth than a ring has slots";
	return NULL;
}

static unsigned bits(const struct cbd_reply_line *l, unsigned from, unsigned to)
{
	unsigned n = 0;

	for (unsigned i = from; i < to; i++)
		n += l->channel_map[i / 8] >> i % 8 & 1;
	return n;
}

static const char *reply_sense(const struct check *c, const struct cbd_reply_line *l)
{
	if (l->state > CBD_REPLY_DETACHED || l->reason > CBD_REFUSED_STOPPING)
		return "has an impossible state or reason";
	if (l->state != CBD_REPLY_GRANTED)
		return NULL;
	if (bits(l, c->h->channels, CBD_MAX_CHANNELS) > 0)
		return "names channels beyond the pool";
	if (bits(l, 0, c->h->channels) != l->channels)
		return "number and map of channels do not agree";
	return l->depth > c->h->ring_slots ? "grants more depth than a ring has slots" : NULL;
}

static const char *grant_sense(const struct check *c, const struct spot *s,
			       const struct cbd_grant_line *l)
{
	struct cbd_channel ch;
	uint64_t first, pages;

	if (l->state == CBD_GRANT_FREE)
		return NULL;
	cbd_channel_init(&ch, c->t, s->slot, s->index);
	first = (uint64_t)(ch.data - ch.base) / CBD_PAGE_SIZE;
	pages = ch.length / CBD_PAGE_SIZE;
	if (l->state > CBD_GRANT_CLOSED)
		return "has an impossible state";
	if (l->epoch == 0)
		return "is granted under epoch 0";
	if (l->blkdev >= c->h->blkdevs)
		return "names a blkdev beyond the table";
	if (l->queue >= c->h->channels)
		return "names a queue beyond the channels of a backend";
	if (l->ring_slots != ch.slots || l->depth == 0 || l->depth > l->ring_slots)
		return "does not fit the rings";
	if (l->data_page < first || l->data_page > pages || l->data_pages > pages - l->data_page)
		return "has its data area outside the channel";
	return NULL;
}

/* What is wrong with the content of a line whose CRC is right; NULL: nothing. */
static const char *nonsense(const struct check *c, const struct spot *s, const void *copy)
{
	const struct cbd_host_request_line *request = copy;
	const struct cbd_leave_line *leave = copy;
	const struct cbd_host_line *host = copy;

	switch (s->type) {
	case HOST_CLAIM:
		return host_claim_sense(copy);
	case HOST_STATE:
		return host->state > CBD_HOST_LEFT ? "has an impossible state" : NULL;
	case HOST_REQUEST:
		return request->request > CBD_HOST_REQUEST_CLEAR ? "has an impossible request"
								 : NULL;
	case BACKEND_CLAIM:
	case BLKDEV_CLAIM:
		return claim_sense(c, s->index, copy);
	case BACKEND_STATE:
	case BLKDEV_STATE:
		return state_sense(c, copy);
	case BACKEND_REPLY:
		return reply_sense(c, copy);
	case BACKEND_GRANT:
		return grant_sense(c, s, copy);
	case BACKEND_LEAVE:
		return leave->reason > CBD_LEAVE_TIMEOUT ? "has an impossible reason" : NULL;
	case BLKDEV_REQUEST:
		return request_sense(c, copy);
	default:
		return NULL;
	}
}

/* A process died between taking the host slot and naming it: the next process of that
 * host finishes it. */
static bool taken_only(const struct spot *s, const struct cbd_host_claim_line *l)
{
	return s->type == HOST_CLAIM && l->token != 0 &&
	       cbd_is_zero((const char *)l + sizeof(l->token), sizeof(*l) - sizeof(l->token));
}

static void check_line(struct check *c, const struct spot *s)
{
	struct cbd_line copy;
	const char *what;
	int r = cbd_line_get(c->t, s->line, &copy);

	if (r == -EIO) {
		memset(&copy, 0, sizeof(copy));
		damaged(c, s, &copy, "is poisoned or gone");
	} else if (r < 0 && taken_only(s, (const void *)&copy)) {
		note(c, s, &copy, "is taken and not named yet");
	} else if (r < 0) {
		damaged(c, s, &copy, "is damaged (CRC)");
	} else if (!cbd_is_zero(&copy, sizeof(copy))) {
		what = nonsense(c, s, &copy);
		if (what)
			damaged(c, s, &copy, what);
	}
}

/* ------------------------------------------------------------------- walk */

static void visit(struct check *c, enum spot_type type, unsigned slot, unsigned index, void *line)
{
	check_line(c, &(struct spot){ type, slot, index, line });
}

static void walk_host(struct check *c, unsigned h)
{
	struct cbd_transport *t = c->t;

	visit(c, HOST_CLAIM, h, 0, cbd_host_claim_at(t, h));
	visit(c, HOST_STATE, h, 0, cbd_host_info_at(t, h, CBD_HOST_STATE));
	visit(c, HOST_BEAT, h, 0, cbd_host_info_at(t, h, CBD_HOST_BEAT));
	visit(c, HOST_NAME, h, 0, cbd_host_info_at(t, h, CBD_HOST_NAME));
	for (unsigned b = 0; b < c->h->backends; b++)
		visit(c, HOST_REQUEST, h, b, cbd_host_request_at(t, h, b));
}

static void walk_channel(struct check *c, unsigned b, unsigned id)
{
	struct cbd_channel ch;

	cbd_channel_init(&ch, c->t, b, id);
	visit(c, BACKEND_GRANT, b, id, cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT));
	visit(c, BACKEND_LEAVE, b, id, cbd_channel_blkdev_line(&ch, CBD_CHANNEL_LEAVE));
}

static void walk_backend(struct check *c, unsigned b)
{
	static const enum spot_type info[] = {
		[CBD_BACKEND_STATE] = BACKEND_STATE,
		[CBD_BACKEND_BEAT] = BACKEND_BEAT,
		[CBD_BACKEND_GEOMETRY] = BACKEND_GEOMETRY,
		[CBD_BACKEND_IDENTITY] = BACKEND_IDENTITY,
		[CBD_BACKEND_ACCESS] = BACKEND_ACCESS,
		[CBD_BACKEND_NAME] = BACKEND_NAME,
	};
	struct cbd_transport *t = c->t;

	for (unsigned h = 0; h < c->h->hosts; h++)
		visit(c, BACKEND_CLAIM, b, h, cbd_side_claim_at(t, CBD_SIDE_BACKEND, b, h));
	for (unsigned i = 0; i < sizeof(info) / sizeof(info[0]); i++)
		visit(c, info[i], b, 0, cbd_backend_info_at(t, b, i));
	for (unsigned i = 0; i < CBD_PATH_LINES; i++)
		visit(c, BACKEND_PATH, b, i, cbd_backend_info_at(t, b, CBD_BACKEND_PATH + i));
	for (unsigned d = 0; d < c->h->blkdevs; d++)
		visit(c, BACKEND_REPLY, b, d, cbd_backend_reply_at(c->t, b, d));
	for (unsigned id = 0; id < c->h->channels; id++)
		walk_channel(c, b, id);
}

static void walk_blkdev(struct check *c, unsigned d)
{
	static const enum spot_type info[] = {
		[CBD_BLKDEV_STATE] = BLKDEV_STATE,
		[CBD_BLKDEV_BEAT] = BLKDEV_BEAT,
		[CBD_BLKDEV_REQUEST] = BLKDEV_REQUEST,
		[CBD_BLKDEV_DOORBELL] = BLKDEV_DOORBELL,
	};

	for (unsigned h = 0; h < c->h->hosts; h++)
		visit(c, BLKDEV_CLAIM, d, h, cbd_side_claim_at(c->t, CBD_SIDE_BLKDEV, d, h));
	for (unsigned i = 0; i < sizeof(info) / sizeof(info[0]); i++)
		visit(c, info[i], d, 0, cbd_blkdev_info_at(c->t, d, i));
}

/* -------------------------------------------------------------- agreement */

/* Rule 1.2: a slot has one owner; while that lives, the state line names it. */
static void compare_claims(struct check *c, enum cbd_side side, unsigned slot)
{
	bool backend = side == CBD_SIDE_BACKEND;
	void *place = cbd_side_state_at(c->t, side, slot);
	struct spot at = { backend ? BACKEND_STATE : BLKDEV_STATE, slot, 0, place };
	struct cbd_state_line state;
	struct cbd_claim_line line, owner = { .state = 0 };
	uint32_t of = 0;
	int host = -1, n = 0;

	for (unsigned h = 0; h < c->h->hosts; h++) {
		if (!cbd_claim_raised(c->t, side, slot, h, &line) || line.state != CBD_CLAIM_RAISED)
			continue;
		host = (int)h;
		owner = line;
		of = cbd_crc32c(of, &line, sizeof(line));
		n++;
	}
	if (n > 1)
		cbd_check_add(c, (struct finding){ .at = at,
						   .what = "is of a slot that two hosts own",
						   .stamp = of });
	if (n != 1 || cbd_line_get(c->t, place, &state) < 0)
		return;
	of = cbd_crc32c(of, &state, sizeof(state));
	if (state.state == CBD_SLOT_FREE || state.host != host ||
	    memcmp(state.owner, owner.owner, 16) != 0)
		disagrees(c, &at, of, "does not name the owner of the slot",
			  backend ? (int)slot : -1, backend ? -1 : (int)slot);
}

static int get_grant(const struct check *c, unsigned b, unsigned id, struct spot *at,
		     struct cbd_grant_line *g)
{
	struct cbd_channel ch;

	cbd_channel_init(&ch, c->t, b, id);
	*at = (struct spot){ BACKEND_GRANT, b, id,
			     cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT) };
	if (cbd_line_get(c->t, at->line, g) < 0)
		return -EBADMSG;
	return g->state == CBD_GRANT_GRANTED || g->state == CBD_GRANT_LEAVING ? 0 : -ENOENT;
}

/* Does the reply grant what blkdev D asks for now, and is it of backend B's present
 * incarnation? */
static bool is_current(const struct check *c, unsigned b, unsigned d,
		       const struct cbd_reply_line *reply)
{
	struct cbd_request_line q;
	struct cbd_state_line s;

	return reply->state == CBD_REPLY_GRANTED &&
	       cbd_line_get(c->t, cbd_blkdev_info_at(c->t, d, CBD_BLKDEV_REQUEST), &q) == 0 &&
	       q.state == CBD_REQUEST_ATTACH && q.backend == b &&
	       q.incarnation == reply->incarnation && q.sequence == reply->sequence &&
	       cbd_line_get(c->t, cbd_backend_info_at(c->t, b, CBD_BACKEND_STATE), &s) == 0 &&
	       s.state == CBD_SLOT_LIVE && s.incarnation == reply->backend_incarnation;
}

/* Rule 4.2: the channels that a current reply names are those whose grants name the
 * blkdev. */
static void compare_reply(struct check *c, unsigned b, unsigned d)
{
	struct spot at = { BACKEND_REPLY, b, d, cbd_backend_reply_at(c->t, b, d) }, of;
	struct cbd_reply_line reply;
	struct cbd_grant_line g;

	if (cbd_line_get(c->t, at.line, &reply) < 0 || !is_current(c, b, d, &reply))
		return;
	for (unsigned id = 0; id < c->h->channels; id++) {
		int r = get_grant(c, b, id, &of, &g);
		bool named = reply.channel_map[id / 8] >> id % 8 & 1;
		bool granted = r == 0 && g.blkdev == d && g.incarnation == reply.incarnation;

		if (r != -EBADMSG && named != granted)
			disagrees(c, &at, stamp(&reply) ^ stamp(&g) ^ id,
				  "and the grants of the channels do not agree", (int)b, (int)d);
	}
}

static void compare_grants(struct check *c, unsigned b)
{
	struct cbd_grant_line g, o;
	struct spot at, other;

	for (unsigned id = 1; id < c->h->channels; id++) {
		if (get_grant(c, b, id, &at, &g) < 0)
			continue;
		for (unsigned i = 0; i < id; i++)
			if (get_grant(c, b, i, &other, &o) == 0 && o.blkdev == g.blkdev &&
			    o.incarnation == g.incarnation && o.queue == g.queue)
				cbd_check_add(c, (struct finding){
							 .at = at,
							 .what = "grants a queue that has another "
								 "channel",
							 .stamp = stamp(&g) ^ stamp(&o) });
	}
}

static void compare_host(struct check *c, unsigned h)
{
	struct cbd_host_claim_line claim;
	struct cbd_host_line state;
	struct spot at = { HOST_STATE, h, 0, cbd_host_info_at(c->t, h, CBD_HOST_STATE) };

	if (cbd_line_get(c->t, cbd_host_claim_at(c->t, h), &claim) < 0 ||
	    cbd_line_get(c->t, at.line, &state) < 0 || state.state == CBD_HOST_FREE)
		return;
	if (memcmp(claim.uuid, state.uuid, 16) != 0)
		damaged(c, &at, &state, "does not name the host that has the slot");
}

void cbd_check_pass(struct check *c)
{
	for (unsigned h = 0; h < c->h->hosts; h++) {
		walk_host(c, h);
		compare_host(c, h);
	}
	for (unsigned b = 0; b < c->h->backends; b++) {
		walk_backend(c, b);
		compare_claims(c, CBD_SIDE_BACKEND, b);
		compare_grants(c, b);
		for (unsigned d = 0; d < c->h->blkdevs; d++)
			compare_reply(c, b, d);
	}
	for (unsigned d = 0; d < c->h->blkdevs; d++) {
		walk_blkdev(c, d);
		compare_claims(c, CBD_SIDE_BLKDEV, d);
	}
}
