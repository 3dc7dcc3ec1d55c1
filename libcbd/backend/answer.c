/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * answer.c - a handler's answers: CEs in any order, and the bells that wake blkdevs
 * (rule 11).
 *
 * Fast path: cbd_handler_complete -> cbd_payload_deliver (payload.c); then
 * cbd_handler_send_ce -> cbd_channel_start_ce (ring/channel.c), remember_bell.  Once a round
 * cbd_handler_answers_done.
 */
#include <config.h>

#include "memory/fault.h"
#include "backend/handler.h"
#include "backend/payload.h"
#include "base/error.h"
#include "base/step.h"

/* ------------------------------------------------------------------ bells */

static uint32_t *bell_of(const struct cbd_hchannel *hc)
{
	return cbd_channel_backend_line(&hc->ch, CBD_CHANNEL_CE_BELL);
}

static const uint32_t *sleeps_of(const struct cbd_hchannel *hc)
{
	return cbd_channel_blkdev_line(&hc->ch, CBD_CHANNEL_BLKDEV_SLEEPS);
}

/*
 * Rule 11 wants a fence between the store of a CE and the load of the blkdev's sleep
 * flag.  The fence waits until the CE's line has come over from the other CPU: too
 * long for each CE, short enough once a round.  So the flag is read here without a
 * fence, which misses only a blkdev that is falling asleep in this moment; for that
 * one cbd_handler_answers_done() reads the flag again, after the fence, before the handler
 * looks at the rings again.
 */
static void remember_bell(struct cbd_hchannel *hc)
{
	if (cbd_channel_sleeps(sleeps_of(hc))) {
		cbd_channel_wake(bell_of(hc), sleeps_of(hc));
		return;
	}
	if (hc->bell_due)
		return;
	hc->bell_due = true;
	hc->next_bell_due = hc->h->bells_due;
	hc->h->bells_due = hc;
}

void cbd_handler_answers_done(struct cbd_handler *h)
{
	struct cbd_hchannel *hc;

	cbd_mem_store_done(h->mem);
	while ((hc = h->bells_due)) {
		h->bells_due = hc->next_bell_due;
		hc->bell_due = false;
		cbd_channel_wake(bell_of(hc), sleeps_of(hc));
	}
}

void cbd_handler_put_sleeps(struct cbd_handler *h, uint32_t value)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return;
	for (unsigned i = 0; i < h->n_active; i++)
		if (h->active[i]->same_boot)
			cbd_word_store(cbd_channel_backend_line(&h->active[i]->ch,
								CBD_CHANNEL_HANDLER_SLEEPS),
				       value);
	cbd_fault_end(&f);
}

void cbd_handler_disarm(struct cbd_handler *h)
{
	h->armed = false;
	cbd_wait_slept(&h->wait, h->armed_ns);
	cbd_watcher_disarm(h->watcher);
	cbd_handler_put_sleeps(h, 0);
}

/* A payload that stayed bad is no error: the blkdev sends it again. */
static void count(struct cbd_hrequest *r, uint32_t result)
{
	struct cbd_counter_block *k = &r->hc->counted.now;

	uint32_t bytes = r->se.op == CBD_OP_BLOCK_STATUS ? r->told : r->pub.length;

	if (result == CBD_RESULT_BADCRC)
		cbd_count_add(&k->events.bad_payloads, 1);
	cbd_counters_end(k, r->se.op, result == CBD_RESULT_OK ? bytes : 0,
			 result != CBD_RESULT_OK && result != CBD_RESULT_BADCRC);
	if (r->timed_ns)
		cbd_counters_time(k, r->se.op, cbd_boottime_ns() - r->timed_ns);
}

void cbd_handler_send_ce(struct cbd_hrequest *r, uint32_t result, uint32_t data_crc)
{
	struct cbd_hchannel *hc = r->hc;
	struct cbd_ce ce = { .count = hc->count++,
			     .tid = r->se.tid,
			     .result = result,
			     .length = result == CBD_RESULT_OK ? cbd_payload_length(r) : 0,
			     .data_crc = data_crc };

	count(r, result);
	cbd_hrequest_put(r);
	cbd_step("io-ce");
	if (cbd_channel_start_ce(&hc->ch, &ce) < 0) {
		cbd_hchannel_set_broken(hc); /* the memory is gone */
		return;
	}
	cbd_step("io-ce-sent");
	if (hc->same_boot)
		remember_bell(hc);
}

/* --------------------------------------------------------------- complete */

void cbd_handler_complete(struct cbd_handler *h, struct cbd_request *request, int result)
{
	struct cbd_hrequest *r = (struct cbd_hrequest *)request;
	uint32_t crc = 0;

	(void)h;
	if (result == 0 && r->se.op == CBD_OP_BLOCK_STATUS && r->n_runs == 0)
		cbd_request_add_blocks(request, r->se.length, 0);
	if (result == 0 && cbd_op_brings(r->se.op))
		result = cbd_payload_deliver(r, &crc);
	cbd_handler_send_ce(r, cbd_result_from_errno(result), crc);
}

unsigned cbd_handler_inflight(const struct cbd_handler *h)
{
	return h->inflight;
}
