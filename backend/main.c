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

#include "../common/daemon.h"
#include "disk.h"
#include "fence.h"
#include "../common/log.h"
#include "../common/notify.h"
#include "options.h"
#include "worker.h"

/* While the backend drains, and while a successor starts, the main thread looks for the
 * end of that more often than the control work asks for. */
#define DRAIN_POLL_MS 2
#define DRAIN_SILENT_MS 10000 /* a server that does not answer is waited for no longer */
#define WATCH_MS 5
#define TAKEOVER_MS 30000
#define TAKEOVER_POLL_US 200
#define SIZE_S 10.0	   /* how often the disk's size is looked at */
#define STATUS_S 1.0	   /* how often the service manager is told of attached blkdevs */
#define TAKE_BACK_TRIES 15 /* each waits 2 s for the disk */

enum phase {
	SERVING,
	DRAINING, /* told to stop, or asked to hand over */
	WATCHING, /* has handed over; the successor does not serve yet */
};

struct program {
	struct options options;
	struct daemon_user user;
	struct cbd_transport *transport;
	int host; /* number of this machine's host slot */
	struct disk *disk;
	const struct disk_engine *engine;
	struct worker **workers;
	struct cbd_backend *backend;
	struct cbd_takeover *takeover;

	struct ev_loop *loop;
	ev_signal term, interrupt, hangup;
	ev_timer tick, watch, size, status;
	enum phase phase;
	bool stopped; /* a signal has asked for the end */
	ev_tstamp stopped_at;
	int gone;    /* what cbd_backend_successor() said last, while WATCHING */
	bool locked; /* the disk is */
	bool moved;  /* another host served the slot last */
	bool fenced; /* that host is cut off: */
	unsigned last_host;
};

/* Set by a signal that comes before the event loop runs. */
static volatile sig_atomic_t told_to_end;

static void on_early_signal(int signal)
{
	(void)signal;
	told_to_end = 1;
}

static bool given_up(void)
{
	return told_to_end;
}

static int check_given_up(void)
{
	if (!given_up())
		return 0;
	log_error("told to end before it was ready");
	return -1;
}

/* ------------------------------------------------------------------ start */

/* The messages of libcbd name their object. */
static int library_failed(void)
{
	log_error("%s", cbd_errmsg());
	return -1;
}

static int check_not_transport(const struct program *p)
{
	struct stat disk, transport;

	if (stat(p->options.disk, &disk) < 0 || stat(p->options.transport, &transport) < 0)
		return 0; /* disk_open() tells what is wrong with the path */
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

static void stop_workers(struct program *p)
{
	for (unsigned i = 0; p->workers != NULL && i < p->options.handlers; i++)
		if (p->workers[i] != NULL)
			worker_stop(p->workers[i]);
	free(p->workers);
	p->workers = NULL;
}

static int start_workers(struct program *p)
{
	p->workers = calloc(p->options.handlers, sizeof(struct worker *));
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

static struct cbd_backend_options backend_options(const struct program *p)
{
	return (struct cbd_backend_options){
		.id = p->options.id,
		.name = p->options.name,
		.path = p->disk != NULL ? p->disk->path : p->options.disk,
		.handlers = p->options.handlers,
		.max_blkdevs = p->options.max_blkdevs,
		.allow_hosts = p->options.allow_hosts,
		.poll = p->options.poll,
		.fenced_hosts = p->fenced ? 1ull << p->last_host : 0,
		.replace = p->options.replace,
	};
}

/* ------------------------------------------------- what can be checked before */

/* Checks that change nothing: neither the slot, nor the process that serves it. */
static int check(struct program *p)
{
	struct cbd_backend_options options = backend_options(p);

	if (cbd_backend_check_options(p->transport, &options, sizeof(options)) < 0)
		return library_failed();
	p->engine = disk_engine_find(p->options.engine);
	if (p->engine == NULL || open_disk(p) < 0)
		return -1;
	options = backend_options(p);
	if (cbd_backend_check(p->transport, &options, sizeof(options), &p->disk->geometry,
			      sizeof(p->disk->geometry)) < 0)
		return library_failed();
	if (strcmp(p->options.engine, "auto") == 0)
		p->engine = disk_engine_best(p->disk, p->engine);
	if (disk_engine_check(p->disk, p->engine) < 0)
		return -1;
	if (p->engine->block_status == NULL)
		p->disk->geometry.block_status = false;
	return start_workers(p);
}

static int open_transport(struct program *p)
{
	const struct options *o = &p->options;
	struct cbd_transport_info info;

	notify_status("joining the hosts of %s", o->transport);
	if (cbd_transport_open(o->transport, 0, &p->transport) < 0)
		return library_failed();
	cbd_transport_get(p->transport, &info, sizeof(info));
	if (info.damaged)
		log_warning("%s: the header is damaged, its copy is used; 'cbdctl check --repair' "
			    "restores it",
			    o->transport);
	p->host = o->host_id < 0 ? cbd_transport_join(p->transport)
				 : cbd_transport_join_as(p->transport, (unsigned)o->host_id);
	return p->host < 0 ? library_failed() : 0;
}

/* The process of this host that has the slot, or 0: then its pid file is not this one's
 * to write.  Where the kernel does not let this process look (without CAP_SYS_PTRACE, at
 * one of another user), the slot's word counts, and the pid file has to say the same. */
static pid_t predecessor(const struct program *p, const struct cbd_backend_info *info)
{
	int pid = cbd_owner_pid(p->transport, CBD_OBJECT_BACKEND, p->options.id);

	if (pid == -EACCES)
		pid = (int)info->pid;
	return p->options.takeover && pid > 0 ? pid : 0;
}

static int prepare(struct program *p)
{
	const struct options *o = &p->options;
	struct cbd_backend_info info;

	if (o->user != NULL && daemon_find_user(o->user, &p->user) < 0)
		return -1;
	if (open_transport(p) < 0 || check(p) < 0)
		return -1;
	if (cbd_backend_get(p->transport, o->id, &info, sizeof(info)) < 0)
		return library_failed();
	p->moved = info.incarnation != 0 && (int)info.host_id != p->host;
	if (o->pidfile != NULL && daemon_pidfile_open(o->pidfile, predecessor(p, &info)) < 0)
		return -1;
	return check_given_up();
}

/* -------------------------------------------------- disk and slot change hands */

/* The backend that serves the disk already, for messages. */
static void find_holder(struct program *p)
{
	struct cbd_transport_info transport;
	struct cbd_backend_info info;

	cbd_transport_get(p->transport, &transport, sizeof(transport));
	p->disk->holder[0] = '\0';
	for (unsigned b = 0; b < transport.backends; b++) {
		if (!cbd_backend_has_disk(p->transport, b, &p->disk->geometry,
					  sizeof(p->disk->geometry)) ||
		    cbd_backend_get(p->transport, b, &info, sizeof(info)) < 0 ||
		    info.liveness == CBD_FREE || info.liveness == CBD_DEAD)
			continue;
		snprintf(p->disk->holder, sizeof(p->disk->holder),
			 ": backend %u serves it, process %u on host %u", b, info.pid,
			 info.host_id);
	}
}

static int lock_disk(struct program *p)
{
	if (p->locked)
		return 0;
	notify_status("waiting for the lock of %s", p->disk->name);
	find_holder(p);
	p->disk->moved = p->moved;
	if (disk_lock(p->disk) < 0)
		return -1;
	p->locked = true;
	if (p->moved)
		disk_forget(p->disk);
	return 0;
}

/* Whether the slot serves this disk: then the slot's process holds the disk's lock, and
 * gives it up with the slot. */
static bool is_served_disk(struct program *p)
{
	return cbd_backend_has_disk(p->transport, p->options.id, &p->disk->geometry,
				    sizeof(p->disk->geometry));
}

/* Rule 7.6: if this process fails before cbd_takeover_end(), the old process goes on
 * serving. */
static int ask_to_hand_over(struct program *p)
{
	const struct options *o = &p->options;
	int r;

	notify_status("waiting for the process that serves backend %u to hand over", o->id);
	if (cbd_takeover_begin(p->transport, o->id, TAKEOVER_MS, &p->takeover) < 0)
		return library_failed();
	while ((r = cbd_takeover_poll(p->takeover)) == 0) {
		if (check_given_up() < 0)
			return -1;
		usleep(TAKEOVER_POLL_US);
	}
	return r < 0 ? library_failed() : 0;
}

/* Whom to cut off; 0: nobody. */
static int find_host_to_fence(struct program *p, struct cbd_host_info *host)
{
	int r = cbd_backend_to_fence(p->transport, p->options.id, host, sizeof(*host));

	return r < 0 ? library_failed() : r;
}

/* The command would cut off the machine that it runs on. */
static int check_not_own(const struct cbd_host_info *host)
{
	if (!host->local)
		return 0;
	log_error("--fence: host %u (%s) is another identity of this boot: this machine itself "
		  "would be cut off; start it under that identity, or, if that was a container of "
		  "this machine, with --fenced",
		  host->id, host->name);
	return -1;
}

/* A process that beats serves its clients: who wants its host cut off has made a mistake, or
 * says so by --fence-alive. Takes as long as a suspicion when nobody beats. */
static int check_silent(struct program *p, const struct cbd_host_info *host)
{
	const struct options *o = &p->options;
	struct cbd_backend_info info;

	notify_status("watching whether the process that has backend %u beats", o->id);
	if (cbd_transport_watch(p->transport) < 0 ||
	    cbd_backend_get(p->transport, o->id, &info, sizeof(info)) < 0)
		return library_failed();
	if (info.liveness == CBD_ALIVE)
		log_error("%s: backend %u: is alive: a process on host %u (%s); stop it there; "
			  "that host was not fenced (--fence-alive: fence it nevertheless)",
			  o->transport, o->id, host->id, host->name);
	else if (info.liveness == CBD_UNDECIDED)
		log_error("%s: backend %u: this machine is too busy to see whether a process on "
			  "host %u (%s) beats; that host was not fenced; try again",
			  o->transport, o->id, host->id, host->name);
	else
		return check_given_up();
	return -1;
}

/* Another standby host may have been faster, and serves clients now. */
static int check_same_host(struct program *p, const struct cbd_host_info *host)
{
	struct cbd_host_info now;
	int r = find_host_to_fence(p, &now);

	if (r < 0)
		return -1;
	if (r == 1 && now.id == host->id)
		return 0;
	log_error("%s: backend %u: has changed hands meanwhile; host %u (%s) was not fenced; try "
		  "again",
		  p->options.transport, p->options.id, host->id, host->name);
	return -1;
}

static int cut_off(struct program *p, const struct cbd_host_info *host)
{
	const struct options *o = &p->options;

	if (check_not_own(host) < 0)
		return -1;
	if (!o->fence_alive && (check_silent(p, host) < 0 || check_same_host(p, host) < 0))
		return -1;
	notify_status("waiting for the command that fences host %u", host->id);
	return fence_run(o->fence, host, given_up);
}

/* A slot that another host served last needs proof that the other host is cut off from the
 * disk (rule 7.5). The command that cuts it off runs last, when nothing else can be
 * refused. */
static int fence(struct program *p)
{
	const struct options *o = &p->options;
	struct cbd_host_info host;
	int r = find_host_to_fence(p, &host);

	if (r < 0)
		return -1;
	if (r == 0 || (o->fence == NULL && !o->fenced))
		return 0;
	if (o->fence != NULL && cut_off(p, &host) < 0)
		return -1;
	p->fenced = true;
	p->last_host = host.id;
	return 0;
}

/* What fails whatever the old process does is checked before the old process is asked to
 * hand over. */
static int obtain(struct program *p)
{
	if (!is_served_disk(p) && lock_disk(p) < 0)
		return -1;
	if (p->options.takeover && ask_to_hand_over(p) < 0)
		return -1;
	if (lock_disk(p) < 0)
		return -1;
	if (p->options.takeover && fence(p) < 0)
		return -1;
	return check_given_up();
}

static void show_ready(const struct program *p)
{
	static const char units[] = "KMGTPE";
	char size[32], unit[2] = "";
	uint64_t n = disk_size(p->disk);

	for (unsigned i = 0; n % 1024 == 0 && i < strlen(units); i++, n /= 1024)
		unit[0] = units[i];
	snprintf(size, sizeof(size), "%" PRIu64 "%s", n, unit);
	log_info("backend %u: ready, %s (%s), %u handler%s, engine %s", p->options.id,
		 p->disk->name, size, p->options.handlers, p->options.handlers == 1 ? "" : "s",
		 p->engine->name);
}

/*
 * The slot comes after the disk and its lock: clients of a crashed backend wait
 * for the next process in the slot, and one that took it only to find that it
 * cannot open the disk would end their waiting.  Both are held before anything
 * is granted (rule 7 of docs/protocol.md).
 */
static int publish(struct program *p)
{
	const struct cbd_backend_options options = backend_options(p);

	/* the old process may have changed what was checked */
	if (cbd_backend_check(p->transport, &options, sizeof(options), &p->disk->geometry,
			      sizeof(p->disk->geometry)) < 0 ||
	    cbd_backend_open(p->transport, &options, sizeof(options), &p->backend) < 0)
		return library_failed();
	if (p->options.user != NULL && daemon_become(&p->user) < 0)
		return -1;
	return cbd_backend_publish(p->backend, &p->disk->geometry, sizeof(p->disk->geometry)) < 0
		       ? library_failed()
		       : 0;
}

static int start(struct program *p)
{
	if (prepare(p) < 0 || obtain(p) < 0 || publish(p) < 0)
		return -1;
	daemon_pidfile_write();
	if (!p->options.foreground)
		daemon_ready();
	show_ready(p);
	/* last: when this process fails before it, the old process goes on serving */
	cbd_takeover_end(p->takeover);
	p->takeover = NULL;
	return 0;
}

/* --------------------------------------------------------------- event loop */

/* The slot or the memory belongs to another process now: end without another store there. */
static void slot_lost(const struct program *p) __attribute__((noreturn));

static void slot_lost(const struct program *p)
{
	log_error("backend %u: %s", p->options.id, cbd_errmsg());
	daemon_pidfile_remove();
	_exit(EXIT_FAILURE);
}

/* What the server has not answered it may execute still; to clients this is a crash, so the
 * next process sends it again. */
static void give_up_drain(const struct program *p) __attribute__((noreturn));

static void give_up_drain(const struct program *p)
{
	log_error("backend %u: %s: has not answered for %u s: ended as a crash does; requests wait "
		  "for the next process",
		  p->options.id, p->disk->name, DRAIN_SILENT_MS / 1000);
	daemon_pidfile_remove();
	_exit(EXIT_FAILURE);
}

static void show_status(const struct program *p)
{
	struct cbd_backend_info info;

	if (p->phase != SERVING ||
	    cbd_backend_get(p->transport, p->options.id, &info, sizeof(info)) < 0)
		return;
	notify_status("serving %s as backend %u, %u blkdev%s attached", p->disk->path,
		      p->options.id, info.blkdevs, info.blkdevs == 1 ? "" : "s");
}

static void on_status(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)events;
	show_status(timer->data);
}

static void look_at_size(struct program *p)
{
	uint64_t was = disk_size(p->disk);

	if (disk_look_at_size(p->disk) <= 0 || disk_size(p->disk) == was)
		return;
	if (cbd_backend_resize(p->backend, disk_size(p->disk)) < 0)
		library_failed();
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
	if (p->phase == DRAINING && ms > DRAIN_POLL_MS)
		ms = DRAIN_POLL_MS;
	if (p->phase == DRAINING && ev_now(loop) - p->stopped_at > DRAIN_SILENT_MS / 1000.0 &&
	    disk_is_silent(p->disk, DRAIN_SILENT_MS))
		give_up_drain(p);
	if (disk_has_news(p->disk))
		look_at_size(p);
	ms = notify_feed(ms);
	timer->repeat = ms > 0 ? ms / 1000.0 : 0.001;
	ev_timer_again(loop, timer);
}

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
	struct program *p = watcher->data;

	(void)events;
	if (p->stopped) {
		log_warning("backend %u: stopped by a second signal", p->options.id);
		daemon_pidfile_remove();
		_exit(EXIT_FAILURE);
	}
	log_info("backend %u: stopping", p->options.id);
	notify_status("stopping: finishing the requests that were taken");
	notify_stopping();
	p->stopped = true;
	if (p->phase == WATCHING) {
		ev_break(loop, EVBREAK_ALL);
		return;
	}
	p->phase = DRAINING;
	p->stopped_at = ev_now(loop);
	cbd_backend_drain(p->backend);
	ev_feed_event(loop, &p->tick, EV_TIMER);
}

static void on_size(struct ev_loop *loop, ev_timer *timer, int events)
{
	(void)loop;
	(void)events;
	look_at_size(timer->data);
}

static void on_hangup(struct ev_loop *loop, ev_signal *watcher, int events)
{
	struct program *p = watcher->data;

	(void)loop;
	(void)events;
	if (p->phase != SERVING)
		return;
	notify_reloading();
	disk_ask_size(p->disk);
	look_at_size(p);
	notify_ready();
}

/* Does the successor serve?  Does it still try? */
static void look_at_successor(struct program *p)
{
	int r = cbd_backend_successor(p->backend);

	if (r == -ESTALE)
		log_error("%s", cbd_errmsg());
	if (r != 0)
		p->gone = r;
}

static void on_watch(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct program *p = timer->data;

	(void)events;
	notify_feed(WATCH_MS);
	look_at_successor(p);
	if (p->gone != 0)
		ev_break(loop, EVBREAK_ALL);
}

/* Called before anything is started: a signal that comes before the event loop runs ends
 * the start. */
static int make_loop(struct program *p)
{
	struct sigaction action = { .sa_handler = on_early_signal };

	sigemptyset(&action.sa_mask);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	p->loop = ev_default_loop(EVFLAG_AUTO);
	if (p->loop == NULL) {
		log_error("event loop: cannot be made");
		return -1;
	}
	ev_signal_init(&p->term, on_signal, SIGTERM);
	ev_signal_init(&p->interrupt, on_signal, SIGINT);
	ev_signal_init(&p->hangup, on_hangup, SIGHUP);
	ev_timer_init(&p->tick, on_tick, 0, 0.001);
	ev_timer_init(&p->watch, on_watch, 0, WATCH_MS / 1000.0);
	ev_timer_init(&p->size, on_size, SIZE_S, SIZE_S);
	ev_timer_init(&p->status, on_status, STATUS_S, STATUS_S);
	p->term.data = p->interrupt.data = p->hangup.data = p;
	p->tick.data = p->watch.data = p->size.data = p->status.data = p;
	return 0;
}

static void catch_signals(struct program *p)
{
	ev_signal_start(p->loop, &p->term);
	ev_signal_start(p->loop, &p->interrupt);
	ev_signal_start(p->loop, &p->hangup);
	if (given_up()) /* a signal has come after the last look of the start */
		ev_feed_event(p->loop, &p->term, EV_SIGNAL);
}

static void serve(struct program *p)
{
	p->phase = SERVING;
	for (unsigned i = 0; i < p->options.handlers; i++)
		worker_serve(p->workers[i], p->backend, cbd_backend_handler(p->backend, i));
	ev_timer_set(&p->tick, 0, 0.001);
	ev_timer_start(p->loop, &p->tick);
	ev_timer_start(p->loop, &p->size);
	if (notify_wanted())
		ev_timer_start(p->loop, &p->status);
	show_status(p);
	notify_ready();
	ev_run(p->loop, 0);
	ev_timer_stop(p->loop, &p->status);
	ev_timer_stop(p->loop, &p->tick);
	ev_timer_stop(p->loop, &p->size);
}

/* ------------------------------------------------------------------ hand over */

/* Is there nothing to take back?  The successor serves, or the transport was formatted
 * again. */
static bool is_over(const struct program *p)
{
	return p->gone > 0 || p->gone == -ESTALE;
}

/*
 * This process, which has handed over, serves again: it takes the disk, then the slot, and
 * publishes, as a start after a crash does, without the checks that it has passed already.
 * 0: it serves.  -1: nothing has changed, and it may be tried again unless is_over().
 */
static int take_back(struct program *p)
{
	const struct cbd_backend_options options = backend_options(p);
	struct cbd_backend *old = p->backend;

	notify_feed_now(); /* the disk's lock is waited for for 2 s */
	if (lock_disk(p) < 0)
		return -1;
	/* With the disk's lock: from here on no other process begins to serve the disk, or
	 * stops doing so.  A successor that was stopped in order is not replaced. */
	look_at_successor(p);
	if (is_over(p)) {
		disk_unlock(p->disk);
		p->locked = false;
		return -1;
	}
	p->backend = NULL;
	notify_feed_now(); /* another process of this host may be taking a slot */
	if (start_workers(p) < 0 ||
	    cbd_backend_open(p->transport, &options, sizeof(options), &p->backend) < 0 ||
	    cbd_backend_publish(p->backend, &p->disk->geometry, sizeof(p->disk->geometry)) < 0) {
		log_error("backend %u: cannot be taken back (%s)", p->options.id, cbd_errmsg());
		stop_workers(p);
		cbd_backend_close(p->backend);
		disk_unlock(p->disk);
		p->locked = false;
		p->backend = old;
		return -1;
	}
	cbd_backend_close(old);
	daemon_pidfile_write();
	log_info("backend %u: goes on: the process that was to take over does not serve",
		 p->options.id);
	return 0;
}

/*
 * Rule 7.6: disk and slot are given up, and this process stays until the next one
 * serves.  Returns true when there is nothing left to do; false: it serves again.
 */
static bool hand_over(struct program *p)
{
	stop_workers(p);
	disk_unlock(p->disk);
	p->locked = false;
	cbd_backend_release(p->backend);
	p->phase = WATCHING;
	notify_status("handing over: waiting until the next process serves backend %u",
		      p->options.id);
	for (unsigned tries = 0; tries < TAKE_BACK_TRIES && !p->stopped; tries++) {
		p->gone = 0;
		ev_timer_again(p->loop, &p->watch);
		ev_run(p->loop, 0);
		ev_timer_stop(p->loop, &p->watch);
		if (is_over(p) || p->stopped)
			return true;
		if (take_back(p) == 0)
			return false;
		if (is_over(p))
			return true;
		if (p->gone == -ETIMEDOUT)
			tries--; /* the successor has the slot and the disk: it may go on */
	}
	return true;
}

/* ------------------------------------------------------------------ stop */

/* From any state of start(). */
static void stop(struct program *p)
{
	stop_workers(p);
	/* what was acknowledged is on the disk before another host may serve it */
	if (p->backend != NULL && p->phase == DRAINING) {
		notify_status("stopping: writing the page cache of %s back", p->disk->path);
		notify_feed(0); /* once more what found the queue full: STOPPING=1 */
		if (disk_settle(p->disk) < 0)
			cbd_backend_data_lost(p->backend);
	}
	cbd_backend_close(p->backend);
	if (p->disk != NULL)
		disk_close(p->disk);
	/* the old process goes on, if there is one */
	cbd_takeover_end(p->takeover);
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
	notify_open();
	if (!p.options.foreground)
		daemon_fork();

	if (make_loop(&p) == 0 && start(&p) == 0) {
		log_begin_limit();
		catch_signals(&p);
		do
			serve(&p);
		while (cbd_backend_handed_over(p.backend) && !hand_over(&p));
		log_debug("backend %u: stopped", p.options.id);
		status = p.phase == WATCHING && p.gone < 0 && !p.stopped ? EXIT_FAILURE
									 : EXIT_SUCCESS;
		if (status == EXIT_SUCCESS && !p.stopped)
			notify_stopping(); /* another process serves */
	}
	stop(&p);
	log_end_limit();
	return status;
}
