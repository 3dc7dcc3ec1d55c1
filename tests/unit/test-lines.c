/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-lines.c - control lines that are damaged while their owners live, and
 * owners that come back after they were replaced: rule 1.5, "owners store their
 * control lines again at each beat", and rule 2.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "unit.h"

static struct pair p;

/* ------------------------------------------------------------------ damage */

#define MOST_LINES 128

struct place {
	unsigned char *line;
	bool empty; /* nothing was ever written there */
};

static struct place places[MOST_LINES];
static unsigned n_places;

static void add(void *line)
{
	struct cbd_line copy;

	ck_assert_uint_lt(n_places, MOST_LINES);
	cbd_line_load(&p.ct->mem, line, &copy);
	places[n_places++] = (struct place){ line, cbd_is_zero(&copy, sizeof(copy)) };
}

static void add_channel(struct cbd_transport *t, unsigned c)
{
	struct cbd_channel ch;

	cbd_channel_init(&ch, t, 0, c);
	add(cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT));
	if (c < p.o.queues) /* the others belong to nobody */
		add(cbd_channel_blkdev_line(&ch, CBD_CHANNEL_LEAVE));
}

/* Every line that somebody owns, of host 0, backend 0 and blkdev 0. */
static void find_places(void)
{
	struct cbd_transport *t = p.ct;

	n_places = 0;
	add(cbd_host_line(t, 0, CBD_HOST_CLAIM, 0));
	for (unsigned i = CBD_HOST_STATE; i <= CBD_HOST_NAME; i++)
		add(cbd_host_line(t, 0, CBD_HOST_INFO, i));
	for (unsigned b = 0; b < t->header.backends; b++)
		add(cbd_host_request_at(t, 0, b));
	add(cbd_backend_line(t, 0, CBD_BACKEND_CLAIMS, 0));
	/* of slots that nobody owns: a damaged claim would keep them */
	for (unsigned d = 0; d < t->header.blkdevs; d++)
		add(cbd_blkdev_line(t, d, CBD_BLKDEV_CLAIMS, 0));
	for (unsigned i = CBD_BACKEND_STATE; i < CBD_BACKEND_PATH + CBD_PATH_LINES; i++)
		add(cbd_backend_line(t, 0, CBD_BACKEND_INFO, i));
	for (unsigned d = 0; d < t->header.blkdevs; d++)
		add(cbd_backend_line(t, 0, CBD_BACKEND_REPLIES, d));
	for (unsigned c = 0; c < t->header.channels; c++)
		add_channel(t, c);
	for (unsigned i = CBD_BLKDEV_STATE; i <= CBD_BLKDEV_DOORBELL; i++)
		add(cbd_blkdev_line(t, 0, CBD_BLKDEV_INFO, i));
}

static bool is_sound(const struct place *at)
{
	struct cbd_line copy;

	return cbd_line_get(p.ct, at->line, &copy) == 0 &&
	       (at->empty || !cbd_is_zero(&copy, sizeof(copy)));
}

enum damage { ONE_BIT, NOISE, ZEROES, DAMAGES };

/* As another host does, whose stores come beside those of the owner. */
static void write_over(struct place *at, enum damage how)
{
	unsigned char copy[CBD_LINE_SIZE];

	cbd_line_load(&p.ct->mem, at->line, copy);
	if (how == ONE_BIT)
		copy[17] ^= 4;
	else if (how == NOISE)
		unit_fill(copy, sizeof(copy), 77);
	else
		memset(copy, 0, sizeof(copy));
	cbd_line_store(&p.ct->mem, at->line, copy);
}

static void tell(void *opaque, const struct cbd_problem *problem)
{
	(void)opaque;
	if (problem->verdict != CBD_CHECK_NOTE)
		fprintf(stderr, "%s %s\n", problem->object, problem->what);
}

static void expect_unharmed(void)
{
	struct cbd_backend_info backend;
	struct cbd_blkdev_info blkdev;
	unsigned char buf[4096];

	ck_assert_int_eq(cbd_transport_check(p.path, 0, tell, NULL), 0);
	unit_ok(cbd_queue_read(p.q, buf, sizeof(buf), 4096));
	ck_assert_mem_eq(buf, unit_disk_data(&p.disk) + 4096, sizeof(buf));
	unit_ok(cbd_backend_get(p.ct, 0, &backend, sizeof(backend)));
	ck_assert_str_eq(backend.name, "disk");
	ck_assert_int_eq(backend.state, CBD_SLOT_LIVE);
	unit_ok(cbd_blkdev_get(p.ct, 0, &blkdev, sizeof(blkdev)));
	ck_assert_int_eq(blkdev.state, CBD_SLOT_LIVE);
	ck_assert_uint_eq(blkdev.queues, p.o.queues);
}

START_TEST(one_line)
{
	struct pair_options o = way(_i / DAMAGES);

	o.heartbeat_ms = 10;
	o.dead_after = 50;
	o.queues = 2;
	pair_open(&p, &o);
	find_places();
	for (unsigned i = 0; i < n_places; i++) {
		write_over(&places[i], (enum damage)(_i % DAMAGES));
		unit_wait(is_sound(&places[i]));
	}
	expect_unharmed();
	pair_close(&p);
}
END_TEST

/* All at once: each owner knows its own lines without reading any. */
START_TEST(all_lines)
{
	struct pair_options o = way(_i / DAMAGES);

	o.heartbeat_ms = 10;
	o.dead_after = 50;
	o.queues = 2;
	pair_open(&p, &o);
	find_places();
	for (unsigned i = 0; i < n_places; i++)
		write_over(&places[i], (enum damage)(_i % DAMAGES));
	for (unsigned i = 0; i < n_places; i++)
		unit_wait(is_sound(&places[i]));
	/* its channels may have been taken from it on the word of these */
	unit_wait(cbd_transport_check(p.path, 0, tell, NULL) == 0);
	expect_unharmed();
	pair_close(&p);
}
END_TEST

/* ----------------------------------------------------------------- entries */

#define SOON_NS 3000000000ull /* less than the time after which slow is asked */

static void expect_answers(unsigned n)
{
	uint64_t start = cbd_now_ns();

	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(pair_reap(&p).result, 0);
	/* a busy machine may not have looked in time */
	ck_assert(cbd_now_ns() - start < SOON_NS || test_factor() > 5);
}

/* Lost before it was fetched: its owner stores it again. */
START_TEST(lost_se)
{
	struct pair_options o = way(_i);
	unsigned char buf[3][512];
	uint64_t epoch;

	o.heartbeat_ms = 10;
	o.dead_after = 500;
	pair_open(&p, &o);
	epoch = p.q->ch.epoch;
	server_stop(&p);
	for (unsigned i = 0; i < 3; i++)
		pair_submit(&p, CBD_OP_READ, buf[i], i * 512, 512, i);
	memset(&p.q->ch.se[0], 0, CBD_LINE_SIZE);
	memset(&p.q->ch.se[2], 0xff, CBD_LINE_SIZE);
	server_start(&p);
	expect_answers(3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_mem_eq(buf[i], unit_disk_data(&p.disk) + i * 512, 512);
	ck_assert_uint_eq(p.q->ch.epoch, epoch);
	pair_close(&p);
}
END_TEST

/* Lost before it was read: those behind it tell. */
START_TEST(lost_ce)
{
	struct pair_options o = way(_i);
	unsigned char buf[2][512];
	struct cbd_ce *ce;

	o.heartbeat_ms = 10;
	o.dead_after = 500;
	pair_open(&p, &o);
	ce = p.q->ch.ce;
	for (unsigned i = 0; i < 2; i++)
		pair_submit(&p, CBD_OP_READ, buf[i], i * 512, 512, i);
	unit_wait(ce[1].count == 1 && ce[1].epoch == p.q->ch.epoch);
	memset(&ce[0], 0, CBD_LINE_SIZE);
	expect_answers(2);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_mem_eq(buf[i], unit_disk_data(&p.disk) + i * 512, 512);
	pair_close(&p);
}
END_TEST

/* ----------------------------------------------------------------- zombies */

static char path[UNIT_PATH];
static struct cbd_transport *zombie, *other;

static struct cbd_transport *open_machine(unsigned char who)
{
	struct cbd_transport *t;

	unit_ok(cbd_transport_open(path, 0, &t));
	unit_machine(t, who);
	return t;
}

static void setup(void)
{
	struct cbd_format_options o = { .size = 6u << 20,
					.hosts = 2,
					.backends = 2,
					.blkdevs = 3,
					.channels = 2,
					.heartbeat_ms = 10,
					.dead_after = 3 };

	unit_path(path);
	unit_ok(cbd_format(path, &o, sizeof(o)));
	zombie = open_machine(0x30);
	unit_ok(cbd_host_join(zombie, 0));
	other = open_machine(0x50);
	unit_ok(cbd_host_join(other, 1));
}

static void teardown(void)
{
	cbd_transport_close(zombie);
	cbd_transport_close(other);
	unlink(path);
}

/* It beats, is refused, and no byte of the host slot has changed. */
static void expect_refused(int error)
{
	size_t size = cbd_host_pages(&zombie->header) * CBD_PAGE_SIZE;
	void *slot = cbd_host_line(zombie, 0, 0, 0), *before = malloc(size);

	memcpy(before, slot, size);
	unit_fails(cbd_host_beat(zombie), error);
	ck_assert_mem_eq(slot, before, size);
	free(before);
}

static void clear_host(void)
{
	struct cbd_clear_options o = { .hosts_gone = 1 };

	unit_ok(cbd_clear(other, CBD_OBJECT_HOST, 0, &o, sizeof(o)));
}

START_TEST(cleared_host)
{
	unit_ok(cbd_host_beat(zombie));
	clear_host();
	expect_refused(ESTALE);
}
END_TEST

/* At each store of clear, and of the machine that takes the slot next. */
START_TEST(cleared_by_halves)
{
	struct cbd_line zero = { .crc = 0 }, *claim = cbd_host_line(zombie, 0, CBD_HOST_CLAIM, 0);
	struct cbd_line *state = cbd_host_line(zombie, 0, CBD_HOST_INFO, CBD_HOST_STATE), old;
	struct cbd_transport *next;

	old = *claim;
	clear_host();
	*claim = old; /* the state line goes first */
	expect_refused(ESTALE);
	*claim = zero;
	next = open_machine(0x70);
	unit_ok(cbd_host_join(next, 0));
	expect_refused(ESTALE);
	old = *state;
	*state = zero;
	expect_refused(ESTALE);
	*state = old;
	claim->body[20] ^= 1;
	expect_refused(ESTALE);
	unit_ok(cbd_host_beat(next));
	ck_assert_int_eq(cbd_line_get(zombie, claim, &old), 0);
	cbd_transport_close(next);
}
END_TEST

START_TEST(next_boot)
{
	struct cbd_transport *next = open_machine(0x30);

	unit_reboot(next);
	unit_ok(cbd_host_join(next, -1));
	ck_assert_int_eq(next->host, 0);
	expect_refused(EADDRINUSE);
	unit_ok(cbd_host_beat(next));
	cbd_transport_close(next);
}
END_TEST

static TCase *new_case(Suite *s, const char *name)
{
	TCase *t = tcase_create(name);

	tcase_set_timeout(t, UNIT_TIMEOUT);
	suite_add_tcase(s, t);
	return t;
}

int main(void)
{
	Suite *s = suite_create("lines");
	TCase *t = new_case(s, "damaged");

	tcase_add_loop_test(t, one_line, 0, DAMAGES * WAYS);
	tcase_add_loop_test(t, all_lines, 0, DAMAGES * WAYS);
	tcase_add_loop_test(t, lost_se, 0, WAYS);
	tcase_add_loop_test(t, lost_ce, 0, WAYS);
	t = new_case(s, "zombies");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, cleared_host);
	tcase_add_test(t, cleared_by_halves);
	tcase_add_test(t, next_boot);
	return unit_main(s);
}
