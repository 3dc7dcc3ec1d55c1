/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * metrics.c - cbdctl metrics: counters for a monitoring system, as OpenMetrics or in the
 * older text format of Prometheus.  Owns the names, which dashboards rely on and which
 * cbdctl(1) documents.
 *
 * The two formats differ in one thing here: of a counter OpenMetrics declares the name
 * without "_total", Prometheus with it.
 */
#include <config.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

enum { OPT_PROMETHEUS = 256 };

static const struct option options[] = {
	{ "prometheus", no_argument, NULL, OPT_PROMETHEUS },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: cbdctl metrics [OPTION]... TRANSPORT\n"
	"Show counters of backends, blkdevs and channels for a monitoring system, as\n"
	"OpenMetrics.\n"
	"\n"
	"      --prometheus       in the text format of Prometheus, for the textfile collector\n"
	"                         of its node exporter\n"
	"  -h, --help             show this help and exit";

/* The first bucket that is shown ends at 1.024 us, the last but "+Inf" at 68.7 s. */
#define FIRST_BUCKET 2
#define LAST_BUCKET 28

#define OPS 7 /* those that have a name, and 0 for all others */
static const char *const op_names[OPS] = { "other",   "read",	      "write",	     "flush",
					   "discard", "write_zeroes", "block_status" };

enum type { COUNTER, GAUGE, INFO, HISTOGRAM };

struct metrics {
	const char *transport; /* the path, escaped */
	const struct sample *s;
	bool prometheus;
};

/* ------------------------------------------------------------------- lines */

/* A label's value: a backslash, a quote and a new line are escaped. */
static void escape(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (; *text != '\0' && n + 3 < size; text++) {
		if (*text == '\\' || *text == '"' || *text == '\n')
			out[n++] = '\\';
		out[n++] = *text == '\n' ? 'n' : *text;
	}
	out[n] = '\0';
}

/* Begin a family.  NAME: without "_total" and "_info". */
static void family(const struct metrics *m, enum type type, const char *name, const char *unit,
		   const char *text)
{
	static const char *const types[] = { "counter", "gauge", "info", "histogram" };
	const char *suffix = "", *type_name = types[type];

	if (m->prometheus && type == COUNTER)
		suffix = "_total";
	if (m->prometheus && type == INFO) {
		suffix = "_info";
		type_name = "gauge";
	}
	printf("# TYPE cbd_%s%s %s\n", name, suffix, type_name);
	if (unit && !m->prometheus)
		printf("# UNIT cbd_%s %s\n", name, unit);
	printf("# HELP cbd_%s%s %s\n", name, suffix, text);
}

/* Whom a sample is of: the labels, without braces. */
#define LABELS (2 * PATH_MAX + 400)

/* A number of nanoseconds, as seconds, with all its digits. */
static void seconds(const char *name, const char *suffix, const char *labels, uint64_t ns)
{
	printf("cbd_%s%s{%s} %llu.%09llu\n", name, suffix, labels,
	       (unsigned long long)(ns / 1000000000), (unsigned long long)(ns % 1000000000));
}

static void number(const char *name, const char *suffix, const char *labels, uint64_t n)
{
	printf("cbd_%s%s{%s} %llu\n", name, suffix, labels, (unsigned long long)n);
}

/* ------------------------------------------------------------------ owners */

/* Backends and blkdevs have the same counters. */
struct owners {
	const char *kind;  /* "backend", "blkdev" */
	const char *times; /* what a histogram of times is called, */
	const char *told;  /* and of what it is */
};

static const struct owners kinds[] = {
	{ "backend", "service_seconds", "from fetched to answered" },
	{ "blkdev", "latency_seconds", "from submitted to complete" },
};

struct one {
	char labels[LABELS];
	const struct counted *counted;
};

struct all {
	struct one *one;
	unsigned n;
};

static void backend_labels(const struct metrics *m, unsigned id, char labels[LABELS])
{
	snprintf(labels, LABELS, "transport=\"%s\",backend=\"%u\"", m->transport, id);
}

static void blkdev_labels(const struct metrics *m, const struct cbd_blkdev_info *i,
			  char labels[LABELS])
{
	snprintf(labels, LABELS, "transport=\"%s\",blkdev=\"%u\",backend=\"%u\"", m->transport,
		 i->id, i->backend_id);
}

static void collect(const struct metrics *m, bool backends, struct all *all)
{
	const struct sample *s = m->s;

	all->n = 0;
	all->one = calloc(s->info.backends + s->info.blkdevs, sizeof *all->one);
	if (!all->one)
		return;
	for (unsigned i = 0; backends && i < s->info.backends; i++)
		if (backend_is_shown(&s->backends[i])) {
			backend_labels(m, i, all->one[all->n].labels);
			all->one[all->n++].counted = &s->backends[i].counted;
		}
	for (unsigned i = 0; !backends && i < s->info.blkdevs; i++)
		if (blkdev_is_used(&s->blkdevs[i])) {
			blkdev_labels(m, &s->blkdevs[i].info, all->one[all->n].labels);
			all->one[all->n++].counted = &s->blkdevs[i].counted;
		}
}

/* ------------------------------------------------------------- of an op each */

enum of_op { REQUESTS, BYTES, ERRORS };

static uint64_t value_of(const struct cbd_op_counters *o, enum of_op what)
{
	return what == REQUESTS ? o->requests : what == BYTES ? o->bytes : o->errors;
}

/* Operations that this version has no name for count as one. */
static uint64_t op_value(const struct cbd_counters *c, unsigned op, enum of_op what)
{
	uint64_t n = value_of(&c->ops[op], what);

	for (unsigned i = OPS; op == 0 && i < CBD_COUNTED_OPS; i++)
		n += value_of(&c->ops[i], what);
	return n;
}

/* The five operations always; the others where there were any. */
static void op_samples(const char *name, const char *labels, const struct cbd_counters *c,
		       enum of_op what)
{
	char more[LABELS + 32];

	for (unsigned op = 0; op < OPS; op++) {
		if ((op == 0 || op > CBD_OP_WRITE_ZEROES) && op_value(c, op, REQUESTS) == 0)
			continue;
		snprintf(more, sizeof more, "%s,op=\"%s\"", labels, op_names[op]);
		number(name, "_total", more, op_value(c, op, what));
	}
}

static void op_family(const struct metrics *m, const struct owners *k, const struct all *all,
		      const char *what_name, const char *unit, enum of_op what, const char *text)
{
	char name[64];

	snprintf(name, sizeof name, "%s_%s", k->kind, what_name);
	family(m, COUNTER, name, unit, text);
	for (unsigned i = 0; i < all->n; i++)
		if (all->one[i].counted->there)
			op_samples(name, all->one[i].labels, &all->one[i].counted->c, what);
}

/* --------------------------------------------------------------- histograms */

static uint64_t add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static uint64_t time_of(const struct cbd_counters *c, unsigned of)
{
	uint64_t ns = 0;

	if (of == CBD_LATENCY_READ)
		return c->ops[CBD_OP_READ].time_ns;
	if (of == CBD_LATENCY_WRITE)
		return c->ops[CBD_OP_WRITE].time_ns;
	for (unsigned op = 0; op < CBD_COUNTED_OPS; op++)
		if (op != CBD_OP_READ && op != CBD_OP_WRITE)
			ns = add(ns, c->ops[op].time_ns);
	return ns;
}

/* Buckets are cumulative. */
static void histogram(const char *name, const char *labels, const struct cbd_counters *c,
		      unsigned of)
{
	static const char *const names[] = { "read", "write", "other" };
	uint64_t below = 0;
	char more[LABELS + 64];

	for (unsigned k = 0; k < CBD_LATENCY_BUCKETS; k++) {
		below = add(below, c->latency[of][k]);
		if (k < FIRST_BUCKET || k > LAST_BUCKET)
			continue;
		snprintf(more, sizeof more, "%s,op=\"%s\",le=\"%.12g\"", labels, names[of],
			 (double)(1ull << (k + 8)) / 1e9);
		number(name, "_bucket", more, below);
	}
	snprintf(more, sizeof more, "%s,op=\"%s\",le=\"+Inf\"", labels, names[of]);
	number(name, "_bucket", more, below);
	snprintf(more, sizeof more, "%s,op=\"%s\"", labels, names[of]);
	seconds(name, "_sum", more, time_of(c, of));
	number(name, "_count", more, below);
}

static void histograms(const struct metrics *m, const struct owners *k, const struct all *all)
{
	char name[64], text[200];

	snprintf(name, sizeof name, "%s_%s", k->kind, k->times);
	snprintf(text, sizeof text,
		 "Time of requests %s, of those that were timed: all, or one in 64 of many.",
		 k->told);
	family(m, HISTOGRAM, name, "seconds", text);
	for (unsigned i = 0; i < all->n; i++)
		for (unsigned of = 0; of < CBD_LATENCIES && all->one[i].counted->there; of++)
			histogram(name, all->one[i].labels, &all->one[i].counted->c, of);
}

/* ------------------------------------------------------------ single values */

static uint64_t in_flight(const struct cbd_counters *c)
{
	uint64_t n = 0;

	for (unsigned op = 0; op < CBD_COUNTED_OPS; op++)
		n = add(n, c->ops[op].begun - c->ops[op].requests);
	return n;
}

static uint64_t started(const struct cbd_counters *c)
{
	return c->stored_ns > c->uptime_ns ? c->stored_ns - c->uptime_ns : 0;
}

#define OF(member)                                                 \
	static uint64_t get_##member(const struct cbd_counters *c) \
	{                                                          \
		return c->member;                                  \
	}
OF(bad_payloads)
OF(resends)
OF(retries)
OF(time_outs)
OF(losses)
OF(epochs)
OF(epochs_left)
OF(silent_ns)
OF(poll_ns)
OF(sleep_ns)
OF(sleeps)
OF(stored_ns)

enum { BACKENDS = 1, BLKDEVS = 2, BOTH = 3 };

static const struct value {
	const char *name;
	enum type type;
	bool is_time;
	unsigned of;
	uint64_t (*get)(const struct cbd_counters *c);
	const char *text;
} values[] = {
	{ "in_flight", GAUGE, false, BOTH, in_flight, "Requests that have begun and not ended." },
	{ "bad_payloads", COUNTER, false, BOTH, get_bad_payloads,
	  "Payloads whose checksum stayed wrong." },
	{ "resends", COUNTER, false, BLKDEVS, get_resends,
	  "Parts of requests that were sent again for a bad payload." },
	{ "payload_retries", COUNTER, false, BOTH, get_retries,
	  "Payloads that were copied again because their checksum was wrong." },
	{ "time_outs", COUNTER, false, BLKDEVS, get_time_outs, "Requests that have timed out." },
	{ "losses", COUNTER, false, BOTH, get_losses,
	  "How often writes that were not flushed may have been lost." },
	{ "epochs", COUNTER, false, BOTH, get_epochs, "Epochs of channels that have begun." },
	{ "epochs_left", COUNTER, false, BOTH, get_epochs_left,
	  "Epochs that were left because something was damaged or stood still." },
	{ "backend_silent_seconds", COUNTER, true, BLKDEVS, get_silent_ns,
	  "Time in which the backend was suspect." },
	{ "poll_seconds", COUNTER, true, BOTH, get_poll_ns,
	  "Time of the threads that wait for entries, awake." },
	{ "sleep_seconds", COUNTER, true, BOTH, get_sleep_ns,
	  "Time of the threads that wait for entries, asleep." },
	{ "sleeps", COUNTER, false, BOTH, get_sleeps, "How often these threads slept." },
	{ "start_time_seconds", GAUGE, true, BOTH, started,
	  "When the owner began to count, since 1970, by its clock." },
	{ "counted_time_seconds", GAUGE, true, BOTH, get_stored_ns,
	  "When the owner stored its counters last, since 1970, by its clock." },
};

static void value_family(const struct metrics *m, const struct owners *k, const struct all *all,
			 const struct value *v)
{
	char name[64];

	snprintf(name, sizeof name, "%s_%s", k->kind, v->name);
	family(m, v->type, name, v->is_time ? "seconds" : NULL, v->text);
	for (unsigned i = 0; i < all->n; i++) {
		const struct one *o = &all->one[i];

		if (o->counted->there)
			(v->is_time ? seconds : number)(name, v->type == COUNTER ? "_total" : "",
							o->labels, v->get(&o->counted->c));
	}
}

static void counters(const struct metrics *m, bool backends)
{
	const struct owners *k = &kinds[!backends];
	struct all all;

	collect(m, backends, &all);
	op_family(m, k, &all, "requests", NULL, REQUESTS, "Requests that have ended.");
	op_family(m, k, &all, "io_bytes", "bytes", BYTES, "Bytes of requests that ended well.");
	op_family(m, k, &all, "errors", NULL, ERRORS, "Requests that have failed.");
	histograms(m, k, &all);
	for (size_t i = 0; i < sizeof values / sizeof *values; i++)
		if (values[i].of & (backends ? BACKENDS : BLKDEVS))
			value_family(m, k, &all, &values[i]);
	free(all.one);
}

/* ------------------------------------------------------------------- states */

static void transport_info(const struct metrics *m)
{
	char label[4 * sizeof m->s->info.label];
	struct json_object *uuid = json_uuid(m->s->info.uuid);

	escape(m->s->info.label, label, sizeof label);
	family(m, INFO, "transport", NULL, "A transport.");
	printf("cbd_transport_info{transport=\"%s\",uuid=\"%s\",label=\"%s\"} 1\n", m->transport,
	       json_object_get_string(uuid), label);
	json_object_put(uuid);
	family(m, GAUGE, "transport_hosts_alive", NULL, "Hosts whose heartbeat moves.");
	printf("cbd_transport_hosts_alive{transport=\"%s\"} %u\n", m->transport, m->s->hosts_alive);
}

static void backend_info(const struct metrics *m)
{
	char labels[LABELS], name[4 * CBD_NAME_SIZE], host[4 * CBD_NAME_SIZE];

	family(m, INFO, "backend", NULL, "A backend: its name, and the host that serves it.");
	for (unsigned i = 0; i < m->s->info.backends; i++) {
		const struct cbd_backend_info *b = &m->s->backends[i].info;

		if (!backend_is_shown(&m->s->backends[i]))
			continue;
		escape(b->name, name, sizeof name);
		escape(b->host_id < m->s->info.hosts ? m->s->hosts[b->host_id] : "", host,
		       sizeof host);
		backend_labels(m, i, labels);
		printf("cbd_backend_info{%s,name=\"%s\",host=\"%s\"} 1\n", labels, name, host);
	}
}

static void blkdev_info(const struct metrics *m)
{
	char labels[LABELS], host[4 * CBD_NAME_SIZE];

	family(m, INFO, "blkdev", NULL, "A blkdev: the host that uses it.");
	for (unsigned i = 0; i < m->s->info.blkdevs; i++) {
		const struct cbd_blkdev_info *d = &m->s->blkdevs[i].info;

		if (!blkdev_is_used(&m->s->blkdevs[i]))
			continue;
		escape(d->host_id < m->s->info.hosts ? m->s->hosts[d->host_id] : "", host,
		       sizeof host);
		blkdev_labels(m, d, labels);
		printf("cbd_blkdev_info{%s,host=\"%s\"} 1\n", labels, host);
	}
}

static uint64_t backend_value(const struct cbd_backend_info *b, const char *name)
{
	if (strcmp(name, "backend_up") == 0)
		return b->liveness == CBD_ALIVE;
	if (strcmp(name, "backend_held") == 0)
		return b->liveness == CBD_DEAD || b->liveness == CBD_SUSPECT;
	return strcmp(name, "backend_size_bytes") == 0 ? b->size : b->blkdevs;
}

static void backend_state(const struct metrics *m, const char *name, const char *unit,
			  const char *text)
{
	char labels[LABELS];

	family(m, GAUGE, name, unit, text);
	for (unsigned i = 0; i < m->s->info.backends; i++)
		if (backend_is_shown(&m->s->backends[i])) {
			backend_labels(m, i, labels);
			number(name, "", labels, backend_value(&m->s->backends[i].info, name));
		}
}

static void blkdev_state(const struct metrics *m, const char *name, bool held, const char *text)
{
	char labels[LABELS];

	family(m, GAUGE, name, NULL, text);
	for (unsigned i = 0; i < m->s->info.blkdevs; i++) {
		const struct cbd_blkdev_info *d = &m->s->blkdevs[i].info;

		if (!blkdev_is_used(&m->s->blkdevs[i]))
			continue;
		blkdev_labels(m, d, labels);
		number(name, "", labels,
		       held ? d->liveness == CBD_DEAD || d->liveness == CBD_SUSPECT
			    : d->liveness == CBD_ALIVE);
	}
}

static void states(const struct metrics *m)
{
	transport_info(m);
	backend_info(m);
	backend_state(m, "backend_up", NULL, "Whether its heartbeat moves.");
	backend_state(m, "backend_held", NULL,
		      "Whether its slot is kept although its process is not seen to live.");
	backend_state(m, "backend_size_bytes", "bytes", "Size of its disk.");
	backend_state(m, "backend_blkdevs", NULL, "Blkdevs that are attached.");
	blkdev_info(m);
	blkdev_state(m, "blkdev_up", false, "Whether its heartbeat moves.");
	blkdev_state(m, "blkdev_held", true,
		     "Whether its slot is kept although its process is not seen to live.");
}

/* ----------------------------------------------------------------- channels */

static const struct counted *channel_counted(const struct sample_channel *c)
{
	return c->by_queue.there ? &c->by_queue : &c->by_handler;
}

static void channel_family(const struct metrics *m, const char *name, const char *unit,
			   enum of_op what, const char *text)
{
	char labels[LABELS];

	family(m, COUNTER, name, unit, text);
	for (unsigned i = 0; i < m->s->n_channels; i++) {
		const struct sample_channel *c = &m->s->channels[i];

		if (!channel_counted(c)->there)
			continue;
		snprintf(labels, sizeof labels,
			 "transport=\"%s\",backend=\"%u\",channel=\"%u\",blkdev=\"%u\",queue=\"%u\"",
			 m->transport, c->info.backend_id, c->info.id, c->info.blkdev_id,
			 c->info.queue);
		op_samples(name, labels, &channel_counted(c)->c, what);
	}
}

static void show(const struct metrics *m)
{
	states(m);
	counters(m, true);
	counters(m, false);
	channel_family(m, "channel_requests", NULL, REQUESTS, "Requests that have ended.");
	channel_family(m, "channel_io_bytes", "bytes", BYTES, "Bytes of requests that ended well.");
	if (!m->prometheus)
		puts("# EOF");
}

static int metrics(const char *path, struct cbd_transport *t, bool prometheus)
{
	char transport[2 * PATH_MAX];
	struct json_object *text = json_text(path); /* a path may be any bytes */
	struct metrics m = { .transport = transport, .prometheus = prometheus };
	struct sample *s;
	int status;

	escape(text ? json_object_get_string(text) : "", transport, sizeof transport);
	json_object_put(text);
	/* whether an owner lives is known only after its heartbeats were watched */
	if (cbd_transport_watch(t) < 0) {
		complain("%s", cbd_errmsg());
		return EXIT_FAILURE;
	}
	s = sample_take(t, false, true);
	if (!s)
		return EXIT_FAILURE;
	m.s = s;
	show(&m);
	status = s->failed ? EXIT_FAILURE : EXIT_SUCCESS;
	sample_free(s);
	return status;
}

int cmd_metrics(int argc, char **argv)
{
	struct cbd_transport *t;
	bool prometheus = false;
	const char *path;
	int option, status;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		switch (option) {
		case OPT_PROMETHEUS:
			prometheus = true;
			break;
		case 'h':
			puts(help);
			return EXIT_SUCCESS;
		default:
			unknown_option("metrics");
		}
	path = only_operand("metrics", argc, argv);
	t = sample_open(path);
	if (!t)
		return EXIT_FAILURE;
	status = metrics(path, t, prometheus);
	cbd_transport_close(t);
	return status;
}
