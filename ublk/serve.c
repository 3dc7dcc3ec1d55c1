/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * serve.c - the process that serves a device: its signals, and when it leaves the device.
 *
 * SIGTERM, SIGINT: remove the device; if it is in use, leave it in the kernel for
 * "recover".  SIGUSR1: remove it in any case ("del --force").  SIGHUP: leave it, and
 * execute the program anew, which recovers it: an upgrade in place.
 */
#include <config.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../common/daemon.h"
#include "../common/log.h"
#include "../common/notify.h"
#include "device.h"
#include "serve.h"

#define LOOK_MS 1000
#define LEAVE_MS 3000 /* for answers, when the device stays */

enum end { END_NOT, END_REMOVE, END_FORCE, END_RENEW, END_GONE };

struct server {
	const struct options *options;
	struct device device;
	int lock;    /* of the name */
	int signals; /* signalfd */
};

static const int handled[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };

static sigset_t handled_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++)
		sigaddset(&set, handled[i]);
	return set;
}

/* ------------------------------------------------------------------- start */

static int take_name(struct server *s)
{
	const char *name = s->options->name;
	struct state other = { .pid = 0 };

	s->lock = state_lock(name);
	if (s->lock >= 0)
		return 0;
	if (s->lock == -EWOULDBLOCK && state_read(name, &other) == 0)
		log_error("%s: process %d serves it; SIGHUP to that process starts the installed "
			  "program in its place",
			  name, (int)other.pid);
	else if (s->lock == -EWOULDBLOCK)
		log_error("%s: another process makes or removes it", name);
	return -1;
}

static int settings(const struct options *o, struct state *s)
{
	char *path = realpath(o->transport, NULL);
	bool fits = path != NULL && strlen(path) < sizeof(s->transport) &&
		    strlen(o->backend) < sizeof(s->backend);

	if (path == NULL)
		log_error("%s: %s", o->transport, strerror(errno));
	else if (!fits)
		log_error("%s: the path, or the name of the backend, is too long", path);
	if (!fits) {
		free(path);
		return -1;
	}
	*s = (struct state){
		.queues = o->queues,
		.depth = o->depth,
		.host_id = o->host_id,
		.poll = o->poll,
		.timeout_s = o->timeout_s,
		.read_only = o->read_only,
		.unprivileged = o->unprivileged,
	};
	strcpy(s->name, o->name);
	strcpy(s->transport, path);
	strcpy(s->backend, o->backend);
	free(path);
	return 0;
}

static int add(struct server *s)
{
	if (settings(s->options, &s->device.state) < 0)
		return -1;
	notify_status("waiting for backend %s", s->options->backend);
	return device_add(&s->device, s->options->number, s->options->wait_s);
}

static int recover(struct server *s)
{
	notify_status("waiting for backend %s, to recover the device", s->device.state.backend);
	return device_recover(&s->device, s->options->wait_s);
}

/* A device that was made and not started has no user, and cannot be recovered. */
static bool was_started(const struct ublksrv_ctrl_dev_info *info)
{
	return info->state != UBLK_S_DEV_DEAD;
}

/* A device of this name is there already, or was. */
static int add_or_recover(struct server *s)
{
	struct device *d = &s->device;
	struct ublksrv_ctrl_dev_info info;

	if (device_exists(d->driver, &d->state, &info) && was_started(&info)) {
		if (s->options->recover)
			return recover(s);
		log_error("%s: is /dev/ublkb%u already, and no process serves it: 'cbd-ublk "
			  "recover %s' does, 'cbd-ublk del %s' removes it",
			  d->state.name, d->state.number, d->state.name, d->state.name);
		return -1;
	}
	return device_remove_orphan(d->driver, &d->state) < 0 ? -1 : add(s);
}

static int start(struct server *s)
{
	const char *name = s->options->name;
	int found;

	if (take_name(s) < 0)
		return -1;
	found = state_read(name, &s->device.state);
	if (s->options->command == COMMAND_ADD)
		return found == 0 ? add_or_recover(s) : found > 0 ? add(s) : -1;
	if (found == 0)
		return recover(s);
	if (found > 0)
		log_error("%s: there is no such device; 'cbd-ublk list' shows them", name);
	return -1;
}

/* --------------------------------------------------------------------- run */

static enum end end_of(struct server *s)
{
	struct signalfd_siginfo signal;

	if (read(s->signals, &signal, sizeof(signal)) != sizeof(signal))
		return END_NOT;
	switch (signal.ssi_signo) {
	case SIGHUP:
		if (device_stays(&s->device))
			return END_RENEW;
		log_warning("%s: SIGHUP does nothing: the kernel would not keep the device",
			    s->device.state.name);
		return END_NOT;
	case SIGUSR1:
		return END_FORCE;
	default:
		return END_REMOVE;
	}
}

static void show_status(const struct server *s)
{
	const struct device *d = &s->device;

	notify_status("/dev/ublkb%u: backend %s%s", d->state.number, d->state.backend,
		      cbd_blkdev_suspects(d->attachment.blkdev)
			      ? ", which does not beat: requests wait"
			      : "");
}

static enum end run(struct server *s)
{
	struct pollfd fds[] = {
		{ .fd = s->signals, .events = POLLIN },
		{ .fd = s->device.common.ended, .events = POLLIN },
	};
	enum end end = END_NOT;

	while (end == END_NOT) {
		device_look(&s->device);
		show_status(s);
		poll(fds, 2, notify_feed(LOOK_MS));
		if (fds[1].revents & POLLIN)
			return END_GONE;
		if (fds[0].revents & POLLIN)
			end = end_of(s);
	}
	return end;
}

/* ---------------------------------------------------------------------- end */

static int leave(struct server *s, const char *why)
{
	struct device *d = &s->device;

	notify_status("leaving /dev/ublkb%u in the kernel", d->state.number);
	device_leave(d, LEAVE_MS);
	log_info("%s: /dev/ublkb%u stays%s; requests wait for 'cbd-ublk recover %s'", d->state.name,
		 d->state.number, why, d->state.name);
	return EXIT_SUCCESS;
}

static int remove_device(struct server *s)
{
	notify_status("removing /dev/ublkb%u", s->device.state.number);
	if (device_remove(&s->device) < 0)
		return EXIT_FAILURE;
	log_info("%s: /dev/ublkb%u is removed", s->device.state.name, s->device.state.number);
	return EXIT_SUCCESS;
}

/* The program as it is installed now.  It finds the name unlocked, because the lock is
 * closed by the call. */
static int renew(struct server *s, const char *program)
{
	char command[] = "recover", foreground[] = "--foreground", wait[] = "--wait=86400";
	char *argv[] = { (char *)(uintptr_t)program,
			 command,
			 wait,
			 s->device.state.name,
			 s->options->foreground ? foreground : NULL,
			 NULL };
	sigset_t set = handled_signals();

	leave(s, ", and the installed program is started");
	log_end_limit();
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	execv(program, argv);
	log_error("%s: %s: %s", s->device.state.name, program, strerror(errno));
	return EXIT_FAILURE;
}

static int finish(struct server *s, enum end end, const char *program)
{
	struct device *d = &s->device;

	if (end == END_RENEW) {
		notify_reloading();
		return renew(s, program);
	}
	notify_stopping();
	switch (end) {
	case END_GONE:
		if (device_stays(d) && !device_is_stopped(d)) {
			log_error("%s: the driver takes no more commands", d->state.name);
			leave(s, "");
			return EXIT_FAILURE;
		}
		log_warning("%s: another program has stopped /dev/ublkb%u", d->state.name,
			    d->state.number);
		return remove_device(s);
	case END_REMOVE:
		if (device_stays(d) && device_is_in_use(d->state.number))
			return leave(s, ", because it is in use");
		return remove_device(s);
	default:
		return remove_device(s);
	}
}

/* This program's file, before an upgrade puts another one in its place. */
static const char *find_program(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n <= 0)
		return "/proc/self/exe";
	path[n] = '\0';
	return path;
}

static void show_ready(const struct server *s)
{
	const struct device *d = &s->device;

	if (!s->options->foreground)
		daemon_ready();
	log_info("%s: ready, /dev/ublkb%u, %u queue%s of depth %u, backend %s", d->state.name,
		 d->state.number, d->state.queues, d->state.queues == 1 ? "" : "s", d->state.depth,
		 d->state.backend);
	notify_ready();
}

/* A start that has failed: where the kernel has no such device, nothing of it stays. */
static void clean_up(struct server *s)
{
	struct ublksrv_ctrl_dev_info info;
	struct state state;
	int found;

	device_close(&s->device);
	if (s->lock < 0)
		return;
	found = state_read(s->options->name, &state);
	if (found > 0 || (found == 0 && !device_exists(s->device.driver, &state, &info)))
		state_remove(s->options->name);
}

int serve(const struct options *o, struct driver *driver)
{
	struct server s = { .options = o, .device = { .driver = driver } };
	const char *program = find_program();
	sigset_t set = handled_signals();
	int status = EXIT_FAILURE;

	s.device.common.ended = -1;
	if (start(&s) < 0) {
		clean_up(&s);
		return status;
	}
	log_begin_limit();
	sigprocmask(SIG_BLOCK, &set, NULL);
	s.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	show_ready(&s);
	status = finish(&s, run(&s), program);
	device_close(&s.device);
	close(s.signals);
	log_end_limit();
	return status;
}
