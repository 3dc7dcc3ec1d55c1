/*
 * ring.pml - rule 5: both rings, tags and data extents of one channel, with no
 * word of flow control.
 *
 * SE at position p in slot p mod N, fetched strictly in order; CE number c in
 * slot c mod N, read strictly in order; the handler answers in any order.  D
 * tags, each with its extent.
 *
 * Holds with N >= D: no entry is written over before it was read, on either
 * ring; a CE answers the request that holds its tag; payload is that of the
 * request.
 *
 * Bounds: N slots, D tags, R requests.
 *
 * Switches, each of which must break it:
 *   N < D
 *   TIMEOUT_FREES  a request that timed out gives its tag back at once
 */
#ifndef N
#define N 2
#endif
#ifndef D
#define D 2
#endif
#ifndef R
#define R 6
#endif

typedef entry { byte position; byte tag; byte request; bool valid };

entry se[N], ce[N];
byte data[D];
byte fetched = 0;	/* the handler's cursor */
byte consumed = 0;	/* the blkdev's cursor */
byte n_done = 0;
bool completed[R];

active proctype blkdev()
{
	byte next = 0, in_flight = 0, t;
	byte request_of[D];
	bool busy[D], timed_out;

	do
	:: next < R && in_flight < D ->
		t = 0;
		do
		:: busy[t] -> t++
		:: else -> break
		od;
		assert(t < D);
		busy[t] = true;
		request_of[t] = next;
		data[t] = next;
		assert(next < N || fetched > next - N);
		se[next % N].valid = false;	/* torn while it is stored */
		d_step {
			se[next % N].tag = t;
			se[next % N].request = next;
			se[next % N].position = next;
			se[next % N].valid = true
		};
		next++;
		in_flight++;
		t = 0
	:: ce[consumed % N].valid && ce[consumed % N].position == consumed ->
		t = ce[consumed % N].tag;
		assert(busy[t] && request_of[t] == ce[consumed % N].request);
		assert(!completed[request_of[t]]);
		completed[request_of[t]] = true;
		busy[t] = false;
		in_flight--;
		n_done++;
		consumed++;
		t = 0
#ifdef TIMEOUT_FREES
	:: in_flight > 0 && !timed_out ->
		timed_out = true;
		t = 0;
		do
		:: !busy[t] -> t++
		:: else -> break
		od;
		busy[t] = false;
		completed[request_of[t]] = true;
		in_flight--;
		n_done++;
		t = 0
#endif
	:: n_done == R -> break
	od
}

active proctype handler()
{
	byte count = 0, n_taken = 0, k;
	bool taken[R];
	byte tag[R];

	do
	:: se[fetched % N].valid && se[fetched % N].position == fetched ->
		d_step {
			k = se[fetched % N].request;
			assert(k == fetched);
			taken[k] = true;
			tag[k] = se[fetched % N].tag;
			fetched++;
			n_taken++;
			k = 0
		}
	:: n_taken > 0 ->
		select(k : 0 .. R - 1);
		if
		:: taken[k] ->
			assert(data[tag[k]] == k);
			assert(count < N || consumed > count - N);
			ce[count % N].valid = false;
			d_step {
				ce[count % N].tag = tag[k];
				ce[count % N].request = k;
				ce[count % N].position = count;
				ce[count % N].valid = true
			};
			taken[k] = false;
			n_taken--;
			count++
		:: else
		fi;
		k = 0
	:: n_done == R -> break
	od
}
