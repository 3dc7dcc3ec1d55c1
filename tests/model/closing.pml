/*
 * closing.pml - rule 7.4: a backend drains and is cleared while requests are on the
 * way, and starts again or not.  It fetches no more, answers what it has, then
 * stores CLOSED into the grant.  The blkdev reads what is still in the CE ring,
 * then ends the rest with ESHUTDOWN.  Mirrors epoch.c
 * (same_epoch_unlocks, cbd_epoch_enter), reap.c (cbd_reap_ring_unlocks), parts.c
 * (cbd_queue_stop), clear.c (close_grants).
 *
 * Two tags, three requests, one thread (reattach.pml has the others).
 *
 * Holds: every request ends once, with its answer or with ESHUTDOWN; one that
 * was answered in order gets its answer; nothing is executed after it ended; no
 * request waits for a backend that stopped (a hang).
 *
 * Bounds: STARTS of backends; each but the last one may crash at any step, the
 * last one may stop for good.
 *
 * Switches, each of which must break it:
 *   NO_READ       the blkdev ends all at the sight of CLOSED
 *   GRANT_LAST    it looks at the ring first, then at the grant
 *   NO_DRAIN      CLOSED is stored before the last answers
 *   KEEP_CLOSING  entering the next epoch does not forget the CLOSED
 *   NOT_MINE      a CLOSED of an epoch that the blkdev never entered is passed by
 *   NO_CLOSED     the backend leaves without a word
 */
#ifndef STARTS
#define STARTS 2
#endif

#define TAGS 2
#define REQUESTS 3

typedef entry { byte epoch; byte position; byte tag; byte request };

entry se[TAGS], ce[TAGS];
byte grant_epoch = 1;
bool grant_closed = false;

bool ended[REQUESTS];
byte answered_in[REQUESTS];	/* the epoch in which its CE was stored */
byte incarnation = 1;

/* ------------------------------------------------------------------ blkdev */

#define ANSWER (!broken && ce[count % TAGS].epoch == epoch && \
		ce[count % TAGS].position == count)
#define GRANT_NEWS (grant_epoch != epoch || grant_closed != closing)

#ifdef NOT_MINE
#define LOOK (GRANT_NEWS && !(grant_epoch != epoch && grant_closed))
#else
#define LOOK GRANT_NEWS
#endif

inline send(t)
{
	d_step {
		se[position % TAGS].epoch = epoch;
		se[position % TAGS].position = position;
		se[position % TAGS].tag = t;
		se[position % TAGS].request = request[t];
		position++
	}
}

inline end_part(t)
{
	assert(!ended[request[t]]);
	ended[request[t]] = true;
	used[t] = false;
	request[t] = 0
}

#define UNREAD(t) (used[t] && answered_in[request[t]] == epoch && grant_epoch == epoch)

inline queue_break()
{
	d_step {
		broken = true;
		assert(!UNREAD(0) && !UNREAD(1));
		if :: used[0] -> end_part(0) :: else fi;
		if :: used[1] -> end_part(1) :: else fi
	}
}

inline read_answer()
{
	d_step {
		t = ce[count % TAGS].tag;
		assert(used[t] && request[t] == ce[count % TAGS].request);
		end_part(t);
		count++;
		t = 0
	}
}

inline grant_check()
{
	d_step { g_epoch = grant_epoch; g_closed = grant_closed };
	if
	:: g_epoch == epoch -> closing = g_closed
	:: g_epoch != epoch && !g_closed ->
		d_step {
			epoch = g_epoch;
			position = 0;
			count = 0;
			broken = false;
#ifndef KEEP_CLOSING
			closing = false
#endif
		};
		if :: used[0] -> send(0) :: else fi;
		if :: used[1] -> send(1) :: else fi
	/* an epoch that it never entered: whoever had its requests is gone */
	:: g_epoch != epoch && g_closed ->
#ifndef NOT_MINE
		d_step { epoch = g_epoch; position = 0; count = 0; closing = true };
		if :: !broken -> queue_break() :: else fi
#else
		skip
#endif
	fi
}

active proctype blkdev()
{
	byte epoch = 1, position, count, next, g_epoch, t;
	bool broken, closing, g_closed, there;
	bool used[TAGS];
	byte request[TAGS];

	do
	:: next < REQUESTS && broken ->
		d_step { ended[next] = true; next++ }
	:: next < REQUESTS && !broken && !(used[0] && used[1]) ->
		d_step {
			t = (used[0] -> 1 : 0);
			used[t] = true;
			request[t] = next;
			next++
		};
		send(t);
		t = 0
	:: ANSWER -> read_answer()
#ifdef GRANT_LAST
	:: !broken ->
		there = ANSWER;
		grant_check();
		if :: !there && g_epoch == epoch && closing && !broken -> queue_break() :: else fi;
		there = false
#endif
	:: LOOK ->
		grant_check();
#ifdef NO_READ
		if :: closing && !broken -> queue_break() :: else fi;
#endif
		d_step { g_epoch = 0; g_closed = false }
	/* cbd_reap_ring_unlocks: the ring is looked at after CLOSED was seen */
	:: atomic { closing && !broken && !ANSWER -> queue_break() }
	:: next == REQUESTS && !used[0] && !used[1] -> break
	od
}

/* ----------------------------------------------------------------- backend */

#define IDLE (!taken[0] && !taken[1])
#ifdef NO_DRAIN
#define DRAINED true
#else
#define DRAINED IDLE
#endif

inline execute(t)
{
	d_step { assert(!ended[order[t]]); executed[t] = true }
}

inline finish(t)
{
	d_step {
		ce[done % TAGS].epoch = incarnation;
		ce[done % TAGS].position = done;
		ce[done % TAGS].tag = t;
		ce[done % TAGS].request = order[t];
		answered_in[order[t]] = incarnation;
		done++;
		taken[t] = false;
		executed[t] = false;
		order[t] = 0
	}
}

inline start()
{
	d_step {
		incarnation++;
		grant_epoch = incarnation;
		grant_closed = false;
		fetched = 0; done = 0; t = 0;
		stopping = false; gone = false;
		taken[0] = false; taken[1] = false;
		executed[0] = false; executed[1] = false;
		order[0] = 0; order[1] = 0
	}
}

active proctype backend()
{
	bool taken[TAGS], executed[TAGS], stopping, gone;
	byte order[TAGS], fetched, done, t;

end:
	do
	:: d_step {
		!stopping && se[fetched % TAGS].epoch == incarnation &&
		se[fetched % TAGS].position == fetched ->
		t = se[fetched % TAGS].tag;
		taken[t] = true;
		order[t] = se[fetched % TAGS].request;
		fetched++;
		t = 0
	}
	:: !gone && taken[0] && !executed[0] -> execute(0)
	:: !gone && taken[1] && !executed[1] -> execute(1)
	:: !gone && taken[0] && executed[0] -> finish(0)
	:: !gone && taken[1] && executed[1] -> finish(1)
	:: !stopping -> stopping = true
#ifdef NO_CLOSED
	:: stopping && !gone && IDLE -> gone = true
#else
	:: stopping && !grant_closed && DRAINED -> grant_closed = true
	:: grant_closed && !gone && IDLE -> gone = true
#endif
	:: incarnation < STARTS -> start()	/* after a stop or a crash */
	od
}
