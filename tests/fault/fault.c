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
#include "faults.h"
#include "load.h"
#include "memory.h"
#include "server.h"
#include "shadow.h"
#include "slot.h"

struct options options = {
	.engine = "psync",
	.queues = 1,
	.connections = 4,
	.depth = 6,
	.rounds = 20,
	.heartbeat_ms = 25,
	.dead_after = 16,
	.first_blocks = 2048,
};
unsigned current_round;
struct random driver_random;

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
		faults_text());
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	servers_show();
	servers_end();
	fflush(NULL);
	_exit(EXIT_FAILURE);
}

/* ------------------------------------------------------------------ rounds */

static void round_once(void)
{
	uint64_t start = now_ns(), durable, open;
	struct fault *fault = faults_choose();

	load_on(true);
	load_wait_ms(between(&driver_random, 20, 250));
	faults_inject(fault);
	load_wait_ms(between(&driver_random, 10, 150));
	shadow_count(&durable, &open);
	load_quiesce();
	faults_settled(fault);
	if (!options.quick) {
		load_verify();
		state_check();
	}
	printf("round %u: %s; %" PRIu64 " of %" PRIu64 " blocks durable, %" PRIu64
	       " undecided; %" PRIu64 " ms, pause %.1f ms\n",
	       current_round, faults_text(), durable, options.blocks, open, (now_ns() - start) / MS,
	       (double)faults_pause_ns() / MS);
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

static void make_file(const char *path, uint64_t size)
{
	FILE *f = fopen(path, "w");

	if (!f || ftruncate(fileno(f), (off_t)size) < 0 || fclose(f) != 0)
		die("%s: %m", path);
}

/* And what a backend may be given by mistake. */
static void make_disks(void)
{
	char path[300];

	options.blocks = options.first_blocks;
	make_file(options.disk, options.blocks * BLOCK);
	snprintf(path, sizeof(path), "%s/other", options.tmp);
	make_file(path, options.blocks * BLOCK);
	snprintf(path, sizeof(path), "%s/odd", options.tmp);
	make_file(path, 1000);
}

static void begin(void)
{
	driver_random.state = options.seed;
	servers_init();
	make_disks();
	shadow_init(MOST_BLOCKS);
	load_init();
	watchdog_start();
	format();
	memory_init();
	slot_init();
	backend_start();
	load_wait_for("the backend's start", backend_ready);
	nbdkit_start();
	load_wait_for("nbdkit's start", nbdkit_ready);
	load_connect(socket_path());
}

static void end(void)
{
	struct load_counts counts;

	faults_name("the end");
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
	faults_show();
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
	{ "hosts", no_argument, NULL, 'H' },
	{ "heartbeat", required_argument, NULL, 'b' },
	{ "dead-after", required_argument, NULL, 'a' },
	{ "quick", no_argument, NULL, 'Q' },
	{ NULL, 0, NULL, 0 },
};

static void usage(void) __attribute__((noreturn));

static void usage(void)
{
	fputs("usage: fault --transport FILE --disk FILE --tmp FOLDER [OPTION]...\n"
	      "  --engine psync|uring|mmap  --queues N  --software  --data-crc\n"
	      "  --hosts    two hosts, by the hooks of --enable-debug\n"
	      "  --heartbeat MS  --dead-after N\n"
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
	case 'H':
		options.hosts = true;
		break;
	case 'b':
		options.heartbeat_ms = (unsigned)number(1, 10000);
		break;
	case 'a':
		options.dead_after = (unsigned)number(2, 1000);
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
	faults_select();
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
