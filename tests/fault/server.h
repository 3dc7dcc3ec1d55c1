/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server.h - the processes under test: cbd-backend and nbdkit, started, killed,
 * stopped and waited for; and cbdctl.
 *
 * Only processes that were started here get a signal, and they end with this
 * one.
 */
#ifndef SERVER_H
#define SERVER_H

#include <sys/types.h>

#include "fault.h"

enum server_end {
	END_NEVER,
	END_WELL,    /* status 0 */
	END_REFUSED, /* status 1 */
	END_KILLED,  /* SIGKILL */
};

struct server {
	const char *name;
	pid_t pid;		/* 0: does not run */
	enum server_end expect; /* how it is to end; the run ends if it does otherwise */
	char host;		/* a hex digit; by --hosts alone */
	unsigned boot;		/* of that host */
	long log_start;		/* of its log: what an earlier one wrote comes before */
};

/* Newcomer: a backend that is to fail, or may. */
extern struct server backend, nbdkit, newcomer;

/* Dies when a process has ended that nobody has killed. */
void servers_watch(void);

/* They return at once; ready when the functions below say so. */
void backend_start(void);
void nbdkit_start(void);

/* On another host than before, which is known to be off. */
void backend_fail_over(void);

/* The backend that runs is to hand over: to `backend`, or to `newcomer`. */
void backend_take_over(void);
void newcomer_take_over(void);

/* A newcomer with other options, or another disk (NULL: as ever), which ends with
 * status 1; TAKEOVER: while the backend runs.  OPTIONS end in NULL. */
void newcomer_start_refused(const char *const *options, const char *disk, bool takeover);

/* Does the newcomer's log hold TEXT? */
bool newcomer_says(const char *text);

/* The newcomer is dead.  The process that was to hand over is the backend again; false:
 * that one has ended, as it had handed over. */
bool backend_stays(void);
bool backend_ready(void);
bool nbdkit_ready(void);

bool backend_gone(void);
bool newcomer_gone(void);

/* At a takeover: the one before has ended. */
bool backend_handed_over(void);

/* SIGKILL; returns when the process is gone. */
void server_kill(struct server *s);
void server_signal(struct server *s, int signal);

/* In order; bounded. */
void server_stop(struct server *s);

/* Run a program to its end, stdout into OUTPUT (its size; NULL: dropped).
 * Returns the exit status; ARGV ends in NULL. */
int run_program(const char *const *argv, char *output, size_t size);

const char *socket_path(void);
void servers_init(void);

/* Stacks, logs, a list; at a failure. */
void servers_show(void);
void servers_end(void);

#endif
