/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-host.c - host slots: found again, configured, half taken, of a cloned machine.
 */
#include <config.h>

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machines.h"
#include "slots/claim.h"
#include "slots/host.h"

START_TEST(same_host)
{
	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
	ck_assert_int_eq(t1->host, 0);
	ck_assert_int_eq(t2->host, 0); /* found again under its identity */
	unit_ok(cbd_host_join(t1, 0));
	unit_fails(cbd_host_join(t1, 1), EINVAL);
}
END_TEST

START_TEST(hosts_of_two_machines)
{
	struct cbd_host_info info;

	machines_format(_i ? CBD_COHERENCE_SOFTWARE : CBD_COHERENCE_HARDWARE);
	unit_machine(t2, 0x30);
	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
	ck_assert_int_ne(t1->host, t2->host);
	unit_ok(cbd_host_get(t1, (unsigned)t2->host, &info, sizeof(info)));
	ck_assert_mem_eq(info.uuid, t2->identity.uuid, 16);
	ck_assert_mem_eq(info.boot_id, t2->identity.boot_id, 16);
	unit_ok(cbd_host_get(t2, (unsigned)t1->host, &info, sizeof(info)));
	ck_assert_mem_eq(info.uuid, t1->identity.uuid, 16);
	machines_teardown();
}
END_TEST

START_TEST(configured_host)
{
	unit_machine(t2, 0x30);
	unit_fails(cbd_host_join(t1, 4), EINVAL);
	unit_ok(cbd_host_join(t1, 3));
	ck_assert_int_eq(t1->host, 3);
	unit_fails(cbd_host_join(t2, 3), EEXIST);
	ck_assert_int_eq(t2->host, -1);
	unit_ok(cbd_host_join(t2, 1));
	ck_assert_int_eq(t2->host, 1);
}
END_TEST

START_TEST(hosts_full)
{
	unit_machine(t2, 0);
	for (unsigned char who = 1; who < 5; who++) {
		cbd_host_leave(t2);
		unit_identity(t2, who);
		unit_ok(cbd_host_join(t2, -1));
	}
	unit_fails(cbd_host_join(t1, -1), ENOSPC);
	cbd_host_leave(t2);
	unit_ok(cbd_host_join(t2, -1)); /* a known one has its slot */
	ck_assert_int_eq(t2->host, 3);
}
END_TEST

/* One that died between token and name is finished by its own machine. */
START_TEST(half_taken_host)
{
	struct cbd_host_claim_line *line = cbd_host_line(t1, 0, CBD_HOST_CLAIM, 0);

	memcpy(&line->token, t1->identity.uuid, 8);
	line->token |= 1;
	unit_machine(t2, 0x30);
	unit_ok(cbd_host_join(t2, -1));
	ck_assert_int_eq(t2->host, 1);
	unit_ok(cbd_host_join(t1, -1));
	ck_assert_int_eq(t1->host, 0);
}
END_TEST

static bool stop_beating;

static void *beat(void *arg)
{
	while (!cbd_flag_get(&stop_beating)) {
		if (cbd_host_beat(arg) < 0)
			return arg;
		cbd_sleep_us(HEARTBEAT_MS * 200);
	}
	return NULL;
}

/* A cloned machine: the same identity under another boot. */
START_TEST(cloned_machine)
{
	pthread_t thread;
	void *lost;
	struct cbd_host_line line;

	unit_ok(cbd_host_join(t1, -1));
	unit_machine(t2, 0x30);
	unit_clone(t2, t1);
	stop_beating = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, beat, t1), 0);
	unit_fails(cbd_host_join(t2, -1), EADDRINUSE);
	unit_fails(cbd_host_join(t2, 0), EADDRINUSE);
	cbd_flag_set(&stop_beating, true);
	pthread_join(thread, &lost);
	ck_assert_ptr_null(lost);
	/* silent: this is its next boot */
	unit_ok(cbd_host_join(t2, -1));
	ck_assert_int_eq(t2->host, 0);
	unit_ok(cbd_line_get(t1, cbd_host_line(t1, 0, CBD_HOST_INFO, CBD_HOST_STATE), &line));
	ck_assert_mem_eq(line.boot_id, t2->identity.boot_id, 16);
	ck_assert_uint_eq(line.incarnation, 2);
	/* and the first one, coming back, must not go on */
	unit_fails(cbd_host_beat(t1), EADDRINUSE);
}
END_TEST

static struct cbd_host_line state_of(unsigned h)
{
	struct cbd_host_line line;

	unit_ok(cbd_line_get(t1, cbd_host_line(t1, h, CBD_HOST_INFO, CBD_HOST_STATE), &line));
	return line;
}

/* The last process of a host says that it has left; the next one of the same boot says that
 * the slot is in use again. */
START_TEST(last_process_leaves)
{
	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
	cbd_host_leave(t1);
	ck_assert_uint_eq(state_of(0).state, CBD_HOST_IN_USE);
	cbd_host_leave(t2);
	ck_assert_uint_eq(state_of(0).state, CBD_HOST_LEFT);
	unit_ok(cbd_host_join(t1, -1));
	ck_assert_uint_eq(state_of(0).state, CBD_HOST_IN_USE);
	ck_assert_uint_eq(state_of(0).incarnation, 1);
	unit_ok(cbd_host_beat(t1));
}
END_TEST

/* The next boot of a host that has left does not wait for as long as a suspicion takes, which
 * is minutes here. */
START_TEST(next_boot_of_one_that_left)
{
	uint64_t start = cbd_now_ns();

	unit_ok(cbd_host_join(t1, -1));
	cbd_host_leave(t1);
	unit_machine(t2, 0x30);
	unit_clone(t2, t1);
	t2->header.dead_after = 6000;
	unit_ok(cbd_host_join(t2, -1));
	ck_assert_uint_lt(cbd_now_ns() - start, cbd_suspect_ns(t2) / 2);
	ck_assert_uint_eq(state_of(0).state, CBD_HOST_IN_USE);
	ck_assert_uint_eq(state_of(0).incarnation, 2);
	ck_assert_mem_eq(state_of(0).boot_id, t2->identity.boot_id, 16);
}
END_TEST

static void *damage(void *arg)
{
	char *line = (char *)cbd_host_line(t1, 0, CBD_HOST_INFO, CBD_HOST_STATE);

	(void)arg;
	cbd_sleep_us(HEARTBEAT_MS * 1000);
	line[20] ^= 1;
	return NULL;
}

/* The line is damaged during the short look: then it is looked for as long as a suspicion
 * takes, as when it had been damaged before. */
START_TEST(left_and_damaged)
{
	pthread_t thread;

	unit_ok(cbd_host_join(t1, -1));
	cbd_host_leave(t1);
	unit_machine(t2, 0x30);
	unit_clone(t2, t1);
	t2->header.heartbeat_ms = 20 * HEARTBEAT_MS;
	ck_assert_int_eq(pthread_create(&thread, NULL, damage, NULL), 0);
	unit_ok(cbd_host_join(t2, -1));
	pthread_join(thread, NULL);
	ck_assert_uint_eq(state_of(0).state, CBD_HOST_IN_USE);
	ck_assert_mem_eq(state_of(0).boot_id, t2->identity.boot_id, 16);
}
END_TEST

/* A process of the earlier boot lives, at a node of the device where the lock of the one that
 * left is not seen: it beats, and stores its line again. */
START_TEST(left_by_one_of_two_nodes)
{
	struct cbd_host_line line;
	pthread_t thread;
	void *lost;

	unit_ok(cbd_host_join(t1, -1));
	unit_machine(t2, 0x30);
	unit_clone(t2, t1);
	line = state_of(0);
	line.state = CBD_HOST_LEFT;
	unit_ok(cbd_line_put(t2, cbd_host_line(t2, 0, CBD_HOST_INFO, CBD_HOST_STATE), &line));
	stop_beating = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, beat, t1), 0);
	unit_fails(cbd_host_join(t2, -1), EADDRINUSE);
	cbd_flag_set(&stop_beating, true);
	pthread_join(thread, &lost);
	ck_assert_ptr_null(lost);
	ck_assert_uint_eq(state_of(0).state, CBD_HOST_IN_USE);
}
END_TEST

/* A process that has lost its slot does not say that it left. */
START_TEST(leaves_what_it_has_lost)
{
	unit_ok(cbd_host_join(t1, -1));
	unit_machine(t2, 0x30);
	unit_clone(t2, t1);
	unit_ok(cbd_host_join(t2, -1));
	cbd_host_leave(t1);
	ck_assert_uint_eq(state_of(0).state, CBD_HOST_IN_USE);
	unit_ok(cbd_host_beat(t2));
}
END_TEST

/* The slots of other identities are full; t2 is a process of the last one. */
static void fill(void)
{
	for (unsigned char who = 1; who < 5; who++) {
		cbd_host_leave(t2);
		unit_container(t2, who);
		unit_ok(cbd_host_join(t2, -1));
	}
}

/* As a process that was killed leaves it. */
static void die(struct cbd_transport *t, struct cbd_claim *c)
{
	if (c)
		cbd_lock_release(&c->lock);
	cbd_host_leave(t);
}

/* What is left behind is taken, one by one; what has a process is not. */
START_TEST(left_behind)
{
	struct cbd_transport *more[4] = { 0 };
	struct cbd_host_info info;

	fill();
	for (unsigned i = 0; i < 3; i++) {
		more[i] = machines_open();
		unit_container(more[i], (unsigned char)(0x40 + i));
		unit_ok(cbd_host_join(more[i], -1));
		ck_assert_int_eq(more[i]->host, (int)i);
		unit_ok(cbd_host_get(t1, i, &info, sizeof(info)));
		ck_assert_mem_eq(info.uuid, more[i]->identity.uuid, 16);
		unit_ok(cbd_host_beat(more[i]));
	}
	/* a process that neither beats nor is the one to beat */
	cbd_lock_release(&t2->host_lock);
	more[3] = machines_open();
	unit_container(more[3], 0x50);
	unit_fails(cbd_host_join(more[3], -1), ENOSPC);
	ck_assert_int_eq(more[3]->host, -1);
	die(more[1], NULL);
	unit_ok(cbd_host_join(more[3], -1));
	ck_assert_int_eq(more[3]->host, 1);
	unit_ok(cbd_host_beat(t2));
	for (unsigned i = 0; i < 4; i++)
		cbd_transport_close(more[i]);
}
END_TEST

/* A configured slot is reused as any other; one that has a process is not. */
START_TEST(configured_and_left_behind)
{
	struct cbd_transport *t3 = machines_open();

	fill();
	unit_ok(cbd_host_join(t1, 2));
	ck_assert_int_eq(t1->host, 2);
	unit_container(t3, 0x40);
	unit_fails(cbd_host_join(t3, 3), EEXIST);
	unit_fails(cbd_host_join(t3, 2), EEXIST);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "another identity of this boot"));
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "is in use"));
	cbd_host_leave(t3);
	unit_machine(t3, 0x40);
	unit_fails(cbd_host_join(t3, 2), EEXIST);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "belongs to another machine"));
	unit_ok(cbd_host_beat(t1));
	unit_ok(cbd_host_beat(t2));
	cbd_transport_close(t3);
}
END_TEST

/* Damaged, so nobody's to take: all slots but that of t2. */
static void keep_others(void)
{
	for (unsigned i = 0; i < 3; i++)
		memset(((struct cbd_host_line *)cbd_host_line(t1, i, CBD_HOST_INFO, CBD_HOST_STATE))
			       ->boot_id,
		       0x77, 16);
}

/* As a newcomer that opened another node of the device would. */
static void take_token(void *host, enum cbd_log_level level, const char *message)
{
	struct cbd_host_claim_line *line = cbd_host_claim_at(t2, *(const unsigned *)host);
	uint64_t token = line->token;

	(void)level;
	if (strstr(message, "is dead; released"))
		ck_assert(cbd_token_swap(&line->token, token, 0x4141414141414141));
}

/* Two newcomers have watched the same slot: one gets it.  When that one dies, it keeps
 * nobody from the slot. */
START_TEST(left_behind_and_taken)
{
	struct cbd_claim dead = CBD_CLAIM_INIT;
	struct cbd_transport *t3 = machines_open();
	unsigned host = 3;

	fill();
	keep_others();
	unit_ok(cbd_claim_take(t2, CBD_SIDE_BLKDEV, 1, &dead));
	die(t2, &dead);
	cbd_set_log(take_token, &host);
	unit_fails(cbd_host_join(t1, -1), ENOSPC);
	cbd_set_log(NULL, NULL);
	ck_assert_int_eq(t1->host, -1);
	unit_ok(cbd_host_join(t1, -1));
	ck_assert_int_eq(t1->host, 3);
	unit_container(t3, 0x40);
	unit_fails(cbd_host_join(t3, -1), ENOSPC);
	cbd_transport_close(t3);
}
END_TEST

static void join_other(void *other, enum cbd_log_level level, const char *message)
{
	(void)level;
	if (strstr(message, "is dead; released"))
		unit_ok(cbd_host_join(other, -1));
}

/* Two containers of one boot, each with a node of the device and so a join lock of its own:
 * while one reuses the slot, the other one has done so. */
START_TEST(left_behind_at_two_nodes)
{
	struct cbd_claim dead = CBD_CLAIM_INIT;
	struct cbd_transport *other;

	machines_format(_i ? CBD_COHERENCE_SOFTWARE : CBD_COHERENCE_HARDWARE);
	fill();
	keep_others();
	unit_ok(cbd_claim_take(t2, CBD_SIDE_BLKDEV, 1, &dead));
	die(t2, &dead);
	other = machines_open();
	unit_machine(other, 0x40);
	memcpy(other->identity.boot_id, t1->identity.boot_id, 16);
	cbd_set_log(join_other, other);
	unit_fails(cbd_host_join(t1, -1), ENOSPC);
	cbd_set_log(NULL, NULL);
	ck_assert_int_eq(other->host, 3);
	unit_ok(cbd_host_beat(other));
	cbd_transport_close(other);
	machines_teardown();
}
END_TEST

/* What a dead process of the other host owned is released; what has an owner stays. */
START_TEST(left_behind_with_claims)
{
	struct cbd_claim dead = CBD_CLAIM_INIT, living = CBD_CLAIM_INIT;
	struct cbd_claim_line line;

	fill();
	unit_ok(cbd_claim_take(t2, CBD_SIDE_BLKDEV, 1, &dead));
	die(t2, &dead);
	for (unsigned char who = 1; who < 4; who++) {
		cbd_host_leave(t2);
		unit_container(t2, who);
		unit_ok(cbd_host_join(t2, -1));
		unit_ok(cbd_claim_take(t2, CBD_SIDE_BLKDEV, 0, &living));
		if (who < 3)
			cbd_claim_release(&living);
	}
	/* hosts 0 and 1 own nothing, host 2 has an owner, host 3 a dead one */
	unit_container(t1, 0x40);
	for (unsigned i = 0; i < 2; i++) {
		struct cbd_host_line *state = cbd_host_line(t1, i, CBD_HOST_INFO, CBD_HOST_STATE);

		memset(state->boot_id, 0x77, 16); /* damaged: nobody's to take */
	}
	cbd_lock_release(&t2->host_lock);
	cbd_lock_release(&t2->member_lock);
	unit_ok(cbd_host_join(t1, -1));
	ck_assert_int_eq(t1->host, 3);
	unit_ok(cbd_line_get(t1, cbd_side_claim_at(t1, CBD_SIDE_BLKDEV, 1, 3), &line));
	ck_assert_uint_eq(line.state, CBD_CLAIM_DEAD);
	unit_ok(cbd_claim_check(&living));
	cbd_claim_release(&living);
}
END_TEST

/* A process that opened another node of the device: its locks are not seen. */
START_TEST(left_behind_but_beats)
{
	pthread_t thread;
	void *lost;

	fill();
	keep_others();
	cbd_lock_release(&t2->host_lock);
	cbd_lock_release(&t2->member_lock);
	unit_machine(t2, 4);
	memcpy(t2->identity.boot_id, t1->identity.boot_id, 16);
	stop_beating = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, beat, t2), 0);
	unit_fails(cbd_host_join(t1, -1), ENOSPC);
	cbd_flag_set(&stop_beating, true);
	pthread_join(thread, &lost);
	ck_assert_ptr_null(lost);
	/* it falls silent, and finds out when it goes on */
	unit_ok(cbd_host_join(t1, -1));
	ck_assert_int_eq(t1->host, 3);
	unit_fails(cbd_host_beat(t2), ESTALE);
}
END_TEST

static void *beat_slot(void *t)
{
	struct cbd_beat_line line = { .incarnation = 1 };

	while (!cbd_flag_get(&stop_beating)) {
		line.counter++;
		cbd_line_put(t, cbd_side_beat_at(t, CBD_SIDE_BLKDEV, 1), &line);
		cbd_sleep_us(HEARTBEAT_MS * 200);
	}
	return NULL;
}

/* Host beat and locks say that nobody is there; a slot of the host beats nevertheless. */
START_TEST(left_behind_but_a_slot_beats)
{
	struct cbd_claim claim = CBD_CLAIM_INIT;
	struct cbd_claim_line line;
	pthread_t thread;

	fill();
	keep_others();
	unit_ok(cbd_claim_take(t2, CBD_SIDE_BLKDEV, 1, &claim));
	die(t2, &claim);
	stop_beating = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, beat_slot, t2), 0);
	unit_fails(cbd_host_join(t1, -1), ENOSPC);
	ck_assert_int_eq(cbd_claim_owner(t1, CBD_SIDE_BLKDEV, 1, &line), 3);
	cbd_flag_set(&stop_beating, true);
	pthread_join(thread, NULL);
	unit_ok(cbd_host_join(t1, -1));
	ck_assert_int_eq(t1->host, 3);
	ck_assert_int_eq(cbd_claim_owner(t1, CBD_SIDE_BLKDEV, 1, &line), -1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("host");
	TCase *t;

	t = tcase_create("with transport");
	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_checked_fixture(t, machines_setup, machines_teardown);
	tcase_add_test(t, same_host);
	tcase_add_test(t, configured_host);
	tcase_add_test(t, hosts_full);
	tcase_add_test(t, half_taken_host);
	tcase_add_test(t, cloned_machine);
	tcase_add_test(t, last_process_leaves);
	tcase_add_test(t, next_boot_of_one_that_left);
	tcase_add_test(t, left_and_damaged);
	tcase_add_test(t, left_by_one_of_two_nodes);
	tcase_add_test(t, leaves_what_it_has_lost);
	tcase_add_test(t, left_behind);
	tcase_add_test(t, configured_and_left_behind);
	tcase_add_test(t, left_behind_and_taken);
	tcase_add_test(t, left_behind_with_claims);
	tcase_add_test(t, left_behind_but_beats);
	tcase_add_test(t, left_behind_but_a_slot_beats);
	suite_add_tcase(s, t);
	t = tcase_create("of its own");
	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, hosts_of_two_machines, 0, 2);
	tcase_add_loop_test(t, left_behind_at_two_nodes, 0, 2);
	suite_add_tcase(s, t);
	return unit_main(s);
}
