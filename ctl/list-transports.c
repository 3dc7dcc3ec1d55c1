/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * list-transports.c - cbdctl list-transports: where there are transports, as
 * JSON: the devdax devices of this machine, and the files that are given.  For a rule of
 * udev: what one device carries.
 */
#include <config.h>

#include <daxctl/libdaxctl.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl.h"

enum { OPT_UDEV = 256 };

static const struct option options[] = {
	{ "udev", no_argument, NULL, OPT_UDEV },
	{ "human", no_argument, NULL, 'u' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: cbdctl list-transports [OPTION]... [PATH]...\n"
	"Show all devdax devices that carry a transport, and those of the given files\n"
	"that do, as JSON.\n"
	"\n"
	"      --udev             show what the one PATH carries, for a rule of udev\n"
	"  -u, --human            show sizes for people\n"
	"  -h, --help             show this help and exit";

static const char *kind_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISCHR(st.st_mode) ? "devdax" : "file";
}

static struct json_object *describe(const char *path, const struct cbd_transport *t, bool human)
{
	static const char *const keys[] = {
		"path", "uuid", "label", "version", "size", "coherence", "damaged",
	};
	struct json_object *all = json_transport(path, t, human), *value;
	struct json_object *o = json_object_new_object();
	size_t i;

	for (i = 0; i < sizeof keys / sizeof *keys; i++)
		if (json_object_object_get_ex(all, keys[i], &value))
			json_object_object_add(o, keys[i], json_object_get(value));
	json_object_object_add(o, "kind", json_object_new_string(kind_of(path)));
	json_object_put(all);
	return o;
}

/* The user has named the file: say why it is not shown. */
static void add_path(struct json_object *array, const char *path, bool named, bool human)
{
	struct cbd_transport *t;
	int r = cbd_transport_open(path, CBD_TRANSPORT_READ_ONLY, &t);

	if (r < 0) {
		if (named || r != -ENOMEDIUM)
			complain("%s", cbd_errmsg());
		return;
	}
	warn_if_damaged(path, t);
	json_object_array_add(array, describe(path, t, human));
	cbd_transport_close(t);
}

static void add_devices(struct json_object *array, bool human)
{
	struct daxctl_ctx *ctx;
	struct daxctl_region *region;
	struct daxctl_dev *dev;
	char path[300];

	if (daxctl_new(&ctx) < 0) {
		complain("libdaxctl: cannot start; devdax devices are not shown");
		return;
	}
	daxctl_region_foreach(ctx, region)
		daxctl_dev_foreach(region, dev) {
			snprintf(path, sizeof path, "/dev/%s", daxctl_dev_get_devname(dev));
			/* a device in another mode (system-ram) has no node */
			if (daxctl_dev_is_enabled(dev) && kind_of(path)[0] == 'd')
				add_path(array, path, false, human);
		}
	daxctl_unref(ctx);
}

/* The label comes from the memory, which other hosts write: it must not name another place
 * than the file of a folder. */
static void make_file_name(char *label)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-._";

	for (char *p = label; *p != '\0'; p++)
		if (strchr(allowed, *p) == NULL || (p == label && *p == '.'))
			*p = '_';
}

/* Lines NAME=VALUE.  udev asks for each device: one that carries no transport is no cause
 * for a message, nor is one whose driver is not bound yet (ENXIO: it is not when the device
 * is added). */
static int show_to_udev(const char *path)
{
	struct cbd_transport_info info;
	struct json_object *uuid;
	struct cbd_transport *t;
	int r = cbd_transport_open(path, CBD_TRANSPORT_READ_ONLY, &t);

	if (r < 0)
		return r == -ENOMEDIUM || r == -ENXIO ? EXIT_FAILURE : library_failed(r);
	cbd_transport_get(t, &info, sizeof info);
	cbd_transport_close(t);
	make_file_name(info.label);
	uuid = json_uuid(info.uuid);
	printf("CBD_TRANSPORT_UUID=%s\nCBD_TRANSPORT_NAME=%s\n", json_object_get_string(uuid),
	       info.label[0] != '\0' ? info.label : json_object_get_string(uuid));
	json_object_put(uuid);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int cmd_list_transports(int argc, char **argv)
{
	struct json_object *array;
	bool human = false, udev = false;
	int option;

	while ((option = getopt_long(argc, argv, "uh", options, NULL)) != -1)
		switch (option) {
		case 'u':
			human = true;
			break;
		case OPT_UDEV:
			udev = true;
			break;
		case 'h':
			puts(help);
			return EXIT_SUCCESS;
		default:
			unknown_option("list-transports");
		}
	if (udev)
		return show_to_udev(only_operand("list-transports", argc, argv));
	array = json_object_new_array();
	add_devices(array, human);
	for (; optind < argc; optind++)
		add_path(array, argv[optind], true, human);
	return json_print(array);
}
