/*
 * adopt.pml - rules 2, 3, 4 and 7.2: a backend that dies at any step of an
 * attachment, and the successor that finds out from the lines alone who uses
 * which channel.  Mirrors admit.c (examine, admit), adopt.c (adopt_all), attach.c
 * (cbd_attach, take_grants, cbd_detach) and the claims of claim.c.
 *
 * Blkdevs 1 and 2 use slot 0 one after the other, 3 uses slot 1; blkdev 1 asks
 * for two channels, the others for one; the pool has two.  Each line is read
 * and written in a step of its own.  A dead blkdev's claim stays raised until
 * a sweeper lowers it, at any time later.
 *
 * Holds: no channel is granted while another living blkdev may store into it;
 * none is given to a handler twice; a living attached blkdev gets all of its
 * channels from every successor; every request is answered; at the end all
 * channels are free.  The last three are hangs when they fail.
 *
 * Bounds: CRASHES of backends, DEATHS of blkdevs.
 *
 * Switches, each of which must break it:
 *   NO_BIND    a request is judged by a claim without a look at the state line,
 *              which says whose incarnation the claim's owner is: the claim of
 *              a newcomer vouches for the request of the dead one before it
 *   NO_ECHO    the blkdev takes any reply in its line
 *   NO_ADOPT   the successor starts with an empty pool
 *   NO_GRANTS  the successor believes in replies alone and frees nothing else
 *   PARTIAL    it goes on with fewer channels than were asked for
 *   SUSPECT    a silent blkdev's claim is lowered while it lives
 */
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif

#define SLOTS 2
#define CHANNELS 2
#define SLOT(blkdev) ((blkdev) == 3 -> 1 : 0)
#define QUEUES(blkdev) ((blkdev) == 1 -> 2 : 1)
#define BIT(c) (1 << (c))
#define COUNT(map) (((map) & 1) + ((map) >> 1))

#define NONE 0
#define ATTACH 1
#define DETACH 2
#define GRANTED 1
#define REFUSED 2
#define DETACHED 3
#define LIVE 1
#define LEAVING 2

typedef request_line { byte incarnation; byte sequence; byte state };
typedef reply_line { byte incarnation; byte sequence; byte state; byte map };
typedef grant_line { byte backend; byte slot; byte incarnation; bool granted };
typedef attachment { byte state; byte incarnation; byte owner };

/* Lines.  A claim and a state line name their owner; here an owner has one
 * incarnation, so one number serves for both. */
byte claim[SLOTS];
byte state_line[SLOTS];
request_line request[SLOTS];
reply_line reply[SLOTS];
grant_line grant[CHANNELS];

/* What is not in memory, for the properties and the environment. */
byte backend_incarnation = 1;
bool backend_up = false;
bool given[CHANNELS];
byte uses[4];		/* blkdev: map of the channels it may store into */
bool dead[4], over[4];
bool kill_backend = false;
byte deaths = 0;

/* ------------------------------------------------------------------ blkdev */

#define HAS(c) (!(uses[me] & BIT(c)) || (given[c] && grant[c].granted && \
		grant[c].incarnation == me && grant[c].backend == backend_incarnation))

#ifdef NO_ECHO
#define ECHO true
#else
#define ECHO (reply[slot].incarnation == me && reply[slot].sequence == 1)
#endif

proctype blkdev(byte me)
{
	byte slot, map, c;

	slot = SLOT(me);
	{
		if
		:: me == 2 -> (over[1])
		:: else
		fi;
		atomic { claim[slot] == 0 -> claim[slot] = me };
		state_line[slot] = me;
		d_step { request[slot].incarnation = me; request[slot].sequence = 0; request[slot].state = NONE };
		d_step { request[slot].sequence = 1; request[slot].state = ATTACH };
		atomic {
			reply[slot].state != NONE && ECHO ->
			map = (reply[slot].state == GRANTED -> reply[slot].map : 0)
		};
		if
		:: map == 0
		:: else ->
			assert(COUNT(map) == QUEUES(me));
			do
			:: c == CHANNELS -> c = 0; break
			:: c < CHANNELS && !(map & BIT(c)) -> c++
			:: c < CHANNELS && (map & BIT(c)) ->
				atomic {
					assert(grant[c].granted && grant[c].incarnation == me);
					uses[me] = uses[me] | BIT(c);
					c++
				}
			od;
			/* its I/O completes: the living backend serves all of its channels */
			(backend_up && HAS(0) && HAS(1))
		fi;
		uses[me] = 0;
		d_step { request[slot].sequence = 2; request[slot].state = DETACH };
		(reply[slot].state == DETACHED && reply[slot].incarnation == me && reply[slot].sequence == 2);
		atomic { claim[slot] = 0; over[me] = true }
	} unless {
		atomic { dead[me] -> uses[me] = 0; over[me] = true }
	}
}

/* ----------------------------------------------------------------- backend */

#define ANSWERED(d) (reply[d].state != NONE && reply[d].incarnation == q.incarnation && \
		     reply[d].sequence == q.sequence)
#define IS_OF(c, d) (given[c] && grant[c].slot == d)
#define IS_FREE(c) (!given[c] && !quarantined[c])
#define N_FREE (IS_FREE(0) + IS_FREE(1))
#define USED(c, by) (by != q.incarnation && (uses[by] & BIT(c)))

inline read_request(d)
{
	d_step {
		q.incarnation = request[d].incarnation;
		q.sequence = request[d].sequence;
		q.state = request[d].state
	}
}

#ifdef NO_BIND
#define BOUND true
#else
#define BOUND (bound && q.incarnation == owner)
#endif

/* The claim's owner; UNKNOWN when it is not the one that wrote the request. */
inline read_owner(d)
{
	owner = claim[d];
#ifndef NO_BIND
	bound = (owner == state_line[d])
#endif
}

inline give(c, d)
{
	atomic {
		assert(!given[c]);
		assert(!USED(c, 1) && !USED(c, 2) && !USED(c, 3));
		given[c] = true;
		quarantined[c] = false;
		grant[c].backend = backend_incarnation;
		grant[c].slot = d;
		grant[c].incarnation = q.incarnation;
		grant[c].granted = true
	}
}

inline free_channel(c)
{
	d_step { given[c] = false; quarantined[c] = false; grant[c].granted = false }
}

inline put_reply(d, what, channels)
{
	d_step {
		reply[d].incarnation = q.incarnation;
		reply[d].sequence = q.sequence;
		reply[d].state = what;
		reply[d].map = channels
	}
}

inline attach(d)
{
	d_step { att[d].state = LIVE; att[d].incarnation = q.incarnation; att[d].owner = owner }
}

inline map_of(d)
{
	map = 0;
	if :: IS_OF(0, d) -> map = map | 1 :: else fi;
	if :: IS_OF(1, d) -> map = map | 2 :: else fi
}

#define FROM_GRANT(c, d) (grant[c].granted && grant[c].slot == d && \
			  grant[c].incarnation == q.incarnation -> BIT(c) : 0)
#define NOBODY 0
#define MINE 1
#define UNKNOWN 2

inline judge(d)
{
	bound = true;
	read_owner(d);
	read_request(d);
	d_step {
		if
		:: owner == 0 -> found = NOBODY
		:: owner != 0 && !bound -> found = UNKNOWN
		:: owner != 0 && bound && (q.state != ATTACH || !BOUND) -> found = NOBODY
		:: owner != 0 && bound && q.state == ATTACH && BOUND -> found = MINE
		fi
	}
}

inline adopt_blkdev(d)
{
	if
	:: att[d].state == NONE ->
		judge(d);
		d_step {
			map = 0;
			if
			:: found == MINE && ANSWERED(d) && reply[d].state == GRANTED -> map = reply[d].map
#ifndef NO_GRANTS
			:: found == MINE && !ANSWERED(d) -> map = FROM_GRANT(0, d) | FROM_GRANT(1, d)
#endif
			:: else
			fi
		};
		if
#ifdef PARTIAL
		:: map != 0 ->
#else
		:: map != 0 && COUNT(map) == QUEUES(q.incarnation) ->
#endif
			attach(d);
			if :: map & 1 -> give(0, d) :: else fi;
			if :: map & 2 -> give(1, d) :: else fi;
			map_of(d);
			put_reply(d, GRANTED, map)
		:: else
		fi
	:: else
	fi
}

inline judge_channel(c)
{
	if
	:: !given[c] && grant[c].granted ->
		judge(grant[c].slot);
		if
		:: found == UNKNOWN -> quarantined[c] = true
		:: else -> free_channel(c)
		fi
	:: else
	fi
}

inline adopt_all()
{
	adopt_blkdev(0);
	adopt_blkdev(1);
#ifndef NO_GRANTS
	judge_channel(0);
	judge_channel(1)
#endif
}

inline is_dead(d)
{
	if
	:: att[d].state == LIVE && claim[d] != att[d].owner -> att[d].state = LEAVING
	:: else
	fi
}

inline admit(d)
{
	bound = true;
	read_owner(d);
	if
	:: owner == 0 || !BOUND	/* nobody waits for an answer, or not for this one */
	:: else ->
		is_dead(1 - d);
		if
		:: att[1 - d].state == LEAVING		/* soon */
		:: att[1 - d].state != LEAVING && N_FREE < QUEUES(q.incarnation) ->
			put_reply(d, REFUSED, 0)
		:: else ->
			attach(d);
			n = QUEUES(q.incarnation);
			if :: IS_FREE(0) -> give(0, d); n-- :: else fi;
			if :: n && IS_FREE(1) -> give(1, d) :: else fi;
			n = 0;
			map_of(d);
			put_reply(d, GRANTED, map)
		fi
	fi
}

inline examine(d)
{
	read_request(d);
	is_dead(d);
	if
	:: att[d].state == LIVE && q.incarnation == att[d].incarnation && q.state == DETACH ->
		att[d].state = LEAVING
	:: else
	fi;
	if
	:: att[d].state == LEAVING ->
		if :: IS_OF(0, d) -> free_channel(0) :: else fi;
		if :: IS_OF(1, d) -> free_channel(1) :: else fi;
		att[d].state = NONE
	:: else
	fi;
	if
	:: att[d].state == NONE && q.incarnation && !ANSWERED(d) && q.state == ATTACH -> admit(d)
	:: att[d].state == NONE && q.incarnation && !ANSWERED(d) && q.state == DETACH ->
		put_reply(d, DETACHED, 0)
	:: else
	fi
}

#define SETTLE d_step { owner = 0; bound = true; found = 0; map = 0; n = 0; \
			q.incarnation = 0; q.sequence = 0; q.state = 0 }

/* There is something to do: a loop that only looks would never end. */
#define NEWS(d) (att[d].state == LEAVING || \
		 (att[d].state == LIVE && (claim[d] != att[d].owner || \
		  (request[d].incarnation == att[d].incarnation && request[d].state == DETACH))) || \
		 (att[d].state == NONE && request[d].incarnation && request[d].state != NONE && \
		  !(reply[d].state != NONE && reply[d].incarnation == request[d].incarnation && \
		    reply[d].sequence == request[d].sequence)))

active proctype backend_process()
{
	attachment att[SLOTS];
	request_line q;
	bool quarantined[CHANNELS], bound = true;
	byte owner, found, map, n;

again:
	{
#ifdef NO_ADOPT
		d_step { grant[0].granted = false; grant[1].granted = false };
#else
		adopt_all();
#endif
		SETTLE;
		backend_up = true;
end:
		do
		:: NEWS(0) -> examine(0); SETTLE
		:: NEWS(1) -> examine(1); SETTLE
		:: quarantined[0] || quarantined[1] -> adopt_all(); SETTLE
		od
	} unless {
		atomic {
			kill_backend ->
			kill_backend = false;
			backend_up = false;
			backend_incarnation++;
			given[0] = false; given[1] = false;
			quarantined[0] = false; quarantined[1] = false;
			att[0].state = NONE; att[0].incarnation = 0; att[0].owner = 0;
			att[1].state = NONE; att[1].incarnation = 0; att[1].owner = 0;
			owner = 0; bound = true; found = 0; map = 0; n = 0;
			q.incarnation = 0; q.sequence = 0; q.state = 0;
			goto again
		}
	}
}

/* ------------------------------------------------------------- environment */

active proctype killer()
{
	byte k = 0;

	do
	:: k < CRASHES -> atomic { !kill_backend -> kill_backend = true; k++ }
	:: break
	od;
	k = 0
}

active proctype reaper()
{
	do
	:: deaths < DEATHS ->
		atomic {
			deaths++;
			if
			:: !over[1] -> dead[1] = true
			:: !over[2] -> dead[2] = true
			:: !over[3] -> dead[3] = true
			:: skip
			fi
		}
	:: break
	od
}

active proctype sweeper()
{
end:
	do
	:: atomic { claim[0] && dead[claim[0]] && over[claim[0]] -> claim[0] = 0 }
	:: atomic { claim[1] && dead[claim[1]] && over[claim[1]] -> claim[1] = 0 }
	od
}

#ifdef SUSPECT
active proctype hasty()
{
	claim[0] = 0
}
#endif

active proctype auditor()
{
	(over[1] && over[2] && over[3]);
	(!grant[0].granted && !grant[1].granted)
}

init { atomic { run blkdev(1); run blkdev(2); run blkdev(3) } }
