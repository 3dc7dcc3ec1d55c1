/*
 * verifier.pml - rule 8: writes that were acknowledged and not flushed are lost
 * once, at any step (the page cache of another host).  Two connections, each
 * writes and flushes twice.
 *
 * Holds: a flush that succeeds covers every write that its connection had seen
 * complete before.
 *
 * Switches, each of which must break it:
 *   ONE_BIT        "something is unflushed" is one bit, set by a write, cleared
 *                  by any flush
 *   FLUSH_AGAIN    a flush in flight at the loss is submitted again
 *   ONCE_FOR_ALL   one flush of the blkdev fails, not one of each connection
 */
byte written = 0;	/* completed writes, each the next number */
byte durable = 0;	/* those up to here are on the disk */
byte lost_after = 0, lost_to = 0;
byte flushed = 0, verifier = 0, flushes_to_fail = 0;
bool dirty = false;
bool to_fail[3];

#ifdef ONE_BIT
#define UNFLUSHED dirty
#else
#define UNFLUSHED (written > flushed)
#endif

inline submit_flush()
{
	covers = written;
	seen = verifier;
	failed = false;
#ifdef ONCE_FOR_ALL
	if :: flushes_to_fail > 0 -> flushes_to_fail--; failed = true :: else fi
#else
	if :: to_fail[me] -> to_fail[me] = false; failed = true :: else fi
#endif
}

/* By whoever is the backend now: what its page cache has becomes durable. */
inline execute_flush()
{
#ifndef FLUSH_AGAIN
	if
	:: seen != verifier && lost_to > lost_after -> failed = true; to_fail[me] = false
	:: else
	fi;
#endif
	if
	:: !failed ->
		durable = written;
		if :: covers > flushed && seen == verifier -> flushed = covers :: else fi
	:: else
	fi
}

inline flush_done()
{
	if
	:: !failed -> dirty = false; assert(!(mine > lost_after && mine <= lost_to))
	:: else
	fi
}

proctype client(byte me)
{
	byte rounds = 0, mine, covers, seen;
	bool failed;

	do
	:: rounds < 2 ->
		d_step { written++; mine = written; dirty = true };
		d_step { submit_flush() };
		if
		:: failed
		:: else ->
			d_step { execute_flush() };
			d_step { flush_done() }
		fi;
		rounds++
	:: rounds == 2 -> break
	od
}

active proctype loss()
{
	d_step {
		lost_after = durable;
		lost_to = written;
		verifier = 1;
		if
		:: UNFLUSHED -> flushes_to_fail = 1; to_fail[1] = true; to_fail[2] = true
		:: else
		fi
	}
}

init { atomic { run client(1); run client(2) } }
