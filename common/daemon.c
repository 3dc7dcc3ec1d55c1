/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daemon.c - being a daemon: background, pid file, another user.
 *
 * Owns what a process is to the system around it.  It knows nothing of disks
 * and transports.
 */
#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon.h"
#include "log.h"
#include "notify.h"

/* ------------------------------------------------------------ background */

#define PARENT_MS 1000 /* what a parent that was told to end may take */

static int ready_pipe = -1;		     /* of the child, while the parent waits */
static volatile sig_atomic_t starting_child; /* of the parent */

void daemon_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* The daemon has a session of its own, so a signal to the group of the command does not
 * reach it: the parent passes the signal on. */
static void end_child(int signal)
{
	(void)signal;
	kill(starting_child, SIGTERM);
}

static void forward_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction action = { .sa_handler = end_child, .sa_flags = SA_RESTART };

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
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
	if (n == 1) {
		notify_main(child);
		_exit(EXIT_SUCCESS);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		log_error("process %d: ended by signal %d before it was ready", (int)child,
			  WTERMSIG(status));
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

void daemon_fork(void)
{
	pid_t parent = getpid(), child;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		log_error("daemon: %s", strerror(errno));
		exit(EXIT_FAILURE);
	}
	if (child > 0) {
		starting_child = child;
		forward_signals();
		close(fds[1]);
		parent_wait(child, fds[0]);
	}
	close(fds[0]);
	ready_pipe = fds[1];
	notify_unnamed();
	setsid();
	/* until daemon_ready() the end of the parent ends this process: nobody else would */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		exit(EXIT_FAILURE);
}

/* The service manager listens to this process when the parent has told it to, which the
 * parent does before it ends: then nobody has the other end of the pipe. */
static void wait_for_parent(void)
{
	struct pollfd parent = { .fd = ready_pipe };

	if (notify_wanted() && poll(&parent, 1, PARENT_MS) == 0)
		log_debug("daemon: the command that has started it does not end");
	notify_named();
}

void daemon_ready(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, 0);
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
	/* If the parent was killed, this write fails, and nobody waits for it. */
	if (write(ready_pipe, "", 1) < 0)
		log_debug("daemon: nobody waits for it");
	wait_for_parent();
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
	bool made; /* by this process, and nothing is in it yet */
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

/* The process that it names; 0: it is empty, -1: it is not a pid file. */
static pid_t pidfile_content(void)
{
	char text[32] = "", *end;
	unsigned long pid;

	if (pread(pidfile.fd, text, sizeof(text) - 1, 0) < 0)
		return -1;
	if (text[0] == '\0')
		return 0;
	errno = 0;
	pid = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || errno != 0 || pid == 0 || pid > INT_MAX ||
	    (*end != '\0' && strcmp(end, "\n") != 0))
		return -1;
	return (pid_t)pid;
}

/* Seconds since process PID was started; -1: there is none. */
static double process_age(pid_t pid)
{
	char path[32], text[1024], *p;
	unsigned long long start = 0;
	struct timespec now;
	double age;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f == NULL)
		return -1;
	p = fgets(text, sizeof(text), f) != NULL ? strrchr(text, ')') : NULL;
	fclose(f);
	/* the 22nd field; what ends in the parenthesis is the second */
	for (int i = 0; i < 20 && p != NULL; i++)
		p = strchr(p + 1, ' ');
	if (p == NULL || sscanf(p, "%llu", &start) != 1)
		return 0;
	clock_gettime(CLOCK_BOOTTIME, &now);
	age = (double)now.tv_sec + (double)now.tv_nsec / 1e9 -
	      (double)start / (double)sysconf(_SC_CLK_TCK);
	return age > 0 ? age : 0;
}

/* Whether PID, which the file names, is there and was when that was written: else
 * the number is another process's by now. */
static bool is_process_of_file(pid_t pid)
{
	double age = process_age(pid);
	struct timespec now;
	struct stat st;

	clock_gettime(CLOCK_REALTIME, &now);
	return age >= 0 && (fstat(pidfile.fd, &st) < 0 ||
			    age + 2 >= (double)now.tv_sec - (double)st.st_mtim.tv_sec);
}

/* A device, or the file of another program, is not written to and removed by one
 * that runs as root. */
static int pidfile_check(const char *path, pid_t replaced)
{
	struct stat st;
	pid_t pid;

	if (fstat(pidfile.fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		log_error("%s: is no regular file", path);
		return -1;
	}
	pid = pidfile_content();
	if (pid < 0) {
		log_error("%s: is not a pid file", path);
		return -1;
	}
	if (pid == 0 || pid == replaced || pid == getpid() || !is_process_of_file(pid))
		return 0;
	log_error("%s: names process %d, which is alive", path, (int)pid);
	return -1;
}

/* A file that is there already, also at the end of a link, is another one's. */
static int pidfile_create(void)
{
	return open(pidfile.path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
}

int daemon_pidfile_open(const char *path, pid_t replaced)
{
	pidfile.path = absolute(path);
	if (pidfile.path != NULL) {
		pidfile.fd = pidfile_create();
		pidfile.made = pidfile.fd >= 0;
		if (pidfile.fd < 0 && errno == EEXIST)
			pidfile.fd = open(pidfile.path,
					  O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
		if (pidfile.fd < 0 && errno == ELOOP) {
			log_error("%s: is a symbolic link", path);
			return -1;
		}
	}
	if (pidfile.fd < 0) {
		log_error("%s: %s", path, strerror(errno));
		return -1;
	}
	if (pidfile_check(path, replaced) == 0)
		return 0;
	close(pidfile.fd);
	pidfile.fd = -1;
	return -1;
}

/* Whether the file is still there under its name. */
static bool pidfile_named(void)
{
	struct stat mine, named;

	return fstat(pidfile.fd, &mine) == 0 && lstat(pidfile.path, &named) == 0 &&
	       mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
}

void daemon_pidfile_write(void)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (pidfile.fd < 0)
		return;
	if (!pidfile_named()) {
		int fd = pidfile_create();

		if (fd < 0) {
			log_error("%s: was removed or replaced after the start, and process %d "
				  "cannot be written to a new file there: %s",
				  pidfile.path, (int)getpid(), strerror(errno));
			return;
		}
		close(pidfile.fd);
		pidfile.fd = fd;
	}
	/* written over what is there: a program that reads the file meanwhile finds a
	 * number */
	if (pwrite(pidfile.fd, text, (size_t)length, 0) != length ||
	    ftruncate(pidfile.fd, length) < 0)
		log_error("%s: %s", pidfile.path, strerror(errno));
	pidfile.made = false;
}

/* Another user may not remove it from the folder: then an empty file stays. */
void daemon_pidfile_remove(void)
{
	if (pidfile.fd < 0 || !pidfile_named() || !(pidfile.made || pidfile_content() == getpid()))
		return;
	if (unlink(pidfile.path) < 0 && errno != ENOENT && ftruncate(pidfile.fd, 0) < 0)
		log_warning("%s: %s", pidfile.path, strerror(errno));
}
