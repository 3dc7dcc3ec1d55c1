/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ledger.h - which writes no flush has covered yet, and whether a loss of data has to be
 * reported: what the queues of a device count together.
 *
 * While this process lives libcbd reports a loss by itself (rule 8 of docs/protocol.md).
 * But a device outlives its process, and the next one, which attaches anew, knows nothing
 * of what was acknowledged before.  So the verifier of the disk is kept in the state file
 * for as long as something depends on it: the file gets a new verifier when all that was
 * written before is flushed, or the loss was reported.  A process that recovers the device
 * and finds another verifier than the file names fails the first flush; and if it finds the
 * same one, that flush fails whose end finds another one.
 */
#ifndef CBD_UBLK_LEDGER_H
#define CBD_UBLK_LEDGER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ledger {
	_Atomic uint64_t begun, done; /* writes: submitted, answered */
	_Atomic uint64_t covered;     /* of those that were done, by a flush that succeeded */
	_Atomic unsigned verifiers;   /* how often another verifier was seen */
	_Atomic unsigned told;	      /* a flush that came after that one was answered */
	atomic_bool lost;	      /* the next flush is to fail */
	atomic_bool inherited;	      /* a process before may have left writes unflushed, of
				       * which libcbd here knows nothing */
};

/* What a flush knows from its submission on. */
struct ledger_flush {
	uint64_t done;
	unsigned verifiers;
};

void ledger_write_begins(struct ledger *l);
void ledger_write_ends(struct ledger *l);

struct ledger_flush ledger_flush_begins(struct ledger *l);
void ledger_flush_succeeds(struct ledger *l, const struct ledger_flush *f);
/* Its result, whatever that is, has reached the kernel. */
void ledger_flush_told(struct ledger *l, const struct ledger_flush *f);

/* A flush has covered, or has reported, what a process before has left. */
void ledger_inheritance_ends(struct ledger *l);

/* True once: this flush has to fail for what a process before has lost. */
bool ledger_take_loss(struct ledger *l);

/* The main thread has seen another verifier than the state file names. */
void ledger_verifier_seen(struct ledger *l);
/* Then: whether nothing depends on the old one any more. */
bool ledger_is_settled(struct ledger *l);

#endif
