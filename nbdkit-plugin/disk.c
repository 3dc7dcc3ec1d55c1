/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk.c - the disks that this nbdkit serves: its attachments to backends.
 *
 * A disk with a fixed backend is attached before nbdkit forks and detached at
 * its end.  One that an export name asked for is attached at the first
 * connection, shared by all connections that ask for the same backend, and
 * detached after the last one: a backend admits few blkdevs, and a listing of
 * all exports must not keep it from others for good.
 *
 * To attach takes as long as the backend likes, so the lock is not held
 * meanwhile: the state tells others to wait for this disk alone.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "disk.h"
#include "param.h"

#define RETRY_NS 200000000l /* between two attempts to attach, with wait= */

/* Guards the list, and state, users and turn of what is in it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct disk *disks;

/* The backend's id, from the blkdev's slot: the options may give a name instead. */
static unsigned backend_of(struct cbd_transport *t, struct cbd_blkdev *b)
{
	struct cbd_blkdev_info info;

	return cbd_blkdev_get(t, cbd_blkdev_id(b), &info, sizeof(info)) == 0 ? info.backend_id : 0;
}

/* 0, or the negative errno of what cbd_errmsg() tells. */
static int attach(struct disk *d, struct cbd_transport *t, const struct cbd_blkdev_options *options)
{
	int r = param.host_id < 0 ? 0 : cbd_transport_join_as(t, (unsigned)param.host_id);

	if (r >= 0)
		r = cbd_blkdev_open(t, options, sizeof *options, &d->blkdev);
	if (r < 0)
		return r;
	d->read_only = options->read_only;
	cbd_blkdev_geometry(d->blkdev, &d->geometry, sizeof d->geometry);
	nbdkit_debug("backend %s: attached as blkdev %u, queues %u, size %" PRIu64,
		     options->backend, cbd_blkdev_id(d->blkdev), cbd_blkdev_queues(d->blkdev),
		     d->geometry.size);
	return 0;
}

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/*
 * The signals that end nbdkit.  Its handlers are not set yet, so their default action
 * ends it; but not the first process of a container, for which the kernel discards a
 * signal that is neither blocked nor handled.  There they are blocked while nbdkit
 * attaches and waits, and told_to_end() takes them.
 */
static sigset_t ending_signals(void)
{
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	sigaddset(&ends, SIGQUIT);
	return ends;
}

/* OLD: for pthread_sigmask(SIG_SETMASK).  No other thread inherits the mask: libcbd starts
 * its own in cbd_blkdev_start(). */
static void keep_signals(sigset_t *old)
{
	const sigset_t ends = ending_signals();

	pthread_sigmask(SIG_BLOCK, getpid() == 1 ? &ends : NULL, old);
}

/* Wait for up to NS nanoseconds.  The sleep of nbdkit itself aborts before it serves
 * (1.32). */
static bool told_to_end(long ns)
{
	const struct timespec pause = { .tv_nsec = ns };
	const sigset_t ends = ending_signals();
	sigset_t old;
	int number;

	pthread_sigmask(SIG_BLOCK, &ends, &old);
	number = sigtimedwait(&ends, NULL, &pause);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return number > 0;
}

/* Of attach(): the backend may be about to come. */
static bool may_come(int r)
{
	return r == -ENOENT || r == -ETIMEDOUT;
}

/* With wait=: again while the backend may be about to come.  0, or -1 after
 * nbdkit_error(). */
static int attach_when_up(struct disk *d, struct cbd_transport *t,
			  const struct cbd_blkdev_options *options)
{
	const time_t start = now_s();
	int r;

	while (may_come(r = attach(d, t, options)) && now_s() - start < (time_t)param.wait) {
		nbdkit_debug("%s; waits for it", cbd_errmsg());
		if (told_to_end(RETRY_NS)) {
			nbdkit_error("%s; told to end while it waited", cbd_errmsg());
			return -1;
		}
	}
	if (r == 0 && told_to_end(0)) {
		cbd_blkdev_close(d->blkdev);
		nbdkit_error("backend %s: told to end while it attached", options->backend);
		return -1;
	}
	if (may_come(r) && param.wait)
		nbdkit_error("%s; waited for %u s", cbd_errmsg(), param.wait);
	else if (r < 0)
		nbdkit_error("%s", cbd_errmsg());
	return r < 0 ? -1 : 0;
}

static struct disk *new_disk(void)
{
	struct disk *d = calloc(1, sizeof *d);

	if (!d)
		nbdkit_error("calloc: %m");
	return d;
}

struct disk *disk_open(struct cbd_transport *t, const struct cbd_blkdev_options *options)
{
	struct disk *d = new_disk();
	sigset_t old;
	int r;

	if (!d)
		return NULL;
	keep_signals(&old);
	r = attach_when_up(d, t, options);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		free(d);
		return NULL;
	}
	d->backend = backend_of(t, d->blkdev);
	return d;
}

int disk_start(struct disk *d)
{
	if (cbd_blkdev_start(d->blkdev) < 0) {
		nbdkit_error("%s", cbd_errmsg());
		return -1;
	}
	return 0;
}

void disk_close(struct disk *d)
{
	cbd_blkdev_close(d->blkdev);
	free(d);
}

/* A backend whose slot was taken over with another disk is another backend:
 * the old attachment is of no use to new connections. */
static struct disk *find(const struct cbd_backend_info *backend)
{
	struct disk *d = disks;

	while (d && (d->backend != backend->id || d->identity != backend->disk_identity))
		d = d->next;
	return d;
}

static void unlink_disk(struct disk *d)
{
	struct disk **link = &disks;

	while (*link != d)
		link = &(*link)->next;
	*link = d->next;
}

/* With the lock held: the disk that is attached already, else a new one that
 * the caller has to attach. */
static struct disk *join_or_add(const struct cbd_backend_info *backend)
{
	struct disk *d;

	while ((d = find(backend)) && d->state != DISK_READY)
		pthread_cond_wait(&changed, &lock);
	if (!d) {
		d = new_disk();
		if (!d)
			return NULL;
		d->backend = backend->id;
		d->identity = backend->disk_identity;
		d->next = disks;
		disks = d;
	}
	d->users++;
	return d;
}

static void remove_disk(struct disk *d)
{
	pthread_mutex_lock(&lock);
	unlink_disk(d);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	free(d);
}

static int attach_and_start(struct disk *d, struct cbd_transport *t,
			    const struct cbd_blkdev_options *options)
{
	if (attach(d, t, options) < 0) {
		nbdkit_error("%s", cbd_errmsg());
		return -1;
	}
	if (disk_start(d) < 0) {
		cbd_blkdev_close(d->blkdev);
		return -1;
	}
	return 0;
}

struct disk *disk_get(struct cbd_transport *t, const struct cbd_blkdev_options *options,
		      const struct cbd_backend_info *backend)
{
	struct disk *d;
	bool ready;

	pthread_mutex_lock(&lock);
	d = join_or_add(backend);
	ready = d && d->state == DISK_READY;
	pthread_mutex_unlock(&lock);
	if (!d || ready)
		return d;

	if (attach_and_start(d, t, options) < 0) {
		remove_disk(d);
		return NULL;
	}
	pthread_mutex_lock(&lock);
	d->state = DISK_READY;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return d;
}

void disk_put(struct disk *d)
{
	bool last;

	pthread_mutex_lock(&lock);
	last = --d->users == 0;
	if (last)
		d->state = DISK_DETACHING;
	pthread_mutex_unlock(&lock);
	if (!last)
		return;

	cbd_blkdev_close(d->blkdev);
	remove_disk(d);
}

struct cbd_queue *disk_queue(struct disk *d)
{
	unsigned turn;

	pthread_mutex_lock(&lock);
	turn = d->turn++;
	pthread_mutex_unlock(&lock);
	return cbd_blkdev_queue(d->blkdev, turn % cbd_blkdev_queues(d->blkdev));
}
