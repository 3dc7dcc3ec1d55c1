/*
 * again.pml - rules 1 and 6: an SE that was lost before it was fetched is stored
 * again.  Mirrors heartbeat.c (assert_entries) and channel.c (cbd_channel_assert_se).
 *
 * The rings of ring.pml.  At any moment a line of the SE ring is lost: as a
 * whole, or reverted to what was there one turn of the ring before.  At a beat the
 * blkdev stores again each SE that is not answered, where the line is not what
 * it sent, and no later SE has the slot.  It does not know which of them were
 * fetched.  A beat is looked for at any moment (the disk is slow), and when
 * nothing moves; it runs under the queue's lock.
 *
 * Holds: each request is executed once, in order of its position, and answered;
 * a beat mends all that was lost before it, so no more of them are needed than
 * there were losses.
 *
 * Bounds: N slots, D tags, R requests, LOSSES, EARLY beats.
 * More of the environment:
 *   HANGS         the disk never answers request 0; the others go on
 *
 * Switches, each of which must break it:
 *   NEVER_AGAIN   a lost SE is not stored again
 *   NO_LATER (with HANGS)  stored again although a later SE has the slot: it is
 *                 lost again at each beat
 *   NEW_POSITION  sent at the next position instead
 *   ANY_POSITION  the handler takes any SE that it finds in the slot
 */
#ifndef N
#define N 2
#endif
#ifndef D
#define D 2
#endif
#ifndef R
#define R 4
#endif
#ifndef LOSSES
#define LOSSES 2
#endif
#ifndef EARLY
#define EARLY 2
#endif
#define BIT(r) (1 << (r))
#ifdef HANGS
#define HUNG(r) ((r) == 0)
#define ANSWERS (R - 1)
#else
#define HUNG(r) false
#define ANSWERS R
#endif

typedef entry { byte position; byte request; bool valid };

entry se[N], ce[N];
byte fetched = 0;	/* the handler's cursor */
byte consumed = 0;	/* the blkdev's cursor */
byte sent = 0;		/* the blkdev's position */
byte n_done = 0, losses = 0;

#ifdef NO_LATER
#define HAS_SLOT(p) true
#else
#define HAS_SLOT(p) (sent - (p) <= N)
#endif
#ifdef ANY_POSITION
#define IS_NEXT(p) true
#else
#define IS_NEXT(p) ((p) == fetched)
#endif
#define LINE(p) se[(p) % N]
#define IS_LOST(p) !(LINE(p).valid && LINE(p).position == (p))

inline store(p, r)
{
	d_step {
		LINE(p).request = r;
		LINE(p).position = p;
		LINE(p).valid = true
	}
}

/* Tag by tag; the handler looks on meanwhile. */
inline beat()
{
	t = 0;
	do
	:: t == D -> break
	:: t < D && !(busy[t] && HAS_SLOT(position_of[t]) && IS_LOST(position_of[t])) -> t++
	:: else ->
#ifndef NEVER_AGAIN
#ifdef NEW_POSITION
		position_of[t] = sent;
		sent++;
#endif
		store(position_of[t], request_of[t]);
#endif
		t++
	od;
	t = 0
}

active proctype blkdev()
{
	byte next = 0, in_flight = 0, t, beats = 0, late = 0;
	byte request_of[D], position_of[D];
	bool busy[D];

	do
	:: next < R && in_flight < D ->
		do
		:: t < D - 1 -> t++
		:: break
		od;
		if
		:: !busy[t] ->
			busy[t] = true;
			request_of[t] = next;
			position_of[t] = sent;
			assert(sent < N || fetched > sent - N);
			store(sent, next);
			sent++;
			next++;
			in_flight++
		:: else
		fi;
		t = 0
	:: ce[consumed % N].valid && ce[consumed % N].position == consumed ->
		d_step {
			t = 0;
			do
			:: t < D && !(busy[t] && request_of[t] == ce[consumed % N].request) -> t++
			:: else -> break
			od;
			assert(t < D);
			busy[t] = false;
			request_of[t] = 0;
			position_of[t] = 0;
			in_flight--;
			n_done++;
			consumed++;
			t = 0
		}
	:: in_flight > 0 && beats < EARLY -> beats++; beat()
	:: timeout ->
		if
		:: late < losses -> late++; beat()
		fi
	:: n_done == ANSWERS -> break
	od
}

active proctype handler()
{
	byte count = 0, n_taken = 0, k, seen = 0, n_seen = 0;
	bool taken[R];

	do
	:: d_step {
		/* the line is copied once */
		LINE(fetched).valid && IS_NEXT(LINE(fetched).position) ->
		k = LINE(fetched).request;
		assert(!(seen & BIT(k)) && k == n_seen);
		seen = seen | BIT(k);
		n_seen++;
		taken[k] = true;
		if :: !HUNG(k) -> n_taken++ :: else fi;
		fetched++;
		k = 0
	}
	:: n_taken > 0 ->
		select(k : 0 .. R - 1);
		if
		:: taken[k] && !HUNG(k) ->
			assert(count < N || consumed > count - N);
			d_step {
				ce[count % N].request = k;
				ce[count % N].position = count;
				ce[count % N].valid = true;
				taken[k] = false;
				n_taken--;
				count++
			}
		:: else
		fi;
		k = 0
	:: n_done == ANSWERS -> assert(n_seen == R); break
	od
}

/* Only lines in which something was stored: an empty one loses nothing. */
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
		:: d_step { se[s].valid -> se[s].valid = false; losses++ }
		:: d_step {
			se[s].valid && se[s].position >= N ->
			se[s].position = se[s].position - N;
			se[s].request = se[s].position;
			losses++
		}
		:: !se[s].valid
		fi;
		s = 0
	:: break
	od
}
