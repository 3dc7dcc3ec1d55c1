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

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "memory/fault.h"
#include "backend/handler.h"
#include "base/step.h"

#define RETRY_NS 5000000ull /* bring a bad payload again for so long */
#define KEEP_BYTES 65536    /* private buffers up to this size are kept */
#define SLEEP_LOCAL_US 100000
#define SLEEP_REMOTE_US 4000
#define LEASE_BATCH 8	   /* SEs that are fetched on one look at the lease */
#define INVALIDATE_BATCH 8 /* lines that are dropped under one fence */
#define COLD_MISSES 1024   /* looks without a request that make a channel a cold one */
#define COLD_LOOKS 4	   /* cold channels a round, and one more for two requests */

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
 * Rule 11 wants a fence between the CE and the look at the sleeper's flag.  The
 * fence waits until the CE's line has come over from the other CPU, which is worth
 * it once a round, not for each answer.  So: look at once without it, which finds
 * all but those that are falling asleep in this very moment, and for these again in
 * cbd_handler_ring(), before the next look at the rings.
 */
static void remember_bell(struct cbd_hchannel *hc)
{
	if (cbd_channel_sleeps(sleeps_of(hc))) {
		cbd_channel_wake(bell_of(hc), sleeps_of(hc));
		return;
	}
	if (hc->unrung)
		return;
	hc->unrung = true;
	hc->next_unrung = hc->h->unrung;
	hc->h->unrung = hc;
}

void cbd_handler_ring(struct cbd_handler *h)
{
	struct cbd_hchannel *hc;

	while ((hc = h->unrung)) {
		h->unrung = hc->next_unrung;
		hc->unrung = false;
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
		cbd_flag_set(&hc->bad, true); /* the memory is gone */
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
		/* more SEs than the depth allows: the peer does not keep rule 5 */
		cbd_flag_set(&hc->bad, true);
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

/* A lease (rule 7.5): who was away does not go on before its control thread
 * has seen that the slot is still its own. */
static bool lease_holds(const struct cbd_handler *h)
{
	uint64_t beaten = cbd_shared_get(h->beaten_ns); /* before the clock */

	return cbd_boottime_ns() - beaten < h->lease_ns;
}

bool cbd_handler_may_submit(const struct cbd_handler *h)
{
	return lease_holds(h);
}

/* The lines after the first one, which was there: dropped in advance. */
static void invalidate_more(struct cbd_hchannel *hc)
{
	struct cbd_fault f;

	if (!hc->ch.t->mem.software || !CBD_FAULT_TRY(&f))
		return; /* whoever receives finds the fault */
	for (unsigned i = 0; i < INVALIDATE_BATCH; i++)
		cbd_channel_invalidate_se(&hc->ch, hc->position + i);
	cbd_invalidate_done(&hc->ch.t->mem);
	cbd_fault_end(&f);
}

/* The copy that cbd_handler_wait() made: once, so that nobody changes it between
 * the two looks. */
static int accept_peeked(struct cbd_handler *h, struct cbd_se *se)
{
	struct cbd_hchannel *hc = h->peeked;

	h->peeked = NULL;
	*se = h->peeked_se;
	return cbd_channel_accept_se(&hc->ch, hc->position, se);
}

/*
 * The line of hc->position was dropped.  A look at the line behind it costs another
 * drop, which a request that is alone would have to wait for: so not before two
 * looks in a row have found one.
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
			cbd_flag_set(&hc->bad, true);
		if (r <= 0 || (seen % LEASE_BATCH == 0 && !lease_holds(h)))
			break;
		request = take(hc, &se);
		if (request)
			out[n++] = request;
		if (cbd_flag_get(&hc->bad))
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

/* Drained: the control thread may have it. */
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
	cbd_flag_set(&hc->drained, true);
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

/* What is not fetching: stopped by the control side, or not sane. */
static bool resting(struct cbd_hchannel *hc)
{
	if (cbd_flag_get(&hc->stop) || cbd_flag_get(&hc->bad))
		return true;
	if (hc->ch.bad_since_ns && cbd_channel_bad(&hc->ch, cbd_now_ns())) {
		cbd_flag_set(&hc->bad, true);
		return true;
	}
	return false;
}

/* The next lines of the channels FROM to UNTIL, under one fence. */
void cbd_handler_invalidate(const struct cbd_handler *h, unsigned from, unsigned until)
{
	struct cbd_fault f;

	if (from == until || !h->active[0]->ch.t->mem.software || !CBD_FAULT_TRY(&f))
		return; /* whoever receives finds the fault */
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
	if (!resting(hc)) {
		n += fetch_channel(h, hc, out + n, max - n);
	} else if (cbd_flag_get(&hc->stop) && hc->inflight == 0) {
		retire(h, i); /* from here on it is the control thread's */
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
 * Channels that had no request for long: a few in each round, in turn, so that
 * they cost the busy ones a few percent at most, however many there are.  Before
 * the handler sleeps it looks at all.
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

/* Read data to where the blkdev takes it. */
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

/* Where buf is shared these are to it what read(2) and write(2) of the other
 * engines are: bring() has dropped it before, deliver() pushes it after. */
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
	hc->stop = hc->drained = hc->bad = false;
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
