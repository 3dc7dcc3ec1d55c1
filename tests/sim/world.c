/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * world.c - the scheduler, the clock, hosts and processes.
 *
 * Fibres are contexts of one thread.  A fibre that is paused or asleep goes on when its
 * time has come, or, asleep, when it is woken; when none can run the clock moves on to
 * the next time.
 */
#include <config.h>

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim.h"

#define STACK (128u << 10)
#define STEP_NS 25

struct sim_world sim;

static ucontext_t outside;
static struct sim_fibre *buried; /* its stack can go when another one runs */

/* ---------------------------------------------------------------- reports */

#define EVENTS 64
static char events[EVENTS][200];
static unsigned n_events;

static const char *who(char *text, size_t size)
{
	const struct sim_fibre *f = sim.current;

	if (!f || !f->proc)
		snprintf(text, size, "director");
	else
		snprintf(text, size, "host %u %s[%u]/%s", f->proc->host->id, f->proc->name,
			 f->proc->id, f->name);
	return text;
}

void sim_trace(const char *format, ...)
{
	char *at = events[n_events++ % EVENTS], name[80];
	int n = snprintf(at, 200, "%8llu %9.3f ms %s: ", (unsigned long long)sim.count.steps,
			 (double)sim.now_ns / 1e6, who(name, sizeof(name)));
	va_list args;

	va_start(args, format);
	vsnprintf(at + n, 200 - (size_t)n, format, args);
	va_end(args);
	if (sim.trace)
		fprintf(stderr, "%s\n", at);
}

static void report_events(void)
{
	unsigned n = n_events < EVENTS ? n_events : EVENTS;

	if (sim.trace)
		return;
	for (unsigned i = n_events - n; i < n_events; i++)
		fprintf(stderr, "  %s\n", events[i % EVENTS]);
}

void sim_fail(const char *format, ...)
{
	void *frames[40];
	char name[80];
	va_list args;

	report_events();
	fprintf(stderr, "FAIL seed %llu, step %llu, %.3f ms, %s: ", (unsigned long long)sim.seed,
		(unsigned long long)sim.count.steps, (double)sim.now_ns / 1e6,
		who(name, sizeof(name)));
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	backtrace_symbols_fd(frames, backtrace(frames, 40), 2);
	fflush(stderr);
	unlink(sim.path);
	_exit(1);
}

static const char *const host_lines[] = { "state", "beat", "name" };
static const char *const backend_lines[] = { "state",	 "beat",   "geometry",
					     "identity", "access", "name" };
static const char *const blkdev_lines[] = { "state", "beat", "request", "doorbell" };
static const char *const channel_backend_lines[] = { "grant", "CE bell", "handler sleeps" };
static const char *const channel_blkdev_lines[] = { "leave", "SE bell", "blkdev sleeps" };

static const char *pick(const char *const *names, size_t n, unsigned i)
{
	return i < n ? names[i] : "line";
}
#define PICK(names, i) pick(names, sizeof(names) / sizeof(names[0]), i)

static void name_slot(char *text, size_t size, uint64_t at, unsigned slot_pages, int kind)
{
	unsigned slot = (unsigned)(at / CBD_PAGE_SIZE / slot_pages);
	unsigned page = (unsigned)(at / CBD_PAGE_SIZE % slot_pages);
	unsigned line = (unsigned)(at % CBD_PAGE_SIZE / SIM_LINE);

	if (kind == 0 && page == 0)
		snprintf(text, size, "host %u claim", slot);
	else if (kind == 0 && page == CBD_HOST_INFO)
		snprintf(text, size, "host %u %s", slot, PICK(host_lines, line));
	else if (kind == 0)
		snprintf(text, size, "host %u request to backend %u", slot, line);
	else if (page == 0)
		snprintf(text, size, "%s %u claim of host %u", kind == 1 ? "backend" : "blkdev",
			 slot, line);
	else if (page == 2)
		snprintf(text, size, "%s %u counters", kind == 1 ? "backend" : "blkdev", slot);
	else if (kind == 1 && page == CBD_BACKEND_INFO)
		snprintf(text, size, "backend %u %s", slot, PICK(backend_lines, line));
	else if (kind == 1)
		snprintf(text, size, "backend %u reply to blkdev %u", slot, line);
	else
		snprintf(text, size, "blkdev %u %s", slot, PICK(blkdev_lines, line));
}

static void name_channel(char *text, size_t size, uint64_t at)
{
	const struct cbd_header *h = &sim.header;
	unsigned ch = (unsigned)(at / h->channel_size);
	unsigned page = (unsigned)(at % h->channel_size / CBD_PAGE_SIZE);
	unsigned line = (unsigned)(at % CBD_PAGE_SIZE / SIM_LINE);
	unsigned ring = (h->ring_slots * SIM_LINE + CBD_PAGE_SIZE - 1) / CBD_PAGE_SIZE;
	const char *what = "data";

	if (page < CBD_CHANNEL_RINGS && line >= CBD_CHANNEL_COUNTERS)
		what = "counters";
	else if (page == CBD_CHANNEL_BACKEND)
		what = PICK(channel_backend_lines, line);
	else if (page == CBD_CHANNEL_BLKDEV)
		what = PICK(channel_blkdev_lines, line);
	else if (page < CBD_CHANNEL_RINGS + ring)
		what = "SE";
	else if (page < CBD_CHANNEL_RINGS + 2 * ring)
		what = "CE";
	snprintf(text, size, "channel %u of backend %u: %s (page %u line %u)", ch % h->channels,
		 ch / h->channels, what, page, line);
}

const char *sim_line_name(uint32_t line)
{
	static char texts[4][100];
	static unsigned n;
	char *text = texts[n++ % 4];
	const struct cbd_header *h = &sim.header;
	uint64_t at = (uint64_t)line * SIM_LINE;

	snprintf(text, 100, "line %u", line);
	if (h->size == 0)
		return text;
	if (at >= h->copy_area.offset || at < h->host_area.offset)
		snprintf(text, 100, "header line %u", line);
	else if (at >= h->channel_area.offset)
		name_channel(text, 100, at - h->channel_area.offset);
	else if (at >= h->blkdev_area.offset)
		name_slot(text, 100, at - h->blkdev_area.offset, CBD_BLKDEV_PAGES, 2);
	else if (at >= h->backend_area.offset)
		name_slot(text, 100, at - h->backend_area.offset, cbd_backend_pages(h), 1);
	else
		name_slot(text, 100, at - h->host_area.offset, cbd_host_pages(h), 0);
	return text;
}

/* ----------------------------------------------------------------- random */

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

uint64_t sim_random(void)
{
	return next(&sim.random);
}

/* -------------------------------------------------------------- scheduler */

static bool can_run(struct sim_fibre *f)
{
	if (f->dead || (f->proc && f->proc->stopped_until > sim.now_ns))
		return false;
	if (!f->asleep)
		return true;
	return (f->woken && !f->paused) || f->wake_ns <= sim.now_ns;
}

/* The clock at which this one can run, if nobody wakes it. */
static uint64_t when(const struct sim_fibre *f)
{
	uint64_t at = !f->asleep || (f->woken && !f->paused) ? sim.now_ns : f->wake_ns;

	if (f->dead)
		return SIM_NEVER;
	if (f->proc && f->proc->stopped_until > at)
		return f->proc->stopped_until;
	return at;
}

static struct sim_fibre *choose(void)
{
	for (;;) {
		unsigned start = (unsigned)sim_below(sim.n_fibres);
		uint64_t soonest = SIM_NEVER;

		for (unsigned i = 0; i < sim.n_fibres; i++) {
			struct sim_fibre *f = sim.fibres[(start + i) % sim.n_fibres];

			if (can_run(f))
				return f;
			if (when(f) < soonest)
				soonest = when(f);
		}
		if (soonest == SIM_NEVER)
			sim_fail("nothing can run any more");
		sim.now_ns = soonest;
		if (sim.now_ns > sim.limit_ns)
			sim_fail("hangs: %llu ms of virtual time are over",
				 (unsigned long long)(sim.limit_ns / SIM_MS));
	}
}

static void switch_to(struct sim_fibre *f)
{
	struct sim_fibre *old = sim.current;

	f->asleep = f->paused = false;
	if (f == old)
		return;
	sim.count.turns++;
	old->saved_errno = errno;
	sim.current = f;
	swapcontext(&old->ctx, &f->ctx);
	errno = sim.current->saved_errno;
	if (buried) {
		munmap(buried->stack, STACK);
		buried->stack = NULL;
		buried = NULL;
	}
}

void sim_turn(void)
{
	switch_to(choose());
}

void sim_pause(uint64_t ns)
{
	struct sim_fibre *f = sim.current;

	f->asleep = f->paused = true;
	f->woken = false;
	f->wake_ns = sim.now_ns + ns;
	sim_turn();
}

static void pause_fibre(void)
{
	uint64_t ns = sim_below(sim.noise.pause_us * 1000ull + 1);

	/* short ones are more frequent */
	if (!sim_chance(8))
		ns /= 100;
	sim.count.pauses++;
	if (ns >= 150 * SIM_MS)
		sim.count.long_pauses++;
	sim_pause(ns);
}

void sim_step(void)
{
	const struct sim_fibre *f = sim.current;

	if (!f || !f->proc)
		return;
	sim.count.steps++;
	sim.now_ns += STEP_NS;
	if (sim.now_ns > sim.limit_ns)
		sim_fail("hangs: %llu ms of virtual time are over",
			 (unsigned long long)(sim.limit_ns / SIM_MS));
	sim_cache_noise();
	if (sim_chance(sim.noise.pause))
		pause_fibre();
	else if (sim_chance(sim.noise.turn) || f->proc->stopped_until > sim.now_ns)
		sim_turn();
}

bool sim_wait_any(const void *const *keys, unsigned n, uint64_t until_ns)
{
	struct sim_fibre *f = sim.current;
	bool woken;

	for (unsigned i = 0; i < n; i++)
		f->keys[i] = keys[i];
	f->n_keys = n;
	f->asleep = true;
	f->woken = false;
	f->wake_ns = until_ns;
	sim_turn();
	f->n_keys = 0;
	woken = f->woken;
	f->woken = false;
	return woken;
}

bool sim_wait(const void *key, uint64_t until_ns)
{
	return sim_wait_any(&key, 1, until_ns);
}

void sim_sleep(uint64_t ns)
{
	sim_wait_any(NULL, 0, sim.now_ns + ns);
}

void sim_wake(const void *key, unsigned most)
{
	unsigned start = (unsigned)sim_below(sim.n_fibres);

	for (unsigned i = 0; i < sim.n_fibres && most > 0; i++) {
		struct sim_fibre *f = sim.fibres[(start + i) % sim.n_fibres];

		for (unsigned k = 0; k < f->n_keys && !f->dead && !f->woken; k++)
			if (f->keys[k] == key) {
				f->woken = true;
				most--;
			}
	}
}

/* ----------------------------------------------------------------- fibres */

static void end_fibre(struct sim_fibre *f)
{
	f->dead = true;
	buried = f;
	sim_wake(f, UINT32_MAX);
	sim_turn();
	abort();
}

static void enter_fibre(void)
{
	struct sim_fibre *f = sim.current;

	if (buried) {
		munmap(buried->stack, STACK);
		buried->stack = NULL;
		buried = NULL;
	}
	f->ret = f->fn(f->arg);
	sim_cache_drain(f);
	end_fibre(f);
}

/* Not itself: a process may still wait for its end. */
static void free_fibre(struct sim_fibre *f)
{
	free(f->ops);
	munmap(f->seen, sim.n_lines * sizeof(uint16_t));
}

static void forget_dead(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < sim.n_fibres; i++)
		if (!sim.fibres[i]->dead || sim.fibres[i] == sim.current || sim.fibres[i] == buried)
			sim.fibres[n++] = sim.fibres[i];
		else
			free_fibre(sim.fibres[i]);
	sim.n_fibres = n;
}

struct sim_fibre *sim_fibre_new(struct sim_proc *p, const char *name, void *(*fn)(void *),
				void *arg)
{
	struct sim_fibre *f = calloc(1, sizeof(*f));

	forget_dead();
	if (sim.n_fibres == sim.room_fibres) {
		sim.room_fibres += 64;
		sim.fibres = realloc(sim.fibres, sim.room_fibres * sizeof(struct sim_fibre *));
	}
	if (!f || !sim.fibres)
		abort();
	f->proc = p;
	f->name = name;
	f->fn = fn;
	f->arg = arg;
	f->seen = mmap(NULL, sim.n_lines * sizeof(uint16_t), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (f->seen == MAP_FAILED)
		abort();
	f->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f->stack == MAP_FAILED || getcontext(&f->ctx) < 0)
		abort();
	f->ctx.uc_stack.ss_sp = f->stack;
	f->ctx.uc_stack.ss_size = STACK;
	f->ctx.uc_link = NULL;
	makecontext(&f->ctx, enter_fibre, 0);
	sim.fibres[sim.n_fibres++] = f;
	return f;
}

/* -------------------------------------------------------------- processes */

void sim_libc_process_died(struct sim_proc *p);

static void *proc_main(void *arg)
{
	struct sim_proc *p = arg;

	p->result = p->fn(p, p->arg);
	sim_cache_drain(sim.current);
	sim_cache_exit_check(p);
	sim_trace("ends, result %d", p->result);
	p->ended = true;
	p->alive = false;
	for (unsigned i = 0; i < sim.n_fibres; i++)
		if (sim.fibres[i]->proc == p && sim.fibres[i] != sim.current)
			sim.fibres[i]->dead = true;
	sim_libc_process_died(p);
	sim_wake(p, UINT32_MAX);
	return NULL;
}

struct sim_proc *sim_spawn(struct sim_host *h, const char *name,
			   int (*fn)(struct sim_proc *, void *), void *arg)
{
	struct sim_proc *p = calloc(1, sizeof(*p));

	if (!p || sim.n_procs == SIM_PROCS)
		abort();
	p->id = sim.n_procs;
	p->name = name;
	p->host = h;
	p->alive = true;
	p->fn = fn;
	p->arg = arg;
	sim.procs[sim.n_procs++] = p;
	sim_trace("starts %s[%u] on host %u", name, p->id, h->id);
	sim_fibre_new(p, "main", proc_main, p);
	return p;
}

void sim_kill(struct sim_proc *p)
{
	bool self = sim.current && sim.current->proc == p;

	if (!p->alive)
		return;
	sim_trace("%s[%u] of host %u is killed", p->name, p->id, p->host->id);
	sim.count.kills++;
	sim_cache_process_died(p);
	p->alive = false;
	p->result = -EINTR;
	for (unsigned i = 0; i < sim.n_fibres; i++) {
		struct sim_fibre *f = sim.fibres[i];

		if (f->proc != p || f->dead)
			continue;
		f->dead = true;
		if (f != sim.current) {
			munmap(f->stack, STACK);
			f->stack = NULL;
		}
	}
	sim_libc_process_died(p);
	sim_wake(p, UINT32_MAX);
	if (self) {
		buried = sim.current;
		sim_turn();
		abort();
	}
}

void sim_stop(struct sim_proc *p, uint64_t ns)
{
	sim_trace("%s[%u] of host %u is stopped for %llu ms", p->name, p->id, p->host->id,
		  (unsigned long long)(ns / SIM_MS));
	p->stopped_until = sim.now_ns + ns;
	if (ns >= 150 * SIM_MS)
		sim.count.long_pauses++;
}

void sim_halt(void)
{
	struct sim_proc *p = sim.current->proc;

	sim_trace("halts");
	p->halt_at_store = 0;
	p->halt_at_step = NULL;
	p->halted = true;
	p->stopped_until = SIM_NEVER;
	sim_turn();
}

void sim_go_on(struct sim_proc *p)
{
	sim_trace("%s[%u] of host %u goes on", p->name, p->id, p->host->id);
	p->halted = false;
	p->stopped_until = 0;
}

/* ------------------------------------------------------------------ hosts */

void sim_power_off(struct sim_host *h, unsigned percent_lost)
{
	sim_trace("host %u loses power", h->id);
	for (unsigned i = 0; i < sim.n_procs; i++)
		if (sim.procs[i]->host == h && sim.procs[i]->alive)
			sim_kill(sim.procs[i]);
	sim_cache_power_off(h, percent_lost);
	h->on = false;
}

void sim_boot(struct sim_host *h, bool new_boot_id)
{
	if (new_boot_id)
		for (unsigned i = 0; i < 16; i++)
			h->boot_id[i] = (uint8_t)next(&sim.entropy);
	h->on = true;
	sim_cache_late_end(h);
	sim_trace("host %u boots", h->id);
}

void sim_reboot_vm(struct sim_host *h)
{
	sim_trace("host %u, a virtual machine, starts again", h->id);
	for (unsigned i = 0; i < sim.n_procs; i++)
		if (sim.procs[i]->host == h && sim.procs[i]->alive)
			sim_kill(sim.procs[i]);
	sim_boot(h, true);
}

/* ------------------------------------------------------------------ world */

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	sim_fail("signal %d at %p%s", sig, info->si_addr,
		 sim_is_shared(info->si_addr) ? ": shared memory, around the interface" : "");
}

static void catch_faults(void)
{
	static char stack[65536];
	stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigaltstack(&alt, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGABRT, &action, NULL);
	sigaction(SIGFPE, &action, NULL);
}

/* SIM_RULES_OFF: names of rules, to see what the others find. */
static void set_rules(void)
{
	const char *off = getenv("SIM_RULES_OFF");

	sim.rules = (struct sim_rules){ true, true, true, true, true, false, false };
	if (!off)
		return;
	sim.rules.two_dirty = !strstr(off, "two-dirty");
	sim.rules.stale = !strstr(off, "stale");
	sim.rules.not_written = !strstr(off, "not-written");
	sim.rules.dirty_dropped = !strstr(off, "dirty-dropped");
	sim.rules.dirty_at_exit = !strstr(off, "dirty-at-exit");
}

void sim_begin(uint64_t seed, size_t size)
{
	int fd;

	memset(&sim, 0, sizeof(sim));
	sim.seed = seed;
	/* worlds of neighbouring seeds share no part of the sequence */
	sim.random = seed;
	sim.random = next(&sim.random) ^ 0x5851f42d4c957f2dull;
	sim.entropy = sim_random();
	sim.now_ns = 1000 * SIM_MS;
	sim.limit_ns = SIM_NEVER;
	sim.n_lines = (uint32_t)(size / SIM_LINE);
	sim.trace = getenv("SIM_TRACE") != NULL;
	set_rules();
	sim.noise = (struct sim_noise){ .turn = 8, .evict = 50, .fill = 50, .early = 8 };
	snprintf(sim.path, sizeof(sim.path), "/dev/shm/cbd-sim-XXXXXX");
	fd = mkstemp(sim.path);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
		perror(sim.path);
		exit(1);
	}
	close(fd);
	catch_faults();
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		struct sim_host *h = &sim.hosts[i];

		h->id = i;
		for (unsigned k = 0; k < 16; k++)
			h->uuid[k] = (uint8_t)next(&sim.entropy);
		h->clock_offset = next(&sim.entropy) % (1000000 * SIM_MS);
		sim_boot(h, true);
	}
	sim_cache_begin();
}

struct director {
	void (*fn)(void *);
	void *arg;
};

static void *direct(void *arg)
{
	struct director *d = arg;

	d->fn(d->arg);
	swapcontext(&sim.current->ctx, &outside);
	return NULL;
}

void sim_run(void (*fn)(void *), void *arg)
{
	struct director d = { fn, arg };

	sim.current = sim_fibre_new(NULL, "director", direct, &d);
	swapcontext(&outside, &sim.current->ctx);
	sim.current = NULL;
}

void sim_end(void)
{
	unlink(sim.path);
}
