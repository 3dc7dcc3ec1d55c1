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

struct server {
	const char *name;
	pid_t pid;   /* 0: does not run */
	bool ending; /* its end is expected, with status 0 */
	bool ended;
	long log_start; /* of its log: what an earlier one wrote comes before */
};

extern struct server backend, nbdkit;

/* Dies when a process has ended that nobody has killed. */
void servers_watch(void);

/* They return at once; ready when the functions below say so. */
void backend_start(bool takeover);
void nbdkit_start(void);
bool backend_ready(void);
bool nbdkit_ready(void);

/* At a takeover: the one before, until it has ended. */
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
