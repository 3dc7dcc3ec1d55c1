/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * innocent.c - the client of an honest nbdkit: innocent [-v] FILE URI.
 *
 * One request of 4 KiB at a time in the first quarter of the disk, compared with a shadow
 * copy, until SIGTERM: reads and writes, and block status of all that it uses.  Every 20 ms FILE has "requests errors slowest", the slowest one
 * in microseconds since the last line.  Status 1: wrong data, or an error.
 *
 * -v: it is the victim of a lying backend, so that errors are counted only and data is
 * not compared.
 */
#include <config.h>

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

#define BLOCK 4096
#define BLOCKS 64
#define REPORT_NS 20000000ull

static volatile sig_atomic_t over;
static bool victim;
static struct nbd_handle *nbd;
static char shadow[BLOCKS][BLOCK], buf[BLOCK];
static unsigned long requests, errors, slowest_us;

static void on_term(int signal)
{
	(void)signal;
	over = 1;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void report(int fd)
{
	static uint64_t reported;
	char line[80];
	int length;

	if (now_ns() - reported < REPORT_NS)
		return;
	reported = now_ns();
	/* of the same length each time: a reader finds one line */
	length = snprintf(line, sizeof(line), "%012lu %012lu %012lu\n", requests, errors,
			  slowest_us);
	if (pwrite(fd, line, (size_t)length, 0) != length)
		exit(1);
	slowest_us = 0;
}

static void failed(unsigned block)
{
	errors++;
	if (victim)
		return;
	fprintf(stderr, "innocent: block %u: %s\n", block, nbd_get_error());
	exit(1);
}

/* What is said to be zeroes is. */
static int extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries, size_t n,
		   int *error)
{
	static const char zeroes[BLOCK];

	(void)opaque;
	(void)context;
	(void)error;
	for (size_t i = 0; i + 1 < n; offset += entries[i], i += 2)
		for (uint64_t at = offset;
		     !victim && (entries[i + 1] & LIBNBD_STATE_ZERO) && at < offset + entries[i];
		     at += BLOCK)
			if (at % BLOCK || at / BLOCK >= BLOCKS ||
			    memcmp(shadow[at / BLOCK], zeroes, BLOCK) != 0) {
				fprintf(stderr, "innocent: data at %lu is said to be zeroes\n",
					(unsigned long)at);
				exit(1);
			}
	return 0;
}

static int block_status(void)
{
	return nbd_block_status(nbd, BLOCKS * BLOCK, 0,
				(nbd_extent_callback){ .callback = extents }, 0);
}

static void request(unsigned block)
{
	uint64_t began = now_ns();
	unsigned long us;
	bool read = rand() & 1;

	if (rand() % 32 == 0 && block_status() < 0)
		failed(block);
	if (!read)
		memset(buf, rand(), BLOCK);
	if ((read ? nbd_pread(nbd, buf, BLOCK, (uint64_t)block * BLOCK, 0)
		  : nbd_pwrite(nbd, buf, BLOCK, (uint64_t)block * BLOCK, 0)) < 0) {
		failed(block);
	} else if (!read) {
		memcpy(shadow[block], buf, BLOCK);
	} else if (!victim && memcmp(shadow[block], buf, BLOCK) != 0) {
		fprintf(stderr, "innocent: block %u: wrong data\n", block);
		exit(1);
	}
	requests++;
	us = (unsigned long)((now_ns() - began) / 1000);
	if (us > slowest_us)
		slowest_us = us;
}

int main(int argc, char **argv)
{
	int fd, first;

	victim = argc == 4 && strcmp(argv[1], "-v") == 0;
	first = victim ? 2 : 1;
	if (argc - first != 2)
		return 2;
	if (!victim) /* which may hang in a request */
		signal(SIGTERM, on_term);
	fd = open(argv[first], O_RDWR | O_CREAT, 0600);
	nbd = nbd_create();
	if (fd < 0 || !nbd || nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
	    nbd_connect_uri(nbd, argv[first + 1]) < 0) {
		fprintf(stderr, "innocent: %s\n", nbd_get_error());
		return 1;
	}
	for (unsigned block = 0; block < BLOCKS; block++)
		if (nbd_pwrite(nbd, shadow[block], BLOCK, (uint64_t)block * BLOCK, 0) < 0)
			failed(block);
	while (!over && !nbd_aio_is_dead(nbd)) {
		request((unsigned)rand() % BLOCKS);
		report(fd);
	}
	if (!over && !victim) {
		fprintf(stderr, "innocent: nbdkit is gone\n");
		return 1;
	}
	return 0;
}
