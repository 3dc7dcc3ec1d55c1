/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault.c - rounds of random I/O on one disk, with one fault at a random moment
 * of each.
 *
 * Starts cbd-backend and nbdkit on a transport of its own, and is the client.
 * After each round nothing may be in flight for ever, every block must hold what
 * the shadow allows, the transport must list exactly what runs, and nobody may
 * have died who was not killed.
 */
#include <config.h>

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "damage.h"
#include "load.h"
#include "server.h"
#include "shadow.h"

#define READY_S 20
#define MOST_ROUNDS 100000

struct options options = {
	.engine = "psync",
	.queues = 1,
	.connections = 4,
	.depth = 6,
	.rounds = 20,
	.heartbeat_ms = 25,
	.dead_after = 16,
	.blocks = 2048,
};
unsigned current_round;

static struct random random_state;
static char last_fault[100] = "none";

/* ------------------------------------------------------------ small things */

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t suspicion_ns(void)
{
	return options.heartbeat_ms * (options.dead_after + 1) * MS;
}

/* splitmix64: any seed is a good one. */
uint64_t next(struct random *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t below(struct random *r, uint64_t limit)
{
	return next(r) % limit;
}

uint64_t between(struct random *r, uint64_t low, uint64_t high)
{
	return low + below(r, high - low + 1);
}

bool one_in(struct random *r, unsigned n)
{
	return below(r, n) == 0;
}

void die(const char *format, ...)
{
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
	va_list args;

	/* another thread may be at it: it ends all */
	if (pthread_mutex_trylock(&once) != 0)
		for (;;)
			pause();
	alarm(120);
	fprintf(stderr, "fault: seed %" PRIu64 ", round %u, %s: ", options.seed, current_round,
		last_fault);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	servers_show();
	servers_end();
	fflush(NULL);
	_exit(EXIT_FAILURE);
}

/* ----------------------------------------------------------------- results */

struct fault {
	const char *name;
	void (*inject)(void);
	unsigned weight;
	unsigned count;
	unsigned recoveries; /* how many are in `ns` */
	uint64_t *ns;
};

static struct fault *current; /* of this round */

static void note_recovery(uint64_t ns)
{
	if (!current->ns)
		current->ns = calloc(MOST_ROUNDS, sizeof(*current->ns));
	if (!current->ns)
		die("malloc: %m");
	current->ns[current->recoveries++] = ns;
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void show_fault(struct fault *f)
{
	unsigned n = f->recoveries;

	if (f->count == 0)
		return;
	printf("fault %s %s %u", options.engine, f->name, f->count);
	if (n > 0) {
		qsort(f->ns, n, sizeof(*f->ns), by_time);
		printf(" ms: median %.1f worst %.1f", (double)f->ns[n / 2] / MS,
		       (double)f->ns[n - 1] / MS);
	}
	printf("\n");
}

/* ------------------------------------------------------------------ waiting */

static void wait_for(const char *what, bool (*done)(void))
{
	watch(what, READY_S + 5);
	if (!load_serve(now_ns() + patience_ns(READY_S), done))
		die("%s: not in time", what);
	watch(NULL, 0);
}

static void wait_ms(uint64_t ms)
{
	load_serve(now_ns() + ms * MS, NULL);
}

/* Until a request that is sent now is answered: from START. */
static void recover(uint64_t start)
{
	load_probe();
	wait_for("the first answer after the fault", load_probed);
	note_recovery(load_probe_ns() - start);
}

/* ------------------------------------------------------------------ faults */

static void set_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void set_fault(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(last_fault, sizeof(last_fault), format, args);
	va_end(args);
}

static void restart_backend(uint64_t killed_ns)
{
	backend_start(false);
	recover(killed_ns);
	wait_for("the backend's start", backend_ready);
}

static void backend_killed(void)
{
	uint64_t start = now_ns();

	server_kill(&backend);
	restart_backend(start);
}

/* Nobody serves for a while, perhaps until the backend is suspect. */
static void backend_absent(void)
{
	uint64_t ms = between(&random_state, 1, suspicion_ns() / MS * 3 / 2);

	set_fault("backend-absent for %" PRIu64 " ms", ms);
	server_kill(&backend);
	wait_ms(ms);
	restart_backend(now_ns());
}

/* Killed while it starts. */
static void backend_killed_twice(void)
{
	uint64_t us = between(&random_state, 0, 30000), start;

	set_fault("backend-killed-twice, %" PRIu64 " us after its start", us);
	server_kill(&backend);
	backend_start(false);
	load_serve(now_ns() + us * 1000, NULL);
	start = now_ns();
	server_kill(&backend);
	restart_backend(start);
}

static void stop_and_continue(struct server *s, uint64_t ms)
{
	set_fault("%s stopped for %" PRIu64 " ms", s->name, ms);
	server_signal(s, SIGSTOP);
	wait_ms(ms);
	server_signal(s, SIGCONT);
	recover(now_ns());
}

static uint64_t short_stop(void)
{
	return between(&random_state, 1, suspicion_ns() / MS / 2);
}

static uint64_t long_stop(void)
{
	return between(&random_state, suspicion_ns() / MS * 9 / 10, suspicion_ns() / MS * 3 / 2);
}

static void backend_stopped(void)
{
	stop_and_continue(&backend, short_stop());
}

static void backend_suspect(void)
{
	stop_and_continue(&backend, long_stop());
}

static void nbdkit_stopped(void)
{
	stop_and_continue(&nbdkit, short_stop());
}

static void nbdkit_suspect(void)
{
	stop_and_continue(&nbdkit, long_stop());
}

static void nbdkit_killed(void)
{
	uint64_t start = now_ns();

	load_expect_loss();
	server_kill(&nbdkit);
	load_abandoned();
	nbdkit_start();
	wait_for("nbdkit's start", nbdkit_ready);
	load_connect(socket_path());
	recover(start);
}

/* Both at once: nobody is left who knows what was in flight. */
static void both_killed(void)
{
	uint64_t start = now_ns();

	load_expect_loss();
	if (one_in(&random_state, 2)) {
		server_kill(&nbdkit);
		server_kill(&backend);
	} else {
		server_kill(&backend);
		server_kill(&nbdkit);
	}
	load_abandoned();
	backend_start(false);
	wait_for("the backend's start", backend_ready);
	nbdkit_start();
	wait_for("nbdkit's start", nbdkit_ready);
	load_connect(socket_path());
	recover(start);
}

/* The recovery is the longest time without an answer. */
static void takeover(void)
{
	load_gap_start();
	backend_start(true);
	wait_for("the hand-over", backend_handed_over);
	wait_for("the new backend's start", backend_ready);
	load_probe();
	wait_for("the first answer after the hand-over", load_probed);
	note_recovery(load_gap());
}

static void line_damaged(void)
{
	unsigned n = one_in(&random_state, 2) ? 1 : (unsigned)between(&random_state, 2, 6);
	size_t length = 0;

	load_gap_start();
	for (unsigned i = 0; i < n; i++) {
		const char *name = damage_line(&random_state);

		length += (size_t)snprintf(last_fault + length, sizeof(last_fault) - length, "%s%s",
					   i ? ", " : "damaged ", name);
		if (length >= sizeof(last_fault))
			length = sizeof(last_fault) - 1;
		wait_ms(below(&random_state, 20));
	}
}

static struct fault faults[] = {
	{ .name = "backend-killed", .inject = backend_killed, .weight = 5 },
	{ .name = "backend-absent", .inject = backend_absent, .weight = 1 },
	{ .name = "backend-killed-twice", .inject = backend_killed_twice, .weight = 2 },
	{ .name = "backend-stopped", .inject = backend_stopped, .weight = 2 },
	{ .name = "backend-suspect", .inject = backend_suspect, .weight = 1 },
	{ .name = "nbdkit-killed", .inject = nbdkit_killed, .weight = 5 },
	{ .name = "nbdkit-stopped", .inject = nbdkit_stopped, .weight = 1 },
	{ .name = "nbdkit-suspect", .inject = nbdkit_suspect, .weight = 1 },
	{ .name = "both-killed", .inject = both_killed, .weight = 2 },
	{ .name = "takeover", .inject = takeover, .weight = 4 },
	{ .name = "line-damaged", .inject = line_damaged, .weight = 6 },
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

/* Is NAME one of a list with commas? */
static bool listed(const char *list, const char *name)
{
	size_t length = strlen(name);

	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (strncmp(p, name, length) == 0 && (p[length] == 0 || p[length] == ','))
			return true;
	}
	return false;
}

static void select_faults(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAULTS; i++) {
		if (options.only && !listed(options.only, faults[i].name))
			faults[i].weight = 0;
		n += faults[i].weight;
	}
	if (n == 0) {
		fprintf(stderr, "fault: --only %s: no such fault\n", options.only);
		exit(2);
	}
}

static struct fault *choose_fault(void)
{
	unsigned sum = 0, n;

	for (unsigned i = 0; i < FAULTS; i++)
		sum += faults[i].weight;
	n = (unsigned)below(&random_state, sum);
	for (unsigned i = 0;; i++) {
		if (n < faults[i].weight)
			return &faults[i];
		n -= faults[i].weight;
	}
}

/* ------------------------------------------------------------------ rounds */

static void round_once(void)
{
	uint64_t start = now_ns(), durable, open;

	current = choose_fault();
	set_fault("%s", current->name);
	load_on(true);
	wait_ms(between(&random_state, 20, 250));
	current->inject();
	current->count++;
	wait_ms(between(&random_state, 10, 150));
	shadow_count(&durable, &open);
	load_quiesce();
	if (current->inject == line_damaged)
		note_recovery(load_gap());
	if (!options.quick) {
		load_verify();
		state_check();
	}
	printf("round %u: %s; %" PRIu64 " of %" PRIu64 " blocks durable, %" PRIu64
	       " undecided; %" PRIu64 " ms\n",
	       current_round, last_fault, durable, options.blocks, open, (now_ns() - start) / MS);
}

/* The disk itself, by the file: what was acknowledged lies there. */
static void verify_file(void)
{
	unsigned char buf[BLOCK];
	FILE *f = fopen(options.disk, "r");

	if (!f)
		die("%s: %m", options.disk);
	for (uint64_t b = 0; b < options.blocks; b++) {
		if (fread(buf, BLOCK, 1, f) != 1)
			die("%s: %m", options.disk);
		shadow_observe((struct range){ .first = b, .count = 1 }, buf, shadow_moment(),
			       "the disk");
	}
	fclose(f);
}

/* ------------------------------------------------------------------- start */

static void format(void)
{
	char heartbeat[16], dead_after[16], output[4096];
	const char *argv[] = { "cbdctl",
			       "format",
			       "--size=16M",
			       "--hosts=4",
			       "--backends=2",
			       "--blkdevs=4",
			       "--channels=4",
			       "--channel-size=1M",
			       "--depth=16",
			       "--heartbeat",
			       heartbeat,
			       "--dead-after",
			       dead_after,
			       "--coherence",
			       options.software ? "software" : "hardware",
			       options.transport,
			       options.data_crc ? "--data-crc" : NULL,
			       NULL };

	snprintf(heartbeat, sizeof(heartbeat), "%u", options.heartbeat_ms);
	snprintf(dead_after, sizeof(dead_after), "%u", options.dead_after);
	if (run_program(argv, output, sizeof(output)) != 0)
		die("cbdctl format: %s", output);
}

static void make_disk(void)
{
	FILE *f = fopen(options.disk, "w");

	if (!f || ftruncate(fileno(f), (off_t)(options.blocks * BLOCK)) < 0 || fclose(f) != 0)
		die("%s: %m", options.disk);
}

static void begin(void)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/nbdkit.log", options.tmp);
	random_state.state = options.seed;
	servers_init();
	shadow_init();
	load_init();
	watchdog_start();
	make_disk();
	format();
	damage_init();
	backend_start(false);
	wait_for("the backend's start", backend_ready);
	nbdkit_start();
	wait_for("nbdkit's start", nbdkit_ready);
	load_connect(socket_path());
}

static void end(void)
{
	struct load_counts counts;

	set_fault("the end");
	load_verify();
	load_flush();
	load_disconnect();
	server_stop(&nbdkit);
	server_stop(&backend);
	verify_file();
	counts = load_counts();
	printf("total %u rounds, seed %" PRIu64 ", %" PRIu64 " requests, %" PRIu64 " MiB, %" PRIu64
	       " blocks checked while read, %" PRIu64 " flushes, %" PRIu64
	       " requests lost with their connection\n",
	       options.rounds, options.seed, counts.requests, counts.bytes >> 20, counts.checked,
	       counts.flushes, counts.lost);
	for (unsigned i = 0; i < FAULTS; i++)
		show_fault(&faults[i]);
}

/* ------------------------------------------------------------ command line */

static const struct option long_options[] = {
	{ "transport", required_argument, NULL, 't' },
	{ "disk", required_argument, NULL, 'd' },
	{ "tmp", required_argument, NULL, 'T' },
	{ "engine", required_argument, NULL, 'e' },
	{ "queues", required_argument, NULL, 'q' },
	{ "connections", required_argument, NULL, 'c' },
	{ "depth", required_argument, NULL, 'D' },
	{ "rounds", required_argument, NULL, 'r' },
	{ "seed", required_argument, NULL, 's' },
	{ "only", required_argument, NULL, 'o' },
	{ "line", required_argument, NULL, 'l' },
	{ "software", no_argument, NULL, 'S' },
	{ "data-crc", no_argument, NULL, 'C' },
	{ "quick", no_argument, NULL, 'Q' },
	{ NULL, 0, NULL, 0 },
};

static void usage(void) __attribute__((noreturn));

static void usage(void)
{
	fputs("usage: fault --transport FILE --disk FILE --tmp FOLDER [OPTION]...\n"
	      "  --engine psync|uring|mmap  --queues N  --software  --data-crc\n"
	      "  --connections N  --depth N    requests in flight of each connection\n"
	      "  --rounds N  --seed N\n"
	      "  --only FAULT[,FAULT]...  --line NAME    of the faults, of the damaged lines\n"
	      "  --quick                       compare at the end only\n",
	      stderr);
	exit(2);
}

static uint64_t number(uint64_t low, uint64_t high)
{
	char *rest;
	uint64_t n = strtoull(optarg, &rest, 10);

	if (*optarg == 0 || *rest != 0 || n < low || n > high)
		usage();
	return n;
}

static void set_option(int option)
{
	switch (option) {
	case 't':
		options.transport = optarg;
		break;
	case 'd':
		options.disk = optarg;
		break;
	case 'T':
		options.tmp = optarg;
		break;
	case 'e':
		options.engine = optarg;
		break;
	case 'q':
		options.queues = (unsigned)number(1, 4);
		break;
	case 'c':
		options.connections = (unsigned)number(1, 16);
		break;
	case 'D':
		options.depth = (unsigned)number(1, 64);
		break;
	case 'r':
		options.rounds = (unsigned)number(1, MOST_ROUNDS);
		break;
	case 's':
		options.seed = number(0, UINT64_MAX);
		break;
	case 'o':
		options.only = optarg;
		break;
	case 'l':
		options.line = optarg;
		break;
	case 'S':
		options.software = true;
		break;
	case 'C':
		options.data_crc = true;
		break;
	case 'Q':
		options.quick = true;
		break;
	default:
		usage();
	}
}

static void parse(int argc, char **argv)
{
	int option;

	options.seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 20;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		set_option(option);
	if (optind != argc || !options.transport || !options.disk || !options.tmp)
		usage();
	if (options.line && !damage_knows(options.line))
		usage();
	options.handlers = options.queues > 2 ? 2 : options.queues;
	select_faults();
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	setlinebuf(stdout);
	printf("seed %" PRIu64 "\n", options.seed);
	begin();
	for (current_round = 1; current_round <= options.rounds; current_round++)
		round_once();
	end();
	return EXIT_SUCCESS;
}
