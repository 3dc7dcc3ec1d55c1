/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sample.c - read a transport and all counters on it, once.  Owns what is shown of
 * slots; no arithmetic.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

struct cbd_transport *sample_open(const char *path)
{
	struct cbd_transport *t;
	int r = cbd_transport_open(path, CBD_TRANSPORT_READ_ONLY, &t);

	if (r < 0) {
		library_failed(r);
		return NULL;
	}
	warn_if_damaged(path, t);
	return t;
}

bool backend_is_shown(const struct sample_backend *b)
{
	return b->info.liveness != CBD_FREE || b->info.state == CBD_STATE_GONE ||
	       b->info.state == CBD_STATE_ABANDONED;
}

bool blkdev_is_used(const struct sample_blkdev *d)
{
	return d->info.liveness != CBD_FREE;
}

/* Counters that are torn or damaged are left out, and told: they are no values.  That there
 * are none is no failure. */
static void take_counters(struct sample *s, struct counted *to, int r)
{
	to->there = r == 0;
	to->unknown = r < 0 && r != -ENODATA;
	if (!to->unknown)
		return;
	memset(&to->c, 0, sizeof to->c);
	if (s->tell)
		complain("%s", cbd_errmsg());
	s->failed = true;
}

static bool check(struct sample *s, int r)
{
	if (r < 0) {
		if (s->tell)
			complain("%s", cbd_errmsg());
		s->failed = true;
	}
	return r >= 0;
}

static void take_hosts(struct sample *s)
{
	struct cbd_host_info host;

	for (unsigned h = 0; h < s->info.hosts; h++) {
		if (!check(s, cbd_host_get(s->t, h, &host, sizeof host)))
			continue;
		memcpy(s->hosts[h], host.name, sizeof host.name);
		s->hosts_used += host.liveness != CBD_FREE;
		s->hosts_alive += host.liveness == CBD_ALIVE;
	}
}

static void take_backends(struct sample *s)
{
	for (unsigned i = 0; i < s->info.backends; i++) {
		struct sample_backend *b = &s->backends[i];

		b->info.id = i;
		if (!check(s, cbd_backend_get(s->t, i, &b->info, sizeof b->info)) ||
		    !backend_is_shown(b))
			continue;
		take_counters(s, &b->counted,
			      cbd_counters_get(s->t, CBD_OBJECT_BACKEND, i, &b->counted.c,
					       sizeof b->counted.c));
	}
}

static void take_blkdevs(struct sample *s, bool stopped)
{
	for (unsigned i = 0; i < s->info.blkdevs; i++) {
		struct sample_blkdev *d = &s->blkdevs[i];

		d->info.id = i;
		if (!check(s, cbd_blkdev_get(s->t, i, &d->info, sizeof d->info)) ||
		    !(stopped || blkdev_is_used(d)))
			continue;
		take_counters(s, &d->counted,
			      cbd_counters_get(s->t, CBD_OBJECT_BLKDEV, i, &d->counted.c,
					       sizeof d->counted.c));
	}
}

static void take_channel(struct sample *s, unsigned backend, unsigned id)
{
	struct sample_channel *c = &s->channels[s->n_channels];

	if (!check(s, cbd_channel_get(s->t, backend, id, &c->info, sizeof c->info)) ||
	    c->info.state == CBD_CHANNEL_STATE_FREE)
		return;
	take_counters(s, &c->by_queue,
		      cbd_channel_counters_get(s->t, backend, id, CBD_OBJECT_BLKDEV, &c->by_queue.c,
					       sizeof c->by_queue.c));
	take_counters(s, &c->by_handler,
		      cbd_channel_counters_get(s->t, backend, id, CBD_OBJECT_BACKEND,
					       &c->by_handler.c, sizeof c->by_handler.c));
	s->n_channels++;
}

struct sample *sample_take(struct cbd_transport *t, bool stopped, bool tell)
{
	struct sample *s = calloc(1, sizeof *s);

	if (s) {
		s->t = t;
		s->tell = tell;
		cbd_transport_get(t, &s->info, sizeof s->info);
		s->backends = calloc(s->info.backends, sizeof *s->backends);
		s->blkdevs = calloc(s->info.blkdevs, sizeof *s->blkdevs);
		/* pages that are not used are not there */
		s->channels = calloc((size_t)s->info.backends * s->info.channels,
				     sizeof *s->channels);
		s->hosts = calloc(s->info.hosts, sizeof *s->hosts);
	}
	if (!s || !s->backends || !s->blkdevs || !s->channels || !s->hosts) {
		complain("%m");
		sample_free(s);
		return NULL;
	}
	take_hosts(s);
	take_backends(s);
	take_blkdevs(s, stopped);
	for (unsigned b = 0; b < s->info.backends; b++)
		for (unsigned c = 0; c < s->info.channels; c++)
			take_channel(s, b, c);
	return s;
}

void sample_free(struct sample *s)
{
	if (!s)
		return;
	free(s->backends);
	free(s->blkdevs);
	free(s->channels);
	free(s->hosts);
	free(s);
}
