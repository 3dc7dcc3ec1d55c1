/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - cbd-backend: offer a disk to the hosts that share memory.
 *
 * Owns the order of start and stop, the event loop with its signals, and the
 * control work of libcbd.  Requests are served in worker.c.
 */
#include <config.h>

#include <errno.h>
#include <ev.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cbd.h>

#include "daemon.h"
#include "disk.h"
#include "log.h"
#include "options.h"
#include "worker.h"

/* While it drains, the end is looked for more often than the control work
 * asks for. */
#define DRAIN_POLL_MS 2
#define TAKEOVER_MS 30000

struct program {
	struct options options;
	struct daemon_user user;
	struct cbd_transport *transport;
	struct disk *disk;
	const struct disk_engine *engine;
	struct worker **workers;
	struct cbd_backend *backend;

	struct ev_loop *loop;
	ev_signal term, interrupt;
	ev_timer tick;
	bool draining;
	bool moved;  /* another host served the slot last */
	bool fenced; /* that host is cut off: */
	unsigned last_host;
};

/* ------------------------------------------------------------------ start */

/* Its messages name their object. */
static int library_failed(void)
{
	log_error("%s", cbd_errmsg());
	return -1;
}

static int check_not_transport(const struct program *p)
{
	struct stat disk, transport;

	if (stat(p->options.disk, &disk) < 0 || stat(p->options.transport, &transport) < 0)
		return 0; /* there will be a better message */
	if (disk.st_dev != transport.st_dev || disk.st_ino != transport.st_ino)
		return 0;
	log_error("%s: is the transport itself", p->options.disk);
	return -1;
}

static int open_disk(struct program *p)
{
	const struct disk_options options = {
		.read_only = p->options.read_only,
		.write_through = p->options.write_through,
		.direct = p->options.direct,
	};

	if (check_not_transport(p) < 0)
		return -1;
	p->disk = disk_open(p->options.disk, &options);
	return p->disk == NULL ? -1 : 0;
}

static int start_workers(struct program *p)
{
	p->workers = calloc(p->options.handlers, sizeof(*p->workers));
	if (p->workers == NULL) {
		log_error("handlers: %s", strerror(errno));
		return -1;
	}
	for (unsigned i = 0; i < p->options.handlers; i++) {
		p->workers[i] = worker_start(p->disk, p->engine, i);
		if (p->workers[i] == NULL)
			return -1;
	}
	return 0;
}

static int claim(struct program *p)
{
	const struct cbd_backend_options options = {
		.id = p->options.id,
		.name = p->options.name,
		.path = p->disk->path,
		.handlers = p->options.handlers,
		.max_blkdevs = p->options.max_blkdevs,
		.allow_hosts = p->options.allow_hosts,
		.poll = p->options.poll,
		.fenced_hosts = p->fenced ? 1ull << p->last_host : 0,
	};

	if (cbd_backend_open(p->transport, &options, sizeof(options), &p->backend) < 0)
		return library_failed();
	return 0;
}

static void show_ready(const struct program *p)
{
	static const char units[] = "KMGTPE";
	char size[32], unit[2] = "";
	uint64_t n = p->disk->geometry.size;

	for (unsigned i = 0; n % 1024 == 0 && i < strlen(units); i++, n /= 1024)
		unit[0] = units[i];
	snprintf(size, sizeof(size), "%" PRIu64 "%s", n, unit);
	log_info("backend %u: ready, %s (%s), %u handler%s, engine %s", p->options.id,
		 p->disk->name, size, p->options.handlers, p->options.handlers == 1 ? "" : "s",
		 p->engine->name);
}

/* The last that can fail, while this is the only thread that does anything. */
static int publish(struct program *p)
{
	if (cbd_backend_publish(p->backend, &p->disk->geometry, sizeof(p->disk->geometry)) < 0)
		return library_failed();
	if (!p->options.foreground)
		daemon_ready();
	show_ready(p);
	return 0;
}

/* ---------------------------------------------------------------- take over */

/* Runs while another host may still be alive: its exit status is the proof. */
static int run_fence(struct program *p, unsigned host)
{
	char number[16];
	int status;

	snprintf(number, sizeof(number), "%u", host);
	setenv("CBD_HOST_ID", number, 1);
	log_info("backend %u: fencing host %u: %s", p->options.id, host, p->options.fence);
	status = system(p->options.fence);
	if (status == 0)
		return 0;
	log_error("backend %u: --fence: '%s' has failed (status %d); host %u is not fenced",
		  p->options.id, p->options.fence, status, host);
	return -1;
}

/* A slot that another host served last needs proof that this host is cut off
 * (rule 7.5); one of this host is asked to hand over. */
static int take_over(struct program *p)
{
	const struct options *o = &p->options;
	struct cbd_backend_info info;
	int host;

	host = o->host_id < 0 ? cbd_transport_join(p->transport)
			      : cbd_transport_join_as(p->transport, (unsigned)o->host_id);
	if (host < 0 || cbd_backend_get(p->transport, o->id, &info, sizeof(info)) < 0)
		return library_failed();
	p->moved = info.incarnation != 0 && (int)info.host_id != host;
	if (!o->takeover)
		return 0;
	p->fenced = o->fenced;
	p->last_host = info.host_id;
	/* clearing a slot that has served makes it free, and nothing durable */
	if (o->fence != NULL && p->moved && info.state != CBD_STATE_GONE &&
	    (info.state != CBD_STATE_FREE || info.size != 0)) {
		if (run_fence(p, info.host_id) < 0)
			return -1;
		p->fenced = true;
	}
	if (cbd_backend_takeover(p->transport, o->id, TAKEOVER_MS) < 0)
		return library_failed();
	return 0;
}

/* All that may fail for its own reasons. */
static int prepare(struct program *p)
{
	const struct options *o = &p->options;
	struct cbd_transport_info info;

	if (o->user != NULL && daemon_find_user(o->user, &p->user) < 0)
		return -1;
	if (o->pidfile != NULL && daemon_pidfile_open(o->pidfile) < 0)
		return -1;
	if (cbd_transport_open(o->transport, 0, &p->transport) < 0)
		return library_failed();
	cbd_transport_get(p->transport, &info, sizeof(info));
	if (info.damaged)
		log_warning("%s: the header is damaged, its copy is used; 'cbdctl check --repair' "
			    "restores it",
			    o->transport);
	p->engine = disk_engine_find(o->engine);
	if (p->engine == NULL)
		return -1;
	/* last of all: from here on clients wait */
	if (take_over(p) < 0 || open_disk(p) < 0)
		return -1;
	if (p->moved)
		disk_forget(p->disk);
	if (strcmp(o->engine, "auto") == 0)
		p->engine = disk_engine_best(p->disk, p->engine);
	return start_workers(p);
}

/*
 * The slot comes after the disk and its lock: clients of a crashed backend wait
 * for the next process in the slot, and one that took it only to find that it
 * cannot open the disk would end their waiting.  Both are held before anything
 * is granted (rule 7 of docs/protocol.md).
 */
static int start(struct program *p)
{
	if (prepare(p) < 0 || claim(p) < 0)
		return -1;
	if (daemon_pidfile_write() < 0)
		return -1;
	if (p->options.user != NULL && daemon_become(&p->user) < 0)
		return -1;
	return publish(p);
}

/* --------------------------------------------------------------- event loop */

/* The slot or the memory is somebody else's now: not one more store. */
static void slot_lost(const struct program *p) __attribute__((noreturn));

static void slot_lost(const struct program *p)
{
	log_error("backend %u: %s", p->options.id, cbd_errmsg());
	daemon_pidfile_remove();
	_exit(EXIT_FAILURE);
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct program *p = timer->data;
	int ms = cbd_backend_tick(p->backend);

	(void)events;
	if (ms < 0)
		slot_lost(p);
	/* by a signal, or because another process takes over */
	if (cbd_backend_drained(p->backend)) {
		ev_break(loop, EVBREAK_ALL);
		return;
	}
	if (p->draining && ms > DRAIN_POLL_MS)
		ms = DRAIN_POLL_MS;
	timer->repeat = ms > 0 ? ms / 1000.0 : 0.001;
	ev_timer_again(loop, timer);
}

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
	struct program *p = watcher->data;

	(void)events;
	if (p->draining) {
		log_warning("backend %u: stopped by a second signal", p->options.id);
		daemon_pidfile_remove();
		_exit(EXIT_FAILURE);
	}
	log_info("backend %u: stopping", p->options.id);
	p->draining = true;
	cbd_backend_drain(p->backend);
	ev_feed_event(loop, &p->tick, EV_TIMER);
}

/* Before anything is started: a signal that comes meanwhile is then seen by
 * the loop. */
static int make_loop(struct program *p)
{
	p->loop = ev_default_loop(EVFLAG_AUTO);
	if (p->loop == NULL) {
		log_error("event loop: cannot be made");
		return -1;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	ev_signal_init(&p->term, on_signal, SIGTERM);
	ev_signal_init(&p->interrupt, on_signal, SIGINT);
	ev_timer_init(&p->tick, on_tick, 0, 0.001);
	p->term.data = p->interrupt.data = p->tick.data = p;
	ev_signal_start(p->loop, &p->term);
	ev_signal_start(p->loop, &p->interrupt);
	return 0;
}

static void serve(struct program *p)
{
	for (unsigned i = 0; i < p->options.handlers; i++)
		worker_serve(p->workers[i], p->backend, cbd_backend_handler(p->backend, i));
	ev_timer_start(p->loop, &p->tick);
	ev_run(p->loop, 0);
}

/* ------------------------------------------------------------------ stop */

/* From any state of start(). */
static void stop(struct program *p)
{
	for (unsigned i = 0; p->workers != NULL && i < p->options.handlers; i++)
		if (p->workers[i] != NULL)
			worker_stop(p->workers[i]);
	free(p->workers);
	/* what was acknowledged is on the disk before another host may serve it */
	if (p->backend != NULL && cbd_backend_drained(p->backend) &&
	    !cbd_backend_handed_over(p->backend) && disk_settle(p->disk) < 0)
		cbd_backend_data_lost(p->backend);
	/* before the successor, who may have the same file, writes to it */
	if (p->backend != NULL && cbd_backend_handed_over(p->backend))
		daemon_pidfile_remove();
	if (p->backend != NULL)
		cbd_backend_close(p->backend);
	if (p->disk != NULL)
		disk_close(p->disk);
	if (p->transport != NULL)
		cbd_transport_close(p->transport);
	daemon_pidfile_remove();
	if (p->loop != NULL)
		ev_loop_destroy(p->loop);
}

int main(int argc, char **argv)
{
	struct program p = { 0 };
	int status = EXIT_FAILURE;

	daemon_standard_files();
	options_parse(&p.options, argc, argv);
	if (p.options.verbose)
		log_verbose();
	log_library();
	if (!p.options.foreground)
		daemon_fork();

	if (make_loop(&p) == 0 && start(&p) == 0) {
		serve(&p);
		log_debug("backend %u: stopped", p.options.id);
		status = EXIT_SUCCESS;
	}
	stop(&p);
	return status;
}
