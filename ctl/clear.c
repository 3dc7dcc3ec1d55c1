/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clear.c - cbdctl clear: free the slot of a dead host, backend or blkdev.
 *
 * Owns the command line; who is dead is decided by libcbd.
 */
#include <config.h>

#include <cbd-format.h>
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
	"      --host-gone=H      host H is off or was rebooted: free also what is\n"
	"                         only suspect of it\n"
	"      --force            the same, whatever host the owner is on\n"
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
		o->hosts_gone = 1ull << parse_number("clear", "--host-gone", optarg, 0,
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

/* The suspect host that the operator may declare gone with --host-gone; -1: none.
 * cbd_clear() has watched the heartbeats already. The calls here succeed, so the message
 * of cbd_clear() stays. */
static int host_in_doubt(struct cbd_transport *t, enum cbd_object object, unsigned id)
{
	struct cbd_host_info host;
	struct cbd_backend_info backend;
	struct cbd_blkdev_info blkdev;

	if (object == CBD_OBJECT_HOST && cbd_host_get(t, id, &host, sizeof host) == 0)
		return host.liveness == CBD_SUSPECT && !host.local ? (int)id : -1;
	if (object == CBD_OBJECT_BACKEND && cbd_backend_get(t, id, &backend, sizeof backend) == 0)
		return backend.liveness == CBD_SUSPECT && !backend.local ? (int)backend.host_id
									 : -1;
	if (object == CBD_OBJECT_BLKDEV && cbd_blkdev_get(t, id, &blkdev, sizeof blkdev) == 0)
		return blkdev.liveness == CBD_SUSPECT && !blkdev.local ? (int)blkdev.host_id : -1;
	return -1;
}

static int clear(const char *path, enum cbd_object object, unsigned id,
		 const struct cbd_clear_options *o)
{
	struct cbd_transport *t;
	int status = EXIT_SUCCESS, r = cbd_transport_open(path, 0, &t);

	if (r < 0)
		return library_failed(r);
	warn_if_damaged(path, t);
	if (cbd_clear(t, object, id, o, sizeof *o) < 0) {
		int host = o->hosts_gone ? -1 : host_in_doubt(t, object, id);

		if (host < 0)
			complain("%s", cbd_errmsg());
		else
			complain("%s (--host-gone %d)", cbd_errmsg(), host);
		status = EXIT_FAILURE;
	}
	cbd_transport_close(t);
	return status;
}

int cmd_clear(int argc, char **argv)
{
	struct cbd_clear_options o = { 0 };
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
