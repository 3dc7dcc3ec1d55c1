/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * user.c - see user.h.
 *
 * nbdkit tells plugins nothing of its options, so they are read from the command line,
 * with the getopt() that nbdkit uses too.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "user.h"

struct who {
	const char *user, *group; /* as given, or NULL */
	uid_t uid;
	gid_t gid;
};

/* All that take an argument, which must not be mistaken for an option. */
static const char short_options[] = "46D:e:fg:i:nop:P:rst:u:U:vV";
static const struct option long_options[] = {
	{ "debug", required_argument, NULL, 0 },
	{ "export", required_argument, NULL, 0 },
	{ "export-name", required_argument, NULL, 0 },
	{ "exportname", required_argument, NULL, 0 },
	{ "filter", required_argument, NULL, 0 },
	{ "group", required_argument, NULL, 'g' },
	{ "ip-addr", required_argument, NULL, 0 },
	{ "ipaddr", required_argument, NULL, 0 },
	{ "log", required_argument, NULL, 0 },
	{ "mask-handshake", required_argument, NULL, 0 },
	{ "pid-file", required_argument, NULL, 0 },
	{ "pidfile", required_argument, NULL, 0 },
	{ "port", required_argument, NULL, 0 },
	{ "run", required_argument, NULL, 0 },
	{ "selinux-label", required_argument, NULL, 0 },
	{ "threads", required_argument, NULL, 0 },
	{ "timeout", required_argument, NULL, 0 },
	{ "tls", required_argument, NULL, 0 },
	{ "tls-certificates", required_argument, NULL, 0 },
	{ "tls-psk", required_argument, NULL, 0 },
	{ "unix", required_argument, NULL, 0 },
	{ "user", required_argument, NULL, 'u' },
	{ 0 },
};

/* ---------------------------------------------------------- command line */

struct words {
	char *text; /* each ends with a 0 byte */
	char **argv;
	int argc;
};

static void words_free(struct words *w)
{
	free(w->argv);
	free(w->text);
}

static int words_read(struct words *w)
{
	FILE *f = fopen("/proc/self/cmdline", "re");
	size_t room = 0, i;
	ssize_t length = f ? getdelim(&w->text, &room, EOF, f) : -1;

	if (f)
		fclose(f);
	if (length <= 0)
		return -1;
	w->argv = calloc((size_t)length + 1, sizeof(*w->argv));
	for (i = 0; w->argv && i < (size_t)length; i += strlen(w->text + i) + 1)
		w->argv[w->argc++] = w->text + i;
	return w->argv ? 0 : -1;
}

static void find_options(struct words *w, struct who *who)
{
	int option;

	optind = 0; /* nbdkit has been through its own */
	opterr = 0;
	while ((option = getopt_long(w->argc, w->argv, short_options, long_options, NULL)) != -1) {
		if (option == 'u')
			who->user = optarg;
		if (option == 'g')
			who->group = optarg;
	}
}

/* As nbdkit takes them: a name, else a number. */
static bool find_ids(struct who *who)
{
	const struct passwd *user = who->user ? getpwnam(who->user) : NULL;
	const struct group *group = who->group ? getgrnam(who->group) : NULL;

	who->uid = user ? user->pw_uid : 0;
	who->gid = group ? group->gr_gid : 0;
	return (!who->user || user || sscanf(who->user, "%u", &who->uid) == 1) &&
	       (!who->group || group || sscanf(who->group, "%u", &who->gid) == 1);
}

/* ------------------------------------------------------------------- try */

/* In a child: open the file behind FD as libcbd will.  The error number. */
static int open_as(const struct who *who, int fd)
{
	char path[40];

	if ((who->group && (setgid(who->gid) < 0 || setgroups(1, &who->gid) < 0)) ||
	    (who->user && setuid(who->uid) < 0))
		return 0; /* nbdkit will fail at it too, and tell */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_CLOEXEC) < 0 ? errno : 0;
}

static int try_open(const struct who *who, int fd)
{
	pid_t pid = fork();
	int status = 0;

	if (pid < 0)
		return errno;
	if (pid == 0)
		_exit(open_as(who, fd));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

static int check_who(const struct who *who, const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC), error;
	struct stat st;

	if (fd < 0)
		return 0; /* cbd_transport_open() tells why */
	error = try_open(who, fd);
	if (error == 0 || fstat(fd, &st) < 0) {
		close(fd);
		return 0;
	}
	close(fd);
	nbdkit_error("%s: %s%s%s%s%s may not open it for reading and writing: %s; its owner is "
		     "%u:%u and its mode %04o",
		     path, who->user ? "user " : "", who->user ? who->user : "",
		     who->user && who->group ? ", " : "", who->group ? "group " : "",
		     who->group ? who->group : "", strerror(error), st.st_uid, st.st_gid,
		     st.st_mode & 07777u);
	return -1;
}

int user_check(const char *path)
{
	struct words words = { 0 };
	struct who who = { 0 };
	int r = 0;

	if (words_read(&words) == 0) {
		find_options(&words, &who);
		if ((who.user || who.group) && find_ids(&who))
			r = check_who(&who, path);
	}
	words_free(&words);
	return r;
}
