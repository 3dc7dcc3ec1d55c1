/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * param.h - the parameters of "nbdkit cbd": what they are, and what is wrong with
 * them.  nbdkit sets them in one thread before it forks; constant afterwards.
 */
#ifndef CBD_PLUGIN_PARAM_H
#define CBD_PLUGIN_PARAM_H

#include <stdbool.h>

#include <cbd.h>

struct param {
	char *transport;     /* absolute */
	const char *backend; /* NULL: the export name chooses */
	unsigned queues;
	int host_id; /* -1: found by identity */
	enum cbd_poll poll;
	unsigned timeout; /* seconds, 0: none */
	unsigned wait;	  /* for the backend to come: seconds, 0: not at all */
	bool read_only;
};
extern struct param param;

/* Callbacks of nbdkit: .config, .config_complete and .config_help.  -1 after
 * nbdkit_error(). */
int param_set(const char *key, const char *value);
int param_complete(void);
extern const char param_help[];

void param_free(void);

#endif
