/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * systematic.c - a process dies behind each line that it stores, before the line is
 * written back, and inside each piece of payload; then its host returns, another host
 * goes on, an operator clears, or the memory is formatted; and what is dirty comes to
 * memory before, meanwhile, or after.  At the end everything works, if need be after
 * check --repair.  Who dies, and how it is followed, is victims.c's.
 *
 * Usage: sim-systematic [VICTIM STORE FOLLOW WHEN], as it prints a case that fails.
 * SIM_SEED: other schedules of the same cases (0); SIM_EVERY: one case in so many;
 * SIM_VICTIM: of this victim alone; SIM_FIRST: the first case that fails ends it.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "systematic.h"

/* One case in so many; SIM_EVERY=1 for all. */
#define EVERY_DEFAULT 3

enum follow { RETURNS, OTHER, CLEARED, FORMATTED, FOLLOWS };
enum when { BEFORE, MEANWHILE, AFTER, WHENS };
static const char *const follows[] = { "returns", "other", "cleared", "formatted" };
static const char *const whens[] = { "before", "meanwhile", "after" };

struct a_case {
	const struct victim *victim;
	uint64_t store;
	enum follow follow;
	enum when when;
};

enum { DIED = 0, NO_SUCH_STORE = 2, REPAIRED = 3 };

static int status;
static uint32_t *line_seen; /* shared: the line at which the victim of this store died */

static void follow(const struct a_case *k)
{
	switch (k->follow) {
	case RETURNS:
		k->victim->returns();
		break;
	case OTHER:
		k->victim->other();
		break;
	case CLEARED:
		systematic_clear(k->victim);
		break;
	default:
		systematic_format();
		break;
	}
}

/* What follows, and what is dirty that comes when it is to. */
static void follow_and_write_back(const struct a_case *k)
{
	if (k->when == BEFORE)
		sim_cache_write_back_dead(VICTIM_HOST);
	else if (k->when == MEANWHILE)
		sim_cache_write_back_dead_at(VICTIM_HOST, sim.count.steps + 1 + sim_below(4000));
	follow(k);
	if (k->follow == RETURNS)
		sim_cache_left_check(VICTIM_HOST);
	sim_cache_write_back_dead(VICTIM_HOST);
}

static void one_case(void *arg)
{
	const struct a_case *k = arg;
	const struct sim_proc *victim;

	sim.limit_ns = sim.now_ns + 300000 * SIM_MS;
	sim.noise = (struct sim_noise){ .turn = 8, .early = 16 };
	/* a client or a backend joins by itself every other time */
	systematic_begin(k->victim,
			 k->victim->joins || (k->victim < systematic_victims + 2 && k->store % 2));
	victim = k->victim->run(k->store);
	if (victim->ended) {
		status = NO_SUCH_STORE;
		return;
	}
	*line_seen = (uint32_t)victim->died_line;
	follow_and_write_back(k);
	systematic_all_work();
	status = systematic_repaired ? REPAIRED : DIED;
}

static uint64_t more_seed(void)
{
	const char *more = getenv("SIM_SEED");

	return more ? strtoull(more, NULL, 0) : 0;
}

static uint64_t seed_of(const struct a_case *k)
{
	return more_seed() * 65536 + k->store * 64 + k->follow * 8 + k->when;
}

static int run_case(const struct a_case *k)
{
	int how;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		sim_begin(seed_of(k), SYSTEMATIC_SIZE);
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

static unsigned every = EVERY_DEFAULT;

/* Others for the next store and the next seed; of each store one at least. */
static bool is_chosen(const struct a_case *k)
{
	return (k->follow * WHENS + k->when + k->store + more_seed()) % every == 0;
}

static void one_result(const struct a_case *k, int how)
{
	runs++;
	repairs += how == REPAIRED;
	note_line(*line_seen);
	if (how == DIED || how == REPAIRED)
		return;
	failures++;
	printf("case: sim-systematic %s %llu %s %s\n", k->victim->name,
	       (unsigned long long)k->store, follows[k->follow], whens[k->when]);
	if (getenv("SIM_FIRST"))
		exit(1);
}

/* False: the victim ends before its store of this number. */
static bool run_store(const struct victim *victim, uint64_t store)
{
	for (int f = 0; f < FOLLOWS; f++)
		for (int w = 0; w < WHENS; w++) {
			struct a_case k = { victim, store, (enum follow)f, (enum when)w };
			int how;

			if (!is_chosen(&k))
				continue;
			how = run_case(&k);
			if (how == NO_SUCH_STORE)
				return false;
			one_result(&k, how);
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

static const struct victim *find_victim(const char *name)
{
	for (unsigned i = 0; i < systematic_n_victims; i++)
		if (strcmp(systematic_victims[i].name, name) == 0)
			return &systematic_victims[i];
	fprintf(stderr, "%s: unknown\n", name);
	exit(2);
}

static int run_one(char **argv)
{
	struct a_case k = { find_victim(argv[1]), strtoull(argv[2], NULL, 0),
			    (enum follow)find(follows, FOLLOWS, argv[3]),
			    (enum when)find(whens, WHENS, argv[4]) };
	int how = run_case(&k);

	printf("status %d\n", how);
	return how != DIED && how != REPAIRED && how != NO_SUCH_STORE;
}

static void run_victim(const struct victim *v)
{
	unsigned runs_before = runs;
	uint64_t store = 1;

	while (run_store(v, store))
		store++;
	printf("%s: %llu stores, %u cases\n", v->name, (unsigned long long)store - 1,
	       runs - runs_before);
}

int main(int argc, char **argv)
{
	const char *more = getenv("SIM_EVERY"), *only = getenv("SIM_VICTIM");

	line_seen = mmap(NULL, sizeof(*line_seen), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (line_seen == MAP_FAILED)
		return 1;
	if (more && strtoul(more, NULL, 0) > 0)
		every = (unsigned)strtoul(more, NULL, 0);
	if (every > FOLLOWS * WHENS)
		every = FOLLOWS * WHENS;
	if (argc == 5)
		return run_one(argv);
	for (unsigned v = 0; v < systematic_n_victims; v++)
		if (!only || strcmp(only, systematic_victims[v].name) == 0)
			run_victim(&systematic_victims[v]);
	printf("%u cases over %u lines, %u of them needed check --repair, %u failed\n", runs,
	       n_lines, repairs, failures);
	return failures > 0;
}
