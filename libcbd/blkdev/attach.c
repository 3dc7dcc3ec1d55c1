/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * attach.c - the handshake: find a backend, ask for channels, take the grants, give
 * them back (rule 4).
 *
 * What a dying backend leaves: a request without answer (the deadline ends it), a
 * reply without the grants being seen (they were written first).
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blkdev/blkdev.h"
#include "base/error.h"
#include "slots/host.h"
#include "base/step.h"

#define ATTACH_MOST_NS 60000000000ull

/* ------------------------------------------------------------------- find */

static void *backend_info(const struct cbd_blkdev *b, unsigned line)
{
	return cbd_backend_info_at(b->t, b->backend, line);
}

/* It says that it is live; whether it beats is not watched.  To choose by, a free lock says
 * enough, also under another identity of this boot. */
static bool looks_live(struct cbd_transport *t, unsigned id)
{
	struct cbd_backend_info info;
	struct cbd_claim_line claim;

	return cbd_claim_owner(t, CBD_SIDE_BACKEND, id, &claim) >= 0 &&
	       !cbd_claim_is_dead(t, CBD_SIDE_BACKEND, id, &claim) &&
	       cbd_backend_get(t, id, &info, sizeof(info)) == 0 && info.state == CBD_STATE_LIVE &&
	       info.liveness != CBD_FREE && info.liveness != CBD_DEAD;
}

/* A backend that stopped or died may be back under its name in another slot. */
static int find_name(struct cbd_transport *t, const char *text)
{
	char name[CBD_TEXT_SIZE + 1];
	int any = -1, live = -1;

	for (unsigned b = 0; b < t->header.backends; b++) {
		cbd_text_get(t, cbd_backend_info_at(t, b, CBD_BACKEND_NAME), CBD_NAME_LINES, name);
		if (!*text || strcmp(name, text) != 0)
			continue;
		any = (int)b;
		if (!looks_live(t, b))
			continue;
		if (live >= 0)
			return cbd_error(EINVAL,
					 "%s: backend '%s': %d and %u have this name; use an id",
					 t->path, text, live, b);
		live = (int)b;
	}
	if (live >= 0)
		return live;
	if (any >= 0)
		return cbd_error(ENOENT,
				 "%s: backend '%s': slot %d had this name, nobody serves it",
				 t->path, text, any);
	return cbd_error(ENOENT, "%s: backend '%s': no backend has this name", t->path, text);
}

static int backend_find(struct cbd_transport *t, const char *text)
{
	char *end;
	unsigned long id = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != 0)
		return find_name(t, text);
	if (id < t->header.backends)
		return (int)id;
	return cbd_error(EINVAL, "%s: backend %s: the transport has 0..%u", t->path, text,
			 t->header.backends - 1);
}

int cbd_attach_find(struct cbd_transport *t, const char *backend)
{
	return backend_find(t, backend);
}

/* 1: it is there; 0: perhaps soon; -ENOENT. */
static int backend_there(struct cbd_blkdev *b)
{
	struct cbd_state_line s;
	int r = cbd_line_get(b->t, backend_info(b, CBD_BACKEND_STATE), &s);

	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	/* its incarnation is of no use here: what is granted says which one counts */
	switch (s.state) {
	case CBD_SLOT_LIVE:
		return 1;
	case CBD_SLOT_STARTING:
	case CBD_SLOT_HANDOVER:
		return 0;
	case CBD_SLOT_DRAINING:
	case CBD_SLOT_GONE:
		return cbd_error(ENOENT, "%s: backend %u: has stopped", b->t->path, b->backend);
	default:
		return cbd_error(ENOENT, "%s: backend %u: is not running", b->t->path, b->backend);
	}
}

static int disk_read(struct cbd_blkdev *b)
{
	const uint32_t unit = CBD_UNIT_SIZE;
	struct cbd_geometry_line *g = &b->geometry;
	struct cbd_identity_line id;
	int r = cbd_line_get(b->t, backend_info(b, CBD_BACKEND_GEOMETRY), g);

	if (r == 0)
		r = cbd_line_get(b->t, backend_info(b, CBD_BACKEND_IDENTITY), &id);
	if (r < 0)
		return r;
	if (g->size == 0 || g->size > INT64_MAX || g->max_data < unit || g->max_data % unit ||
	    g->max_range < unit || g->max_range % unit)
		return cbd_error(EPROTO, "%s: backend %u: its geometry makes no sense", b->t->path,
				 b->backend);
	b->disk_identity = id.disk_identity;
	if (g->flags & CBD_GEOMETRY_READ_ONLY)
		b->read_only = true;
	return 0;
}

/* ----------------------------------------------------------------- attach */

/* 1: the backend has answered this request; 0: not yet. */
static int get_reply(struct cbd_blkdev *b, struct cbd_reply_line *reply)
{
	int r = cbd_line_get(b->t, cbd_backend_reply_at(b->t, b->backend, b->slot), reply);

	if (r < 0)
		return r == -EBADMSG ? 0 : r;
	return reply->state != CBD_REPLY_NONE && reply->incarnation == b->request.incarnation &&
	       reply->sequence == b->request.sequence;
}

/* For messages: who is attached to the backend, in so far as TEXT has room. */
static const char *users(const struct cbd_blkdev *b, char *text, size_t size)
{
	struct cbd_blkdev_info info;
	char host[100];
	size_t n = 0;

	*text = 0;
	for (unsigned d = 0; d < b->t->header.blkdevs; d++) {
		if (d == b->slot || cbd_blkdev_get(b->t, d, &info, sizeof(info)) < 0 ||
		    info.backend_id != b->backend || info.liveness == CBD_FREE)
			continue;
		if (n > size / 2) {
			snprintf(text + n, size - n, ", ...");
			break;
		}
		n += (size_t)snprintf(text + n, size - n, "%s blkdev %u, process %u of %s",
				      n ? "," : ":", d, info.pid,
				      cbd_host_describe(b->t, info.host_id, host, sizeof(host)));
	}
	return text;
}

static int refusal(const struct cbd_blkdev *b, const struct cbd_reply_line *reply)
{
	char text[300];

	switch (reply->reason) {
	case CBD_REFUSED_BUSY:
		return cbd_error(EBUSY, "%s: backend %u: has its maximum of blkdevs attached%s",
				 b->t->path, b->backend, users(b, text, sizeof(text)));
	case CBD_REFUSED_HOST:
		return cbd_error(EACCES, "%s: backend %u: does not admit host %d", b->t->path,
				 b->backend, b->t->host);
	case CBD_REFUSED_CHANNELS:
		return cbd_error(EBUSY, "%s: backend %u: %u queue%s asked, %u channel%s free%s",
				 b->t->path, b->backend, b->n_queues, b->n_queues == 1 ? "" : "s",
				 reply->channels, reply->channels == 1 ? " is" : "s are",
				 users(b, text, sizeof(text)));
	case CBD_REFUSED_STOPPING:
		return cbd_error(ENOENT, "%s: backend %u: is stopping", b->t->path, b->backend);
	default:
		return cbd_error(EPROTO, "%s: backend %u: refused, reason %u", b->t->path,
				 b->backend, reply->reason);
	}
}

/* One step of a wait: beat when it is due, because the heartbeat thread does not run, and
 * sleep. */
static int wait_and_beat(struct cbd_blkdev *b, uint64_t *beaten_ns)
{
	uint64_t now = cbd_now_ns();
	int r = 0;

	if (now - *beaten_ns >= cbd_interval_ns(b->t)) {
		*beaten_ns = now;
		r = cbd_blkdev_beat(b);
	}
	cbd_sleep_us(CBD_ATTACH_STEP_US);
	return r;
}

static bool backend_beats(struct cbd_blkdev *b)
{
	struct cbd_beat_line beat;
	struct cbd_claim_line claim;

	if (cbd_claim_owner(b->t, CBD_SIDE_BACKEND, b->backend, &claim) < 0 ||
	    cbd_claim_is_dead(b->t, CBD_SIDE_BACKEND, b->backend, &claim))
		return false;
	if (cbd_line_get(b->t, backend_info(b, CBD_BACKEND_BEAT), &beat) < 0)
		return true;
	return cbd_watch_sample(&b->watch, beat.counter, cbd_now_ns(), cbd_interval_ns(b->t),
				b->t->header.dead_after) != CBD_SUSPECT;
}

/*
 * How long to wait for the answer.  The user's bound; without one as long as a suspicion
 * takes, and longer while the backend beats: it drains what a dead blkdev of this host
 * has left, which takes as long as the disk does.
 */
struct bound {
	uint64_t deadline_ns; /* also while the backend beats: most_ns */
	uint64_t most_ns;
};

static struct bound bound_of(const struct cbd_blkdev *b, unsigned timeout_ms)
{
	uint64_t now = cbd_now_ns(), suspect = cbd_suspect_ns(b->t);

	if (timeout_ms)
		return (struct bound){ now + timeout_ms * 1000000ull,
				       now + timeout_ms * 1000000ull };
	if (suspect > ATTACH_MOST_NS)
		suspect = ATTACH_MOST_NS;
	return (struct bound){ now + suspect, now + ATTACH_MOST_NS };
}

static bool is_over(struct cbd_blkdev *b, const struct bound *p)
{
	uint64_t now = cbd_now_ns();
	bool beats = backend_beats(b); /* in each step: it counts samples */

	return now >= p->most_ns || (now >= p->deadline_ns && !beats);
}

static int wait_backend(struct cbd_blkdev *b, uint64_t deadline_ns, uint64_t *beaten_ns)
{
	int r;

	while ((r = backend_there(b)) == 0) {
		if (cbd_now_ns() >= deadline_ns)
			return cbd_error(ETIMEDOUT, "%s: backend %u: does not come up", b->t->path,
					 b->backend);
		r = wait_and_beat(b, beaten_ns);
		if (r < 0)
			return r;
	}
	return r;
}

static int wait_reply(struct cbd_blkdev *b, struct cbd_reply_line *reply, const struct bound *bound,
		      uint64_t *beaten_ns)
{
	int r;

	while ((r = get_reply(b, reply)) == 0) {
		if (is_over(b, bound))
			return cbd_error(ETIMEDOUT,
					 "%s: backend %u: does not answer, it is suspect or dead",
					 b->t->path, b->backend);
		r = wait_and_beat(b, beaten_ns);
		if (r < 0)
			return r;
	}
	return r;
}

static int queue_setup(struct cbd_queue *q, const struct cbd_grant_line *g)
{
	unsigned depth = g->depth;

	if (q->b->depth && q->b->depth < depth)
		depth = q->b->depth;
	if (cbd_grant_valid(q, g) < 0)
		return -EPROTO;
	q->parts.all = calloc(depth, sizeof(*q->parts.all));
	q->parts.free_tags = calloc(depth, sizeof(*q->parts.free_tags));
	if (!q->parts.all || !q->parts.free_tags)
		return cbd_error(ENOMEM, "queue: %m");
	for (unsigned tag = 0; tag < depth; tag++) {
		q->parts.free_tags[tag] = (uint16_t)(depth - 1 - tag);
		cbd_random(&q->parts.all[tag].generation, sizeof(q->parts.all[tag].generation));
	}
	q->parts.depth = q->parts.n_free = depth; /* from here on it has parts */
	if (g->disk_identity != q->b->disk_identity)
		return cbd_error(ESHUTDOWN, "%s: backend %u: its disk has changed meanwhile",
				 q->b->t->path, q->b->backend);
	cbd_extents_init(&q->parts.extents, g->data_pages, q->b->t->mem.software);
	cbd_wait_init(&q->lead.wait, q->b->poll, CBD_WAIT_QUEUE_LOCAL_US);
	cbd_epoch_enter(q, g);
	cbd_verifier_seen(q, q->epoch.backend_incarnation, q->epoch.verifier, false, false);
	return 0;
}

/* The grants were written before the reply. */
static int take_grants(struct cbd_blkdev *b, const struct cbd_reply_line *reply)
{
	unsigned found = 0;

	for (unsigned c = 0; c < b->t->header.channels && found < b->n_queues; c++) {
		struct cbd_queue *q = &b->queues[found];
		struct cbd_grant_line g;
		int r;

		if (!(reply->channel_map[c / 8] & 1u << c % 8))
			continue;
		cbd_channel_init(&q->ch, b->t, b->backend, c);
		r = cbd_line_get(b->t, cbd_channel_backend_line(&q->ch, CBD_CHANNEL_GRANT), &g);
		if (r == 0 && (!cbd_grant_is_own(q, &g) || g.state != CBD_GRANT_GRANTED))
			r = cbd_error(EPROTO,
				      "%s: backend %u: channel %u is not granted to this blkdev",
				      b->t->path, b->backend, c);
		if (r == 0)
			r = queue_setup(q, &g);
		if (r < 0)
			return r;
		found++;
	}
	if (found < b->n_queues)
		return cbd_error(EPROTO, "%s: backend %u: granted %u channels of %u", b->t->path,
				 b->backend, found, b->n_queues);
	return 0;
}

int cbd_attach(struct cbd_blkdev *b, const struct cbd_blkdev_options *o)
{
	struct bound bound = bound_of(b, o->attach_timeout_ms);
	uint64_t beaten = cbd_now_ns();
	struct cbd_reply_line reply;
	int r = wait_backend(b, bound.deadline_ns, &beaten);

	if (r < 0)
		return r;
	cbd_step("attach");
	r = cbd_blkdev_put_request(b, CBD_REQUEST_ATTACH);
	cbd_step("attach-requested");
	if (r == 0)
		r = wait_reply(b, &reply, &bound, &beaten);
	if (r < 0)
		return r;
	if (reply.state != CBD_REPLY_GRANTED)
		return refusal(b, &reply);
	b->data_crc = reply.features & CBD_FEATURE_DATA_CRC;
	if ((b->t->mem.software || (b->t->header.flags & CBD_HEADER_DATA_CRC)) && !b->data_crc)
		return cbd_error(EPROTO,
				 "%s: backend %u: grants no payload CRC, the transport asks it",
				 b->t->path, b->backend);
	r = disk_read(b);
	if (r < 0)
		return r;
	cbd_blkdev_find_peer(b);
	cbd_step("attach-granted");
	return take_grants(b, &reply);
}

/* ----------------------------------------------------------------- detach */

/* The backend is silent.  If it was only paused, it must not fetch these SEs when it goes
 * on (rule 7.5). */
static void abandon(struct cbd_blkdev *b)
{
	struct cbd_se none = { .position = UINT64_MAX };

	for (unsigned i = 0; i < b->n_queues; i++) {
		struct cbd_queue *q = &b->queues[i];

		for (unsigned s = 0; q->parts.all && s < q->ch.slots; s++)
			cbd_line_put(b->t, &q->ch.se[s], &none);
	}
	cbd_step("abandon");
	cbd_blkdev_put_request(b, CBD_REQUEST_ABANDONED);
}

/* Before the backend is asked to take the channels back. */
static void write_back_bells(struct cbd_blkdev *b)
{
	for (unsigned i = 0; i < b->n_queues; i++) {
		const struct cbd_channel *ch = &b->queues[i].ch;

		if (b->queues[i].parts.depth)
			cbd_channel_write_back_bells(ch,
						     cbd_channel_blkdev_line(ch,
									     CBD_CHANNEL_SE_BELL));
	}
}

void cbd_detach(struct cbd_blkdev *b)
{
	uint64_t beaten = cbd_now_ns(), deadline = beaten + cbd_suspect_ns(b->t);
	struct cbd_reply_line reply;
	int r;

	if (b->request.state != CBD_REQUEST_ATTACH || b->lost)
		return;
	write_back_bells(b);
	cbd_step("detach");
	cbd_blkdev_put_request(b, CBD_REQUEST_DETACH);
	cbd_step("detach-requested");
	while ((r = get_reply(b, &reply)) == 0) {
		/* bounded (rule 4), also when a disk that hangs keeps the backend from
		 * draining */
		if (!backend_beats(b) || cbd_now_ns() >= deadline) {
			/* whose attach has failed has an error of that already */
			cbd_log(b->queues[0].parts.depth ? CBD_LOG_WARNING : CBD_LOG_INFO,
				"backend %u: does not answer the detach; blkdev slot %u is given "
				"up (ABANDONED) without its consent",
				b->backend, b->slot);
			abandon(b);
			return;
		}
		if (wait_and_beat(b, &beaten) < 0)
			return;
	}
}
