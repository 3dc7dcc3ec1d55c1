/* SPDX-License-Identifier: BSD-3-Clause */
/* machines.c - see machines.h. */
#include <config.h>

#include <unistd.h>

#include "machines.h"

char machines_path[UNIT_PATH];
struct cbd_transport *t1, *t2;

struct cbd_transport *machines_open(void)
{
	struct cbd_transport *t;

	unit_ok(cbd_transport_open(machines_path, 0, &t));
	return t;
}

void machines_format(enum cbd_coherence kind)
{
	struct cbd_format_options o = { .size = 6u << 20,
					.hosts = 4,
					.backends = 2,
					.blkdevs = 3,
					.channels = 2,
					.heartbeat_ms = HEARTBEAT_MS,
					.dead_after = DEAD_AFTER,
					.coherence = kind };

	unit_path(machines_path);
	unit_ok(cbd_format(machines_path, &o, sizeof(o)));
	t1 = machines_open();
	t2 = machines_open();
}

void machines_setup(void)
{
	machines_format(CBD_COHERENCE_HARDWARE);
}

void machines_teardown(void)
{
	cbd_transport_close(t1);
	cbd_transport_close(t2);
	t1 = t2 = NULL;
	unlink(machines_path);
}
