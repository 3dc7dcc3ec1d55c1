/*
 * cleared.pml - rule 1: a host slot is cleared while its host was away, and
 * another host takes it; the old host comes back and beats.  Mirrors host.c
 * (check_slot, assert_own, assert_slot, slot_take, boot_enter) and clear.c (free_host);
 * hardware mode: a free slot is taken by compare-and-swap.
 *
 * The lines: claim and state, each with whose it is.  Names go the way of the
 * claim.  The heartbeat line is not in here: a late beat is one more change of
 * the counter.  `old` had the slot, `clear` frees it at any moment (the old host
 * looks dead), `newcomer` takes it when it is free.
 *
 * The old host is away anywhere, also in the middle of a beat; with WHOLE_BEATS
 * between two beats only.
 *
 * Holds: the old host never writes its boot id over that of a newcomer (that
 * would drive it out, and make its claims void for all others); the newcomer's
 * lines are there in the end: a claim line that the old host wrote over is mended;
 * a beat that begins after the clear stores nothing; a slot that was cleared is
 * free, or the old host has it as before.
 *
 * Bounds: BEATS of each, LOSSES of a line at any moment.
 *
 * Switches, each of which must break it:
 *   NO_LOOK       the old host stores its lines again whatever it finds
 *   CLAIM_DECIDES it looks at the claim line only
 *   CLAIM_FIRST   clear frees the claim line first
 *   LOSSES=2      with WHOLE_BEATS: both lines are lost at a time: nobody knows whose the slot is
 *   LOOK_ONCE     it does not look at the state line once more between the line
 *                 that differs and the store
 *   LOSSES=1      without WHOLE_BEATS: away between that look and the store of a
 *                 line that was really lost.  Without the loss there is nothing to
 *                 store.
 */
#ifndef BEATS
#define BEATS 2
#endif
#ifndef LOSSES
#define LOSSES 0
#endif

#define ZERO 0	/* claim: free */
#define FREED 1	/* state: sealed, nobody's */
#define OLD 2
#define NEW 3
#define LOST 4

byte claim = OLD, state = OLD;
bool entered, cleared, old_left;
byte losses = 0;

inline look_at_claim(me)
{
	seen = claim;
	mine = seen == me || seen == ZERO || seen == LOST
}

/* check_slot() */
inline look(me)
{
#if defined(NO_LOOK)
	mine = true;
#elif defined(CLAIM_DECIDES)
	look_at_claim(me);
#else
	seen = state;
	if
	:: seen == LOST -> look_at_claim(me)
	:: else -> mine = seen == me
	fi;
#endif
	seen = 0
}

/* assert_own() */
inline again(line, me, says_whose)
{
	if
	:: mine && line != me ->
#ifndef LOOK_ONCE
		look(me);
#endif
		if
		:: mine -> d_step { assert(!(entered && me == OLD && says_whose)); line = me }
		:: else
		fi
	:: else
	fi
}

/* assert_slot() */
inline beat(me)
{
	look(me);
	again(claim, me, false);
	again(state, me, true)
}

inline beat_of_old()
{
	late = cleared;
	beat(OLD);
	assert(!(late && mine && losses == 0));
	late = false
}

active proctype old()
{
	byte n = 0, seen;
	bool mine = true, late;

	do
	:: n < BEATS && mine ->
#ifdef WHOLE_BEATS
		atomic { beat_of_old() };
#else
		beat_of_old();
#endif
		n++
	:: n == BEATS || !mine -> break
	od;
	old_left = true
}

active proctype clear()
{
#ifdef CLAIM_FIRST
	claim = ZERO;
	state = FREED;
#else
	state = FREED;
	claim = ZERO;
#endif
	cleared = true
}

active proctype newcomer()
{
	byte n = 0, seen;
	bool mine = true;

end:	d_step { claim == ZERO -> claim = NEW };
	seen = state;
	if
	:: seen != FREED -> goto refused	/* that boot beats */
	:: true		/* it is free, or does not beat */
	fi;
	d_step { state = NEW; entered = true; seen = 0 };
	do
	:: n < BEATS -> beat(NEW); assert(mine); n++
	:: n == BEATS -> break
	od;
	(old_left && losses == LOSSES);
	beat(NEW);
	assert(claim == NEW && state == NEW);
refused:
	skip
}

active proctype memory()
{
	do
	:: losses < LOSSES -> d_step { claim = LOST; losses++ }
	:: losses < LOSSES -> d_step { state = LOST; losses++ }
	:: losses < LOSSES -> losses++		/* it does not come */
	:: losses == LOSSES -> break
	od
}

/* If nobody came to take it. */
active proctype after()
{
end:	atomic {
		old_left && cleared && losses == LOSSES && !entered && claim != NEW ->
		assert(claim != OLD || state != FREED)
	}
}
