/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slot.h - when the backend's slot went through its states, as the memory shows it:
 * a thread looks every 50 us while a fault is under way.
 */
#ifndef SLOT_H
#define SLOT_H

#include <sys/types.h>

#include "fault.h"

enum slot_step {
	SLOT_DRAINING, /* fetches no more */
	SLOT_LEFT,     /* drained, and given up: by a stop or a hand-over */
	SLOT_TAKEN,    /* by a later incarnation, which has the disk too */
	SLOT_GRANTED,  /* that one has granted a channel */
	SLOT_LIVE,
	SLOT_STEPS
};

void slot_init(void);

/* From here on, until slot_rest(). */
void slot_watch(void);
void slot_rest(void);

/* When it was first seen; 0: it was not. */
uint64_t slot_ns(enum slot_step step);

/* SIGKILL for PID, a child that is not waited for meanwhile, US after STEP. */
void slot_kill_at(enum slot_step step, unsigned us, pid_t pid);

#endif
