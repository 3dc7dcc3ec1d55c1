/* SPDX-License-Identifier: BSD-3-Clause */
/* server.c - see server.h. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

#define ARGS 32
#define HOST_VARIABLE 64

struct server backend = { .name = "backend", .host = 'a' };
struct server nbdkit = { .name = "nbdkit", .host = 'b' };
struct server newcomer = { .name = "newcomer" };
static struct server old = { .name = "backend" };

static char socket_name[200], pid_name[200];
static volatile sig_atomic_t child_ended;

const char *socket_path(void)
{
	return socket_name;
}

static void on_child(int signal)
{
	(void)signal;
	child_ended = 1;
}

void servers_init(void)
{
	struct sigaction action = { .sa_handler = on_child };

	sigaction(SIGCHLD, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	snprintf(socket_name, sizeof(socket_name), "%s/nbd.sock", options.tmp);
	snprintf(pid_name, sizeof(pid_name), "%s/nbdkit.pid", options.tmp);
}

/* ------------------------------------------------------------------ start */

static void log_path(const struct server *s, char *path, size_t size)
{
	snprintf(path, size, "%s/%s.log", options.tmp, s->name);
}

/* In the child. */
static void become(const char *const *argv, int out, int err) __attribute__((noreturn));

static void become(const char *const *argv, int out, int err)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		die("%s: %m", path);
	return fd;
}

/* With the identity of its host, by the hooks of --enable-debug. */
static void on_host(const struct server *s, char uuid[HOST_VARIABLE], char boot[HOST_VARIABLE],
		    const char *const *argv, const char **out)
{
	unsigned n = 0;

	snprintf(uuid, HOST_VARIABLE, "CBD_TEST_HOST_UUID=%c%031x", s->host, 0);
	snprintf(boot, HOST_VARIABLE, "CBD_TEST_BOOT_ID=%c%031x", s->host, s->boot + 1);
	if (options.hosts) {
		out[n++] = "env";
		out[n++] = uuid;
		out[n++] = boot;
	}
	while (*argv)
		out[n++] = *argv++;
	out[n] = NULL;
}

static void start(struct server *s, const char *const *command)
{
	char path[200], uuid[HOST_VARIABLE], boot[HOST_VARIABLE];
	const char *argv[ARGS + 3];
	int err;

	on_host(s, uuid, boot, command, argv);
	log_path(s, path, sizeof(path));
	err = open_or_die(path, O_WRONLY | O_CREAT | O_APPEND);
	s->log_start = lseek(err, 0, SEEK_END);
	s->expect = END_NEVER;
	s->pid = fork();
	if (s->pid < 0)
		die("fork: %m");
	if (s->pid == 0)
		become(argv, err, err);
	close(err);
}

static void start_backend(struct server *s, bool takeover, const char *const *more,
			  const char *disk)
{
	char handlers[16];
	const char *argv[ARGS] = { "cbd-backend", "-f",	    "-t",	options.transport,
				   "--id",	  "0",	    "--engine", options.engine,
				   "--handlers",  handlers, NULL };
	unsigned n = 10;

	snprintf(handlers, sizeof(handlers), "%u", options.handlers);
	if (options.hosts) /* a host that dies loses nothing that was acknowledged */
		argv[n++] = "--write-through";
	if (takeover)
		argv[n++] = "--takeover";
	while (more && *more)
		argv[n++] = *more++;
	argv[n] = disk;
	start(s, argv);
}

void backend_start(void)
{
	start_backend(&backend, false, NULL, options.disk);
}

void backend_fail_over(void)
{
	static const char *const fenced[] = { "--fenced", NULL };

	backend.host = backend.host == 'a' ? 'c' : 'a';
	start_backend(&backend, true, fenced, options.disk);
}

static void hand_over_to(struct server *s)
{
	old = backend;
	old.expect = END_WELL;
	backend.pid = 0;
	s->host = old.host;
	s->boot = old.boot;
	start_backend(s, true, NULL, options.disk);
}

void backend_take_over(void)
{
	hand_over_to(&backend);
}

void newcomer_take_over(void)
{
	hand_over_to(&newcomer);
}

void newcomer_start_refused(const char *const *more, const char *disk, bool takeover)
{
	newcomer.host = backend.host;
	newcomer.boot = backend.boot;
	start_backend(&newcomer, takeover, more, disk ? disk : options.disk);
	newcomer.expect = END_REFUSED;
}

bool backend_stays(void)
{
	if (old.pid == 0)
		return false;
	backend = old;
	backend.expect = END_NEVER;
	old.pid = 0;
	return true;
}

void nbdkit_start(void)
{
	char queues[16];
	const char *argv[] = { "nbdkit",    "-f",     "-U",  socket_name,
			       "-P",	    pid_name, "cbd", options.transport,
			       "backend=0", queues,   NULL };

	snprintf(queues, sizeof(queues), "queues=%u", options.queues);
	unlink(socket_name);
	unlink(pid_name);
	start(&nbdkit, argv);
}

/* Does the log of this process hold TEXT? */
static bool log_says(const struct server *s, const char *text)
{
	char path[200], buf[4096];
	ssize_t n;
	int fd;

	log_path(s, path, sizeof(path));
	fd = open_or_die(path, O_RDONLY);
	n = pread(fd, buf, sizeof(buf) - 1, s->log_start);
	close(fd);
	if (n <= 0)
		return false;
	buf[n] = 0;
	return strstr(buf, text) != NULL;
}

bool backend_ready(void)
{
	return log_says(&backend, ": ready, ");
}

bool nbdkit_ready(void)
{
	char c;
	int fd = open(pid_name, O_RDONLY | O_CLOEXEC);
	bool ready = fd >= 0 && read(fd, &c, 1) == 1;

	if (fd >= 0)
		close(fd);
	return ready;
}

bool newcomer_says(const char *text)
{
	return log_says(&newcomer, text);
}

bool backend_gone(void)
{
	return backend.pid == 0;
}

bool newcomer_gone(void)
{
	return newcomer.pid == 0;
}

bool backend_handed_over(void)
{
	return old.pid == 0;
}

/* -------------------------------------------------------------------- end */

static bool is_expected(const struct server *s, int status)
{
	switch (s->expect) {
	case END_WELL:
		return WIFEXITED(status) && WEXITSTATUS(status) == 0;
	case END_REFUSED:
		return WIFEXITED(status) && WEXITSTATUS(status) == 1;
	case END_KILLED:
		return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	default:
		return false;
	}
}

static void ended(struct server *s, int status)
{
	s->pid = 0;
	if (is_expected(s, status))
		return;
	if (WIFSIGNALED(status))
		die("%s has died of signal %d", s->name, WTERMSIG(status));
	die("%s has ended with status %d", s->name, WEXITSTATUS(status));
}

static void watch_one(struct server *s)
{
	int status;

	if (s->pid > 0 && waitpid(s->pid, &status, WNOHANG) == s->pid)
		ended(s, status);
}

void servers_watch(void)
{
	if (!child_ended)
		return;
	child_ended = 0;
	watch_one(&backend);
	watch_one(&old);
	watch_one(&newcomer);
	watch_one(&nbdkit);
}

void server_signal(struct server *s, int signal)
{
	if (s->pid <= 0 || kill(s->pid, signal) < 0)
		die("%s: kill: %m", s->name);
}

void server_kill(struct server *s)
{
	int status;

	watch("the end of a killed process", 20);
	server_signal(s, SIGKILL);
	while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR)
		;
	watch(NULL, 0);
	s->pid = 0;
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		die("%s had ended before it was killed", s->name);
}

void server_stop(struct server *s)
{
	int status;

	watch(s == &nbdkit ? "nbdkit's end" : "the backend's end", 30);
	s->expect = END_WELL;
	server_signal(s, SIGTERM);
	while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR)
		;
	watch(NULL, 0);
	ended(s, status);
}

void servers_end(void)
{
	struct server *all[] = { &nbdkit, &backend, &old, &newcomer };

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i]->pid > 0)
			kill(all[i]->pid, SIGKILL);
}

/* --------------------------------------------------------------- programs */

static size_t read_all(int fd, char *output, size_t size)
{
	char drop[4096];
	size_t length = 0;
	ssize_t n;

	do {
		bool keep = output && length + 1 < size;

		n = keep ? read(fd, output + length, size - 1 - length)
			 : read(fd, drop, sizeof(drop));
		if (keep && n > 0)
			length += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (output)
		output[length] = 0;
	return length;
}

int run_program(const char *const *argv, char *output, size_t size)
{
	int ends[2], status;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		die("pipe: %m");
	pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (pid == 0)
		become(argv, ends[1], ends[1]);
	close(ends[1]);
	read_all(ends[0], output, size);
	close(ends[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ------------------------------------------------------------------- show */

static void show_program(const char *const *argv)
{
	static char output[1 << 17];
	int status = run_program(argv, output, sizeof(output));

	fprintf(stderr, "--- %s %s: status %d\n%s", argv[0], argv[1], status, output);
}

static void show_stacks(const struct server *s)
{
	char pid[16];
	const char *const argv[] = { "gdb", "-p", pid, "-batch", "-ex", "thread apply all bt 12",
				     NULL };

	if (s->pid <= 0)
		return;
	snprintf(pid, sizeof(pid), "%d", (int)s->pid);
	fprintf(stderr, "--- stacks of %s\n", s->name);
	show_program(argv);
}

void servers_show(void)
{
	const char *const list[] = { "timeout", "20", "cbdctl", "list", options.transport, NULL };

	show_program(list);
	if (access("/usr/bin/gdb", X_OK) == 0) {
		show_stacks(&backend);
		show_stacks(&nbdkit);
	}
}
