/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handler.c - fetch SEs in order, validate them, bring a write's payload, and
 * answer with CEs in any order.
 *
 * Everything that comes out of shared memory is copied once, validated on the
 * copy, and the copy is used.  Nothing that a peer writes can make a request
 * that leaves its channel or the disk.
 *
 * Fast path: cbd_handler_fetch -> fetch_channel -> take -> bring;
 * cbd_handler_complete -> deliver.
 */
#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "memory/fault.h"
#include "backend/handler.h"
#include "base/step.h"

#define RETRY_NS 5000000ull /* copy a payload whose CRC is wrong again for so long */
#define KEEP_BYTES 65536    /* private buffers up to this size are kept */
#define SLEEP_LOCAL_US 100000
#define SLEEP_REMOTE_US 4000
#define LEASE_BATCH 8	   /* SEs that are fetched on one look at the lease */
#define INVALIDATE_BATCH 8 /* lines that are invalidated under one fence */
#define COLD_MISSES 1024   /* looks without a request that make a channel cold */
#define COLD_LOOKS \
	4 /* cold channels looked at in a round, and one more for
			    * two requests of the round before */

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

/* The blkdev does not keep the rules, or the memory is gone: found at any point of
 * a round, and more than once. */
static void set_broken(struct cbd_hchannel *hc)
{
	if (cbd_hchannel_work(hc) == CBD_WORK_FETCHING)
		cbd_hchannel_work_become(hc, CBD_WORK_BROKEN);
}

static bool is_broken(const struct cbd_hchannel *hc)
{
	return cbd_hchannel_work(hc) == CBD_WORK_BROKEN;
}

static bool is_stopping(const struct cbd_hchannel *hc)
{
	return cbd_hchannel_pool(hc) == CBD_POOL_STOPPING;
}

/* ------------------------------------------------------------- validation */

static uint32_t validate(const struct cbd_hchannel *hc, const struct cbd_se *se)
{
	bool data = se->op == CBD_OP_READ || se->op == CBD_OP_WRITE;
	bool range = se->op == CBD_OP_DISCARD || se->op == CBD_OP_WRITE_ZEROES;

	if (se->flags & ~CBD_SE_FLAGS_KNOWN)
		return CBD_RESULT_INVAL;
	if (se->op == CBD_OP_FLUSH)
		return CBD_RESULT_OK;
	if (!data && !range)
		return CBD_RESULT_NOTSUP;
	if (se->length == 0 || se->length > (data ? hc->max_data : hc->max_range))
		return CBD_RESULT_INVAL;
	if (se->offset > hc->disk_size || se->length > hc->disk_size - se->offset)
		return CBD_RESULT_INVAL;
	if (data && (se->data_offset % CBD_UNIT_SIZE || se->data_offset > hc->ch.data_size ||
		     se->length > hc->ch.data_size - se->data_offset))
		return CBD_RESULT_INVAL;
	if (hc->read_only && se->op != CBD_OP_READ)
		return CBD_RESULT_PERM;
	return CBD_RESULT_OK;
}

/* -------------------------------------------------------------- requests */

static struct cbd_hrequest *request_get(struct cbd_hchannel *hc)
{
	struct cbd_hrequest *r = hc->free;

	if (r) {
		hc->free = r->next;
		hc->inflight++;
		hc->h->inflight++;
	}
	return r;
}

static void request_put(struct cbd_hrequest *r)
{
	struct cbd_hchannel *hc = r->hc;

	if (r->private_size > KEEP_BYTES) {
		free(r->private);
		r->private = NULL;
		r->private_size = 0;
	}
	r->next = hc->free;
	hc->free = r;
	hc->inflight--;
	hc->h->inflight--;
}

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
 * one cbd_handler_ring() reads the flag again, after the fence, before the handler
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

void cbd_handler_ring(struct cbd_handler *h)
{
	struct cbd_hchannel *hc;

	while ((hc = h->bells_due)) {
		h->bells_due = hc->next_bell_due;
		hc->bell_due = false;
		cbd_channel_wake(bell_of(hc), sleeps_of(hc));
	}
}

static void send_ce(struct cbd_hrequest *r, uint32_t result, uint32_t data_crc)
{
	struct cbd_hchannel *hc = r->hc;
	struct cbd_ce ce = { .count = hc->count++,
			     .tid = r->se.tid,
			     .result = result,
			     .length = r->se.op == CBD_OP_READ && result == CBD_RESULT_OK
					       ? r->se.length
					       : 0,
			     .data_crc = data_crc };

	request_put(r);
	cbd_step("io-ce");
	if (cbd_channel_send_ce(&hc->ch, &ce) < 0) {
		set_broken(hc); /* the memory is gone */
		return;
	}
	cbd_step("io-ce-sent");
	if (hc->same_boot)
		remember_bell(hc);
}

/* --------------------------------------------------------------- payload */

static bool is_private(const struct cbd_hchannel *hc)
{
	return hc->data_crc || hc->ch.t->mem.software;
}

static int private_buffer(struct cbd_hrequest *r, size_t align)
{
	size_t size = (r->se.length + CBD_UNIT_SIZE - 1) / CBD_UNIT_SIZE * CBD_UNIT_SIZE;

	if (r->private_size >= size)
		return 0;
	free(r->private);
	r->private = NULL;
	r->private_size = 0;
	if (posix_memalign(&r->private, align, size) != 0)
		return -ENOMEM;
	r->private_size = size;
	return 0;
}

/* Rule 10: copied while its CRC is checked; only the private copy is used. */
static int bring_private(struct cbd_hrequest *r)
{
	struct cbd_hchannel *hc = r->hc;
	int e = cbd_fault_load(&hc->ch.t->mem, r->private, hc->ch.data + r->se.data_offset,
			       r->se.length);

	if (e < 0 || !hc->data_crc)
		return e;
	return cbd_channel_payload_crc(hc->ch.se_seed, r->private, r->se.length) == r->se.data_crc
		       ? 0
		       : -EAGAIN;
}

/* Where the disk reads and writes; -EAGAIN: the payload does not check. */
static int bring(struct cbd_hrequest *r)
{
	struct cbd_hchannel *hc = r->hc;
	char *shared = hc->ch.data + r->se.data_offset;
	int e;

	r->pub.buf = NULL;
	r->pub.shared = false;
	if (r->se.op != CBD_OP_READ && r->se.op != CBD_OP_WRITE)
		return 0;
	if (!is_private(hc)) {
		r->pub.buf = shared;
		r->pub.shared = true;
		return r->se.op == CBD_OP_WRITE
			       ? cbd_fault_take(&hc->ch.t->mem, shared, r->se.length)
			       : 0;
	}
	e = private_buffer(r, hc->h->align);
	if (e < 0)
		return e;
	r->pub.buf = r->private;
	return r->se.op == CBD_OP_WRITE ? bring_private(r) : 0;
}

/* ------------------------------------------------------------------ fetch */

static struct cbd_request *accept_se(struct cbd_hrequest *r)
{
	r->pub.op = (enum cbd_op)r->se.op;
	r->pub.flags = r->se.flags;
	r->pub.offset = r->se.offset;
	r->pub.length = r->se.op == CBD_OP_FLUSH ? 0 : r->se.length;
	r->pub.opaque = NULL;
	cbd_step("io-fetched");
	return &r->pub;
}

static void retry_later(struct cbd_hrequest *r)
{
	r->retry_until_ns = cbd_now_ns() + RETRY_NS;
	r->next = r->hc->retries;
	r->hc->retries = r;
	r->hc->h->n_retries++;
}

/* A fetched SE becomes a request for the engine, an answer, or a retry. */
static struct cbd_request *take(struct cbd_hchannel *hc, const struct cbd_se *se)
{
	struct cbd_hrequest *r = request_get(hc);
	uint32_t result;
	int e;

	if (!r) {
		/* more SEs than the depth allows: the blkdev does not keep rule 5 */
		set_broken(hc);
		return NULL;
	}
	hc->position++;
	r->se = *se;
	r->retry_until_ns = 0;
	result = validate(hc, se);
	if (result != CBD_RESULT_OK) {
		send_ce(r, result, 0);
		return NULL;
	}
	e = bring(r);
	if (e == -EAGAIN) {
		retry_later(r);
		return NULL;
	}
	if (e < 0) {
		send_ce(r, cbd_result_from_errno(e), 0);
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

/* The SE at hc->position was there: invalidate the lines that follow it. */
static void invalidate_more(struct cbd_hchannel *hc)
{
	struct cbd_fault f;

	if (!hc->ch.t->mem.software || !CBD_FAULT_TRY(&f))
		return; /* the load that follows meets the same fault and reports it */
	for (unsigned i = 0; i < INVALIDATE_BATCH; i++)
		cbd_channel_invalidate_se(&hc->ch, hc->position + i);
	cbd_invalidate_done(&hc->ch.t->mem);
	cbd_fault_end(&f);
}

/* The SE that cbd_handler_wait() saw: its copy is used, not the line again, which
 * the peer may have changed since. */
static int accept_peeked(struct cbd_handler *h, struct cbd_se *se)
{
	struct cbd_hchannel *hc = h->peeked;

	h->peeked = NULL;
	*se = h->peeked_se;
	return cbd_channel_accept_se(&hc->ch, hc->position, se);
}

/*
 * The line of hc->position was invalidated.  To look at the line behind it costs
 * another invalidation, which a blkdev with one request at a time would have to wait
 * for: the handler looks further only when its last two looks both found an SE.
 */
static unsigned fetch_channel(struct cbd_handler *h, struct cbd_hchannel *hc,
			      struct cbd_request **out, unsigned max)
{
	unsigned n = 0;

	for (unsigned seen = 0; n < max; seen++) {
		struct cbd_request *request;
		struct cbd_se se;
		int r;

		if (seen == 1 && hc->ch.t->mem.software && hc->streak < 2)
			break;
		if (seen % INVALIDATE_BATCH == 1)
			invalidate_more(hc);
		r = h->peeked == hc
			    ? accept_peeked(h, &se)
			    : cbd_channel_receive_invalidated_se(&hc->ch, hc->position, &se);
		if (r < 0)
			set_broken(hc);
		if (r <= 0 || (seen % LEASE_BATCH == 0 && !lease_holds(h)))
			break;
		request = take(hc, &se);
		if (request)
			out[n++] = request;
		if (is_broken(hc))
			break;
	}
	return n;
}

static unsigned fetch_retries(struct cbd_hchannel *hc, struct cbd_request **out, unsigned max)
{
	struct cbd_hrequest **p = &hc->retries, *r;
	unsigned n = 0;

	if (!lease_holds(hc->h))
		return 0;
	while ((r = *p) && n < max) {
		int e = bring(r);

		if (e == -EAGAIN && cbd_now_ns() < r->retry_until_ns) {
			p = &r->next;
			continue;
		}
		*p = r->next;
		hc->h->n_retries--;
		if (e == 0)
			out[n++] = accept_se(r);
		else
			send_ce(r, e == -EAGAIN ? CBD_RESULT_BADCRC : cbd_result_from_errno(e), 0);
	}
	return n;
}

static void swap(struct cbd_handler *h, unsigned a, unsigned b)
{
	struct cbd_hchannel *hc = h->active[a];

	h->active[a] = h->active[b];
	h->active[b] = hc;
}

/* Everything is answered: the channel belongs to the control thread again. */
static void retire(struct cbd_handler *h, unsigned i)
{
	struct cbd_hchannel *hc = h->active[i];

	cbd_handler_ring(h);
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
	h->wait.most_us = SLEEP_LOCAL_US;
	for (unsigned i = 0; i < h->n_active; i++)
		if (!h->active[i]->same_boot)
			h->wait.most_us = SLEEP_REMOTE_US;
}

static void take_incoming(struct cbd_handler *h)
{
	pthread_mutex_lock(&h->lock);
	while (h->incoming) {
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
		set_broken(hc);
	return !is_stopping(hc) && !is_broken(hc);
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

static unsigned look_at(struct cbd_handler *h, unsigned i, struct cbd_request **out, unsigned max)
{
	struct cbd_hchannel *hc = h->active[i];
	unsigned n = 0;

	if (hc->retries)
		n += fetch_retries(hc, out, max);
	if (may_fetch(hc)) {
		n += fetch_channel(h, hc, out + n, max - n);
	} else if (is_stopping(hc) && hc->inflight == 0) {
		retire(h, i); /* from here on it belongs to the control thread */
		return n;
	}
	hc->misses = n ? 0 : hc->misses + 1;
	hc->streak = n ? hc->streak + 1 : 0;
	return n;
}

static unsigned fetch_hot(struct cbd_handler *h, struct cbd_request **out, unsigned max)
{
	unsigned n = 0;

	if (!h->peeked || h->n_hot > 1)
		cbd_handler_invalidate(h, 0, h->n_hot);
	h->first++;
	for (unsigned k = 0; k < h->n_hot && n < max; k++)
		n += look_at(h, (h->first + k) % h->n_hot, out + n, max - n);
	for (unsigned i = h->n_hot; i-- > 0;)
		if (h->active[i]->misses > COLD_MISSES && !h->active[i]->retries)
			swap(h, i, --h->n_hot);
	return n;
}

/*
 * Cold channels had no request for long.  A round looks at a few of them, in turn,
 * so that they cost the busy ones a few percent at most, however many there are.
 * cbd_handler_wait() looks at all of them before it sleeps.
 */
static unsigned fetch_cold(struct cbd_handler *h, struct cbd_request **out, unsigned max)
{
	unsigned looks = COLD_LOOKS + h->fetched / 2, n = 0;

	if (looks > h->n_active - h->n_hot)
		looks = h->n_active - h->n_hot;
	while (looks-- > 0 && n < max && h->n_hot < h->n_active) {
		unsigned i, before = n, active = h->n_active;
		struct cbd_hchannel *hc;

		if (++h->cold >= h->n_active || h->cold < h->n_hot)
			h->cold = h->n_hot;
		i = h->cold;
		hc = h->active[i];
		cbd_handler_invalidate(h, i, i + 1);
		n += look_at(h, i, out + n, max - n);
		if (h->n_active == active && (n > before || hc->retries))
			swap(h, i, h->n_hot++);
	}
	return n;
}

unsigned cbd_handler_fetch(struct cbd_handler *h, struct cbd_request **out, unsigned max)
{
	unsigned n;

	cbd_handler_ring(h);
	if (cbd_flag_get(&h->changed))
		take_incoming(h);
	n = fetch_hot(h, out, max);
	n += fetch_cold(h, out + n, max - n);
	h->fetched = n;
	if (n > 0)
		h->wait.alone = n == 1;
	return n;
}

/* --------------------------------------------------------------- complete */

/* The data of a READ is in r->pub.buf: bring it to where the blkdev reads it. */
static int deliver(struct cbd_hrequest *r, uint32_t *crc)
{
	struct cbd_hchannel *hc = r->hc;

	if (r->pub.shared)
		return cbd_fault_landed(&hc->ch.t->mem, r->pub.buf, r->se.length);
	if (hc->data_crc)
		*crc = cbd_channel_payload_crc(hc->ch.ce_seed, r->private, r->se.length);
	cbd_step("io-deliver");
	return cbd_fault_store(&hc->ch.t->mem, hc->ch.data + r->se.data_offset, r->private,
			       r->se.length);
}

void cbd_handler_complete(struct cbd_handler *h, struct cbd_request *request, int result)
{
	struct cbd_hrequest *r = (struct cbd_hrequest *)request;
	uint32_t crc = 0;

	(void)h;
	if (result == 0 && r->se.op == CBD_OP_READ)
		result = deliver(r, &crc);
	send_ce(r, cbd_result_from_errno(result), crc);
}

/* Where buf lies in shared memory bring() has invalidated it before a WRITE, and
 * deliver() writes it back after a READ. */
int cbd_request_store(const struct cbd_request *r, const void *from)
{
	return cbd_fault_copy(r->buf, from, r->length) < 0 ? -EFAULT : 0;
}

int cbd_request_load(const struct cbd_request *r, void *to)
{
	return cbd_fault_copy(to, r->buf, r->length) < 0 ? -EFAULT : 0;
}

int cbd_request_persist(const struct cbd_request *r, void *to)
{
	return cbd_fault_persist(to, r->buf, r->length) < 0 ? -EFAULT : 0;
}

unsigned cbd_handler_inflight(const struct cbd_handler *h)
{
	return h->inflight;
}

/* ----------------------------------------------------------- control side */

int cbd_handler_init(struct cbd_handler *h, struct cbd_backend *b, unsigned index, unsigned most,
		     enum cbd_poll poll, size_t align)
{
	memset(h, 0, sizeof(*h));
	h->b = b;
	h->index = index;
	h->align = align > CBD_LINE_SIZE ? align : CBD_LINE_SIZE;
	pthread_mutex_init(&h->lock, NULL);
	cbd_wait_init(&h->wait, poll, SLEEP_LOCAL_US);
	h->active = calloc(most, sizeof(struct cbd_hchannel *));
	return h->active ? 0 : cbd_error(ENOMEM, "handler: %m");
}

void cbd_handler_free(struct cbd_handler *h)
{
	pthread_mutex_destroy(&h->lock);
	free(h->active);
}

void cbd_hchannel_free(struct cbd_hchannel *hc)
{
	for (unsigned i = 0; hc->requests && i < hc->depth; i++)
		free(hc->requests[i].private);
	free(hc->requests);
	hc->requests = NULL;
}

int cbd_hchannel_prepare(struct cbd_hchannel *hc, unsigned depth)
{
	cbd_hchannel_free(hc);
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
	cbd_hchannel_work_become(hc, CBD_WORK_FETCHING);
	return 0;
}

void cbd_handler_wake(struct cbd_handler *h)
{
	pthread_mutex_lock(&h->lock);
	cbd_word_store(&h->word, h->word + 1);
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
