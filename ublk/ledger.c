/* SPDX-License-Identifier: BSD-3-Clause */
/* ledger.c - see ledger.h. */
#include <config.h>

#include "ledger.h"

void ledger_write_begins(struct ledger *l)
{
	atomic_fetch_add(&l->begun, 1);
}

void ledger_write_ends(struct ledger *l)
{
	atomic_fetch_add(&l->done, 1);
}

struct ledger_flush ledger_flush_begins(struct ledger *l)
{
	struct ledger_flush f;

	f.done = atomic_load(&l->done);
	f.verifiers = atomic_load(&l->verifiers);
	return f;
}

void ledger_flush_succeeds(struct ledger *l, const struct ledger_flush *f)
{
	uint64_t covered = atomic_load(&l->covered);

	while (covered < f->done && !atomic_compare_exchange_weak(&l->covered, &covered, f->done))
		;
}

void ledger_flush_told(struct ledger *l, const struct ledger_flush *f)
{
	unsigned told = atomic_load(&l->told);

	while ((int)(f->verifiers - told) > 0 &&
	       !atomic_compare_exchange_weak(&l->told, &told, f->verifiers))
		;
}

void ledger_inheritance_ends(struct ledger *l)
{
	atomic_store(&l->inherited, false);
}

bool ledger_take_loss(struct ledger *l)
{
	return atomic_load(&l->lost) && atomic_exchange(&l->lost, false);
}

void ledger_verifier_seen(struct ledger *l)
{
	atomic_fetch_add(&l->verifiers, 1);
}

/* DONE before BEGUN: what was begun meanwhile makes them differ. */
bool ledger_is_settled(struct ledger *l)
{
	uint64_t covered = atomic_load(&l->covered), done = atomic_load(&l->done);

	if (atomic_load(&l->told) == atomic_load(&l->verifiers))
		return true;
	return !atomic_load(&l->lost) && !atomic_load(&l->inherited) && covered == done &&
	       atomic_load(&l->begun) == done;
}
