/*
 * timeout.pml - rule 9: a write that timed out and a later write of the same
 * block.  The user gets EIO for the first, then writes again.
 *
 * Holds: the later write, acknowledged, is what the disk has.
 *
 * Switch, which must break it:
 *   NO_FENCE  new writes are let through while the first is not answered
 */
byte disk = 0;
bool first_out, first_done, first_failed, second_out, second_acked;

active proctype user()
{
	first_out = true;
	if
	:: first_done
	:: first_failed = true
	fi;
#ifndef NO_FENCE
	(first_done);
#endif
	second_out = true;
	(second_acked)
}

active proctype handler()
{
	(first_out);
	disk = 1;
	first_done = true
}

active proctype other_handler()
{
	(second_out);
	disk = 2;
	second_acked = true
}

active proctype reader()
{
	(second_acked && first_done);
	assert(disk == 2)
}
