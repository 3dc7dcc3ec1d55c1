/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * machines.h - one transport, opened twice: by two processes of a machine, or, after
 * unit_machine(), by two machines.
 */
#ifndef CBD_MACHINES_H
#define CBD_MACHINES_H

#include "unit.h"

#define HEARTBEAT_MS 20
#define DEAD_AFTER 3

extern char machines_path[UNIT_PATH];
extern struct cbd_transport *t1, *t2;

/* Format it in this mode and open t1 and t2; as a fixture: in hardware mode. */
void machines_format(enum cbd_coherence mode);
void machines_setup(void);
void machines_teardown(void);

/* Open it once more. */
struct cbd_transport *machines_open(void);

#endif
