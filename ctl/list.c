/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * list.c - cbdctl list: a transport and what is on it, as JSON.
 *
 * Owns the names of the attributes, which scripts rely on and which cbdctl(1)
 * documents.
 */
#include <config.h>

#include <cbd-format.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "held.h"

enum kind {
	HOSTS,
	BACKENDS,
	BLKDEVS,
	CHANNELS,
	KINDS,
};

struct list {
	const char *path;
	char word[WORD_SIZE]; /* the path, quoted for the shell */
	struct cbd_transport *t;
	struct cbd_transport_info info;
	bool selected[KINDS];
	bool any_id; /* else only slot `id` */
	unsigned id;
	bool human;
	bool failed; /* a slot could not be read: all others are shown */
	struct cbd_backend_info backends[CBD_MAX_BACKENDS];
	struct cbd_blkdev_info blkdevs[CBD_MAX_BLKDEVS];
};

static const struct option options[] = {
	{ "hosts", no_argument, NULL, 'H' },	{ "backends", no_argument, NULL, 'B' },
	{ "blkdevs", no_argument, NULL, 'D' },	{ "channels", no_argument, NULL, 'C' },
	{ "id", required_argument, NULL, 'i' }, { "human", no_argument, NULL, 'u' },
	{ "help", no_argument, NULL, 'h' },	{ NULL, 0, NULL, 0 },
};

static const char help[] = "Usage: cbdctl list [OPTION]... TRANSPORT\n"
			   "Show a transport and what is on it, as JSON.\n"
			   "\n"
			   "  -H, --hosts            show hosts\n"
			   "  -B, --backends         show backends\n"
			   "  -D, --blkdevs          show blkdevs\n"
			   "  -C, --channels         show channels\n"
			   "      --id=N             show only number N of the selected kind\n"
			   "  -u, --human            show sizes and times for people\n"
			   "  -h, --help             show this help and exit\n"
			   "\n"
			   "One kind gives an array, several or none an object of arrays.";

/* -------------------------------------------------------------- attributes */

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_text(text));
}

static void add_number(struct json_object *o, const char *key, uint64_t number)
{
	json_object_object_add(o, key, json_object_new_uint64(number));
}

static void add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

static void add_state(struct json_object *o, enum cbd_liveness liveness, const char *written)
{
	add_bool(o, "alive", liveness == CBD_ALIVE);
	add_text(o, "state", seen_state(liveness, written));
}

/* Why a slot is kept although its owner does not beat, and what frees it. */
static struct json_object *json_held(const char *reason, const char *free)
{
	struct json_object *o = json_object_new_object();

	add_text(o, "reason", reason);
	add_text(o, "free", free);
	return o;
}

/* Of slot ID of a kind; NULL, which is null in JSON: it is not held. */
static struct json_object *slot_held(const struct list *l, enum cbd_object object, unsigned id,
				     enum cbd_liveness liveness, bool local, unsigned host)
{
	const struct owner o = { object, id, host, liveness, local };
	struct held h;

	return slot_is_held(l->t, l->word, &o, &h) ? json_held(h.reason, h.free) : NULL;
}

/* Backends and blkdevs whose owner HOST is. */
static unsigned owned_by(const struct list *l, unsigned host)
{
	unsigned count = 0;
	unsigned id;

	for (id = 0; id < l->info.backends; id++)
		count += l->backends[id].liveness != CBD_FREE && l->backends[id].host_id == host;
	for (id = 0; id < l->info.blkdevs; id++)
		count += l->blkdevs[id].liveness != CBD_FREE && l->blkdevs[id].host_id == host;
	return count;
}

/* Whether all processes of this host that own a slot ended in order. */
static bool host_is_idle(const struct list *l, const struct cbd_host_info *info)
{
	return info->liveness == CBD_SUSPECT && owned_by(l, info->id) == 0;
}

static struct json_object *host_held(const struct list *l, const struct cbd_host_info *info)
{
	char free[sizeof l->word + 80];

	if (info->liveness != CBD_SUSPECT || host_is_idle(l, info))
		return NULL;
	/* this machine runs this program: to declare it gone would be false */
	if (info->local)
		return json_held("no process of it beats, and it owns backends or blkdevs",
				 "free those first");
	snprintf(free, sizeof free, "cbdctl clear host %u --host-gone %u %s", info->id, info->id,
		 l->word);
	return json_held("no process of it beats", free);
}

static struct json_object *blkdev_held(const struct list *l, const struct cbd_blkdev_info *info)
{
	return slot_held(l, CBD_OBJECT_BLKDEV, info->id, info->liveness, info->local,
			 info->host_id);
}

/* A channel is free when its blkdev is. */
static struct json_object *channel_held(const struct list *l, const struct cbd_channel_info *info)
{
	const struct cbd_blkdev_info *b = &l->blkdevs[info->blkdev_id % CBD_MAX_BLKDEVS];
	struct json_object *o;

	if (info->state == CBD_CHANNEL_STATE_CLOSED || b->backend_id != info->backend_id)
		return NULL;
	o = blkdev_held(l, b);
	if (o)
		add_text(o, "reason", "its blkdev may come back and use it");
	return o;
}

static struct json_object *json_host(const struct list *l, const struct cbd_host_info *info)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "host_id", info->id);
	add_text(o, "name", info->name);
	json_object_object_add(o, "uuid", json_uuid(info->uuid));
	json_object_object_add(o, "boot_id", json_uuid(info->boot_id));
	if (host_is_idle(l, info))
		add_state(o, CBD_UNDECIDED, "idle");
	else
		add_state(o, info->liveness, info->liveness == CBD_ALIVE ? "live" : "unknown");
	json_object_object_add(o, "held", host_held(l, info));
	return o;
}

static void add_disk(struct json_object *o, const struct cbd_backend_info *info, bool human)
{
	add_text(o, "path", info->path);
	json_object_object_add(o, "size", json_size(info->size, human));
	add_number(o, "logical_block_size", info->logical_block);
	add_number(o, "physical_block_size", info->physical_block);
	add_number(o, "optimal_block_size", info->optimal_block);
	add_bool(o, "rotational", info->rotational);
	add_bool(o, "read_only", info->read_only);
	add_bool(o, "write_through", info->write_through);
	add_bool(o, "discard", info->discard);
	add_bool(o, "fast_zero", info->fast_zero);
	add_bool(o, "block_status", info->block_status);
	json_object_object_add(o, "disk_identity", json_hex(info->disk_identity));
	json_object_object_add(o, "verifier", json_hex(info->verifier));
}

static struct json_object *host_set(uint64_t hosts)
{
	struct json_object *array = json_object_new_array();
	unsigned i;

	for (i = 0; i < CBD_MAX_HOSTS; i++)
		if (hosts >> i & 1)
			json_object_array_add(array, json_object_new_uint64(i));
	return array;
}

static struct json_object *blkdevs_of(const struct list *l, unsigned backend)
{
	struct json_object *array = json_object_new_array();
	const struct cbd_blkdev_info *b;

	for (b = l->blkdevs; b < l->blkdevs + l->info.blkdevs; b++)
		if (b->liveness != CBD_FREE && b->backend_id == backend)
			json_object_array_add(array, json_object_new_uint64(b->id));
	return array;
}

static struct json_object *json_backend(const struct list *l, const struct cbd_backend_info *info)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "backend_id", info->id);
	add_text(o, "name", info->name);
	add_number(o, "host_id", info->host_id);
	add_number(o, "pid", info->pid);
	add_number(o, "incarnation", info->incarnation);
	add_state(o, info->liveness, slot_state_name(info->state));
	json_object_object_add(o, "held",
			       slot_held(l, CBD_OBJECT_BACKEND, info->id, info->liveness,
					 info->local, info->host_id));
	add_disk(o, info, l->human);
	add_number(o, "handlers", info->handlers);
	add_number(o, "max_blkdevs", info->max_blkdevs);
	if (info->allow_hosts)
		json_object_object_add(o, "allow_hosts", host_set(info->allow_hosts));
	json_object_object_add(o, "blkdevs", blkdevs_of(l, info->id));
	return o;
}

static struct json_object *json_blkdev(const struct list *l, const struct cbd_blkdev_info *info)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "mapped_id", info->id);
	add_number(o, "host_id", info->host_id);
	add_number(o, "backend_id", info->backend_id);
	add_number(o, "pid", info->pid);
	add_number(o, "incarnation", info->incarnation);
	add_state(o, info->liveness, slot_state_name(info->state));
	json_object_object_add(o, "held", blkdev_held(l, info));
	add_number(o, "queues", info->queues);
	add_bool(o, "read_only", info->read_only);
	return o;
}

static struct json_object *json_channel(const struct list *l, const struct cbd_channel_info *info)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "backend_id", info->backend_id);
	add_number(o, "channel_id", info->id);
	add_number(o, "blkdev_id", info->blkdev_id);
	add_number(o, "queue", info->queue);
	json_object_object_add(o, "epoch", json_hex(info->epoch));
	add_text(o, "state", grant_state_name(info->state));
	json_object_object_add(o, "held", channel_held(l, info));
	add_number(o, "depth", info->depth);
	add_number(o, "ring_slots", info->ring_slots);
	add_number(o, "offset", info->offset);
	json_object_object_add(o, "length", json_size(info->length, l->human));
	json_object_object_add(o, "data_size", json_size(info->data_size, l->human));
	return o;
}

/* ------------------------------------------------------------------- kinds */

/* Whether a slot was read. */
static bool check(struct list *l, int result)
{
	if (result < 0) {
		complain("%s", cbd_errmsg());
		l->failed = true;
	}
	return result >= 0;
}

static bool wanted(const struct list *l, unsigned id)
{
	return l->any_id || l->id == id;
}

static void list_hosts(struct list *l, struct json_object *array)
{
	struct cbd_host_info info;
	unsigned id;

	for (id = 0; id < l->info.hosts; id++)
		if (wanted(l, id) && check(l, cbd_host_get(l->t, id, &info, sizeof(info))) &&
		    info.liveness != CBD_FREE)
			json_object_array_add(array, json_host(l, &info));
}

/* A backend that has stopped is shown until its slot is cleared or served again. */
static bool is_shown(const struct cbd_backend_info *b)
{
	return b->liveness != CBD_FREE || b->state == CBD_STATE_GONE ||
	       b->state == CBD_STATE_ABANDONED;
}

static void list_backends(struct list *l, struct json_object *array)
{
	const struct cbd_backend_info *b;

	for (b = l->backends; b < l->backends + l->info.backends; b++)
		if (wanted(l, b->id) && is_shown(b))
			json_object_array_add(array, json_backend(l, b));
}

static void list_blkdevs(struct list *l, struct json_object *array)
{
	const struct cbd_blkdev_info *b;

	for (b = l->blkdevs; b < l->blkdevs + l->info.blkdevs; b++)
		if (b->liveness != CBD_FREE && wanted(l, b->id))
			json_object_array_add(array, json_blkdev(l, b));
}

static void list_channels_of(struct list *l, unsigned backend, struct json_object *array)
{
	struct cbd_channel_info info;
	unsigned id;

	for (id = 0; id < l->info.channels; id++)
		if (wanted(l, id) &&
		    check(l, cbd_channel_get(l->t, backend, id, &info, sizeof(info))) &&
		    info.state != CBD_CHANNEL_STATE_FREE)
			json_object_array_add(array, json_channel(l, &info));
}

static void list_channels(struct list *l, struct json_object *array)
{
	unsigned backend;

	for (backend = 0; backend < l->info.backends; backend++)
		list_channels_of(l, backend, array);
}

static const struct {
	const char *key;
	const char *one;
	void (*list)(struct list *l, struct json_object *array);
} kinds[KINDS] = {
	[HOSTS] = { "hosts", "host", list_hosts },
	[BACKENDS] = { "backends", "backend", list_backends },
	[BLKDEVS] = { "blkdevs", "blkdev", list_blkdevs },
	[CHANNELS] = { "channels", "channel", list_channels },
};

/* Backends and blkdevs are read first, once: a host is idle when it owns none of them, and
 * a backend shows the ids of its blkdevs. */
static void read_slots(struct list *l)
{
	unsigned id;

	for (id = 0; id < l->info.backends; id++)
		if (!check(l, cbd_backend_get(l->t, id, &l->backends[id], sizeof(l->backends[id]))))
			l->backends[id] = (struct cbd_backend_info){ .id = id };

	for (id = 0; id < l->info.blkdevs; id++)
		if (!check(l, cbd_blkdev_get(l->t, id, &l->blkdevs[id], sizeof(l->blkdevs[id]))))
			l->blkdevs[id] = (struct cbd_blkdev_info){ .liveness = CBD_FREE };
}

static struct json_object *json_kind(struct list *l, enum kind kind)
{
	struct json_object *array = json_object_new_array();

	kinds[kind].list(l, array);
	return array;
}

static unsigned slots(const struct cbd_transport_info *h, enum kind kind)
{
	switch (kind) {
	case HOSTS:
		return h->hosts;
	case BACKENDS:
		return h->backends;
	case BLKDEVS:
		return h->blkdevs;
	default:
		return h->channels;
	}
}

/* The object of --id, which has to be there; NULL: it is not. */
static struct json_object *json_one(struct list *l, enum kind kind)
{
	struct json_object *array = json_kind(l, kind);

	if (json_object_array_length(array) > 0)
		return array;
	json_object_put(array);
	if (l->id >= slots(&l->info, kind))
		complain("%s: %s %u: there are only 0 to %u", l->path, kinds[kind].one, l->id,
			 slots(&l->info, kind) - 1);
	else if (!l->failed)
		complain("%s: %s %u: not in use", l->path, kinds[kind].one, l->id);
	return NULL;
}

static unsigned selected(const struct list *l)
{
	unsigned count = 0;
	unsigned kind;

	for (kind = 0; kind < KINDS; kind++)
		count += l->selected[kind];
	return count;
}

static struct json_object *json_list(struct list *l)
{
	unsigned count = selected(l);
	struct json_object *o;
	unsigned kind = 0;

	if (count == 1) {
		while (!l->selected[kind])
			kind++;
		return l->any_id ? json_kind(l, kind) : json_one(l, kind);
	}
	o = json_object_new_object();
	json_object_object_add(o, "transport", json_transport(l->path, l->t, l->human));
	for (; kind < KINDS; kind++)
		if (count == 0 || l->selected[kind])
			json_object_object_add(o, kinds[kind].key, json_kind(l, kind));
	return o;
}

/* ----------------------------------------------------------------- command */

static void set_option(struct list *l, int option)
{
	switch (option) {
	case 'H':
		l->selected[HOSTS] = true;
		break;
	case 'B':
		l->selected[BACKENDS] = true;
		break;
	case 'D':
		l->selected[BLKDEVS] = true;
		break;
	case 'C':
		l->selected[CHANNELS] = true;
		break;
	case 'i':
		l->id = parse_number("list", "--id", optarg, 0, UINT32_MAX);
		l->any_id = false;
		break;
	case 'u':
		l->human = true;
		break;
	case 'h':
		puts(help);
		exit(EXIT_SUCCESS);
	default:
		unknown_option("list");
	}
}

static int list(struct list *l)
{
	struct json_object *o;
	int status;

	warn_if_damaged(l->path, l->t);
	/* Watch first: whether an owner lives is known only after its heartbeats were
	 * watched for some intervals. */
	if (cbd_transport_watch(l->t) < 0) {
		complain("%s", cbd_errmsg());
		return EXIT_FAILURE;
	}
	read_slots(l);
	o = json_list(l);
	status = o ? json_print(o) : EXIT_FAILURE;
	return l->failed ? EXIT_FAILURE : status;
}

int cmd_list(int argc, char **argv)
{
	struct list l = { .any_id = true };
	int option, status, r;

	while ((option = getopt_long(argc, argv, "HBDCuh", options, NULL)) != -1)
		set_option(&l, option);
	l.path = only_operand("list", argc, argv);
	shell_quote(l.path, l.word, sizeof l.word);
	if (!l.any_id && selected(&l) != 1)
		usage_error("list",
			    "--id: needs one of --hosts, --backends, --blkdevs, --channels");

	r = cbd_transport_open(l.path, CBD_TRANSPORT_READ_ONLY, &l.t);
	if (r < 0)
		return library_failed(r);
	cbd_transport_get(l.t, &l.info, sizeof l.info);
	status = list(&l);
	cbd_transport_close(l.t);
	return status;
}
