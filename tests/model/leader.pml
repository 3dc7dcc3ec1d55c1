/*
 * leader.pml - rule 11: of the threads that wait for completions one leads and
 * polls for all.  The others are awake for a while, then sleep; a leader that would
 * yield gives the lead away and is awake.  Who leaves wakes one that sleeps, unless
 * one is awake.  One that submits may complete the request of another (with an error)
 * and find its own done: it does not wait, and wakes all the same.  Mirrors lead.c
 * (cbd_queue_await_answer_and_unlock, stay_awake_unlocks, sleep_unlocks) and waiters.c
 * (cbd_wake_one).
 *
 * Holds: every thread gets its completion (else a hang).
 *
 * Bounds: THREADS, 2 or 3; each is awake once as a follower and gives the lead away
 * once, where the program counts time.
 *
 * Switches, each of which must break it:
 *   WAKE_NONE     who leaves wakes none
 *   AWAKE_SLEEPS  one that was awake sleeps and does not look whether somebody leads
 *   SUBMIT_LEAVES one that submits and does not wait wakes none
 *   AWAKE_FORGOT  one that was answered while it was awake still counts as awake
 */
#ifndef THREADS
#define THREADS 3
#endif

mtype = { ASLEEP, AWAKE, WOKEN, DONE };

bool lock = false;
byte leader = 0, arrived = 0, consumed = 0, n_awake = 0;
bool done[THREADS + 1];
mtype word[THREADS + 1] = WOKEN;

#define LOCK atomic { !lock -> lock = true }
#define UNLOCK lock = false

#ifdef WAKE_NONE
#define WAKES false
#else
#define WAKES (leader == 0 && n_awake == 0)
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
		:: k <= THREADS && word[k] != ASLEEP -> k++
		:: else -> break
		od;
		if
		:: k <= THREADS -> word[k] = WOKEN
		:: else
		fi;
		k = 0
	}
}

/* Completions come in any order. */
inline complete_one()
{
	select(k : 1 .. THREADS);
	atomic {
		if
		:: !done[k] ->
			done[k] = true;
			consumed++;
			if
			:: word[k] == ASLEEP -> word[k] = DONE
			:: word[k] == AWAKE ->
				word[k] = DONE;
#ifndef AWAKE_FORGOT
				n_awake--
#endif
			:: else
			fi
		:: else
		fi;
		k = 0
	}
}

inline stay_awake()
{
	word[me] = AWAKE;
	n_awake++;
	UNLOCK;
	/* it yields: others do what they like */
	if
	:: word[me] == DONE -> goto left
	:: LOCK
	fi;
	if
	:: word[me] == AWAKE -> word[me] = WOKEN; n_awake--
	:: else
	fi
}

inline sleep()
{
	word[me] = ASLEEP;
	UNLOCK;
	(word[me] != ASLEEP);
	if
	:: word[me] == DONE -> goto left
	:: else
	fi;
	LOCK
}

proctype waiter(byte me)
{
	byte k;
	bool patience = true, yields = true;

	LOCK;
	do
	:: done[me] -> break
	:: !done[me] && leader == 0 ->
		leader = me;
		UNLOCK;
		if
		:: (arrived > consumed || done[me]) ->
			/* its sleep has a bound: it sees what others completed */
			LOCK;
			if
			:: arrived > consumed -> complete_one()
			:: else
			fi;
			leader = 0
		:: yields ->
			yields = false;
			LOCK;
			leader = 0;
			stay_awake()
		fi
	:: !done[me] && leader != 0 && patience ->
		patience = false;
		stay_awake();
#ifdef AWAKE_SLEEPS
		if
		:: !done[me] -> sleep()
		:: else
		fi
#endif
	:: !done[me] && leader != 0 && !patience -> sleep()
	od;
	if
	:: WAKES -> wake_one()
	:: else
	fi;
	UNLOCK;
left:
	skip
}

active proctype submitter()
{
	byte k;

	LOCK;
	complete_one();
#ifndef SUBMIT_LEAVES
	if
	:: WAKES -> wake_one()
	:: else
	fi;
#endif
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
