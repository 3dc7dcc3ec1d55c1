/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host.h - this machine as a host of a transport: slot, heartbeat.
 * Owns the lines of its own host slot.
 */
#ifndef CBD_HOST_H
#define CBD_HOST_H

#include <string.h>

#include "transport/lines.h"
#include "transport/places.h"

/*
 * Take or find this host's slot (rule 1): HOST_ID, else the slot with this
 * identity, else a free one.  -EADDRINUSE: the slot beats under another boot;
 * -ENOSPC: no free slot; -EEXIST: HOST_ID belongs to another host.
 */
int cbd_host_join(struct cbd_transport *t, int host_id);

/* One beat, by whichever process of this host holds the host's lock.
 * -EADDRINUSE: another boot has taken the slot over; -ESTALE: it was cleared
 * or belongs to another machine: nothing may be written there. */
int cbd_host_beat(struct cbd_transport *t);

/* After a fork: locks on descriptions of this process alone. */
int cbd_host_renew(struct cbd_transport *t);

/* Serialise what processes of this host do to slots. */
int cbd_join_lock(struct cbd_transport *t, struct cbd_lock *lock);

/* The boot that host slot H shows; false: none or damaged. */
bool cbd_host_boot(const struct cbd_transport *t, unsigned h, uint8_t boot_id[16]);

/* Is it the boot of this machine in which this process runs?  Then locks and
 * process ids say something of its owner. */
static inline bool cbd_boot_is_local(const struct cbd_transport *t, const uint8_t boot_id[16])
{
	return memcmp(boot_id, t->identity.boot_id, 16) == 0;
}

/* The same of the boot that host slot H shows. */
bool cbd_host_is_local(const struct cbd_transport *t, unsigned h);

/* "host 2 (name)" into TEXT. */
const char *cbd_host_describe(const struct cbd_transport *t, unsigned h, char *text, size_t size);

#endif
