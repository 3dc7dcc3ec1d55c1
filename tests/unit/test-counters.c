/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-counters.c - counters in shared memory: both sides count the same requests; lines
 * that are damaged, torn or of another owner are never taken for true (rule 1.6).
 */
#include <config.h>

#include <errno.h>
#include <unistd.h>

#include "slots/counters.h"
#include "unit.h"

static struct pair p;

static int get(enum cbd_object object, struct cbd_counters *c)
{
	memset(c, 0xee, sizeof(*c));
	return cbd_counters_get(p.ct, object, 0, c, sizeof(*c));
}

static uint64_t sum(const uint64_t buckets[CBD_LATENCY_BUCKETS])
{
	uint64_t n = 0;

	for (unsigned k = 0; k < CBD_LATENCY_BUCKETS; k++)
		n += buckets[k];
	return n;
}

/* ---------------------------------------------------------------- counting */

static void run_requests(void)
{
	unsigned char *buf = new_buffer(65536, 1);

	for (unsigned i = 0; i < 10; i++)
		unit_ok(cbd_queue_write(p.q, buf, 4096, i * 4096ull, 0));
	for (unsigned i = 0; i < 7; i++)
		unit_ok(cbd_queue_read(p.q, buf, 512, i * 4096ull));
	unit_ok(cbd_queue_flush(p.q));
	unit_ok(cbd_queue_discard(p.q, 65536, 0, 0));
	unit_disk_fail(&p.disk, CBD_OP_READ, EIO);
	unit_fails(cbd_queue_read(p.q, buf, 4096, 0), EIO);
	unit_disk_fail(&p.disk, CBD_OP_READ, 0);
	free(buf);
}

static bool has_reads(enum cbd_object object, uint64_t reads)
{
	struct cbd_counters c;

	return get(object, &c) == 0 && c.ops[CBD_OP_READ].requests == reads;
}

static void expect_op(const struct cbd_counters *c, enum cbd_op op, uint64_t requests,
		      uint64_t bytes, uint64_t errors)
{
	ck_assert_uint_eq(c->ops[op].requests, requests);
	ck_assert_uint_eq(c->ops[op].begun, requests);
	ck_assert_uint_eq(c->ops[op].bytes, bytes);
	ck_assert_uint_eq(c->ops[op].errors, errors);
	ck_assert_uint_le(c->ops[op].timed, requests);
	if (c->ops[op].timed > 0)
		ck_assert_uint_gt(c->ops[op].time_ns, 0);
}

static void expect_all(const struct cbd_counters *c)
{
	expect_op(c, CBD_OP_READ, 8, 7 * 512, 1);
	expect_op(c, CBD_OP_WRITE, 10, 40960, 0);
	expect_op(c, CBD_OP_FLUSH, 1, 0, 0);
	expect_op(c, CBD_OP_DISCARD, 1, 65536, 0);
	expect_op(c, CBD_OP_WRITE_ZEROES, 0, 0, 0);
	ck_assert_uint_eq(sum(c->latency[CBD_LATENCY_READ]), c->ops[CBD_OP_READ].timed);
	ck_assert_uint_eq(sum(c->latency[CBD_LATENCY_WRITE]), c->ops[CBD_OP_WRITE].timed);
	ck_assert_uint_ge(sum(c->latency[CBD_LATENCY_WRITE]), 10); /* the first sixteen are */
	ck_assert_uint_eq(c->bad_payloads + c->resends + c->losses + c->time_outs, 0);
	ck_assert_uint_gt(c->uptime_ns, 0);
	ck_assert_uint_gt(c->sequence, 0);
	ck_assert_uint_gt(c->stored_ns / 1000000000, 1700000000);
}

/* Both sides, the slots and the channel, in each kind of memory. */
START_TEST(both_sides_count)
{
	struct pair_options o = way(_i);
	struct cbd_counters c;

	pair_open(&p, &o);
	run_requests();
	unit_wait(has_reads(CBD_OBJECT_BLKDEV, 8) && has_reads(CBD_OBJECT_BACKEND, 8));
	unit_ok(get(CBD_OBJECT_BLKDEV, &c));
	expect_all(&c);
	ck_assert_uint_eq(c.incarnation, p.blkdev->state.incarnation);
	ck_assert_uint_eq(c.epochs, 1);
	unit_ok(get(CBD_OBJECT_BACKEND, &c));
	expect_all(&c);
	ck_assert_uint_eq(c.incarnation, p.backend->state.incarnation);
	for (int side = CBD_OBJECT_BACKEND; side <= CBD_OBJECT_BLKDEV; side++) {
		unit_ok(cbd_channel_counters_get(p.ct, 0, 0, side, &c, sizeof(c)));
		expect_op(&c, CBD_OP_WRITE, 10, 40960, 0);
		unit_fails(cbd_channel_counters_get(p.ct, 0, 1, side, &c, sizeof(c)), ENODATA);
	}
	pair_close(&p);
}
END_TEST

/* Of an owner that has stopped they stay, of the next one they begin from zero. */
START_TEST(owners_come_and_go)
{
	struct cbd_counters c;
	uint32_t incarnation;

	pair_open(&p, &(struct pair_options){ .queues = 1 });
	run_requests();
	incarnation = p.blkdev->state.incarnation;
	cbd_blkdev_close(p.blkdev);
	p.blkdev = NULL;
	unit_ok(get(CBD_OBJECT_BLKDEV, &c));
	expect_all(&c);
	ck_assert_uint_eq(c.incarnation, incarnation);
	pair_attach(&p);
	unit_wait(get(CBD_OBJECT_BLKDEV, &c) == 0);
	ck_assert_uint_eq(c.incarnation, p.blkdev->state.incarnation);
	expect_op(&c, CBD_OP_READ, 0, 0, 0);
	/* the backend has gone on, in the channel that another blkdev has now it has not */
	unit_wait(get(CBD_OBJECT_BACKEND, &c) == 0 && c.epochs == 2);
	expect_all(&c);
	unit_wait(cbd_channel_counters_get(p.ct, 0, 0, CBD_OBJECT_BACKEND, &c, sizeof(c)) == 0 &&
		  c.ops[CBD_OP_READ].requests == 0);
	pair_close(&p);
}
END_TEST

/* What a handler has counted for a blkdev is not shown of the next one, which has the same
 * slot and channel, before the first beat either.  So beats are rare here. */
START_TEST(the_next_blkdev_of_a_channel)
{
	struct cbd_counters c;
	uint64_t since;
	int r;

	pair_open(&p, &(struct pair_options){ .queues = 1, .heartbeat_ms = 400 });
	run_requests();
	unit_wait(cbd_channel_counters_get(p.ct, 0, 0, CBD_OBJECT_BACKEND, &c, sizeof(c)) == 0 &&
		  c.ops[CBD_OP_READ].requests == 8);
	ck_assert_uint_eq(c.blkdev_incarnation, p.blkdev->state.incarnation);
	cbd_blkdev_close(p.blkdev);
	since = cbd_now_ns();
	pair_attach(&p);
	do {
		r = cbd_channel_counters_get(p.ct, 0, 0, CBD_OBJECT_BACKEND, &c, sizeof(c));
		ck_assert(r == 0 || r == -ENODATA || r == -EBADMSG);
	} while (r < 0 && unit_may_wait(since));
	unit_ok(r);
	ck_assert_uint_eq(c.ops[CBD_OP_READ].requests, 0);
	ck_assert_uint_eq(c.blkdev_incarnation, p.blkdev->state.incarnation);
	ck_assert_uint_le(c.uptime_ns, cbd_now_ns() - since);
	pair_close(&p);
}
END_TEST

START_TEST(wrong_questions)
{
	struct cbd_counters c;

	pair_open(&p, &(struct pair_options){ .queues = 1 });
	unit_fails(cbd_counters_get(NULL, CBD_OBJECT_BACKEND, 0, &c, sizeof(c)), EINVAL);
	unit_fails(cbd_counters_get(p.ct, CBD_OBJECT_BACKEND, 0, NULL, 0), EINVAL);
	unit_fails(cbd_counters_get(p.ct, CBD_OBJECT_HOST, 0, &c, sizeof(c)), EINVAL);
	unit_fails(cbd_counters_get(p.ct, CBD_OBJECT_BACKEND, 999, &c, sizeof(c)), EINVAL);
	unit_fails(cbd_counters_get(p.ct, CBD_OBJECT_BLKDEV, 1, &c, sizeof(c)), ENODATA);
	unit_fails(cbd_channel_counters_get(p.ct, 0, 99, CBD_OBJECT_BACKEND, &c, sizeof(c)),
		   EINVAL);
	unit_fails(cbd_channel_counters_get(p.ct, 9, 0, CBD_OBJECT_BACKEND, &c, sizeof(c)), EINVAL);
	unit_fails(cbd_channel_counters_get(p.ct, 0, 0, CBD_OBJECT_HOST, &c, sizeof(c)), EINVAL);
	pair_close(&p);
}
END_TEST

/* ------------------------------------------------------------------ blocks */

/* A block that nobody else writes: of a slot without an owner. */
#define SLOT 2

static struct cbd_counted mine;
static struct cbd_counter_block *block;

static void put(uint32_t incarnation)
{
	cbd_counters_put(p.ct, block, &mine,
			 (struct cbd_counter_head){ .incarnation = incarnation });
}

static int get_mine(struct cbd_counters *c)
{
	return cbd_counters_get(p.ct, CBD_OBJECT_BLKDEV, SLOT, c, sizeof(*c));
}

static void own_block(void)
{
	pair_open(&p, &(struct pair_options){ .queues = 1 });
	memset(&mine, 0, sizeof(mine));
	block = cbd_side_counters_at(p.ct, CBD_SIDE_BLKDEV, SLOT);
	/* format has given it a number to begin from */
	unit_ok(cbd_line_wipe(p.ct, cbd_side_state_at(p.ct, CBD_SIDE_BLKDEV, SLOT)));
	mine.now.ops[CBD_OP_READ].requests = 5;
	mine.now.ops[CBD_OP_READ].begun = 5;
	mine.now.latency[0][1].bucket[2] = 5;
	put(7);
}

/* Each line, damaged in whatever byte, is found; and stored again at one of the next
 * beats. */
START_TEST(damaged_lines)
{
	struct cbd_counters c;
	uint64_t seed = 3;

	own_block();
	unit_ok(get_mine(&c));
	for (unsigned i = 0; i < CBD_COUNTER_LINES; i++) {
		unsigned char *line = (unsigned char *)block + i * CBD_LINE_SIZE;
		unsigned byte = unit_random(&seed) % CBD_LINE_SIZE, beats = 0;

		line[byte] ^= 0x10;
		unit_fails(get_mine(&c), EBADMSG);
		ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "blkdev 2"));
		do {
			put(7);
			beats++;
		} while (get_mine(&c) < 0 && beats < 20);
		ck_assert_uint_le(beats, 12);
	}
	ck_assert_uint_eq(c.ops[CBD_OP_READ].requests, 5);
	ck_assert_uint_eq(c.latency[CBD_LATENCY_READ][8], 5);
	pair_close(&p);
}
END_TEST

/* Lines of another owner may be where the block is to be: at first, and where a channel was
 * another's in between, all are stored at once. */
START_TEST(stored_afresh)
{
	struct cbd_counters c;

	own_block();
	memset((void *)block, 0x55, sizeof(*block));
	put(7);
	unit_fails(get_mine(&c), EBADMSG);
	cbd_counters_afresh(&mine);
	put(7);
	unit_ok(get_mine(&c));
	ck_assert_uint_eq(c.ops[CBD_OP_READ].requests, 5);
	memset(&mine.stored, 0, sizeof(mine.stored));
	mine.whole = false;
	memset((void *)block, 0x55, sizeof(*block));
	put(7);
	unit_ok(get_mine(&c));
	pair_close(&p);
}
END_TEST

/* An epoch begins: the queue's block in the channel is whole at the first beat. */
START_TEST(stored_afresh_in_each_epoch)
{
	struct cbd_counters c;
	struct cbd_counter_block *there;
	uint64_t sequence, epoch;

	pair_open(&p, &(struct pair_options){ .queues = 1 });
	run_requests();
	unit_wait(cbd_channel_counters_get(p.ct, 0, 0, CBD_OBJECT_BLKDEV, &c, sizeof(c)) == 0 &&
		  c.ops[CBD_OP_READ].requests == 8);
	there = cbd_channel_blkdev_line(&p.q->ch, CBD_CHANNEL_COUNTERS);
	epoch = pair_epoch(&p);
	pthread_mutex_lock(&p.q->lock);
	memset((void *)there, 0x55, sizeof(*there));
	cbd_leave(p.q, CBD_LEAVE_BAD_ENTRY);
	pthread_mutex_unlock(&p.q->lock);
	unit_wait(pair_epoch(&p) > epoch);
	pthread_mutex_lock(&p.q->lock);
	sequence = p.q->counted.stored.head.sequence;
	pthread_mutex_unlock(&p.q->lock);
	unit_wait(cbd_channel_counters_get(p.ct, 0, 0, CBD_OBJECT_BLKDEV, &c, sizeof(c)) == 0);
	ck_assert_uint_lt(c.sequence, sequence + 6); /* in turn it would be 12 or so */
	ck_assert_uint_eq(c.epochs_left, 1);
	pair_close(&p);
}
END_TEST

/* Sound lines of two beats, and a head before its lines: nothing is shown. */
START_TEST(torn_blocks)
{
	struct cbd_counter_block old, new;
	struct cbd_counters c;

	own_block();
	memcpy(&old, block, sizeof(old));
	mine.now.ops[CBD_OP_READ].requests = 6;
	mine.now.latency[0][1].bucket[2] = 6;
	put(7);
	memcpy(&new, block, sizeof(new));
	block->ops[CBD_OP_READ] = old.ops[CBD_OP_READ];
	unit_fails(get_mine(&c), EBADMSG);
	memcpy(block, &new, sizeof(new));
	block->head = old.head;
	unit_fails(get_mine(&c), EBADMSG);
	/* a line of another place does not check */
	memcpy(block, &new, sizeof(new));
	block->ops[4] = block->ops[CBD_OP_READ];
	unit_fails(get_mine(&c), EBADMSG);
	memcpy(block, &new, sizeof(new));
	unit_ok(get_mine(&c));
	ck_assert_uint_eq(c.ops[CBD_OP_READ].requests, 6);
	pair_close(&p);
}
END_TEST

/* What the owner before has left counts as zero, also when it is damaged it is not taken. */
START_TEST(lines_of_the_owner_before)
{
	struct cbd_counters c;

	own_block();
	memset(&mine, 0, sizeof(mine));
	mine.now.ops[CBD_OP_WRITE].requests = mine.now.ops[CBD_OP_WRITE].begun = 1;
	put(8);
	unit_ok(get_mine(&c));
	ck_assert_uint_eq(c.incarnation, 8);
	ck_assert_uint_eq(c.ops[CBD_OP_READ].requests, 0);
	ck_assert_uint_eq(c.ops[CBD_OP_WRITE].requests, 1);
	ck_assert_uint_eq(sum(c.latency[CBD_LATENCY_READ]), 0);
	pair_close(&p);
}
END_TEST

/* A peer may count what it likes. */
START_TEST(lies)
{
	struct cbd_counters c;

	own_block();
	for (unsigned i = 1; i < CBD_COUNTER_LINES; i++)
		memset(cbd_counters_line(&mine.now, i), 0xff, CBD_LINE_SIZE);
	mine.now.ops[CBD_OP_READ].begun = 1; /* less than have ended */
	put(7);
	unit_ok(get_mine(&c));
	ck_assert_uint_eq(c.ops[CBD_OP_READ].begun, UINT64_MAX);
	ck_assert_uint_eq(c.latency[2][35], UINT64_MAX);
	pair_close(&p);
}
END_TEST

/* Of a block that did not change the head is stored, and four lines in turn. */
START_TEST(little_is_stored)
{
	struct cbd_counter_block before;
	unsigned changed = 0;

	own_block();
	put(7);
	memcpy(&before, block, sizeof(before));
	memset((void *)block, 0x55, sizeof(*block));
	put(7);
	for (unsigned i = 0; i < CBD_COUNTER_LINES; i++) {
		const unsigned char *line = (const unsigned char *)block + i * CBD_LINE_SIZE;

		changed += line[8] != 0x55;
	}
	ck_assert_uint_eq(changed, 5);
	pair_close(&p);
}
END_TEST

/* ------------------------------------------------------------------- times */

START_TEST(buckets)
{
	static const struct {
		uint64_t ns;
		unsigned bucket;
	} times[] = { { 0, 0 },		  { 255, 0 },	      { 256, 1 },
		      { 511, 1 },	  { 512, 2 },	      { 1ull << 41, 34 },
		      { 1ull << 42, 35 }, { 1ull << 43, 35 }, { UINT64_MAX, 35 } };

	for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		struct cbd_counter_block b = { .head = { .sequence = 0 } };
		unsigned k = times[i].bucket;

		cbd_counters_time(&b, CBD_OP_FLUSH, times[i].ns);
		ck_assert_uint_eq(b.latency[2][k / 6].bucket[k % 6], 1);
		ck_assert_uint_eq(b.ops[CBD_OP_FLUSH].timed, 1);
		cbd_counters_time(&b, 60000, times[i].ns);
		ck_assert_uint_eq(b.ops[0].timed, 1);
	}
}
END_TEST

static unsigned timed(struct cbd_timing *t, uint64_t tick, unsigned requests)
{
	unsigned n = 0;

	while (requests-- > 0)
		n += cbd_timing_is_due(t, tick);
	return n;
}

START_TEST(slow_loads_are_timed_whole)
{
	struct cbd_timing t = { .tick = 0 };

	ck_assert_uint_eq(timed(&t, 1, 10), 10);
	ck_assert_uint_eq(timed(&t, 2, 16), 16);
	ck_assert_uint_eq(timed(&t, 3, 16 + 640), 16 + 10);
	ck_assert_uint_eq(timed(&t, 3, 6400), 100);
	ck_assert_uint_eq(timed(&t, 4, 1), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("counters");
	TCase *c = tcase_create("counting");

	tcase_set_timeout(c, UNIT_TIMEOUT);
	tcase_add_loop_test(c, both_sides_count, 0, WAYS);
	tcase_add_test(c, owners_come_and_go);
	tcase_add_test(c, the_next_blkdev_of_a_channel);
	tcase_add_test(c, wrong_questions);
	suite_add_tcase(s, c);
	c = tcase_create("blocks");
	tcase_set_timeout(c, UNIT_TIMEOUT);
	tcase_add_test(c, damaged_lines);
	tcase_add_test(c, stored_afresh);
	tcase_add_test(c, stored_afresh_in_each_epoch);
	tcase_add_test(c, torn_blocks);
	tcase_add_test(c, lines_of_the_owner_before);
	tcase_add_test(c, lies);
	tcase_add_test(c, little_is_stored);
	suite_add_tcase(s, c);
	c = tcase_create("times");
	tcase_add_test(c, buckets);
	tcase_add_test(c, slow_loads_are_timed_whole);
	suite_add_tcase(s, c);
	return unit_main(s);
}
