/*
 * crash.pml - rules 3, 6 and 7.3: a backend that dies at any step, its
 * successor under a new epoch, resubmission, late stores of a zombie, leaving
 * an epoch.
 *
 * Holds: every request is answered once, and in the end (no hang); a CE answers
 * what is in flight; nothing is acknowledged that was not executed, and nothing
 * executed after it was acknowledged.
 *
 * Bounds: R requests, D in flight, N slots, CRASHES, and with LEAVE: LEAVES.
 * More of the environment:
 *   ZOMBIE    a backend that died stores one more CE of its epoch later, of what
 *             it has executed
 *   LEAVE     the blkdev asks for a new epoch when nothing moves, and when a
 *             later CE is there but not the next one
 *   LOSSES=n  lines of the CE ring that are lost, at any moment (rule 6)
 *
 * Switches, each of which must break it:
 *   ZOMBIE without LEAVE      a late CE destroys one of the new epoch
 *   LEAVE_NO_DRAIN (with LEAVE, EAGER)  the new epoch is granted while requests
 *                             are executed; EAGER: the blkdev leaves unprovoked
 *   LEAVE_NO_DRAIN (with LEAVE, LOSSES)  the same when a later CE makes it leave
 *   LOSSES without LEAVE      a CE that was lost is waited for for ever
 *   KEEP_CURSOR               the CE cursor is kept across epochs
 *   EPOCH_REUSED              the successor grants the same epoch again
 *   EPOCH_IGNORED (with ZOMBIE)  CEs are told apart by position alone
 */
#ifndef R
#define R 3
#endif
#ifndef D
#define D 2
#endif
#ifndef N
#define N 2
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef LEAVES
#define LEAVES 4
#endif
#ifndef LOSSES
#define LOSSES 0
#endif
#ifndef EAGER_LEAVES
#define EAGER_LEAVES 1
#endif
#define EPOCHS 8
#define BIT(r) (1 << (r))

typedef entry { byte epoch; byte position; byte request };

entry se[N], ce[N];
byte grant_epoch = 1;	/* written by the backend only */
byte life = 0;		/* tells epochs apart that are reused */
byte leave_line = 0;	/* written by the blkdev: the epoch that it leaves */
byte ran = 0;		/* executed at least once */
byte acked = 0, n_done = 0, crashes = 0, leaves = 0, losses = 0;

#ifdef EPOCH_IGNORED
#define OF_MY_EPOCH (ce[count % N].epoch != 0)
#else
#define OF_MY_EPOCH (ce[count % N].epoch == epoch)
#endif
#define HAS_CE(c) (ce[(c) % N].position == (c) && ce[(c) % N].epoch == epoch)
#if N > 2
#define HAS_LATER (HAS_CE(count + 1) || HAS_CE(count + 2))
#else
#define HAS_LATER HAS_CE(count + 1)
#endif
#ifdef KEEP_CURSOR
#define FIRST_CE count
#else
#define FIRST_CE 0
#endif
#ifdef EPOCH_REUSED
#define NEW_EPOCH (life != my_life)
#define NEXT(epoch) (epoch)
#else
#define NEW_EPOCH (grant_epoch != epoch)
#define NEXT(epoch) (epoch + 1)
#endif
#ifdef LEAVE_NO_DRAIN
#define DRAINED true
#else
#define DRAINED (taken == 0)
#endif

inline send_se(what)
{
	se[position % N].request = what;
	se[position % N].position = position;
	se[position % N].epoch = epoch;
	position++
}

inline send_ce(epoch_of, number, what)
{
	ce[number % N].request = what;
	ce[number % N].position = number;
	ce[number % N].epoch = epoch_of
}

active proctype blkdev()
{
	byte epoch = 1, my_life = 1, position = 0, count = 0;
	byte next = 0, in_flight = 0, n_in_flight = 0, r;

	do
	:: next < R && n_in_flight < D ->
		in_flight = in_flight | BIT(next);
		n_in_flight++;
		/* a step of its own: the epoch may end in between */
		d_step { send_se(next); next++ }
	:: d_step {
		ce[count % N].position == count && OF_MY_EPOCH ->
		r = ce[count % N].request;
		assert((in_flight & BIT(r)) && (ran & BIT(r)));
		in_flight = in_flight & ~BIT(r);
		acked = acked | BIT(r);
		n_in_flight--;
		n_done++;
		count++;
		r = 0
	}
	:: NEW_EPOCH ->
		d_step { epoch = grant_epoch; my_life = life; position = 0; count = FIRST_CE; r = 0 };
		do
		:: r < R && (in_flight & BIT(r)) -> d_step { send_se(r); r++ }
		:: r < R && !(in_flight & BIT(r)) -> r++
		:: r == R -> r = 0; break
		od
#ifdef LEAVE
#if LOSSES > 0
	:: !HAS_CE(count) && HAS_LATER && leave_line != epoch && leaves < LEAVES ->
		leave_line = epoch;
		leaves++
#endif
#ifdef EAGER
	:: n_in_flight > 0 && leaves < EAGER_LEAVES && leave_line != epoch ->
		leave_line = epoch;
		leaves++
#endif
	:: timeout ->
		if
		:: leave_line != epoch && leaves < LEAVES -> leave_line = epoch; leaves++
		:: else -> assert(false)
		fi
#endif
	:: n_done == R -> break
	od
}

proctype zombie(byte epoch; byte count; byte r)
{
	if
	:: d_step { send_ce(epoch, count, r) }
	:: skip
	fi
}

proctype backend(byte epoch)
{
	byte fetched = 0, count = 0, taken = 0, executed = 0, r;

	d_step { grant_epoch = epoch; life++ };
	do
	:: d_step {
		se[fetched % N].epoch == epoch && se[fetched % N].position == fetched ->
		r = se[fetched % N].request;
		taken = taken | BIT(r);
		fetched++;
		r = 0
	}
	:: taken != 0 ->
		r = 0;
		do
		:: r < R - 1 -> r++
		:: break
		od;
		if
		:: (taken & BIT(r)) && !(executed & BIT(r)) ->
			d_step { assert(!(acked & BIT(r))); executed = executed | BIT(r); ran = ran | BIT(r) }
		:: (taken & BIT(r)) && (executed & BIT(r)) ->
			d_step {
				send_ce(epoch, count, r);
				count++;
				taken = taken & ~BIT(r);
				executed = executed & ~BIT(r)
			}
		:: else
		fi;
		r = 0
	:: crashes < CRASHES && epoch < EPOCHS - 1 ->
		crashes++;
#ifdef ZOMBIE
		if
		:: executed != 0 ->
			r = 0;
			do
			:: r < R - 1 && !(executed & BIT(r)) -> r++
			:: (executed & BIT(r)) -> break
			od;
			run zombie(epoch, count, r)
		:: skip
		fi;
#endif
		run backend(NEXT(epoch));
		break
#ifdef LEAVE
	:: leave_line == epoch && epoch < EPOCHS - 1 && DRAINED ->
		d_step { epoch++; fetched = 0; count = 0; grant_epoch = epoch; life++ }
#endif
	:: n_done == R -> break
	od
}

#if LOSSES > 0
/* As a whole: no epoch has the number 0. */
active proctype memory()
{
	byte s;

	do
	:: losses < LOSSES ->
		s = 0;
		do
		:: s < N - 1 -> s++
		:: break
		od;
		if
		:: d_step { ce[s].epoch != 0 -> ce[s].epoch = 0; losses++ }
		:: else
		fi;
		s = 0
	:: break
	od
}
#endif

init { run backend(1) }
