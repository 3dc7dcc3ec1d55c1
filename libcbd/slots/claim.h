/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * claim.h - ownership of backend and blkdev slots (rules 1.2, 1.3 and 2).
 *
 * A claim is a line of one host and an OFD lock of one of its processes.  Owns the
 * claim pages; the other pages of a slot belong to the slot's owner.
 *
 * "Rule N" is rule N of docs/protocol.md, in all files of this folder; those of
 * docs/coherence.md are cited as "coherence rule N".
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
	struct cbd_claim_line line; /* as this process raised it */
	int gone; /* a host that is proven off, whose line does not count; or -1 */
};

#define CBD_CLAIM_INIT                \
	{                             \
		.lock = CBD_LOCK_NONE \
	}

/* Take SLOT for this process; its host has joined before.  -EBUSY, with a message that
 * names the owner; another negative errno with a message. */
int cbd_claim_take(struct cbd_transport *t, enum cbd_side side, unsigned slot, struct cbd_claim *c);

/* The same, when HOST still claims the slot and is proven off (rule 7.5): its claim is
 * lowered.  If it was not off, its process stops at its next beat.  HOST -1: as above. */
int cbd_claim_take_from(struct cbd_transport *t, enum cbd_side side, unsigned slot, int host,
			struct cbd_claim *c);

/* At each beat of the owner: does the claim still hold?  A line that was lost is stored
 * again.  -ESTALE: another process has the slot; this one must stop at once. */
int cbd_claim_check(struct cbd_claim *c);

/* Give the slot back.  The owner has written back all that it stored there. */
void cbd_claim_release(struct cbd_claim *c);

/* After a fork: the lock on a description of this process alone. */
int cbd_claim_renew(struct cbd_claim *c);

/* Read HOST's claim line for a slot; true: it is raised and not void, or damaged (then
 * LINE is zeroed).  A claim of an earlier boot of its host is void. */
bool cbd_claim_raised(const struct cbd_transport *t, enum cbd_side side, unsigned slot,
		      unsigned host, struct cbd_claim_line *line);

/* The host slot of the owner, -1: none.  Of several raised lines that with the highest
 * generation counts. */
int cbd_claim_owner(const struct cbd_transport *t, enum cbd_side side, unsigned slot,
		    struct cbd_claim_line *line);

/*
 * Is the process dead that raised LINE?  Its lock proves that, to this boot only: false
 * for claims of other boots.  Where the claim is another identity's, the lock alone proves
 * nothing: in a copy of a virtual machine, restored from a snapshot, boot id and file are
 * the same, and the locks of the other copy are not seen (rule 7.5).
 */
bool cbd_claim_is_dead(const struct cbd_transport *t, enum cbd_side side, unsigned slot,
		       const struct cbd_claim_line *line);

/* The process of this boot that the slot's state line names, where the kernel says that it
 * holds the slot's lock; else 0, or -EACCES: this process may not look.  The line is a
 * peer's word. */
int cbd_claim_pid(const struct cbd_transport *t, enum cbd_side side, unsigned slot);

/*
 * Find the slots whose owners were processes of this host and are dead, write their
 * lines back, and mark their claims dead.  Returns how many.  -EBUSY without WAIT, when
 * another process of this host holds the join lock; another negative errno.
 */
int cbd_claim_sweep(struct cbd_transport *t, bool wait);

/* The same without waiting, and with no further slot after UNTIL_NS: to write the
 * channels of one back takes milliseconds.  *MORE: go on with another call. */
int cbd_claim_sweep_some(struct cbd_transport *t, uint64_t until_ns, bool *more);

/* The beats of all slots as they were at one time; [side][slot]. */
struct cbd_slot_beats {
	uint64_t counter[2][CBD_MAX_BLKDEVS];
};

/* The count of the slot's beat line; 0: it is damaged. */
uint64_t cbd_claim_counter(const struct cbd_transport *t, enum cbd_side side, unsigned slot);

void cbd_claim_note_beats(const struct cbd_transport *t, struct cbd_slot_beats *beats);

/*
 * What cbd_claim_sweep() does, with the line of HOST, another identity of this boot, for one
 * slot.  COUNTER: the slot's beat before it was watched for as long as a suspicion takes.
 * The caller has the join lock.  False: the slot has beaten since, so its owner lives and
 * nothing was done.
 */
bool cbd_claim_sweep_slot(struct cbd_transport *t, enum cbd_side side, unsigned slot, unsigned host,
			  uint64_t counter);

/* The same with all slots.  True: HOST owns nothing now. */
bool cbd_claim_sweep_host(struct cbd_transport *t, unsigned host,
			  const struct cbd_slot_beats *beats);

#endif
