/*
 * claim-recheck.pml - the timed claim again, mended: an owner looks at the line
 * every BEAT ticks and stops when it is not its own; a claimer may sleep for
 * any time between look and store, and waits WAIT ticks after that.
 *
 * Holds only as long as an owner keeps its beat: never two owners.
 *
 * Bounds: BEAT, WAIT; END.
 *
 * Switches, each of which must break it:
 *   OWNER_SLEEPS  the owner may be paused as well
 *   WAIT at or below BEAT
 */
#ifndef BEAT
#define BEAT 2
#endif
#ifndef WAIT
#define WAIT 3
#endif
#ifndef END
#define END 16
#endif

mtype = { idle, saw_free, waiting, owner, lost };

byte line = 0, now = 0, n_owners = 0;
mtype state[3] = idle;
byte since[3];

#ifdef OWNER_SLEEPS
#define IN_BOUNDS(h) true
#else
#define IN_BOUNDS(h) (state[h] != owner || now - since[h] < BEAT)
#endif
#define WAITED(h) (state[h] == waiting && now - since[h] > WAIT)

active proctype clock()
{
	do
	:: atomic { now < END && IN_BOUNDS(1) && IN_BOUNDS(2) -> now++ }
	:: now == END -> break
	od
}

inline becomes(what)
{
	state[me] = what;
	since[me] = now
}

proctype host(byte me)
{
	do
	:: atomic { state[me] == idle && line == 0 -> becomes(saw_free) }
	:: atomic { state[me] == saw_free -> line = me; becomes(waiting) }
	:: atomic { WAITED(me) && line == me ->
		becomes(owner);
		n_owners++;
		assert(n_owners == 1) }
	:: atomic { WAITED(me) && line != me -> becomes(lost) }
	:: atomic { state[me] == owner && line == me -> since[me] = now }
	:: atomic { state[me] == owner && line != me -> becomes(lost); n_owners-- }
	:: state[me] == lost || now == END -> break
	od
}

init { atomic { run host(1); run host(2) } }
