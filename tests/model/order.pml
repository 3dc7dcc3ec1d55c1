/*
 * order.pml - rule 13: overlapping writes of one blkdev take effect in the order of
 * their submission, whatever queues they are on, over crashes and time-outs.
 *
 * Writes 1 to N of one block, each on a queue of its own, so that nothing else orders
 * them.  The user submits them one after the other and waits for none.  A handler
 * executes a write, and again when its backend dies before the answer (CRASHES times in
 * all); a write that is not answered may time out.
 *
 * Holds: a write never takes effect on top of a later one; every write ends.
 *
 * Switches, which must break it:
 *   NO_ORDER   a write does not wait for earlier ones
 *   NO_AGAIN   a write that is freed by a time-out is published like any other
 *   NO_KICK    a write that is freed is left to its own queue, where nobody looks
 */
#ifndef N
#define N 3
#endif
#ifndef CRASHES
#define CRASHES 1
#endif

byte disk = 0;	      /* the write that took effect last */
byte waits_for[N + 1];
bool submitted[N + 1], freed[N + 1], out[N + 1], answered[N + 1], over[N + 1];
byte timed_out = 0;   /* writes that have ended for the user and not for the disk */
byte crashes = CRASHES;

/* The request ends for the user: those that it kept are freed. */
inline complete(i)
{
	over[i] = true;
	later = i + 1;
	do
	:: later <= N ->
		if
		:: submitted[later] && !over[later] && waits_for[later] > 0 ->
			waits_for[later]--;
			if
			:: waits_for[later] == 0 ->
#ifndef NO_KICK
				freed[later] = true
#else
				skip
#endif
			:: else
			fi
		:: else
		fi;
		later++
	:: else -> break
	od;
	later = 0
}

active proctype user()
{
	byte i = 1, earlier;
	byte later = 0;

	do
	:: i <= N ->
		atomic {
			if
			:: timed_out > 0 ->
				over[i] = true /* rule 9: refused */
			:: else ->
				submitted[i] = true;
				earlier = i - 1;
#ifndef NO_ORDER
				do
				:: earlier > 0 ->
					if
					:: submitted[earlier] && !over[earlier] ->
						waits_for[i]++
					:: else
					fi;
					earlier--
				:: else -> break
				od;
#endif
				if
				:: waits_for[i] == 0 -> out[i] = true
				:: else
				fi
			fi;
			earlier = 0
		}
		i++
	:: else -> break
	od
}

/* The thread that looks for what was freed. */
active [N] proctype issue()
{
	byte i = _pid;
	byte later = 0;

	if
	:: atomic { freed[i] ->
		if
#ifndef NO_AGAIN
		:: timed_out > 0 -> complete(i)
		:: timed_out == 0 -> out[i] = true
#else
		:: out[i] = true
#endif
		fi }
	:: atomic { over[i] || out[i] -> skip }
	fi;
	(over[i])
}

active [N] proctype handler()
{
	byte i = _pid - N;

	if
	:: out[i] ->
		do
		:: atomic { assert(disk <= i); disk = i };
			if
			:: atomic { crashes > 0 -> crashes-- } /* and again */
			:: break
			fi
		od;
		answered[i] = true
	:: over[i] && !out[i]
	fi
}

active [N] proctype reap()
{
	byte i = _pid - 2 * N;
	byte later = 0;

	if
	:: atomic { answered[i] -> complete(i) }
	:: atomic { out[i] && !answered[i] -> timed_out++; complete(i) };
		atomic { answered[i] -> timed_out-- }
	:: over[i] && !out[i]
	fi
}
