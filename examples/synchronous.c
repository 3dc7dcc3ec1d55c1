/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * synchronous.c TRANSPORT BACKEND - the simplest use of libcbd: each call waits.
 * Reads the first block of a disk, writes it back, durably, and shows the disk's size.
 *
 * cc synchronous.c $(pkg-config --cflags --libs cbd)
 */
#include <cbd.h>

#include <stdio.h>
#include <stdlib.h>

static void check(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "synchronous: %s: %s\n", what, cbd_errmsg());
	exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
	struct cbd_blkdev_options options = { 0 };
	struct cbd_blkdev_geometry geometry;
	struct cbd_transport *t;
	struct cbd_blkdev *b;
	struct cbd_queue *q;
	static char block[4096];

	if (argc != 3) {
		fprintf(stderr, "usage: synchronous TRANSPORT BACKEND\n");
		return 2;
	}
	options.backend = argv[2];
	check(cbd_transport_open(argv[1], 0, &t), "open");
	check(cbd_blkdev_open(t, &options, sizeof(options), &b), "attach");
	check(cbd_blkdev_start(b), "start");
	cbd_blkdev_geometry(b, &geometry, sizeof(geometry));
	printf("%llu bytes\n", (unsigned long long)geometry.size);

	/* any thread may use any queue; this program has one of each */
	q = cbd_blkdev_queue(b, 0);
	check(cbd_queue_read(q, block, sizeof(block), 0), "read");
	check(cbd_queue_write(q, block, sizeof(block), 0, 0), "write");
	check(cbd_queue_flush(q), "flush");

	cbd_blkdev_close(b);
	cbd_transport_close(t);
	return EXIT_SUCCESS;
}
