/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * results.h - how long the rounds of one kind of fault took.
 */
#ifndef RESULTS_H
#define RESULTS_H

#include "fault.h"

#define MOST_ROUNDS 100000

struct result {
	unsigned count;	     /* rounds */
	unsigned recoveries; /* how many are in `ns` */
	uint64_t *ns;
};

void result_recovery(struct result *r, uint64_t ns);
void result_show(struct result *r, const char *name);

#endif
