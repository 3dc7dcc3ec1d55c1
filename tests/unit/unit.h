/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * unit.h - what the unit tests share: files that go away, a disk in memory,
 * and a pair: a backend and a blkdev on one transport, in one process.
 *
 * A test either lets the pair's server thread do the backend's work, or stops
 * it and steps: tick, fetch and complete in the order that it wants.
 */
#ifndef CBD_UNIT_H
#define CBD_UNIT_H

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "blkdev/blkdev.h"
#include "base/error.h"
#include "slots/host.h"
#include "../factor.h"

#define UNIT_PATH 128
#define UNIT_TIMEOUT (60 * (int)(test_factor() + 8)) /* seconds; only a hang gets there */

/*
 * Whether ThreadSanitizer watches.  Its runtime takes locks of its own around an
 * atomic access, and blocks all signals while a handler runs: a SIGBUS that ends
 * such an access, and leaves the handler by siglongjmp(), leaves them taken.  Tests
 * that take memory away are for other builds.
 */
#if defined(__SANITIZE_THREAD__)
#define UNIT_TSAN true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNIT_TSAN true
#endif
#endif
#ifndef UNIT_TSAN
#define UNIT_TSAN false
#endif

/* Run the suite in a directory of its own, which is removed at the end. */
int unit_main(Suite *suite);

/* A fresh name in that directory; nothing is there yet. */
void unit_path(char path[UNIT_PATH]);

/* Of N steps as many per cent as the environment's CBD_TEST_PERCENT says, for runs
 * where each is slow. */
unsigned unit_share(unsigned n);

/* The same numbers in every run. */
uint64_t unit_random(uint64_t *state);

/* Bytes that depend on SEED and on their place. */
void unit_fill(void *buf, size_t size, uint64_t seed);

/* Both return what was expected, or the test ends with the library's message. */
#define unit_ok(call)                                                                   \
	do {                                                                            \
		int unit_r = (call);                                                    \
		ck_assert_msg(unit_r >= 0, "%s: %s (%d)", #call, cbd_errmsg(), unit_r); \
	} while (0)
#define unit_fails(call, error)                                                              \
	do {                                                                                 \
		int unit_r = (call);                                                         \
		ck_assert_msg(unit_r == -(error), "%s: %d instead of %d: %s", #call, unit_r, \
			      -(error), unit_r < 0 ? cbd_errmsg() : "");                     \
	} while (0)

/* What an idle machine does at once: whether it may still come. */
#define UNIT_WAIT_S 20
bool unit_may_wait(uint64_t since_ns);

/* Wait, with a bound, until CONDITION holds. */
#define unit_wait(condition)                                                               \
	do {                                                                               \
		uint64_t unit_since = cbd_now_ns();                                        \
		while (!(condition)) {                                                     \
			ck_assert_msg(unit_may_wait(unit_since), "never: %s", #condition); \
			cbd_sleep_us(200);                                                 \
		}                                                                          \
	} while (0)

/* ------------------------------------------------------------------- disk */

#define UNIT_OPS 8

struct unit_disk {
	unsigned char *data;
	size_t size;
	pthread_mutex_t lock;	  /* guards: */
	unsigned ops[UNIT_OPS];	  /* executed */
	unsigned flags[UNIT_OPS]; /* of the last one */
	int fail[UNIT_OPS];	  /* negative errno to answer with */
};

/* Execute a request; its result. */
int unit_disk_run(struct unit_disk *d, const struct cbd_request *r);

/* What is on the disk, after what was answered: the rings order that, but not
 * in the eyes of a tool that knows each side by another mapping. */
const unsigned char *unit_disk_data(struct unit_disk *d);

unsigned unit_disk_ops(struct unit_disk *d, enum cbd_op op);
unsigned unit_disk_flags(struct unit_disk *d, enum cbd_op op);
void unit_disk_fail(struct unit_disk *d, enum cbd_op op, int error);

/* ------------------------------------------------------------------- pair */

/* A zero takes the default in brackets. */
struct pair_options {
	enum cbd_coherence kind; /* [hardware] */
	bool data_crc;
	unsigned ring_slots; /* [16] */
	unsigned channels;   /* [4] */
	unsigned handlers;   /* [1] */
	unsigned queues;     /* [1] */
	unsigned depth;
	unsigned heartbeat_ms; /* [50] */
	unsigned dead_after;   /* [10] */
	unsigned timeout_s;
	unsigned max_blkdevs;
	unsigned max_requests;
	uint64_t allow_hosts;
	size_t disk_size; /* [1 MiB] */
	bool disk_read_only, read_only;
	bool stepping; /* the server thread only helps to attach */
};

struct pair {
	struct pair_options o;
	char path[UNIT_PATH];
	struct cbd_transport *bt, *ct; /* of the backend, of the client */
	struct cbd_disk_geometry geometry;
	struct unit_disk disk;
	struct cbd_backend *backend;
	struct cbd_blkdev *blkdev;
	struct cbd_queue *q; /* the blkdev's first */
	pthread_t server;
	bool serving, stop, server_ended;
	int server_error; /* of tick, after server_stop() */
};

void pair_open(struct pair *p, const struct pair_options *o);
void pair_close(struct pair *p);

/* pair_open() in three steps. */
void pair_format(struct pair *p, const struct pair_options *o);
void pair_publish(struct pair *p); /* backend and server thread */
void pair_attach(struct pair *p);

/* What cbd_blkdev_open() is given. */
struct cbd_blkdev_options pair_blkdev_options(const struct pair *p);

void server_start(struct pair *p);
void server_stop(struct pair *p);

/* The backend's process ends without a word; another one takes its place. */
void pair_crash(struct pair *p);

/* The epoch of its first queue, 0: not attached. */
uint64_t pair_epoch(struct pair *p);

/* The beats of the backend that the blkdev has seen last. */
uint64_t pair_beats(struct pair *p);

/* Of a queue, under its lock: its state, the epoch of its channel (also of one that it
 * has left), how often it has left one; and where its grant line is. */
enum cbd_queue_state queue_state(struct cbd_queue *q);
uint64_t queue_epoch(struct cbd_queue *q);
unsigned queue_leaves(struct cbd_queue *q);
void *queue_grant(struct cbd_queue *q);

/* With the server stopped: one tick, one fetch. */
unsigned pair_fetch(struct pair *p, struct cbd_request **r, unsigned max);

/* The same until N requests were fetched, with a bound. */
void pair_fetch_all(struct pair *p, struct cbd_request **r, unsigned n);

/* Execute on the disk and complete. */
void pair_complete(struct pair *p, struct cbd_request *r);

/* One submission with COOKIE; the completions that have come, waiting. */
void pair_submit(struct pair *p, enum cbd_op op, void *buf, uint64_t offset, uint64_t length,
		 uintptr_t cookie);
struct cbd_completion pair_reap(struct pair *p);

/* No completion is there. */
void pair_reap_none(struct pair *p);

/* ------------------------------------------------------------------- ways */

/* Kinds of memory, without and with payload CRC: I is below WAYS. */
#define WAYS 3
struct pair_options way(int i);
struct pair_options stepping(int i); /* the same, stepping */

/* SIZE bytes, filled; for free(). */
unsigned char *new_buffer(size_t size, uint64_t seed);

/* --------------------------------------------------------------- machines */

/*
 * What the operating system would tell of another machine or boot, told to a transport
 * that is open: the only places of the tests that change its identity and its locks.
 *
 * unit_machine(): T is of machine WHO, whose locks go to a file of its own: local locks
 * do not reach it, as between real hosts.  unit_identity(): WHO and its locks stay where
 * they are.  unit_reboot(): machine T has booted again; after a second call it
 * is the boot before.  unit_clone(): T has the identity
 * of machine OF, and its own boot.  unit_container(): T, which has not joined, has the
 * identity WHO and the boot that it had, as a container with a machine-id of its own.
 */
void unit_machine(struct cbd_transport *t, unsigned char who);
void unit_identity(struct cbd_transport *t, unsigned char who);
void unit_reboot(struct cbd_transport *t);
void unit_container(struct cbd_transport *t, unsigned char who);
void unit_clone(struct cbd_transport *t, const struct cbd_transport *of);

/* ------------------------------------------------------------------ worker */

/* COUNT requests of all operations on a part of the disk, against a shadow. */
struct worker {
	struct cbd_queue *q;
	uint64_t start, size; /* nobody else writes there */
	uint64_t seed;
	unsigned count;
	unsigned char *shadow, *buf;
	int error; /* negative errno; -EILSEQ: wrong data */
};

/* A thread's function. */
void *work(void *worker);

#endif
