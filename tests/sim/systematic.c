/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * systematic.c - a process dies behind each line that it stores, before the line is
 * written back; then its host returns, another host goes on, an operator clears, or the
 * memory is formatted; and the line comes to memory before, meanwhile, or after.  At
 * the end everything works, if need be after check --repair.
 *
 * Usage: sim-systematic [VICTIM STORE FOLLOW WHEN], as it prints a case that fails.
 * SIM_SEED: other schedules of the same cases (0).
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actors.h"

#define SIZE (4ull << 20)

enum victim { CLIENT, BACKEND, VICTIMS };
enum follow { RETURNS, OTHER, CLEARED, FORMATTED, FOLLOWS };
enum when { BEFORE, MEANWHILE, AFTER, WHENS };
static const char *const victims[] = { "client", "backend" };
static const char *const follows[] = { "returns", "other", "cleared", "formatted" };
static const char *const whens[] = { "before", "meanwhile", "after" };

struct a_case {
	enum victim victim;
	uint64_t store;
	enum follow follow;
	enum when when;
};

enum { DIED = 0, NO_SUCH_STORE = 2, REPAIRED = 3 };

static struct cbd_format_options format = {
	.size = SIZE,
	.hosts = 4,
	.backends = 1,
	.blkdevs = 4,
	.channels = 2,
	.channel_size = 1u << 20,
	.depth = 4,
	.heartbeat_ms = 20,
	.dead_after = 4,
	.coherence = CBD_COHERENCE_SOFTWARE,
};

static struct actor_disk disk;
static struct shadow_block shadows[4][PART_BLOCKS];
static struct actor_backend a[8];
static unsigned n_a;
static struct sim_proc *server;
static int slots[3];
static bool repaired;
static int status;
static uint32_t *line_seen; /* shared: the line at which the victim of this store died */

/* The host of the victim, the one beside it, and that of the others. */
#define VICTIM_HOST (&sim.hosts[1])
#define OTHER_HOST (&sim.hosts[2])
#define THIRD_HOST (&sim.hosts[0])

static void serve_on(struct sim_host *h, int fenced)
{
	struct actor_backend *b = &a[n_a++ % 8];

	*b = (struct actor_backend){ .disk = &disk,
				     .handlers = 1,
				     .max_blkdevs = 4,
				     .fenced = fenced >= 0,
				     .fenced_host = fenced >= 0 ? (unsigned)fenced : 0 };
	server = sim_spawn(h, "backend", actor_backend, b);
	while (server->alive && !b->serving)
		sim_sleep(5 * SIM_MS);
}

static void stop_server(void)
{
	if (!server || !server->alive)
		return;
	a[(n_a - 1) % 8].wanted_stop = true;
	actor_wait(server, SIM_NEVER);
}

static int use(struct sim_host *h, unsigned i)
{
	struct actor_client c = { .shadow = shadows[i],
				  .first = i * PART_BLOCKS,
				  .requests = 6,
				  .threads = 1,
				  .again = 20 };
	int r = actor_run(h, "client", actor_client, &c);

	/* of a write of the dead one, or of a line that came late */
	if (c.leaves > 1 || c.resends > 1)
		sim_fail("%llu left epochs, %llu resends", (unsigned long long)c.leaves,
			 (unsigned long long)c.resends);
	return r;
}

static int check(bool repair)
{
	/* a claim of a host that is in use is repaired there */
	if (repair)
		actor_run(VICTIM_HOST, "check", actor_check, &repair);
	return actor_run(OTHER_HOST, "check", actor_check, &repair);
}

static void start_server(struct sim_host *h, int fenced)
{
	serve_on(h, fenced);
	if (server->alive)
		return;
	repaired = true;
	check(true);
	serve_on(h, fenced);
	if (!server->alive)
		sim_fail("the backend does not start, repaired or not: %d", server->result);
}

static void must_use(struct sim_host *h, unsigned i)
{
	int r = use(h, i);

	if (r < 0) {
		repaired = true;
		check(true);
		r = use(h, i);
	}
	if (r < 0)
		sim_fail("the client of host %u ends with %d, repaired or not", h->id, r);
}

static void format_again(struct sim_host *h)
{
	format.force = 2;
	if (actor_run(h, "format", actor_format, &format) < 0)
		sim_fail("format fails");
	memset(shadows, 0, sizeof(shadows));
	memset(&disk, 0, sizeof(disk));
}

static void follow(const struct a_case *k)
{
	struct actor_clear clear = { CBD_OBJECT_HOST, (unsigned)slots[1], slots[1] };

	switch (k->follow) {
	case RETURNS:
		if (k->victim == BACKEND)
			start_server(VICTIM_HOST, -1);
		else
			must_use(VICTIM_HOST, 1);
		break;
	case OTHER:
		if (k->victim == BACKEND)
			start_server(THIRD_HOST, slots[1]);
		else
			must_use(OTHER_HOST, 2);
		break;
	case CLEARED:
		/* a beat that comes late is one: then it is refused, and asked again */
		if (actor_run(OTHER_HOST, "clear", actor_clear, &clear) == -EBUSY)
			actor_run(OTHER_HOST, "clear", actor_clear, &clear);
		if (k->victim == BACKEND)
			start_server(THIRD_HOST, -1);
		break;
	default:
		if (server && server->alive)
			sim_kill(server);
		format_again(OTHER_HOST);
		start_server(THIRD_HOST, -1);
		break;
	}
}

/* What follows, and the line that comes when it is to. */
static void follow_and_write_back(const struct a_case *k, uint32_t line)
{
	if (k->when == BEFORE)
		sim_cache_write_back(VICTIM_HOST, line);
	else if (k->when == MEANWHILE)
		sim_cache_write_back_at(VICTIM_HOST, line, sim.count.steps + 1 + sim_below(4000));
	follow(k);
	sim_cache_write_back(VICTIM_HOST, line);
}

/* Everybody works, in any order of who comes first. */
static void all_work(void)
{
	if (!server || !server->alive)
		start_server(THIRD_HOST, slots[1]);
	must_use(OTHER_HOST, 2);
	must_use(VICTIM_HOST, 1);
	stop_server();
	start_server(THIRD_HOST, -1);
	must_use(VICTIM_HOST, 1);
	stop_server();
	if (check(false) != 0) {
		repaired = true;
		if (check(true) != 0)
			sim_fail("check --repair leaves problems");
	}
}

static struct sim_proc *run_victim(const struct a_case *k)
{
	static struct actor_client c;
	static struct actor_backend b;
	struct sim_proc *p;

	c = (struct actor_client){ .shadow = shadows[1],
				   .first = PART_BLOCKS,
				   .requests = 6,
				   .threads = 1,
				   .again = 5,
				   .hard = true };
	b = (struct actor_backend){ .disk = &disk, .handlers = 1, .max_blkdevs = 4 };
	if (k->victim == CLIENT) {
		start_server(THIRD_HOST, -1);
		p = sim_spawn(VICTIM_HOST, "victim", actor_client, &c);
		p->die_at_store = k->store;
		actor_wait(p, SIM_NEVER);
		return p;
	}
	p = sim_spawn(VICTIM_HOST, "victim", actor_backend, &b);
	p->die_at_store = k->store;
	while (p->alive && !b.serving)
		sim_sleep(SIM_MS);
	if (p->alive) {
		c.shadow = shadows[2];
		c.first = 2 * PART_BLOCKS;
		server = sim_spawn(OTHER_HOST, "client", actor_client, &c);
		while (p->alive && server->alive)
			sim_sleep(SIM_MS);
		sim_kill(server); /* its requests would wait for long */
		server = NULL;
	}
	b.wanted_stop = true;
	actor_wait(p, SIM_NEVER);
	return p;
}

static void one_case(void *arg)
{
	const struct a_case *k = arg;
	struct sim_proc *victim;

	if (actor_run(THIRD_HOST, "format", actor_format, &format) < 0)
		sim_fail("format fails");
	sim.limit_ns = sim.now_ns + 200000 * SIM_MS;
	sim.noise = (struct sim_noise){ .turn = 8, .early = 16 };
	/* every other time the victim is the one that joins, in the next free slot */
	slots[0] = actor_run(THIRD_HOST, "join", actor_join, NULL);
	slots[1] = k->store % 2 ? 2 : actor_run(VICTIM_HOST, "join", actor_join, NULL);
	slots[2] = actor_run(OTHER_HOST, "join", actor_join, NULL);
	victim = run_victim(k);
	if (victim->died_line == 0) {
		status = NO_SUCH_STORE;
		return;
	}
	*line_seen = (uint32_t)victim->died_line;
	follow_and_write_back(k, (uint32_t)victim->died_line);
	all_work();
	status = repaired ? REPAIRED : DIED;
}

static uint64_t seed_of(const struct a_case *k)
{
	const char *more = getenv("SIM_SEED");

	return (more ? strtoull(more, NULL, 0) : 0) * 65536 + k->store * 64 + k->follow * 8 +
	       k->when;
}

static int run_case(const struct a_case *k)
{
	int how;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		sim_begin(seed_of(k), SIZE);
		sim_run(one_case, (void *)(uintptr_t)k);
		sim_end();
		_exit(status);
	}
	if (child < 0 || waitpid(child, &how, 0) < 0)
		return 1;
	if (WIFSIGNALED(how))
		printf("seed %llu: died by signal %d\n", (unsigned long long)seed_of(k),
		       WTERMSIG(how));
	return WIFEXITED(how) ? WEXITSTATUS(how) : 1;
}

static unsigned runs, repairs, failures;
static uint32_t lines[1024];
static unsigned n_lines;

static void note_line(uint32_t line)
{
	for (unsigned i = 0; i < n_lines; i++)
		if (lines[i] == line)
			return;
	if (n_lines < 1024)
		lines[n_lines++] = line;
}

/* False: the victim ends before its store of this number. */
static bool run_store(enum victim victim, uint64_t store)
{
	for (int f = 0; f < FOLLOWS; f++)
		for (int w = 0; w < WHENS; w++) {
			struct a_case k = { victim, store, (enum follow)f, (enum when)w };
			int how = run_case(&k);

			if (how == NO_SUCH_STORE)
				return false;
			runs++;
			repairs += how == REPAIRED;
			note_line(*line_seen);
			if (how == DIED || how == REPAIRED)
				continue;
			failures++;
			printf("case: sim-systematic %s %llu %s %s\n", victims[victim],
			       (unsigned long long)store, follows[f], whens[w]);
		}
	return true;
}

static int find(const char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	fprintf(stderr, "%s: unknown\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	line_seen = mmap(NULL, sizeof(*line_seen), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (line_seen == MAP_FAILED)
		return 1;
	if (argc == 5) {
		struct a_case k = { (enum victim)find(victims, VICTIMS, argv[1]),
				    strtoull(argv[2], NULL, 0),
				    (enum follow)find(follows, FOLLOWS, argv[3]),
				    (enum when)find(whens, WHENS, argv[4]) };
		int how = run_case(&k);

		printf("status %d\n", how);
		return how != DIED && how != REPAIRED && how != NO_SUCH_STORE;
	}
	for (int v = 0; v < VICTIMS; v++) {
		uint64_t store = 1;

		while (run_store((enum victim)v, store))
			store++;
		printf("%s: %llu stores\n", victims[v], (unsigned long long)store - 1);
	}
	printf("%u cases over %u lines, %u of them needed check --repair, %u failed\n", runs,
	       n_lines, repairs, failures);
	return failures > 0;
}
