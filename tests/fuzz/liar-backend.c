/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * liar-backend.c - the backend that lies: see liar.h.
 *
 * It takes over a slot whose backend died, with the identity of its disk, so that the
 * blkdevs that are attached go on with it; and serves that disk, but for its lies.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "liar.h"
#include "transport/places.h"

/* ------------------------------------------------------------------ serving */

static void *info(const struct liar *l, unsigned line)
{
	return cbd_backend_info_at(l->t, l->backend->id, line);
}

static void publish(struct liar *l, unsigned id)
{
	struct cbd_geometry_line g;
	struct cbd_identity_line i;
	struct cbd_disk_geometry d;

	liar_check(cbd_line_get(l->t, cbd_backend_info_at(l->t, id, CBD_BACKEND_GEOMETRY), &g),
		   "geometry");
	liar_check(cbd_line_get(l->t, cbd_backend_info_at(l->t, id, CBD_BACKEND_IDENTITY), &i),
		   "identity");
	d = (struct cbd_disk_geometry){ .size = g.size,
					.logical_block = g.logical_block,
					.physical_block = g.physical_block,
					.optimal_block = g.optimal_block,
					.discard = true,
					.block_status = true,
					.verifier = i.source };
	memcpy(d.disk_id, i.disk_id, sizeof(d.disk_id));
	liar_check(cbd_backend_publish(l->backend, &d, sizeof(d)), "publish");
}

void liar_serve(struct liar *l, const char *disk)
{
	struct cbd_backend_options o = { .id = (unsigned)atoi(l->target),
					 .max_blkdevs = l->t->header.blkdevs };

	l->disk = open(disk, O_RDWR | O_CLOEXEC);
	liar_check(l->disk < 0 ? cbd_error(errno, "%s: %m", disk) : 0, "disk");
	liar_check(cbd_backend_open(l->t, &o, sizeof(o), &l->backend), "open backend");
	publish(l, o.id);
}

static int execute(struct liar *l, struct cbd_request *r)
{
	if (r->op == CBD_OP_READ)
		return pread(l->disk, r->buf, r->length, (off_t)r->offset) == (ssize_t)r->length
			       ? 0
			       : -EIO;
	if (r->op == CBD_OP_WRITE)
		return pwrite(l->disk, r->buf, r->length, (off_t)r->offset) == (ssize_t)r->length
			       ? 0
			       : -EIO;
	if (r->op == CBD_OP_DISCARD || r->op == CBD_OP_WRITE_ZEROES)
		return fallocate(l->disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)r->offset, r->length) < 0
			       ? -EIO
			       : 0;
	return 0;
}

static void honest(struct liar *l, struct cbd_handler *h, struct cbd_request *r)
{
	cbd_handler_complete(h, r, execute(l, r));
}

void liar_round(struct liar *l, liar_answer_fn *answer)
{
	struct cbd_handler *h = cbd_backend_handler(l->backend, 0);
	struct cbd_request *r[16];
	unsigned n;

	if (cbd_now_ns() - l->beaten_ns > 2000000) {
		liar_check(cbd_backend_tick(l->backend), "tick");
		l->beaten_ns = cbd_now_ns();
	}
	n = cbd_handler_fetch(h, r, 16);
	for (unsigned i = 0; i < n; i++)
		(answer ? answer : honest)(l, h, r[i]);
	if (n)
		cbd_handler_hit(h);
	else
		cbd_handler_wait(h, 500);
}

/* ------------------------------------------------------------------- grants */

typedef void grant_fn(struct liar *l, struct cbd_bchannel *bc, struct cbd_grant_line *g);

/* A changed copy of the grant of each channel that is served; the honest one stays what
 * the backend knows, so its next beat stores it again. */
static void each_grant(struct liar *l, grant_fn *change)
{
	liar_round(l, NULL);
	for (unsigned c = 0; c < l->t->header.channels; c++) {
		struct cbd_bchannel *bc = &l->backend->channels[c];
		struct cbd_grant_line g = bc->grant;

		if (!cbd_backend_serves(bc))
			continue;
		change(l, bc, &g);
		cbd_line_put(l->t, cbd_channel_backend_line(&bc->hc.ch, CBD_CHANNEL_GRANT), &g);
	}
}

static void newer_incarnation(struct liar *l, struct cbd_bchannel *bc, struct cbd_grant_line *g)
{
	(void)l;
	if (bc->grant.queue == 0)
		g->epoch += 1ull << 32;
}

static void grant_incarnation(struct liar *l)
{
	each_grant(l, newer_incarnation);
}

static void newer_epoch(struct liar *l, struct cbd_bchannel *bc, struct cbd_grant_line *g)
{
	(void)bc;
	g->epoch += l->lies + 1;
}

static void grant_epochs(struct liar *l)
{
	each_grant(l, newer_epoch);
}

static void leaving(struct liar *l, struct cbd_bchannel *bc, struct cbd_grant_line *g)
{
	(void)l;
	(void)bc;
	g->state = CBD_GRANT_LEAVING;
}

static void grant_leaving(struct liar *l)
{
	each_grant(l, leaving);
}

static void not_yours(struct liar *l, struct cbd_bchannel *bc, struct cbd_grant_line *g)
{
	(void)bc;
	if (liar_below(l, 2))
		g->blkdev = (uint16_t)liar_below(l, 5);
	else
		g->state = CBD_GRANT_FREE;
}

static void grant_withdrawn(struct liar *l)
{
	each_grant(l, not_yours);
}

static void makes_no_sense(struct liar *l, struct cbd_bchannel *bc, struct cbd_grant_line *g)
{
	(void)bc;
	g->epoch += liar_below(l, 3);
	g->state = (uint16_t)liar_below(l, 7);
	switch (liar_below(l, 5)) {
	case 0:
		g->depth = (uint16_t)liar_random(l);
		break;
	case 1:
		g->ring_slots = (uint16_t)(1u << liar_below(l, 16));
		break;
	case 2:
		g->data_page = (uint32_t)liar_random(l);
		break;
	case 3:
		g->data_pages = (uint32_t)liar_random(l);
		break;
	default:
		g->disk_identity = liar_random(l);
		break;
	}
}

static void grant_nonsense(struct liar *l)
{
	each_grant(l, makes_no_sense);
}

static void other_verifier(struct liar *l, struct cbd_bchannel *bc, struct cbd_grant_line *g)
{
	(void)bc;
	g->verifier = liar_random(l);
}

static void grant_verifier(struct liar *l)
{
	each_grant(l, other_verifier);
}

static void other_generation(struct liar *l, struct cbd_bchannel *bc, struct cbd_grant_line *g)
{
	struct cbd_geometry_line line = l->backend->geometry;

	(void)bc;
	line.generation = g->geometry_generation = (uint32_t)liar_random(l);
	line.size += liar_below(l, 3) * 4096;
	cbd_line_put(l->t, info(l, CBD_BACKEND_GEOMETRY), &line);
}

static void geometry(struct liar *l)
{
	each_grant(l, other_generation);
}

static void damage(struct liar *l, const struct cbd_bchannel *bc)
{
	volatile char *line = cbd_channel_backend_line(&bc->hc.ch, CBD_CHANNEL_GRANT);

	line[liar_below(l, CBD_LINE_SIZE)] ^= (char)(1 << liar_below(l, 8));
}

/* Damaged while the backend beats. */
static void grant_damaged(struct liar *l)
{
	liar_round(l, NULL);
	for (unsigned c = 0; c < l->t->header.channels; c++)
		if (cbd_backend_serves(&l->backend->channels[c]))
			damage(l, &l->backend->channels[c]);
}

/* ------------------------------------------------------------------ answers */

static void never(struct liar *l, struct cbd_handler *h, struct cbd_request *r)
{
	(void)l;
	(void)h;
	(void)r;
}

static void no_answers(struct liar *l)
{
	liar_round(l, never);
}

static void with_error(struct liar *l, struct cbd_handler *h, struct cbd_request *r)
{
	static const int errors[] = { EIO, ENOSPC, EPERM, EINVAL, ENOTSUP, ENOMEM };

	cbd_handler_complete(h, r, -errors[liar_below(l, sizeof(errors) / sizeof(errors[0]))]);
}

static void answers_with_errors(struct liar *l)
{
	liar_round(l, with_error);
}

static struct cbd_hchannel *channel_of(struct cbd_request *r)
{
	return ((struct cbd_hrequest *)(void *)r)->hc;
}

/* An answer of the liar's own before the honest one. */
static void unknown_answer(struct liar *l, struct cbd_handler *h, struct cbd_request *r)
{
	struct cbd_hchannel *hc = channel_of(r);
	struct cbd_ce ce = { .count = hc->count++, .tid = (uint32_t)liar_random(l) };

	cbd_channel_send_ce(&hc->ch, &ce);
	honest(l, h, r);
}

static void answers_unknown(struct liar *l)
{
	liar_round(l, unknown_answer);
}

static void twice(struct liar *l, struct cbd_handler *h, struct cbd_request *r)
{
	struct cbd_hchannel *hc = channel_of(r);
	struct cbd_ce ce = { .tid = ((struct cbd_hrequest *)(void *)r)->se.tid };

	honest(l, h, r);
	ce.count = hc->count++;
	cbd_channel_send_ce(&hc->ch, &ce);
}

static void answers_twice(struct liar *l)
{
	liar_round(l, twice);
}

/* What a READ brought has another CRC; and any result, any length. */
static void wrong_answer(struct liar *l, struct cbd_handler *h, struct cbd_request *r)
{
	struct cbd_hchannel *hc = channel_of(r);
	struct cbd_hrequest *hr = (struct cbd_hrequest *)(void *)r;
	struct cbd_ce ce = { .count = hc->count,
			     .tid = hr->se.tid,
			     .result = (uint32_t)(liar_below(l, 4) ? 0 : liar_random(l) % 12),
			     .length = (uint32_t)liar_random(l),
			     .data_crc = (uint32_t)liar_random(l),
			     .aux = liar_random(l) };

	honest(l, h, r);
	cbd_channel_send_ce(&hc->ch, &ce); /* over the honest one, if that was not read yet */
}

static void answers_wrong(struct liar *l)
{
	liar_round(l, wrong_answer);
}

/* As many runs as there is room for, and not one of them makes sense. */
static void wrong_blocks(struct liar *l, struct cbd_handler *h, struct cbd_request *r)
{
	struct cbd_hrequest *hr = (struct cbd_hrequest *)(void *)r;

	if (r->op != CBD_OP_BLOCK_STATUS) {
		honest(l, h, r);
		return;
	}
	for (hr->n_runs = 0; hr->n_runs < hr->se.room / sizeof(*hr->runs); hr->n_runs++)
		hr->runs[hr->n_runs] = (struct cbd_run){
			.length = (uint32_t)(liar_below(l, 2) ? liar_random(l) : liar_below(l, 9)),
			.flags = (uint32_t)(liar_below(l, 2) ? liar_random(l) : liar_below(l, 9)),
		};
	cbd_handler_complete(h, r, 0);
}

static void answers_blocks(struct liar *l)
{
	liar_round(l, wrong_blocks);
}

static void damaged_answer(struct liar *l, struct cbd_handler *h, struct cbd_request *r)
{
	struct cbd_hchannel *hc = channel_of(r);
	uint64_t at = hc->count;

	honest(l, h, r);
	if (liar_below(l, 16) == 0)
		hc->ch.ce[at & (hc->ch.slots - 1)].length ^= 1;
}

static void answers_damaged(struct liar *l)
{
	liar_round(l, damaged_answer);
}

/* ------------------------------------------------------------ control lines */

static void state_incarnation(struct liar *l)
{
	struct cbd_state_line s = l->backend->state;

	liar_round(l, NULL);
	s.incarnation += 1;
	cbd_line_put(l->t, info(l, CBD_BACKEND_STATE), &s);
}

static void identity(struct liar *l)
{
	struct cbd_identity_line i = l->backend->identity;

	liar_round(l, NULL);
	i.disk_identity ^= liar_below(l, 2);
	cbd_line_put(l->t, info(l, CBD_BACKEND_IDENTITY), &i);
}

static void put_any_reply(struct liar *l)
{
	unsigned d = (unsigned)liar_below(l, l->t->header.blkdevs);
	struct cbd_reply_line r = l->backend->replies[d];

	r.sequence += (uint32_t)liar_below(l, 3);
	r.state = (uint16_t)liar_below(l, 5);
	r.reason = (uint16_t)liar_below(l, 9);
	r.channels = (uint16_t)liar_random(l);
	r.depth = (uint16_t)liar_random(l);
	r.channel_map[liar_below(l, 32)] = (uint8_t)liar_random(l);
	cbd_line_put(l->t, cbd_backend_reply_at(l->t, l->backend->id, d), &r);
}

static void put_any_state(struct liar *l)
{
	struct cbd_state_line s = l->backend->state;

	s.state = (uint16_t)liar_below(l, 9);
	s.incarnation += (uint32_t)liar_below(l, 3) - 1;
	s.pid = 1;
	s.host = (uint16_t)liar_random(l);
	s.count = (uint16_t)liar_random(l);
	cbd_line_put(l->t, info(l, CBD_BACKEND_STATE), &s);
}

static void put_any_geometry(struct liar *l)
{
	struct cbd_geometry_line g = l->backend->geometry;

	g.size = liar_random(l);
	g.max_data = (uint32_t)liar_random(l);
	g.max_range = (uint32_t)liar_random(l);
	g.flags = (uint32_t)liar_random(l);
	g.logical_block = (uint32_t)liar_random(l);
	cbd_line_put(l->t, info(l, CBD_BACKEND_GEOMETRY), &g);
}

static void control_lines(struct liar *l)
{
	struct cbd_beat_line beat = l->backend->beat;

	liar_round(l, NULL);
	switch (liar_below(l, 4)) {
	case 0:
		put_any_reply(l);
		break;
	case 1:
		put_any_state(l);
		break;
	case 2:
		put_any_geometry(l);
		break;
	default:
		beat.counter = liar_random(l);
		cbd_line_put(l->t, info(l, CBD_BACKEND_BEAT), &beat);
		break;
	}
}

/* One bit, as fast as it can, of any line that the blkdev reads: payload that it was
 * answered with, answers, grants. */
static void flips(struct liar *l)
{
	liar_round(l, NULL);
	for (unsigned c = 0; c < l->t->header.channels; c++) {
		struct cbd_bchannel *bc = &l->backend->channels[c];

		for (unsigned i = 0; cbd_backend_serves(bc) && i < 64; i++) {
			volatile char *at = liar_below(l, 2) ? bc->hc.ch.data
							     : (char *)bc->hc.ch.ce;

			at[liar_below(l, 32768) % (bc->hc.ch.slots * CBD_LINE_SIZE)] ^= 1;
		}
	}
}

static void any(struct liar *l)
{
	static void (*const steps[])(struct liar *) = {
		grant_incarnation,   grant_epochs,   grant_leaving, grant_withdrawn,
		grant_nonsense,	     grant_verifier, geometry,	    grant_damaged,
		answers_unknown,     answers_twice,  answers_wrong, answers_damaged,
		state_incarnation,   identity,	     control_lines, flips,
		answers_with_errors, answers_blocks,
	};

	steps[liar_below(l, sizeof(steps) / sizeof(steps[0]))](l);
}

const struct liar_mode liar_backend_modes[] = {
	{ .name = "grant-incarnation", .step = grant_incarnation },
	{ .name = "grant-epochs", .step = grant_epochs },
	{ .name = "grant-leaving", .step = grant_leaving },
	{ .name = "grant-withdrawn", .step = grant_withdrawn },
	{ .name = "grant-nonsense", .step = grant_nonsense },
	{ .name = "grant-verifier", .step = grant_verifier },
	{ .name = "grant-damaged", .step = grant_damaged },
	{ .name = "geometry", .step = geometry },
	{ .name = "no-answers", .step = no_answers },
	{ .name = "answers-with-errors", .step = answers_with_errors },
	{ .name = "answers-unknown", .step = answers_unknown },
	{ .name = "answers-twice", .step = answers_twice },
	{ .name = "answers-wrong", .step = answers_wrong },
	{ .name = "answers-blocks", .step = answers_blocks },
	{ .name = "answers-damaged", .step = answers_damaged },
	{ .name = "state-incarnation", .step = state_incarnation },
	{ .name = "identity", .step = identity },
	{ .name = "backend-lines", .step = control_lines },
	{ .name = "backend-flips", .step = flips },
	{ .name = "random-backend", .step = any },
	{ .name = NULL },
};
