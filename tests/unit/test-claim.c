/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-claim.c - who owns what: OFD locks, host slots, claims of backend and
 * blkdev slots, incarnations, and what a dead process leaves.
 *
 * Another machine is a transport with another identity whose locks go to a
 * file of their own: local locks do not reach it, as between real hosts.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#define HEARTBEAT_MS 20
#define DEAD_AFTER 3

static char path[UNIT_PATH], elsewhere[UNIT_PATH];
static struct cbd_transport *t1, *t2;

static struct cbd_transport *open_one(void)
{
	struct cbd_transport *t;

	unit_ok(cbd_transport_open(path, 0, &t));
	return t;
}

static void open_kind(enum cbd_coherence kind)
{
	struct cbd_format_options o = { .size = 6u << 20,
					.hosts = 4,
					.backends = 2,
					.blkdevs = 3,
					.channels = 2,
					.heartbeat_ms = HEARTBEAT_MS,
					.dead_after = DEAD_AFTER,
					.coherence = kind };

	unit_path(path);
	unit_path(elsewhere);
	unit_ok(cbd_format(path, &o, sizeof(o)));
	t1 = open_one();
	t2 = open_one();
}

static void setup(void)
{
	open_kind(CBD_COHERENCE_HARDWARE);
}

static void teardown(void)
{
	cbd_transport_close(t1);
	cbd_transport_close(t2);
	t1 = t2 = NULL;
	unlink(path);
	unlink(elsewhere);
}

/* Make T another machine's. */
static void move_away(struct cbd_transport *t, unsigned char who)
{
	int fd = open(elsewhere, O_CREAT | O_RDWR, 0600);

	ck_assert_int_ge(fd, 0);
	cbd_lock_release(&t->in_use);
	close(t->fd);
	t->fd = fd;
	t->ino++;
	memset(t->identity.uuid, who, 16);
	memset(t->identity.boot_id, who + 1, 16);
}

static int claim(struct cbd_transport *t, enum cbd_side kind, unsigned slot, struct cbd_claim *c)
{
	return cbd_claim_take(t, kind, slot, c);
}

/* ------------------------------------------------------------------ locks */

START_TEST(locks)
{
	struct cbd_lock a = CBD_LOCK_NONE, b = CBD_LOCK_NONE, c = CBD_LOCK_NONE;

	unit_ok(cbd_lock_take(&a, t1->fd, CBD_LOCK_BLKDEV(0), false, 0));
	/* through another open file, through the same one, and after a fork */
	unit_fails(cbd_lock_take(&b, t2->fd, CBD_LOCK_BLKDEV(0), false, 0), EBUSY);
	unit_fails(cbd_lock_take(&b, t1->fd, CBD_LOCK_BLKDEV(0), false, 0), EBUSY);
	ck_assert_int_eq(b.fd, -1);
	ck_assert(cbd_lock_held(t1->fd, CBD_LOCK_BLKDEV(0)));
	ck_assert(cbd_lock_held(t2->fd, CBD_LOCK_BLKDEV(0)));
	ck_assert(!cbd_lock_held(t2->fd, CBD_LOCK_BLKDEV(1)));
	unit_ok(cbd_lock_take(&b, t1->fd, CBD_LOCK_BLKDEV(1), false, 0));
	cbd_lock_release(&b);
	cbd_lock_release(&a);
	cbd_lock_release(&a); /* nothing */
	ck_assert(!cbd_lock_held(t2->fd, CBD_LOCK_BLKDEV(0)));
	unit_ok(cbd_lock_take(&a, t1->fd, CBD_LOCK_JOIN, true, 0));
	unit_ok(cbd_lock_take(&b, t2->fd, CBD_LOCK_JOIN, true, 0));
	unit_fails(cbd_lock_take(&c, t2->fd, CBD_LOCK_JOIN, false, 5), EBUSY);
	cbd_lock_release(&a);
	cbd_lock_release(&b);
}
END_TEST

/* A forked child's copy of the descriptor keeps nothing, once renewed or
 * released. */
START_TEST(locks_and_fork)
{
	struct cbd_lock a = CBD_LOCK_NONE, b = CBD_LOCK_NONE;
	pid_t child;

	unit_ok(cbd_lock_take(&a, t1->fd, CBD_LOCK_BLKDEV(0), false, 0));
	child = fork();
	if (child == 0) {
		pause();
		_exit(0);
	}
	cbd_lock_release(&a);
	unit_ok(cbd_lock_take(&b, t2->fd, CBD_LOCK_BLKDEV(0), false, 0));
	cbd_lock_release(&b);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}
END_TEST

START_TEST(renewed_lock)
{
	struct cbd_lock a = CBD_LOCK_NONE;
	int old;

	unit_ok(cbd_lock_take(&a, t1->fd, CBD_LOCK_BLKDEV(0), false, 0));
	old = dup(a.fd); /* as a parent process keeps it */
	unit_ok(cbd_lock_renew(&a));
	ck_assert(cbd_lock_held(t2->fd, CBD_LOCK_BLKDEV(0)));
	cbd_lock_release(&a);
	ck_assert(!cbd_lock_held(t2->fd, CBD_LOCK_BLKDEV(0)));
	close(old);
}
END_TEST

/* ------------------------------------------------------------------ hosts */

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

	open_kind(_i ? CBD_COHERENCE_SOFTWARE : CBD_COHERENCE_HARDWARE);
	move_away(t2, 0x30);
	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
	ck_assert_int_ne(t1->host, t2->host);
	unit_ok(cbd_host_get(t1, (unsigned)t2->host, &info, sizeof(info)));
	ck_assert_mem_eq(info.uuid, t2->identity.uuid, 16);
	ck_assert_mem_eq(info.boot_id, t2->identity.boot_id, 16);
	unit_ok(cbd_host_get(t2, (unsigned)t1->host, &info, sizeof(info)));
	ck_assert_mem_eq(info.uuid, t1->identity.uuid, 16);
	teardown();
}
END_TEST

START_TEST(configured_host)
{
	move_away(t2, 0x30);
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
	move_away(t2, 0);
	for (unsigned char who = 1; who < 5; who++) {
		cbd_host_leave(t2);
		memset(t2->identity.uuid, who, 16);
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
	move_away(t2, 0x30);
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
	move_away(t2, 0x30);
	memcpy(t2->identity.uuid, t1->identity.uuid, 16);
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

/* ----------------------------------------------------------------- claims */

static const enum cbd_side claim_kinds[] = { CBD_SIDE_BACKEND, CBD_SIDE_BLKDEV };

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

/* Without any lock between them: the lines alone keep them apart. */
START_TEST(two_machines)
{
	enum cbd_side kind = claim_kinds[_i % 2];
	struct cbd_claim a = CBD_CLAIM_INIT, b = CBD_CLAIM_INIT;
	struct cbd_claim_line line;

	open_kind(_i / 2 ? CBD_COHERENCE_SOFTWARE : CBD_COHERENCE_HARDWARE);
	move_away(t2, 0x30);
	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
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
	teardown();
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

	open_kind(_i ? CBD_COHERENCE_SOFTWARE : CBD_COHERENCE_HARDWARE);
	move_away(t2, 0x30);
	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
	ck_assert_int_eq(pthread_create(&a, NULL, race, t1), 0);
	ck_assert_int_eq(pthread_create(&b, NULL, race, t2), 0);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	ck_assert_uint_eq(most_owners, 1);
	ck_assert_uint_eq(taken, 2 * RACE_TURNS);
	teardown();
}
END_TEST

START_TEST(next_boot)
{
	struct cbd_claim a = CBD_CLAIM_INIT, b = CBD_CLAIM_INIT;
	struct cbd_claim_line line;

	move_away(t2, 0x30);
	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
	unit_ok(claim(t2, CBD_SIDE_BACKEND, 0, &b));
	unit_fails(claim(t1, CBD_SIDE_BACKEND, 0, &a), EBUSY);
	/* the machine is rebooted: what its last boot claimed is void */
	cbd_lock_release(&b.lock);
	cbd_host_leave(t2);
	memset(t2->identity.boot_id, 0x77, 16);
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

	move_away(t2, 0x30);
	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
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
START_TEST(lost_claim)
{
	struct cbd_claim a = CBD_CLAIM_INIT, b = CBD_CLAIM_INIT;
	struct cbd_claim_line line;

	move_away(t2, 0x30);
	unit_ok(cbd_host_join(t1, -1));
	unit_ok(cbd_host_join(t2, -1));
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
		byte = cbd_transport_open(path, 0, &t) == 0 && cbd_host_join(t, -1) == 0 &&
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

	open_kind(_i / 4 ? CBD_COHERENCE_SOFTWARE : CBD_COHERENCE_HARDWARE);
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
	teardown();
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

/* ------------------------------------------------------------------ beats */

START_TEST(watch_counts_samples)
{
	struct cbd_watch w = { .counter = 0 };
	const uint64_t ms = 1000000;
	uint64_t now = 1000 * ms;

	/* interval 10 ms, 3 unchanged samples */
	ck_assert_int_eq(cbd_watch_sample(&w, 5, now, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 6, now += 10 * ms, 10 * ms, 3), CBD_ALIVE);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(cbd_watch_sample(&w, 6, now += 10 * ms, 10 * ms, 3), CBD_ALIVE);
	ck_assert_int_eq(cbd_watch_sample(&w, 6, now += 10 * ms, 10 * ms, 3), CBD_SUSPECT);
	/* more looks do not make more samples */
	ck_assert_int_eq(cbd_watch_sample(&w, 7, now += 10 * ms, 10 * ms, 3), CBD_ALIVE);
	for (int i = 0; i < 25; i++)
		ck_assert_int_eq(cbd_watch_sample(&w, 7, now += ms, 10 * ms, 3), CBD_ALIVE);
	/* a gap of my own starts the count again */
	ck_assert_int_eq(cbd_watch_sample(&w, 7, now += 1000 * ms, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 7, now += 10 * ms, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 7, now += 10 * ms, 10 * ms, 3), CBD_UNDECIDED);
	ck_assert_int_eq(cbd_watch_sample(&w, 7, now += 10 * ms, 10 * ms, 3), CBD_SUSPECT);
	/* any change is life, also to a lower number */
	ck_assert_int_eq(cbd_watch_sample(&w, 1, now += 10 * ms, 10 * ms, 3), CBD_ALIVE);
}
END_TEST

START_TEST(watch_transport)
{
	struct cbd_backend_info backend;
	struct cbd_blkdev_info blkdev;
	struct cbd_host_info host;

	pair_open(&p, &(struct pair_options){ .heartbeat_ms = HEARTBEAT_MS });
	unit_ok(cbd_backend_get(p.ct, 0, &backend, sizeof(backend)));
	ck_assert_int_eq(backend.liveness, CBD_UNDECIDED);
	unit_ok(cbd_transport_watch(p.ct));
	unit_ok(cbd_backend_get(p.ct, 0, &backend, sizeof(backend)));
	unit_ok(cbd_blkdev_get(p.ct, 0, &blkdev, sizeof(blkdev)));
	unit_ok(cbd_host_get(p.ct, 0, &host, sizeof(host)));
	ck_assert_int_eq(backend.liveness, CBD_ALIVE);
	ck_assert_int_eq(blkdev.liveness, CBD_ALIVE);
	ck_assert_int_eq(host.liveness, CBD_ALIVE);
	ck_assert_str_eq(backend.name, "disk");
	ck_assert_uint_eq(backend.size, p.disk.size);
	ck_assert_uint_eq(blkdev.queues, 1);
	/* silent is suspect, not dead: its lock is held */
	server_stop(&p);
	unit_ok(cbd_transport_watch(p.ct));
	unit_ok(cbd_backend_get(p.ct, 0, &backend, sizeof(backend)));
	ck_assert_int_eq(backend.liveness, CBD_SUSPECT);
	server_start(&p);
	unit_ok(cbd_transport_watch(p.ct));
	unit_ok(cbd_backend_get(p.ct, 0, &backend, sizeof(backend)));
	ck_assert_int_eq(backend.liveness, CBD_ALIVE);
	pair_close(&p);
}
END_TEST

/* -------------------------------------------------------------------- uuid */

START_TEST(uuids)
{
	uint8_t uuid[16];
	char text[CBD_UUID_TEXT];

	ck_assert(cbd_uuid_parse("00112233445566778899aabbccddeeff\n", uuid));
	ck_assert_str_eq(cbd_uuid_text(uuid, text), "00112233-4455-6677-8899-aabbccddeeff");
	ck_assert(cbd_uuid_parse("00112233-4455-6677-8899-AABBCCDDEEFF", uuid));
	ck_assert_uint_eq(uuid[15], 0xff);
	ck_assert(!cbd_uuid_parse("", uuid));
	ck_assert(!cbd_uuid_parse("00112233445566778899aabbccddeef", uuid));
	ck_assert(!cbd_uuid_parse("00112233445566778899aabbccddeeff0", uuid));
	ck_assert(!cbd_uuid_parse("0011223344556677 899aabbccddeeff", uuid));
	ck_assert(!cbd_uuid_parse("uninitialized", uuid));
	ck_assert(!cbd_uuid_parse("00000000000000000000000000000000", uuid));
}
END_TEST

static TCase *new_case(const char *name, bool fixture)
{
	TCase *t = tcase_create(name);

	tcase_set_timeout(t, UNIT_TIMEOUT);
	if (fixture)
		tcase_add_checked_fixture(t, setup, teardown);
	return t;
}

int main(void)
{
	Suite *s = suite_create("claim");
	TCase *t = new_case("with transport", true);

	tcase_add_test(t, locks);
	tcase_add_test(t, locks_and_fork);
	tcase_add_test(t, renewed_lock);
	tcase_add_test(t, same_host);
	tcase_add_test(t, configured_host);
	tcase_add_test(t, hosts_full);
	tcase_add_test(t, half_taken_host);
	tcase_add_test(t, cloned_machine);
	tcase_add_loop_test(t, take_and_release, 0, 2);
	tcase_add_test(t, next_boot);
	tcase_add_test(t, damaged_line);
	tcase_add_test(t, lost_claim);
	tcase_add_test(t, other_device_node);
	suite_add_tcase(s, t);
	t = new_case("of both modes", false);
	tcase_add_loop_test(t, hosts_of_two_machines, 0, 2);
	tcase_add_loop_test(t, two_machines, 0, 4);
	tcase_add_loop_test(t, race_of_machines, 0, 2);
	tcase_add_loop_test(t, dead_owner, 0, 8);
	suite_add_tcase(s, t);
	t = new_case("pair", false);
	tcase_add_test(t, incarnations_rise);
	tcase_add_test(t, incarnations_wrap);
	tcase_add_test(t, blkdevs_full);
	tcase_add_test(t, watch_counts_samples);
	tcase_add_test(t, watch_transport);
	tcase_add_test(t, uuids);
	suite_add_tcase(s, t);
	return unit_main(s);
}
