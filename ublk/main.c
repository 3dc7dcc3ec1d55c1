/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - cbd-ublk: a disk of another host as a block device of the kernel, by ublk.
 *
 * Owns which command does what; add and recover are serve.c's.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../common/daemon.h"
#include "../common/log.h"
#include "../common/notify.h"
#include "device.h"
#include "list.h"
#include "options.h"
#include "serve.h"

#define REMOVE_S 60 /* for the process that serves the device */

/* ------------------------------------------------------------ add, recover */

static int cmd_serve(const struct options *o)
{
	struct driver *driver;
	int status;

	/* what a user can mend at once is said before anything is made */
	driver = driver_kernel_open();
	if (driver == NULL)
		return EXIT_FAILURE;
	if (!o->foreground) {
		/* a ring is one process's */
		driver->ops->close(driver);
		daemon_fork();
		driver = driver_kernel_open();
		if (driver == NULL)
			return EXIT_FAILURE;
	}
	status = serve(o, driver);
	driver->ops->close(driver);
	return status;
}

/* --------------------------------------------------------------------- del */

static bool is_served(const struct state *s)
{
	return state_is_served(s->name);
}

static int ask_server(const struct options *o, const struct state *s)
{
	struct state now;

	if (kill(s->pid, o->force ? SIGUSR1 : SIGTERM) < 0 && errno != ESRCH) {
		log_error("%s: process %d, which serves it: %s", s->name, (int)s->pid,
			  strerror(errno));
		return EXIT_FAILURE;
	}
	for (unsigned ms = 0; is_served(s); ms += 10) {
		if (ms > REMOVE_S * 1000) {
			log_error("%s: process %d, which serves it, does not end; 'kill -9 %d', "
				  "and del again",
				  s->name, (int)s->pid, (int)s->pid);
			return EXIT_FAILURE;
		}
		usleep(10000);
	}
	if (state_read(s->name, &now) > 0)
		return EXIT_SUCCESS;
	log_error("%s: /dev/ublkb%u is in use by now, and stays; --force removes it all the same",
		  s->name, s->number);
	return EXIT_FAILURE;
}

static int remove_orphan(const struct state *s)
{
	struct driver *driver;
	int lock = state_lock(s->name), r;

	if (lock < 0) {
		if (lock == -EWOULDBLOCK)
			log_error("%s: another process has begun to serve it", s->name);
		return EXIT_FAILURE;
	}
	driver = driver_kernel_open();
	if (driver == NULL)
		return EXIT_FAILURE;
	r = device_remove_orphan(driver, s);
	driver->ops->close(driver);
	close(lock);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int cmd_del(const struct options *o)
{
	struct state s;
	int found = state_read(o->name, &s);

	if (found > 0)
		log_error("%s: there is no such device; 'cbd-ublk list' shows them", o->name);
	if (found != 0)
		return EXIT_FAILURE;
	if (!o->force && device_is_in_use(s.number)) {
		log_error("%s: /dev/ublkb%u is in use: mounted, for example. --force removes it "
			  "all the same: its users get errors",
			  s.name, s.number);
		return EXIT_FAILURE;
	}
	return is_served(&s) ? ask_server(o, &s) : remove_orphan(&s);
}

int main(int argc, char **argv)
{
	struct options o;

	daemon_standard_files();
	log_name("cbd-ublk");
	signal(SIGPIPE, SIG_IGN);
	options_parse(&o, argc, argv);
	if (o.verbose)
		log_verbose();
	log_library();
	switch (o.command) {
	case COMMAND_DEL:
		return cmd_del(&o);
	case COMMAND_LIST:
		return cmd_list(&o);
	default:
		notify_open();
		return cmd_serve(&o);
	}
}
