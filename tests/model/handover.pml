/*
 * handover.pml - rule 7.6: a process hands its slot over to another one of its
 * host, and takes it back when that one dies, fails or gives up.  Mirrors
 * takeover.c, backend.c (look_at_hosts) and backend/main.c (hand_over).
 *
 * One slot with its three locks (take-over, disk, slot).  `old` serves; NEWS
 * newcomers ask, and each may die, fail or give up at any step.  The locks of a
 * process that dies become free one after the other, in any order.
 *
 * Holds: never two serve; when nothing moves any more somebody serves, unless
 * `old` has died, or a newcomer after it had confirmed that it serves (it gave
 * the take-over lock up): then an operator starts another one.  Once a newcomer that
 * served was stopped in order, `old` does not serve again.
 *
 * Bounds: NEWS, 2 or 3.
 *
 * Switches, each of which must break it:
 *   NO_WATCH   the old process leaves when it has handed over
 *   STATE_ONLY it takes LIVE for a sign of life, and looks for no beat
 *   LOCK_ONLY  the same with a slot's lock that is held: it may be the last one
 *              that a dying process gives up
 *   ANY_BEAT   the beat may be that of a second newcomer, which has not given the
 *              take-over lock up
 *   ONE_LOOK   it does not look again when it has the disk's lock
 *   ONE_TRY    it leaves when it finds a lock held that a dying process had
 */
#ifndef NEWS
#define NEWS 2
#endif

#define NOBODY 255
#define OLD NEWS

#define LIVE 1
#define HANDOVER 2
#define GONE 3

byte takeover = NOBODY, disk = OLD, slot = OLD;	/* who has the lock */
byte state = LIVE, incarnation = 1;
byte request = 0;		/* the incarnation that is asked to hand over */
bool serves[NEWS + 1], crashed = false, stopped = false;

#if NEWS == 2
#define SERVING (serves[0] + serves[1] + serves[2])
#else
#define SERVING (serves[0] + serves[1] + serves[2] + serves[3])
#endif

/* The counter of the slot moves. */
#define BEATS (SERVING == 1)

inline publish(me)
{
	d_step {
		incarnation++;
		mine = incarnation;
		state = LIVE;
		serves[me] = true;
		assert(SERVING == 1)
	}
}

/* Its descriptors are closed one after the other. */
inline drop_all(me)
{
	serves[me] = false;
	do
	:: takeover == me -> takeover = NOBODY
	:: disk == me -> disk = NOBODY
	:: slot == me -> slot = NOBODY
	:: takeover != me && disk != me && slot != me -> break
	od
}

proctype newcomer(byte me)
{
	byte mine;

	if
	:: atomic { takeover == NOBODY -> takeover = me }
	:: goto gone			/* refused: somebody asks already */
	fi;
	request = incarnation;
	if
	:: slot == NOBODY
	:: goto withdraw		/* waited for long enough */
	:: goto gone			/* dies */
	fi;
	if
	:: atomic { disk == NOBODY -> disk = me }
	:: goto gone
	fi;
	if
	:: atomic { slot == NOBODY -> slot = me }
	:: slot != NOBODY -> goto gone
	:: goto gone
	fi;
	if :: publish(me) :: goto gone fi;
	if :: takeover = NOBODY :: goto gone fi;
	if
	:: true ->
end:		false			/* serves for ever */
	:: crashed = true; goto gone	/* dies later: a crash like any other */
	:: d_step { serves[me] = false; state = GONE; stopped = true }
	   goto gone			/* is stopped in order */
	fi;
withdraw:
	request = 0;
gone:	drop_all(me)
}

active proctype old()
{
	byte mine = 1, seen;
	bool mortal, live, left;

	serves[OLD] = true;
	if :: mortal = false :: mortal = true fi;
end:	do
	:: request == mine && takeover != NOBODY ->
		serves[OLD] = false;
		if :: true :: mortal -> goto died fi;
		disk = NOBODY;
		state = HANDOVER;
		if :: true :: mortal -> goto died fi;
		slot = NOBODY;
#ifdef NO_WATCH
		goto done;
#endif
again:	skip;	/* not before the one that asked is gone, or has done it */
		d_step {
			takeover == NOBODY -> seen = incarnation; live = state == LIVE;
			left = state == GONE && seen > mine
		};
		if :: left -> goto done :: else fi;
#if defined(STATE_ONLY)
		if :: live && seen > mine -> goto done :: else fi;
#elif defined(LOCK_ONLY)
		if :: live && seen > mine && slot != NOBODY -> goto done :: else fi;
#elif defined(ANY_BEAT)
		if :: state == LIVE && incarnation > mine && BEATS -> goto done :: else fi;
#else
		/* who was live then, and beats now, has confirmed it */
		if :: live && seen > mine && seen == incarnation && BEATS -> goto done :: else fi;
#endif
#ifdef ONE_TRY
		if :: atomic { disk == NOBODY -> disk = OLD } :: disk != NOBODY -> goto done fi;
#else
		if :: atomic { disk == NOBODY -> disk = OLD } :: disk != NOBODY -> goto again fi;
#endif
		if
		:: atomic { slot == NOBODY -> slot = OLD }
		:: slot != NOBODY -> disk = NOBODY; goto again
		fi;
		/* with the disk's lock nobody else comes to serve, or stops */
#ifndef ONE_LOOK
		if
		:: state == GONE && incarnation > mine -> goto done
		:: else
		fi;
#endif
		assert(!(state == GONE && incarnation > mine));
		publish(OLD)
	:: mortal -> goto died
	od;
died:	crashed = true;
done:	drop_all(OLD)
}

init {
	byte i = 0;

	atomic {
		do
		:: i < NEWS -> run newcomer(i); i++
		:: i == NEWS -> break
		od
	};
	timeout;
	assert(SERVING == 1 || crashed || stopped)
}
