/* SPDX-License-Identifier: BSD-3-Clause */
/* leftover.c - see leftover.h. */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "memory/fault.h"
#include "ring/channel.h"
#include "slots/host.h"
#include "slots/leftover.h"

void cbd_leftover_write_back(struct cbd_transport *t, enum cbd_side side, unsigned slot)
{
	if (!t->mem.software)
		return;
	if (side == CBD_SIDE_BACKEND) {
		cbd_fault_write_back(&t->mem, cbd_backend_info_at(t, slot, 0),
				     (cbd_backend_pages(&t->header) - CBD_BACKEND_INFO) *
					     CBD_PAGE_SIZE);
		for (unsigned c = 0; c < t->header.channels; c++)
			cbd_channel_write_back(t, slot, c);
		return;
	}
	cbd_fault_write_back(&t->mem, cbd_blkdev_info_at(t, slot, 0),
			     (CBD_BLKDEV_PAGES - CBD_BLKDEV_INFO) * CBD_PAGE_SIZE);
	for (unsigned b = 0; b < t->header.backends; b++)
		for (unsigned c = 0; c < t->header.channels; c++)
			if (cbd_channel_user(t, b, c) == (int)slot ||
			    cbd_channel_user(t, b, c) == -2)
				cbd_channel_write_back(t, b, c);
}

/* Reading a claim line that is dirty in this host's cache writes it back. */
static void write_back_slots(struct cbd_transport *t, enum cbd_side side, unsigned host)
{
	struct cbd_claim_line line;

	for (unsigned i = 0; i < cbd_side_slots(t, side); i++) {
		int r = cbd_line_get(t, cbd_side_claim_at(t, side, i, host), &line);

		if (r == -EBADMSG || (r == 0 && line.state == CBD_CLAIM_RAISED))
			cbd_leftover_write_back(t, side, i);
	}
}

void cbd_leftover_write_back_host(struct cbd_transport *t, unsigned host)
{
	if (!t->mem.software)
		return;
	cbd_fault_write_back(&t->mem, cbd_host_info_at(t, host, 0),
			     (cbd_host_pages(&t->header) - CBD_HOST_INFO) * CBD_PAGE_SIZE);
	write_back_slots(t, CBD_SIDE_BLKDEV, host);
	write_back_slots(t, CBD_SIDE_BACKEND, host);
}

/* ------------------------------------------------------------- page cache */

/* Has the host that a state line names ever claimed the slot?  A claim is written before
 * the state line, and never wiped. */
static bool has_claimed(const struct cbd_transport *t, unsigned id, unsigned host)
{
	struct cbd_claim_line claim;

	return host < t->header.hosts &&
	       (cbd_line_get(t, cbd_side_claim_at(t, CBD_SIDE_BACKEND, id, host), &claim) < 0 ||
		!cbd_is_zero(&claim, sizeof(claim)));
}

int cbd_leftover_in_page_cache(const struct cbd_transport *t, unsigned id)
{
	struct cbd_state_line s;
	struct cbd_geometry_line g;
	uint8_t boot[16];

	if (cbd_line_get(t, cbd_backend_info_at(t, id, CBD_BACKEND_STATE), &s) < 0 ||
	    cbd_line_get(t, cbd_backend_info_at(t, id, CBD_BACKEND_GEOMETRY), &g) < 0)
		return -1;
	/* clearing frees a slot and keeps host and boot: it writes nothing back */
	if (s.incarnation == 0 || s.state == CBD_SLOT_GONE)
		return -1;
	if (g.size == 0 || (g.flags & (CBD_GEOMETRY_WRITE_THROUGH | CBD_GEOMETRY_READ_ONLY)))
		return -1;
	if (!has_claimed(t, id, s.host))
		return -1; /* the line names a host that cannot have written it */
	if (!cbd_host_boot(t, s.host, boot) || memcmp(boot, s.boot_id, 16) != 0)
		return -1; /* it has been rebooted since */
	return s.host;
}
