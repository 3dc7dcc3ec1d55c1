/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clear.c - cbdctl clear: free the slot of a dead host, backend or blkdev.
 *
 * Owns the command line; who is dead is decided by libcbd.
 */
#include <config.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

enum {
	OPT_HOST_GONE = 256,
	OPT_FORCE,
};

static const struct option options[] = {
	{ "host-gone", required_argument, NULL, OPT_HOST_GONE },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: cbdctl clear host|backend|blkdev ID [OPTION]... TRANSPORT\n"
	"Free what a dead host, backend or blkdev has left.  Refused while it is alive,\n"
	"and while it is only suspect.\n"
	"\n"
	"      --host-gone=H      host H is off or was rebooted: what it owns and is\n"
	"                         suspect is dead\n"
	"      --force            the same, of whichever host the owner is on\n"
	"  -h, --help             show this help and exit";

static enum cbd_object parse_object(const char *text)
{
	if (strcmp(text, "host") == 0)
		return CBD_OBJECT_HOST;
	if (strcmp(text, "backend") == 0)
		return CBD_OBJECT_BACKEND;
	if (strcmp(text, "blkdev") == 0)
		return CBD_OBJECT_BLKDEV;
	usage_error("clear", "'%s': must be host, backend or blkdev", text);
}

static void set_option(struct cbd_clear_options *o, int option)
{
	switch (option) {
	case OPT_HOST_GONE:
		o->host_gone = (int)parse_number("clear", "--host-gone", optarg, 0,
						 CBD_MAX_HOSTS - 1);
		break;
	case OPT_FORCE:
		o->force = true;
		break;
	case 'h':
		puts(help);
		exit(EXIT_SUCCESS);
	default:
		unknown_option("clear");
	}
}

static int clear(const char *path, enum cbd_object object, unsigned id,
		 const struct cbd_clear_options *o)
{
	struct cbd_transport *t;
	int status = EXIT_SUCCESS;

	if (cbd_transport_open(path, 0, &t) < 0) {
		complain("%s", cbd_errmsg());
		return EXIT_FAILURE;
	}
	warn_if_damaged(path, t);
	if (cbd_clear(t, object, id, o) < 0) {
		complain("%s", cbd_errmsg());
		status = EXIT_FAILURE;
	}
	cbd_transport_close(t);
	return status;
}

int cmd_clear(int argc, char **argv)
{
	struct cbd_clear_options o = { .host_gone = -1 };
	enum cbd_object object;
	int option;
	unsigned id;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		set_option(&o, option);
	if (argc - optind < 2)
		usage_error("clear", "what to clear is missing: host, backend or blkdev, and ID");
	object = parse_object(argv[optind]);
	id = parse_number("clear", argv[optind], argv[optind + 1], 0, UINT32_MAX);
	optind += 2;
	return clear(only_operand("clear", argc, argv), object, id, &o);
}
