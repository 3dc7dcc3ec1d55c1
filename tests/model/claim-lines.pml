/*
 * claim-lines.pml - rule 1: the claim of a slot has one line per host, and no
 * timing assumption.  A host raises its own line with a generation above all
 * that it saw, pushes it, then drops and reads all others; when another one is
 * raised it lowers its own and tries again.
 *
 * Holds: never two owners, whatever pauses.
 *
 * Bounds: HOSTS, ROUNDS of each.
 *
 * Switch, which must break it:
 *   READ_FIRST  the others are read before the own line is visible
 */
#ifndef HOSTS
#define HOSTS 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif

typedef claim_line { byte generation; bool raised };

claim_line line[HOSTS];
byte n_owners = 0;

inline raise_own()
{
	d_step { line[me].generation = generation; line[me].raised = true }
}

inline look_at_others()
{
	h = 0;
	do
	:: h == HOSTS -> break
	:: h == me -> h++
	:: h < HOSTS && h != me ->
		d_step {
			if :: line[h].raised -> alone = false :: else fi;
			if :: line[h].generation > generation -> generation = line[h].generation :: else fi;
			h++
		}
	od;
	h = 0
}

proctype host(byte me)
{
	byte h, generation, rounds = 0;
	bool alone;

	do
	:: rounds == ROUNDS -> break
	:: rounds < ROUNDS ->
		rounds++;
		alone = true;
		generation = line[me].generation;
		look_at_others();
		if
		:: !alone
		:: alone ->
			generation++;
#ifdef READ_FIRST
			look_at_others();
			raise_own();
#else
			raise_own();
			look_at_others();
#endif
			if
			:: alone ->
				atomic { n_owners++; assert(n_owners == 1) };
				n_owners--
			:: else
			fi;
			line[me].raised = false
		fi;
		generation = 0
	od
}

init {
	byte h = 0;

	atomic {
		do
		:: h < HOSTS -> run host(h); h++
		:: else -> break
		od
	}
}
