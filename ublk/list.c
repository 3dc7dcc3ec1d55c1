/* SPDX-License-Identifier: BSD-3-Clause */
/* list.c - see list.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/log.h"
#include "driver.h"
#include "list.h"
#include "params.h"
#include "state.h"

struct list {
	const char *only; /* or NULL */
	struct json_object *array;
};

/* Of the block device, by sysfs: also for a user who may not ask the driver. */
static bool block_device_size(unsigned number, uint64_t *bytes)
{
	char path[64];
	uint64_t sectors;
	FILE *f;
	bool good;

	snprintf(path, sizeof(path), "/sys/block/ublkb%u/size", number);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	good = fscanf(f, "%" SCNu64, &sectors) == 1;
	fclose(f);
	*bytes = good ? sectors * SECTOR : 0;
	return good;
}

/* What a user sees of it: requests are served, or wait, or there is nothing. */
static const char *state_of(bool exists, bool served)
{
	if (!exists)
		return served ? "starting" : "gone";
	return served ? "live" : "waiting";
}

static void add_device(void *opaque, const struct state *s)
{
	struct list *list = opaque;
	struct json_object *o;
	uint64_t bytes = 0;
	bool exists, served;

	if (list->only != NULL && strcmp(list->only, s->name) != 0)
		return;
	exists = block_device_size(s->number, &bytes);
	served = state_is_served(s->name);
	o = state_json(s);
	json_object_object_add(o, "state", json_object_new_string(state_of(exists, served)));
	json_object_object_add(o, "size_bytes", json_object_new_int64((int64_t)bytes));
	json_object_array_add(list->array, o);
}

static int print(struct json_object *object)
{
	const int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE;

	if (puts(json_object_to_json_string_ext(object, flags)) != EOF && fflush(stdout) == 0)
		return EXIT_SUCCESS;
	log_error("stdout: %s", strerror(errno));
	return EXIT_FAILURE;
}

/* -------------------------------------------------------------------- udev */

struct search {
	unsigned number;
	char found[STATE_NAME_SIZE];
};

static void match(void *opaque, const struct state *s)
{
	struct search *search = opaque;

	if (s->number == search->number)
		strcpy(search->found, s->name);
}

/* Of an unprivileged device: who has made it. */
static bool owner_of(unsigned number, struct ublk_owner *owner)
{
	struct driver *d = driver_kernel_open();
	struct ublksrv_ctrl_dev_info info;
	bool found;

	if (d == NULL)
		return false;
	found = d->ops->info(d, number, &info) >= 0 && (info.flags & UBLK_F_UNPRIVILEGED_DEV);
	memcpy(owner, (const char *)&info + UBLK_OWNER_AT, sizeof(*owner));
	d->ops->close(d);
	return found;
}

static bool parse_node(const char *device, unsigned *number)
{
	const char *node = strncmp(device, "/dev/", 5) == 0 ? device + 5 : device;
	int end = 0;

	return (sscanf(node, "ublkb%u%n", number, &end) == 1 ||
		sscanf(node, "ublkc%u%n", number, &end) == 1) &&
	       node[end] == '\0';
}

/* Silent where there is nothing to tell: the rule asks for each device. */
static int show_for_udev(const char *device)
{
	struct search search = { .number = 0 };
	struct ublk_owner owner;
	bool owned;

	if (!parse_node(device, &search.number)) {
		log_error("--udev: '%s': is no /dev/ublkbN or /dev/ublkcN", device);
		return EXIT_USAGE;
	}
	state_each(match, &search);
	owned = owner_of(search.number, &owner);
	if (search.found[0] != '\0')
		printf("CBD_UBLK_NAME=%s\n", search.found);
	if (owned)
		printf("CBD_UBLK_UID=%u\nCBD_UBLK_GID=%u\n", owner.uid, owner.gid);
	return (search.found[0] != '\0' || owned) && fflush(stdout) == 0 ? EXIT_SUCCESS
									 : EXIT_FAILURE;
}

int cmd_list(const struct options *o)
{
	struct list list = { .only = o->name };
	int status;

	if (o->udev != NULL)
		return show_for_udev(o->udev);
	list.array = json_object_new_array();
	status = state_each(add_device, &list) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	if (o->name != NULL && json_object_array_length(list.array) == 0 &&
	    status == EXIT_SUCCESS) {
		log_error("%s: there is no such device", o->name);
		status = EXIT_FAILURE;
	} else if (print(list.array) != EXIT_SUCCESS) {
		status = EXIT_FAILURE;
	}
	json_object_put(list.array);
	return status;
}
