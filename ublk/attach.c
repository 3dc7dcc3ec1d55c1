/* SPDX-License-Identifier: BSD-3-Clause */
/* attach.c - see attach.h. */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../common/log.h"
#include "attach.h"

#define RETRY_US 200000 /* between two attempts to attach */
#define DEATH_S 30	/* a process that was killed takes a moment to let its locks go */

static int library_failed(void)
{
	log_error("%s", cbd_errmsg());
	return -1;
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int attach_open(struct attachment *a, const struct state *s)
{
	struct cbd_transport_info info;

	if (cbd_transport_open(s->transport, 0, &a->transport) < 0)
		return library_failed();
	cbd_transport_get(a->transport, &info, sizeof(info));
	if (info.damaged)
		log_warning("%s: the header is damaged, its copy is used; 'cbdctl check --repair' "
			    "restores it",
			    s->transport);
	if (s->host_id >= 0 && cbd_transport_join_as(a->transport, (unsigned)s->host_id) < 0)
		return library_failed();
	return 0;
}

/* Whether the slot is not that process's any more, or proven to be a dead one's.  A line
 * that is damaged has incarnation 0, and older ones than S knows prove nothing. */
static bool is_gone(struct attachment *a, const struct state *s)
{
	struct cbd_blkdev_info info;

	if (cbd_blkdev_get(a->transport, s->blkdev, &info, sizeof(info)) < 0)
		return false;
	if (info.liveness == CBD_FREE || info.liveness == CBD_DEAD)
		return true;
	return info.incarnation != 0 && (int32_t)(info.incarnation - s->incarnation) > 0;
}

int attach_await_death(struct attachment *a, const struct state *s)
{
	const double until = now_s() + DEATH_S;
	struct cbd_transport_info info;

	cbd_transport_get(a->transport, &info, sizeof(info));
	if (memcmp(info.uuid, s->transport_uuid, sizeof(info.uuid)) != 0) {
		log_error("%s: %s was formatted since the device was added: what that process had "
			  "submitted may be executed still. 'cbd-ublk del --force %s' gives the "
			  "device up",
			  s->name, s->transport, s->name);
		return -1;
	}
	while (!is_gone(a, s)) {
		if (now_s() > until) {
			log_error("%s: blkdev %u, of process %d, is not proven dead: what it has "
				  "submitted may be executed still",
				  s->name, s->blkdev, (int)s->pid);
			return -1;
		}
		usleep(1000);
	}
	return 0;
}

static struct cbd_blkdev_options blkdev_options(const struct state *s)
{
	return (struct cbd_blkdev_options){
		.backend = s->backend,
		.queues = s->queues,
		.poll = s->poll,
		.timeout_s = s->timeout_s,
		.max_requests = 2 * s->depth, /* more than there are tags */
		.read_only = s->read_only,
	};
}

/* The backend may be about to come. */
static bool may_come(int r)
{
	return r == -ENOENT || r == -ETIMEDOUT;
}

int attach_to(struct attachment *a, const struct state *s, unsigned wait_s)
{
	struct cbd_blkdev_options options = blkdev_options(s);
	const double until = now_s() + wait_s;
	int r;

	while (may_come(r = cbd_blkdev_open(a->transport, &options, sizeof(options), &a->blkdev)) &&
	       now_s() < until) {
		log_debug("%s; waits for it", cbd_errmsg());
		usleep(RETRY_US);
	}
	if (may_come(r) && wait_s > 0) {
		log_error("%s; waited for %u s", cbd_errmsg(), wait_s);
		return -1;
	}
	if (r < 0 || cbd_blkdev_start(a->blkdev) < 0)
		return library_failed();
	cbd_blkdev_geometry(a->blkdev, &a->geometry, sizeof(a->geometry));
	a->geometry.read_only |= s->read_only;
	return 0;
}

int attach_verifier(struct attachment *a, uint64_t *verifier)
{
	struct cbd_backend_info backend;

	if (cbd_backend_get(a->transport, a->backend, &backend, sizeof(backend)) < 0)
		return -1;
	/* a line that is damaged or being stored reads as zeroes */
	if (backend.disk_identity == 0)
		return -1;
	*verifier = backend.verifier;
	return 0;
}

int attach_describe(struct attachment *a, struct state *s, uint64_t *verifier)
{
	struct cbd_transport_info transport;
	struct cbd_blkdev_info blkdev;
	struct cbd_backend_info backend;

	cbd_transport_get(a->transport, &transport, sizeof(transport));
	memcpy(s->transport_uuid, transport.uuid, sizeof(s->transport_uuid));
	s->blkdev = cbd_blkdev_id(a->blkdev);
	if (cbd_blkdev_get(a->transport, s->blkdev, &blkdev, sizeof(blkdev)) < 0)
		return library_failed();
	s->incarnation = blkdev.incarnation;
	a->backend = blkdev.backend_id;
	if (cbd_backend_get(a->transport, a->backend, &backend, sizeof(backend)) < 0)
		return library_failed();
	s->disk_identity = backend.disk_identity;
	*verifier = backend.verifier;
	s->pid = getpid();
	return 0;
}

void attach_close(struct attachment *a)
{
	if (a->blkdev != NULL)
		cbd_blkdev_close(a->blkdev);
	if (a->transport != NULL)
		cbd_transport_close(a->transport);
	a->blkdev = NULL;
	a->transport = NULL;
}
