/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-claim.c - claims of backend and blkdev slots: taken and lost, by processes and
 * machines that die; and incarnations.
 */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machines.h"

static int claim(struct cbd_transport *t, enum cbd_side kind, unsigned slot, struct cbd_claim *c)
{
	return cbd_claim_take(t, kind, slot, c);
}

static const enum cbd_side claim_kinds[] = { CBD_SIDE_BACKEND, CBD_SIDE_BLKDEV };

static void join_two_machines(void)
{
	unit_machine(t2, 0x30);
	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
}

START_TEST(take_and_release)
{
	enum cbd_side kind = claim_kinds[_i];
	struct cbd_claim a = CBD_CLAIM_INIT, b = CBD_CLAIM_INIT;
	struct cbd_claim_line line;
	uint64_t generation;

	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
	unit_fails(claim(t1, kind, 3, &a), EINVAL);
	ck_assert_int_eq(cbd_claim_owner(t1, kind, 1, &line), -1);
	unit_ok(claim(t1, kind, 1, &a));
	generation = a.line.generation;
	ck_assert_int_eq(cbd_claim_owner(t2, kind, 1, &line), 0);
	ck_assert_mem_eq(line.owner, a.line.owner, 16);
	ck_assert(!cbd_claim_is_dead(t2, kind, 1, &line));
	unit_fails(claim(t2, kind, 1, &b), EBUSY);
	unit_ok(cbd_claim_check(&a));
	unit_ok(claim(t2, kind, 0, &b)); /* another slot */
	cbd_claim_release(&b);
	cbd_claim_release(&a);
	cbd_claim_release(&a); /* nothing */
	ck_assert_int_eq(cbd_claim_owner(t1, kind, 1, &line), -1);
	unit_ok(claim(t2, kind, 1, &b));
	ck_assert_uint_gt(b.line.generation, generation);
	ck_assert_mem_ne(b.line.owner, a.line.owner, 16);
	cbd_claim_release(&b);
}
END_TEST

/* The number in the state line is a peer's word: it is told when the kernel confirms it. */
START_TEST(named_process)
{
	enum cbd_side kind = claim_kinds[_i];
	struct cbd_claim a = CBD_CLAIM_INIT, b = CBD_CLAIM_INIT;
	struct cbd_state_line state = { .incarnation = 1, .pid = (uint32_t)getpid() };
	char text[40];

	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
	unit_ok(claim(t1, kind, 1, &a));
	unit_ok(cbd_line_put(t1, cbd_side_state_at(t1, kind, 1), &state));
	unit_fails(claim(t2, kind, 1, &b), EBUSY);
	snprintf(text, sizeof(text), "is in use by process %d of", (int)getpid());
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), text));
	state.pid = (uint32_t)getppid();
	unit_ok(cbd_line_put(t1, cbd_side_state_at(t1, kind, 1), &state));
	unit_fails(claim(t2, kind, 1, &b), EBUSY);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "is in use by a process of"));
	cbd_host_leave(t2);
	unit_machine(t2, 0x30);
	unit_ok(cbd_host_join(t2, -1));
	unit_fails(claim(t2, kind, 1, &b), EBUSY);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "is owned by host 0"));
	ck_assert_ptr_null(strstr(cbd_errmsg(), "process"));
	cbd_claim_release(&a);
}
END_TEST

/* A blkdev passes by the slots that are in use without the join lock: to name a process for
 * each, among thousands of descriptors, takes long. */
START_TEST(all_in_use)
{
	const struct cbd_blkdev_options o = { .backend = "0" };
	struct cbd_claim claims[3];
	struct cbd_lock join = CBD_LOCK_NONE;
	struct cbd_blkdev *blkdev;
	uint64_t since;

	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
	for (unsigned d = 0; d < 3; d++)
		unit_ok(claim(t1, CBD_SIDE_BLKDEV, d, &claims[d]));
	unit_ok(cbd_join_lock(t1, &join));
	since = cbd_now_ns();
	unit_fails(cbd_blkdev_open(t2, &o, sizeof(o), &blkdev), EBUSY);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "all 3 blkdev slots are taken"));
	/* for that lock it would wait 5 s at least, for each slot */
	ck_assert_uint_lt(cbd_now_ns() - since, 3 * 5000000000ull);
	cbd_lock_release(&join);
	for (unsigned d = 0; d < 3; d++)
		cbd_claim_release(&claims[d]);
}
END_TEST

/* Without any lock between them: the lines alone keep them apart. */
START_TEST(two_machines)
{
	enum cbd_side kind = claim_kinds[_i % 2];
	struct cbd_claim a = CBD_CLAIM_INIT, b = CBD_CLAIM_INIT;
	struct cbd_claim_line line;

	machines_format(_i / 2 ? CBD_COHERENCE_SOFTWARE : CBD_COHERENCE_HARDWARE);
	join_two_machines();
	unit_ok(claim(t1, kind, 1, &a));
	unit_fails(claim(t2, kind, 1, &b), EBUSY);
	ck_assert_int_eq(b.lock.fd, -1);
	/* its silence proves nothing to another machine */
	cbd_lock_release(&a.lock);
	ck_assert_int_eq(cbd_claim_owner(t2, kind, 1, &line), 0);
	ck_assert(!cbd_claim_is_dead(t2, kind, 1, &line));
	unit_ok(cbd_claim_sweep(t2, true));
	unit_fails(claim(t2, kind, 1, &b), EBUSY);
	/* its own host knows */
	ck_assert(cbd_claim_is_dead(t1, kind, 1, &line));
	ck_assert_int_eq(cbd_claim_sweep(t1, true), 1);
	ck_assert_int_eq(cbd_claim_sweep(t1, true), 0);
	unit_ok(claim(t2, kind, 1, &b));
	cbd_claim_release(&b);
	machines_teardown();
}
END_TEST

#define RACE_TURNS 100

static unsigned owners, most_owners, taken;

static void *race(void *arg)
{
	struct cbd_transport *t = arg;
	struct cbd_claim c = CBD_CLAIM_INIT;

	for (int i = 0; i < RACE_TURNS; i++) {
		unsigned now;

		while (claim(t, CBD_SIDE_BLKDEV, 0, &c) < 0)
			sched_yield();
		now = __atomic_add_fetch(&owners, 1, __ATOMIC_SEQ_CST);
		if (now > __atomic_load_n(&most_owners, __ATOMIC_SEQ_CST))
			__atomic_store_n(&most_owners, now, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&taken, 1, __ATOMIC_SEQ_CST);
		sched_yield();
		__atomic_sub_fetch(&owners, 1, __ATOMIC_SEQ_CST);
		cbd_claim_release(&c);
	}
	return NULL;
}

START_TEST(race_of_machines)
{
	pthread_t a, b;

	machines_format(_i ? CBD_COHERENCE_SOFTWARE : CBD_COHERENCE_HARDWARE);
	join_two_machines();
	ck_assert_int_eq(pthread_create(&a, NULL, race, t1), 0);
	ck_assert_int_eq(pthread_create(&b, NULL, race, t2), 0);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	ck_assert_uint_eq(most_owners, 1);
	ck_assert_uint_eq(taken, 2 * RACE_TURNS);
	machines_teardown();
}
END_TEST

START_TEST(next_boot)
{
	struct cbd_claim a = CBD_CLAIM_INIT, b = CBD_CLAIM_INIT;
	struct cbd_claim_line line;

	join_two_machines();
	unit_ok(claim(t2, CBD_SIDE_BACKEND, 0, &b));
	unit_fails(claim(t1, CBD_SIDE_BACKEND, 0, &a), EBUSY);
	/* the machine is rebooted: what its last boot claimed is void */
	cbd_lock_release(&b.lock);
	cbd_host_leave(t2);
	unit_reboot(t2);
	unit_ok(cbd_host_join(t2, -1));
	ck_assert_int_eq(cbd_claim_owner(t1, CBD_SIDE_BACKEND, 0, &line), -1);
	unit_ok(claim(t1, CBD_SIDE_BACKEND, 0, &a));
	cbd_claim_release(&a);
}
END_TEST

START_TEST(damaged_line)
{
	struct cbd_claim a = CBD_CLAIM_INIT, b = CBD_CLAIM_INIT;
	unsigned char *line;

	join_two_machines();
	unit_ok(claim(t1, CBD_SIDE_BACKEND, 0, &a));
	line = cbd_backend_line(t1, 0, CBD_BACKEND_CLAIMS, (unsigned)t1->host);
	line[20] ^= 1;
	/* nothing is freed on a guess */
	unit_fails(claim(t2, CBD_SIDE_BACKEND, 0, &b), EBUSY);
	/* its owner stores it again */
	unit_ok(cbd_claim_check(&a));
	ck_assert_mem_eq(line, &a.line, sizeof(a.line));
	memset(line, 0, 64);
	unit_ok(cbd_claim_check(&a));
	ck_assert_mem_eq(line, &a.line, sizeof(a.line));
	cbd_claim_release(&a);
	/* damaged, and nobody of this host holds the lock: its own to repair */
	line[20] ^= 1;
	unit_ok(claim(t1, CBD_SIDE_BACKEND, 0, &a));
	cbd_claim_release(&a);
}
END_TEST

/* Taken over, or cleared: whoever finds out stops. */
static const uint64_t lies[] = { 2, UINT64_MAX / 2, UINT64_MAX };

/* The process has entered the slot: its state line names the owner of the claim. */
static void enter(struct cbd_claim *c)
{
	struct cbd_state_line state = { .incarnation = 1, .pid = (uint32_t)getpid() };

	memcpy(state.owner, c->line.owner, sizeof(state.owner));
	unit_ok(cbd_line_put(c->t, cbd_side_state_at(c->t, c->side, c->slot), &state));
}

/* A host claims the slot of a blkdev that lives and was not freed: its owner stays. */
START_TEST(false_claim)
{
	struct cbd_claim a = CBD_CLAIM_INIT, b = CBD_CLAIM_INIT;
	struct cbd_claim_line line;

	join_two_machines();
	unit_ok(claim(t1, CBD_SIDE_BLKDEV, 0, &a));
	enter(&a);
	line = a.line;
	line.generation = lies[_i];
	line.owner[0] ^= 1;
	memcpy(line.boot_id, t2->identity.boot_id, 16);
	for (unsigned beat = 0; beat < 3; beat++) {
		unit_ok(cbd_line_put(t2,
				     cbd_side_claim_at(t2, CBD_SIDE_BLKDEV, 0, (unsigned)t2->host),
				     &line));
		unit_ok(cbd_claim_check(&a));
		ck_assert_int_eq(cbd_claim_owner(t1, CBD_SIDE_BLKDEV, 0, &b.line), t1->host);
	}
	/* it was freed, or somebody else has entered: then the claim is true */
	b.t = t2;
	b.side = CBD_SIDE_BLKDEV;
	b.line = line;
	enter(&b);
	line.generation = UINT64_MAX;
	a.line.generation = 1;
	unit_ok(cbd_line_put(t2, cbd_side_claim_at(t2, CBD_SIDE_BLKDEV, 0, (unsigned)t2->host),
			     &line));
	unit_fails(cbd_claim_check(&a), ESTALE);
	cbd_claim_release(&a);
}
END_TEST

START_TEST(lost_claim)
{
	struct cbd_claim a = CBD_CLAIM_INIT, b = CBD_CLAIM_INIT;
	struct cbd_claim_line line;

	join_two_machines();
	unit_ok(claim(t1, CBD_SIDE_BACKEND, 0, &a));
	line = a.line;
	line.state = CBD_CLAIM_DEAD;
	unit_ok(cbd_line_put(t1, cbd_backend_line(t1, 0, CBD_BACKEND_CLAIMS, 0), &line));
	unit_fails(cbd_claim_check(&a), ESTALE);
	unit_ok(claim(t2, CBD_SIDE_BACKEND, 0, &b));
	unit_fails(cbd_claim_check(&a), ESTALE);
	unit_ok(cbd_claim_check(&b));
	cbd_claim_release(&b);
	cbd_lock_release(&a.lock);
}
END_TEST

/* ------------------------------------------------------------ dead process */

/* A process that claims a slot and is killed, or leaves without a word. */
static void die_with_claim(enum cbd_side kind, unsigned slot, bool killed)
{
	struct cbd_transport *t;
	struct cbd_claim c;
	int status, ready[2];
	char byte = 0;
	pid_t child;

	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		byte = cbd_transport_open(machines_path, 0, &t) == 0 && cbd_host_join(t, -1) == 0 &&
		       cbd_claim_take(t, kind, slot, &c) == 0;
		if (write(ready[1], &byte, 1) == 1 && killed)
			pause();
		_exit(0);
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 1);
	close(ready[0]);
	close(ready[1]);
	if (killed) {
		struct cbd_claim mine;

		unit_fails(claim(t1, kind, slot, &mine), EBUSY);
		ck_assert_int_eq(cbd_claim_sweep(t1, true), 0);
		kill(child, SIGKILL);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
}

START_TEST(dead_owner)
{
	enum cbd_side kind = claim_kinds[_i % 2];
	struct cbd_claim_line line;
	struct cbd_claim c;

	machines_format(_i / 4 ? CBD_COHERENCE_SOFTWARE : CBD_COHERENCE_HARDWARE);
	unit_ok(cbd_host_join(t1, -1));
	die_with_claim(kind, 1, _i / 2 % 2);
	ck_assert_int_eq(cbd_claim_owner(t1, kind, 1, &line), 0);
	ck_assert(cbd_claim_is_dead(t1, kind, 1, &line));
	ck_assert_int_eq(cbd_claim_sweep(t1, false), 1);
	ck_assert_int_eq(cbd_claim_owner(t1, kind, 1, &line), -1);
	unit_ok(claim(t1, kind, 1, &c));
	cbd_claim_release(&c);
	/* also without a sweep */
	die_with_claim(kind, 1, false);
	unit_ok(claim(t1, kind, 1, &c));
	cbd_claim_release(&c);
	machines_teardown();
}
END_TEST

/* Through another node of the device locks prove nothing: it may live. */
START_TEST(other_device_node)
{
	struct cbd_claim a = CBD_CLAIM_INIT, b = CBD_CLAIM_INIT;
	struct cbd_claim_line line;

	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
	unit_ok(claim(t1, CBD_SIDE_BLKDEV, 0, &a));
	cbd_lock_release(&a.lock);
	t2->ino++;
	ck_assert_int_eq(cbd_claim_owner(t2, CBD_SIDE_BLKDEV, 0, &line), 0);
	ck_assert(!cbd_claim_is_dead(t2, CBD_SIDE_BLKDEV, 0, &line));
	ck_assert_int_eq(cbd_claim_sweep(t2, true), 0);
	unit_fails(claim(t2, CBD_SIDE_BLKDEV, 0, &b), EBUSY);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "device node"));
}
END_TEST

/* ------------------------------------------------------------ incarnations */

static struct pair p;

static uint32_t backend_incarnation(void)
{
	struct cbd_backend_info info;

	unit_ok(cbd_backend_get(p.bt, 0, &info, sizeof(info)));
	return info.incarnation;
}

static uint32_t blkdev_incarnation(void)
{
	struct cbd_blkdev_info info;

	unit_ok(cbd_blkdev_get(p.ct, 0, &info, sizeof(info)));
	return info.incarnation;
}

START_TEST(incarnations_rise)
{
	uint32_t backend, blkdev;

	pair_format(&p, &(struct pair_options){ .heartbeat_ms = HEARTBEAT_MS });
	backend = backend_incarnation();
	blkdev = blkdev_incarnation();
	for (unsigned i = 1; i < 10; i++) {
		pair_publish(&p);
		ck_assert_uint_eq(backend_incarnation(), backend + i);
		pair_attach(&p);
		ck_assert_uint_eq(blkdev_incarnation(), blkdev + i);
		ck_assert_uint_eq(pair_epoch(&p) >> 32, backend_incarnation());
		cbd_blkdev_close(p.blkdev);
		p.blkdev = NULL;
		server_stop(&p);
		cbd_backend_close(p.backend);
		p.backend = NULL;
		ck_assert_uint_eq(backend_incarnation(), backend + i);
		ck_assert_uint_eq(blkdev_incarnation(), blkdev + i);
	}
	pair_close(&p);
}
END_TEST

/* 0 means none, and is passed by. */
START_TEST(incarnations_wrap)
{
	struct cbd_state_line line = { .incarnation = UINT32_MAX };

	pair_format(&p, &(struct pair_options){ .heartbeat_ms = HEARTBEAT_MS });
	unit_ok(cbd_line_put(p.bt, cbd_backend_line(p.bt, 0, CBD_BACKEND_INFO, CBD_BACKEND_STATE),
			     &line));
	unit_ok(cbd_line_put(p.bt, cbd_blkdev_line(p.bt, 0, CBD_BLKDEV_INFO, CBD_BLKDEV_STATE),
			     &line));
	pair_publish(&p);
	pair_attach(&p);
	ck_assert_uint_eq(backend_incarnation(), 1);
	ck_assert_uint_eq(blkdev_incarnation(), 1);
	pair_close(&p);
}
END_TEST

START_TEST(blkdevs_full)
{
	struct cbd_claim c[3];
	struct cbd_blkdev_options o;
	struct cbd_blkdev *b;

	pair_format(&p, &(struct pair_options){ .heartbeat_ms = HEARTBEAT_MS });
	pair_publish(&p);
	unit_ok(cbd_host_join(p.ct, -1));
	for (unsigned i = 0; i < 3; i++)
		unit_ok(claim(p.ct, CBD_SIDE_BLKDEV, i + 1, &c[i]));
	pair_attach(&p); /* in the last one */
	ck_assert_uint_eq(cbd_blkdev_id(p.blkdev), 0);
	o = pair_blkdev_options(&p);
	unit_fails(cbd_blkdev_open(p.ct, &o, sizeof(o), &b), EBUSY);
	ck_assert_ptr_nonnull(strstr(cbd_errmsg(), "all 4 blkdev slots"));
	for (unsigned i = 0; i < 3; i++)
		cbd_claim_release(&c[i]);
	pair_close(&p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("claim");
	TCase *t;

	t = tcase_create("with transport");
	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_checked_fixture(t, machines_setup, machines_teardown);
	tcase_add_loop_test(t, take_and_release, 0, 2);
	tcase_add_loop_test(t, named_process, 0, 2);
	tcase_add_test(t, all_in_use);
	tcase_add_test(t, next_boot);
	tcase_add_test(t, damaged_line);
	tcase_add_loop_test(t, false_claim, 0, 3);
	tcase_add_test(t, lost_claim);
	tcase_add_test(t, other_device_node);
	suite_add_tcase(s, t);
	t = tcase_create("of its own");
	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_loop_test(t, two_machines, 0, 4);
	tcase_add_loop_test(t, race_of_machines, 0, 2);
	tcase_add_loop_test(t, dead_owner, 0, 8);
	tcase_add_test(t, incarnations_rise);
	tcase_add_test(t, incarnations_wrap);
	tcase_add_test(t, blkdevs_full);
	suite_add_tcase(s, t);
	return unit_main(s);
}
