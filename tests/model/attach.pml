/*
 * attach.pml - rules 1, 2 and 4: request, reply and grant of one channel, with
 * deaths of both sides at any step and late stores of a backend that was
 * replaced.  (adopt.pml follows the code closer; this one has the zombies.)
 *
 * Blkdevs 1 and 2 use slot 0 one after the other, 3 uses slot 1.
 *
 * Holds: no two living blkdevs use the channel at once; the epoch that a blkdev
 * stores into is not granted to another; the channel is free in the end (else
 * a hang).
 *
 * Bounds: CRASHES of backends, DEATHS of blkdevs.  More of the environment:
 *   ATTACH_TWICE  a blkdev attaches again after it has detached
 *   ZOMBIE        a crashed backend stores one of its lines once more, later;
 *                 living ones store theirs again when they find them changed,
 *                 and blkdevs ignore what an older backend wrote
 *
 * Switches, each of which must break it:
 *   NO_ECHO        the reply is taken without a look at whom it answers
 *   TIMEOUT_FREES  blkdev 1 is taken for dead while it lives
 *   NO_REASSERT    (with ZOMBIE) lines are stored once
 */
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif

#define NONE 0
#define ATTACH 1
#define DETACH 2
#define GRANTED 1
#define REFUSED 2
#define DETACHED 3
#define SLOT(b) ((b) == 3 -> 1 : 0)

typedef request_line { byte incarnation; byte sequence; byte state };
typedef reply_line { byte backend; byte incarnation; byte sequence; byte state; byte epoch };
typedef grant_line { byte backend; byte incarnation; byte epoch; bool granted };

request_line request[2];
reply_line reply[2];
grant_line grant;

bool alive[4], over[4];
byte using[4];		/* the epoch that a blkdev stores into */
byte deaths = 0, crashes = 0;
bool presumed = false;	/* blkdev 1 is taken for dead */

#define ALL_OVER (over[1] && over[2] && over[3])
#define BOTH(a, b) (alive[a] && using[a] && alive[b] && using[b])

/* ------------------------------------------------------------------ blkdev */

#ifdef NO_ECHO
#define FOR_ME true
#else
#define FOR_ME (reply[slot].incarnation == me && reply[slot].sequence == sequence)
#endif

inline put_request(what)
{
	d_step {
		request[slot].incarnation = me;
		request[slot].sequence = sequence;
		request[slot].state = what
	}
}

#define DIES deaths < DEATHS -> deaths++; goto die

proctype blkdev(byte me)
{
	byte slot, sequence = 0, answer, epoch, newest = 0, rounds = 0;

	slot = SLOT(me);
	if
	:: me == 2 -> (over[1] || presumed)
	:: else
	fi;
	alive[me] = true;
again:
	sequence++;
	put_request(ATTACH);
	do
	:: atomic {
		reply[slot].state != NONE && reply[slot].state != DETACHED &&
		reply[slot].backend >= newest && FOR_ME ->
		answer = reply[slot].state;
		epoch = reply[slot].epoch;
		newest = reply[slot].backend
	   };
	   break
	:: DIES
	od;
	if
	:: answer == REFUSED -> goto none
	:: answer == GRANTED ->
		using[me] = epoch;
		do
		:: atomic {
			grant.incarnation == me && grant.granted && grant.epoch != using[me] &&
			grant.backend >= newest ->
			using[me] = grant.epoch;
			newest = grant.backend
		   }
		:: atomic {
			using[me] != 0 ->	/* an SE is stored */
			assert(!BOTH(1, 2) && !BOTH(1, 3) && !BOTH(2, 3));
			assert(!(grant.granted && grant.epoch == using[me] && grant.incarnation != me))
		   };
		   break
		:: DIES
		od
	fi;
	using[me] = 0;
	sequence++;
	put_request(DETACH);
	do
	:: atomic { reply[slot].state == DETACHED && FOR_ME && reply[slot].backend >= newest ->
		newest = reply[slot].backend };
	   break
	:: DIES
	od;
#ifdef ATTACH_TWICE
	if
	:: rounds == 0 -> rounds = 1; goto again
	:: skip
	fi;
#endif
none:
	put_request(NONE);
die:
	atomic { using[me] = 0; alive[me] = false; over[me] = true }
}

/* ----------------------------------------------------------------- backend */

inline put_reply_line(d, by, whose, number, what, which)
{
	reply[d].backend = by;
	reply[d].incarnation = whose;
	reply[d].sequence = number;
	reply[d].state = what;
	reply[d].epoch = which
}

inline put_grant_line(by, whose, which, is_granted)
{
	grant.backend = by;
	grant.incarnation = whose;
	grant.epoch = which;
	grant.granted = is_granted
}

proctype zombie_reply(byte d; byte by; byte whose; byte number; byte what; byte which)
{
	d_step { put_reply_line(d, by, whose, number, what, which) }
}

proctype zombie_grant(byte by; byte whose; byte which; bool is_granted)
{
	d_step { put_grant_line(by, whose, which, is_granted) }
}

inline put_reply(what, which)
{
	d_step {
		own[slot].backend = me;
		own[slot].incarnation = incarnation;
		own[slot].sequence = sequence;
		own[slot].state = what;
		own[slot].epoch = which;
		put_reply_line(slot, me, incarnation, sequence, what, which)
	}
}

inline put_grant(whose, is_granted)
{
	d_step { owner = whose; granted = is_granted; put_grant_line(me, whose, epoch, is_granted) }
}

#define DEAD(b) (!alive[b] || (b == 1 && presumed))
#define GONE (granted && owner && (DEAD(owner) || request[SLOT(owner)].incarnation != owner || \
	      request[SLOT(owner)].state == NONE))
#define IN_USE (owner == 1 && alive[1] && !presumed && request[0].incarnation == 1 && \
		request[0].state != NONE)
#define ASKED(d) (request[d].state != NONE && \
		  !(own[d].incarnation == request[d].incarnation && \
		    own[d].sequence == request[d].sequence))
#define GRANT_LOST (grant.backend != me && \
		    (grant.incarnation != owner || grant.epoch != epoch || grant.granted != granted))

inline reassert(d)
{
	atomic {
		reply[d].backend < own[d].backend ||
		(reply[d].backend == own[d].backend &&
		 (reply[d].incarnation != own[d].incarnation ||
		  reply[d].sequence != own[d].sequence || reply[d].state != own[d].state)) ->
		put_reply_line(d, own[d].backend, own[d].incarnation, own[d].sequence,
			       own[d].state, own[d].epoch)
	}
}

inline read_own(d)
{
	own[d].backend = reply[d].backend;
	own[d].incarnation = reply[d].incarnation;
	own[d].sequence = reply[d].sequence;
	own[d].state = reply[d].state;
	own[d].epoch = reply[d].epoch
}

#define MAY_CRASH if :: crashes < CRASHES -> goto crash :: skip fi

inline serve(d)
{
	atomic {
		ASKED(d) ->
		slot = d;
		incarnation = request[d].incarnation;
		sequence = request[d].sequence;
		state = request[d].state
	};
	if
	:: state == ATTACH && !granted ->
		epoch++;
		put_grant(incarnation, true);
		MAY_CRASH;
		put_reply(GRANTED, epoch)
	/* the one before died between grant and reply */
	:: state == ATTACH && granted && owner == incarnation -> put_reply(GRANTED, epoch)
	:: state == ATTACH && granted && owner != incarnation -> put_reply(REFUSED, 0)
	:: state == DETACH && granted && owner == incarnation ->
		put_grant(0, false);
		MAY_CRASH;
		put_reply(DETACHED, 0)
	:: state == DETACH && !(granted && owner == incarnation) -> put_reply(DETACHED, 0)
	fi;
	d_step { slot = 0; incarnation = 0; sequence = 0; state = 0 }
}

proctype server(byte me)
{
	byte slot, incarnation, sequence, state, owner, epoch;
	bool granted;
	reply_line own[2];

	/* rebuilt from the own lines; what was granted is granted anew */
	d_step {
		owner = grant.incarnation;
		epoch = grant.epoch;
		granted = grant.granted;
		read_own(0);
		read_own(1)
	};
	if
	:: me > 1 && granted -> epoch++; put_grant(owner, true)
	:: else
	fi;
	do
	:: ALL_OVER && !grant.granted && !granted -> goto out
	:: crashes < CRASHES -> goto crash
#if defined(ZOMBIE) && !defined(NO_REASSERT)
	:: d_step { GRANT_LOST -> put_grant_line(me, owner, epoch, granted) }
	:: reassert(0)
	:: reassert(1)
#endif
	:: GONE && !IN_USE -> put_grant(0, false)
	:: serve(0)
	:: serve(1)
	od;
crash:
	crashes++;
#ifdef ZOMBIE
	if
	:: run zombie_reply(slot, own[slot].backend, own[slot].incarnation, own[slot].sequence,
			    own[slot].state, own[slot].epoch)
	:: run zombie_grant(me, owner, epoch, granted)
	:: skip
	fi;
#endif
	run server(me + 1);
out:
	skip
}

#ifdef TIMEOUT_FREES
active proctype observer()
{
	presumed = true
}
#endif

init { atomic { run server(1); run blkdev(1); run blkdev(2); run blkdev(3) } }
