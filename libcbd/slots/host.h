/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host.h - this machine as a host of a transport: its slot and its beat.  Owns the
 * lines of that slot.
 */
#ifndef CBD_HOST_H
#define CBD_HOST_H

#include <string.h>

#include "transport/lines.h"
#include "transport/places.h"

/*
 * Take or find this host's slot (rule 1.1): HOST_ID, else the slot with this identity,
 * else a free one.  Where HOST_ID is another's, or none is free: one of another identity of
 * this boot which has no process; this takes as long as a suspicion.  -EADDRINUSE: the
 * slot beats under another boot; -ENOSPC: no free slot; -EEXIST: HOST_ID belongs to another
 * host.
 */
int cbd_host_join(struct cbd_transport *t, int host_id);

/* Called at each beat of every owner; the process that holds the host's lock stores the
 * beat.  -EADDRINUSE: another boot of this identity has the slot; -ESTALE: the slot was
 * cleared or belongs to another machine; this process must store nothing more. */
int cbd_host_beat(struct cbd_transport *t);

/* After a fork: the shared locks on descriptions of this process alone; the host's
 * lock is taken again at the next beat. */
int cbd_host_renew(struct cbd_transport *t);

/* One process of this host at a time takes, sweeps or clears slots.  Waits for the
 * lock; -EBUSY with a message when that takes too long. */
int cbd_join_lock(struct cbd_transport *t, struct cbd_lock *lock);

/* What a claim line of this identity starts with: not zero. */
uint64_t cbd_host_token(const uint8_t uuid[16]);

/* The count of H's beat line; 0: it is damaged. */
uint64_t cbd_host_counter(const struct cbd_transport *t, unsigned h);

/* The boot id in H's state line; false: it has none, or is damaged. */
bool cbd_host_boot(const struct cbd_transport *t, unsigned h, uint8_t boot_id[16]);

/* Is it the boot of this machine in which this process runs?  Then locks and
 * process ids say something of its owner. */
static inline bool cbd_boot_is_local(const struct cbd_transport *t, const uint8_t boot_id[16])
{
	return memcmp(boot_id, t->identity.boot_id, 16) == 0;
}

/* The same of the boot that host slot H shows. */
bool cbd_host_is_local(const struct cbd_transport *t, unsigned h);

/* Does the state line of host slot H show this identity?  Of two identities of one boot each
 * is a host of its own. */
bool cbd_host_is_own(const struct cbd_transport *t, unsigned h);

/* "host 2 (name)", or "host 2", into TEXT, which is returned. */
const char *cbd_host_describe(const struct cbd_transport *t, unsigned h, char *text, size_t size);

#endif
