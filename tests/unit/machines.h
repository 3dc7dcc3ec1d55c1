/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * machines.h - one transport, opened twice: by two processes of a machine, or by
 * two machines.  Another machine is a transport with another identity whose locks
 * go to a file of their own: local locks do not reach it, as between real hosts.
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

/* T is of another machine from now on; WHO tells several apart. */
void machines_move(struct cbd_transport *t, unsigned char who);

#endif
