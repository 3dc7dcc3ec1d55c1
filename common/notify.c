/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notify.c - tell the service manager how this process is doing: sd_notify(3).
 *
 * Owns the socket to the service manager, what was told last, and when the watchdog is
 * due.  It knows nothing of backends: what is told, and when, is main.c's.
 *
 * The messages are datagrams of lines NAME=VALUE, whose form systemd keeps stable.
 * libsystemd would send the same, but its sd_notify() waits while the queue of the service
 * manager is full (seen with systemd 252).  These functions are called by the control
 * thread, whose heartbeat must not depend on that: clients would suspect a backend that
 * only had something to tell.  So messages are sent without waiting, and again later.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "notify.h"

#define STATUS_SIZE 256

static struct {
	int fd; /* -1: nobody wants to be told */
	struct sockaddr_un address;
	socklen_t address_length;
	bool unnamed;
	char status[STATUS_SIZE]; /* what it does now */
	bool status_due;	  /* it was not sent yet */
	char state[64];		  /* the change of state that was not sent yet; empty: none */
	uint64_t watchdog_us;	  /* half of the interval; 0: no watchdog */
	uint64_t fed_us;	  /* when the watchdog was fed last */
} manager = { .fd = -1 };

static uint64_t monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* A number in the environment; 0: none. */
static uint64_t environment_number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	unsigned long long n;

	if (text == NULL || text[0] < '0' || text[0] > '9')
		return 0;
	errno = 0;
	n = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' ? n : 0;
}

/* A path, or with "@" in front a name in the abstract space. */
static bool set_address(const char *name)
{
	size_t length = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || length < 2 ||
	    length >= sizeof(manager.address.sun_path))
		return false;
	manager.address.sun_family = AF_UNIX;
	memcpy(manager.address.sun_path, name, length + 1);
	manager.address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	if (name[0] == '@')
		manager.address.sun_path[0] = '\0';
	else
		manager.address_length++;
	return true;
}

static void open_watchdog(void)
{
	uint64_t pid = environment_number("WATCHDOG_PID");

	if (getenv("WATCHDOG_PID") == NULL || pid == (uint64_t)getpid())
		manager.watchdog_us = environment_number("WATCHDOG_USEC") / 2;
}

void notify_open(void)
{
	const char *name = getenv("NOTIFY_SOCKET");

	if (name == NULL || name[0] == '\0')
		return;
	if (!set_address(name)) {
		log_warning("NOTIFY_SOCKET: '%s' is no unix socket; the service manager is told "
			    "nothing",
			    name);
		return;
	}
	manager.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (manager.fd < 0) {
		log_warning("NOTIFY_SOCKET: %s", strerror(errno));
		return;
	}
	open_watchdog();
}

bool notify_wanted(void)
{
	return manager.fd >= 0;
}

/* -1: not now.  Anything but a full queue will not be better later. */
static int send_text(const char *text, int flags)
{
	ssize_t n;

	do
		n = sendto(manager.fd, text, strlen(text), flags | MSG_NOSIGNAL,
			   (struct sockaddr *)&manager.address, manager.address_length);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
		return -1;
	log_debug("NOTIFY_SOCKET: %s", strerror(errno));
	return 0;
}

static void send_due(void)
{
	char text[sizeof(manager.state) + STATUS_SIZE + 16];

	if (manager.fd < 0 || manager.unnamed || (manager.state[0] == '\0' && !manager.status_due))
		return;
	snprintf(text, sizeof(text), "%s%s%s", manager.state, manager.status_due ? "STATUS=" : "",
		 manager.status_due ? manager.status : "");
	if (send_text(text, MSG_DONTWAIT) < 0)
		return;
	manager.state[0] = '\0';
	manager.status_due = false;
}

/* A later state stands for one that could not be sent: the service manager needs to know
 * where this process is, not the way there. */
static void set_state(const char *state)
{
	snprintf(manager.state, sizeof(manager.state), "%s", state);
	send_due();
}

void notify_unnamed(void)
{
	manager.unnamed = true;
}

void notify_named(void)
{
	manager.unnamed = false;
	send_due();
}

void notify_main(pid_t child)
{
	char text[64];

	if (manager.fd < 0)
		return;
	snprintf(text, sizeof(text), "READY=1\nMAINPID=%d", (int)child);
	send_text(text, 0);
}

void notify_status(const char *format, ...)
{
	char status[STATUS_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(status, sizeof(status), format, args);
	va_end(args);
	for (char *p = status; *p != '\0'; p++)
		if ((unsigned char)*p < ' ') /* a line of its own would be another message */
			*p = '?';
	if (strcmp(status, manager.status) == 0)
		return;
	strcpy(manager.status, status);
	manager.status_due = true;
	send_due();
}

void notify_ready(void)
{
	set_state("READY=1\n");
}

void notify_reloading(void)
{
	char state[sizeof(manager.state)];

	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n", monotonic_us());
	set_state(state);
}

void notify_stopping(void)
{
	set_state("STOPPING=1\n");
}

/* False: there is no watchdog, or not for this process yet. */
static bool has_watchdog(void)
{
	return manager.fd >= 0 && manager.watchdog_us != 0 && !manager.unnamed;
}

void notify_feed_now(void)
{
	uint64_t now = monotonic_us();

	send_due();
	if (has_watchdog() && send_text("WATCHDOG=1", MSG_DONTWAIT) == 0)
		manager.fed_us = now;
}

int notify_feed(int ms)
{
	uint64_t now, left_ms;

	send_due();
	if (!has_watchdog())
		return ms;
	now = monotonic_us();
	if (now - manager.fed_us >= manager.watchdog_us &&
	    send_text("WATCHDOG=1", MSG_DONTWAIT) == 0)
		manager.fed_us = now;
	left_ms = (manager.fed_us + manager.watchdog_us - now + 999) / 1000;
	/* the queue is full: soon again */
	if (now - manager.fed_us >= manager.watchdog_us)
		left_ms = 10;
	return left_ms < (uint64_t)ms ? (int)left_ms : ms;
}
