/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.c - is a transport sound?  And what can be repaired.
 *
 * Looks at the header, its copy and every control line; not into rings and
 * data areas, whose entries prove themselves by epoch and CRC.  What a process
 * leaves that dies at any instruction is sound: its successor goes on from it.
 *
 * Lines of a live transport change meanwhile, and their owners store lost ones
 * again at each beat.  So the whole is looked at in several passes over more
 * than two beats, and a finding counts only if each pass had it, of the very
 * same bytes.  What is true only while an owner is alive (that its lines agree)
 * counts only if it was seen to live.
 *
 * Repair writes what nobody else may be writing: header or copy, lines of slots
 * without an owner, claim lines of this very boot whose lock is free.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "channel.h"
#include "claim.h"
#include "crc.h"
#include "error.h"
#include "fault.h"
#include "format.h"
#include "host.h"
#include "step.h"

#define PASSES 11 /* a quarter of an interval apart */

enum spot_type {
	HOST_CLAIM,
	HOST_STATE,
	HOST_BEAT,
	HOST_NAME,
	HOST_REQUEST,
	BACKEND_CLAIM,
	BACKEND_STATE,
	BACKEND_BEAT,
	BACKEND_GEOMETRY,
	BACKEND_IDENTITY,
	BACKEND_ACCESS,
	BACKEND_NAME,
	BACKEND_PATH,
	BACKEND_REPLY,
	BACKEND_GRANT,
	BACKEND_LEAVE,
	BLKDEV_CLAIM,
	BLKDEV_STATE,
	BLKDEV_BEAT,
	BLKDEV_REQUEST,
	BLKDEV_DOORBELL,
};

/* One line: which, of which slot, which of several. */
struct spot {
	enum spot_type type;
	unsigned slot, index;
	void *line;
};

struct finding {
	struct spot at;
	const char *what; /* a literal: compared as a pointer */
	uint32_t stamp;	  /* of the bytes that it was found in */
	bool damaged;	  /* the line itself, so that rewriting it helps */
	bool note;	  /* told, and sound */
	bool if_alive;	  /* only damage while the owners of these live */
	int backend, blkdev;
};

struct findings {
	struct finding *list;
	size_t count, room;
	bool failed; /* no memory */
};

struct check {
	struct cbd_transport *t;
	const struct cbd_header *h;
	bool repair;
	cbd_check_fn *fn;
	void *opaque;
	struct findings now;
	unsigned left; /* problems that stay */
};

/* --------------------------------------------------------------- findings */

static uint32_t stamp(const void *line)
{
	return cbd_crc32c(0, line, CBD_LINE_SIZE);
}

static void add(struct check *c, struct finding f)
{
	struct findings *s = &c->now;
	struct finding *list = s->list;

	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 64;
		list = realloc(s->list, s->room * sizeof(*list));
		if (!list) {
			s->failed = true;
			s->room = s->count;
			return;
		}
		s->list = list;
	}
	list[s->count++] = f;
}

static void damaged(struct check *c, const struct spot *s, const void *copy, const char *what)
{
	add(c, (struct finding){ .at = *s,
				 .what = what,
				 .stamp = stamp(copy),
				 .damaged = true,
				 .backend = -1,
				 .blkdev = -1 });
}

static void note(struct check *c, const struct spot *s, const void *copy, const char *what)
{
	add(c, (struct finding){ .at = *s,
				 .what = what,
				 .stamp = stamp(copy),
				 .note = true,
				 .backend = -1,
				 .blkdev = -1 });
}

/* Damage if the owners of both slots (-1: none) live. */
static void disagrees(struct check *c, const struct spot *s, uint32_t of, const char *what,
		      int backend, int blkdev)
{
	add(c, (struct finding){ .at = *s,
				 .what = what,
				 .stamp = of,
				 .if_alive = true,
				 .backend = backend,
				 .blkdev = blkdev });
}

static bool same(const struct finding *a, const struct finding *b)
{
	return a->at.line == b->at.line && a->at.type == b->at.type && a->what == b->what &&
	       a->stamp == b->stamp;
}

/* Keep in OLD what NEW has too; both are in the order of the walk. */
static void intersect(struct findings *old, const struct findings *new)
{
	size_t kept = 0, j = 0;

	for (size_t i = 0; i < old->count; i++) {
		size_t k = j;

		while (k < new->count && !same(&old->list[i], &new->list[k]))
			k++;
		if (k == new->count)
			continue;
		old->list[kept++] = old->list[i];
		j = k + 1;
	}
	old->count = kept;
}

static void tell(struct check *c, const struct finding *f, enum cbd_verdict verdict)
{
	static const char *const formats[] = {
		[HOST_CLAIM] = "host %1$u: claim line",
		[HOST_STATE] = "host %1$u: state line",
		[HOST_BEAT] = "host %1$u: heartbeat line",
		[HOST_NAME] = "host %1$u: name line",
		[HOST_REQUEST] = "host %1$u: request line for backend %2$u",
		[BACKEND_CLAIM] = "backend %1$u: claim line of host %2$u",
		[BACKEND_STATE] = "backend %1$u: state line",
		[BACKEND_BEAT] = "backend %1$u: heartbeat line",
		[BACKEND_GEOMETRY] = "backend %1$u: geometry line",
		[BACKEND_IDENTITY] = "backend %1$u: identity line",
		[BACKEND_ACCESS] = "backend %1$u: access line",
		[BACKEND_NAME] = "backend %1$u: name line",
		[BACKEND_PATH] = "backend %1$u: path line %2$u",
		[BACKEND_REPLY] = "backend %1$u: reply line for blkdev %2$u",
		[BACKEND_GRANT] = "backend %1$u: channel %2$u: grant line",
		[BACKEND_LEAVE] = "backend %1$u: channel %2$u: leave line",
		[BLKDEV_CLAIM] = "blkdev %1$u: claim line of host %2$u",
		[BLKDEV_STATE] = "blkdev %1$u: state line",
		[BLKDEV_BEAT] = "blkdev %1$u: heartbeat line",
		[BLKDEV_REQUEST] = "blkdev %1$u: request line",
		[BLKDEV_DOORBELL] = "blkdev %1$u: doorbell line",
	};
	struct cbd_problem p = { .what = f->what, .verdict = verdict };
	char object[100];

	snprintf(object, sizeof(object), formats[f->at.type], f->at.slot, f->at.index);
	p.object = object;
	p.offset = (uint64_t)((char *)f->at.line - c->t->base);
	if (verdict == CBD_CHECK_DAMAGED || verdict == CBD_CHECK_LEFT)
		c->left++;
	c->fn(c->opaque, &p);
}

/* ------------------------------------------------------------------ lines */

static bool has_host(const struct check *c, unsigned host)
{
	struct cbd_host_claim_line line;

	return host < c->h->hosts &&
	       (cbd_line_get(c->t, cbd_host_line(c->t, host, CBD_HOST_CLAIM, 0), &line) < 0 ||
		!cbd_is_zero(&line, sizeof(line)));
}

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
	if (l->state == CBD_CLAIM_RAISED && !has_host(c, host))
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

/* Of a line whose CRC is good. */
static const char *sense(const struct check *c, const struct spot *s, const void *copy)
{
	const struct cbd_host_request_line *request = copy;
	const struct cbd_leave_line *leave = copy;
	const struct cbd_host_line *host = copy;

	switch (s->type) {
	case HOST_CLAIM:
		return host_claim_sense(copy);
	case HOST_STATE:
		return host->state > 1 ? "has an impossible state" : NULL;
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

/* A host that died between taking its slot and naming it: the next process of
 * that host finishes it. */
static bool taken_only(const struct spot *s, const struct cbd_host_claim_line *l)
{
	return s->type == HOST_CLAIM && l->token != 0 &&
	       cbd_is_zero((const char *)l + sizeof(l->token), sizeof(*l) - sizeof(l->token));
}

static void look_at(struct check *c, const struct spot *s)
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
		what = sense(c, s, &copy);
		if (what)
			damaged(c, s, &copy, what);
	}
}

/* ------------------------------------------------------------------- walk */

static void visit(struct check *c, enum spot_type type, unsigned slot, unsigned index, void *line)
{
	look_at(c, &(struct spot){ type, slot, index, line });
}

static void walk_host(struct check *c, unsigned h)
{
	struct cbd_transport *t = c->t;

	visit(c, HOST_CLAIM, h, 0, cbd_host_line(t, h, CBD_HOST_CLAIM, 0));
	visit(c, HOST_STATE, h, 0, cbd_host_line(t, h, CBD_HOST_INFO, CBD_HOST_STATE));
	visit(c, HOST_BEAT, h, 0, cbd_host_line(t, h, CBD_HOST_INFO, CBD_HOST_BEAT));
	visit(c, HOST_NAME, h, 0, cbd_host_line(t, h, CBD_HOST_INFO, CBD_HOST_NAME));
	for (unsigned b = 0; b < c->h->backends; b++)
		visit(c, HOST_REQUEST, h, b,
		      cbd_host_line(t, h, CBD_HOST_REQUESTS + b / CBD_LINES_PER_PAGE,
				    b % CBD_LINES_PER_PAGE));
}

static void walk_channel(struct check *c, unsigned b, unsigned id)
{
	struct cbd_channel ch;

	cbd_channel_init(&ch, c->t, b, id);
	visit(c, BACKEND_GRANT, b, id, cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT));
	visit(c, BACKEND_LEAVE, b, id, cbd_channel_blkdev_line(&ch, CBD_CHANNEL_LEAVE));
}

static void *reply_line(const struct check *c, unsigned b, unsigned d)
{
	return cbd_backend_line(c->t, b, CBD_BACKEND_REPLIES + d / CBD_LINES_PER_PAGE,
				d % CBD_LINES_PER_PAGE);
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
		visit(c, BACKEND_CLAIM, b, h, cbd_backend_line(t, b, CBD_BACKEND_CLAIMS, h));
	for (unsigned i = 0; i < sizeof(info) / sizeof(info[0]); i++)
		visit(c, info[i], b, 0, cbd_backend_line(t, b, CBD_BACKEND_INFO, i));
	for (unsigned i = 0; i < CBD_PATH_LINES; i++)
		visit(c, BACKEND_PATH, b, i,
		      cbd_backend_line(t, b, CBD_BACKEND_INFO, CBD_BACKEND_PATH + i));
	for (unsigned d = 0; d < c->h->blkdevs; d++)
		visit(c, BACKEND_REPLY, b, d, reply_line(c, b, d));
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
		visit(c, BLKDEV_CLAIM, d, h, cbd_blkdev_line(c->t, d, CBD_BLKDEV_CLAIMS, h));
	for (unsigned i = 0; i < sizeof(info) / sizeof(info[0]); i++)
		visit(c, info[i], d, 0, cbd_blkdev_line(c->t, d, CBD_BLKDEV_INFO, i));
}

/* -------------------------------------------------------------- agreement */

/* Rule 1: one owner, whose state line says so while it lives. */
static void compare_claims(struct check *c, enum cbd_claim_kind kind, unsigned slot)
{
	bool backend = kind == CBD_CLAIM_BACKEND;
	void *place = backend ? cbd_backend_line(c->t, slot, CBD_BACKEND_INFO, CBD_BACKEND_STATE)
			      : cbd_blkdev_line(c->t, slot, CBD_BLKDEV_INFO, CBD_BLKDEV_STATE);
	struct spot at = { backend ? BACKEND_STATE : BLKDEV_STATE, slot, 0, place };
	struct cbd_state_line state;
	struct cbd_claim_line line, owner = { .state = 0 };
	uint32_t of = 0;
	int host = -1, n = 0;

	for (unsigned h = 0; h < c->h->hosts; h++) {
		if (!cbd_claim_raised(c->t, kind, slot, h, &line) || line.state != CBD_CLAIM_RAISED)
			continue;
		host = (int)h;
		owner = line;
		of = cbd_crc32c(of, &line, sizeof(line));
		n++;
	}
	if (n > 1)
		add(c, (struct finding){
			       .at = at, .what = "is of a slot that two hosts own", .stamp = of });
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

/* Is the reply an answer to what blkdev D asks now, of the backend that is? */
static bool is_current(const struct check *c, unsigned b, unsigned d,
		       const struct cbd_reply_line *reply)
{
	struct cbd_request_line q;
	struct cbd_state_line s;

	return reply->state == CBD_REPLY_GRANTED &&
	       cbd_line_get(c->t, cbd_blkdev_line(c->t, d, CBD_BLKDEV_INFO, CBD_BLKDEV_REQUEST),
			    &q) == 0 &&
	       q.state == CBD_REQUEST_ATTACH && q.backend == b &&
	       q.incarnation == reply->incarnation && q.sequence == reply->sequence &&
	       cbd_line_get(c->t, cbd_backend_line(c->t, b, CBD_BACKEND_INFO, CBD_BACKEND_STATE),
			    &s) == 0 &&
	       s.state == CBD_SLOT_LIVE && s.incarnation == reply->backend_incarnation;
}

/* Rule 4.2: the reply in force names channels whose grants are the blkdev's. */
static void compare_reply(struct check *c, unsigned b, unsigned d)
{
	struct spot at = { BACKEND_REPLY, b, d, reply_line(c, b, d) }, of;
	struct cbd_reply_line reply;
	struct cbd_grant_line g;

	if (cbd_line_get(c->t, at.line, &reply) < 0 || !is_current(c, b, d, &reply))
		return;
	for (unsigned id = 0; id < c->h->channels; id++) {
		int r = get_grant(c, b, id, &of, &g);
		bool named = reply.channel_map[id / 8] >> id % 8 & 1;
		bool its = r == 0 && g.blkdev == d && g.incarnation == reply.incarnation;

		if (r != -EBADMSG && named != its)
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
				add(c, (struct finding){ .at = at,
							 .what = "grants a queue that has another "
								 "channel",
							 .stamp = stamp(&g) ^ stamp(&o) });
	}
}

static void compare_host(struct check *c, unsigned h)
{
	struct cbd_host_claim_line claim;
	struct cbd_host_line state;
	struct spot at = { HOST_STATE, h, 0,
			   cbd_host_line(c->t, h, CBD_HOST_INFO, CBD_HOST_STATE) };

	if (cbd_line_get(c->t, cbd_host_line(c->t, h, CBD_HOST_CLAIM, 0), &claim) < 0 ||
	    cbd_line_get(c->t, at.line, &state) < 0 || state.state != 1)
		return;
	if (memcmp(claim.uuid, state.uuid, 16) != 0)
		damaged(c, &at, &state, "does not name the host that has the slot");
}

static void pass(struct check *c)
{
	for (unsigned h = 0; h < c->h->hosts; h++) {
		walk_host(c, h);
		compare_host(c, h);
	}
	for (unsigned b = 0; b < c->h->backends; b++) {
		walk_backend(c, b);
		compare_claims(c, CBD_CLAIM_BACKEND, b);
		compare_grants(c, b);
		for (unsigned d = 0; d < c->h->blkdevs; d++)
			compare_reply(c, b, d);
	}
	for (unsigned d = 0; d < c->h->blkdevs; d++) {
		walk_blkdev(c, d);
		compare_claims(c, CBD_CLAIM_BLKDEV, d);
	}
}

/* What every pass finds. */
static int settle(struct check *c)
{
	struct findings kept;

	pass(c);
	kept = c->now;
	for (int i = 1; i < PASSES && kept.count > 0; i++) {
		cbd_sleep_us(c->h->heartbeat_ms * 250);
		c->now = (struct findings){ .list = NULL };
		pass(c);
		intersect(&kept, &c->now);
		kept.failed |= c->now.failed;
		free(c->now.list);
	}
	c->now = kept;
	return kept.failed ? cbd_error(ENOMEM, "%s: %m", c->t->path) : 0;
}

/* --------------------------------------------------------------- liveness */

static enum cbd_liveness backend_liveness(const struct check *c, unsigned b)
{
	struct cbd_backend_info info;

	return cbd_backend_get(c->t, b, &info) < 0 ? CBD_UNDECIDED : info.liveness;
}

static enum cbd_liveness blkdev_liveness(const struct check *c, unsigned d)
{
	struct cbd_blkdev_info info;

	return cbd_blkdev_get(c->t, d, &info) < 0 ? CBD_UNDECIDED : info.liveness;
}

/* A watch takes long where something is silent: not for nothing. */
static int watch(struct check *c)
{
	bool needed = c->now.count > 0;

	for (unsigned b = 0; b < c->h->backends; b++)
		needed |= backend_liveness(c, b) == CBD_UNDECIDED;
	for (unsigned d = 0; d < c->h->blkdevs; d++)
		needed |= blkdev_liveness(c, d) == CBD_UNDECIDED;
	return needed ? cbd_transport_watch(c->t) : 0;
}

static void note_owner(struct check *c, enum cbd_liveness l, struct spot at)
{
	struct finding f = { .at = at, .note = true };

	f.what = l == CBD_DEAD	    ? "is of an owner that is dead; its slot is free to take"
		 : l == CBD_SUSPECT ? "is of an owner that is suspect; its slot is kept"
				    : NULL;
	if (f.what)
		tell(c, &f, CBD_CHECK_NOTE);
}

static void note_owners(struct check *c)
{
	for (unsigned b = 0; b < c->h->backends; b++)
		note_owner(c, backend_liveness(c, b),
			   (struct spot){ BACKEND_STATE, b, 0,
					  cbd_backend_line(c->t, b, CBD_BACKEND_INFO,
							   CBD_BACKEND_STATE) });
	for (unsigned d = 0; d < c->h->blkdevs; d++)
		note_owner(c, blkdev_liveness(c, d),
			   (struct spot){
				   BLKDEV_STATE, d, 0,
				   cbd_blkdev_line(c->t, d, CBD_BLKDEV_INFO, CBD_BLKDEV_STATE) });
}

/* ----------------------------------------------------------------- repair */

static int wipe_line(const struct check *c, void *line)
{
	static const struct cbd_line zero;
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	cbd_line_store(&c->t->mem, line, &zero);
	cbd_fault_end(&f);
	return 0;
}

static bool is_my_host(const struct check *c, unsigned host)
{
	uint8_t boot[16];

	return cbd_host_boot(c->t, host, boot) && memcmp(boot, c->t->identity.boot_id, 16) == 0;
}

/* Nobody of that host can be writing the line. */
static bool may_wipe_claim(const struct check *c, const struct spot *s)
{
	int64_t byte = s->type == BACKEND_CLAIM ? CBD_LOCK_BACKEND(s->slot)
						: CBD_LOCK_BLKDEV(s->slot);

	return !has_host(c, s->index) ||
	       (is_my_host(c, s->index) && !cbd_lock_held(c->t->fd, byte));
}

static bool nobody_owns(const struct check *c, enum cbd_claim_kind kind, unsigned slot)
{
	struct cbd_claim_line line;

	return cbd_claim_owner(c->t, kind, slot, &line) < 0;
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
		return !has_host(c, s->slot);
	case BACKEND_CLAIM:
	case BLKDEV_CLAIM:
		return may_wipe_claim(c, s);
	case BACKEND_LEAVE:
		user = cbd_channel_user(c->t, s->slot, s->index);
		return user < 0 || (unsigned)user >= c->h->blkdevs ||
		       nobody_owns(c, CBD_CLAIM_BLKDEV, (unsigned)user);
	default:
		return nobody_owns(c, s->type < BLKDEV_CLAIM ? CBD_CLAIM_BACKEND : CBD_CLAIM_BLKDEV,
				   s->slot);
	}
}

/* Rule 3: a lost incarnation goes on from a random one. */
static int put_free_state(const struct check *c, void *line)
{
	struct cbd_state_line free_state = { .state = CBD_SLOT_FREE };

	cbd_random(&free_state.incarnation, sizeof(free_state.incarnation));
	return cbd_line_put(c->t, line, &free_state);
}

/* A host writes its claim once, so it can be made again from its state. */
static int repair_host_claim(const struct check *c, const struct spot *s)
{
	struct cbd_host_line state;
	struct cbd_host_claim_line claim = { .token = 0 };

	if (cbd_line_get(c->t, cbd_host_line(c->t, s->slot, CBD_HOST_INFO, CBD_HOST_STATE),
			 &state) < 0 ||
	    state.state != 1)
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
	return wipe_line(c, s->line) == 0;
}

/* Rule 2: what died on this host is no owner any more, its lines pushed. */
static void sweep(struct check *c)
{
	for (unsigned h = 0; h < c->h->hosts; h++)
		if (is_my_host(c, h)) {
			c->t->host = (int)h;
			cbd_claim_sweep(c->t, true);
		}
	c->t->host = -1;
}

static bool is_claim(const struct finding *f)
{
	return f->at.type == BACKEND_CLAIM || f->at.type == BLKDEV_CLAIM;
}

/* A damaged claim counts as an owner: claims first. */
static int repair_lines(struct check *c)
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
			tell(c, f, repair_line(c, f) ? CBD_CHECK_REPAIRED : CBD_CHECK_LEFT);
		}
	cbd_lock_release(&join);
	return 0;
}

/* ----------------------------------------------------------------- header */

static void tell_header(struct check *c, const char *object, const char *what, int written)
{
	struct cbd_problem p = {
		.object = object,
		.what = what,
		.verdict = !c->repair	  ? CBD_CHECK_DAMAGED
			   : written == 0 ? CBD_CHECK_REPAIRED
					  : CBD_CHECK_LEFT,
	};

	c->left += p.verdict != CBD_CHECK_REPAIRED;
	c->fn(c->opaque, &p);
}

static int put_place(struct check *c, uint64_t offset)
{
	return c->repair ? cbd_header_put(&c->t->mem, c->t->base + offset, c->h, c->t->table) : 0;
}

/* The transport was opened, so one of the two is sound, and c->h is it.  A
 * sound header is what everybody uses, so it decides. */
static void check_headers(struct check *c)
{
	static const char *const damage = "is damaged";
	struct cbd_header h;
	struct cbd_area *table;
	int r;

	r = cbd_header_read(c->t->path, &c->t->mem, c->t->base, c->h->size, 0, &h, &table);
	if (r < 0)
		tell_header(c, "header", damage, put_place(c, 0));
	else
		free(table);
	r = cbd_header_read(c->t->path, &c->t->mem, c->t->base, c->h->size, c->h->copy_area.offset,
			    &h, &table);
	if (r == 0) {
		bool equal = memcmp(&h, c->h, sizeof(h)) == 0 &&
			     memcmp(table, c->t->table, h.table_entries * sizeof(*table)) == 0;

		free(table);
		if (equal)
			return;
	}
	tell_header(c, "copy of the header", r < 0 ? damage : "is not equal to the header",
		    put_place(c, c->h->copy_area.offset));
}

static bool has_magic(const struct cbd_mem *mem, const char *page)
{
	char magic[8];

	return cbd_fault_load(mem, magic, page, sizeof(magic)) == 0 &&
	       memcmp(magic, CBD_MAGIC, sizeof(magic)) == 0;
}

/* Was there a transport here once? */
static bool has_trace(const char *path)
{
	struct cbd_mem mem = { .software = true };
	struct cbd_file f;
	uint64_t end, last;
	size_t length;
	char *base;
	bool found;

	if (cbd_file_open(path, false, false, &f) < 0)
		return false;
	found = f.size >= CBD_PAGE_SIZE &&
		cbd_file_map(&f, path, false, f.size, &base, &length) == 0;
	close(f.fd);
	if (!found)
		return false;
	end = f.size / CBD_PAGE_SIZE;
	last = CBD_MAX_BACKENDS * CBD_MAX_CHANNELS * sizeof(struct cbd_area) / CBD_PAGE_SIZE + 1;
	found = has_magic(&mem, base);
	for (uint64_t p = 1; p <= last && p < end && !found; p++)
		found = has_magic(&mem, base + (end - p) * CBD_PAGE_SIZE);
	munmap(base, length);
	return found;
}

/* Why it cannot be opened: damage, or another reason. */
static int judge_failure(const char *path, int r)
{
	char reason[400];

	if (r != -EBADMSG && r != -EINVAL && r != -ENOMEDIUM)
		return r;
	snprintf(reason, sizeof(reason), "%s", cbd_errmsg());
	if (!has_trace(path))
		return cbd_error(-r, "%s", reason);
	return cbd_error(EBADMSG,
			 "%s; header and copy are both beyond repair: 'cbdctl format --force' makes "
			 "it usable again, empty; disks that were offered on it are not touched",
			 reason);
}

/* ------------------------------------------------------------------ check */

static bool owners_live(const struct check *c, const struct finding *f)
{
	return (f->backend < 0 || backend_liveness(c, (unsigned)f->backend) == CBD_ALIVE) &&
	       (f->blkdev < 0 || blkdev_liveness(c, (unsigned)f->blkdev) == CBD_ALIVE);
}

/* Drop what a death explains, tell what is only to be known. */
static void judge(struct check *c)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->now.count; i++) {
		struct finding *f = &c->now.list[i];

		if (f->note)
			tell(c, f, CBD_CHECK_NOTE);
		else if (!f->if_alive || owners_live(c, f))
			c->now.list[kept++] = *f;
	}
	c->now.count = kept;
}

static int check_lines(struct check *c)
{
	int r = settle(c);

	if (r == 0)
		r = watch(c);
	if (r < 0)
		return r;
	judge(c);
	note_owners(c);
	if (c->repair && c->now.count > 0)
		return repair_lines(c);
	for (size_t i = 0; i < c->now.count; i++)
		tell(c, &c->now.list[i], CBD_CHECK_DAMAGED);
	return 0;
}

int cbd_transport_check(const char *path, unsigned flags, cbd_check_fn *fn, void *opaque)
{
	struct check c = { .repair = flags & CBD_CHECK_REPAIR, .fn = fn, .opaque = opaque };
	int r = cbd_transport_open(path, c.repair ? 0 : CBD_TRANSPORT_READ_ONLY, &c.t);

	if (r < 0)
		return judge_failure(path, r);
	c.h = &c.t->header;
	check_headers(&c);
	r = check_lines(&c);
	free(c.now.list);
	cbd_transport_close(c.t);
	return r < 0 ? r : (int)c.left;
}
