/* SPDX-License-Identifier: BSD-3-Clause */
/* top-text.c - rows of cbdctl top as lines and as JSON. */
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

static struct json_object *json_activity(const void *opaque, const struct row *r)
{
	static const char *const keys[] = { "requests_per_s", "bytes_per_s", "errors_per_s" };
	const struct top *top = opaque;
	struct json_object *o = json_row(top->t, top->path, r);

	json_object_object_add(o, "counted", json_object_new_boolean(r->rate.there));
	json_add_number(o, "interval_ms", r->rate.seconds * 1000);
	json_add_activity(o, &r->rate, keys);
	return o;
}

int top_print_json(const struct top *top, const struct rows *rows)
{
	struct json_object *o = json_object_new_object();
	const char *text;
	bool failed;

	json_object_object_add(o, "path", json_text(top->path));
	json_add_rows(o, rows, json_activity, top);
	text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
							 JSON_C_TO_STRING_NOSLASHESCAPE);
	failed = puts(text) == EOF || fflush(stdout) != 0;
	if (failed)
		complain("stdout: %m");
	json_object_put(o);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
