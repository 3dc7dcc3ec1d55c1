/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fence.c - run the operator's command that cuts a host off.
 *
 * Owns the process and its environment.  Whom to fence, and whether the word is
 * believed, is decided by libcbd (rule 7.5 of docs/protocol.md).
 */
#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fence.h"
#include "../common/log.h"

#define POLL_MS 10

static void set_environment(const struct cbd_host_info *host)
{
	char number[16], uuid[2 * sizeof(host->uuid) + 5], *p = uuid;

	for (unsigned i = 0; i < sizeof(host->uuid); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		p += sprintf(p, "%02x", host->uuid[i]);
	}
	snprintf(number, sizeof(number), "%u", host->id);
	setenv("CBD_HOST_ID", number, 1);
	setenv("CBD_HOST_NAME", host->name, 1);
	setenv("CBD_HOST_UUID", uuid, 1);
}

/* In the child: the command begins with the default actions of all signals, not with those
 * of the daemon. */
static void become(const char *command, const struct cbd_host_info *host) __attribute__((noreturn));

static void become(const char *command, const struct cbd_host_info *host)
{
	sigset_t none;

	signal(SIGPIPE, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	set_environment(host);
	unsetenv("NOTIFY_SOCKET"); /* a command that has something to tell is not the daemon */
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

/* The command's wait status; -1: this process was told to end and did not wait for it. */
static int wait_for(pid_t child, bool (*given_up)(void))
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000l };
	int status;
	pid_t pid;

	while ((pid = waitpid(child, &status, WNOHANG)) == 0 || (pid < 0 && errno == EINTR)) {
		if (given_up())
			return -1;
		nanosleep(&pause, NULL);
	}
	return pid == child ? status : -1;
}

/* What the exit status says of the command. */
static const char *meaning(int status)
{
	switch (status) {
	case 126:
		return "could not be run: it may not be executed, or is no program";
	case 127:
		return "failed: the shell found no such command, or it ended so";
	default:
		return "has failed";
	}
}

int fence_run(const char *command, const struct cbd_host_info *host, bool (*given_up)(void))
{
	pid_t child;
	int status;

	log_info("host %u (%s): is fenced by: %s", host->id, host->name, command);
	child = fork();
	if (child < 0) {
		log_error("--fence: %s", strerror(errno));
		return -1;
	}
	if (child == 0)
		become(command, host);
	status = wait_for(child, given_up);
	if (status == 0)
		return 0;
	if (status > 0 && WIFSIGNALED(status))
		log_error("--fence: '%s' was ended by a signal (%s); host %u is not fenced",
			  command, strsignal(WTERMSIG(status)), host->id);
	else if (status > 0)
		log_error("--fence: '%s' %s (exit status %d); host %u is not fenced", command,
			  meaning(WEXITSTATUS(status)), WEXITSTATUS(status), host->id);
	else
		log_error("--fence: '%s' was not waited for; host %u is not known to be fenced",
			  command, host->id);
	return -1;
}
