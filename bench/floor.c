/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * floor.c - what a request through shared memory costs at least: two processes,
 * one 64-byte line there, one back, the copies, and the same read or write on
 * the same file.  Nothing is checked, recovered, counted or slept, there is one
 * client, and DEPTH requests are in flight, served in their order, each with lines
 * and a block of its own.
 *
 *	floor DISK hardware|software randread|randwrite BLOCK SECONDS
 *	      [psync|mmap [DEPTH [CLIENT-CPU SERVER-CPU]]]
 *
 * In software mode each payload has a fence of its own; libcbd invalidates those that came
 * together under one.
 *
 * Software mode pays what docs/coherence.md asks for: a private copy on both
 * sides, write-backs, invalidations, the CRC of payload and line.  Hardware mode needs none:
 * the disk reads and writes shared memory.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "memory/coherence.h"
#include "base/crc.h"
#include "ring/copy.h"
#include "histogram.h"

#define PAGE 4096
#define MAX_BLOCK (1u << 20)
#define MAX_DEPTH (PAGE / 64) /* the lines of one page */
#define WORDS 8

struct floor {
	struct cbd_mem mem;
	bool write, map;
	size_t block;
	unsigned depth;
	double seconds;
	int fd;
	char *disk; /* mapping, with the engine mmap */
	uint64_t blocks;
	char *request, *answer, *data; /* shared: lines and blocks by slot */
	char *private;
};

/* Words of a line: sequence, block, CRC of payload, ..., CRC of the line. */
enum { SEQUENCE, BLOCK, PAYLOAD_CRC, LINE_CRC = WORDS - 1 };

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void send(const struct floor *f, char *to, uint64_t *line)
{
	if (f->mem.software)
		line[LINE_CRC] = cbd_crc32c(0, line, LINE_CRC * sizeof(*line));
	/* the fence behind it is that of the next look for a line */
	cbd_mem_store_done(&f->mem);
	cbd_line_store_start(&f->mem, to, line);
}

static void receive(const struct floor *f, const char *from, uint64_t sequence, uint64_t *line)
{
	do {
		cbd_line_invalidate_start(&f->mem, from);
		cbd_invalidate_done(&f->mem);
	} while (!cbd_line_await(&f->mem, from, sequence, line));
	if (f->mem.software && line[LINE_CRC] != cbd_crc32c(0, line, LINE_CRC * sizeof(*line)))
		die("a line is damaged");
}

static char *line_of(const struct floor *f, char *lines, uint64_t sequence)
{
	return lines + sequence % f->depth * 64;
}

static char *data_of(const struct floor *f, uint64_t sequence)
{
	return f->data + sequence % f->depth * f->block;
}

/* Into shared memory; returns the CRC. */
static uint32_t bring(const struct floor *f, uint64_t sequence, const char *from)
{
	uint32_t crc = 0;

	cbd_copy_in(&f->mem, data_of(f, sequence), from, f->block, f->mem.software ? &crc : NULL);
	return crc;
}

static void take(const struct floor *f, uint64_t sequence, char *to, uint32_t crc)
{
	const char *from = data_of(f, sequence);
	uint32_t sum = 0;

	cbd_mem_invalidate(&f->mem, from, f->block);
	cbd_copy_out(&f->mem, to, from, f->block, f->mem.software ? &sum : NULL);
	if (f->mem.software && sum != crc)
		die("payload is damaged");
}

/* ----------------------------------------------------------------- server */

static void disk_io(const struct floor *f, char *buf, uint64_t block)
{
	char *place = f->map ? f->disk + block * f->block : NULL;
	off_t offset = (off_t)(block * f->block);
	ssize_t n = (ssize_t)f->block;

	if (f->map && f->write)
		cbd_mem_copy_around(place, buf, f->block);
	else if (f->map)
		cbd_mem_copy(buf, place, f->block);
	else
		n = f->write ? pwrite(f->fd, buf, f->block, offset)
			     : pread(f->fd, buf, f->block, offset);
	if (n != (ssize_t)f->block)
		die("disk");
}

static void serve(const struct floor *f)
{
	uint64_t line[WORDS];

	for (uint64_t sequence = 1;; sequence++) {
		char *buf = f->mem.software ? f->private : data_of(f, sequence);

		receive(f, line_of(f, f->request, sequence), sequence, line);
		if (f->write && f->mem.software)
			take(f, sequence, buf, (uint32_t)line[PAYLOAD_CRC]);
		disk_io(f, buf, line[BLOCK]);
		line[PAYLOAD_CRC] = 0;
		if (!f->write && f->mem.software)
			line[PAYLOAD_CRC] = bring(f, sequence, buf);
		send(f, line_of(f, f->answer, sequence), line);
	}
}

/* ----------------------------------------------------------------- client */

static void submit(const struct floor *f, uint64_t sequence, uint64_t block, const char *user)
{
	uint64_t line[WORDS] = { [SEQUENCE] = sequence, [BLOCK] = block };

	if (f->write)
		line[PAYLOAD_CRC] = bring(f, sequence, user);
	send(f, line_of(f, f->request, sequence), line);
}

static void reap(const struct floor *f, uint64_t sequence, char *user)
{
	uint64_t line[WORDS];

	receive(f, line_of(f, f->answer, sequence), sequence, line);
	if (!f->write)
		take(f, sequence, user, (uint32_t)line[PAYLOAD_CRC]);
}

static void run(const struct floor *f)
{
	static struct histogram h;
	uint64_t begin = now_ns(), end = begin + (uint64_t)(f->seconds * 1e9), random = 1;
	uint64_t sent[MAX_DEPTH];
	size_t size = f->depth * f->block;
	char *user = aligned_alloc(PAGE, (size + PAGE - 1) / PAGE * PAGE);

	if (!user)
		die("memory");
	memset(user, 1, size);
	for (uint64_t sequence = 1, now = begin; now < end; sequence++) {
		uint64_t slot = sequence % f->depth;
		char *buf = user + slot * f->block;

		if (sequence > f->depth) {
			reap(f, sequence - f->depth, buf);
			now = now_ns();
			histogram_add(&h, now - sent[slot]);
		}
		random = random * 6364136223846793005ull + 1442695040888963407ull;
		sent[slot] = now;
		submit(f, sequence, (random >> 33) % f->blocks, buf);
	}
	printf("{ \"program\": \"floor\", \"iops\": %.1f, \"latency_ns\": { \"mean\": %.1f, "
	       "\"p50\": %llu, \"p99\": %llu } }\n",
	       (double)h.count / f->seconds, (double)h.sum / (double)h.count,
	       (unsigned long long)histogram_percentile(&h, 0.5),
	       (unsigned long long)histogram_percentile(&h, 0.99));
	free(user);
}

/* ------------------------------------------------------------------ setup */

static void share_memory(struct floor *f)
{
	int fd = memfd_create("cbd-floor", MFD_CLOEXEC);
	size_t size = 2 * PAGE + f->depth * f->block;

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		die("memory");
	f->request = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (f->request == MAP_FAILED)
		die("mmap");
	f->answer = f->request + PAGE;
	f->data = f->request + 2 * PAGE;
	f->private = aligned_alloc(PAGE, MAX_BLOCK);
	if (!f->private)
		die("memory");
	memset(f->private, 2, MAX_BLOCK);
}

static void open_disk(struct floor *f, const char *name)
{
	struct stat st;

	f->fd = open(name, (f->write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (f->fd < 0 || fstat(f->fd, &st) < 0)
		die(name);
	f->blocks = (uint64_t)st.st_size / f->block;
	if (f->blocks == 0)
		die("the disk is too small");
}

/* Touch the pages in the process that uses them: fork() does not pass on page tables of
 * shared mappings. */
static void map_disk(struct floor *f)
{
	if (!f->map)
		return;
	f->disk = mmap(NULL, f->blocks * f->block, PROT_READ | (f->write ? PROT_WRITE : 0),
		       MAP_SHARED | MAP_POPULATE, f->fd, 0);
	if (f->disk == MAP_FAILED)
		die("disk: mmap");
}

static void pin(const char *cpu)
{
	cpu_set_t set;

	if (!cpu)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)atoi(cpu), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void usage(void)
{
	fputs("usage: floor DISK hardware|software randread|randwrite BLOCK SECONDS\n"
	      "             [psync|mmap [DEPTH [CLIENT-CPU SERVER-CPU]]]\n",
	      stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	struct floor f = { .fd = -1 };
	pid_t server;

	if (argc != 6 && argc != 7 && argc != 8 && argc != 10)
		usage();
	f.mem.software = strcmp(argv[2], "software") == 0;
	f.write = strcmp(argv[3], "randwrite") == 0;
	f.block = strtoul(argv[4], NULL, 10);
	f.seconds = strtod(argv[5], NULL);
	f.map = argc > 6 && strcmp(argv[6], "mmap") == 0;
	f.depth = argc > 7 ? (unsigned)strtoul(argv[7], NULL, 10) : 1;
	if (f.block == 0 || f.block > MAX_BLOCK || !(f.seconds > 0) || f.depth == 0 ||
	    f.depth > MAX_DEPTH)
		usage();
	cbd_coherence_init();
	open_disk(&f, argv[1]);
	share_memory(&f);
	server = fork();
	if (server < 0)
		die("fork");
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(argc == 10 ? argv[9] : NULL);
		map_disk(&f);
		serve(&f);
	}
	pin(argc == 10 ? argv[8] : NULL);
	run(&f);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	return EXIT_SUCCESS;
}
