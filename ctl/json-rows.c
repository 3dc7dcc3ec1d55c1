/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json-rows.c - rows of a table as JSON, for top and status.  Owns the names of the
 * attributes that both have, which scripts rely on and which cbdctl(1) documents.
 */
#include <config.h>

#include "sample.h"

void json_add_number(struct json_object *o, const char *key, double value)
{
	/* as large as can be: a peer's word */
	json_object_object_add(o, key,
			       json_object_new_uint64(value < 1e18 ? (uint64_t)(value + 0.5)
								   : 1000000000000000000ull));
}

static void add_ids(struct json_object *o, const struct row *r)
{
	json_add_number(o, "backend_id", r->backend);
	if (r->kind == ROW_BACKEND)
		json_object_object_add(o, "name", json_text(r->name));
	if (r->kind == ROW_BLKDEV)
		json_add_number(o, "mapped_id", r->id);
	if (r->kind == ROW_CHANNEL) {
		json_add_number(o, "channel_id", r->id);
		json_add_number(o, "blkdev_id", r->blkdev);
		json_add_number(o, "queue", r->queue);
	}
	if (r->host >= 0)
		json_add_number(o, "host_id", r->host);
}

struct json_object *json_row(struct cbd_transport *t, const char *path, const struct row *r)
{
	struct json_object *o = json_object_new_object();
	struct held h;

	add_ids(o, r);
	json_object_object_add(o, "alive", json_object_new_boolean(r->alive));
	json_object_object_add(o, "state", json_text(r->state));
	json_object_object_add(o, "held", row_is_held(t, path, r, &h) ? json_text(h.free) : NULL);
	return o;
}

static struct json_object *json_doing(const struct doing *d, const char *const keys[3])
{
	struct json_object *o = json_object_new_object();

	json_add_number(o, keys[0], d->requests);
	json_add_number(o, keys[1], d->bytes);
	json_add_number(o, keys[2], d->errors);
	json_add_number(o, "p50_ns", (double)d->p50_ns);
	json_add_number(o, "p99_ns", (double)d->p99_ns);
	return o;
}

void json_add_activity(struct json_object *o, const struct activity *a, const char *const keys[3])
{
	static const char *const names[DOES] = { "read", "write", "other" };

	json_add_number(o, "in_flight", (double)a->in_flight);
	for (unsigned i = 0; i < DOES; i++)
		json_object_object_add(o, names[i], json_doing(&a->does[i], keys));
}

void json_add_rows(struct json_object *o, const struct rows *rows, json_row_fn *of,
		   const void *opaque)
{
	static const char *const names[] = { "backends", "blkdevs", "channels" };
	struct json_object *array[3];

	for (unsigned i = 0; i < 3; i++) {
		array[i] = json_object_new_array();
		json_object_object_add(o, names[i], array[i]);
	}
	for (unsigned i = 0; i < rows->n; i++)
		json_object_array_add(array[rows->row[i].kind], of(opaque, &rows->row[i]));
}
