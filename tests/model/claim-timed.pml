/*
 * claim-timed.pml - why rule 1 has no timed claim: one line for all hosts; see
 * it free, store the own name, wait, look again.  Time is discrete; a store is
 * visible after PUSH ticks at the latest.
 *
 * Holds only as long as nobody sleeps between look and store: never two owners.
 *
 * Bounds: PUSH, WAIT, PAUSE between the look and the store, in ticks; END.
 *
 * Switch, which must break it:
 *   PAUSE above WAIT - PUSH
 */
#ifndef PUSH
#define PUSH 1
#endif
#ifndef WAIT
#define WAIT 2
#endif
#ifndef PAUSE
#define PAUSE 0
#endif
#ifndef END
#define END 14
#endif

mtype = { idle, saw_free, stored, waiting, owner, lost };

byte line = 0;		/* in memory: 0 free, else its owner */
byte now = 0, n_owners = 0;
mtype state[3] = idle;
byte since[3];

/* Time does not pass while somebody would break a bound that it keeps. */
#define IN_BOUNDS(h) ((state[h] != saw_free || now - since[h] < PAUSE) && \
		      (state[h] != stored || now - since[h] < PUSH))
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
	:: atomic { state[me] == saw_free -> becomes(stored) }
	:: atomic { state[me] == stored -> line = me; becomes(waiting) }
	:: atomic { WAITED(me) && line == me ->
		becomes(owner);
		n_owners++;
		assert(n_owners == 1) }
	:: atomic { WAITED(me) && line != me -> becomes(lost) }
	:: state[me] == lost || now == END -> break
	od
}

init { atomic { run host(1); run host(2) } }
