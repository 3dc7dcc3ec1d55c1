/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * status.c - cbdctl status: what is on a transport, what it has done since it was started,
 * and what is wrong: a table for people, JSON for scripts.
 */
#include <config.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "sample.h"

enum { OPT_JSON = 256 };

static const struct option options[] = {
	{ "channels", no_argument, NULL, 'C' },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: cbdctl status [OPTION]... TRANSPORT\n"
	"Show backends and blkdevs, also those that have stopped, with what they have done, as a\n"
	"table.\n"
	"\n"
	"  -C, --channels         show the channels of those that live too\n"
	"      --json             show all of it, also channels, as JSON\n"
	"  -h, --help             show this help and exit";

/* Of one that lives when it began; of another one when it was heard of last. */
static const char *since(const struct row *r, char text[32])
{
	const struct cbd_counters *c = &r->counted->c;
	time_t at = (time_t)((r->alive ? c->stored_ns - c->uptime_ns : c->stored_ns) / 1000000000);
	struct tm tm;

	if (!r->counted->there || !localtime_r(&at, &tm) ||
	    strftime(text, 32, "%Y-%m-%d %H:%M", &tm) == 0)
		return "-";
	return text;
}

static void show_head(const char *path, const struct sample *s)
{
	const struct cbd_transport_info *i = &s->info;
	char size[SHORT];

	printf("%s%s%s: %s, coherence %s, heartbeat %u ms, %u of %u hosts alive\n\n", path,
	       i->label[0] ? " " : "", i->label, short_bytes((double)i->size, size),
	       i->coherence == CBD_COHERENCE_SOFTWARE ? "software" : "hardware", i->heartbeat_ms,
	       s->hosts_alive, s->hosts_used);
	printf("%-18s %-10s %-12s %-16s %6s %7s %6s %7s %6s %6s %6s %6s %5s\n", "OBJECT", "STATE",
	       "HOST", "SINCE", "READS", "READ", "WRITES", "WRITTEN", "OTHER", "ERRORS", "P50",
	       "P99", "BUSY");
}

static void show_counted(const struct row *r)
{
	const struct activity *a = &r->total;
	const struct doing *d = a->does;
	char text[9][SHORT];

	if (!a->there) {
		printf("%6s %7s %6s %7s %6s %6s %6s %6s %5s\n", "-", "-", "-", "-", "-", "-", "-",
		       "-", "-");
		return;
	}
	printf("%6s %7s %6s %7s %6s %6s %6s %6s %5s\n", short_count(d[DO_READ].requests, text[0]),
	       short_bytes(d[DO_READ].bytes, text[1]), short_count(d[DO_WRITE].requests, text[2]),
	       short_bytes(d[DO_WRITE].bytes, text[3]), short_count(d[DO_OTHER].requests, text[4]),
	       short_count(activity_errors(a), text[5]), short_time(a->p50_ns, text[6]),
	       short_time(a->p99_ns, text[7]),
	       r->alive ? short_count((double)a->in_flight, text[8]) : "-");
}

static void show_row(const struct row *r)
{
	char object[OBJECT_SIZE], time[32], text[3][FIT];

	printf("%s %s %s %-16s ", fit(row_object(r, object), 18, text[0]),
	       fit(r->state, 10, text[1]), fit(r->host_name, 12, text[2]), since(r, time));
	show_counted(r);
}

static void show_trouble_of(const struct row *r)
{
	const struct cbd_counters *c = &r->counted->c;
	const struct {
		uint64_t n;
		const char *what;
	} all[] = {
		{ c->bad_payloads, "bad payloads" },
		{ c->resends, "parts sent again" },
		{ c->time_outs, "time-outs" },
		{ c->losses, "losses of unflushed writes" },
		{ c->epochs_left, "epochs left" },
		{ c->silent_ns / 1000000000, "s without its backend" },
	};
	char object[OBJECT_SIZE];
	bool any = false;

	if (!r->counted->there)
		return;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (all[i].n == 0)
			continue;
		if (any)
			printf(", %llu %s", (unsigned long long)all[i].n, all[i].what);
		else
			printf("%s: %llu %s", row_object(r, object), (unsigned long long)all[i].n,
			       all[i].what);
		any = true;
	}
	if (any)
		putchar('\n');
}

static void show_held(struct cbd_transport *t, const char *path, const struct row *r)
{
	char object[OBJECT_SIZE];
	struct held h;

	if (row_is_held(t, path, r, &h))
		printf("%s: %s; to free it: %s\n", row_object(r, object), h.reason, h.free);
}

static void show(const char *path, const struct sample *s, const struct rows *rows, bool channels)
{
	unsigned shown = 0;

	show_head(path, s);
	for (unsigned i = 0; i < rows->n; i++)
		if (channels || rows->row[i].kind != ROW_CHANNEL) {
			show_row(&rows->row[i]);
			shown++;
		}
	if (shown == 0)
		puts("no backend and no blkdev");
	putchar('\n');
	for (unsigned i = 0; i < rows->n; i++) {
		if (rows->row[i].kind == ROW_CHANNEL)
			continue;
		show_trouble_of(&rows->row[i]);
		show_held(s->t, path, &rows->row[i]);
	}
}

/* -------------------------------------------------------------------- JSON */

static const char *const total_keys[] = { "requests", "bytes", "errors" };

struct shown {
	const char *path;
	struct cbd_transport *t;
};

/* What went wrong; zeroes of counters that are not there. */
static void add_trouble(struct json_object *o, const struct cbd_counters *c)
{
	json_add_number(o, "bad_payloads", (double)c->bad_payloads);
	json_add_number(o, "resends", (double)c->resends);
	json_add_number(o, "time_outs", (double)c->time_outs);
	json_add_number(o, "losses", (double)c->losses);
	json_add_number(o, "epochs_left", (double)c->epochs_left);
	json_add_number(o, "silent_ms", (double)(c->silent_ns / 1000000));
}

static struct json_object *json_total(const void *opaque, const struct row *r)
{
	static const struct cbd_counters none;
	const struct shown *shown = opaque;
	struct json_object *o = json_row(shown->t, shown->path, r);
	const struct cbd_counters *c = r->counted->there ? &r->counted->c : &none;

	json_object_object_add(o, "counted", json_object_new_boolean(r->total.there));
	json_add_number(o, "uptime_ms", (double)(c->uptime_ns / 1000000));
	json_add_number(o, "stored_s", (double)(c->stored_ns / 1000000000));
	json_add_activity(o, &r->total, total_keys);
	add_trouble(o, c);
	return o;
}

static int show_json(const char *path, const struct sample *s, const struct rows *rows)
{
	const struct shown shown = { path, s->t };
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "path", json_text(path));
	json_object_object_add(o, "transport", json_transport(path, s->t, false));
	json_add_number(o, "hosts_alive", s->hosts_alive);
	json_add_number(o, "hosts_used", s->hosts_used);
	json_add_rows(o, rows, json_total, &shown);
	return json_print(o);
}

/* ----------------------------------------------------------------- command */

static int show_sample(const char *path, const struct sample *s, bool channels, bool json)
{
	int status = EXIT_SUCCESS;
	struct rows rows;

	if (!rows_make(&rows, s, NULL, true))
		return EXIT_FAILURE;
	if (json)
		status = show_json(path, s, &rows);
	else
		show(path, s, &rows, channels);
	free(rows.row);
	return s->failed ? EXIT_FAILURE : status;
}

static int status_of(const char *path, struct cbd_transport *t, bool channels, bool json)
{
	struct sample *s;
	int status;

	/* whether an owner lives is known only after its heartbeats were watched */
	if (cbd_transport_watch(t) < 0) {
		complain("%s", cbd_errmsg());
		return EXIT_FAILURE;
	}
	s = sample_take(t, true, true);
	status = s ? show_sample(path, s, channels, json) : EXIT_FAILURE;
	sample_free(s);
	return status;
}

int cmd_status(int argc, char **argv)
{
	bool channels = false, json = false;
	struct cbd_transport *t;
	const char *path;
	int option, status;

	while ((option = getopt_long(argc, argv, "Ch", options, NULL)) != -1)
		switch (option) {
		case 'C':
			channels = true;
			break;
		case OPT_JSON:
			json = true;
			break;
		case 'h':
			puts(help);
			return EXIT_SUCCESS;
		default:
			unknown_option("status");
		}
	path = only_operand("status", argc, argv);
	t = sample_open(path);
	if (!t)
		return EXIT_FAILURE;
	status = status_of(path, t, channels, json);
	cbd_transport_close(t);
	return status;
}
