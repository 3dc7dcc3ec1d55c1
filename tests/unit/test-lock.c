/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-lock.c - OFD locks: between descriptions and processes, over a fork.
 */
#include <config.h>

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machines.h"

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

int main(void)
{
	Suite *s = suite_create("lock");
	TCase *t;

	t = tcase_create("with transport");
	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_checked_fixture(t, machines_setup, machines_teardown);
	tcase_add_test(t, locks);
	tcase_add_test(t, locks_and_fork);
	tcase_add_test(t, renewed_lock);
	suite_add_tcase(s, t);
	return unit_main(s);
}
