/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * claim.h - ownership of backend and blkdev slots (rules 1 and 2).
 *
 * A claim is a line of one host plus an OFD lock of one process.  Owns the
 * claim pages; what an owner writes into its slot is its own affair.
 */
#ifndef CBD_CLAIM_H
#define CBD_CLAIM_H

#include "transport/lines.h"
#include "transport/places.h"

struct cbd_claim {
	struct cbd_transport *t;
	enum cbd_side side;
	unsigned slot;
	struct cbd_lock lock;
	struct cbd_claim_line line; /* as I raised it */
	int gone;		    /* host whose line does not count, -1: none */
};

#define CBD_CLAIM_INIT                \
	{                             \
		.lock = CBD_LOCK_NONE \
	}

/* Take SLOT for this host and process; joined before.  -EBUSY with a message
 * that names the owner. */
int cbd_claim_take(struct cbd_transport *t, enum cbd_side side, unsigned slot, struct cbd_claim *c);

/* The same from HOST, which is proven gone although its line is raised (rule
 * 7.5): its line is lowered, and if it was not gone it stops at its next
 * beat.  -1: nobody. */
int cbd_claim_take_from(struct cbd_transport *t, enum cbd_side side, unsigned slot, int host,
			struct cbd_claim *c);

/* At each beat: is it still mine?  Stores the line again if it was lost.
 * -ESTALE: another host has replaced me; stop at once. */
int cbd_claim_check(struct cbd_claim *c);

/* Everything of the slot has been pushed by its owner before. */
void cbd_claim_release(struct cbd_claim *c);
int cbd_claim_renew(struct cbd_claim *c);

/* The line of HOST for a slot; true if it is raised and not void.  A claim of
 * an earlier boot of its host is void. */
bool cbd_claim_raised(const struct cbd_transport *t, enum cbd_side side, unsigned slot,
		      unsigned host, struct cbd_claim_line *line);

/* The owner's host slot, -1: free. */
int cbd_claim_owner(const struct cbd_transport *t, enum cbd_side side, unsigned slot,
		    struct cbd_claim_line *line);

/* Of a claim of my own boot: is its process dead?  (The lock tells.) */
bool cbd_claim_is_dead(const struct cbd_transport *t, enum cbd_side side, unsigned slot,
		       const struct cbd_claim_line *line);

/*
 * Find the slots whose owners were processes of this host and boot and are
 * dead, push their lines, and say so in their claim lines.  Returns how many;
 * -EBUSY without WAIT when another process of this host is at it.
 */
int cbd_claim_sweep(struct cbd_transport *t, bool wait);

#endif
