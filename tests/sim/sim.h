/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim.h - hosts with caches of their own, in one process and repeatable.
 *
 * A world is one shared memory, some hosts, processes on them and fibres in these.
 * Exactly one fibre runs; it gives up the CPU only inside the functions of cpu-sim.h
 * and those of libc that libc.c replaces.  All that is random comes from the seed,
 * and so does the clock: the same seed gives the same run.  See README.md.
 */
#ifndef CBD_SIM_H
#define CBD_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "transport/transport.h"

#define SIM_HOSTS 4
#define SIM_PROCS 4096 /* in the life of a world */
#define SIM_MAPS 4     /* of one process */
#define SIM_NEVER UINT64_MAX
#define SIM_MS 1000000ull
#define SIM_LINE 64

/* How a world treats its hosts: the chance of each event a step is 1 in so many; 0 is
 * never. */
struct sim_noise {
	unsigned turn;	/* another fibre goes on */
	unsigned evict; /* a line leaves a cache, written back if it is dirty */
	unsigned fill;	/* a line is brought into a cache that nobody asked for */
	unsigned early; /* an instruction that waits for its fence takes effect, or a part of it */
	unsigned pause; /* a fibre loses its CPU, for up to pause_us */
	unsigned pause_us;
	unsigned doze; /* before a 32-bit store, and before a sleep: for up to 0.1 ms */
};

/* What fails a run, beside wrong data: each may be switched off to see what the others
 * find. */
struct sim_rules {
	bool two_dirty;	    /* a line is dirty in two caches, by two living processes */
	bool stale;	    /* a stale line is read that was not invalidated since */
	bool not_written;   /* a fence passes, and a line stored before it is dirty still */
	bool dirty_dropped; /* an invalidate finds a line dirty that its writer left */
	bool dirty_at_exit; /* an orderly exit leaves dirty lines */
	bool no_crc;	    /* payload CRCs are constant: what they heal is wrong data */
	/* CRCs of entries are constant, and a write-back is that of a whole line: what they
	 * heal is a wrong request or answer */
	bool no_entry_crc;
};

struct sim_line {
	uint64_t word[8];
	uint8_t state; /* enum in cache.c */
	bool hint;     /* dirty by a bell or a flag: 32-bit words between processes of a host */
	uint32_t at;   /* place in the list of lines that are present */
	struct sim_fibre *writer;
	struct sim_proc *owner; /* the process of the last store */
};

struct sim_host {
	unsigned id;
	bool on;
	uint8_t uuid[16], boot_id[16];
	uint64_t clock_offset;
	struct sim_line *cache;
	uint32_t *present, n_present;
	struct {
		uint32_t line;
		uint64_t word[8];
	} * late; /* dirty lines of a host that lost power, on their way to memory */
	unsigned n_late;
};

struct sim_map {
	char *base;
	size_t size;
};

struct sim_proc {
	unsigned id;
	const char *name;
	struct sim_host *host;
	bool alive;
	bool ended; /* in order: its main function has returned */
	int result;
	struct sim_map maps[SIM_MAPS];
	unsigned n_maps;
	int fds[64];
	unsigned n_fds;
	uint64_t stopped_until; /* no fibre of it runs before */
	uint64_t stores;	/* lines, and pieces of payload, stored so far */
	/* killed right behind this line, before it is written back, or inside this piece; 0 */
	uint64_t die_at_store;
	uint64_t died_line;
	uint32_t die_at_line; /* the same, behind the next store of this line; 0 */
	/* Halted, until sim_go_on(): behind this store, before it is written back or behind
	 * the fence that completes it; or where libcbd names this place. */
	uint64_t halt_at_store;
	bool halt_written;
	const char *halt_at_step;
	bool halted;
	/* Behind the load of the first word of this line a thread loses its CPU, for 50 ms;
	 * halted behind the store of the second word of this one.  0: none. */
	uint32_t doze_in_line, halt_in_line;
	int (*fn)(struct sim_proc *, void *);
	void *arg;
};

struct sim_op {
	uint32_t line;
	uint8_t kind; /* enum in cache.c */
	uint8_t mask; /* of words, for a store around the cache */
	uint64_t word[8];
};

struct sim_fibre {
	struct sim_proc *proc; /* NULL: the director */
	const char *name;
	ucontext_t ctx;
	char *stack;
	bool dead, asleep;
	bool paused; /* lost its CPU: nothing wakes it early */
	uint64_t wake_ns;
	const void *keys[130]; /* what it waits for */
	unsigned n_keys;
	bool woken;
	int saved_errno;
	void *(*fn)(void *);
	void *arg, *ret;
	struct sim_op *ops; /* instructions that are not fenced yet */
	unsigned n_ops, room;
	uint32_t stored[16]; /* lines since the last fence */
	unsigned n_stored;
	bool halt_at_fence;
	/* by line: 0x100 when it was invalidated, and the words loaded since */
	uint16_t *seen;
};

struct sim_counts {
	uint64_t steps, turns, evictions, fills, torn, pauses, kills, losses, late;
	uint64_t long_pauses; /* of 150 ms and more */
	uint64_t lines_stored, lines_loaded, stale_hits;
	uint64_t handler_retries;
};

struct sim_world {
	uint64_t seed, random, entropy;
	uint64_t now_ns;
	uint64_t limit_ns; /* of virtual time: a run that gets there hangs */
	struct sim_noise noise;
	struct sim_rules rules;
	struct sim_counts count;
	struct sim_host hosts[SIM_HOSTS];
	struct sim_proc *procs[SIM_PROCS];
	unsigned n_procs;
	struct sim_fibre **fibres;
	unsigned n_fibres, room_fibres;
	struct sim_fibre *current;
	uint64_t (*memory)[8];
	uint32_t n_lines;
	char path[64];
	struct cbd_header header; /* to name lines */
	bool trace;
	uint64_t due_step; /* of sim_cache_write_back_dead_at(); 0: nothing */
	struct sim_host *due_host;
	uint32_t bad_line; /* a word of it is stuck, in memory; 0 */
};

extern struct sim_world sim;

/* --- the world (world.c) --- */

/* A fresh one; SIZE bytes of shared memory behind sim.path. */
void sim_begin(uint64_t seed, size_t size);

/* Run FN as the director until it returns; then the world is over. */
void sim_run(void (*fn)(void *), void *arg);
void sim_end(void);

uint64_t sim_random(void);
static inline uint64_t sim_below(uint64_t n)
{
	return sim_random() % n;
}
static inline bool sim_chance(unsigned one_in)
{
	return one_in && sim_random() % one_in == 0;
}

/* The run is wrong: say where and how to repeat it, and end the process. */
void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *sim_line_name(uint32_t line);

/* --- processes --- */

struct sim_proc *sim_spawn(struct sim_host *h, const char *name,
			   int (*fn)(struct sim_proc *, void *), void *arg);
void sim_kill(struct sim_proc *p); /* as by SIGKILL: what it stored stays in the cache */
void sim_stop(struct sim_proc *p, uint64_t ns);
void sim_halt(void); /* this process, here */
void sim_go_on(struct sim_proc *p);
void sim_power_off(struct sim_host *h, unsigned percent_lost);
/* What was late has come by then. */
void sim_boot(struct sim_host *h, bool new_boot_id);
/* As sim_power_off() and sim_boot(), but the cache of the machine keeps what it has. */
void sim_reboot_vm(struct sim_host *h);
void sim_exit_check(struct sim_proc *p);

/* --- fibres (world.c) --- */

struct sim_fibre *sim_fibre_new(struct sim_proc *p, const char *name, void *(*fn)(void *),
				void *arg);
void sim_step(void); /* a place where others may run */
void sim_turn(void); /* let another one run */
void sim_sleep(uint64_t ns);
bool sim_wait(const void *key, uint64_t until_ns); /* true: woken */
void sim_pause(uint64_t ns);			   /* nothing wakes it early */
bool sim_wait_any(const void *const *keys, unsigned n, uint64_t until_ns);
void sim_wake(const void *key, unsigned most);

/* --- caches (cache.c) --- */

void sim_cache_begin(void);
void sim_cache_noise(void);
void sim_cache_drain(struct sim_fibre *f); /* its instructions take effect */
void sim_cache_process_died(struct sim_proc *p);
void sim_cache_power_off(struct sim_host *h, unsigned percent_lost);
void sim_cache_late_end(struct sim_host *h);
/* All that dead processes have left dirty; and the same at a step to come. */
void sim_cache_write_back_dead(struct sim_host *h);
void sim_cache_write_back_dead_at(struct sim_host *h, uint64_t step);
/* The processes of this host have swept: nothing that a dead one stored is dirty. */
void sim_cache_left_check(struct sim_host *h);
/* In memory, and in no cache: as by a fault of the memory. */
void sim_cache_damage(uint32_t line);
void sim_cache_exit_check(struct sim_proc *p);
void sim_cache_sleep_check(void); /* of this fibre, before it sleeps */
void sim_cache_lock_check(void);  /* before it takes a lock */
void sim_cache_evict(struct sim_host *h, uint32_t line);
bool sim_cache_dirty(struct sim_host *h, uint32_t line);
/* Where a word of shared memory is, as another process may map it elsewhere; or itself. */
const void *sim_key(const void *p);
bool sim_is_shared(const void *p);
uint32_t sim_line_of(const void *p);

#endif
