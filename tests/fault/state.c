/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state.c - what "cbdctl list" and "cbdctl check" say after a round: exactly
 * the processes that run, each with its slot, and the channels of one blkdev.
 */
#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <json-c/json.h>

#include "server.h"

#define SETTLE_S 10  /* until what died is swept, what was damaged is restored */
#define SLOW_MS 2000 /* is told */
#define OUTPUT (1u << 18)

static char output[OUTPUT];

static const char *text(struct json_object *o, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(o, key, &value) ? json_object_get_string(value) : "";
}

static int64_t number(struct json_object *o, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(o, key, &value) ? json_object_get_int64(value) : -1;
}

static size_t length(struct json_object *o, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(o, key, &value) ? json_object_array_length(value) : 0;
}

static struct json_object *item(struct json_object *o, const char *key, size_t i)
{
	struct json_object *value;

	return json_object_object_get_ex(o, key, &value) ? json_object_array_get_idx(value, i)
							 : NULL;
}

static bool is_live(struct json_object *o)
{
	return strcmp(text(o, "alive"), "true") == 0 && strcmp(text(o, "state"), "live") == 0;
}

/* NULL: it is as it has to be. */
static const char *backend_wrong(struct json_object *list)
{
	struct json_object *b = item(list, "backends", 0);

	if (length(list, "backends") != 1)
		return "not one backend";
	if (!is_live(b))
		return "the backend is not live";
	if (number(b, "pid") != backend.pid)
		return "the backend has another pid";
	if (length(b, "blkdevs") != 1)
		return "the backend has not one blkdev";
	return NULL;
}

static const char *blkdev_wrong(struct json_object *list)
{
	struct json_object *d = item(list, "blkdevs", 0);

	if (length(list, "blkdevs") != 1)
		return "not one blkdev";
	if (!is_live(d))
		return "the blkdev is not live";
	if (number(d, "pid") != nbdkit.pid)
		return "the blkdev has another pid";
	if (number(d, "queues") != options.queues)
		return "the blkdev has another number of queues";
	return NULL;
}

static const char *channels_wrong(struct json_object *list)
{
	uint64_t seen = 0;

	if (length(list, "channels") != options.queues)
		return "not one channel for each queue";
	for (size_t i = 0; i < options.queues; i++) {
		struct json_object *c = item(list, "channels", i);

		if (strcmp(text(c, "state"), "granted") != 0)
			return "a channel is not granted";
		if (number(c, "blkdev_id") != number(item(list, "blkdevs", 0), "mapped_id"))
			return "a channel is of another blkdev";
		seen |= 1ull << (number(c, "queue") & 63);
	}
	return seen == (1ull << options.queues) - 1 ? NULL : "two channels are of one queue";
}

static const char *list_wrong(void)
{
	const char *const argv[] = { "cbdctl", "list", options.transport, NULL };
	struct json_object *list;
	const char *wrong;

	if (run_program(argv, output, sizeof(output)) != 0)
		return "cbdctl list fails";
	list = json_tokener_parse(output);
	if (!list)
		return "cbdctl list shows no JSON";
	wrong = backend_wrong(list);
	if (!wrong)
		wrong = blkdev_wrong(list);
	if (!wrong)
		wrong = channels_wrong(list);
	json_object_put(list);
	return wrong;
}

/* A version of cbdctl without the command has nothing to say. */
static const char *check_wrong(void)
{
	static int has_check = -1;
	const char *const help[] = { "cbdctl", "check", "--help", NULL };
	const char *const argv[] = { "cbdctl", "check", options.transport, NULL };

	if (has_check < 0)
		has_check = run_program(help, NULL, 0) == 0;
	if (!has_check)
		return NULL;
	return run_program(argv, output, sizeof(output)) == 0 ? NULL : "cbdctl check finds damage";
}

static void until_right(const char *(*wrong)(void))
{
	uint64_t start = now_ns(), end = start + patience_ns(SETTLE_S);
	const char *what, *last = NULL;

	while ((what = wrong())) {
		last = what;
		servers_watch();
		if (now_ns() < end)
			continue;
		fprintf(stderr, "%s", output);
		die("%s", what);
	}
	if (last && now_ns() - start > SLOW_MS * MS)
		printf("  for %" PRIu64 " ms: %s\n", (now_ns() - start) / MS, last);
}

void state_check(void)
{
	watch("cbdctl list and check", 6 * SETTLE_S);
	until_right(list_wrong);
	until_right(check_wrong);
	watch(NULL, 0);
}
