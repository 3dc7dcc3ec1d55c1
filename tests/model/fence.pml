/*
 * fence.pml - rules 1, 2 and 7.5: a host comes back under a new boot id, which
 * makes the claims of its earlier boot void for everybody.  What was taken for
 * the earlier boot was a zombie: it goes on beating and stores its claim line
 * again.  Mirrors claim.c (cbd_claim_raised, raise_line, bury, cbd_claim_check)
 * and host.c (boot_write).
 *
 * One slot.  Host 0: `zombie` of boot 1 owns the slot from the start, `reborn`
 * of boot 2 wants it; host 1: `other` wants it too.  What the zombie does to
 * the disk is not in here: that needs a fence.
 *
 * Holds: never two owners, the zombie not counted once the new boot id is out.
 *
 * Bounds: ROUNDS of each claimer, BEATS of each owner.
 *
 * Switches, each of which must break it:
 *   OVERWRITE    a beating owner stores its claim again over a newer one of its
 *                own host
 *   CLAIM_FIRST  the newcomer raises its claim, then writes its boot id
 *   OLD_BOOT     the zombie stores its boot id again as well
 *   PAUSED       the zombie sleeps between its look at the line and its store.
 *                Nothing in memory helps against that one: it is why a host
 *                that may live is fenced before its slot is given away.
 */
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef BEATS
#define BEATS 2
#endif

#define ZOMBIE 1
#define REBORN 2
#define OTHER 3

typedef claim_line { byte generation; byte owner; byte boot; bool raised };
claim_line line[2];
byte boot[2];			/* host lines */
bool owns[4], started = false;

#define ZOMBIE_COUNTS (owns[ZOMBIE] && boot[0] == 1)
#define ONE_OWNER (!(owns[REBORN] && owns[OTHER]) && \
		   !(ZOMBIE_COUNTS && (owns[REBORN] || owns[OTHER])))

/* The claim of the other host: first its line, then its boot id. */
inline look(other_host)
{
	d_step {
		seen = line[other_host].raised;
		seen_boot = line[other_host].boot;
		if :: line[other_host].generation > generation -> generation = line[other_host].generation :: else fi
	};
	seen = seen && seen_boot == boot[other_host]
}

inline store(host, me, my_boot, up)
{
	d_step {
		line[host].generation = mine;
		line[host].owner = me;
		line[host].boot = my_boot;
		line[host].raised = up
	}
}

inline raise(host, me, my_boot)
{
	generation = line[host].generation;
	do
	:: rounds == ROUNDS -> break
	:: rounds < ROUNDS ->
		rounds++;
		look(1 - host);
		if
		:: seen
		:: !seen ->
			generation++;
			mine = generation;
			store(host, me, my_boot, true);
			look(1 - host);
			if
			:: seen -> store(host, me, my_boot, false)
			:: else ->
				atomic { owns[me] = true; assert(ONE_OWNER) };
				break
			fi
		fi
	od
}

/* Replaced by the other host, or by a newer process of this one? */
#ifdef OVERWRITE
#define REPLACED(host) (!line[host].raised && line[host].owner == me)
#else
#define REPLACED(host) (line[host].generation > mine || \
			(!line[host].raised && line[host].owner == me))
#endif

inline beat(host, my_boot)
{
	look(1 - host);
	atomic {
		if
		:: (seen && line[1 - host].generation > mine) || REPLACED(host) -> owns[me] = false
		:: else -> store(host, me, my_boot, true)
		fi
	}
}

inline beats(host, my_boot)
{
	do
	:: n < BEATS && owns[me] -> beat(host, my_boot); n++
	:: else -> break
	od
}

active proctype zombie()
{
	byte me = ZOMBIE, mine = 1, n, generation;
	bool seen;
	byte seen_boot;

	(started);
#ifdef PAUSED
	if
	:: REPLACED(0)
	:: else -> store(0, me, 1, true)
	fi;
#endif
	do
	:: n < BEATS && owns[me] ->
		beat(0, 1);
#ifdef OLD_BOOT
		if :: owns[me] -> boot[0] = 1 :: else fi;
#endif
		n++
	:: else -> break
	od
}

active proctype reborn()
{
	byte me = REBORN, mine, n, generation, rounds;
	bool seen;
	byte seen_boot;

	(started);
#ifdef CLAIM_FIRST
	d_step { mine = line[0].generation; line[0].raised = false };
	raise(0, REBORN, 2);
	boot[0] = 2;
#else
	boot[0] = 2;
	/* bury what the earlier boot left */
	d_step { mine = line[0].generation; line[0].raised = false };
	raise(0, REBORN, 2);
#endif
	beats(0, 2);
	owns[REBORN] = false
}

active proctype other()
{
	byte me = OTHER, mine, n, generation, rounds;
	bool seen;
	byte seen_boot;

	(started);
	raise(1, OTHER, 1);
	beats(1, 1);
	atomic { owns[OTHER] = false; line[1].raised = false }
}

init {
	d_step {
		boot[0] = 1;
		boot[1] = 1;
		line[0].generation = 1;
		line[0].owner = ZOMBIE;
		line[0].boot = 1;
		line[0].raised = true;
		owns[ZOMBIE] = true;
		started = true
	}
}
