/* SPDX-License-Identifier: BSD-3-Clause */
/* load.c - see load.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libnbd.h>

#include "load.h"
#include "server.h"
#include "shadow.h"
#include "slot.h"

#define MAX_CONNECTIONS 16
#define MAX_DEPTH 64
#define MAX_BLOCKS 256u /* of a request: 1 MiB */
#define QUIESCE_S 30
#define TICK_MS 2
#define WAIT_S 20

enum op { READ, WRITE, ZERO, TRIM, FLUSH, STATUS, PROBE };

static const char *const op_names[] = { "read",	 "write",	 "zero",	"trim",
					"flush", "block status", "read (probe)" };

struct request {
	struct connection *connection;
	bool busy;
	enum op op;
	uint32_t flags;
	struct range range;
	uint64_t generation; /* of a change */
	uint64_t since;	     /* moment when it was sent */
	uint64_t sent_ns;
	unsigned char *buf;
};

struct connection {
	struct nbd_handle *nbd;
	struct request requests[MAX_DEPTH + 1]; /* the last one for probes */
};

static struct connection connections[MAX_CONNECTIONS];
static unsigned in_flight;
static bool sending, losing;
static bool measuring;
static uint64_t probe_ns, answer_ns, gap_ns, granted_answer_ns;
static struct load_counts counts;
static struct random random_state;

void load_init(void)
{
	random_state.state = options.seed * 2 + 1;
	for (unsigned c = 0; c < options.connections; c++)
		for (unsigned i = 0; i <= options.depth; i++) {
			struct request *r = &connections[c].requests[i];

			r->connection = &connections[c];
			r->buf = malloc(MAX_BLOCKS * BLOCK);
			if (!r->buf)
				die("malloc: %m");
		}
}

struct load_counts load_counts(void)
{
	return counts;
}

/* ------------------------------------------------------------- completion */

static enum change change_of(enum op op)
{
	return op == WRITE ? CHANGE_WRITE : op == ZERO ? CHANGE_ZERO : CHANGE_TRIM;
}

static bool is_change(enum op op)
{
	return op == WRITE || op == ZERO || op == TRIM;
}

static void note_answer(void)
{
	uint64_t now = now_ns();

	if (now - answer_ns > gap_ns)
		gap_ns = now - answer_ns;
	answer_ns = now;
	if (measuring && granted_answer_ns == 0 && slot_ns(SLOT_GRANTED) != 0)
		granted_answer_ns = now;
}

static void answered(struct request *r)
{
	note_answer();
	if (is_change(r->op)) {
		shadow_acknowledge(change_of(r->op), r->range, r->generation,
				   r->flags & LIBNBD_CMD_FLAG_FUA);
	} else if (r->op == FLUSH) {
		shadow_flushed(r->since);
		counts.flushes++;
	} else if (r->op != STATUS) { /* else see extents() */
		counts.checked += shadow_observe(r->range, r->buf, r->since, "read");
	}
	if (r->op == PROBE)
		probe_ns = now_ns();
	counts.requests++;
	counts.bytes += r->range.count * BLOCK;
}

static void failed(struct request *r, int error)
{
	if (!losing)
		die("%s of blocks %" PRIu64 "+%" PRIu64 ", flags %#x: %s", op_names[r->op],
		    r->range.first, r->range.count, r->flags, strerror(error));
	if (is_change(r->op))
		shadow_lost(r->range, r->generation);
	counts.lost++;
}

/* Called by libnbd.  1: it forgets the request. */
static int completed(void *opaque, int *error)
{
	struct request *r = opaque;

	if (!r->busy)
		return 1;
	r->busy = false;
	in_flight--;
	if (*error)
		failed(r, *error);
	else
		answered(r);
	return 1;
}

/* Called by libnbd before completed(): a read would find whole blocks of zeroes there. */
static int extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries, size_t n,
		   int *error)
{
	struct request *r = opaque;

	(void)context;
	(void)error;
	for (size_t i = 0; i + 1 < n; offset += entries[i], i += 2) {
		struct range zero = { .first = (offset + BLOCK - 1) / BLOCK };
		uint64_t end = (offset + entries[i]) / BLOCK;

		if (!(entries[i + 1] & LIBNBD_STATE_ZERO) || end <= zero.first)
			continue;
		zero.count = end - zero.first;
		if (zero.count > MAX_BLOCKS)
			die("block status: %" PRIu64 " blocks at %" PRIu64, zero.count, zero.first);
		memset(r->buf, 0, zero.count * BLOCK);
		counts.checked += shadow_observe(zero, r->buf, r->since, "block status");
	}
	return 0;
}

/* ------------------------------------------------------------------- send */

static int64_t hand_over(struct request *r)
{
	struct nbd_handle *nbd = r->connection->nbd;
	nbd_completion_callback callback = { .callback = completed, .user_data = r };
	uint64_t offset = r->range.first * BLOCK, length = r->range.count * BLOCK;

	switch (r->op) {
	case WRITE:
		return nbd_aio_pwrite(nbd, r->buf, length, offset, callback, r->flags);
	case ZERO:
		return nbd_aio_zero(nbd, length, offset, callback, r->flags);
	case TRIM:
		return nbd_aio_trim(nbd, length, offset, callback, r->flags);
	case FLUSH:
		return nbd_aio_flush(nbd, callback, 0);
	case STATUS:
		return nbd_aio_block_status(nbd, length, offset,
					    (nbd_extent_callback){ .callback = extents,
								   .user_data = r },
					    callback, 0);
	default:
		return nbd_aio_pread(nbd, r->buf, length, offset, callback, 0);
	}
}

static void submit(struct request *r)
{
	r->since = shadow_moment();
	r->sent_ns = now_ns();
	if (is_change(r->op))
		r->generation = shadow_begin(change_of(r->op), r->range);
	if (r->op == WRITE)
		shadow_fill(r->range, r->generation, r->buf);
	if (in_flight == 0 && !measuring)
		answer_ns = now_ns();
	r->busy = true;
	in_flight++;
	if (hand_over(r) >= 0)
		return;
	/* libnbd has not taken it, or has called completed() already */
	if (!losing)
		die("%s: %s", op_names[r->op], nbd_get_error());
	completed(r, &(int){ ENOTCONN });
}

static enum op random_op(struct random *r)
{
	static const enum op weighted[] = {
		READ,  READ,  READ,  READ,  READ,  READ, WRITE, WRITE, WRITE, WRITE,
		WRITE, WRITE, WRITE, WRITE, WRITE, ZERO, ZERO,	TRIM,  FLUSH, STATUS,
	};

	return weighted[below(r, sizeof(weighted) / sizeof(weighted[0]))];
}

/* Mostly small, and half of them near the start, so that they overlap. */
static struct range random_range(struct random *r)
{
	uint64_t most = one_in(r, 20) ? MAX_BLOCKS : one_in(r, 3) ? 32 : 4;
	uint64_t area = one_in(r, 2) ? options.blocks / 16 : options.blocks;
	struct range range = { .count = 1 + below(r, most) };

	if (range.count > area)
		range.count = area;
	range.first = below(r, area - range.count + 1);
	return range;
}

static uint32_t random_flags(struct random *r, enum op op)
{
	uint32_t flags = 0;

	if (is_change(op) && one_in(r, 8))
		flags |= LIBNBD_CMD_FLAG_FUA;
	if (op == ZERO && one_in(r, 2))
		flags |= LIBNBD_CMD_FLAG_NO_HOLE;
	return flags;
}

static void send_random(struct request *r)
{
	struct random *random = &random_state;

	r->op = random_op(random);
	r->range = random_range(random);
	if (is_change(r->op) && !shadow_has_room(r->range))
		r->op = READ;
	r->flags = random_flags(random, r->op);
	if (r->op == FLUSH)
		r->range = (struct range){ 0 };
	submit(r);
}

static void send_all(void)
{
	for (unsigned i = 0; i < options.depth; i++)
		for (unsigned c = 0; c < options.connections; c++) {
			struct request *r = &connections[c].requests[i];

			if (sending && !r->busy)
				send_random(r);
		}
}

void load_on(bool on)
{
	sending = on;
}

void load_probe(void)
{
	struct request *r = &connections[0].requests[options.depth];

	if (r->busy)
		die("a probe is under way");
	probe_ns = 0;
	r->op = PROBE;
	r->flags = 0;
	r->range = (struct range){ .first = below(&random_state, options.blocks), .count = 1 };
	submit(r);
}

bool load_probed(void)
{
	return probe_ns != 0;
}

uint64_t load_probe_ns(void)
{
	return probe_ns;
}

void load_gap_start(void)
{
	measuring = true;
	gap_ns = granted_answer_ns = 0;
}

uint64_t load_gap_end(void)
{
	measuring = false;
	return gap_ns;
}

uint64_t load_granted_answer_ns(void)
{
	return granted_answer_ns;
}

/* ------------------------------------------------------------------- loop */

static short events_of(struct nbd_handle *nbd)
{
	unsigned direction = nbd_aio_get_direction(nbd);
	short events = 0;

	if (direction & LIBNBD_AIO_DIRECTION_READ)
		events |= POLLIN;
	if (direction & LIBNBD_AIO_DIRECTION_WRITE)
		events |= POLLOUT;
	return events;
}

/* A connection that ends makes libnbd answer its requests, with an error. */
static void notify(struct nbd_handle *nbd, short events)
{
	unsigned direction = nbd_aio_get_direction(nbd);
	int r = 0;

	if ((direction & LIBNBD_AIO_DIRECTION_READ) && (events & (POLLIN | POLLHUP | POLLERR)))
		r = nbd_aio_notify_read(nbd);
	else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) && (events & (POLLOUT | POLLERR)))
		r = nbd_aio_notify_write(nbd);
	if (r == -1 && !losing)
		die("connection: %s", nbd_get_error());
}

static bool is_open(const struct connection *c)
{
	return c->nbd && !nbd_aio_is_dead(c->nbd) && !nbd_aio_is_closed(c->nbd);
}

static void serve_once(int timeout_ms)
{
	struct pollfd fds[MAX_CONNECTIONS];
	struct nbd_handle *nbd[MAX_CONNECTIONS];
	unsigned n = 0;

	for (unsigned c = 0; c < options.connections; c++) {
		if (!is_open(&connections[c]))
			continue;
		nbd[n] = connections[c].nbd;
		fds[n++] = (struct pollfd){ .fd = nbd_aio_get_fd(connections[c].nbd),
					    .events = events_of(connections[c].nbd) };
	}
	if (poll(fds, n, timeout_ms) < 0 && errno != EINTR)
		die("poll: %m");
	for (unsigned i = 0; i < n; i++)
		if (fds[i].revents)
			notify(nbd[i], fds[i].revents);
	servers_watch();
}

bool load_serve(uint64_t deadline_ns, bool (*done)(void))
{
	while (!done || !done()) {
		uint64_t now = now_ns();

		if (now >= deadline_ns)
			return false;
		if (sending && !losing)
			send_all();
		serve_once(deadline_ns - now > TICK_MS * MS ? TICK_MS : 1);
	}
	return true;
}

void load_wait_for(const char *what, bool (*done)(void))
{
	watch(what, WAIT_S + 5);
	if (!load_serve(now_ns() + patience_ns(WAIT_S), done))
		die("%s: not in time", what);
	watch(NULL, 0);
}

void load_wait_ms(uint64_t ms)
{
	load_serve(now_ns() + ms * MS, NULL);
}

static bool is_idle(void)
{
	return in_flight == 0;
}

static void show_stuck(void)
{
	for (unsigned c = 0; c < options.connections; c++)
		for (unsigned i = 0; i <= options.depth; i++) {
			const struct request *r = &connections[c].requests[i];

			if (r->busy)
				fprintf(stderr,
					"connection %u: %s of blocks %" PRIu64 "+%" PRIu64
					" for %" PRIu64 " ms\n",
					c, op_names[r->op], r->range.first, r->range.count,
					(now_ns() - r->sent_ns) / MS);
		}
}

void load_quiesce(void)
{
	load_on(false);
	watch("the requests in flight", QUIESCE_S + 10);
	if (!load_serve(now_ns() + patience_ns(QUIESCE_S), is_idle)) {
		show_stuck();
		die("%u requests are not answered", in_flight);
	}
	watch(NULL, 0);
}

/* ------------------------------------------------------------ connections */

static void check_server(struct nbd_handle *nbd)
{
	int64_t size = nbd_get_size(nbd);

	if (size != (int64_t)(options.blocks * BLOCK))
		die("the disk has %" PRId64 " bytes, not %" PRIu64, size, options.blocks * BLOCK);
	if (nbd_can_multi_conn(nbd) != 1 || nbd_can_fua(nbd) != 1 || nbd_can_flush(nbd) != 1 ||
	    nbd_can_trim(nbd) != 1 || nbd_can_zero(nbd) != 1)
		die("the server lacks one of multi_conn, fua, flush, trim, zero");
}

void load_connect(const char *socket)
{
	watch("connecting", 20);
	for (unsigned c = 0; c < options.connections; c++) {
		struct nbd_handle *nbd = nbd_create();

		if (!nbd || nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
		    nbd_connect_unix(nbd, socket) == -1)
			die("connect: %s", nbd_get_error());
		check_server(nbd);
		connections[c].nbd = nbd;
	}
	watch(NULL, 0);
	losing = false;
}

uint64_t load_size(void)
{
	struct nbd_handle *nbd = nbd_create();
	int64_t size;

	watch("another connection", 20);
	if (!nbd || nbd_connect_unix(nbd, socket_path()) == -1 ||
	    (size = nbd_get_size(nbd)) == -1 || nbd_shutdown(nbd, 0) == -1)
		die("another connection: %s", nbd_get_error());
	nbd_close(nbd);
	watch(NULL, 0);
	return (uint64_t)size;
}

void load_disconnect(void)
{
	watch("disconnecting", 20);
	for (unsigned c = 0; c < options.connections; c++) {
		if (nbd_shutdown(connections[c].nbd, 0) == -1)
			die("shutdown: %s", nbd_get_error());
		nbd_close(connections[c].nbd);
		connections[c].nbd = NULL;
	}
	watch(NULL, 0);
}

void load_expect_loss(void)
{
	losing = true;
}

static bool all_ended(void)
{
	for (unsigned c = 0; c < options.connections; c++)
		if (is_open(&connections[c]))
			return false;
	return true;
}

void load_abandoned(void)
{
	watch("the ends of the connections", 20);
	load_serve(UINT64_MAX, all_ended);
	for (unsigned c = 0; c < options.connections; c++) {
		nbd_close(connections[c].nbd);
		connections[c].nbd = NULL;
		for (unsigned i = 0; i <= options.depth; i++)
			if (connections[c].requests[i].busy)
				completed(&connections[c].requests[i], &(int){ ENOTCONN });
	}
	watch(NULL, 0);
}

/* ----------------------------------------------------------------- verify */

static struct request *idle_request(void)
{
	for (unsigned c = 0; c < options.connections; c++)
		for (unsigned i = 0; i < options.depth; i++)
			if (!connections[c].requests[i].busy)
				return &connections[c].requests[i];
	return NULL;
}

static bool has_idle_request(void)
{
	return idle_request() != NULL;
}

void load_verify(void)
{
	watch("verifying", QUIESCE_S);
	for (uint64_t b = 0; b < options.blocks; b += MAX_BLOCKS / 2) {
		struct request *r;

		load_serve(UINT64_MAX, has_idle_request);
		r = idle_request();
		r->op = READ;
		r->flags = 0;
		r->range = (struct range){ .first = b, .count = MAX_BLOCKS / 2 };
		if (r->range.count > options.blocks - b)
			r->range.count = options.blocks - b;
		submit(r);
	}
	load_quiesce();
}

void load_flush(void)
{
	struct request *r = idle_request();

	r->op = FLUSH;
	r->flags = 0;
	r->range = (struct range){ 0 };
	submit(r);
	load_quiesce();
}
