/*
 * late.pml - rule 9: while a write that has timed out is not answered, new
 * writes are refused; its late answer is read at a beat when no thread waits on
 * the queue.  Mirrors queue.c (check_io), parts.c (part_timeout, cbd_part_end),
 * lead.c (cbd_queue_await_answer_and_unlock, cbd_reap_late_unlocks) and waiters.c
 * (cbd_wake_one).
 *
 * One queue.  A user writes one block again and again, each time when the write
 * before has returned, acknowledged or timed out; what is refused is tried
 * again.  `async` submits a read and never asks for it, `other` executes one.
 * The handler executes and answers them in any order.  One thread leads, as
 * in leader.pml; it copies the payload of a read without the lock.  Statements
 * under the queue's lock are one step.
 *
 * Holds: a write is never executed after a newer one; all writes are let
 * through in the end, and whoever waits for an answer gets it.
 *
 * Bounds: WRITES of the user, TIMEOUTS.
 *
 * Switches, each of which must break it:
 *   NO_FENCE   new writes are let through while one that timed out is out
 *   NO_LATE    late answers are read only by those who wait for theirs
 *   NO_WAKE    the heartbeat wakes nobody when it has led
 *   LEAD_TOO   the heartbeat reads although another thread leads
 */
#ifndef WRITES
#define WRITES 3
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 2
#endif
#define ASYNC WRITES		/* requests: the writes, then two reads */
#define OTHER (WRITES + 1)
#define R (WRITES + 2)	/* at most 5 */
#define NONE R
#define BIT(r) (1 << (r))

mtype = { unused, waits, woken, completed };

byte sent = 0;			/* published and not executed */
byte answer[R], n_answers = 0;	/* CEs */
byte count = 0;			/* of CEs that were read */
byte pending = 0;		/* whose users still want the answer */
byte done = 0;			/* returned to the user */
byte timed_out = 0, n_timeouts = 0;
bool leader;
byte copies = NONE;		/* the read whose payload the leader copies, without the lock */
mtype follower[2] = unused;	/* waiters: the user, other */
byte waited[2];			/* the requests of these */
byte disk = 0;			/* the number of the last write, from 1 */

#define IS_DONE(r) (done & BIT(r))
#define MAY_READ (count < n_answers)
#ifdef NO_FENCE
#define MAY_WRITE true
#else
#define MAY_WRITE (timed_out == 0)
#endif
#ifdef LEAD_TOO
#define MAY_LEAD true
#else
#define MAY_LEAD (!leader)
#endif

inline submit(r)
{
	sent = sent | BIT(r);
	pending = pending | BIT(r)
}

/* The user of R has its result: one that sleeps is woken, and has left the list. */
inline complete(r)
{
	pending = pending & ~BIT(r);
	done = done | BIT(r);
	if
	:: follower[0] == waits && waited[0] == r -> follower[0] = completed
	:: follower[1] == waits && waited[1] == r -> follower[1] = completed
	:: else
	fi
}

inline wake_one()
{
	if
	:: !leader && follower[0] == waits -> follower[0] = woken
	:: !leader && follower[1] == waits -> follower[1] = woken
	:: else
	fi
}

inline finish(r)
{
	if
	:: pending & BIT(r) -> complete(r)
	:: else -> timed_out--
	fi
}

/* Read what is there, by the leader: until a copy has to be made. */
inline gather()
{
	assert(copies == NONE);	/* one thread at a time */
	do
	:: copies == NONE && MAY_READ ->
		copies = answer[count];
		count++;
		if
		:: copies >= WRITES && (pending & BIT(copies))
		:: else -> finish(copies); copies = NONE
		fi
	:: copies != NONE || !MAY_READ -> break
	od
}

/* Until R is done. */
inline reap_until(me, r)
{
	do
	:: atomic { !IS_DONE(r) && !leader -> leader = true; gather() };
		do
		:: atomic { IS_DONE(r) && copies == NONE -> leader = false; wake_one() };
			break
		:: atomic { copies != NONE -> finish(copies); copies = NONE; gather() }
		:: atomic { !IS_DONE(r) && copies == NONE && MAY_READ -> gather() }
		od;
		break
	:: d_step { !IS_DONE(r) && leader -> waited[me] = r; follower[me] = waits };
		if
		:: d_step { follower[me] == woken -> follower[me] = unused; waited[me] = 0 }
		:: d_step { follower[me] == completed -> follower[me] = unused; waited[me] = 0 };
			break
		fi
	:: atomic { IS_DONE(r) -> wake_one() };
		break
	od
}

active proctype user()
{
	byte next = 0;

	do
	:: next == WRITES -> break
	:: d_step { next < WRITES && MAY_WRITE -> submit(next) };
		reap_until(0, next);
		next++
	od
}

active proctype async()
{
	d_step { submit(ASYNC) }
}

active proctype other()
{
	d_step { submit(OTHER) };
	reap_until(1, OTHER)
}

#define ANSWER(r) d_step { \
	(sent & BIT(r)) -> \
	sent = sent & ~BIT(r); \
	if :: r < WRITES -> assert(disk <= r); disk = r + 1 :: else fi; \
	answer[n_answers] = r; \
	n_answers++ \
}

active proctype handler()
{
end:	do
	:: ANSWER(0)
	:: ANSWER(1)
	:: ANSWER(2)
	:: ANSWER(3)
#if R > 4
	:: ANSWER(4)
#endif
	od
}

#define TIME_OUT(r) d_step { \
	(pending & BIT(r)) && n_timeouts < TIMEOUTS && copies != r -> \
	complete(r); \
	timed_out++; \
	n_timeouts++ \
}

#ifdef NO_WAKE
#define WAKE skip
#else
#define WAKE wake_one()
#endif

inline leave_lead()
{
	if
	:: copies == NONE -> leader = false; leads = false; WAKE
	:: else
	fi
}

/* What a beat that finds nothing does is left out. */
active proctype heartbeat()
{
	bool leads;

end:	do
	:: n_timeouts < TIMEOUTS -> n_timeouts++	/* one that does not come */
	:: TIME_OUT(0)
	:: TIME_OUT(1)
	:: TIME_OUT(2)
	:: TIME_OUT(3)
#if R > 4
	:: TIME_OUT(4)
#endif
#ifndef NO_LATE
	:: atomic { timed_out > 0 && MAY_READ && MAY_LEAD ->
			leader = true;
			leads = true;
			gather();
			leave_lead()
		};
		do
		:: atomic { leads -> finish(copies); copies = NONE; gather(); leave_lead() }
		:: !leads -> break
		od
#endif
#ifndef NO_WAKE
	:: d_step { !leader && (follower[0] == waits || follower[1] == waits) -> wake_one() }
#endif
	od
}
