/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-lock.c - OFD locks: between descriptions and processes, over a fork.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
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

/* Who holds a lock, by what the kernel says. */
/* What another user, who may not look at this process, is told of its lock. */
static int asked_by_nobody(void)
{
	pid_t me = getpid(), child = fork();
	int status;

	if (child == 0)
		_exit(setuid(65534) == 0 && cbd_lock_is_of((uint32_t)me, t2->fd,
							   CBD_LOCK_BLKDEV(0)) == -EACCES
			      ? 0
			      : 1);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

START_TEST(lock_of_a_process)
{
	struct cbd_lock a = CBD_LOCK_NONE, shared = CBD_LOCK_NONE;
	uint32_t me = (uint32_t)getpid();
	int go[2];
	pid_t child;

	ck_assert_int_eq(cbd_lock_is_of(me, t1->fd, CBD_LOCK_BLKDEV(0)), 0);
	unit_ok(cbd_lock_take(&a, t1->fd, CBD_LOCK_BLKDEV(0), false, 0));
	unit_ok(cbd_lock_take(&shared, t1->fd, CBD_LOCK_JOIN, true, 0));
	/* the file counts, not the descriptor */
	ck_assert_int_eq(cbd_lock_is_of(me, t1->fd, CBD_LOCK_BLKDEV(0)), 1);
	ck_assert_int_eq(cbd_lock_is_of(me, t2->fd, CBD_LOCK_BLKDEV(0)), 1);
	ck_assert_int_eq(cbd_lock_is_of(me, t2->fd, CBD_LOCK_BLKDEV(1)), 0);
	ck_assert_int_eq(cbd_lock_is_of(me, t2->fd, CBD_LOCK_JOIN), 0); /* it is shared */
	ck_assert_int_eq(cbd_lock_is_of((uint32_t)getppid(), t1->fd, CBD_LOCK_BLKDEV(0)), 0);
	ck_assert_int_eq(cbd_lock_is_of(me, -1, CBD_LOCK_BLKDEV(0)), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(asked_by_nobody(), 0);
	cbd_lock_release(&a);
	cbd_lock_release(&shared);
	ck_assert_int_eq(cbd_lock_is_of(me, t1->fd, CBD_LOCK_BLKDEV(0)), 0);
	ck_assert_int_eq(pipe(go), 0);
	child = fork();
	if (child == 0) {
		if (cbd_lock_take(&a, t1->fd, CBD_LOCK_BLKDEV(0), false, 0) < 0 ||
		    write(go[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	ck_assert_int_eq(read(go[0], &(char){ 0 }, 1), 1);
	ck_assert_int_eq(cbd_lock_is_of((uint32_t)child, t2->fd, CBD_LOCK_BLKDEV(0)), 1);
	ck_assert_int_eq(cbd_lock_is_of(me, t2->fd, CBD_LOCK_BLKDEV(0)), 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	ck_assert_int_eq(cbd_lock_is_of((uint32_t)child, t2->fd, CBD_LOCK_BLKDEV(0)), 0);
	close(go[0]);
	close(go[1]);
}
END_TEST

/* The first file of a new file system of this kind, which numbers its inodes for itself. */
static int first_file(const char *dir)
{
	char path[UNIT_PATH + 8];

	if (mount("none", dir, "tmpfs", 0, "size=64k") < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/file", dir);
	return open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

enum { TOLD_APART, MIXED_UP, NO_MOUNTS };

static int two_file_systems(char dir[2][UNIT_PATH])
{
	struct cbd_lock a = CBD_LOCK_NONE;
	struct stat st[2];
	int one, two;

	if (unshare(CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0)) < 0 ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    (one = first_file(dir[0])) < 0 || (two = first_file(dir[1])) < 0)
		return NO_MOUNTS;
	if (fstat(one, &st[0]) < 0 || fstat(two, &st[1]) < 0 || st[0].st_ino != st[1].st_ino)
		return NO_MOUNTS;
	if (cbd_lock_take(&a, one, CBD_LOCK_BLKDEV(0), false, 0) < 0)
		return MIXED_UP;
	return cbd_lock_is_of((uint32_t)getpid(), one, CBD_LOCK_BLKDEV(0)) == 1 &&
			       cbd_lock_is_of((uint32_t)getpid(), two, CBD_LOCK_BLKDEV(0)) == 0
		       ? TOLD_APART
		       : MIXED_UP;
}

/* Two files of the same inode number, on two file systems. */
START_TEST(same_inode_elsewhere)
{
	char dir[2][UNIT_PATH];
	pid_t child;
	int status;

	for (unsigned i = 0; i < 2; i++) {
		unit_path(dir[i]);
		ck_assert_int_eq(mkdir(dir[i], 0700), 0);
	}
	child = fork();
	if (child == 0)
		_exit(two_file_systems(dir));
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(rmdir(dir[i]), 0); /* the mounts were the child's alone */
	ck_assert(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_MOUNTS)
		fprintf(stderr, "test-lock: same_inode_elsewhere: skipped: no mounts here\n");
	else
		ck_assert_int_eq(WEXITSTATUS(status), TOLD_APART);
}
END_TEST

/* The number that an owner wrote is believed when that process has the slot's lock. */
START_TEST(pid_of_an_owner)
{
	struct cbd_state_line s;
	struct pair_options o = stepping(0);
	struct pair p;
	void *place;

	pair_format(&p, &o);
	ck_assert_int_eq(cbd_owner_pid(p.bt, CBD_OBJECT_BACKEND, 0), 0);
	pair_publish(&p);
	pair_attach(&p);
	ck_assert_int_eq(cbd_owner_pid(p.ct, CBD_OBJECT_BACKEND, 0), getpid());
	ck_assert_int_eq(cbd_owner_pid(p.ct, CBD_OBJECT_BLKDEV, p.blkdev->slot), getpid());
	unit_fails(cbd_owner_pid(p.ct, CBD_OBJECT_BLKDEV, 100000), EINVAL);
	unit_fails(cbd_owner_pid(p.ct, CBD_OBJECT_HOST, 0), EINVAL);
	place = cbd_side_state_at(p.ct, CBD_SIDE_BACKEND, 0);
	unit_ok(cbd_line_get(p.ct, place, &s));
	s.pid = (uint32_t)getppid();
	unit_ok(cbd_line_put(p.ct, place, &s));
	ck_assert_int_eq(cbd_owner_pid(p.ct, CBD_OBJECT_BACKEND, 0), 0);
	pair_close(&p);
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
	tcase_add_test(t, lock_of_a_process);
	suite_add_tcase(s, t);
	t = tcase_create("who holds it");
	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, same_inode_elsewhere);
	tcase_add_test(t, pid_of_an_owner);
	suite_add_tcase(s, t);
	return unit_main(s);
}
