/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * leftover.h - what a dead process has left in the caches of this host: it is written
 * back before the slot is used again (coherence rule 8).
 */
#ifndef CBD_LEFTOVER_H
#define CBD_LEFTOVER_H

#include "transport/places.h"

/* Write a slot back, and the channels that belong to it. */
void cbd_leftover_write_back(struct cbd_transport *t, enum cbd_side side, unsigned slot);

/*
 * Write back what processes of an earlier boot of HOST have left in the caches: a virtual
 * machine that boots again, or kexec, does not empty those of the machine.  Before the
 * new boot id tells the other hosts that the claims of the earlier boot are void.
 */
void cbd_leftover_write_back_host(struct cbd_transport *t, unsigned host);

/*
 * Rule 7.5: the host slot of the kernel that may write old data of backend slot ID's disk
 * back long after: it served the slot last, through its page cache, did not stop in order,
 * and has not been rebooted since.  -1: there is none.
 */
int cbd_leftover_in_page_cache(const struct cbd_transport *t, unsigned id);

#endif
