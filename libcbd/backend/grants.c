/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * grants.c - the channels of a backend's pool: their states, and their grants, which
 * begin epochs (rules 3 and 6).
 *
 * Owns the state of each channel, and the grant line; the table below says what may
 * become what, docs/design.md who does it and why.  Which blkdev gets a channel is
 * decided by admit.c and adopt.c.
 */
#include <config.h>

#include <assert.h>

#include "backend/grants.h"
#include "slots/host.h"
#include "base/step.h"

/* ----------------------------------------------------------------- states */

#define BIT(state) (1u << (state))

static const unsigned pool_may_become[CBD_POOL_STATES] = {
	[CBD_POOL_FREE] = BIT(CBD_POOL_SERVED) | BIT(CBD_POOL_QUARANTINED),
	[CBD_POOL_SERVED] = BIT(CBD_POOL_ASKED) | BIT(CBD_POOL_STOPPING),
	[CBD_POOL_ASKED] = BIT(CBD_POOL_STOPPING),
	[CBD_POOL_STOPPING] = BIT(CBD_POOL_SERVED) | BIT(CBD_POOL_FREE) | BIT(CBD_POOL_CLOSED),
	[CBD_POOL_QUARANTINED] = BIT(CBD_POOL_SERVED) | BIT(CBD_POOL_FREE),
	[CBD_POOL_CLOSED] = 0,
};

void cbd_pool_become(struct cbd_bchannel *bc, enum cbd_pool_state to)
{
	assert(pool_may_become[cbd_hchannel_pool(&bc->hc)] & BIT(to));
	cbd_word_store(&bc->hc.pool, to);
}

bool cbd_pool_is_in(const struct cbd_bchannel *bc, enum cbd_pool_state state)
{
	return cbd_hchannel_pool(&bc->hc) == state;
}

bool cbd_backend_serves(const struct cbd_bchannel *bc)
{
	return cbd_pool_is_in(bc, CBD_POOL_SERVED) || cbd_pool_is_in(bc, CBD_POOL_ASKED) ||
	       cbd_pool_is_in(bc, CBD_POOL_STOPPING);
}

bool cbd_pool_is_retired(const struct cbd_bchannel *bc)
{
	return cbd_hchannel_work(&bc->hc) == CBD_WORK_RETIRED;
}

/* ----------------------------------------------------------------- grants */

int cbd_backend_put_grant(struct cbd_backend *b, struct cbd_bchannel *bc)
{
	return cbd_line_put(b->t, cbd_channel_backend_line(&bc->hc.ch, CBD_CHANNEL_GRANT),
			    &bc->grant);
}

void cbd_grant_set_state(struct cbd_backend *b, struct cbd_bchannel *bc, enum cbd_grant_state state)
{
	pthread_mutex_lock(&b->verifier_lock);
	bc->grant.state = (uint16_t)state;
	cbd_backend_put_grant(b, bc);
	pthread_mutex_unlock(&b->verifier_lock);
}

static void fill_grant(struct cbd_backend *b, struct cbd_bchannel *bc)
{
	struct cbd_grant_line *g = &bc->grant;
	const struct cbd_channel *ch = &bc->hc.ch;

	/* rule 3: never 0, never used twice */
	g->epoch = (uint64_t)b->state.incarnation << 32 | ++bc->grants;
	g->state = CBD_GRANT_GRANTED;
	g->ring_slots = (uint16_t)ch->slots;
	g->data_page = (uint32_t)((ch->data - ch->base) / CBD_PAGE_SIZE);
	g->data_pages = (uint32_t)(ch->data_size / CBD_PAGE_SIZE);
	g->disk_identity = b->identity.disk_identity;
	g->verifier = b->identity.verifier;
	g->geometry_generation = b->geometry.generation;
	g->features = b->att[g->blkdev].features;
}

static struct cbd_handler *least_loaded(struct cbd_backend *b)
{
	struct cbd_handler *least = &b->handlers[0];

	for (unsigned i = 1; i < b->n_handlers; i++)
		if (b->handlers[i].assigned < least->assigned)
			least = &b->handlers[i];
	return least;
}

static void describe_disk(const struct cbd_backend *b, struct cbd_bchannel *bc)
{
	struct cbd_hchannel *hc = &bc->hc;

	hc->data_crc = b->features & CBD_FEATURE_DATA_CRC;
	hc->block_status = b->att[bc->grant.blkdev].features & CBD_FEATURE_BLOCK_STATUS;
	cbd_shared_set(&hc->disk_size, b->geometry.size);
	hc->max_data = b->geometry.max_data;
	hc->max_range = b->geometry.max_range;
	hc->read_only = b->geometry.flags & CBD_GEOMETRY_READ_ONLY;
}

/* A new epoch for the blkdev, queue and depth that bc->grant names.  The
 * handler looks for its SE 0 before the blkdev can know of it. */
int cbd_grant_give(struct cbd_backend *b, struct cbd_bchannel *bc, unsigned host)
{
	struct cbd_hchannel *hc = &bc->hc;
	struct cbd_handler *h = hc->h ? hc->h : least_loaded(b);
	int r;

	describe_disk(b, bc);
	hc->same_boot = cbd_host_is_local(b->t, host);
	r = cbd_hchannel_prepare(hc, bc->grant.depth);
	if (r < 0)
		return r;
	pthread_mutex_lock(&b->verifier_lock);
	fill_grant(b, bc);
	pthread_mutex_unlock(&b->verifier_lock);
	cbd_channel_enter(&hc->ch, bc->grant.epoch);
	cbd_count_add(&b->ended.epochs.epochs, 1);
	if (!hc->h) {
		hc->counting_ns = cbd_now_ns();
		cbd_counters_afresh(&hc->counted);
		h->assigned++;
	}
	cbd_pool_become(bc, CBD_POOL_SERVED);
	cbd_handler_give(h, hc);
	cbd_step("grant-given");
	pthread_mutex_lock(&b->verifier_lock);
	r = cbd_backend_put_grant(b, bc);
	pthread_mutex_unlock(&b->verifier_lock);
	cbd_step("grant-written");
	return r;
}

/* Its handler has retired it: nobody serves it any more. */
void cbd_grant_take_back(struct cbd_backend *b, struct cbd_bchannel *bc, bool stays)
{
	bc->hc.h->assigned--;
	bc->hc.h = NULL;
	cbd_hchannel_work_become(&bc->hc, CBD_WORK_NONE);
	cbd_counters_add(&b->ended, &bc->hc.counted.now);
	cbd_counters_forget(&bc->hc.counted.now);
	cbd_channel_write_back_bells(&bc->hc.ch,
				     cbd_channel_backend_line(&bc->hc.ch, CBD_CHANNEL_CE_BELL));
	cbd_hchannel_free(&bc->hc);
	cbd_pool_become(bc, b->draining ? CBD_POOL_CLOSED : CBD_POOL_FREE);
	/* of a blkdev that stays the grant does too: it waits for the grant of the next
	 * backend */
	if (!stays)
		cbd_grant_set_state(b, bc, CBD_GRANT_FREE);
}

void cbd_backend_stop_channel(struct cbd_bchannel *bc)
{
	if (!cbd_pool_is_in(bc, CBD_POOL_STOPPING))
		cbd_pool_become(bc, CBD_POOL_STOPPING);
	cbd_handler_wake(bc->hc.h);
}

bool cbd_pool_is_of(const struct cbd_bchannel *bc, unsigned d)
{
	return cbd_backend_serves(bc) && bc->grant.blkdev == d;
}
