/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * load.c - threads that keep queues full, and the check of what they read.
 *
 * Every request in flight is a slot.  Slot I of N works on the blocks I, I + N,
 * I + 2 N, ...: no two requests in flight touch the same block, so each knows
 * exactly what it has to read.  A sequential load takes them in this order: as a
 * whole it goes through the device.
 *
 * Several threads on one queue share its slots: who reaps a completion submits
 * the slot's next request.  The queue's lock orders them.
 */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "../common/progress.h"
#include "load.h"

#define SECTOR 512u
#define BATCH 64u

struct slot {
	char *buf;
	uint64_t index, blocks; /* which, and how many it has */
	uint64_t next;		/* of a sequential load */
	uint64_t block;		/* that is in flight */
	bool write;
	uint64_t since_ns;
};

/* What the threads of one queue share. */
struct group {
	struct cbd_queue *q;
	pthread_mutex_t lock;
	unsigned left; /* slots that are in flight or going to be */
};

struct load {
	const struct load_options *o;
	struct cbd_blkdev *b;
	struct slot *slots;
	unsigned n_slots;
	uint32_t *versions; /* of each block; of the slot that it belongs to */
	uint64_t start_ns, end_ns;
};

struct thread {
	pthread_t id;
	struct load *l;
	struct group *g;
	unsigned first; /* slot */
	unsigned cpu;
	uint64_t random;
	bool failed;
	struct histogram read, write;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void complain(const char *format, ...)
{
	va_list args;

	progress_stop();
	flockfile(stderr);
	fputs("cbd-bench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	funlockfile(stderr);
}

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint64_t next_random(struct thread *t)
{
	t->random += 0x9e3779b97f4a7c15ull;
	return mix(t->random);
}

/* ---------------------------------------------------------------- content */

/* Every word of a sector depends on seed, place and version. */
static void stamp(const struct load *l, char *buf, uint64_t block, uint32_t version)
{
	uint64_t offset = block * l->o->block;

	for (uint64_t at = 0; at < l->o->block; at += sizeof(uint64_t)) {
		uint64_t word = mix(l->o->seed ^ mix((offset + at) << 20 ^ version));

		memcpy(buf + at, &word, sizeof(word));
	}
}

static bool check(const struct load *l, const struct slot *s)
{
	uint64_t offset = s->block * l->o->block;
	uint32_t version = l->versions[s->block];

	for (uint64_t at = 0; at < l->o->block; at += sizeof(uint64_t)) {
		uint64_t word = mix(l->o->seed ^ mix((offset + at) << 20 ^ version));

		if (memcmp(s->buf + at, &word, sizeof(word)) != 0) {
			complain("byte %llu is not what was written last (version %u)",
				 (unsigned long long)(offset + at), version);
			return false;
		}
	}
	return true;
}

/* --------------------------------------------------------------- requests */

static bool sequential(enum load_kind kind)
{
	return kind >= LOAD_READ;
}

static bool is_write(struct thread *t)
{
	switch (t->l->o->kind) {
	case LOAD_RANDREAD:
	case LOAD_READ:
		return false;
	case LOAD_RANDWRITE:
	case LOAD_WRITE:
		return true;
	default:
		return next_random(t) % 100 >= t->l->o->read_share;
	}
}

static void choose(struct thread *t, struct slot *s)
{
	struct load *l = t->l;
	uint64_t k = sequential(l->o->kind) ? s->next++ % s->blocks : next_random(t) % s->blocks;

	s->block = s->index + k * l->n_slots;
	s->write = is_write(t);
	if (s->write && l->o->verify)
		stamp(l, s->buf, s->block, ++l->versions[s->block]);
}

static int submit(struct thread *t, struct slot *s)
{
	struct load *l = t->l;
	const struct cbd_io io = {
		.op = s->write ? CBD_OP_WRITE : CBD_OP_READ,
		.flags = s->write && l->o->fua ? CBD_IO_FUA : 0,
		.offset = s->block * l->o->block,
		.length = l->o->block,
		.buf = s->buf,
		.cookie = s,
	};

	if (cbd_queue_submit(t->g->q, &io, 1) < 0) {
		complain("%s", cbd_errmsg());
		return -1;
	}
	return 0;
}

/* Begin a request of this slot. */
static int start(struct thread *t, struct slot *s, uint64_t now)
{
	choose(t, s);
	s->since_ns = now;
	return submit(t, s);
}

static bool finished(struct thread *t, const struct cbd_completion *c, uint64_t now)
{
	struct slot *s = c->cookie;
	struct load *l = t->l;

	if (c->result < 0) {
		complain("%s of %llu bytes at %llu: %s", s->write ? "write" : "read",
			 (unsigned long long)l->o->block,
			 (unsigned long long)(s->block * l->o->block), strerror(-c->result));
		return false;
	}
	if (s->since_ns >= l->start_ns && now < l->end_ns)
		histogram_add(s->write ? &t->write : &t->read, now - s->since_ns);
	return s->write || !l->o->verify || check(l, s);
}

/* Between two requests of a load that pauses; not beyond the end. */
static uint64_t think(const struct load *l, uint64_t now)
{
	uint64_t pause_ns = l->o->think_ms * 1000000ull;

	if (pause_ns == 0 || now >= l->end_ns)
		return now;
	if (pause_ns > l->end_ns - now)
		pause_ns = l->end_ns - now;
	usleep((useconds_t)(pause_ns / 1000 + 1));
	return now_ns();
}

/* --------------------------------------------------------------- progress */

/* Of load_run(), for load_tell(): blocks of a pass over all, or the end of a measurement. */
static _Atomic(const char *) doing = "beginning";
static atomic_uint_fast64_t done_blocks, all_blocks, begun_ns, ends_ns;

static void begin_pass(const char *what, uint64_t blocks)
{
	done_blocks = 0;
	all_blocks = blocks;
	doing = what;
}

static void begin_time(uint64_t begin, uint64_t end)
{
	begun_ns = begin;
	ends_ns = end;
	all_blocks = 0;
	doing = "measuring";
}

void load_tell(char *text, size_t size)
{
	uint64_t all = all_blocks, now = now_ns(), begun = begun_ns, end = ends_ns;

	if (all > 0)
		snprintf(text, size, "%s, %u%%", doing, (unsigned)(done_blocks * 100 / all));
	else if (end > 0)
		snprintf(text, size, "%s, %.0f of %.0f s", doing,
			 (double)((now < end ? now : end) - begun) / 1e9,
			 (double)(end - begun) / 1e9);
	else
		snprintf(text, size, "%s", doing);
}

/* ---------------------------------------------------------------- threads */

static void pin(const struct load_options *o, unsigned i)
{
	cpu_set_t set;

	if (o->n_cpus == 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(o->cpus[i % o->n_cpus], &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set) != 0)
		complain("CPU %u: cannot be used", o->cpus[i % o->n_cpus]);
}

/* This slot gets no more requests. Returns the number of slots that still do. */
static unsigned retire(struct group *g, unsigned n)
{
	unsigned left;

	pthread_mutex_lock(&g->lock);
	g->left -= n;
	left = g->left;
	pthread_mutex_unlock(&g->lock);
	return left;
}

/* Begin a slot's next request, until the time is over. */
static void go_on(struct thread *t, struct slot *s, uint64_t now)
{
	now = think(t->l, now);
	if (t->failed || now >= t->l->end_ns) {
		retire(t->g, 1);
	} else if (start(t, s, now) < 0) {
		t->failed = true;
		retire(t->g, 1);
	}
}

static void turn(struct thread *t)
{
	struct cbd_completion done[BATCH];
	/* threads that share a queue reap each other's last requests */
	int timeout_ms = t->l->o->threads > 1 ? 10 : -1;
	int n = cbd_queue_poll(t->g->q, done, timeout_ms != 0, BATCH, timeout_ms);
	uint64_t now = now_ns();

	for (int i = 0; i < n; i++) {
		if (!finished(t, &done[i], now))
			t->failed = true;
		go_on(t, done[i].cookie, now);
	}
}

static void *thread_main(void *opaque)
{
	struct thread *t = opaque;
	struct load *l = t->l;

	pin(l->o, t->cpu);
	for (unsigned i = 0; i < l->o->depth; i++)
		go_on(t, &l->slots[t->first + i], now_ns());
	while (retire(t->g, 0) > 0)
		turn(t);
	return NULL;
}

static void thread_init(struct thread *t, struct load *l, struct group *groups, unsigned i)
{
	t->l = l;
	t->g = &groups[i % l->o->queues];
	t->first = i * l->o->depth;
	t->cpu = i;
	t->random = mix(l->o->seed + i);
}

/* Returns how many were started. */
static unsigned start_threads(struct load *l, struct thread *threads, struct group *groups)
{
	unsigned n = l->o->queues * l->o->threads;

	for (unsigned i = 0; i < l->o->queues; i++) {
		groups[i].q = cbd_blkdev_queue(l->b, i);
		groups[i].left = l->o->threads * l->o->depth;
		pthread_mutex_init(&groups[i].lock, NULL);
	}
	for (unsigned i = 0; i < n; i++) {
		int err;

		thread_init(&threads[i], l, groups, i);
		err = pthread_create(&threads[i].id, NULL, thread_main, &threads[i]);
		if (err != 0) {
			complain("thread: %s", strerror(err));
			for (unsigned k = i; k < n; k++)
				retire(&groups[k % l->o->queues], l->o->depth);
			return i;
		}
	}
	return n;
}

static int run_threads(struct load *l, struct load_result *result)
{
	unsigned n = l->o->queues * l->o->threads, started;
	struct thread *threads = calloc(n, sizeof(*threads));
	struct group *groups = calloc(l->o->queues, sizeof(*groups));
	int r = 0;

	started = threads && groups ? start_threads(l, threads, groups) : 0;
	for (unsigned i = 0; i < started; i++) {
		pthread_join(threads[i].id, NULL);
		histogram_merge(&result->read, &threads[i].read);
		histogram_merge(&result->write, &threads[i].write);
		if (threads[i].failed)
			r = -1;
	}
	free(threads);
	free(groups);
	return started == n ? r : -1;
}

/* ----------------------------------------------------------------- verify */

/* All blocks, one after the other, in slot 0's buffer. */
static int whole(struct load *l, bool write)
{
	struct slot *s = &l->slots[0];
	struct cbd_queue *q = cbd_blkdev_queue(l->b, 0);
	uint64_t blocks = l->o->size / l->o->block;

	begin_pass(write ? "writing all blocks" : "reading all blocks", blocks);
	for (s->block = 0; s->block < blocks; s->block++, done_blocks++) {
		uint64_t offset = s->block * l->o->block;
		int r;

		if (write)
			stamp(l, s->buf, s->block, ++l->versions[s->block]);
		r = write ? cbd_queue_write(q, s->buf, l->o->block, offset, 0)
			  : cbd_queue_read(q, s->buf, l->o->block, offset);
		if (r < 0) {
			complain("%s", cbd_errmsg());
			return -1;
		}
		if (!write && !check(l, s))
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------------- load */

static double cpu_seconds(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
	       (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

static int measure(struct load *l, struct load_result *result)
{
	struct rusage before, after;
	uint64_t now = now_ns();
	int r;

	l->start_ns = now + (uint64_t)(l->o->ramp_s * 1e9);
	l->end_ns = l->start_ns + (uint64_t)(l->o->seconds * 1e9);
	begin_time(now, l->end_ns);
	getrusage(RUSAGE_SELF, &before);
	r = run_threads(l, result);
	getrusage(RUSAGE_SELF, &after);
	result->seconds = l->o->seconds;
	/* these are of the whole time */
	result->cpu_s = (cpu_seconds(&after) - cpu_seconds(&before)) * l->o->seconds /
			(l->o->seconds + l->o->ramp_s);
	result->sleeps = (uint64_t)(after.ru_nvcsw - before.ru_nvcsw);
	result->preempted = (uint64_t)(after.ru_nivcsw - before.ru_nivcsw);
	return r;
}

static int make_slots(struct load *l)
{
	uint64_t blocks = l->o->size / l->o->block;

	l->n_slots = l->o->queues * l->o->threads * l->o->depth;
	if (blocks < l->n_slots) {
		complain("%u requests in flight need as many blocks of the device", l->n_slots);
		return -1;
	}
	l->slots = calloc(l->n_slots, sizeof(*l->slots));
	l->versions = calloc(blocks, sizeof(*l->versions));
	if (!l->slots || !l->versions)
		return -1;
	for (unsigned i = 0; i < l->n_slots; i++) {
		struct slot *s = &l->slots[i];

		s->index = i;
		s->blocks = (blocks - i + l->n_slots - 1) / l->n_slots;
		if (posix_memalign((void **)&s->buf, 4096, l->o->block) != 0)
			return -1;
		memset(s->buf, (int)i + 1, l->o->block);
	}
	return 0;
}

static void free_slots(struct load *l)
{
	for (unsigned i = 0; l->slots && i < l->n_slots; i++)
		free(l->slots[i].buf);
	free(l->slots);
	free(l->versions);
}

int load_run(struct cbd_blkdev *b, const struct load_options *options, struct load_result *result)
{
	struct load l = { .o = options, .b = b };
	int r;

	memset(result, 0, sizeof(*result));
	r = make_slots(&l);
	if (r == 0 && options->verify)
		r = whole(&l, true);
	if (r == 0)
		r = measure(&l, result);
	if (r == 0 && options->verify)
		r = whole(&l, false);
	free_slots(&l);
	return r;
}
