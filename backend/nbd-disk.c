/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbd-disk.c - the disk of an NBD server as disk.c sees it: open, lock, size, end.
 *
 * Owns its geometry, the file that stands for it (with nbd-state.c), and from where the
 * verifier comes.  All of it runs in the main thread.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "../common/log.h"
#include "nbd.h"

#define SECTOR 512u
#define PAGE 4096u
#define VERIFIER_COUNT 0xffffull

/* ------------------------------------------------------------------- open */

static bool power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

/* The logical block does not depend on the server's blocks, as it does not on --direct: clients
 * take a disk whose blocks have changed for another one. */
static int set_geometry(struct disk *d)
{
	struct cbd_disk_geometry *g = &d->geometry;
	const struct nbd_abilities *can = &d->nbd->first;

	if (can->read_only && !d->read_only) {
		log_error("%s: is read-only at the server (--read-only may do)", d->name);
		return -EROFS;
	}
	g->size = can->size;
	g->logical_block = SECTOR;
	g->physical_block = can->block > PAGE ? can->block : PAGE;
	g->optimal_block = g->physical_block;
	if (power_of_two(can->preferred) && can->preferred > g->optimal_block)
		g->optimal_block = can->preferred;
	g->rotational = can->rotational;
	g->discard = !d->read_only && can->trim;
	g->fast_zero = !d->read_only && can->fast_zero;
	g->block_status = can->block_status;
	d->granule = can->block;
	/* in larger blocks than a byte the server is read, changed and written */
	d->direct = can->block > 1 ? can->block : 0;
	if (!d->read_only && !can->flush)
		log_warning("%s: the server has no flush: what it has answered is taken for "
			    "durable",
			    d->name);
	return 0;
}

static void init(struct nbd *n)
{
	pthread_condattr_t attributes;
	pthread_rwlockattr_t fair;

	/* a loss must not wait for ever while answers are passed on */
	pthread_rwlockattr_init(&fair);
	pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&n->order, &fair);
	pthread_rwlockattr_destroy(&fair);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&n->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&n->lock, NULL);
	for (unsigned i = 0; i < NBD_MAX_QUEUES; i++) {
		pthread_mutex_init(&n->conns[i].lock, NULL);
		n->bells[i] = -1;
	}
	atomic_store(&n->generation, 1);
	atomic_store(&n->answer_ns, nbd_now_ns());
}

/* A connection that is there already is used later: a server may take one only, or end
 * with its last client. */
static int ask_server(struct disk *d)
{
	struct nbd *n = d->nbd;
	struct nbd_state state;
	char error[sizeof(n->error)];

	n->spare_beside = nbd_state_read(d->fd, &state) && !state.clean;
	n->spare_serial = state.serial;
	n->spare = nbd_connect(n, nbd_after_ms(NBD_ANSWER_MS), error, sizeof(error));
	if (n->spare == NULL) {
		log_error("%s: %s", d->name, error);
		return -ENOTCONN;
	}
	nbd_ask_abilities(n->spare, &n->first);
	n->size = n->first.size;
	return 0;
}

int nbd_disk_open(struct disk *d)
{
	struct nbd *n = calloc(1, sizeof(*n));
	int err;

	if (n == NULL) {
		log_error("%s: %s", d->name, strerror(ENOMEM));
		return -ENOMEM;
	}
	d->nbd = n;
	n->disk = d;
	init(n);
	d->path = strdup(d->name);
	n->known_as = nbd_uri_normalise(d->name);
	if (d->path == NULL || n->known_as == NULL)
		return -EINVAL;
	log_debug("%s: is identified by %s", d->name, n->known_as);
	d->fd = nbd_state_open(d->name, n->known_as);
	if (d->fd < 0)
		return -EIO;
	err = ask_server(d);
	if (err == 0)
		err = set_geometry(d);
	if (err == 0)
		err = nbd_start_thread(n);
	return err;
}

void nbd_disk_close(struct disk *d)
{
	struct nbd *n = d->nbd;

	if (n == NULL)
		return;
	nbd_disk_unlock(d);
	if (n->started) {
		pthread_mutex_lock(&n->lock);
		n->stop = true;
		pthread_cond_broadcast(&n->changed);
		pthread_mutex_unlock(&n->lock);
		pthread_join(n->thread, NULL);
	}
	nbd_drop_handles(n, true);
	nbd_leave(n->spare);
	for (unsigned i = 0; i < NBD_MAX_QUEUES; i++)
		pthread_mutex_destroy(&n->conns[i].lock);
	pthread_mutex_destroy(&n->lock);
	pthread_cond_destroy(&n->changed);
	pthread_rwlock_destroy(&n->order);
	free(n->known_as);
	free(n);
	d->nbd = NULL;
}

/* ------------------------------------------------------- lock and unlock */

/* Of a source that no other process has had, unless nothing can have been lost since. */
static void choose_source(struct disk *d, const struct nbd_state *state)
{
	uint64_t source = state->source;

	if (d->read_only || d->write_through)
		return;
	if (!state->clean || source <= VERIFIER_COUNT)
		if (getrandom(&source, sizeof(source), 0) != sizeof(source))
			source = nbd_now_ns() << 16;
	d->geometry.verifier = (source & ~VERIFIER_COUNT) | (VERIFIER_COUNT + 1);
}

/* A server whose connections do not share a cache shows what others had written when the
 * connection was made, and what is written through it. */
static bool is_spare_old(const struct nbd *n, const struct nbd_state *state)
{
	return state->serial != n->spare_serial || (n->spare_beside && !n->first.multi_conn);
}

static void renew_spare(struct nbd *n)
{
	char error[sizeof(n->error)];

	nbd_leave(n->spare);
	n->spare = nbd_connect(n, nbd_after_ms(NBD_ANSWER_MS), error, sizeof(error));
	if (n->spare == NULL)
		return; /* the thread tries again, and tells */
	nbd_note_size(n, (uint64_t)nbd_get_size(n->spare));
}

/* All connections are there, or the start fails. */
static int await_set(struct nbd *n)
{
	uint64_t until_ns = nbd_after_ms(NBD_ANSWER_MS);
	bool reached;

	pthread_mutex_lock(&n->lock);
	n->awaited = true;
	pthread_mutex_unlock(&n->lock);
	nbd_want(n);
	pthread_mutex_lock(&n->lock);
	while (!n->reached && !n->up && n->error[0] == '\0' && nbd_now_ns() < until_ns)
		nbd_rest(n, until_ns);
	n->awaited = false;
	reached = n->reached || n->up;
	if (!reached)
		log_error("%s: %s", n->disk->name,
			  n->error[0] != '\0' ? n->error : "cannot be connected to in time");
	pthread_mutex_unlock(&n->lock);
	return reached ? 0 : -ENOTCONN;
}

/* FENCE: writes of the process before may still be executed. */
static void begin_anew(struct nbd *n, bool fence)
{
	pthread_mutex_lock(&n->lock);
	if (fence)
		n->fence_ns = nbd_after_ms(NBD_FENCE_MS);
	if (n->queues == 0)
		n->lost_ns = nbd_now_ns(); /* what fails later is logged */
	pthread_mutex_unlock(&n->lock);
}

static int enter_state(struct disk *d, uint64_t serial)
{
	const struct nbd_state state = {
		.serial = serial,
		.source = d->write_through ? 0 : d->geometry.verifier,
	};
	int err = nbd_state_write(d->fd, &state);

	if (err < 0)
		log_error("%s: its lock file cannot be written: %s", d->name, strerror(-err));
	return err;
}

int nbd_disk_locked(struct disk *d)
{
	struct nbd *n = d->nbd;
	struct nbd_state state;
	bool known = nbd_state_read(d->fd, &state);
	int err = 0;

	n->locked = true;
	n->unsettled = false;
	n->clean = !known || state.clean;
	if (n->spare != NULL && is_spare_old(n, &state))
		renew_spare(n);
	choose_source(d, &state);
	begin_anew(n, !d->read_only && (!n->clean || d->moved));
	if (!d->read_only)
		err = enter_state(d, state.serial + 1);
	return err == 0 && n->queues > 0 ? await_set(n) : err;
}

static bool is_up(struct nbd *n)
{
	bool up;

	pthread_mutex_lock(&n->lock);
	up = n->up;
	pthread_mutex_unlock(&n->lock);
	return up;
}

int nbd_disk_settle(struct disk *d)
{
	struct nbd *n = d->nbd;
	char error[128] = "not connected";
	bool lost, due, up = is_up(n);

	pthread_rwlock_rdlock(&n->order);
	lost = n->loss_due;
	due = lost || atomic_load(&n->written) != atomic_load(&n->flushed);
	pthread_rwlock_unlock(&n->order);
	if (d->read_only || !due || (up && !lost && nbd_flush_all(n, error, sizeof(error)) == 0))
		return 0;
	n->unsettled = true;
	log_error("%s: cannot be synchronised: %s", d->name,
		  lost ? "the connection was lost" : error);
	return -EIO;
}

/* The next process need not wait, and its clients have lost nothing, when everything that
 * was begun is answered and flushed. */
static void leave_state(struct disk *d)
{
	struct nbd *n = d->nbd;
	struct nbd_state state;

	nbd_state_read(d->fd, &state);
	if (is_up(n))
		state.clean = atomic_load(&n->in_flight) == 0 && !n->unsettled &&
			      nbd_disk_settle(d) == 0;
	else
		state.clean = n->clean;
	if (!state.clean)
		return;
	if (nbd_state_write(d->fd, &state) < 0)
		log_warning("%s: its lock file cannot be written", d->name);
}

void nbd_disk_unlock(struct disk *d)
{
	struct nbd *n = d->nbd;

	if (!n->locked)
		return;
	n->locked = false;
	pthread_mutex_lock(&n->lock);
	n->wanted = n->ask = false;
	n->cancel = true;
	pthread_cond_broadcast(&n->changed);
	while (n->busy)
		pthread_cond_wait(&n->changed, &n->lock);
	n->cancel = false;
	pthread_mutex_unlock(&n->lock);
	if (!d->read_only)
		leave_state(d);
	pthread_mutex_lock(&n->lock);
	n->up = n->reached = false;
	n->fence_ns = n->lost_ns = 0;
	pthread_mutex_unlock(&n->lock);
	pthread_rwlock_wrlock(&n->order);
	atomic_fetch_add(&n->generation, 1);
	pthread_rwlock_unlock(&n->order);
	nbd_drop_handles(n, true);
}

void disk_ask_size(struct disk *d)
{
	if (d->nbd == NULL)
		return;
	pthread_mutex_lock(&d->nbd->lock);
	d->nbd->ask = true;
	pthread_cond_broadcast(&d->nbd->changed);
	pthread_mutex_unlock(&d->nbd->lock);
}

bool disk_has_news(struct disk *d)
{
	return d->nbd != NULL && atomic_exchange(&d->nbd->news, false);
}

bool disk_is_silent(const struct disk *d, unsigned ms)
{
	return d->nbd != NULL && nbd_now_ns() > atomic_load(&d->nbd->answer_ns) + ms * 1000000ull;
}

uint64_t nbd_disk_size(const struct disk *d)
{
	struct nbd *n = d->nbd;
	uint64_t size;

	pthread_mutex_lock(&n->lock);
	size = n->size;
	pthread_mutex_unlock(&n->lock);
	return size;
}
