/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * actors.c - see actors.h.  What an actor allocates is not freed when it is killed: a
 * world is short, and its process ends with it.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "actors.h"
#include "backend/backend.h"
#include "blkdev/blkdev.h"

static uint64_t next_number = 1;

static void on_log(void *opaque, enum cbd_log_level level, const char *text)
{
	(void)opaque;
	(void)level;
	sim_trace("log: %s", text);
}

static int open_transport(struct cbd_transport **t)
{
	int r = cbd_transport_open(sim.path, 0, t);

	cbd_set_log(on_log, NULL);
	if (r < 0)
		sim_trace("open: %s", cbd_errmsg());
	return r;
}

bool actor_wait(struct sim_proc *p, uint64_t ns)
{
	uint64_t until = ns == SIM_NEVER ? SIM_NEVER : sim.now_ns + ns;

	while (p->alive && sim.now_ns < until)
		sim_wait(p, until);
	return !p->alive;
}

int actor_run(struct sim_host *h, const char *name, int (*fn)(struct sim_proc *, void *), void *arg)
{
	struct sim_proc *p = sim_spawn(h, name, fn, arg);

	actor_wait(p, SIM_NEVER);
	return p->result;
}

int actor_format(struct sim_proc *p, void *arg)
{
	int r = cbd_format(sim.path, arg, sizeof(struct cbd_format_options));
	struct cbd_transport *t;

	(void)p;
	if (r < 0)
		sim_trace("format: %s", cbd_errmsg());
	if (r < 0 || (r = open_transport(&t)) < 0)
		return r;
	sim.header = t->header;
	cbd_transport_close(t);
	return 0;
}

/* ------------------------------------------------------------------- disk */

void actor_fill(void *block, uint64_t number, unsigned at)
{
	uint64_t *word = block;

	for (unsigned i = 0; i < DISK_BLOCK / 8; i++)
		word[i] = number == 0 ? 0 : number << 20 | (uint64_t)at << 8 | i;
}

/* The number of a block's content, or -1: torn, or of another place. */
static uint64_t number_of(const void *block, unsigned at)
{
	const uint64_t *word = block;
	uint64_t number = word[0] >> 20;

	for (unsigned i = 0; i < DISK_BLOCK / 8; i++)
		if (word[i] != (number == 0 ? 0 : number << 20 | (uint64_t)at << 8 | i))
			return UINT64_MAX;
	return number;
}

static int execute(struct actor_backend *a, struct cbd_request *r)
{
	struct actor_disk *d = a->disk;
	unsigned first = (unsigned)(r->offset / DISK_BLOCK), n = r->length / DISK_BLOCK;
	char *buf = r->buf;

	if (d->holder != sim.current->proc)
		sim_fail("a request goes to the disk from a process that has not locked it");
	for (unsigned i = first; i < first + n; i++, buf += r->buf ? DISK_BLOCK : 0) {
		switch (r->op) {
		case CBD_OP_READ:
			actor_fill(buf, d->block[i], i);
			d->reads++;
			break;
		case CBD_OP_WRITE:
			d->block[i] = number_of(buf, i);
			d->writes++;
			if (d->block[i] == UINT64_MAX)
				sim_fail("wrong data comes to block %u of the disk", i);
			break;
		case CBD_OP_WRITE_ZEROES:
		case CBD_OP_DISCARD:
			d->block[i] = 0;
			break;
		case CBD_OP_BLOCK_STATUS:
			cbd_request_add_blocks(r, DISK_BLOCK,
					       d->block[i] == 0 ? CBD_BLOCK_ZERO : 0);
			break;
		default:
			break;
		}
	}
	return 0;
}

/* ---------------------------------------------------------------- backend */

struct handler {
	struct actor_backend *a;
	unsigned index;
};

#define BATCH 16

static void *serve(void *arg)
{
	struct handler *me = arg;
	struct actor_backend *a = me->a;
	struct cbd_handler *h = cbd_backend_handler(a->b, me->index);
	struct cbd_request *r[BATCH];
	unsigned n = 0;

	while (!a->stop_handlers || n > 0) {
		unsigned got = n < BATCH ? cbd_handler_fetch(h, r + n, BATCH - n) : 0;

		n += got;
		if (h->n_retries)
			sim.count.handler_retries++;
		if (got)
			cbd_handler_hit(h);
		while (n > 0 && (a->stop_handlers || !sim_chance(3))) {
			unsigned i = (unsigned)sim_below(n);
			struct cbd_request *one = r[i];

			if (!cbd_handler_may_submit(h)) {
				if (a->stop_handlers)
					n = 0;
				break;
			}
			r[i] = r[--n];
			cbd_handler_complete(h, one, execute(a, one));
		}
		if (!got)
			cbd_handler_wait(h, n ? 50 : 4000);
	}
	a->running_handlers--;
	sim_wake(&a->running_handlers, 1);
	free(me);
	return NULL;
}

static void lock_disk(struct actor_backend *a)
{
	/* two seconds, as the daemon does */
	for (unsigned i = 0; i < 200 && a->disk->holder && a->disk->holder->alive; i++)
		sim_sleep(10 * SIM_MS);
	if (!a->disk->holder || !a->disk->holder->alive)
		a->disk->holder = sim.current->proc;
}

static const struct cbd_disk_geometry geometry = {
	.size = DISK_BLOCKS * DISK_BLOCK,
	.logical_block = DISK_BLOCK,
	.physical_block = DISK_BLOCK,
	.optimal_block = DISK_BLOCK,
	.write_through = true,
	.discard = true,
	.block_status = true,
	.disk_id = "disk",
	.verifier = 0x70000,
};

/* *k stays NULL where nobody is asked. */
static int ask_to_hand_over(struct actor_backend *a, struct cbd_transport *t,
			    struct cbd_takeover **k)
{
	int r = cbd_takeover_begin(t, a->id, 5000, k);

	while (r == 0 && (r = cbd_takeover_poll(*k)) == 0)
		sim_sleep(SIM_MS);
	return r < 0 ? r : 0;
}

static int open_backend(struct sim_proc *p, struct actor_backend *a, struct cbd_transport *t)
{
	struct cbd_backend_options o = {
		.id = a->id,
		.name = "disk",
		.handlers = a->handlers,
		.max_blkdevs = a->max_blkdevs,
		.poll = CBD_POLL_SLEEP,
		.fenced_hosts = a->fenced_hosts,
	};
	int r;

	lock_disk(a);
	if (a->disk->holder != p)
		return -EBUSY;
	r = cbd_backend_open(t, &o, sizeof(o), &a->b);
	if (r == 0)
		r = cbd_backend_publish(a->b, &geometry, sizeof(geometry));
	for (unsigned i = 0; r == 0 && i < a->handlers; i++) {
		struct handler *h = malloc(sizeof(*h));

		*h = (struct handler){ a, i };
		a->running_handlers++;
		sim_fibre_new(p, "handler", serve, h);
	}
	return r;
}

static int start_backend(struct sim_proc *p, struct actor_backend *a, struct cbd_transport *t)
{
	struct cbd_takeover *k = NULL;
	int r = a->takeover ? ask_to_hand_over(a, t, &k) : 0;

	if (r == 0)
		r = open_backend(p, a, t);
	cbd_takeover_end(k);
	return r;
}

static void stop_handlers(struct actor_backend *a)
{
	a->stop_handlers = true;
	for (unsigned i = 0; i < a->handlers; i++)
		cbd_handler_wake(cbd_backend_handler(a->b, i));
	while (a->running_handlers)
		sim_wait(&a->running_handlers, sim.now_ns + 10 * SIM_MS);
}

static int serve_until_drained(struct actor_backend *a)
{
	int r;

	a->serving = true;
	while ((r = cbd_backend_tick(a->b)) >= 0 && !cbd_backend_drained(a->b)) {
		if (a->wanted_stop)
			cbd_backend_drain(a->b);
		sim_sleep((unsigned)r * SIM_MS);
	}
	if (r < 0) {
		sim_trace("backend lost: %s", cbd_errmsg());
		a->lost = true;
	}
	a->serving = false;
	stop_handlers(a);
	return r;
}

/* True: the successor does not serve, this process does again. */
static bool taken_back(struct sim_proc *p, struct actor_backend *a, struct cbd_transport *t)
{
	int r;

	a->disk->holder = NULL;
	cbd_backend_release(a->b);
	while ((r = cbd_backend_successor(a->b)) == 0 && !a->wanted_stop)
		sim_sleep(5 * SIM_MS);
	if (r > 0 || a->wanted_stop)
		return false;
	cbd_backend_close(a->b);
	a->b = NULL;
	a->stop_handlers = false;
	return open_backend(p, a, t) == 0;
}

int actor_backend(struct sim_proc *p, void *arg)
{
	struct actor_backend *a = arg;
	struct cbd_transport *t;
	int r = open_transport(&t);

	a->stop_handlers = a->serving = a->lost = false;
	a->running_handlers = 0;
	a->b = NULL;
	if (r < 0)
		return r;
	r = start_backend(p, a, t);
	if (r < 0) {
		sim_trace("backend: %s", cbd_errmsg());
		if (a->b)
			cbd_backend_close(a->b);
		if (a->disk->holder == p)
			a->disk->holder = NULL;
		cbd_transport_close(t);
		return r;
	}
	do
		r = serve_until_drained(a);
	while (r >= 0 && cbd_backend_handed_over(a->b) && taken_back(p, a, t));
	cbd_backend_close(a->b);
	if (a->disk->holder == p)
		a->disk->holder = NULL;
	cbd_transport_close(t);
	return r < 0 ? r : 0;
}

/* ----------------------------------------------------------------- client */

static void may(struct shadow_block *s, uint64_t number)
{
	if (s->n_may == sizeof(s->may) / sizeof(s->may[0]))
		memmove(s->may, s->may + 1, --s->n_may * sizeof(s->may[0]));
	s->may[s->n_may++] = number;
}

static bool allowed(const struct shadow_block *s, uint64_t number)
{
	for (unsigned i = 0; i < s->n_may; i++)
		if (s->may[i] == number)
			return true;
	return number == s->is;
}

struct worker {
	struct actor_client *c;
	struct cbd_queue *q;
	unsigned first, n; /* blocks of it alone, of the part */
};

static void settled(struct shadow_block *s, uint64_t number)
{
	s->is = number;
	s->n_may = 0;
}

static int read_blocks(struct worker *w, unsigned at, unsigned n)
{
	struct actor_client *c = w->c;
	char *buf = malloc(n * DISK_BLOCK);
	int r = cbd_queue_read(w->q, buf, n * DISK_BLOCK, (uint64_t)(c->first + at) * DISK_BLOCK);

	for (unsigned i = at; r == 0 && i < at + n; i++) {
		uint64_t number = number_of(buf + (i - at) * DISK_BLOCK, c->first + i);

		if (number == UINT64_MAX || !allowed(&c->shadow[i], number))
			sim_fail("block %u is read as %lld, and was written as %llu (%u more)",
				 c->first + i, (long long)number,
				 (unsigned long long)c->shadow[i].is, c->shadow[i].n_may);
		settled(&c->shadow[i], number);
	}
	free(buf);
	return r;
}

/* Blocks of zeroes, as a read finds them; of data nothing is learnt. */
static int look_at_blocks(struct worker *w, unsigned at, unsigned n)
{
	struct cbd_block_status blocks[4];
	struct actor_client *c = w->c;
	int r = cbd_queue_block_status(w->q, n * DISK_BLOCK, (uint64_t)(c->first + at) * DISK_BLOCK,
				       blocks, 4);

	for (int k = 0; k < r; at += (unsigned)blocks[k++].length / DISK_BLOCK)
		for (unsigned i = at; i < at + blocks[k].length / DISK_BLOCK; i++) {
			if (!(blocks[k].flags & CBD_BLOCK_ZERO))
				continue;
			if (!allowed(&c->shadow[i], 0))
				sim_fail("block %u is said to be zero, and was written as %llu "
					 "(%u more)",
					 c->first + i, (unsigned long long)c->shadow[i].is,
					 c->shadow[i].n_may);
			settled(&c->shadow[i], 0);
		}
	return r < 0 ? r : 0;
}

static int write_blocks(struct worker *w, unsigned at, unsigned n, bool zero)
{
	struct actor_client *c = w->c;
	char *buf = malloc(n * DISK_BLOCK);
	uint64_t from = next_number, offset = (uint64_t)(c->first + at) * DISK_BLOCK;
	int r;

	for (unsigned i = 0; i < n; i++) {
		uint64_t number = zero ? 0 : next_number++;

		actor_fill(buf + i * DISK_BLOCK, number, c->first + at + i);
		may(&c->shadow[at + i], number);
	}
	r = zero ? cbd_queue_write_zeroes(w->q, n * DISK_BLOCK, offset, 0)
		 : cbd_queue_write(w->q, buf, n * DISK_BLOCK, offset, 0);
	for (unsigned i = 0; r == 0 && i < n; i++)
		settled(&c->shadow[at + i], zero ? 0 : from + i);
	/* the library is done with it: what it still reads is wrong data */
	memset(buf, 0xee, n * DISK_BLOCK);
	free(buf);
	return r;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct actor_client *c = w->c;

	while (!c->wanted_stop && (c->requests == 0 || c->done < c->requests)) {
		unsigned n = sim_chance(4) ? 1 + (unsigned)sim_below(w->n) : 1;
		unsigned at = w->first + (unsigned)sim_below(w->n - n + 1);
		unsigned what = c->op == CBD_OP_WRITE  ? 0
				: c->op == CBD_OP_READ ? 15
						       : (unsigned)sim_below(16);
		uint64_t began = sim.now_ns;
		int r = what < 8    ? write_blocks(w, at, n, false)
			: what < 9  ? write_blocks(w, at, n, true)
			: what < 10 ? cbd_queue_flush(w->q)
			: what < 11 ? look_at_blocks(w, at, n)
				    : read_blocks(w, at, n);

		c->done++;
		c->slow += sim.now_ns - began >= SIM_MS;
		if (r < 0) {
			sim_trace("I/O: %s", cbd_errmsg());
			c->errors++;
			if (!c->hard)
				sim_fail("a request fails: %d, %s", r, cbd_errmsg());
			break;
		}
		if (sim_chance(8))
			sim_sleep(sim_below(3 * SIM_MS));
	}
	c->running--;
	sim_wake(&c->running, 1);
	free(w);
	return NULL;
}

static void run_workers(struct sim_proc *p, struct actor_client *c)
{
	for (unsigned i = 0; i < c->threads; i++) {
		struct worker *w = malloc(sizeof(*w));

		*w = (struct worker){ .c = c,
				      .q = cbd_blkdev_queue(c->b, i % cbd_blkdev_queues(c->b)),
				      .first = i * (PART_BLOCKS / c->threads),
				      .n = PART_BLOCKS / c->threads };
		c->running++;
		sim_fibre_new(p, "worker", work, w);
	}
	while (c->running)
		sim_wait(&c->running, sim.now_ns + 100 * SIM_MS);
}

/* All requests have ended: what they had taken is free. */
static void check_free(const struct cbd_queue *q)
{
	if (q->parts.n_free != q->parts.depth || q->parts.extents.free != q->parts.extents.units)
		sim_fail("no request is left, and %u of %u tags and %u of %u units are free",
			 q->parts.n_free, q->parts.depth, q->parts.extents.free,
			 q->parts.extents.units);
}

static void add_counters(struct actor_client *c)
{
	for (unsigned i = 0; i < cbd_blkdev_queues(c->b); i++) {
		const struct cbd_queue *q = cbd_blkdev_queue(c->b, i);
		const struct cbd_counter_block *k = &q->counted.now;

		if (c->errors == 0)
			check_free(q);

		c->resends += k->events.resends;
		c->bad_payloads += k->events.bad_payloads;
		c->leaves += k->epochs.left;
		c->epochs += k->epochs.epochs;
	}
}

int actor_client(struct sim_proc *p, void *arg)
{
	struct actor_client *c = arg;
	struct cbd_blkdev_options o = { .backend = c->backend ? "1" : "0",
					.queues = !c->one_queue && c->threads > 1 && sim_chance(2)
							  ? 2
							  : 1,
					.depth = sim_chance(2) ? 4 : 0,
					.poll = sim_chance(4) ? CBD_POLL_ADAPTIVE : CBD_POLL_SLEEP,
					.attach_timeout_ms = c->waits ? 0 : 5000 };
	struct cbd_transport *t;
	int r = open_transport(&t);

	c->attached = false;
	c->running = 0;
	if (r < 0)
		return r;
	/* a backend that the director has taken away comes back */
	while ((r = cbd_blkdev_open(t, &o, sizeof(o), &c->b)) < 0 && c->again > 0) {
		sim_trace("client: %s", cbd_errmsg());
		c->again--;
		sim_sleep(200 * SIM_MS);
	}
	if (r == 0)
		r = cbd_blkdev_start(c->b);
	if (r < 0) {
		sim_trace("client: %s", cbd_errmsg());
		cbd_transport_close(t);
		return r;
	}
	c->attached = true;
	run_workers(p, c);
	add_counters(c);
	c->attached = false;
	cbd_blkdev_close(c->b);
	cbd_transport_close(t);
	return c->errors ? -EIO : 0;
}

/* --------------------------------------------------------------- operator */

int actor_clear(struct sim_proc *p, void *arg)
{
	const struct actor_clear *a = arg;
	struct cbd_clear_options o = {
		.hosts_gone = a->hosts_gone,
	};
	struct cbd_transport *t;
	int r = open_transport(&t);

	(void)p;
	if (r < 0)
		return r;
	r = cbd_clear(t, a->object, a->id, &o, sizeof(o));
	if (r < 0)
		sim_trace("clear: %s", cbd_errmsg());
	cbd_transport_close(t);
	return r;
}

static void on_problem(void *opaque, const struct cbd_problem *problem)
{
	(void)opaque;
	sim_trace("check: %s %s, verdict %d", problem->object, problem->what,
		  (int)problem->verdict);
}

int actor_check(struct sim_proc *p, void *arg)
{
	const bool *repair = arg;

	(void)p;
	return cbd_transport_check(sim.path, *repair ? CBD_CHECK_REPAIR : 0, on_problem, NULL);
}

int actor_join(struct sim_proc *p, void *arg)
{
	struct cbd_transport *t;
	int r = open_transport(&t);

	(void)p;
	(void)arg;
	if (r < 0)
		return r;
	r = cbd_transport_join(t);
	if (r < 0)
		sim_trace("join: %s", cbd_errmsg());
	cbd_transport_close(t);
	return r;
}
