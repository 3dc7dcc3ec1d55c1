/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sample.h - a transport and all counters on it, read once; and rows of a table, with
 * rates, made of two samples.  What status, top and metrics have in common.
 */
#ifndef CBD_CTL_SAMPLE_H
#define CBD_CTL_SAMPLE_H

#include "held.h"

struct counted {
	bool there;   /* the owner has stored counters, and they are whole */
	bool unknown; /* they could not be read: nothing can be told from them later */
	struct cbd_counters c;
};

struct sample_backend {
	struct cbd_backend_info info;
	struct counted counted;
};

struct sample_blkdev {
	struct cbd_blkdev_info info;
	struct counted counted;
};

struct sample_channel {
	struct cbd_channel_info info;
	struct counted by_queue, by_handler;
};

struct sample {
	struct cbd_transport *t;
	struct cbd_transport_info info;
	struct sample_backend *backends; /* of all slots */
	struct sample_blkdev *blkdevs;
	struct sample_channel *channels; /* those that are granted */
	unsigned n_channels;
	char (*hosts)[CBD_NAME_SIZE]; /* names, by slot */
	unsigned hosts_alive, hosts_used;
	bool tell, failed; /* a slot could not be read */
};

/* NULL: out of memory, with a message.  STOPPED: also the counters of blkdevs that have
 * stopped; what nobody is shown is not read, and so cannot fail.  TELL: what cannot be read
 * is told on stderr; a screen has no place for that. */
struct sample *sample_take(struct cbd_transport *t, bool stopped, bool tell);
void sample_free(struct sample *s);

/* Open, and say what is wrong.  NULL: it failed. */
struct cbd_transport *sample_open(const char *path);

/* Whether a table shows the slot: used, or stopped and waited for. */
bool backend_is_shown(const struct sample_backend *b);
bool blkdev_is_used(const struct sample_blkdev *d);

/* ------------------------------------------------------------------- rates */

enum { DO_READ, DO_WRITE, DO_OTHER, DOES };

/* Of reads, writes and all others: sums or rates. */
struct doing {
	double requests, bytes, errors; /* totals; rates: of each second */
	uint64_t p50_ns, p99_ns;	/* 0: nothing was timed */
};

struct activity {
	bool there;
	double seconds;
	struct doing does[DOES];
	uint64_t p50_ns, p99_ns; /* of reads and writes together */
	uint64_t in_flight;
};

/* Since the owner took the slot; since BEFORE, of the same owner. */
struct activity activity_total(const struct counted *now);
struct activity activity_since(const struct counted *now, const struct counted *before);

/* -------------------------------------------------------------------- rows */

enum row_kind { ROW_BACKEND, ROW_BLKDEV, ROW_CHANNEL };

struct row {
	enum row_kind kind;
	unsigned id, backend, blkdev, queue; /* of a blkdev: its backend; of a channel: all */
	int host;			     /* -1: none */
	const char *name, *disk;	     /* of a backend; else "" */
	const char *host_name;
	const char *state;
	bool alive, stopped;
	struct owner owner; /* whose the slot is; of a channel: its blkdev's */
	const struct counted *counted;
	struct activity total, rate;
};

struct rows {
	struct row *row;
	unsigned n;
};

/* They point into NOW.  BEFORE may be NULL: without rates.  STOPPED: also blkdevs that have
 * stopped. */
bool rows_make(struct rows *rows, const struct sample *now, const struct sample *before,
	       bool stopped);

/* "id", "iops", "bytes", "p50", "p99", "in-flight", "errors"; -1: none of them. */
enum sort_key {
	SORT_ID,
	SORT_IOPS,
	SORT_BYTES,
	SORT_P50,
	SORT_P99,
	SORT_IN_FLIGHT,
	SORT_ERRORS,
	SORTS
};
int sort_key_parse(const char *text);
const char *sort_key_name(enum sort_key key);
void rows_sort(struct rows *rows, enum sort_key key); /* within each kind */

/* Sums over reads, writes and others. */
double activity_requests(const struct activity *a);
double activity_errors(const struct activity *a);

/* Why the slot of a row is kept, if it is. */
bool row_is_held(struct cbd_transport *t, const char *path, const struct row *r, struct held *h);

/* -------------------------------------------------------------------- JSON */

/* json-rows.c: an object of what the row is and how it is: numbers, alive, state, held. */
struct json_object *json_row(struct cbd_transport *t, const char *path, const struct row *r);

/* Requests in flight, and an object each of reads, writes and others.  KEYS: of requests,
 * bytes, errors. */
void json_add_activity(struct json_object *o, const struct activity *a, const char *const keys[3]);
void json_add_number(struct json_object *o, const char *key, double value);

/* An array for each kind, of what OF makes of each row. */
typedef struct json_object *json_row_fn(const void *opaque, const struct row *r);
void json_add_rows(struct json_object *o, const struct rows *rows, json_row_fn *of,
		   const void *opaque);

/* ------------------------------------------------------------------- texts */

/* What a row is, for the first column: "backend 1 name", "blkdev 0 of 1", "channel 1/0 d0 q0". */
#define OBJECT_SIZE 96
const char *row_object(const struct row *r, char text[OBJECT_SIZE]);

#define SHORT 16

/* "1.2M", "1.2MiB", "85us"; "-" for a time of 0. */
const char *short_count(double n, char text[SHORT]);
const char *short_bytes(double bytes, char text[SHORT]);
const char *short_time(uint64_t ns, char text[SHORT]);

/* TEXT in WIDTH columns: cut off, or filled with spaces. */
#define FIT 160
const char *fit(const char *text, unsigned width, char out[FIT]);

#endif
