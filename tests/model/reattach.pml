/*
 * reattach.pml - rules 5 and 7.3: a queue whose lock is dropped while payload
 * is copied, and a new epoch that another thread enters in the middle.  Mirrors
 * publish.c (add_unlocks, fill_unlocks, send), parts.c (cbd_queue_break), reap.c
 * (cbd_reap_ring_unlocks, read_batch_unlocks, set_busy, put_back_unlocks) and epoch.c
 * (cbd_grant_check_unlocks, follow_grant_unlocks, publish_all_unlocks).
 *
 * Two tags, three requests: 0 and 2 are writes (copied in), 1 is a read (copied
 * out).  Threads: two submitters, the leader that reads the CEs, the heartbeat
 * thread that looks at the grant.  What a thread does with the lock held and
 * without a look at shared memory is one step.  A crash of the backend takes
 * what it had fetched with it; the leave of an epoch is the same with nothing
 * fetched.
 *
 * Holds: a part is published once in an epoch, with the payload of that epoch;
 * each request ends once; nothing of an ended request is executed, nor its
 * buffer touched; no answer of an older epoch counts; nothing is lost (a hang).
 *
 * Bounds: CRASHES.  More of the environment:
 *   BREAK      the heartbeat thread gives up once, and everything ends with EIO
 *   ZOMBIE     a grant line of an older epoch, of another blkdev, is stored late
 *
 * Switches, each of which must break it:
 *   CLEAR_ALL   set_busy marks all parts of its batch as not busy when it is
 *               through, also those that another thread copies by now
 *   NO_END      (with BREAK) the leader leaves a part alone that it copied
 *               while the queue broke
 *   MINE_FIRST  (with ZOMBIE) whose the grant is, is asked before how old it is
 *   NO_LEFT     the leader does not publish what others passed by
 *   NO_REFILL   the payload of an older epoch is good enough
 *   NO_RECHECK  the leader completes without another look at the epoch
 *   NO_BUSY     whoever enters an epoch publishes busy parts too
 */
#ifndef CRASHES
#define CRASHES 1
#endif

#define TAGS 2
#define REQUESTS 3
#define FREE 0
#define READY 1
#define PUBLISHED 2
#define ARRIVED 3
#define IS_READ(r) ((r) == 1)
#define READ_DATA(r) (10 + (r))

typedef part_t { byte state; bool busy; byte request; byte fill_epoch };
typedef entry { byte epoch; byte position; byte tag; byte request };

/* shared memory */
entry se[TAGS], ce[TAGS];
byte data[TAGS];
byte grant_epoch = 1;
bool grant_mine = true;

/* the queue, under its lock */
bool lock = false;
byte epoch = 1, position = 0, count = 0, n_free = TAGS;
bool attached = true, broken = false;
part_t part[TAGS];

/* for the properties */
bool ended[REQUESTS];
byte sent_in[REQUESTS];		/* the last epoch in which it was published */
byte incarnation = 1;		/* the backend's: true content of the grant line */

#define ALL_ENDED (ended[0] && ended[1] && ended[2])
#define ANSWER (attached && !broken && ce[count % TAGS].epoch == epoch && \
		ce[count % TAGS].position == count)
#define GRANT_NEWS (!broken && (grant_epoch != epoch || grant_mine != attached))

/* --------------------------------------------------------------- publish.c */

#define LOCK atomic { !lock -> lock = true }
#define UNLOCK lock = false

inline end_part(t)
{
	d_step {
		assert(part[t].state != FREE);
		assert(!ended[part[t].request]);
		ended[part[t].request] = true;
		part[t].state = FREE;
		n_free++
	}
}

inline send(t)
{
	d_step {
		assert(part[t].fill_epoch == epoch || IS_READ(part[t].request));
		assert(sent_in[part[t].request] < epoch);
		sent_in[part[t].request] = epoch;
		part[t].state = PUBLISHED;
		se[position % TAGS].epoch = epoch;
		se[position % TAGS].position = position;
		se[position % TAGS].tag = t;
		se[position % TAGS].request = part[t].request;
		position++
	}
}

#ifdef NO_REFILL
#define UNFILLED(t) (part[t].fill_epoch == 0)
#else
#define UNFILLED(t) (part[t].fill_epoch != epoch)
#endif

/* Lock held; dropped while a write's payload is copied. */
inline publish(t)
{
	part[t].state = READY;
	do
	:: attached && !broken && !IS_READ(part[t].request) && UNFILLED(t) ->
		d_step {
			fill = epoch;
			r = part[t].request;
			part[t].busy = true
		};
		UNLOCK;
		atomic { assert(!ended[r]); data[t] = r };
		atomic { !lock -> lock = true; assert(!ended[r]); part[t].busy = false; part[t].fill_epoch = fill; fill = 0; r = 0 }
	:: else -> break
	od;
	if
	:: broken -> end_part(t)
	:: !broken && attached && part[t].state == READY -> send(t)
	:: else		/* whoever enters the next epoch publishes it */
	fi
}

inline queue_break()
{
	broken = true;
	if :: part[0].state != FREE && !part[0].busy -> end_part(0) :: else fi;
	if :: part[1].state != FREE && !part[1].busy -> end_part(1) :: else fi
}

/* ----------------------------------------------------------------- epoch.c */

#ifdef NO_BUSY
#define LISTED(t) (part[t].state == READY)
#else
#define LISTED(t) (part[t].state == READY && !part[t].busy)
#endif

inline publish_all()
{
	d_step { entered = epoch; list0 = (part[0].state == READY); list1 = (part[1].state == READY) };
	if
	:: list0 && attached && epoch == entered && LISTED(0) -> publish(0)
	:: else
	fi;
	if
	:: list1 && attached && epoch == entered && LISTED(1) -> publish(1)
	:: else
	fi;
	d_step { entered = 0; list0 = false; list1 = false }
}

#ifdef MINE_FIRST
#define TOO_OLD false
#else
#define TOO_OLD (g_epoch < epoch)	/* a zombie's late store */
#endif

/* Lock held; may be dropped.  SAME: the epoch is unchanged. */
inline grant_check()
{
	same = false;
	d_step { g_epoch = grant_epoch; g_mine = grant_mine };
	if
	:: broken
	:: !broken && TOO_OLD -> same = true
	:: !broken && !TOO_OLD && !g_mine -> attached = false
	:: !broken && !TOO_OLD && g_mine && g_epoch < epoch -> same = true
	:: !broken && !TOO_OLD && g_mine && g_epoch == epoch -> d_step { attached = true; same = true }
	:: !broken && !TOO_OLD && g_mine && g_epoch > epoch ->
		d_step {
			if :: part[0].state != FREE -> part[0].state = READY :: else fi;
			if :: part[1].state != FREE -> part[1].state = READY :: else fi;
			epoch = g_epoch;
			position = 0;
			count = 0;
			attached = true
		};
		publish_all()
	fi;
	d_step { g_epoch = 0; g_mine = false }
}

/* ----------------------------------------------------------------- threads */

inline submit(what)
{
	atomic { !lock && (n_free > 0 || broken) -> lock = true };
	if
	:: broken -> d_step { ended[what] = true }
	:: else ->
		d_step {
			tag = (part[0].state == FREE -> 0 : 1);
			assert(part[tag].state == FREE && !part[tag].busy);
			n_free--;
			part[tag].request = what;
			part[tag].fill_epoch = 0
		};
		publish(tag)
	fi;
	d_step { tag = 0; lock = false }
}

active proctype submitter()
{
	byte tag, fill, r;

	submit(0);
	submit(2)
}

active proctype other_submitter()
{
	byte tag, fill, r;

	submit(1)
}

inline gather_one()
{
	if
	:: ANSWER ->
		k = ce[count % TAGS].tag;
		assert(part[k].state == PUBLISHED && part[k].request == ce[count % TAGS].request);
		part[k].state = ARRIVED;
		count++;
		if :: k == 0 -> batch0 = true :: else -> batch1 = true fi;
		k = 0
	:: else
	fi
}

/* The user's buffer is written while the lock is dropped. */
inline copy_unlocked(t)
{
	atomic { assert(!ended[part[t].request]); got = data[t] };
	assert(!ended[part[t].request])
}

#ifdef NO_RECHECK
#define IN_FORCE true
#define COMPLETES(t) true
#else
#define IN_FORCE (same && epoch == looked)
#define COMPLETES(t) (epoch == looked && part[t].state == ARRIVED)
#endif

inline arrived(t)
{
	if
	:: COMPLETES(t) ->
		assert(!IS_READ(part[t].request) || got == READ_DATA(part[t].request));
		end_part(t)
	:: else
	fi
}

inline put_back(t)
{
	if
#ifndef NO_END
	:: broken && part[t].state != FREE && !part[t].busy -> end_part(t)
#endif
#ifndef NO_LEFT
	:: !broken && attached && part[t].state == READY && !part[t].busy -> publish(t)
#endif
	:: else
	fi
}

active proctype leader()
{
	byte looked, got, k, g_epoch, entered, fill, r;
	bool batch0, batch1, copy0, copy1, same, g_mine, list0, list1;

	do
	:: ALL_ENDED -> break
	:: atomic { !lock && !ANSWER && GRANT_NEWS -> lock = true };
		grant_check();
		d_step { same = false; lock = false }
	:: atomic { !lock && ANSWER -> lock = true };
		d_step {
			looked = epoch;
			gather_one();
			gather_one();
			copy0 = batch0 && IS_READ(part[0].request);
			copy1 = batch1 && IS_READ(part[1].request);
			if :: batch0 -> part[0].busy = copy0 :: else fi;
			if :: batch1 -> part[1].busy = copy1 :: else fi
		};
		UNLOCK;
		if :: copy0 -> copy_unlocked(0) :: else fi;
		if :: copy1 -> copy_unlocked(1) :: else fi;
		LOCK;
		d_step {
#ifdef CLEAR_ALL
			if :: batch0 -> part[0].busy = false :: else fi;
			if :: batch1 -> part[1].busy = false :: else fi;
#else
			if :: copy0 -> part[0].busy = false :: else fi;
			if :: copy1 -> part[1].busy = false :: else fi;
#endif
			copy0 = false;
			copy1 = false
		};
		grant_check();
		if
		:: IN_FORCE ->
			if :: batch0 -> arrived(0) :: else fi;
			if :: batch1 -> arrived(1) :: else fi
		:: else ->
			if :: batch0 -> put_back(0) :: else fi;
			if :: batch1 -> put_back(1) :: else fi
		fi;
		d_step { looked = 0; got = 0; batch0 = false; batch1 = false; same = false; lock = false }
	od
}

active proctype heartbeat()
{
	byte g_epoch, entered, fill, r;
	bool same, g_mine, list0, list1;

end:
	do
	:: atomic { !lock && GRANT_NEWS -> lock = true };
		grant_check();
		d_step { same = false; lock = false }
#ifdef BREAK
	:: LOCK; queue_break(); UNLOCK; break
#endif
	od
}

/* ----------------------------------------------------------------- backend */

#define EXECUTE(t) (taken[t] && !executed[t])
#define FINISH(t) (taken[t] && executed[t])

inline execute(t)
{
	atomic {
		assert(broken || !ended[request[t]]);
		if
		:: IS_READ(request[t]) -> data[t] = READ_DATA(request[t])
		:: else -> assert(broken || data[t] == request[t])
		fi;
		executed[t] = true
	}
}

inline finish(t)
{
	d_step {
		ce[done % TAGS].epoch = incarnation;
		ce[done % TAGS].position = done;
		ce[done % TAGS].tag = t;
		ce[done % TAGS].request = request[t];
		done++;
		taken[t] = false;
		executed[t] = false;
		request[t] = 0
	}
}

active proctype backend()
{
	bool taken[TAGS], executed[TAGS];
	byte request[TAGS], fetched, done, t;

end:
	do
	:: d_step {
		se[fetched % TAGS].epoch == incarnation && se[fetched % TAGS].position == fetched ->
		t = se[fetched % TAGS].tag;
		taken[t] = true;
		request[t] = se[fetched % TAGS].request;
		fetched++;
		t = 0
	}
	:: EXECUTE(0) -> execute(0)
	:: EXECUTE(1) -> execute(1)
	:: FINISH(0) -> finish(0)
	:: FINISH(1) -> finish(1)
	:: incarnation <= CRASHES ->
		d_step {
			incarnation++;
			grant_epoch = incarnation;
			grant_mine = true;
			fetched = 0; done = 0;
			taken[0] = false; taken[1] = false;
			executed[0] = false; executed[1] = false;
			request[0] = 0; request[1] = 0
		}
#ifdef ZOMBIE
	:: d_step { grant_epoch != incarnation -> grant_epoch = incarnation; grant_mine = true }
#endif
	od
}

#ifdef ZOMBIE
active proctype zombie()
{
	d_step { incarnation > 1 -> grant_epoch = incarnation - 1; grant_mine = false }
}
#endif
