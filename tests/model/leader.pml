/*
 * leader.pml - rule 11: of the threads that wait for completions one leads and
 * polls for all; whoever leaves wakes one of those that still wait.  Mirrors
 * reap.c (cbd_reap_until, cbd_wake_one).
 *
 * Holds: every thread gets its completion (else a hang).
 *
 * Bounds: THREADS, 2 or 3.
 *
 * Switch, which must break it:
 *   WAKE_NONE  who leaves wakes none
 */
#ifndef THREADS
#define THREADS 3
#endif

bool lock = false;
byte leader = 0, arrived = 0, consumed = 0;
bool done[THREADS + 1], asleep[THREADS + 1], waits[THREADS + 1];

#define LOCK atomic { !lock -> lock = true }
#define UNLOCK lock = false

#ifdef WAKE_NONE
#define WAKES false
#else
#define WAKES (leader == 0)
#endif

active proctype backend()
{
	do
	:: arrived < THREADS -> arrived++
	:: else -> break
	od
}

inline wake_one()
{
	d_step {
		k = 1;
		do
		:: k <= THREADS && !(waits[k] && asleep[k]) -> k++
		:: else -> break
		od;
		if
		:: k <= THREADS -> asleep[k] = false
		:: else
		fi;
		k = 0
	}
}

proctype waiter(byte me)
{
	byte k;

	LOCK;
	waits[me] = true;
	do
	:: done[me] -> break
	:: !done[me] && leader == 0 ->
		leader = me;
		UNLOCK;
		(arrived > consumed);
		LOCK;
		/* completions come in any order */
		select(k : 1 .. THREADS);
		if
		:: !done[k] -> done[k] = true; consumed++; asleep[k] = false
		:: else
		fi;
		leader = 0;
		k = 0
	:: !done[me] && leader != 0 ->
		asleep[me] = true;
		UNLOCK;
		(!asleep[me]);
		LOCK
	od;
	waits[me] = false;
	if
	:: WAKES -> wake_one()
	:: else
	fi;
	UNLOCK
}

init {
	byte i = 1;

	atomic {
		do
		:: i <= THREADS -> run waiter(i); i++
		:: else -> break
		od
	}
}
