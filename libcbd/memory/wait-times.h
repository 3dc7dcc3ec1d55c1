/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wait-times.h - the times of all waiting, in one place: the policy of wait.c, and what
 * queues and handlers add to it.
 *
 * All of them were fitted on one machine: 2 CPUs (Intel Xeon, a virtual machine), Linux
 * 6.18, a disk in /dev/shm that answers a 4 KiB read in 2.4 us at depth 1.  What a wait
 * costs there is in the table "what it costs here to wait" of docs/performance.md, which
 * bench/wakeup.c measures: a yield 0.2 us, a yield to another thread and back 0.9 us, a
 * wake-up on the same CPU 1.4 us, one of another CPU 12 us for the caller and 26 us until
 * that thread runs.  On a machine where these differ much the times below do too.
 */
#ifndef CBD_WAIT_TIMES_H
#define CBD_WAIT_TIMES_H

/* ------------------------------------------------------ the policy (wait.c) */

/* Spinning.  The other side answers a small request in 2 to 5 us when it has a CPU; when
 * it has none, spinning may keep it from getting this one. */
#define CBD_SPIN_NS 10000ull
#define CBD_SPIN_SLEEP_NS 1000ull /* with poll=sleep */

/* What a yield tells by the time it took: below the first nobody else ran; between the
 * two somebody ran and soon gave the CPU back; above the second somebody uses all the CPU
 * time that the scheduler gives (a slice is milliseconds). */
#define CBD_OTHERS_RAN_NS 600ull
#define CBD_OTHERS_STAY_NS 100000ull
#define CBD_SWITCHES_NS 500ull /* charged for a yield that let others run: two switches */

/* A lone request spins although others share its CPU, for the first time of each second:
 * the scheduler balances every some milliseconds, and moves one of the two. */
#define CBD_INSIST_NS 100000000ull
#define CBD_INSIST_EVERY_NS 1000000000ull
#define CBD_CROWD_BREAK_NS 10000000ull /* so long without others begins a new second */

/* How long a wait yields before it sleeps is learnt, between these. */
#define CBD_YIELD_LEAST_US 20
#define CBD_YIELD_START_US 100
#define CBD_YIELD_MOST_US 500

/* Sleeps begin with this and double.  (The timer slack of Linux is 50 us by default, so
 * much shorter ones would not be shorter.) */
#define CBD_FIRST_SLEEP_US 50

/* -------------------------------------------------- rings, of both sides */

/* Looks at the next line between two at the clock: about 1 us.  Fewer where each look
 * invalidates the line first. */
#define CBD_LOOKS_CACHED 64
#define CBD_LOOKS_INVALIDATED 4

/* The longest sleep: a bell ends it where both sides are of one boot, and bounds what a
 * lost bell costs; across hosts it is the delay of a request that comes after a pause. */
#define CBD_WAIT_QUEUE_LOCAL_US 5000
#define CBD_WAIT_QUEUE_REMOTE_US 500
#define CBD_WAIT_HANDLER_LOCAL_US 100000
#define CBD_WAIT_HANDLER_REMOTE_US 4000

/* A handler's, while a payload is read again, and while it has more channels than one
 * call can watch bells. */
#define CBD_WAIT_RETRY_US 200
#define CBD_WAIT_MANY_BELLS_US 1000

/* ------------------------- file descriptors for event loops (watcher.c, event.c) */

/* An armed queue with requests in flight, or handler with channels, fires by itself after
 * the first: what no bell tells (a grant that has changed) is found out by then.  The
 * thread that waits on bells alone wakes after the second. */
#define CBD_ARMED_US 100000u
#define CBD_ARMED_IDLE_US 10000000u
#define CBD_ARMED_AWAY_US 1000u /* the handler's lease is over: until a beat */

/* ------------------------------------------- threads of one queue (lead.c) */

/* How long a thread whose request the leader polls for stays awake before it sleeps:
 * about what a sleep and a wake-up would cost.  Learnt between LEAST and LEAST + MOST. */
#define CBD_AWAKE_MOST_NS 20000ull
#define CBD_AWAKE_STEP_NS 500ull
#define CBD_AWAKE_LEAST_NS 500ull

#define CBD_FOLLOWER_SLEEP_US 1000000 /* it is woken; else it sleeps again */
#define CBD_LOOK_AROUND_NS 1000000ull /* a leader looks at the grant after so long a wait */

/* ------------------------------------------ attaching and closing (blkdev) */

#define CBD_ATTACH_STEP_US 500 /* between two looks at a line of the backend */
#define CBD_CLOSE_STEP_US 100  /* between two tries for the lead */

#endif
