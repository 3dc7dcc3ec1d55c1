/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * damage.h - write over lines of the transport, as a stray store of another
 * program would.
 */
#ifndef DAMAGE_H
#define DAMAGE_H

#include "fault.h"

/* Damage one line; returns its name. */
const char *damage_line(struct random *r);

/* Is there a line of this name? */
bool damage_knows(const char *name);

#endif
