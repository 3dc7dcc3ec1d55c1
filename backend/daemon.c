/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon.c - being a daemon: background, pid file, another user.
 *
 * Owns what a process is to the system around it.  It knows nothing of disks
 * and transports.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"
#include "log.h"

/* ------------------------------------------------------------ background */

static int ready_pipe = -1; /* of the child, while the parent waits */

void daemon_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static void parent_wait(pid_t child, int fd) __attribute__((noreturn));

static void parent_wait(pid_t child, int fd)
{
	int status;
	char byte;
	ssize_t n;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(EXIT_SUCCESS);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		log_error("process %d: ended by signal %d before it was ready", (int)child,
			  WTERMSIG(status));
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

void daemon_fork(void)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		log_error("daemon: %s", strerror(errno));
		exit(EXIT_FAILURE);
	}
	if (child > 0) {
		close(fds[1]);
		parent_wait(child, fds[0]);
	}
	close(fds[0]);
	ready_pipe = fds[1];
	setsid();
}

void daemon_ready(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_to_syslog();
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	if (chdir("/") < 0)
		log_warning("/: %s", strerror(errno));
	/* If the parent was killed, there is nobody left to tell. */
	if (write(ready_pipe, "", 1) < 0)
		log_debug("daemon: nobody waits for it");
	close(ready_pipe);
	ready_pipe = -1;
}

/* ------------------------------------------------------------------ user */

int daemon_find_user(const char *name, struct daemon_user *user)
{
	const struct passwd *pw;

	errno = 0;
	pw = getpwnam(name);
	if (pw == NULL) {
		log_error("user %s: %s", name,
			  errno != 0 ? strerror(errno) : "there is no such user");
		return -1;
	}
	if (geteuid() != 0 && geteuid() != pw->pw_uid) {
		log_error("user %s: only root can become another user", name);
		return -1;
	}
	user->uid = pw->pw_uid;
	user->gid = pw->pw_gid;
	return 0;
}

int daemon_become(const struct daemon_user *user)
{
	if (geteuid() != 0)
		return 0;
	if (setgroups(1, &user->gid) == 0 && setgid(user->gid) == 0 && setuid(user->uid) == 0)
		return 0;
	log_error("user %u: %s", (unsigned)user->uid, strerror(errno));
	return -1;
}

/* -------------------------------------------------------------- pid file */

static struct {
	char *path; /* absolute: a daemon changes its directory */
	int fd;
	bool mine; /* made or written by this process */
} pidfile = { .fd = -1 };

static char *absolute(const char *path)
{
	char *directory, *result = NULL;

	if (path[0] == '/')
		return strdup(path);
	directory = getcwd(NULL, 0);
	if (directory != NULL && asprintf(&result, "%s/%s", directory, path) < 0)
		result = NULL;
	free(directory);
	return result;
}

/* Not truncated yet: it may be that of a process that runs, and this one may
 * find that out. */
/* A device is not truncated, written to and removed by a program that runs as root. */
static bool pidfile_regular(const char *path)
{
	struct stat st;

	if (fstat(pidfile.fd, &st) == 0 && S_ISREG(st.st_mode))
		return true;
	log_error("%s: is no regular file", path);
	close(pidfile.fd);
	pidfile.fd = -1;
	return false;
}

int daemon_pidfile_open(const char *path)
{
	pidfile.path = absolute(path);
	if (pidfile.path != NULL) {
		pidfile.fd = open(pidfile.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		pidfile.mine = pidfile.fd >= 0;
		if (pidfile.fd < 0 && errno == EEXIST)
			pidfile.fd = open(pidfile.path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	}
	if (pidfile.fd >= 0)
		return pidfile_regular(path) ? 0 : -1;
	log_error("%s: %s", path, strerror(errno));
	return -1;
}

/* Whether the file is still there under its name. */
static bool pidfile_named(void)
{
	struct stat mine, named;

	return fstat(pidfile.fd, &mine) == 0 && stat(pidfile.path, &named) == 0 &&
	       mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
}

int daemon_pidfile_write(void)
{
	if (pidfile.fd < 0)
		return 0;
	/* the process that has handed over had the same, and removed it */
	if (!pidfile_named()) {
		close(pidfile.fd);
		pidfile.fd = open(pidfile.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	}
	pidfile.mine = true;
	if (pidfile.fd >= 0 && ftruncate(pidfile.fd, 0) == 0 &&
	    dprintf(pidfile.fd, "%d\n", (int)getpid()) > 0)
		return 0;
	log_error("%s: %s", pidfile.path, strerror(errno));
	return -1;
}

/* As another user it may not be possible: then it is left empty. */
void daemon_pidfile_remove(void)
{
	if (!pidfile.mine)
		return;
	pidfile.mine = false;
	if (unlink(pidfile.path) < 0 && errno != ENOENT && ftruncate(pidfile.fd, 0) < 0)
		log_warning("%s: %s", pidfile.path, strerror(errno));
}
