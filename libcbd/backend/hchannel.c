/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hchannel.c - a channel as a handler serves it: the states of its work, and the private
 * memory of its requests.
 *
 * The table below says what each state may become, docs/design.md who does it and why.
 */
#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "backend/handler.h"
#include "backend/payload.h"

/* ------------------------------------------------------------------ states */

#define BIT(state) (1u << (state))

/* What each state of a channel's work may become; docs/design.md has the reasons. */
static const unsigned work_may_become[CBD_WORK_STATES] = {
	[CBD_WORK_NONE] = BIT(CBD_WORK_FETCHING),
	[CBD_WORK_FETCHING] = BIT(CBD_WORK_BROKEN) | BIT(CBD_WORK_RETIRED),
	[CBD_WORK_BROKEN] = BIT(CBD_WORK_RETIRED),
	[CBD_WORK_RETIRED] = BIT(CBD_WORK_FETCHING) | BIT(CBD_WORK_NONE),
};

void cbd_hchannel_work_become(struct cbd_hchannel *hc, enum cbd_work_state to)
{
	assert(work_may_become[cbd_hchannel_work(hc)] & BIT(to));
	cbd_word_store(&hc->work, to);
}

void cbd_hchannel_set_broken(struct cbd_hchannel *hc)
{
	if (cbd_hchannel_work(hc) == CBD_WORK_FETCHING)
		cbd_hchannel_work_become(hc, CBD_WORK_BROKEN);
}

bool cbd_hchannel_is_broken(const struct cbd_hchannel *hc)
{
	return cbd_hchannel_work(hc) == CBD_WORK_BROKEN;
}

bool cbd_hchannel_is_stopping(const struct cbd_hchannel *hc)
{
	return cbd_hchannel_pool(hc) == CBD_POOL_STOPPING;
}

/* -------------------------------------------------------------- requests */

struct cbd_hrequest *cbd_hrequest_get(struct cbd_hchannel *hc)
{
	struct cbd_hrequest *r = hc->free;

	if (r) {
		hc->free = r->next;
		hc->inflight++;
		hc->h->inflight++;
	}
	return r;
}

void cbd_hrequest_put(struct cbd_hrequest *r)
{
	struct cbd_hchannel *hc = r->hc;

	cbd_payload_put(r);
	r->next = hc->free;
	hc->free = r;
	hc->inflight--;
	hc->h->inflight--;
}

/* ------------------------------------------------------- the control side */

void cbd_hchannel_free(struct cbd_hchannel *hc)
{
	cbd_payload_free(hc);
	free(hc->requests);
	hc->requests = NULL;
}

int cbd_hchannel_prepare(struct cbd_hchannel *hc, unsigned depth)
{
	int r = cbd_payload_prepare(hc);

	if (r < 0)
		return r;
	free(hc->requests);
	hc->requests = calloc(depth, sizeof(*hc->requests));
	if (!hc->requests)
		return cbd_error(ENOMEM, "channel: %m");
	hc->depth = depth;
	hc->free = hc->retries = NULL;
	for (unsigned i = 0; i < depth; i++) {
		hc->requests[i].hc = hc;
		hc->requests[i].next = hc->free;
		hc->free = &hc->requests[i];
	}
	hc->position = hc->count = 0;
	hc->inflight = hc->misses = 0;
	hc->hot_used = hc->hot_users = 0;
	cbd_hchannel_work_become(hc, CBD_WORK_FETCHING);
	return 0;
}
