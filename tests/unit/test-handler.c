/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-handler.c - what a handler spends on a channel: memory, and its share of each
 * round, beside neighbours that ask for much and beside liars.  Nothing is measured
 * by the clock: requests, answers and pages are counted.
 */
#include <config.h>

#include <sys/mman.h>

#include "unit.h"
#include "backend/payload.h"

#define LARGE (252u << 10) /* the largest request of a channel of 1 MiB */
#define ROUND (512u << 10) /* payload of one round */
#define MAX 32

static struct pair p;
static struct cbd_request *r[MAX];
static unsigned char large[4][LARGE], small[512];

static void open_pair(enum cbd_coherence kind, unsigned queues)
{
	pair_open(&p, &(struct pair_options){
			      .kind = kind, .data_crc = true, .queues = queues, .stepping = true });
}

static const enum cbd_coherence kinds[] = { CBD_COHERENCE_HARDWARE, CBD_COHERENCE_SOFTWARE };

static struct cbd_queue *queue(unsigned i)
{
	return cbd_blkdev_queue(p.blkdev, i);
}

static struct cbd_hchannel *hchannel(unsigned i)
{
	return &p.backend->channels[queue(i)->ch.id].hc;
}

static unsigned fetch(unsigned max)
{
	/* a beat: under valgrind the lease of the last one may be over */
	unit_ok(cbd_backend_tick(p.backend));
	return cbd_handler_fetch(cbd_backend_handler(p.backend, 0), r, max);
}

static void submit(unsigned i, enum cbd_op op, void *buf, uint64_t length)
{
	struct cbd_io io = { .op = op, .buf = buf, .length = length };

	ck_assert_int_eq(cbd_queue_submit(queue(i), &io, 1), 1);
}

static unsigned reap(unsigned i)
{
	struct cbd_completion c[MAX];
	int n = cbd_queue_poll(queue(i), c, 0, MAX, 0);

	unit_ok(n);
	for (int k = 0; k < n; k++)
		ck_assert_int_eq(c[k].result, 0);
	return (unsigned)n;
}

static bool is_of(const struct cbd_request *request, unsigned i)
{
	return ((const struct cbd_hrequest *)request)->hc == hchannel(i);
}

/* Everything that is in flight, answered. */
static void finish(void)
{
	for (unsigned i = 0; i < cbd_blkdev_queues(p.blkdev); i++)
		unit_wait(hchannel(i)->inflight == 0 || fetch(MAX) == 0);
	pair_close(&p);
}

/* ------------------------------------------------------------------ memory */

static unsigned resident_pages(const struct cbd_hchannel *hc)
{
	size_t size = CBD_HOT_BYTES + hc->ch.data_size;
	unsigned pages = (unsigned)(size / CBD_PAGE_SIZE), n = 0;
	unsigned char *in = malloc(pages);

	ck_assert_ptr_nonnull(in);
	ck_assert_int_eq(mincore(hc->private, size, in), 0);
	for (unsigned i = 0; i < pages; i++)
		n += in[i] & 1;
	free(in);
	return n;
}

/* SEs that all name one extent, with a CRC that never matches: the copies are no
 * larger than the extent and the hot part, however many SEs and rounds. */
START_TEST(memory_of_a_liar)
{
	struct cbd_channel liar;
	struct cbd_hchannel *hc;
	struct cbd_ce ce;

	open_pair(kinds[_i], 1);
	hc = hchannel(0);
	liar = p.q->ch;
	ck_assert_uint_eq(resident_pages(hc), 0);
	for (unsigned i = 0; i < 16; i++)
		unit_ok(cbd_channel_send_se(&liar, &(struct cbd_se){ .position = i,
								     .op = CBD_OP_WRITE,
								     .tid = i,
								     .length = LARGE,
								     .data_crc = 1 }));
	for (unsigned i = 0; i < 16; i++)
		unit_wait(fetch(MAX) == 0 && hc->count > i);
	/* how many of them wait at a time is a matter of time */
	ck_assert_uint_le(resident_pages(hc), LARGE / CBD_PAGE_SIZE * (CBD_HOT_BYTES / LARGE + 1));
	for (unsigned i = 0; i < 16; i++) {
		cbd_channel_invalidate_ce(&liar, i);
		cbd_invalidate_done(&liar.t->mem);
		ck_assert_int_eq(cbd_channel_receive_ce(&liar, i, &ce), 1);
		ck_assert_uint_eq(ce.result, CBD_RESULT_BADCRC);
	}
	ck_assert_uint_eq(hc->inflight, 0);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_WRITE), 0);
	pair_close(&p);
}
END_TEST

/* Extents may go round; what requests have one after the other is the same memory. */
START_TEST(memory_stays_hot)
{
	struct cbd_hchannel *hc;

	open_pair(kinds[_i], 1);
	hc = hchannel(0);
	for (unsigned i = 0; i < 200; i++) {
		submit(0, i % 2 ? CBD_OP_READ : CBD_OP_WRITE, large[0], 4096);
		pair_fetch_all(&p, r, 1);
		pair_complete(&p, r[0]);
		unit_wait(reap(0) == 1);
	}
	ck_assert_uint_eq(resident_pages(hc), 1);
	ck_assert_uint_eq(hc->hot_used, 0);
	finish();
}
END_TEST

/* No request gets what another one still has. */
START_TEST(memory_of_two)
{
	const unsigned char *b, *c;
	struct cbd_request *a;

	open_pair(CBD_COHERENCE_SOFTWARE, 1);
	submit(0, CBD_OP_READ, large[0], 4096);
	submit(0, CBD_OP_READ, large[1], 8192);
	pair_fetch_all(&p, r, 2);
	a = r[0];
	b = r[1]->buf;
	pair_complete(&p, a);
	submit(0, CBD_OP_READ, large[2], 8192);
	pair_fetch_all(&p, r + 2, 1);
	c = r[2]->buf;
	ck_assert(c + 8192 <= b || c >= b + 8192);
	pair_complete(&p, r[1]);
	pair_complete(&p, r[2]);
	ck_assert_uint_eq(hchannel(0)->hot_used, 0);
	finish();
}
END_TEST

/* A channel that is given back has no memory. */
START_TEST(memory_is_given_back)
{
	struct cbd_hchannel *hc;

	open_pair(kinds[_i], 1);
	hc = hchannel(0);
	submit(0, CBD_OP_WRITE, large[0], LARGE);
	pair_fetch_all(&p, r, 1);
	ck_assert_uint_eq(resident_pages(hc), LARGE / CBD_PAGE_SIZE);
	pair_complete(&p, r[0]);
	unit_wait(reap(0) == 1);
	server_start(&p);
	cbd_blkdev_close(p.blkdev);
	p.blkdev = NULL;
	server_stop(&p);
	ck_assert_ptr_null(hc->private);
	ck_assert_ptr_null(hc->requests);
	pair_close(&p);
}
END_TEST

/* ------------------------------------------------------------------- share */

/* SEs that are refused give the engine nothing, and end a round all the same. */
START_TEST(refused_end_a_round)
{
	struct cbd_channel liars[2];

	open_pair(kinds[_i], 2);
	for (unsigned i = 0; i < 32; i++) {
		liars[i % 2] = queue(i % 2)->ch;
		unit_ok(cbd_channel_send_se(&liars[i % 2],
					    &(struct cbd_se){ .position = i / 2, .op = 99 }));
	}
	while (hchannel(0)->count + hchannel(1)->count < 32) {
		uint64_t before = hchannel(0)->count + hchannel(1)->count;

		ck_assert_uint_eq(fetch(4), 0);
		ck_assert_uint_le(hchannel(0)->count + hchannel(1)->count - before, 4);
	}
	pair_close(&p);
}
END_TEST

/* Payload of the requests of a round. */
static uint64_t bytes(unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += r[i]->length;
	return sum;
}

/* One round.  Queue I has a small read, the only one of its: it comes first, so that
 * what is in front of it is the round before, and that is bounded.  (Not yet the first
 * one of a channel beside others: the handler cannot know that it is small.) */
static void check_round(unsigned i)
{
	unsigned n;

	submit(i, CBD_OP_READ, small, sizeof(small));
	n = fetch(MAX);
	/* under valgrind a liar's payload that is copied again can take all of a round's time,
	 * when it is its turn */
	if (n == 0)
		n = fetch(MAX);
	ck_assert_uint_ge(n, 1);
	ck_assert_msg(is_of(r[0], i), "the small read does not come first");
	ck_assert_uint_le(bytes(n), ROUND);
	while (n-- > 0)
		pair_complete(&p, r[n]);
	unit_wait(reap(i) == 1);
}

/* The handler looks at queue I in each round no longer, from the end of the next round on,
 * as if it had found nothing there for long. */
static void make_cold(unsigned i)
{
	hchannel(i)->misses = 1u << 20;
}

/* Beside a neighbour with the largest reads, always four of them. */
START_TEST(beside_large_reads)
{
	unsigned large_one = _i / 2, small_one = 1 - large_one, served = 0;

	open_pair(kinds[_i % 2], 2);
	check_round(small_one);
	for (unsigned i = 0; i < 4; i++)
		submit(large_one, CBD_OP_READ, large[i], LARGE);
	for (unsigned i = fetch(MAX); i > 0; i--)
		pair_complete(&p, r[i - 1]);
	for (unsigned k = 0; k < 40; k++) {
		unsigned n = reap(large_one);

		served += n;
		while (n-- > 0)
			submit(large_one, CBD_OP_READ, large[n], LARGE);
		check_round(small_one);
	}
	/* and the neighbour is served too */
	ck_assert_uint_ge(served, 40);
	finish();
}
END_TEST

/*
 * Beside several channels that always have four of the largest reads, in rounds of one
 * request.  The small one has a request after each second round, so the handler finds
 * nothing of it in between.  It waits for the round before and for no other: channels
 * that got less, but ask for much more at a time, do not come first one after the other.
 * The same when it is cold, though there is never room for a request more in a round.
 */
START_TEST(beside_several_with_large_reads)
{
	unsigned served[3] = { 0 };

	open_pair(kinds[_i % 2], 4);
	check_round(3);
	for (unsigned q = 0; q < 3; q++)
		for (unsigned i = 0; i < 4; i++)
			submit(q, CBD_OP_READ, large[i], LARGE);
	for (unsigned k = 0; k < 60; k++) {
		if (_i >= 2)
			make_cold(3);
		ck_assert_uint_eq(fetch(1), 1);
		pair_complete(&p, r[0]);
		submit(3, CBD_OP_READ, small, sizeof(small));
		ck_assert_uint_eq(fetch(1), 1);
		ck_assert_msg(is_of(r[0], 3), "round %u: the small read does not come first", k);
		pair_complete(&p, r[0]);
		unit_wait(reap(3) == 1);
		for (unsigned q = 0; q < 3; q++)
			for (unsigned n = reap(q); n > 0; n--, served[q]++)
				submit(q, CBD_OP_READ, large[n - 1], LARGE);
	}
	/* and they share what it leaves */
	for (unsigned q = 0; q < 3; q++)
		ck_assert_uint_ge(served[q], 19);
	finish();
}
END_TEST

/*
 * Channels that always have small reads fill each round, so that it ends before the
 * handler looks at the one with large reads: that gets its third all the same.  A small
 * read costs 4.5 KiB, a large one 256.
 */
START_TEST(large_reads_beside_many_small)
{
	unsigned served[3] = { 0 };

	open_pair(kinds[_i], 3);
	for (unsigned i = 0; i < 4; i++)
		submit(2, CBD_OP_READ, large[i], LARGE);
	for (unsigned q = 0; q < 2; q++)
		for (unsigned i = 0; i < 16; i++)
			submit(q, CBD_OP_READ, small, sizeof(small));
	for (unsigned k = 0; k < 300; k++) {
		for (unsigned n = fetch(4); n > 0; n--)
			pair_complete(&p, r[n - 1]);
		for (unsigned q = 0; q < 2; q++)
			for (unsigned n = reap(q); n > 0; n--, served[q]++)
				submit(q, CBD_OP_READ, small, sizeof(small));
		for (unsigned n = reap(2); n > 0; n--, served[2]++)
			submit(2, CBD_OP_READ, large[n - 1], LARGE);
	}
	for (unsigned q = 0; q < 2; q++) {
		ck_assert_uint_ge(served[2] * 256 * 2, served[q] * 9 / 2);
		ck_assert_uint_ge(served[q] * 9, served[2] * 256);
	}
	finish();
}
END_TEST

/*
 * More cold channels than a round looks at, and neighbours that fill each round: the one
 * that has a request is hot from when it is found until it was looked at.  Its last request
 * was a flush, which has to be paid for.
 */
START_TEST(cold_among_many)
{
	const unsigned queues = 11, last = queues - 1;
	unsigned rounds = 0, in[2] = { 0 };
	bool served = false;

	pair_open(&p, &(struct pair_options){ .kind = kinds[_i],
					      .data_crc = true,
					      .queues = queues,
					      .channels = queues,
					      .stepping = true });
	/* the handler knows what each asks for */
	submit(0, CBD_OP_READ, small, sizeof(small));
	submit(1, CBD_OP_READ, small, sizeof(small));
	submit(last, CBD_OP_READ, large[0], LARGE);
	for (unsigned done = 0; done < 3; done += reap(0) + reap(1) + reap(last))
		for (unsigned n = fetch(MAX); n > 0; n--)
			pair_complete(&p, r[n - 1]);
	for (unsigned q = 2; q < queues; q++)
		make_cold(q);
	for (unsigned k = 0; k < 400 && !served; k++) {
		for (unsigned q = 0; q < 2; q++)
			for (in[q] -= reap(q); in[q] < 8; in[q]++)
				submit(q, CBD_OP_READ, small, sizeof(small));
		if (k == 100)
			submit(last, CBD_OP_READ, small, sizeof(small));
		rounds += k >= 100;
		ck_assert_uint_eq(fetch(1), 1);
		served = is_of(r[0], last);
		pair_complete(&p, r[0]);
	}
	ck_assert_msg(served, "not in %u rounds", rounds);
	for (unsigned n; (n = fetch(MAX)) > 0;)
		while (n-- > 0)
			pair_complete(&p, r[n]);
	pair_close(&p);
}
END_TEST

/*
 * A refused discard of 4 GiB holds the virtual time for no longer than the largest request
 * would: a neighbour that begins later does not start before what others were served.
 */
START_TEST(beside_a_huge_discard)
{
	struct cbd_se se = { .op = CBD_SE_OP_DISCARD, .length = UINT32_MAX };
	unsigned rounds = 0;

	open_pair(kinds[_i], 3);
	for (unsigned k = 0; k < 2000; k++) {
		if (k == 1)
			unit_ok(cbd_channel_send_se(&queue(2)->ch, &se));
		submit(0, CBD_OP_READ, small, sizeof(small));
		do {
			for (unsigned n = fetch(MAX); n > 0; n--)
				pair_complete(&p, r[n - 1]);
		} while (reap(0) == 0);
	}
	for (unsigned i = 0; i < 4; i++)
		submit(1, CBD_OP_READ, large[i], LARGE);
	submit(0, CBD_OP_READ, small, sizeof(small));
	for (unsigned served = 0; served == 0; served = reap(0)) {
		ck_assert_uint_le(++rounds, 4);
		ck_assert_uint_eq(fetch(1), 1);
		pair_complete(&p, r[0]);
		for (unsigned n = reap(1); n > 0; n--)
			submit(1, CBD_OP_READ, large[n - 1], LARGE);
	}
	finish();
}
END_TEST

/* A flush is paid for with what the neighbours get meanwhile; then a small read comes first
 * again: that the last request was a flush tells nothing of this one. */
START_TEST(after_a_flush)
{
	unsigned in[2] = { 0 }, n;

	open_pair(kinds[_i], 3);
	for (unsigned q = 0; q < 3; q++)
		check_round(q); /* the handler knows what each asks for */
	submit(2, CBD_OP_FLUSH, NULL, 0);
	for (unsigned k = 0; k < 200; k++) {
		for (unsigned q = 0; q < 2; q++)
			for (in[q] -= reap(q); in[q] < 8; in[q]++)
				submit(q, CBD_OP_READ, small, sizeof(small));
		for (n = fetch(4); n > 0; n--)
			pair_complete(&p, r[n - 1]);
	}
	unit_wait(reap(2) == 1);
	submit(2, CBD_OP_READ, small, sizeof(small));
	n = fetch(4);
	ck_assert_uint_ge(n, 1);
	ck_assert_msg(is_of(r[0], 2), "the small read does not come first");
	while (n-- > 0)
		pair_complete(&p, r[n]);
	finish();
}
END_TEST

/* A disk may take long for a flush: one is all that a round takes, so that what waits
 * behind it is the next one to be served. */
START_TEST(beside_flushes)
{
	unsigned flushes = 0;

	open_pair(kinds[_i], 2);
	for (unsigned i = 0; i < 8; i++)
		submit(0, CBD_OP_FLUSH, NULL, 0);
	for (unsigned i = fetch(MAX); i > 0; i--, flushes++)
		pair_complete(&p, r[i - 1]);
	ck_assert_uint_eq(flushes, 1);
	for (unsigned k = 0; k < 4; k++)
		check_round(1);
	ck_assert_uint_ge(unit_disk_ops(&p.disk, CBD_OP_FLUSH), 1);
	finish();
}
END_TEST

/* All payloads that wait to be copied again are due; or: how many were copied. */
static void all_due(void)
{
	for (struct cbd_hrequest *q = hchannel(0)->retries; q; q = q->next) {
		q->retry_ns = 0;
		q->retry_until_ns = UINT64_MAX;
	}
}

static unsigned copied(void)
{
	unsigned n = 0;

	for (struct cbd_hrequest *q = hchannel(0)->retries; q; q = q->next)
		n += q->retry_ns != 0;
	return n;
}

/* Beside one whose payloads are copied again and again: what a round copies counts
 * like requests. */
START_TEST(beside_a_liar)
{
	struct cbd_channel liar;
	unsigned all = 0;

	open_pair(kinds[_i], 2);
	liar = queue(0)->ch;
	for (unsigned i = 0; i < 16; i++)
		unit_ok(cbd_channel_send_se(&liar, &(struct cbd_se){ .position = i,
								     .op = CBD_OP_WRITE,
								     .length = LARGE,
								     .data_crc = 1 }));
	for (unsigned k = 0; k < 4; k++) {
		fetch(MAX);
		all_due();
	}
	for (unsigned k = 0; k < 40; k++) {
		all_due();
		check_round(1);
		all += copied();
		ck_assert_uint_le(copied() * LARGE, ROUND);
	}
	/* one in each round, but where a single copy takes all of its time */
	ck_assert_uint_ge(all, 1);
	pair_close(&p);
}
END_TEST

static Suite *handler_suite(void)
{
	Suite *s = suite_create("handler");
	TCase *t = tcase_create("handler");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, memory_of_a_liar, 0, 2);
	tcase_add_loop_test(t, memory_stays_hot, 0, 2);
	tcase_add_test(t, memory_of_two);
	tcase_add_loop_test(t, memory_is_given_back, 0, 2);
	tcase_add_loop_test(t, refused_end_a_round, 0, 2);
	tcase_add_loop_test(t, beside_large_reads, 0, 4);
	tcase_add_loop_test(t, beside_several_with_large_reads, 0, 4);
	tcase_add_loop_test(t, large_reads_beside_many_small, 0, 2);
	tcase_add_loop_test(t, cold_among_many, 0, 2);
	tcase_add_loop_test(t, beside_a_huge_discard, 0, 2);
	tcase_add_loop_test(t, after_a_flush, 0, 2);
	tcase_add_loop_test(t, beside_flushes, 0, 2);
	tcase_add_loop_test(t, beside_a_liar, 0, 2);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_main(handler_suite());
}
