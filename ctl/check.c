/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.c - cbdctl check: is a transport sound, and repair it.
 *
 * Owns the exit status, how findings are told and the words of its progress; what is damage and what may
 * be written is decided by libcbd.
 */
#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../common/progress.h"
#include "ctl.h"

#define EXIT_DAMAGED 3

static const struct option options[] = {
	{ "repair", no_argument, NULL, 'r' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: cbdctl check [--repair] TRANSPORT\n"
	"Look for damage in the header and the control lines of a transport, which may\n"
	"be in use.\n"
	"\n"
	"      --repair           restore header or copy, and empty damaged lines that\n"
	"                         nobody uses\n"
	"  -h, --help             show this help and exit\n"
	"\n"
	"Exit status: 0 sound, 1 could not check, 3 damaged.";

static void tell(void *opaque, const struct cbd_problem *p)
{
	static const char *const ends[] = {
		[CBD_CHECK_DAMAGED] = "",
		[CBD_CHECK_REPAIRED] = "; repaired",
		[CBD_CHECK_LEFT] = "; not repaired: it may be in use",
	};
	const char *path = opaque;

	progress_stop();
	if (p->verdict == CBD_CHECK_NOTE)
		printf("%s: %s %s\n", path, p->object, p->what);
	else
		complain("%s: %s %s%s", path, p->object, p->what, ends[p->verdict]);
}

struct checking {
	const char *path;
	time_t since;
};

/* What takes long is to watch heartbeats, where something is silent or looks damaged. */
static void tell_time(void *opaque, char *text, size_t size)
{
	const struct checking *c = opaque;

	snprintf(text, size, "cbdctl: %s: checking, %lld s", c->path,
		 (long long)(time(NULL) - c->since));
}

static int check(const char *path, unsigned flags)
{
	struct checking c = { .path = path, .since = time(NULL) };
	int problems;

	progress_start(tell_time, &c);
	problems = cbd_transport_check(path, flags, tell, (void *)path);
	progress_end();
	if (problems < 0) {
		if (problems != -EBADMSG)
			return library_failed(problems);
		complain("%s: 'cbdctl format --force' makes it usable again, empty; disks that "
			 "were offered on it are not touched",
			 cbd_errmsg());
		return EXIT_DAMAGED;
	}
	if (problems == 0) {
		printf("%s: sound\n", path);
		return EXIT_SUCCESS;
	}
	printf("%s: damaged, %d problem%s\n", path, problems, problems == 1 ? "" : "s");
	if (!(flags & CBD_CHECK_REPAIR))
		complain("%s: 'cbdctl check --repair' restores what nobody uses", path);
	return EXIT_DAMAGED;
}

int cmd_check(int argc, char **argv)
{
	unsigned flags = 0;
	const char *path;
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		switch (option) {
		case 'r':
			flags |= CBD_CHECK_REPAIR;
			break;
		case 'h':
			puts(help);
			return EXIT_SUCCESS;
		default:
			unknown_option("check");
		}
	path = only_operand("check", argc, argv);
	return check(path, flags);
}
