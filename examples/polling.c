/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * polling.c TRANSPORT BACKEND - many requests at a time: reads a whole disk and shows
 * the sum of its bytes.  The pieces of one request go to two buffers (an iovec).
 *
 * Requests are submitted several at a time, and reaped several at a time: the thread
 * waits in cbd_queue_poll(), which is the fastest way for a program that waits for
 * nothing else.
 *
 * cc polling.c $(pkg-config --cflags --libs cbd)
 */
#include <cbd.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>

#define DEPTH 16
#define HALF 32768u

/* A request on its way. */
struct slot {
	unsigned char half[2][HALF];
	struct iovec iov[2];
	bool busy;
};

static struct slot slots[DEPTH];

static int check(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "polling: %s: %s\n", what, cbd_errmsg());
		exit(EXIT_FAILURE);
	}
	return r;
}

static struct cbd_io read_next(struct slot *s, uint64_t offset, uint64_t size)
{
	uint64_t left = size - offset;
	uint64_t length = left < 2 * HALF ? left : 2 * HALF;

	s->busy = true;
	s->iov[0] = (struct iovec){ s->half[0], length < HALF ? length : HALF };
	s->iov[1] = (struct iovec){ s->half[1], length - s->iov[0].iov_len };
	return (struct cbd_io){ .op = CBD_OP_READ,
				.offset = offset,
				.length = length,
				.iov = s->iov,
				.iovcnt = 2,
				.cookie = s };
}

/* All slots that are free, in one call. */
static unsigned submit(struct cbd_queue *q, uint64_t *offset, uint64_t size)
{
	struct cbd_io ios[DEPTH];
	unsigned n = 0;

	for (unsigned i = 0; i < DEPTH && *offset < size; i++) {
		if (slots[i].busy)
			continue;
		ios[n] = read_next(&slots[i], *offset, size);
		*offset += ios[n++].length;
	}
	/* all are taken, or the first one that is not is an error */
	if (check(cbd_queue_submit(q, ios, n), "submit") < (int)n)
		check(-1, "submit");
	return n;
}

static uint64_t sum(const struct slot *s)
{
	uint64_t all = 0;

	for (unsigned half = 0; half < 2; half++)
		for (size_t i = 0; i < s->iov[half].iov_len; i++)
			all += s->half[half][i];
	return all;
}

int main(int argc, char **argv)
{
	struct cbd_blkdev_options options = { 0 };
	struct cbd_blkdev_geometry geometry;
	struct cbd_completion done[DEPTH];
	struct cbd_transport *t;
	struct cbd_blkdev *b;
	struct cbd_queue *q;
	uint64_t offset = 0, all = 0;
	unsigned inside = 0;

	if (argc != 3) {
		fprintf(stderr, "usage: polling TRANSPORT BACKEND\n");
		return 2;
	}
	options.backend = argv[2];
	options.read_only = true;
	check(cbd_transport_open(argv[1], 0, &t), "open");
	check(cbd_blkdev_open(t, &options, sizeof(options), &b), "attach");
	check(cbd_blkdev_start(b), "start");
	cbd_blkdev_geometry(b, &geometry, sizeof(geometry));
	q = cbd_blkdev_queue(b, 0);

	while (offset < geometry.size || inside > 0) {
		int n;

		inside += submit(q, &offset, geometry.size);
		n = check(cbd_queue_poll(q, done, 1, DEPTH, -1), "poll");
		for (int i = 0; i < n; i++) {
			struct slot *s = done[i].cookie;

			if (done[i].result < 0) {
				fprintf(stderr, "polling: read: %s\n", done[i].message);
				return EXIT_FAILURE;
			}
			all += sum(s);
			s->busy = false;
		}
		inside -= (unsigned)n;
	}
	printf("sum %llu\n", (unsigned long long)all);
	cbd_blkdev_close(b);
	cbd_transport_close(t);
	return EXIT_SUCCESS;
}
