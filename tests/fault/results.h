/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * results.h - how long the rounds of one kind of fault took, and of what that
 * consists.
 */
#ifndef RESULTS_H
#define RESULTS_H

#include "fault.h"

#define MOST_ROUNDS 100000

enum series {
	FIRST_ANSWER, /* from the fault, or the next start, to a request that was sent then */
	PAUSE,	      /* longest time without an answer, under load */
	UNSERVED, /* from DRAINING, or the fault, to the first answer of the slot's next owner */
	/* the parts of a pause by which the slot got a new owner, in their order: */
	PART_ASKED,    /* the fault, or the start of the next process, to its request */
	PART_DRAINED,  /* ... until the old one had answered and left */
	PART_TAKEN,    /* ... until the next one has disk and slot */
	PART_GRANTED,  /* ... its first grant */
	PART_ANSWERED, /* ... the first answer */
	SERIES
};

struct result {
	unsigned count; /* rounds */
	unsigned n[SERIES];
	uint64_t *ns[SERIES];
};

void result_note(struct result *r, enum series series, uint64_t ns);
void result_show(struct result *r, const char *name);

#endif
