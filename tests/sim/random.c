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

#define SIZE (14ull << 20)
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
	.channels = 6,
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
	unsigned hosts = sim_chance(3) ? 1 : 3; /* on one host bells end the sleeps */

	(void)arg;
	if (actor_run(&sim.hosts[0], "format", actor_format, (void *)(uintptr_t)&format) < 0)
		sim_fail("format fails");
	sim.limit_ns = sim.now_ns + 300000 * SIM_MS;
	random_noise(false);
	if (hosts == 1) {
		sim.noise.pause = 0;
		sim.noise.doze = 4;
	}
	sim.rules.no_crc = sim_chance(2);
	sim.rules.no_entry_crc = sim_chance(2);
	if (sim.rules.no_entry_crc) { /* a line often goes to memory between two words */
		sim.noise.turn = 2;
		sim.noise.evict = 20;
	}
	for (unsigned round = 0; round < rounds; round++) {
		unsigned n = 1 + (unsigned)sim_below(2);

		server = start_backend(&sim.hosts[sim_below(hosts)], &a, 0);
		if (!server->alive)
			sim_fail("the backend does not start: %d", server->result);
		for (unsigned i = 0; i < n; i++) {
			start_client(&c[i], i, 0, 30);
			c[i].threads = 1;
			p[i] = sim_spawn(&sim.hosts[sim_below(hosts)], "client", actor_client,
					 &c[i]);
		}
		for (unsigned i = 0; i < n; i++) {
			actor_wait(p[i], SIM_NEVER);
			if (p[i]->result < 0)
				sim_fail("client %u ends with %d", i, p[i]->result);
			add_client(&c[i]);
			if (hosts == 1 && c[i].slow > 0)
				sim_fail("on one host %u of %u requests take 1 ms and more: a bell "
					 "is not heard",
					 c[i].slow, c[i].done);
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

/* ------------------------------------------------------------------ crash */

/* What runs, and where. */
struct scene {
	struct sim_host *server_host;
	/* The one that serves, those that handed over to it and watch it, and those that
	 * are gone. */
	struct server {
		struct actor_backend a;
		struct sim_proc *proc;
	} servers[8];
	struct server *server; /* started last, or seen to serve */
	struct {
		struct sim_host *host;
		struct sim_proc *proc;
		struct actor_client c;
	} client[3];
	unsigned n;
	int slot[SIM_HOSTS]; /* of each host in the transport */
};

static void begin_scene(struct scene *s)
{
	memset(s, 0, sizeof(*s));
	if (actor_run(&sim.hosts[0], "format", actor_format, (void *)(uintptr_t)&format) < 0)
		sim_fail("format fails");
	for (unsigned i = 0; i < 3; i++)
		s->slot[i] = actor_run(&sim.hosts[i], "join", actor_join, NULL);
	sim.limit_ns = sim.now_ns + 600000 * SIM_MS;
	random_noise(true);
}

static struct server *place_of_a_dead_one(struct scene *s)
{
	for (unsigned i = 0; i < sizeof(s->servers) / sizeof(s->servers[0]); i++)
		if (!s->servers[i].proc || !s->servers[i].proc->alive)
			return &s->servers[i];
	sim_fail("more backends than handed over");
}

static void serve_on(struct scene *s, struct sim_host *h, bool takeover, int fenced)
{
	struct server *server = place_of_a_dead_one(s);

	s->server_host = h;
	server->a = (struct actor_backend){ .disk = &disks[0],
					    .handlers = 1 + (unsigned)sim_below(2),
					    .max_blkdevs = 4,
					    .takeover = takeover,
					    .fenced_hosts = fenced >= 0 ? 1ull << fenced : 0 };
	server->proc = sim_spawn(h, "backend", actor_backend, &server->a);
	s->server = server;
}

/* The successor may die, and the one that handed over to it go on: then the next start
 * is refused, for the disk is in use. */
static struct server *serves(struct scene *s)
{
	for (unsigned i = 0; i < sizeof(s->servers) / sizeof(s->servers[0]); i++)
		if (s->servers[i].proc && s->servers[i].proc->alive && s->servers[i].a.serving)
			return &s->servers[i];
	return NULL;
}

static bool some_server_lives(const struct scene *s)
{
	for (unsigned i = 0; i < sizeof(s->servers) / sizeof(s->servers[0]); i++)
		if (s->servers[i].proc && s->servers[i].proc->alive)
			return true;
	return false;
}

static void await_server(struct scene *s)
{
	struct server *server = s->server;

	while (some_server_lives(s) && (server->proc->alive ? !server->a.serving : !serves(s)))
		sim_sleep(5 * SIM_MS);
	if (server->proc->alive && server->a.serving)
		return;
	s->server = serves(s);
	if (!s->server)
		sim_fail("the backend does not start: %d", server->proc->result);
}

static void attach_on(struct scene *s, unsigned i, struct sim_host *h)
{
	add_client(&s->client[i].c);
	start_client(&s->client[i].c, i, 0, 0);
	s->client[i].c.again = 40;
	s->client[i].host = h;
	s->client[i].proc = sim_spawn(h, "client", actor_client, &s->client[i].c);
}

static void check_alive(struct scene *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!s->client[i].proc->alive)
			sim_fail("client %u has ended: %d", i, s->client[i].proc->result);
	if (!s->server->proc->alive)
		sim_fail("the backend has ended: %d", s->server->proc->result);
}

static void stop_servers(struct scene *s)
{
	for (unsigned i = 0; i < sizeof(s->servers) / sizeof(s->servers[0]); i++)
		s->servers[i].a.wanted_stop = true;
	for (unsigned i = 0; i < sizeof(s->servers) / sizeof(s->servers[0]); i++)
		if (s->servers[i].proc)
			actor_wait(s->servers[i].proc, SIM_NEVER);
	if (s->server->proc->result < 0)
		sim_fail("the backend ends with %d", s->server->proc->result);
}

/* Everybody does something still, and ends in order. */
static void end_scene(struct scene *s)
{
	uint64_t healed = 0;

	await_server(s);
	for (unsigned i = 0; i < s->n; i++) {
		struct actor_client *c = &s->client[i].c;
		unsigned done = c->done;

		while (s->client[i].proc->alive && c->done < done + 10)
			sim_sleep(20 * SIM_MS);
	}
	check_alive(s);
	for (unsigned i = 0; i < s->n; i++)
		s->client[i].c.wanted_stop = true;
	for (unsigned i = 0; i < s->n; i++) {
		struct actor_client *c = &s->client[i].c;

		actor_wait(s->client[i].proc, SIM_NEVER);
		if (s->client[i].proc->result < 0)
			sim_fail("client %u ends with %d", i, s->client[i].proc->result);
		add_client(c);
		healed += c->resends + c->bad_payloads;
	}
	stop_servers(s);
	if (healed + sim.count.handler_retries > sim.count.late)
		sim_fail("%llu payloads were healed, and %llu lines came late",
			 (unsigned long long)(healed + sim.count.handler_retries),
			 (unsigned long long)sim.count.late);
}

static void any_pause(void)
{
	sim_sleep(sim_chance(2) ? sim_below(5 * SIM_MS) : sim_below(400 * SIM_MS));
}

static void crash_client(struct scene *s)
{
	unsigned i = (unsigned)sim_below(s->n);

	if (sim_chance(2)) {
		s->client[i].proc->die_at_store = s->client[i].proc->stores + 1 + sim_below(40);
		any_pause();
	}
	sim_kill(s->client[i].proc);
	any_pause();
	attach_on(s, i, s->client[i].host);
}

static void crash_server(struct scene *s)
{
	if (sim_chance(2)) {
		s->server->proc->die_at_store = s->server->proc->stores + 1 + sim_below(60);
		any_pause();
	}
	sim_kill(s->server->proc);
	any_pause();
	serve_on(s, s->server_host, false, -1);
	if (sim_chance(3)) { /* and again, on its way */
		s->server->proc->die_at_store = 1 + sim_below(40);
		any_pause();
		sim_kill(s->server->proc);
		serve_on(s, s->server_host, false, -1);
	}
}

static void crash_something(struct scene *s)
{
	bool no = false;

	switch (sim_below(6)) {
	case 0:
	case 1:
		crash_client(s);
		break;
	case 2:
		crash_server(s);
		break;
	case 3:
		await_server(s);
		serve_on(s, s->server_host, true, -1);
		break;
	case 4:
		sim_stop(sim_chance(2) ? s->server->proc : s->client[sim_below(s->n)].proc,
			 sim_below(600 * SIM_MS));
		break;
	default:
		actor_run(&sim.hosts[sim_below(3)], "check", actor_check, &no);
		break;
	}
	await_server(s);
}

static void start_scene(struct scene *s)
{
	begin_scene(s);
	serve_on(s, &sim.hosts[sim_below(3)], false, -1);
	await_server(s);
	s->n = 1 + (unsigned)sim_below(3);
	for (unsigned i = 0; i < s->n; i++)
		attach_on(s, i, &sim.hosts[sim_below(3)]);
}

static void crash(void *arg)
{
	static struct scene s;
	unsigned rounds = 3 + (unsigned)sim_below(6);

	(void)arg;
	start_scene(&s);
	while (rounds-- > 0) {
		any_pause();
		crash_something(&s);
	}
	end_scene(&s);
}

/* ------------------------------------------------------------------ power */

static void clients_of(struct scene *s, struct sim_host *h)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->client[i].host == h)
			attach_on(s, i, h);
}

/* Until the host is on again its late lines come as they like. */
static void lose_power(struct scene *s, struct sim_host *h)
{
	bool serves = s->server_host == h, moves = sim_chance(2);
	bool vm = sim_chance(3);

	if (vm)
		sim_reboot_vm(h);
	else
		sim_power_off(h, (unsigned)sim_below(101));
	any_pause();
	if (serves && moves && !vm) {
		serve_on(s, &sim.hosts[(h->id + 1) % 3], false, s->slot[h->id]);
		await_server(s);
		any_pause();
	}
	if (!vm)
		sim_boot(h, true);
	if (serves && !(moves && !vm))
		serve_on(s, h, false, -1);
	clients_of(s, h);
	await_server(s);
}

static void power(void *arg)
{
	static struct scene s;
	unsigned rounds = 2 + (unsigned)sim_below(4);

	(void)arg;
	start_scene(&s);
	while (rounds-- > 0) {
		any_pause();
		if (sim_chance(3))
			crash_something(&s);
		else
			lose_power(&s, &sim.hosts[sim_below(3)]);
	}
	end_scene(&s);
}

/* --------------------------------------------------------------- together */

/* Three hosts join at once, and claim the same backend slot at once. */
static void together(void *arg)
{
	static struct actor_disk own[3];
	struct actor_backend a[3];
	struct sim_proc *p[3];
	int slot[3];
	unsigned serving = 0;

	(void)arg;
	if (actor_run(&sim.hosts[0], "format", actor_format, (void *)(uintptr_t)&format) < 0)
		sim_fail("format fails");
	sim.limit_ns = sim.now_ns + 60000 * SIM_MS;
	random_noise(false);
	sim.noise.pause = 10 + (unsigned)sim_below(40);
	sim.noise.pause_us = 100000;
	for (unsigned i = 0; i < 3; i++)
		p[i] = sim_spawn(&sim.hosts[i], "join", actor_join, NULL);
	for (unsigned i = 0; i < 3; i++) {
		actor_wait(p[i], SIM_NEVER);
		if (p[i]->result < 0)
			sim_fail("host %u does not join: %d", i, p[i]->result);
	}
	for (unsigned i = 0; i < 3; i++) {
		slot[i] = actor_run(&sim.hosts[i], "join", actor_join, NULL);
		for (unsigned k = 0; k < i; k++)
			if (slot[i] == slot[k])
				sim_fail("hosts %u and %u have slot %d", i, k, slot[i]);
	}
	random_noise(false);
	for (unsigned i = 0; i < 3; i++) {
		a[i] = (struct actor_backend){ .disk = &own[i], .handlers = 1, .max_blkdevs = 4 };
		p[i] = sim_spawn(&sim.hosts[i], "backend", actor_backend, &a[i]);
	}
	for (unsigned k = 0; k < 200; k++) {
		sim_sleep(5 * SIM_MS);
		serving = 0;
		for (unsigned i = 0; i < 3; i++)
			serving += a[i].serving;
		if (serving > 1)
			sim_fail("%u backends serve one slot", serving);
	}
	/* all may have lowered; but who has it goes on */
	for (unsigned i = 0; i < 3; i++) {
		a[i].wanted_stop = true;
		actor_wait(p[i], SIM_NEVER);
		if (a[i].lost)
			sim_fail("host %u has lost its backend slot", i);
	}
}

/* -------------------------------------------------------------------- run */

static const struct kind {
	const char *name;
	void (*fn)(void *);
} kinds[] = {
	{ "calm", calm },
	{ "crash", crash },
	{ "power", power },
	{ "together", together },
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
	if (WIFSIGNALED(status))
		printf("seed %llu: died by signal %d\n", (unsigned long long)seed,
		       WTERMSIG(status));
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
