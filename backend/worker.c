/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker.c - one thread for each handler: fetch, submit, reap, complete.
 *
 * Owns the requests between libcbd and the engine, the last check of what a
 * client may do, and the order of writes where --direct needs one.  It does
 * not touch data.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "../common/log.h"
#include "../common/operation.h"
#include "../common/thread.h"
#include "worker.h"

#define DEPTH 256u /* requests in flight of one handler */
#define BATCH 32u

/* Waits, in microseconds: nothing to do; I/O in flight, at first and at most. */
#define IDLE_US 100000u
#define BUSY_MIN_US 10u
#define BUSY_MAX_US 1000u

#define FD_NOT_ASKED (-1)
#define FD_NONE (-2)

enum worker_state { WORKER_STARTING, WORKER_READY, WORKER_FAILED, WORKER_SERVING, WORKER_STOPPING };

struct worker {
	pthread_t thread;
	struct disk *disk;
	const struct disk_engine *engine;

	/* Of the thread alone. */
	struct disk_queue *queue;
	struct disk_io ios[DEPTH];
	struct disk_io *unused;
	unsigned room;				/* number of unused ios */
	struct disk_io *waiting, **waiting_end; /* for their range, in order */
	unsigned in_engine;
	unsigned busy_us;
	int fd; /* the handler's, FD_NOT_ASKED or FD_NONE */
	unsigned long errors, losses;

	/* Between the threads. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum worker_state state;
	int error;
	struct cbd_backend *backend;
	struct cbd_handler *handler;
};

/* ------------------------------------------------------- between threads */

static void set_state(struct worker *w, enum worker_state state)
{
	pthread_mutex_lock(&w->lock);
	w->state = state;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

/* Wait until the state is another than STATE; returns it. */
static enum worker_state wait_state(struct worker *w, enum worker_state state)
{
	pthread_mutex_lock(&w->lock);
	while (w->state == state)
		pthread_cond_wait(&w->changed, &w->lock);
	state = w->state;
	pthread_mutex_unlock(&w->lock);
	return state;
}

static bool stopping(struct worker *w)
{
	bool stop;

	pthread_mutex_lock(&w->lock);
	stop = w->state == WORKER_STOPPING;
	pthread_mutex_unlock(&w->lock);
	return stop;
}

/* -------------------------------------------------------------- requests */

/* A disk that has begun to fail goes on to: the 1st, 2nd, 4th, 8th ... time is
 * logged. */
static bool worth_logging(unsigned long count)
{
	return (count & (count - 1)) == 0;
}

/* Whether it lies beyond the end of a disk that has shrunk. */
static bool is_cut_off(const struct disk *d, const struct cbd_request *r)
{
	uint64_t end = disk_end(d);

	return r->op != CBD_OP_FLUSH && (r->offset > end || r->length > end - r->offset);
}

static void note_error(struct worker *w, const struct cbd_request *r, int error)
{
	if (error == -EOPNOTSUPP || !worth_logging(++w->errors))
		return;
	log_error("%s: %s of %u bytes at %" PRIu64 ": %s (error %lu)", w->disk->name,
		  operation_name(r->op), r->length, r->offset,
		  is_cut_off(w->disk, r) ? "the disk has shrunk" : strerror(-error), w->errors);
}

static void complete(struct worker *w, struct disk_io *io, int result)
{
	struct cbd_request *r = io->request;

	if (result < 0)
		note_error(w, r, result);
	if (r->op == CBD_OP_DISCARD || r->op == CBD_OP_WRITE_ZEROES)
		disk_blocks_changed(w->disk);
	disk_range_remove(w->disk, io);
	io->next = w->unused;
	w->unused = io;
	w->room++;
	/* The kernel could not reach the payload: a poisoned or truncated
	 * mapping. */
	cbd_handler_complete(w->handler, r, result == -EFAULT ? -EIO : result);
}

static void engine_done(void *opaque, struct disk_io *io, int result)
{
	struct worker *w = opaque;

	w->in_engine--;
	complete(w, io, result);
}

static void engine_lost(void *opaque, int error)
{
	struct worker *w = opaque;

	cbd_backend_data_lost(w->backend);
	if (!worth_logging(++w->losses))
		return;
	if (w->disk->nbd != NULL && error == -ECONNRESET)
		log_error("%s: the server may have lost writes that were not flushed (loss %lu)",
			  w->disk->name, w->losses);
	else
		log_error("%s: sync: %s: writes before it may be lost (error %lu)", w->disk->name,
			  strerror(-error), w->losses);
}

/* Not before those whose range it touches; and not after this process was away
 * for so long that another may have its place (rule 7.5). */
static bool ready(struct worker *w, struct disk_io *io)
{
	return disk_range_ready(w->disk, io) && cbd_handler_may_submit(w->handler);
}

static void submit(struct worker *w, struct disk_io *io)
{
	w->in_engine++;
	if (io->request->op == CBD_OP_BLOCK_STATUS && w->engine->block_status == NULL)
		engine_done(w, io, 0); /* nothing is told: all is data */
	else if (io->request->op == CBD_OP_BLOCK_STATUS)
		w->engine->block_status(w->queue, io);
	else
		w->engine->submit(w->queue, io);
}

/* libcbd has checked all this; but here is the last place before the disk. */
static int check(const struct disk *d, const struct cbd_request *r)
{
	uint64_t size = disk_size(d);

	if (r->op < CBD_OP_READ || r->op > CBD_OP_BLOCK_STATUS)
		return -EOPNOTSUPP;
	if (d->read_only && r->op != CBD_OP_READ && r->op != CBD_OP_FLUSH &&
	    r->op != CBD_OP_BLOCK_STATUS)
		return -EPERM;
	if (r->op != CBD_OP_FLUSH && (r->offset > size || r->length > size - r->offset))
		return -EINVAL;
	/* a write would make a file longer again, with a hole that reads as zeroes; what is
	 * told of that part is that it is data, so that somebody reads it and gets the error */
	return is_cut_off(d, r) && r->op != CBD_OP_BLOCK_STATUS ? -EIO : 0;
}

static void start(struct worker *w, struct cbd_request *r)
{
	int err = check(w->disk, r);
	struct disk_io *io = w->unused;

	if (err == -EIO)
		note_error(w, r, err);
	if (err < 0 || (r->length == 0 && r->op != CBD_OP_FLUSH)) {
		cbd_handler_complete(w->handler, r, err);
		return;
	}
	w->unused = io->next;
	w->room--;
	*io = (struct disk_io){ .request = r };
	disk_range_add(w->disk, io);
	if (ready(w, io)) {
		submit(w, io);
		return;
	}
	*w->waiting_end = io;
	w->waiting_end = &io->next;
}

/* Submit what waits no longer. */
static unsigned retry(struct worker *w)
{
	struct disk_io **place = &w->waiting;
	unsigned submitted = 0;

	while (*place != NULL) {
		struct disk_io *io = *place;

		if (!ready(w, io)) {
			place = &io->next;
			continue;
		}
		*place = io->next;
		submit(w, io);
		submitted++;
	}
	w->waiting_end = place;
	return submitted;
}

/* ------------------------------------------------------------------ loop */

static unsigned fetch(struct worker *w)
{
	struct cbd_request *requests[BATCH];
	unsigned n = cbd_handler_fetch(w->handler, requests, w->room < BATCH ? w->room : BATCH);

	for (unsigned i = 0; i < n; i++)
		start(w, requests[i]);
	return n;
}

/* Submit, finish and complete what there is; returns how much it was. */
static unsigned serve(struct worker *w, bool wait)
{
	unsigned n = fetch(w) + retry(w);

	if (w->engine->kick != NULL)
		w->engine->kick(w->queue);
	if (w->engine->reap != NULL && w->in_engine > 0)
		n += w->engine->reap(w->queue, wait && n == 0);
	return n;
}

/* The handler's descriptor, with the thread of libcbd behind it, is made at the first
 * use: an engine that answers fast never needs it. */
static bool has_descriptor(struct worker *w)
{
	if (w->fd != FD_NOT_ASKED)
		return w->fd >= 0;
	w->fd = cbd_handler_fd(w->handler);
	if (w->fd >= 0)
		return true;
	log_error("%s; this handler looks at its disk and its clients at intervals", cbd_errmsg());
	w->fd = FD_NONE;
	return false;
}

/* I/O is in the engine: after the time that the poll policy spends awake, sleep until
 * there is a completion or a new request. */
static void wait_for_both(struct worker *w)
{
	if (cbd_handler_wait(w->handler, 0) || !has_descriptor(w))
		return;
	if (cbd_handler_arm(w->handler) == 0)
		w->engine->wait(w->queue, w->fd, IDLE_US / 1000);
}

/*
 * Look at engine and rings at growing intervals, an eighth of the time that the wait
 * has lasted so far: no answer is late by more than an eighth.
 */
static void look_at_intervals(struct worker *w)
{
	cbd_handler_wait(w->handler, w->busy_us);
	if (w->busy_us < BUSY_MAX_US)
		w->busy_us += w->busy_us / 8 + 1;
}

/*
 * With nothing in flight only a request can come: this thread sleeps on the bells of
 * its channels, which costs one wake-up.  The handler's descriptor costs two, one after
 * the other (the thread of libcbd that waits on the bells, then this one), so it serves
 * only where I/O in flight can end the wait too.  Once there is a descriptor, its thread
 * wakes at the bells of an idle handler as well, beside this one: it keeps its bells,
 * so that to arm again wakes nobody (ring/watcher.c).  Requests that wait for another
 * handler's range, or for a beat, have nothing that wakes this thread: it looks.
 */
static void idle(struct worker *w)
{
	if (w->in_engine == 0 && w->waiting == NULL)
		cbd_handler_wait(w->handler, IDLE_US);
	else if (w->waiting == NULL && w->engine->wait != NULL && w->fd != FD_NONE)
		wait_for_both(w);
	else
		look_at_intervals(w);
}

static void run(struct worker *w)
{
	for (;;) {
		/* With no room for new requests only the engine can go on. */
		if (serve(w, w->room == 0 && w->in_engine > 0) > 0) {
			cbd_handler_hit(w->handler);
			w->busy_us = BUSY_MIN_US;
		} else if (w->room == DEPTH && stopping(w)) {
			return;
		} else if (w->room > 0 || w->in_engine == 0) {
			idle(w);
		}
	}
}

static int open_queue(struct worker *w)
{
	const struct disk_events events = {
		.done = engine_done,
		.lost = engine_lost,
		.opaque = w,
	};

	return disk_queue_open(w->engine, w->disk, DEPTH, &events, &w->queue);
}

static void *worker_thread(void *opaque)
{
	struct worker *w = opaque;

	prctl(PR_SET_NAME, "cbd-handler");
	/* The default of 50 us is more than many waits here are to last. */
	prctl(PR_SET_TIMERSLACK, 1000ul);
	w->error = open_queue(w);
	set_state(w, w->error < 0 ? WORKER_FAILED : WORKER_READY);
	if (w->error < 0)
		return NULL;
	if (wait_state(w, WORKER_READY) == WORKER_SERVING)
		run(w);
	disk_queue_close(w->queue);
	return NULL;
}

/* -------------------------------------------------------- start and stop */

static struct worker *worker_new(struct disk *d, const struct disk_engine *engine)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->disk = d;
	w->engine = engine;
	w->busy_us = BUSY_MIN_US;
	w->fd = FD_NOT_ASKED;
	w->waiting_end = &w->waiting;
	w->room = DEPTH;
	for (unsigned i = 0; i < DEPTH; i++) {
		w->ios[i].next = w->unused;
		w->unused = &w->ios[i];
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	return w;
}

static void worker_free(struct worker *w)
{
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

struct worker *worker_start(struct disk *d, const struct disk_engine *engine, unsigned index)
{
	struct worker *w = worker_new(d, engine);
	int err;

	if (w == NULL) {
		log_error("handler %u: %s", index, strerror(ENOMEM));
		return NULL;
	}
	err = thread_create(&w->thread, worker_thread, w);
	if (err == 0 && wait_state(w, WORKER_STARTING) == WORKER_READY)
		return w;
	if (err == 0) {
		pthread_join(w->thread, NULL);
		err = w->error;
	}
	log_error("handler %u: engine %s: %s", index, engine->name, strerror(-err));
	worker_free(w);
	return NULL;
}

void worker_serve(struct worker *w, struct cbd_backend *b, struct cbd_handler *h)
{
	w->backend = b;
	w->handler = h;
	set_state(w, WORKER_SERVING);
}

void worker_stop(struct worker *w)
{
	set_state(w, WORKER_STOPPING);
	if (w->handler != NULL)
		cbd_handler_wake(w->handler);
	pthread_join(w->thread, NULL);
	worker_free(w);
}
