/* SPDX-License-Identifier: BSD-3-Clause */
/* rows.c - the rows of a table, of two samples; their order; short texts. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

static const char *host_name(const struct sample *s, unsigned host)
{
	return host < s->info.hosts ? s->hosts[host] : "";
}

static struct row backend_row(const struct sample *s, const struct sample_backend *b)
{
	const struct cbd_backend_info *i = &b->info;

	return (struct row){ .kind = ROW_BACKEND,
			     .id = i->id,
			     .backend = i->id,
			     .host = (int)i->host_id,
			     .name = i->name,
			     .disk = i->path,
			     .host_name = host_name(s, i->host_id),
			     .state = seen_state(i->liveness, slot_state_name(i->state)),
			     .alive = i->liveness == CBD_ALIVE,
			     .stopped = i->liveness == CBD_FREE,
			     .owner = { CBD_OBJECT_BACKEND, i->id, i->host_id, i->liveness,
					i->local },
			     .counted = &b->counted };
}

static struct row blkdev_row(const struct sample *s, const struct sample_blkdev *d)
{
	const struct cbd_blkdev_info *i = &d->info;
	const char *state = i->liveness == CBD_FREE && i->state == CBD_STATE_FREE
				    ? "stopped"
				    : slot_state_name(i->state);

	return (struct row){ .kind = ROW_BLKDEV,
			     .id = i->id,
			     .backend = i->backend_id,
			     .blkdev = i->id,
			     .host = (int)i->host_id,
			     .name = "",
			     .disk = "",
			     .host_name = host_name(s, i->host_id),
			     .state = seen_state(i->liveness, state),
			     .alive = i->liveness == CBD_ALIVE,
			     .stopped = i->liveness == CBD_FREE,
			     .owner = { CBD_OBJECT_BLKDEV, i->id, i->host_id, i->liveness,
					i->local },
			     .counted = &d->counted };
}

/* What its queue has counted, or where that has not yet, its handler. */
static const struct counted *channel_counted(const struct sample_channel *c)
{
	return c->by_queue.there ? &c->by_queue : &c->by_handler;
}

static struct row channel_row(const struct sample *s, const struct sample_channel *c)
{
	const struct cbd_channel_info *i = &c->info;
	struct row r = { .kind = ROW_CHANNEL,
			 .id = i->id,
			 .backend = i->backend_id,
			 .blkdev = i->blkdev_id,
			 .queue = i->queue,
			 .host = -1,
			 .name = "",
			 .disk = "",
			 .host_name = "",
			 .state = grant_state_name(i->state),
			 .counted = channel_counted(c) };

	if (i->blkdev_id < s->info.blkdevs) {
		struct row d = blkdev_row(s, &s->blkdevs[i->blkdev_id]);

		r.host = d.host;
		r.host_name = d.host_name;
		r.alive = d.alive;
		r.owner = d.owner;
	}
	return r;
}

/* ------------------------------------------------------------------ making */

static const struct counted *before_of(const struct sample *before, const struct row *r)
{
	if (!before)
		return NULL;
	if (r->kind == ROW_BACKEND)
		return &before->backends[r->id].counted;
	if (r->kind == ROW_BLKDEV)
		return &before->blkdevs[r->id].counted;
	for (unsigned i = 0; i < before->n_channels; i++) {
		const struct sample_channel *c = &before->channels[i];

		if (c->info.backend_id == r->backend && c->info.id == r->id &&
		    c->info.blkdev_id == r->blkdev)
			return channel_counted(c);
	}
	return NULL;
}

static void add(struct rows *rows, struct row r, const struct sample *before)
{
	const struct counted *b = before_of(before, &r);

	r.total = activity_total(r.counted);
	if (before)
		r.rate = activity_since(r.counted, b);
	/* of one that is not alive nothing is in flight that anybody could tell */
	if (!r.alive)
		r.rate.in_flight = 0;
	rows->row[rows->n++] = r;
}

bool rows_make(struct rows *rows, const struct sample *now, const struct sample *before,
	       bool stopped)
{
	rows->n = 0;
	rows->row = calloc(now->info.backends + now->info.blkdevs + now->n_channels + 1,
			   sizeof *rows->row);
	if (!rows->row) {
		complain("%m");
		return false;
	}
	for (unsigned i = 0; i < now->info.backends; i++)
		if (backend_is_shown(&now->backends[i]))
			add(rows, backend_row(now, &now->backends[i]), before);
	for (unsigned i = 0; i < now->info.blkdevs; i++)
		if (blkdev_is_used(&now->blkdevs[i]) || (stopped && now->blkdevs[i].counted.there))
			add(rows, blkdev_row(now, &now->blkdevs[i]), before);
	for (unsigned i = 0; i < now->n_channels; i++)
		add(rows, channel_row(now, &now->channels[i]), before);
	return true;
}

/* ----------------------------------------------------------------- sorting */

static const char *const sort_names[SORTS] = {
	[SORT_ID] = "id",	  [SORT_IOPS] = "iops", [SORT_BYTES] = "bytes",
	[SORT_P50] = "p50",	  [SORT_P99] = "p99",	[SORT_IN_FLIGHT] = "in-flight",
	[SORT_ERRORS] = "errors",
};

int sort_key_parse(const char *text)
{
	for (int i = 0; i < SORTS; i++)
		if (strcmp(text, sort_names[i]) == 0)
			return i;
	return -1;
}

const char *sort_key_name(enum sort_key key)
{
	return sort_names[key];
}

static double value_of(const struct row *r, enum sort_key key)
{
	const struct activity *a = &r->rate;

	switch (key) {
	case SORT_IOPS:
		return activity_requests(a);
	case SORT_BYTES:
		return a->does[DO_READ].bytes + a->does[DO_WRITE].bytes;
	case SORT_P50:
		return (double)a->p50_ns;
	case SORT_P99:
		return (double)a->p99_ns;
	case SORT_IN_FLIGHT:
		return (double)a->in_flight;
	case SORT_ERRORS:
		return activity_errors(a);
	default:
		return 0;
	}
}

static enum sort_key sort_by;

static int by_key(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	double vx = value_of(x, sort_by), vy = value_of(y, sort_by);

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (vx != vy)
		return vx > vy ? -1 : 1;
	if (x->kind == ROW_CHANNEL && x->backend != y->backend)
		return x->backend < y->backend ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

void rows_sort(struct rows *rows, enum sort_key key)
{
	sort_by = key;
	qsort(rows->row, rows->n, sizeof *rows->row, by_key);
}

/* ------------------------------------------------------------------- texts */

bool row_is_held(struct cbd_transport *t, const char *path, const struct row *r, struct held *h)
{
	char word[WORD_SIZE];

	/* a channel is kept for its blkdev, which has a row of its own */
	if (r->kind == ROW_CHANNEL)
		return false;
	shell_quote(path, word, sizeof word);
	return slot_is_held(t, word, &r->owner, h);
}

const char *row_object(const struct row *r, char text[OBJECT_SIZE])
{
	if (r->kind == ROW_BACKEND)
		snprintf(text, OBJECT_SIZE, "backend %u%s%s", r->id, r->name[0] ? " " : "",
			 r->name);
	else if (r->kind == ROW_BLKDEV)
		snprintf(text, OBJECT_SIZE, "blkdev %u of %u", r->id, r->backend);
	else
		snprintf(text, OBJECT_SIZE, "channel %u/%u d%u q%u", r->backend, r->id, r->blkdev,
			 r->queue);
	return text;
}

static const char *scaled(double n, double unit, const char *const *suffixes, char text[SHORT])
{
	unsigned i = 0;

	while (n >= unit && i < 6) {
		n /= unit;
		i++;
	}
	if (n >= unit)
		n = unit - 1; /* a number that nobody can have counted */
	snprintf(text, SHORT,
		 n < 10 && n > 0 && (i > 0 || n != (double)(int)n) ? "%.1f%s" : "%.0f%s", n,
		 suffixes[i]);
	return text;
}

const char *short_count(double n, char text[SHORT])
{
	static const char *const suffixes[] = { "", "k", "M", "G", "T", "P", "E" };

	return scaled(n, 1000, suffixes, text);
}

const char *short_bytes(double bytes, char text[SHORT])
{
	static const char *const suffixes[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };

	return scaled(bytes, 1024, suffixes, text);
}

const char *short_time(uint64_t ns, char text[SHORT])
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	double n = (double)ns;
	unsigned i = 0;

	if (ns == 0) {
		snprintf(text, SHORT, "-");
		return text;
	}
	while (n >= 1000 && i < 3) {
		n /= 1000;
		i++;
	}
	snprintf(text, SHORT, n < 10 ? "%.1f%s" : "%.0f%s", n, units[i]);
	return text;
}

/* A byte that begins no character of UTF-8 takes no column. */
const char *fit(const char *text, unsigned width, char out[FIT])
{
	unsigned columns = 0;
	size_t n = 0;

	while (*text != '\0' && n < FIT - width - 5) {
		if (((unsigned char)*text & 0xc0) != 0x80 && columns++ == width)
			break;
		out[n++] = *text++;
	}
	if (columns > width)
		columns = width;
	while (columns++ < width && n < FIT - 1)
		out[n++] = ' ';
	out[n] = '\0';
	return out;
}
