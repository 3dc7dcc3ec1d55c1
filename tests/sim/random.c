/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * random.c - random runs: each seed is a world of its own, in a process of its own.
 *
 * Usage: sim-random [SEED].  SIM_SEED: the first seed (1); SIM_STEPS: how many steps in
 * all; SIM_ONLY: a kind of run.  Ends with status 1 at the first run that fails.
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actors.h"

#define SIZE (6ull << 20)
#define CLIENTS 4
#define STEPS_DEFAULT 20000000ull

struct totals {
	struct sim_counts count;
	uint64_t runs, requests, resends, bad_payloads, leaves;
	uint64_t virtual_ns;
};
static struct totals *totals;

static const struct cbd_format_options format = {
	.size = SIZE,
	.hosts = 4,
	.backends = 2,
	.blkdevs = 4,
	.channels = 2,
	.channel_size = 1u << 20,
	.depth = 8,
	.heartbeat_ms = 50,
	.dead_after = 6,
	.coherence = CBD_COHERENCE_SOFTWARE,
};

static struct actor_disk disks[2];
static struct shadow_block shadows[CLIENTS][PART_BLOCKS];

static void random_noise(bool faults)
{
	static const unsigned turns[] = { 2, 8, 40, 200 };
	static const unsigned rates[] = { 0, 20, 200, 5000 };

	sim.noise = (struct sim_noise){
		.turn = turns[sim_below(4)],
		.evict = rates[sim_below(4)],
		.fill = rates[sim_below(4)],
		.early = sim_chance(2) ? 4 : 40,
		.pause = sim_chance(3) ? 0 : 3000,
		.pause_us = faults && sim_chance(2) ? 250000 : 30000,
	};
}

static struct sim_proc *start_backend(struct sim_host *h, struct actor_backend *a, unsigned id)
{
	struct sim_proc *p;

	*a = (struct actor_backend){ .disk = &disks[id], .id = id, .handlers = 1, .max_blkdevs = 4 };
	p = sim_spawn(h, "backend", actor_backend, a);
	while (p->alive && !a->serving)
		sim_sleep(5 * SIM_MS);
	return p;
}

static void start_client(struct actor_client *c, unsigned i, unsigned backend, unsigned requests)
{
	*c = (struct actor_client){ .shadow = shadows[i],
				    .first = i * PART_BLOCKS,
				    .backend = backend,
				    .requests = requests,
				    .threads = 1 + (unsigned)sim_below(3) };
}

static void add_client(struct actor_client *c)
{
	totals->requests += c->done;
	totals->resends += c->resends;
	totals->bad_payloads += c->bad_payloads;
	totals->leaves += c->leaves;
}

/* ------------------------------------------------------------------- calm */

/* Nothing fails, so nothing may be healed. */
static void calm(void *arg)
{
	struct actor_backend a;
	struct actor_client c[CLIENTS];
	struct sim_proc *p[CLIENTS], *server;
	unsigned rounds = 2 + (unsigned)sim_below(3);

	(void)arg;
	if (actor_run(&sim.hosts[0], "format", actor_format, (void *)(uintptr_t)&format) < 0)
		sim_fail("format fails");
	sim.limit_ns = sim.now_ns + 300000 * SIM_MS;
	random_noise(false);
	sim.rules.no_crc = sim_chance(2);
	for (unsigned round = 0; round < rounds; round++) {
		unsigned n = 1 + (unsigned)sim_below(2);

		server = start_backend(&sim.hosts[sim_below(3)], &a, 0);
		if (!server->alive)
			sim_fail("the backend does not start: %d", server->result);
		for (unsigned i = 0; i < n; i++) {
			start_client(&c[i], i, 0, 30);
			c[i].threads = 1;
			p[i] = sim_spawn(&sim.hosts[sim_below(3)], "client", actor_client, &c[i]);
		}
		for (unsigned i = 0; i < n; i++) {
			actor_wait(p[i], SIM_NEVER);
			if (p[i]->result < 0)
				sim_fail("client %u ends with %d", i, p[i]->result);
			add_client(&c[i]);
			if (c[i].resends || c[i].bad_payloads || c[i].leaves ||
			    sim.count.handler_retries)
				sim_fail("without a fault: %llu resends, %llu bad payloads, %llu "
					 "leaves, %llu retries of handlers",
					 (unsigned long long)c[i].resends,
					 (unsigned long long)c[i].bad_payloads,
					 (unsigned long long)c[i].leaves,
					 (unsigned long long)sim.count.handler_retries);
		}
		a.wanted_stop = true;
		actor_wait(server, SIM_NEVER);
		if (server->result < 0)
			sim_fail("the backend ends with %d", server->result);
	}
}

/* -------------------------------------------------------------------- run */

static const struct kind {
	const char *name;
	void (*fn)(void *);
} kinds[] = {
	{ "calm", calm },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void one_run(uint64_t seed)
{
	const char *only = getenv("SIM_ONLY");
	const struct kind *k = &kinds[seed % KINDS];

	for (unsigned i = 0; only && i < KINDS; i++)
		if (strcmp(kinds[i].name, only) == 0)
			k = &kinds[i];
	sim_begin(seed, SIZE);
	sim_run(k->fn, NULL);
	totals->runs++;
	totals->virtual_ns += sim.now_ns - 1000 * SIM_MS;
	for (size_t i = 0; i < sizeof(sim.count) / sizeof(uint64_t); i++)
		((uint64_t *)&totals->count)[i] += ((uint64_t *)&sim.count)[i];
	if (getenv("SIM_VERBOSE"))
		printf("seed %llu %s: %llu steps, %.1f s, state %016llx\n",
		       (unsigned long long)seed, k->name, (unsigned long long)sim.count.steps,
		       (double)sim.now_ns / 1e9, (unsigned long long)sim.random);
	sim_end();
}

static bool run_child(uint64_t seed)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		one_run(seed);
		fflush(stdout);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0) {
		perror("fork");
		return false;
	}
	if (status == 0)
		return true;
	printf("seed %llu has failed; again: SIM_TRACE=1 sim-random %llu\n",
	       (unsigned long long)seed, (unsigned long long)seed);
	return false;
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void print_totals(void)
{
	const struct sim_counts *c = &totals->count;

#define N(x) ((unsigned long long)(x))
	printf("%llu runs, %llu steps, %llu s of virtual time, %llu requests\n", N(totals->runs),
	       N(c->steps), N(totals->virtual_ns / 1000000000), N(totals->requests));
	printf("turns %llu, pauses %llu (%llu of 150 ms and more), lines stored %llu, loaded %llu "
	       "(%llu stale and invalidated before)\n",
	       N(c->turns), N(c->pauses), N(c->long_pauses), N(c->lines_stored), N(c->lines_loaded),
	       N(c->stale_hits));
	printf("evictions %llu, fills %llu, torn %llu, kills %llu, lines lost %llu, late %llu\n",
	       N(c->evictions), N(c->fills), N(c->torn), N(c->kills), N(c->losses), N(c->late));
	printf("resends %llu, bad payloads %llu, leaves %llu, retries of handlers %llu\n",
	       N(totals->resends), N(totals->bad_payloads), N(totals->leaves),
	       N(c->handler_retries));
}

int main(int argc, char **argv)
{
	uint64_t steps = number("SIM_STEPS", STEPS_DEFAULT), seed = number("SIM_SEED", 1);

	totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (totals == MAP_FAILED)
		return 1;
	if (argc > 1)
		return run_child(strtoull(argv[1], NULL, 0)) ? 0 : 1;
	for (; totals->count.steps < steps; seed++)
		if (!run_child(seed))
			return 1;
	print_totals();
	return 0;
}
