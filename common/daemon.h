/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon.h - being a daemon: background, pid file, another user.
 */
#ifndef CBD_DAEMON_H
#define CBD_DAEMON_H

#include <sys/types.h>

/* Open what is closed of stdin, stdout and stderr: a disk that got one of their
 * numbers would be written messages to.  First of all. */
void daemon_standard_files(void);

/*
 * Go on in a child; neither threads nor handles of libcbd would survive a
 * fork, so this comes first.  The parent waits: it exits with 0 when the child
 * calls daemon_ready(), and with the child's status when it exits before.  A signal
 * that would end the parent meanwhile, and its death, is SIGTERM for the child.
 */
void daemon_fork(void);

/* Let the parent go, and with it the terminal; logs go to syslog. */
void daemon_ready(void);

/* A user to become later.  Returns -1 after a message. */
struct daemon_user {
	uid_t uid;
	gid_t gid;
};
int daemon_find_user(const char *name, struct daemon_user *user);
int daemon_become(const struct daemon_user *user);

/*
 * Make sure that the pid file can be written: a new or empty one, or one that names
 * no process that is alive but REPLACED (0: none).  Returns -1 after a message.
 */
int daemon_pidfile_open(const char *path, pid_t replaced);

/* Write this process into it; a failure is logged.  Again after a hand-over that
 * was taken back. */
void daemon_pidfile_write(void);

/* Remove it if it names this process, or nobody and was made by it. */
void daemon_pidfile_remove(void);

#endif
