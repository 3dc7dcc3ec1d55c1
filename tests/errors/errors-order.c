/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls in another order than they are meant. */
#include <string.h>

#include "errors.h"

static const struct cbd_disk_geometry geometry = {
	.size = 1u << 20,
	.logical_block = 512,
	.physical_block = 512,
	.optimal_block = 512,
};

/* A backend that was not published, and one that drains, serve nothing. */
static void backend(struct cbd_transport *t)
{
	struct cbd_backend_options o = { .id = 1, .handlers = 2 };
	struct cbd_request *r[4];
	struct cbd_backend *b;

	works(cbd_backend_open(t, &o, sizeof(o), &b));
	works(cbd_backend_tick(b));
	holds(cbd_handler_fetch(cbd_backend_handler(b, 1), r, 4) == 0);
	holds(cbd_handler_fetch(cbd_backend_handler(b, 1), r, 0) == 0);
	cbd_handler_wait(cbd_backend_handler(b, 0), 0);
	cbd_backend_data_lost(b);
	cbd_backend_drain(b);
	cbd_backend_drain(b);
	holds(cbd_backend_drained(b));
	fails(cbd_backend_publish(b, &geometry, sizeof(geometry)), EINVAL, "drain");
	works(cbd_backend_tick(b));
	cbd_backend_close(b);
}

static void blkdev(struct cbd_transport *t)
{
	struct cbd_blkdev_options o = {
		.backend = "disk",
	};
	struct cbd_blkdev *d;
	struct cbd_completion c;

	/* closed before it began */
	works(cbd_blkdev_open(t, &o, sizeof(o), &d));
	cbd_blkdev_close(d);

	works(cbd_blkdev_open(t, &o, sizeof(o), &d));
	works(cbd_blkdev_start(d));
	fails(cbd_blkdev_start(d), EINVAL, "has begun already");
	holds(cbd_queue_poll(cbd_blkdev_queue(d, 0), &c, 0, 0, 0) == 0);
	works(cbd_queue_flush(cbd_blkdev_queue(d, 0)));

	/* with a request that nobody has asked for */
	works(cbd_queue_submit(cbd_blkdev_queue(d, 0), &(struct cbd_io){ .op = CBD_OP_FLUSH }, 1));
	cbd_blkdev_close(d);
}

int main(void)
{
	struct cbd_transport *t, *bt;
	struct server *s;
	const char *path;

	errors_start();
	holds(strcmp(cbd_errmsg(), "") == 0);
	path = errors_format();
	bt = errors_open(path, 0);
	s = errors_serve(bt);
	t = errors_open(path, 0);
	backend(t);
	blkdev(t);
	cbd_transport_close(t);
	errors_serve_end(s);
	cbd_transport_close(bt);
	return 0;
}
