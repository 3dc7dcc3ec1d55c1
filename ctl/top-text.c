/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * top-text.c - rows of cbdctl top as lines and as JSON.  Owns the names of the attributes,
 * which scripts rely on and which cbdctl(1) documents.
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#include "top.h"

/* ------------------------------------------------------------------- lines */

void top_heading(char line[TOP_LINE])
{
	snprintf(line, TOP_LINE, "%-18s %-10s %-12s %6s %9s %9s %6s %6s %5s %6s  %s", "OBJECT",
		 "STATE", "HOST", "IOPS", "READ/s", "WRITTEN/s", "P50", "P99", "BUSY", "ERR/s",
		 "HELD");
}

void top_line(const struct top *top, const struct row *r, char line[TOP_LINE])
{
	const struct activity *a = &r->rate;
	char object[OBJECT_SIZE], text[7][SHORT], wide[3][FIT];
	struct held h;
	int n;

	n = snprintf(line, TOP_LINE, "%s %s %s ", fit(row_object(r, object), 18, wide[0]),
		     fit(r->state, 10, wide[1]), fit(r->host_name, 12, wide[2]));
	if (a->there)
		n += snprintf(line + n, TOP_LINE - n, "%6s %9s %9s %6s %6s %5s %6s",
			      short_count(activity_requests(a), text[0]),
			      short_bytes(a->does[DO_READ].bytes, text[1]),
			      short_bytes(a->does[DO_WRITE].bytes, text[2]),
			      short_time(a->p50_ns, text[3]), short_time(a->p99_ns, text[4]),
			      short_count((double)a->in_flight, text[5]),
			      short_count(activity_errors(a), text[6]));
	else
		n += snprintf(line + n, TOP_LINE - n, "%6s %9s %9s %6s %6s %5s %6s", "-", "-", "-",
			      "-", "-", "-", "-");
	if (row_is_held(top->t, top->path, r, &h))
		snprintf(line + n, TOP_LINE - n, "  %s", h.free);
}

/* -------------------------------------------------------------------- JSON */

static void add_number(struct json_object *o, const char *key, double value)
{
	/* as large as can be: a peer's word */
	json_object_object_add(o, key,
			       json_object_new_uint64(value < 1e18 ? (uint64_t)(value + 0.5)
								   : 1000000000000000000ull));
}

static struct json_object *json_doing(const struct doing *d)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "requests_per_s", d->requests);
	add_number(o, "bytes_per_s", d->bytes);
	add_number(o, "errors_per_s", d->errors);
	add_number(o, "p50_ns", (double)d->p50_ns);
	add_number(o, "p99_ns", (double)d->p99_ns);
	return o;
}

static void add_ids(struct json_object *o, const struct row *r)
{
	add_number(o, "backend_id", r->backend);
	if (r->kind == ROW_BACKEND)
		json_object_object_add(o, "name", json_text(r->name));
	if (r->kind == ROW_BLKDEV)
		add_number(o, "mapped_id", r->id);
	if (r->kind == ROW_CHANNEL) {
		add_number(o, "channel_id", r->id);
		add_number(o, "blkdev_id", r->blkdev);
		add_number(o, "queue", r->queue);
	}
	if (r->host >= 0)
		add_number(o, "host_id", r->host);
}

static struct json_object *json_row(const struct top *top, const struct row *r)
{
	static const char *const names[DOES] = { "read", "write", "other" };
	struct json_object *o = json_object_new_object();
	struct held h;

	add_ids(o, r);
	json_object_object_add(o, "alive", json_object_new_boolean(r->alive));
	json_object_object_add(o, "state", json_text(r->state));
	json_object_object_add(o, "held",
			       row_is_held(top->t, top->path, r, &h) ? json_text(h.free) : NULL);
	json_object_object_add(o, "counted", json_object_new_boolean(r->rate.there));
	add_number(o, "interval_ms", r->rate.seconds * 1000);
	add_number(o, "in_flight", (double)r->rate.in_flight);
	for (unsigned i = 0; i < DOES; i++)
		json_object_object_add(o, names[i], json_doing(&r->rate.does[i]));
	return o;
}

int top_print_json(const struct top *top, const struct rows *rows)
{
	static const char *const names[] = { "backends", "blkdevs", "channels" };
	struct json_object *o = json_object_new_object(), *array[3];
	const char *text;
	bool failed;

	json_object_object_add(o, "path", json_text(top->path));
	for (unsigned i = 0; i < 3; i++) {
		array[i] = json_object_new_array();
		json_object_object_add(o, names[i], array[i]);
	}
	for (unsigned i = 0; i < rows->n; i++)
		json_object_array_add(array[rows->row[i].kind], json_row(top, &rows->row[i]));
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
							 JSON_C_TO_STRING_NOSLASHESCAPE);
	failed = puts(text) == EOF || fflush(stdout) != 0;
	if (failed)
		complain("stdout: %m");
	json_object_put(o);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
