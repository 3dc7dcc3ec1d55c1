/*
 * sleep.pml - rule 11: sleeping and waking across one ring.  The sleeper
 * samples the waker's bell, sets its flag, looks at the ring again, sleeps on
 * the sample; the waker stores its entry, reads the flag, advances the bell,
 * wakes.
 *
 * Holds: every entry is read; nobody sleeps for ever (a hang).
 *
 * Bounds: ENTRIES.
 *
 * Switches, each of which must break it:
 *   FLAG_WORD     the futex word is the sleeper's own flag
 *   NO_FENCE      the waker reads the flag before its entry is visible
 *   SAMPLE_LATE   the bell is sampled after the second look
 */
#ifndef ENTRIES
#define ENTRIES 2
#endif

byte written = 0, read = 0, bell = 0;
bool flag = false, asleep = false;

#ifdef FLAG_WORD
#define UNCHANGED flag
#else
#define UNCHANGED (bell == sample)
#endif

active proctype sleeper()
{
	byte sample = 0;

	do
	:: read == ENTRIES -> break
	:: atomic { read < ENTRIES && written > read -> read++ }
	:: read < ENTRIES && written == read ->
#ifndef SAMPLE_LATE
		sample = bell;
#endif
		flag = true;
		if
		:: written > read
		:: else ->
#ifdef SAMPLE_LATE
			sample = bell;
#endif
			atomic {
				if
				:: UNCHANGED -> asleep = true
				:: else
				fi
			};
			(!asleep)
		fi;
		flag = false
	od
}

active proctype waker()
{
	byte k = 0;
	bool sleeps;

	do
	:: k < ENTRIES ->
#ifdef NO_FENCE
		sleeps = flag;
		written++;
#else
		written++;
		sleeps = flag;
#endif
		if
		:: sleeps ->
#ifndef FLAG_WORD
			bell++;
#endif
			asleep = false
		:: else
		fi;
		k++
	:: k == ENTRIES -> break
	od
}
