/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handler.c - fetch SEs in order, validate them and bring a write's payload: in rounds
 * that are fair to all channels.  answer.c answers.
 *
 * Everything that comes out of shared memory is copied once, validated on the
 * copy, and the copy is used.  Nothing that a peer writes can make a request
 * that leaves its channel or the disk.
 *
 * Fast path: cbd_handler_fetch -> fetch_hot -> look_at -> fetch_channel -> read_ses ->
 * copy_ses; invalidate_payloads; then for each SE take_se -> take -> cbd_payload_bring
 * (payload.c).
 */
#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "memory/fault.h"
#include "backend/handler.h"
#include "backend/payload.h"
#include "base/step.h"

#define RETRY_NS 5000000ull	/* copy a payload whose CRC is wrong again for so long */
#define RETRY_PAUSE_NS 50000ull /* before it is copied again for the first time */
#define BATCH \
	8			 /* SEs that are read under one recovery point, one fence
				 * and one look at the lease */
#define SHARE 8			 /* SEs of one channel in a round, where others are hot */
#define ROUND_BYTES (512u << 10) /* the largest request, so none has to be refused */
#define ROUND_NS 500000ull
static_assert(ROUND_BYTES <= CBD_HOT_BYTES, "what a round brings has room in the hot part");
#define SHORT 4096u	 /* payloads up to this are invalidated together */
#define SE_BYTES 4096	 /* an SE costs as much as so many bytes of payload */
#define RANGE_BYTES 16	 /* so many bytes of a discard as much as one of payload */
#define ROOM_COST 128	 /* a byte of room for runs: as many, for a look at the disk */
#define COLD_MISSES 1024 /* looks without a request that make a channel cold */
#define COLD_LOOKS \
	4 /* cold channels looked at in a round, and one more for
			    * two requests of the round before */

/* ------------------------------------------------------------- validation */

/* The most bytes of the disk that an SE may be about; 0: there is no such operation, or it
 * was not granted. */
static uint32_t most_bytes(const struct cbd_hchannel *hc, unsigned op)
{
	switch (op) {
	case CBD_OP_READ:
	case CBD_OP_WRITE:
		return hc->max_data;
	case CBD_OP_DISCARD:
	case CBD_OP_WRITE_ZEROES:
		return hc->max_range;
	case CBD_OP_BLOCK_STATUS:
		return hc->block_status ? CBD_MAX_STATUS : 0;
	default:
		return 0;
	}
}

/* Bytes of the data area. */
static uint32_t room_of(const struct cbd_se *se)
{
	if (se->op == CBD_OP_BLOCK_STATUS)
		return se->room;
	return se->op == CBD_OP_READ || se->op == CBD_OP_WRITE ? se->length : 0;
}

/* For one run at least, and for no more than a unit has. */
static bool is_room_for_runs(uint32_t room)
{
	return room > 0 && room <= CBD_MAX_RUNS * sizeof(struct cbd_run) &&
	       room % sizeof(struct cbd_run) == 0;
}

static uint32_t validate(const struct cbd_hchannel *hc, const struct cbd_se *se)
{
	uint32_t most = most_bytes(hc, se->op), room = room_of(se);
	uint64_t size = cbd_shared_get(&hc->disk_size);

	if (se->flags & ~CBD_SE_FLAGS_KNOWN)
		return CBD_RESULT_INVAL;
	if (se->op == CBD_OP_FLUSH)
		return CBD_RESULT_OK;
	if (most == 0)
		return CBD_RESULT_NOTSUP;
	if (se->length == 0 || se->length > most)
		return CBD_RESULT_INVAL;
	if (se->offset > size || se->length > size - se->offset)
		return CBD_RESULT_INVAL;
	if (se->op == CBD_OP_BLOCK_STATUS && !is_room_for_runs(room))
		return CBD_RESULT_INVAL;
	if (room && (se->data_offset % CBD_UNIT_SIZE || se->data_offset > hc->ch.data_size ||
		     room > hc->ch.data_size - se->data_offset))
		return CBD_RESULT_INVAL;
	if (hc->read_only && cbd_op_writes(se->op))
		return CBD_RESULT_PERM;
	return CBD_RESULT_OK;
}

/* ------------------------------------------------------------------ fetch */

/* The SE was validated, and its payload is there: what the engine gets.  (That the line of
 * an SE is sound is found out earlier, by cbd_channel_accept_se().) */
static struct cbd_request *accept_se(struct cbd_hrequest *r)
{
	r->pub.op = (enum cbd_op)r->se.op;
	r->pub.flags = r->se.flags;
	r->pub.offset = r->se.op == CBD_OP_FLUSH ? 0 : r->se.offset;
	r->pub.length = r->se.op == CBD_OP_FLUSH ? 0 : r->se.length;
	r->pub.opaque = NULL;
	cbd_step("io-fetched");
	return &r->pub;
}

/* Each pause is twice the one before, so that a blkdev whose payloads never match
 * costs its neighbours little. */
static void retry_after_pause(struct cbd_hrequest *r, uint64_t now)
{
	r->retry_ns = now + r->retry_pause_ns;
	if (r->retry_ns > r->retry_until_ns)
		r->retry_ns = r->retry_until_ns;
	r->retry_pause_ns *= 2;
}

static void retry_later(struct cbd_hrequest *r)
{
	uint64_t now = cbd_now_ns();

	r->retry_until_ns = now + RETRY_NS;
	r->retry_pause_ns = RETRY_PAUSE_NS;
	retry_after_pause(r, now);
	r->next = r->hc->retries;
	r->hc->retries = r;
	r->hc->h->n_retries++;
}

#define TICK_BITS 22 /* 4 ms, of cbd_timing_is_due() */

/* A fetched SE becomes a request for the engine, an answer, or a retry. */
static struct cbd_request *take(struct cbd_hchannel *hc, const struct cbd_se *se, bool invalidated,
				uint64_t now_ns)
{
	struct cbd_hrequest *r = cbd_hrequest_get(hc);
	uint32_t result;
	int e;

	if (!r) {
		/* more SEs than the depth allows: the blkdev does not keep rule 5 */
		cbd_hchannel_set_broken(hc);
		return NULL;
	}
	hc->position++;
	r->se = *se;
	r->invalidated = invalidated;
	cbd_counters_begin(&hc->counted.now, se->op);
	r->timed_ns = cbd_timing_is_due(&hc->timing, now_ns >> TICK_BITS) ? now_ns : 0;
	result = validate(hc, se);
	if (result != CBD_RESULT_OK) {
		cbd_handler_send_ce(r, result, 0);
		return NULL;
	}
	e = cbd_payload_bring(r);
	if (e == -EAGAIN) {
		retry_later(r);
		return NULL;
	}
	if (e < 0) {
		cbd_handler_send_ce(r, cbd_result_from_errno(e), 0);
		return NULL;
	}
	return accept_se(r);
}

/* The lease of rule 7.5: a process that was stopped for long does not go on before
 * its control thread has seen that the slot still belongs to this backend. */
static bool lease_holds(const struct cbd_handler *h)
{
	uint64_t beaten = cbd_shared_get(h->beaten_ns); /* before the clock */

	return cbd_boottime_ns() - beaten < h->lease_ns;
}

bool cbd_handler_may_submit(const struct cbd_handler *h)
{
	return lease_holds(h);
}

/* ------------------------------------------------------------------ round */

/*
 * One call of cbd_handler_fetch().  Whatever blkdevs send, a round ends: after MAX
 * SEs, those included that are refused or have to be copied again; after ROUND_BYTES
 * of payload; after ROUND_NS.  The engine then works on what it has got, and the next
 * round begins with the channels whose turn it is.
 */
struct round {
	struct cbd_handler *h;
	struct cbd_request **out;
	unsigned max, n; /* requests for the engine */
	unsigned seen;	 /* SEs, and payloads that were copied again */
	uint64_t bytes;
	unsigned waiting;  /* how often note_waiting() was called */
	uint64_t least;	   /* start_of() of the waiting channel that got least */
	uint64_t began_ns; /* CLOCK_BOOTTIME; 0: no SE yet */
	uint64_t now_ns;   /* the same, when the time was read last */
};

/* The time is read for the first SEs of a channel and again after each BATCH. */
static bool has_time(struct round *round)
{
	uint64_t beaten = cbd_shared_get(round->h->beaten_ns); /* before the clock */
	uint64_t now = cbd_boottime_ns();

	round->now_ns = now;
	if (!round->began_ns)
		round->began_ns = now;
	/* a slow or busy machine serves one SE a round nevertheless */
	return now - beaten < round->h->lease_ns &&
	       (round->seen == 0 || now - round->began_ns < ROUND_NS);
}

/* What a request costs a handler, in bytes of payload: it is compared with that of
 * other channels.  At most a round: the SE was not validated yet, and while it waits for
 * room it holds the virtual time. */
static uint64_t cost_of(const struct cbd_se *se)
{
	uint64_t cost = 0;

	if (se->op == CBD_OP_READ || se->op == CBD_OP_WRITE)
		cost = se->length;
	else if (se->op == CBD_OP_DISCARD || se->op == CBD_OP_WRITE_ZEROES)
		cost = se->length / RANGE_BYTES;
	else if (se->op == CBD_OP_BLOCK_STATUS)
		cost = (uint64_t)se->room * ROOM_COST;
	else if (se->op == CBD_OP_FLUSH)
		cost = ROUND_BYTES; /* the disk may take as long as for the largest one */
	return cost < ROUND_BYTES ? cost : ROUND_BYTES;
}

/* A single request may be larger than what a round has: it has one for itself. */
static bool has_room(const struct round *round, uint64_t cost)
{
	return round->seen < round->max &&
	       (round->bytes == 0 || round->bytes + cost <= ROUND_BYTES);
}

/*
 * Starting-potential fair queueing (Stiliadis, Varma 1998).  A channel's tag is the
 * virtual time until which it has been served for what it got.  It begins its next SE
 * there; but when it had nothing for a while, at the time of the handler, so it saves
 * nothing up.
 */
static uint64_t start_of(const struct cbd_hchannel *hc)
{
	uint64_t now = hc->h->virtual_time;

	return hc->tag > now ? hc->tag : now;
}

/*
 * The channel that would be done first comes first, so one that asks for little does not
 * wait for all those that got less and ask for much.  What the next SE costs is known
 * when the handler has seen it and had no room for it; otherwise the last one tells.  A
 * wrong guess changes the order once, not the share.
 */
static uint64_t finish_of(const struct cbd_hchannel *hc)
{
	return start_of(hc) + hc->cost;
}

/* The handler's time becomes that of the waiting channel which got least.  It must not
 * pass one that waits: that would move where the channel begins, again and again. */
static void note_waiting(struct round *round, const struct cbd_hchannel *hc)
{
	uint64_t start = start_of(hc);

	round->waiting++;
	if (start < round->least)
		round->least = start;
}

/* HC waits with what costs so much: is there room for it? */
static bool may_take(struct round *round, struct cbd_hchannel *hc, uint64_t cost)
{
	note_waiting(round, hc);
	hc->cost = SE_BYTES + cost;
	return has_room(round, cost);
}

static void charge(struct round *round, struct cbd_hchannel *hc, uint64_t cost)
{
	round->seen++;
	round->bytes += cost;
	hc->tag = start_of(hc) + SE_BYTES + cost;
}

static void swap(struct cbd_handler *h, unsigned a, unsigned b)
{
	struct cbd_hchannel *hc = h->active[a];

	h->active[a] = h->active[b];
	h->active[b] = hc;
}

/* By finish_of().  The order of the round before is nearly right. */
static void sort_hot(struct cbd_handler *h)
{
	for (unsigned i = 1; i < h->n_hot; i++)
		for (unsigned k = i; k > 0 && finish_of(h->active[k]) < finish_of(h->active[k - 1]);
		     k--)
			swap(h, k, k - 1);
}

/* ------------------------------------------------------------------ fetch */

/* SEs in private memory.  Not of the function with the recovery point: what it had
 * counted when a line faulted has to be there afterwards. */
struct batch {
	struct cbd_se ses[BATCH];
	unsigned n;
	unsigned invalidated; /* a bit for each: its payload was */
};

/* Inside a recovery point. */
static void copy_ses(const struct cbd_hchannel *hc, struct batch *batch, unsigned max,
		     bool invalidated)
{
	const struct cbd_mem *m = &hc->ch.t->mem;

	while (batch->n < max) {
		uint64_t position = hc->position + batch->n;

		if (batch->n == (invalidated ? 1 : 0)) {
			for (unsigned i = batch->n; i < max; i++)
				cbd_channel_invalidate_se(&hc->ch, hc->position + i);
			cbd_invalidate_done(m);
		}
		if (!cbd_line_await(m, &hc->ch.se[position & (hc->ch.slots - 1)], position,
				    &batch->ses[batch->n]))
			return;
		batch->n++;
		cbd_signal_fence(); /* a fault of the next line finds this one counted */
	}
}

/*
 * Copy the SEs that have come, from hc->position on, up to MAX: under one recovery
 * point, and the lines after the first, which the caller has invalidated, under one
 * fence.  -EIO: the first faults; a fault behind it is found by the next round.
 */
static int read_ses(struct cbd_hchannel *hc, struct batch *batch, unsigned max, bool invalidated)
{
	struct cbd_fault f;

	batch->n = 0;
	batch->invalidated = 0;
	if (!CBD_FAULT_TRY(&f))
		return batch->n > 0 ? 0 : -EIO;
	copy_ses(hc, batch, max, invalidated);
	cbd_fault_end(&f);
	return 0;
}

/* What is left over from an older epoch ends it: the lines behind it are not awaited yet. */
static void invalidate_inside(const struct round *round, const struct cbd_hchannel *hc,
			      struct batch *batch)
{
	const struct cbd_mem *m = &hc->ch.t->mem;
	struct round ahead = *round;

	for (unsigned i = 0; i < batch->n; i++) {
		const struct cbd_se *se = &batch->ses[i];

		if (se->epoch != hc->ch.epoch || !has_room(&ahead, cost_of(se)))
			break;
		ahead.seen++;
		ahead.bytes += cost_of(se);
		if (se->op != CBD_OP_WRITE || se->length > SHORT ||
		    validate(hc, se) != CBD_RESULT_OK)
			continue;
		cbd_mem_invalidate_start(m, hc->ch.data + se->data_offset, se->length);
		batch->invalidated |= 1u << i;
	}
	cbd_invalidate_done(m);
}

/*
 * The short payloads of those SEs of a batch that the round has room for, under one fence,
 * which waits for all of them as long as for one.  (A long one is invalidated when it is
 * copied.)  After a fault each copy invalidates for itself, and meets the fault again where
 * it is the error of its request.
 */
static void invalidate_payloads(const struct round *round, const struct cbd_hchannel *hc,
				struct batch *batch)
{
	struct cbd_fault f;

	if (!hc->ch.t->mem.software || batch->n < 2)
		return;
	if (!CBD_FAULT_TRY(&f)) {
		batch->invalidated = 0;
		return;
	}
	invalidate_inside(round, hc, batch);
	cbd_fault_end(&f);
}

/* The payload of SE I comes from memory while the one before is copied. */
static void fetch_payload(const struct cbd_hchannel *hc, const struct batch *batch, unsigned i)
{
	if (i < batch->n && batch->invalidated & 1u << i)
		cbd_mem_fetch(&hc->ch.t->mem, hc->ch.data + batch->ses[i].data_offset,
			      batch->ses[i].length);
}

/*
 * How many SEs a look at a channel may bring.  The line of hc->position was
 * invalidated; to look at the line behind it costs another invalidation, which a
 * blkdev with one request at a time would have to wait for: the handler looks further
 * only when its last two looks both found an SE.
 */
static unsigned share_of(const struct round *round, const struct cbd_hchannel *hc)
{
	unsigned left = round->max - round->seen;

	if (hc->ch.t->mem.software && hc->streak < 2)
		return 1;
	return round->h->n_hot > 1 && left > SHARE ? SHARE : left;
}

/* False: the rest of what was read has to wait for a later round. */
static bool take_se(struct round *round, struct cbd_hchannel *hc, const struct batch *batch,
		    unsigned i)
{
	const struct cbd_se *se = &batch->ses[i];
	struct cbd_request *request;

	if (cbd_channel_accept_se(&hc->ch, hc->position, se) <= 0)
		return false;
	if (!may_take(round, hc, cost_of(se)))
		return false;
	fetch_payload(hc, batch, i + 1);
	request = take(hc, se, batch->invalidated & 1u << i, round->now_ns);
	if (cbd_hchannel_is_broken(hc))
		return false;
	charge(round, hc, cost_of(se));
	if (se->op == CBD_OP_FLUSH)
		hc->cost = SE_BYTES; /* it tells nothing of what comes next */
	if (request)
		round->out[round->n++] = request;
	return true;
}

/* The SE that cbd_handler_wait() saw: its copy is used, not the line again, which
 * the peer may have changed since. */
static void take_peeked(struct cbd_handler *h, struct batch *batch)
{
	h->peeked = NULL;
	batch->ses[0] = h->peeked_se;
	batch->n = 1;
	batch->invalidated = 0;
}

static void fetch_channel(struct round *round, struct cbd_hchannel *hc)
{
	unsigned share = share_of(round, hc), seen = 0;
	struct batch batch;

	while (seen < share && has_room(round, 0)) {
		unsigned max = share - seen < BATCH ? share - seen : BATCH;
		bool peeked = round->h->peeked == hc;

		if (peeked)
			take_peeked(round->h, &batch);
		else if (read_ses(hc, &batch, max, seen == 0) < 0)
			cbd_hchannel_set_broken(hc);
		if (batch.n == 0)
			return;
		if (!has_time(round)) {
			note_waiting(round, hc);
			return;
		}
		invalidate_payloads(round, hc, &batch);
		for (unsigned i = 0; i < batch.n; i++, seen++)
			if (!take_se(round, hc, &batch, i))
				return;
		if (!peeked && batch.n < max)
			return;
	}
}

/* Copy those payloads again whose CRC was wrong and whose pause is over. */
static void fetch_retries(struct round *round, struct cbd_hchannel *hc)
{
	struct cbd_hrequest **p = &hc->retries, *r;
	uint64_t now = cbd_now_ns();

	while ((r = *p)) {
		int e;

		if (now < r->retry_ns) {
			p = &r->next;
			continue;
		}
		if (!may_take(round, hc, r->se.length) || !has_time(round))
			return;
		charge(round, hc, r->se.length);
		cbd_count_add(&hc->counted.now.events.retries, 1);
		e = cbd_payload_bring(r);
		if (e == -EAGAIN && now < r->retry_until_ns) {
			retry_after_pause(r, now);
			p = &r->next;
			continue;
		}
		*p = r->next;
		hc->h->n_retries--;
		if (e == 0)
			round->out[round->n++] = accept_se(r);
		else
			cbd_handler_send_ce(r,
					    e == -EAGAIN ? CBD_RESULT_BADCRC
							 : cbd_result_from_errno(e),
					    0);
	}
}

/* Everything is answered: the channel belongs to the control thread again. */
static void retire(struct cbd_handler *h, unsigned i)
{
	struct cbd_hchannel *hc = h->active[i];

	cbd_handler_answers_done(h);
	if (h->peeked == hc)
		h->peeked = NULL;
	if (i < h->n_hot) {
		swap(h, i, --h->n_hot);
		i = h->n_hot;
	}
	swap(h, i, --h->n_active);
	cbd_hchannel_work_become(hc, CBD_WORK_RETIRED);
}

static void set_longest_sleep(struct cbd_handler *h)
{
	h->wait.most_us = CBD_WAIT_HANDLER_LOCAL_US;
	for (unsigned i = 0; i < h->n_active; i++)
		if (!h->active[i]->same_boot)
			h->wait.most_us = CBD_WAIT_HANDLER_REMOTE_US;
}

static void take_incoming(struct cbd_handler *h)
{
	pthread_mutex_lock(&h->lock);
	while (h->incoming) {
		h->incoming->tag = 0; /* of the time of another handler, perhaps */
		h->incoming->cost = SE_BYTES + ROUND_BYTES; /* not known */
		h->active[h->n_active] = h->incoming;
		swap(h, h->n_active++, h->n_hot++);
		h->incoming = h->incoming->next;
	}
	cbd_flag_set(&h->changed, false);
	pthread_mutex_unlock(&h->lock);
	set_longest_sleep(h);
}

/* May the handler fetch from it?  Not when the control thread has stopped it, nor
 * when it is broken; an SE line that stays damaged breaks it here. */
static bool may_fetch(struct cbd_hchannel *hc)
{
	if (hc->ch.bad_since_ns && cbd_channel_bad(&hc->ch, cbd_now_ns()))
		cbd_hchannel_set_broken(hc);
	return !cbd_hchannel_is_stopping(hc) && !cbd_hchannel_is_broken(hc);
}

void cbd_handler_invalidate(const struct cbd_handler *h, unsigned from, unsigned until)
{
	struct cbd_fault f;

	if (from == until || !h->active[0]->ch.t->mem.software || !CBD_FAULT_TRY(&f))
		return; /* the load that follows meets the same fault and reports it */
	for (unsigned i = from; i < until; i++)
		cbd_channel_invalidate_se(&h->active[i]->ch, h->active[i]->position);
	cbd_invalidate_done(&h->active[0]->ch.t->mem);
	cbd_fault_end(&f);
}

static void look_at(struct round *round, unsigned i)
{
	struct cbd_handler *h = round->h;
	struct cbd_hchannel *hc = h->active[i];
	unsigned seen = round->seen, waiting = round->waiting;

	if (hc->retries)
		fetch_retries(round, hc);
	if (may_fetch(hc)) {
		fetch_channel(round, hc);
	} else if (cbd_hchannel_is_stopping(hc) && hc->inflight == 0) {
		retire(h, i); /* from here on it belongs to the control thread */
		return;
	}
	hc->misses = round->waiting > waiting ? 0 : hc->misses + 1;
	hc->streak = round->seen > seen ? hc->streak + 1 : 0;
}

/* Is there a reason to look at a cold channel in each round? */
static bool is_busy(struct cbd_hchannel *hc)
{
	struct cbd_se se;

	if (cbd_hchannel_is_stopping(hc))
		return hc->inflight == 0; /* to retire it */
	if (cbd_hchannel_is_broken(hc))
		return false;
	return cbd_channel_receive_se(&hc->ch, hc->position, &se) != 0 || hc->ch.bad_since_ns;
}

/*
 * Cold channels had no request for long.  A round looks at a few of them, in turn, so
 * that they cost the busy ones a few percent at most, however many there are.  It does
 * that before it fetches: the busy ones may leave no room in any round.
 * cbd_handler_wait() looks at all of them before it sleeps.
 */
static void heat_cold(struct cbd_handler *h)
{
	unsigned looks = COLD_LOOKS + h->fetched / 2;

	if (looks > h->n_active - h->n_hot)
		looks = h->n_active - h->n_hot;
	while (looks-- > 0) {
		if (++h->cold >= h->n_active || h->cold < h->n_hot)
			h->cold = h->n_hot;
		cbd_handler_invalidate(h, h->cold, h->cold + 1);
		if (is_busy(h->active[h->cold])) {
			/* hot until it was looked at, also when this round has no room */
			h->active[h->cold]->misses = 0;
			swap(h, h->cold, h->n_hot++);
		}
	}
}

static void fetch_hot(struct round *round)
{
	struct cbd_handler *h = round->h;
	unsigned next = 0;

	sort_hot(h);
	if (!h->peeked || h->n_hot > 1)
		cbd_handler_invalidate(h, 0, h->n_hot);
	while (next < h->n_hot && has_room(round, 0)) {
		unsigned hot = h->n_hot;

		look_at(round, next);
		if (h->n_hot == hot)
			next++; /* else it was retired, and another one has its place */
	}
	while (next < h->n_hot) /* it may be waiting */
		note_waiting(round, h->active[next++]);
	for (unsigned i = h->n_hot; i-- > 0;)
		if (h->active[i]->misses > COLD_MISSES && !h->active[i]->retries)
			swap(h, i, --h->n_hot);
}

unsigned cbd_handler_fetch(struct cbd_handler *h, struct cbd_request **out, unsigned max)
{
	struct round round = { .h = h, .out = out, .max = max, .least = UINT64_MAX };

	if (h->armed)
		cbd_handler_disarm(h);
	cbd_handler_answers_done(h);
	if (cbd_flag_get(&h->changed))
		take_incoming(h);
	heat_cold(h);
	fetch_hot(&round);
	if (round.seen > 0)
		h->virtual_time = round.least;
	h->fetched = round.n;
	if (round.n > 0)
		h->wait.alone = round.n == 1;
	return round.n;
}

/* ----------------------------------------------------------- control side */

int cbd_handler_init(struct cbd_handler *h, struct cbd_backend *b, unsigned index, unsigned most,
		     enum cbd_poll poll)
{
	memset(h, 0, sizeof(*h));
	h->b = b;
	h->index = index;
	pthread_mutex_init(&h->lock, NULL);
	cbd_wait_init(&h->wait, poll, CBD_WAIT_HANDLER_LOCAL_US);
	h->room = most;
	h->active = calloc(most, sizeof(struct cbd_hchannel *));
	h->watched = calloc(most, sizeof(*h->watched));
	return h->active && h->watched ? 0 : cbd_error(ENOMEM, "handler: %m");
}

void cbd_handler_free(struct cbd_handler *h)
{
	cbd_watcher_stop(h->watcher);
	pthread_mutex_destroy(&h->lock);
	free(h->active);
	free(h->watched);
}

void cbd_handler_wake(struct cbd_handler *h)
{
	pthread_mutex_lock(&h->lock);
	cbd_word_store(&h->word, h->word + 1);
	h->woken = true;
	if (h->watcher)
		cbd_watcher_fire(h->watcher);
	pthread_mutex_unlock(&h->lock);
	cbd_futex_wake(&h->word);
}

void cbd_handler_give(struct cbd_handler *h, struct cbd_hchannel *hc)
{
	hc->h = h;
	pthread_mutex_lock(&h->lock);
	hc->next = h->incoming;
	h->incoming = hc;
	cbd_flag_set(&h->changed, true);
	pthread_mutex_unlock(&h->lock);
	cbd_handler_wake(h);
}
