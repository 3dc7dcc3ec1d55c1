/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notify.h - tell the service manager how this process is doing: sd_notify(3).
 *
 * Without NOTIFY_SOCKET in the environment every function does nothing.  None of them
 * waits for the service manager, but notify_main().  Main thread only.
 */
#ifndef CBD_NOTIFY_H
#define CBD_NOTIFY_H

#include <stdbool.h>
#include <sys/types.h>

/* Read the environment.  Before daemon_fork(), as WATCHDOG_PID names the first process. */
void notify_open(void);

/* Whether there is a service manager to tell. */
bool notify_wanted(void);

/* In the child of daemon_fork(): the service manager does not listen to it before the
 * parent has named it, so nothing is sent until notify_named(). */
void notify_unnamed(void);
void notify_named(void);

/* In the parent, when its child is ready: the child is the main process from now on.
 * Waits until the message is taken. */
void notify_main(pid_t child);

/* What it does, in words; sent when it has changed. */
void notify_status(const char *format, ...) __attribute__((format(printf, 1, 2)));

void notify_ready(void);     /* clients are served; also the end of a reload */
void notify_reloading(void); /* until notify_ready() */

/* It will end.  From here on systemd bounds the stop (TimeoutStopSec=) and lets the watchdog
 * be, so the disk may take its time to sync. */
void notify_stopping(void);

/*
 * The control thread is alive and will be back within MS milliseconds: feed the watchdog
 * when half of its interval is over, and send again what could not be sent.  Returns MS,
 * or less when the watchdog has to be fed before.
 */
int notify_feed(int ms);

/* The control thread comes to something that may take a part of the interval, and has a
 * bound: feed the watchdog now, so that all of the interval is left for it. */
void notify_feed_now(void);

#endif
