/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-pair.c - a blkdev and a backend joined, in virtual time: an input tells what is
 * submitted, in which order the two work, how the clock moves, and which lines change
 * between two steps or between two reads inside of one.  All may change: each side is
 * lied to.
 *
 * Then the lies end.  A request that has no answer a quarter of an hour later hangs, and
 * so does a close.
 */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "blkdev/blkdev.h"
#include "base/error.h"
#include "fuzz.h"
#include "virtual.h"

#define DISK (1u << 20)
#define RECORDS 200
#define MOST 16 /* requests in flight */
#define LONGEST (64u << 10)
#define BLOCKS 8 /* of an answer to a BLOCK_STATUS */

static struct {
	struct cbd_transport *bt, *ct;
	struct cbd_backend *backend;
	struct cbd_blkdev *b;
	unsigned submitted, completed;
	uint64_t ticked_ns;
	/* the lies that are due inside a step */
	const struct fuzz_record *armed;
	unsigned steps_left;
	/* the input */
	struct fuzz_record records[RECORDS];
	unsigned n, at;
	bool honest; /* the lies are over */
} p;

static char disk[DISK], buf[MOST][LONGEST];
static struct cbd_block_status blocks[MOST][BLOCKS];

/* ------------------------------------------------------------------- sides */

static int execute(struct cbd_request *r)
{
	if (r->offset > DISK || r->length > DISK - r->offset)
		virtual_fail("a request outside of the disk: %llu, %u bytes",
			     (unsigned long long)r->offset, r->length);
	if (r->op == CBD_OP_READ)
		return cbd_request_store(r, disk + r->offset);
	if (r->op == CBD_OP_WRITE)
		return cbd_request_load(r, disk + r->offset);
	/* one byte of each kind, for as long as there is room */
	for (unsigned i = 0; r->op == CBD_OP_BLOCK_STATUS && cbd_request_add_blocks(r, 1, i); i++)
		;
	return 0;
}

static void serve(void)
{
	struct cbd_handler *h = cbd_backend_handler(p.backend, 0);
	struct cbd_request *r[8];
	unsigned n;

	if (virtual_now_ns() - p.ticked_ns > 2 * VIRTUAL_MS) {
		p.ticked_ns = virtual_now_ns();
		if (cbd_backend_tick(p.backend) < 0) {
			p.ticked_ns = UINT64_MAX / 2; /* it has lost its slot: it stops */
			return;
		}
	}
	n = cbd_handler_fetch(h, r, 8);
	for (unsigned i = 0; i < n; i++)
		cbd_handler_complete(h, r[i], execute(r[i]));
}

static bool has_stopped(void)
{
	return p.ticked_ns == UINT64_MAX / 2;
}

/* Only a BLOCK_STATUS is answered with a number: of blocks that it has room for. */
static void check_completion(const struct cbd_completion *c)
{
	if (c->result > (c->cookie ? BLOCKS : 0))
		virtual_fail("a result of %d", c->result);
}

static void poll_queue(void)
{
	struct cbd_completion c[MOST];

	for (unsigned i = 0; i < cbd_blkdev_queues(p.b); i++) {
		int n = cbd_queue_poll(cbd_blkdev_queue(p.b, i), c, 0, MOST, 0);

		p.completed += n > 0 ? (unsigned)n : 0;
		for (int k = 0; k < n; k++)
			check_completion(&c[k]);
	}
}

static void submit(const struct fuzz_record *r)
{
	static const enum cbd_op ops[] = { CBD_OP_READ, CBD_OP_WRITE, CBD_OP_FLUSH, CBD_OP_DISCARD,
					   CBD_OP_WRITE_ZEROES };
	enum cbd_op op = r->value >> 28 == 9 ? CBD_OP_BLOCK_STATUS : ops[r->where % 5];
	struct cbd_io io = {
		.op = op,
		.buf = buf[p.submitted % MOST],
		.length = op == CBD_OP_FLUSH ? 0 : 1 + r->value % LONGEST,
		.offset = op == CBD_OP_FLUSH ? 0 : r->place * 8u,
		.flags = op != CBD_OP_READ && r->value >> 30 == 3 ? CBD_IO_FUA : 0,
		.blocks = blocks[p.submitted % MOST],
		.n_blocks = 1 + r->value % BLOCKS,
		.cookie = op == CBD_OP_BLOCK_STATUS ? disk : NULL,
	};

	if (p.submitted - p.completed >= MOST)
		return;
	if (cbd_queue_submit(cbd_blkdev_queue(p.b, r->where & 1), &io, 1) == 1)
		p.submitted++;
}

/* -------------------------------------------------------------------- lies */

/* An entry of the epoch in force, sealed, at the place where it is awaited. */
static void forge_se(const struct fuzz_record *r)
{
	struct cbd_hchannel *hc = &p.backend->channels[r->where % FUZZ_CHANNELS].hc;
	struct cbd_channel ch = hc->ch;
	struct cbd_se se = { .position = hc->position + (r->place & 3),
			     .tid = r->value & 0xffff,
			     .op = (uint16_t)(r->place >> 2 & 7),
			     .flags = (uint16_t)(r->place >> 5 & 15),
			     .offset = (uint64_t)(r->value >> 8) << (r->place >> 9 & 31),
			     .length = r->value << (r->place >> 12 & 15),
			     .data_offset = (r->value & 0xff) << 12,
			     .data_crc = r->value,
			     .room = r->value >> 4 & 0x1fff };

	if (ch.epoch)
		cbd_channel_send_se(&ch, &se);
}

static void forge_ce(const struct fuzz_record *r)
{
	struct cbd_queue *q = p.b ? cbd_blkdev_queue(p.b, r->where & 1) : NULL;
	struct cbd_channel ch;
	struct cbd_ce ce = { .count = (r->place & 3), .result = r->place >> 2 & 15 };

	if (!q || !q->ch.epoch)
		return;
	ch = q->ch;
	ce.count += q->cursors.ce_next;
	ce.tid = q->parts.all[r->value % q->parts.depth].se.tid + (r->place >> 6 & 1);
	ce.length = r->value >> 8;
	ce.data_crc = r->value;
	cbd_channel_send_ce(&ch, &ce);
}

static void on_step(void)
{
	const struct fuzz_record *r = p.armed;

	if (!r || p.honest || p.steps_left-- > 0)
		return;
	p.armed = NULL;
	fuzz_change(r);
}

static void arm(const struct fuzz_record *r)
{
	p.armed = p.at < p.n ? &p.records[p.at++] : NULL;
	p.steps_left = r->where;
}

static void act(const struct fuzz_record *r)
{
	switch (r->what % 12) {
	case 0:
	case 1:
		fuzz_change(r);
		break;
	case 2:
		forge_se(r);
		break;
	case 3:
		forge_ce(r);
		break;
	case 4:
		arm(r);
		break;
	case 5:
		virtual_sleep(r->value % (2 * VIRTUAL_S));
		break;
	case 6:
		if (p.b)
			virtual_beat(p.b);
		break;
	case 7:
		if (p.b)
			poll_queue();
		break;
	case 8:
	case 9:
		if (!has_stopped())
			serve();
		break;
	default:
		if (p.b)
			submit(r);
		break;
	}
}

/* While the blkdev waits: the backend works, and lies come. */
static void idle(void)
{
	if (!p.honest && !p.b && p.at < p.n) {
		const struct fuzz_record *r = &p.records[p.at];

		if (r->what % 12 < 5) {
			p.at++;
			act(r);
		}
	}
	if (p.backend && !has_stopped())
		serve();
}

/* --------------------------------------------------------------------- run */

static bool open_sides(const char *path)
{
	const struct cbd_disk_geometry g = { .size = DISK,
					     .logical_block = 512,
					     .discard = true,
					     .block_status = true,
					     .disk_id = "a disk",
					     .verifier = 0x70000 };
	const struct cbd_backend_options bo = { .max_blkdevs = 2 };
	const struct cbd_blkdev_options o = { .backend = "0", .queues = 2 };

	if (cbd_transport_open(path, 0, &p.bt) < 0 || cbd_transport_open(path, 0, &p.ct) < 0 ||
	    cbd_backend_open(p.bt, &bo, sizeof(bo), &p.backend) < 0 ||
	    cbd_backend_publish(p.backend, &g, sizeof(g)) < 0)
		virtual_fail("the pair does not start: %s", cbd_errmsg());
	if (cbd_blkdev_open(p.ct, &o, sizeof(o), &p.b) < 0) {
		p.b = NULL; /* it was lied to */
		return false;
	}
	if (cbd_blkdev_start(p.b) < 0) {
		cbd_blkdev_close(p.b);
		p.b = NULL;
	}
	return p.b;
}

/*
 * Everything that was submitted ends, be it by an error.  Not while there is no backend:
 * then requests wait for the next one, until the user waits no more.
 */
static void all_end(const char *what)
{
	uint64_t until = virtual_now_ns() + 900 * VIRTUAL_S;

	while (p.completed != p.submitted) {
		if (has_stopped())
			cbd_blkdev_stop_waiting(p.b);
		if (virtual_now_ns() >= until)
			virtual_fail("HANG: %s: %u of %u requests are not answered", what,
				     p.submitted - p.completed, p.submitted);
		virtual_sleep(50 * VIRTUAL_MS);
		virtual_beat(p.b);
		poll_queue();
	}
}

static void end(void)
{
	/* a write of each queue */
	const struct fuzz_record writes[] = { { .where = 6, .value = 4095 },
					      { .where = 1, .value = 4095 } };

	p.honest = true;
	if (p.b) {
		all_end("in flight");
		submit(&writes[0]);
		submit(&writes[1]);
		all_end("new");
		cbd_blkdev_close(p.b);
	}
	p.b = NULL;
	if (!has_stopped())
		cbd_backend_drain(p.backend);
	for (unsigned i = 0; i < 2000 && !has_stopped() && !cbd_backend_drained(p.backend); i++)
		virtual_sleep(5 * VIRTUAL_MS);
	if (!has_stopped() && !cbd_backend_drained(p.backend))
		virtual_fail("HANG: the backend does not drain");
	cbd_backend_close(p.backend);
	p.backend = NULL;
	cbd_transport_close(p.ct);
	cbd_transport_close(p.bt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *path = fuzz_transport();

	memset(&p, 0, sizeof(p));
	p.n = (unsigned)(size / sizeof(p.records[0]));
	if (p.n > RECORDS)
		p.n = RECORDS;
	memcpy(p.records, data, p.n * sizeof(p.records[0]));
	virtual_begin(3600 * VIRTUAL_S, idle);
	virtual_on_step = on_step;
	if (open_sides(path))
		while (p.at < p.n)
			act(&p.records[p.at++]);
	end();
	virtual_end();
	return 0;
}
