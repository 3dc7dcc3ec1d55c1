/* SPDX-License-Identifier: BSD-3-Clause */
/* drive.c - see drive.h. */
#include <config.h>

#include "drive.h"

struct pair p;
unsigned char buf[64][8192];

void drive_open(enum cbd_coherence kind, unsigned ring_slots, unsigned depth)
{
	pair_open(&p, &(struct pair_options){ .kind = kind,
					      .data_crc = true,
					      .ring_slots = ring_slots,
					      .depth = depth,
					      .stepping = true });
	ck_assert_uint_eq(p.q->parts.depth, depth);
}

struct cbd_hchannel *drive_channel(void)
{
	return &p.backend->channels[p.q->ch.id].hc;
}

bool drive_broken(void)
{
	return cbd_hchannel_work(drive_channel()) == CBD_WORK_BROKEN;
}

bool drive_once(struct cbd_completion *c)
{
	struct cbd_request *r[16];
	unsigned n = pair_fetch(&p, r, 16);

	for (unsigned i = 0; i < n; i++)
		pair_complete(&p, r[i]);
	return cbd_queue_poll(p.q, c, 1, 1, 2) == 1;
}

struct cbd_completion drive_until(void)
{
	struct cbd_completion c = { .result = 1 };

	unit_wait(drive_once(&c));
	return c;
}

bool drive_fetch_none(void)
{
	struct cbd_request *r[1];

	ck_assert_uint_eq(pair_fetch(&p, r, 1), 0);
	return true;
}

bool drive_reap_none(void)
{
	struct cbd_completion c;

	ck_assert_int_eq(cbd_queue_poll(p.q, &c, 1, 1, 2), 0);
	return true;
}

void drive_ok(uintptr_t cookie)
{
	struct cbd_completion c = drive_until();

	ck_assert_uint_eq((uintptr_t)c.cookie, cookie);
	ck_assert_int_eq(c.result, 0);
}

void drive_sane(void)
{
	unit_fill(buf[20], 8192, 20);
	pair_submit(&p, CBD_OP_WRITE, buf[20], 4096, 8192, 20);
	drive_ok(20);
	ck_assert_mem_eq(unit_disk_data(&p.disk) + 4096, buf[20], 8192);
	pair_submit(&p, CBD_OP_READ, buf[21], 4096, 8192, 21);
	drive_ok(21);
	ck_assert_mem_eq(buf[20], buf[21], 8192);
}

int drive_receive_ce(struct cbd_channel *ch, uint64_t count, struct cbd_ce *ce)
{
	cbd_channel_invalidate_ce(ch, count);
	cbd_invalidate_done(&ch->t->mem);
	return cbd_channel_receive_ce(ch, count, ce);
}
