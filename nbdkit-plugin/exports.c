/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * exports.c - which exports there are: live backends as NBD names them.
 *
 * An export is called by the backend's name, or by its id when it has no name
 * or none that is unmistakable.  Export names come from clients, and names of
 * backends from whoever can write the shared memory: both are compared and
 * printed, nothing else.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cbd-format.h>

#include "../common/number.h"
#include "exports.h"

static bool is_number(const char *text)
{
	uint64_t value;

	return number_parse(text, strlen(text), &value);
}

static bool is_live(const struct cbd_backend_info *b)
{
	if (b->state != CBD_STATE_LIVE && b->state != CBD_STATE_HANDOVER)
		return false;
	return b->liveness == CBD_ALIVE || b->liveness == CBD_UNDECIDED;
}

/* The live backends, in the order of their ids. */
static unsigned find_live(struct cbd_transport *t, struct cbd_backend_info info[CBD_MAX_BACKENDS])
{
	struct cbd_transport_info transport;
	unsigned count = 0;
	unsigned id;

	cbd_transport_get(t, &transport, sizeof transport);
	for (id = 0; id < transport.backends; id++)
		if (cbd_backend_get(t, id, &info[count], sizeof(info[count])) == 0 &&
		    is_live(&info[count]))
			count++;
	return count;
}

/*
 * Watching takes as long as some heartbeats, so it is done only where it
 * matters, and its result serves those that come within the next second.
 */
static void watch(struct cbd_transport *t)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static time_t last;
	struct timespec now;

	pthread_mutex_lock(&lock);
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (last == 0 || now.tv_sec > last + 1) {
		if (cbd_transport_watch(t) < 0)
			nbdkit_debug("%s", cbd_errmsg());
		clock_gettime(CLOCK_MONOTONIC, &now);
		last = now.tv_sec;
	}
	pthread_mutex_unlock(&lock);
}

static unsigned same_name(const struct cbd_backend_info *info, unsigned count, const char *name)
{
	unsigned same = 0;
	unsigned i;

	for (i = 0; i < count; i++)
		if (strcmp(info[i].name, name) == 0)
			same++;
	return same;
}

/* ID has room for any id and holds the result when the name cannot. */
static const char *export_name(const struct cbd_backend_info *info, unsigned count, unsigned i,
			       char id[16])
{
	const char *name = info[i].name;

	if (*name != '\0' && !is_number(name) && same_name(info, count, name) == 1)
		return name;
	snprintf(id, 16, "%u", info[i].id);
	return id;
}

static void describe(const struct cbd_backend_info *b, char text[EXPORT_DESCRIPTION_SIZE])
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double size = (double)b->size / 1024;
	unsigned unit = 0;

	while (size >= 1024 && unit < sizeof units / sizeof *units - 1) {
		size /= 1024;
		unit++;
	}
	snprintf(text, EXPORT_DESCRIPTION_SIZE, "%s, %.2f %s", b->path, size, units[unit]);
}

int exports_describe(struct cbd_transport *t, unsigned id, char text[EXPORT_DESCRIPTION_SIZE])
{
	struct cbd_backend_info info;
	int r = cbd_backend_get(t, id, &info, sizeof(info));

	if (r < 0)
		nbdkit_error("%s", cbd_errmsg());
	else
		describe(&info, text);
	return r;
}

int exports_list(struct cbd_transport *t, struct nbdkit_exports *exports)
{
	struct cbd_backend_info info[CBD_MAX_BACKENDS];
	char text[EXPORT_DESCRIPTION_SIZE], id[16];
	unsigned count, i;

	watch(t);
	count = find_live(t, info);
	for (i = 0; i < count; i++) {
		describe(&info[i], text);
		if (nbdkit_add_export(exports, export_name(info, count, i, id), text) == -1)
			return -1;
	}
	return 0;
}

/* Most transports have one backend, so most clients need not wait for
 * heartbeats here. */
const char *exports_default(struct cbd_transport *t)
{
	struct cbd_backend_info info[CBD_MAX_BACKENDS];
	unsigned count = find_live(t, info);
	char id[16];

	if (count > 1) {
		watch(t);
		count = find_live(t, info);
	}
	if (count != 1)
		return "";
	return nbdkit_strdup_intern(export_name(info, 1, 0, id));
}

/* Also a backend that is not alive: the attach fails with a message that says what is
 * wrong with it. */
static int find_id(struct cbd_transport *t, const char *name, struct cbd_backend_info *result)
{
	uint64_t id;

	if (!number_parse(name, strlen(name), &id) || id >= CBD_MAX_BACKENDS ||
	    cbd_backend_get(t, (unsigned)id, result, sizeof *result) < 0) {
		nbdkit_error("export \"%s\": no such backend", name);
		return -1;
	}
	return 0;
}

static int find_name(struct cbd_transport *t, const char *name, struct cbd_backend_info *result)
{
	struct cbd_backend_info info[CBD_MAX_BACKENDS];
	unsigned count = find_live(t, info);
	unsigned same = same_name(info, count, name);
	unsigned i = 0;

	if (same == 0) {
		/* a backend that did not beat when it was watched last may beat again */
		watch(t);
		count = find_live(t, info);
		same = same_name(info, count, name);
	}
	if (same == 0) {
		nbdkit_error("export \"%s\": no live backend has this name", name);
		return -1;
	}
	if (same > 1) {
		nbdkit_error("export \"%s\": %u backends have this name, use an id", name, same);
		return -1;
	}
	while (strcmp(info[i].name, name) != 0)
		i++;
	*result = info[i];
	return 0;
}

int exports_find(struct cbd_transport *t, const char *name, struct cbd_backend_info *result)
{
	if (*name == '\0') {
		nbdkit_error("export \"\": give backend= or, as a client, an export name");
		return -1;
	}
	return is_number(name) ? find_id(t, name, result) : find_name(t, name, result);
}
