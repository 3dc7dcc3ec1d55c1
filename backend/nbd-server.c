/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbd-server.c - the connections to an NBD server: made, lost, and made again.
 *
 * Owns the thread that makes them, so that neither a handler nor the control thread waits
 * for a name server or for a server that is away; what is asked of a server before its
 * connections are used; and what a loss means (rules 7.10 and 8 of docs/protocol.md).
 * The requests of clients are disk-nbd.c's.
 *
 * A set of connections goes through these states; `lock` guards them:
 *
 *	away -> reached		all connections are there, and the server is as it was
 *	reached -> up		the fence is over, and each connection has answered
 *				after all were there: they lead to one run of the server
 *	up -> away		one of them broke (nbd_broken()), or the disk has grown
 *				and the connections, which do not show it, are replaced
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "../common/log.h"
#include "../common/thread.h"
#include "nbd.h"

#define LASTING_MS 5000u

/* ------------------------------------------------------------- the next set */

struct set {
	struct nbd_handle *handles[NBD_MAX_QUEUES];
	unsigned count;
	struct nbd_abilities can;
	char error[sizeof(((struct nbd *)0)->error)];
};

static void set_drop(struct set *s)
{
	for (unsigned i = 0; i < s->count; i++)
		nbd_leave(s->handles[i]);
	s->count = 0;
}

/* Handlers go by what was told when the disk was opened. */
static const char *what_differs(const struct nbd *n, const struct nbd_abilities *can)
{
	if (can->read_only && !n->disk->read_only)
		return "the server offers it for reading only now";
	if (can->block > n->first.block || can->largest < n->first.block)
		return "the server wants other blocks than before";
	if (!can->multi_conn && n->first.multi_conn && n->n_conns > 1)
		return "the server does not take several connections any more";
	if (can->size == 0)
		return "it is empty now";
	return NULL;
}

static int set_connect(struct nbd *n, struct set *s)
{
	uint64_t until_ns = nbd_after_ms(NBD_ANSWER_MS);
	const char *why;

	for (unsigned i = 0; i < n->n_conns; i++) {
		pthread_mutex_lock(&n->lock);
		s->handles[i] = n->spare;
		n->spare = NULL;
		pthread_mutex_unlock(&n->lock);
		if (s->handles[i] != NULL && nbd_is_over(s->handles[i])) {
			nbd_close(s->handles[i]);
			s->handles[i] = NULL;
		}
		if (s->handles[i] == NULL)
			s->handles[i] = nbd_connect(n, until_ns, s->error, sizeof(s->error));
		if (s->handles[i] == NULL)
			return -1;
		s->count = i + 1;
		nbd_ask_abilities(s->handles[i], &s->can);
		why = what_differs(n, &s->can);
		if (why != NULL) {
			snprintf(s->error, sizeof(s->error), "%s", why);
			return -1;
		}
	}
	return 0;
}

/* An error of the disk is an answer too. */
static int ask_one(struct nbd *n, struct set *s, unsigned i, char *block, size_t length,
		   uint64_t until_ns)
{
	int64_t cookie = nbd_aio_pread(s->handles[i], block, length, 0, NBD_NULL_COMPLETION, 0);

	if (cookie > 0)
		return nbd_await(n, s->handles[i], cookie, until_ns, s->error, sizeof(s->error));
	snprintf(s->error, sizeof(s->error), "%s", nbd_last_error());
	return -1;
}

/* Each connection answers when all are there.  What is read is of no interest. */
static int set_ask(struct nbd *n, struct set *s)
{
	uint64_t until_ns = nbd_after_ms(NBD_ANSWER_MS);
	size_t length = s->can.block;
	char *block = malloc(length);
	int err = block == NULL ? -1 : 0;

	for (unsigned i = 0; i < s->count && err >= 0; i++)
		err = ask_one(n, s, i, block, length, until_ns);
	/* with a command of a broken connection goes its handle, and then the memory */
	if (err < 0)
		set_drop(s);
	free(block);
	return err < 0 ? -1 : 0;
}

static void ring(struct nbd *n)
{
	static const uint64_t one = 1;

	for (unsigned i = 0; i < n->queues; i++)
		if (n->bells[i] >= 0 && write(n->bells[i], &one, sizeof(one)) < 0)
			log_debug("%s: eventfd: %s", n->disk->name, strerror(errno));
}

void nbd_note_size(struct nbd *n, uint64_t size)
{
	if (size == n->size)
		return;
	n->size = size;
	atomic_store(&n->news, true);
}

static void set_install(struct nbd *n, struct set *s)
{
	unsigned generation = atomic_load(&n->generation);

	/* no queue sends anything before it has seen that the set is complete */
	atomic_fetch_add(&n->installed, 1);
	for (unsigned i = 0; i < s->count; i++) {
		struct nbd_conn *c = &n->conns[i];

		pthread_mutex_lock(&c->lock);
		c->handle = s->handles[i];
		c->can = s->can;
		c->generation = generation;
		pthread_mutex_unlock(&c->lock);
	}
	atomic_store(&n->in_flight, 0);
	atomic_store(&n->writes, 0);
	atomic_store(&n->paused, false);
	pthread_mutex_lock(&n->lock);
	n->up = true;
	n->clean = false;
	n->fence_ns = 0;
	nbd_note_size(n, s->can.size);
	if (n->lost_ns != 0)
		log_info("%s: connected again after %" PRIu64 " ms", n->disk->name,
			 (nbd_now_ns() - n->lost_ns) / 1000000);
	n->installed_ns = nbd_now_ns();
	n->lost_ns = 0;
	n->error[0] = '\0';
	atomic_fetch_add(&n->installed, 1);
	ring(n);
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
	s->count = 0;
}

/* ---------------------------------------------------------------- the thread */

/* With the lock.  Until UNTIL_NS at most; false: stop. */
bool nbd_rest(struct nbd *n, uint64_t until_ns)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	until_ns -= nbd_now_ns();
	if ((int64_t)until_ns <= 0)
		return !n->stop && !n->cancel;
	until_ns += (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	t.tv_sec = (time_t)(until_ns / 1000000000);
	t.tv_nsec = (long)(until_ns % 1000000000);
	if (!n->stop && !n->cancel)
		pthread_cond_timedwait(&n->changed, &n->lock, &t);
	return !n->stop && !n->cancel;
}

/* The old handles, and with them the commands that are in flight there: no callback runs
 * after this. */
void nbd_drop_handles(struct nbd *n, bool in_order)
{
	for (unsigned i = 0; i < NBD_MAX_QUEUES; i++) {
		struct nbd_conn *c = &n->conns[i];
		struct nbd_handle *h;

		pthread_mutex_lock(&c->lock);
		h = c->handle;
		c->handle = NULL;
		if (in_order)
			nbd_leave(h);
		else
			nbd_close(h);
		pthread_mutex_unlock(&c->lock);
	}
}

/* An old run of writes may be under way: rule 7.10.  That the process is dead which listens
 * does not end them: it may have been a tunnel, or have had its disk from another server.
 * False: stop. */
static bool pass_fence(struct nbd *n)
{
	bool go_on = true;

	pthread_mutex_lock(&n->lock);
	if (n->fence_ns > nbd_now_ns())
		log_info("%s: writes of the lost connection may be under way at the server: "
			 "requests wait for %u ms from its loss on",
			 n->disk->name, NBD_FENCE_MS);
	while (go_on && n->fence_ns > nbd_now_ns())
		go_on = nbd_rest(n, n->fence_ns);
	pthread_mutex_unlock(&n->lock);
	return go_on;
}

/* With the lock.  A reason is logged once. */
static void note_failure(struct nbd *n, const char *error)
{
	bool told_to_stop = n->stop || n->cancel;

	if (!n->awaited && !told_to_stop && strcmp(n->error, error) != 0) {
		log_error("%s: %s; requests wait", n->disk->name, error);
		if (n->lost_ns == 0)
			n->lost_ns = nbd_now_ns();
	}
	snprintf(n->error, sizeof(n->error), "%s", error);
	pthread_cond_broadcast(&n->changed);
}

static void set_reached(struct nbd *n, bool reached)
{
	pthread_mutex_lock(&n->lock);
	n->reached = reached;
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
}

static int bring_up_once(struct nbd *n, struct set *s)
{
	*s = (struct set){ 0 };
	if (set_connect(n, s) < 0) {
		set_drop(s);
		return -1;
	}
	set_reached(n, true);
	if (!pass_fence(n)) {
		set_drop(s);
		return -1;
	}
	if (set_ask(n, s) < 0)
		return -1;
	set_install(n, s);
	return 0;
}

/* With the lock.  A server that breaks each connection soon is not asked again at once. */
static bool rest_first(struct nbd *n)
{
	uint64_t until_ns;
	bool go_on = true;

	if (n->installed_ns == 0 || nbd_now_ns() - n->installed_ns > LASTING_MS * 1000000ull)
		n->pause_ms = 0;
	until_ns = nbd_after_ms(n->pause_ms);
	while (go_on && nbd_now_ns() < until_ns)
		go_on = nbd_rest(n, until_ns);
	n->pause_ms = n->pause_ms == 0 ? NBD_RETRY_MIN_MS : n->pause_ms * 2;
	if (n->pause_ms > NBD_RETRY_MAX_MS)
		n->pause_ms = NBD_RETRY_MAX_MS;
	return go_on;
}

static void bring_up(struct nbd *n)
{
	unsigned pause_ms = NBD_RETRY_MIN_MS;
	struct set s;
	bool go_on;

	nbd_drop_handles(n, false);
	pthread_mutex_lock(&n->lock);
	n->n_conns = n->first.multi_conn && n->queues > 0 ? n->queues : 1;
	go_on = rest_first(n);
	pthread_mutex_unlock(&n->lock);
	while (go_on && bring_up_once(n, &s) < 0) {
		pthread_mutex_lock(&n->lock);
		n->reached = false;
		note_failure(n, s.error);
		go_on = nbd_rest(n, nbd_after_ms(pause_ms));
		pthread_mutex_unlock(&n->lock);
		pause_ms = pause_ms * 2 < NBD_RETRY_MAX_MS ? pause_ms * 2 : NBD_RETRY_MAX_MS;
	}
}

/* With its lock: a flush, answered in time.  No other thread uses the connection. */
static int flush_conn(struct nbd *n, struct nbd_conn *c, uint64_t until_ns, char *error,
		      size_t size)
{
	int64_t cookie;

	if (c->handle == NULL || nbd_is_over(c->handle)) {
		snprintf(error, size, "not connected");
		return -1;
	}
	if (!c->can.flush || n->disk->read_only)
		return 0;
	cookie = nbd_aio_flush(c->handle, NBD_NULL_COMPLETION, 0);
	if (cookie > 0)
		return nbd_await(n, c->handle, cookie, until_ns, error, size) == 0 ? 0 : -1;
	snprintf(error, size, "%s", nbd_last_error());
	return -1;
}

/* On each connection, so that one that has broken is noticed. */
int nbd_flush_all(struct nbd *n, char *error, size_t size)
{
	uint64_t until_ns = nbd_after_ms(NBD_ANSWER_MS), written = atomic_load(&n->written);
	int err = 0;

	for (unsigned i = 0; i < n->n_conns && err == 0; i++) {
		pthread_mutex_lock(&n->conns[i].lock);
		err = flush_conn(n, &n->conns[i], until_ns, error, size);
		pthread_mutex_unlock(&n->conns[i].lock);
	}
	if (err == 0)
		atomic_store(&n->flushed, written);
	return err;
}

/* Give the set up.  On the write side of `order`. */
static void give_up_set(struct nbd *n)
{
	if (atomic_load(&n->written) != atomic_load(&n->flushed)) {
		n->loss_due = true;
		atomic_store(&n->flushed, atomic_load(&n->written));
	}
	atomic_fetch_add(&n->generation, 1);
}

/* Give set GENERATION up, which is no longer of use: WHY, with ERROR. */
static void set_lost(struct nbd *n, unsigned generation, const char *why, const char *error)
{
	bool first, writes;

	pthread_rwlock_wrlock(&n->order);
	first = atomic_load(&n->generation) == generation;
	writes = atomic_load(&n->writes) > 0;
	if (first)
		give_up_set(n);
	pthread_rwlock_unlock(&n->order);
	if (!first)
		return;
	pthread_mutex_lock(&n->lock);
	n->up = n->reached = false;
	n->wanted = !n->cancel;
	n->lost_ns = nbd_now_ns();
	n->fence_ns = writes ? n->lost_ns + NBD_FENCE_MS * 1000000ull : 0;
	log_error("%s: %s: %s; requests wait", n->disk->name, why, error);
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
}

/* The set in force, if there is one, stays: requests go on. */
static void keep_set(struct nbd *n)
{
	log_info("%s: its new size is not used yet", n->disk->name);
	atomic_store(&n->paused, false);
	atomic_fetch_add(&n->installed, 2);
	pthread_mutex_lock(&n->lock);
	ring(n);
	pthread_mutex_unlock(&n->lock);
}

/* Connections show the size that the disk had when they were made.  What is in flight is
 * answered first, then everything is flushed, so that nothing depends on it that the next
 * connections lead to the same run of the server.  When the flush fails, the server may
 * have told of it for the only time: what it covers counts as lost, as with a connection. */
static void replace_set(struct nbd *n)
{
	unsigned generation = atomic_load(&n->generation);
	uint64_t until_ns = nbd_after_ms(NBD_ANSWER_MS);
	char error[128] = "";
	bool go_on = true;

	atomic_store(&n->paused, true);
	for (unsigned i = 0; i < n->n_conns; i++) { /* who has not seen it is inside */
		pthread_mutex_lock(&n->conns[i].lock);
		pthread_mutex_unlock(&n->conns[i].lock);
	}
	pthread_mutex_lock(&n->lock);
	while (go_on && atomic_load(&n->in_flight) > 0 && nbd_now_ns() < until_ns &&
	       atomic_load(&n->generation) == generation)
		go_on = nbd_rest(n, nbd_after_ms(1));
	pthread_mutex_unlock(&n->lock);
	if (!go_on || atomic_load(&n->in_flight) > 0 || atomic_load(&n->generation) != generation) {
		keep_set(n);
		return;
	}
	if (nbd_flush_all(n, error, sizeof(error)) < 0) {
		set_lost(n, generation, "flush before the new size is used", error);
		return;
	}
	pthread_rwlock_wrlock(&n->order);
	/* what is passed on now was answered before the flush */
	atomic_store(&n->flushed, atomic_load(&n->written));
	atomic_fetch_add(&n->generation, 1);
	pthread_rwlock_unlock(&n->order);
	pthread_mutex_lock(&n->lock);
	n->up = n->reached = false;
	n->fence_ns = 0;
	n->lost_ns = nbd_now_ns();
	pthread_mutex_unlock(&n->lock);
	nbd_drop_handles(n, true);
	bring_up(n);
}

static void look_at_size(struct nbd *n)
{
	struct nbd_abilities can;
	char error[128];
	struct nbd_handle *h = nbd_connect(n, nbd_after_ms(NBD_ANSWER_MS), error, sizeof(error));
	bool grown;

	if (h == NULL) {
		log_info("%s: a connection that asks for the size: %s", n->disk->name, error);
		return;
	}
	nbd_ask_abilities(h, &can);
	nbd_leave(h);
	pthread_mutex_lock(&n->lock);
	grown = can.size > n->size && n->up;
	if (!grown)
		nbd_note_size(n, can.size);
	pthread_mutex_unlock(&n->lock);
	if (grown)
		replace_set(n);
}

static void *server_thread(void *opaque)
{
	struct nbd *n = opaque;

	prctl(PR_SET_NAME, "cbd-nbd");
	pthread_mutex_lock(&n->lock);
	while (!n->stop) {
		bool up = n->wanted && !n->up, ask = n->ask;

		n->ask = false;
		if (!up && !ask) {
			pthread_cond_wait(&n->changed, &n->lock);
			continue;
		}
		n->busy = true;
		pthread_mutex_unlock(&n->lock);
		if (up)
			bring_up(n);
		else
			look_at_size(n);
		pthread_mutex_lock(&n->lock);
		n->busy = false;
		pthread_cond_broadcast(&n->changed);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

int nbd_start_thread(struct nbd *n)
{
	int err = thread_create(&n->thread, server_thread, n);

	n->started = err == 0;
	return err;
}

/* --------------------------------------------------------------- the queues */

int nbd_queue_add(struct nbd *n, int bell)
{
	int queue = -EMFILE;

	pthread_mutex_lock(&n->lock);
	for (unsigned i = 0; i < NBD_MAX_QUEUES && queue < 0; i++) {
		if (i < n->queues && n->bells[i] >= 0)
			continue;
		queue = (int)i;
		n->bells[i] = bell;
		if (i >= n->queues)
			n->queues = i + 1;
	}
	pthread_mutex_unlock(&n->lock);
	return queue;
}

void nbd_queue_remove(struct nbd *n, unsigned queue)
{
	pthread_mutex_lock(&n->lock);
	n->bells[queue] = -1;
	while (n->queues > 0 && n->bells[n->queues - 1] < 0)
		n->queues--;
	pthread_mutex_unlock(&n->lock);
}

struct nbd_conn *nbd_queue_conn(struct nbd *n, unsigned queue)
{
	return &n->conns[n->first.multi_conn ? queue : 0];
}

void nbd_want(struct nbd *n)
{
	pthread_mutex_lock(&n->lock);
	if (!n->wanted)
		pthread_cond_broadcast(&n->changed);
	n->wanted = true;
	pthread_mutex_unlock(&n->lock);
}

void nbd_broken(struct nbd *n, unsigned generation, const char *error)
{
	set_lost(n, generation, "connection lost", error);
}
