/* SPDX-License-Identifier: BSD-3-Clause */
/* A blkdev of a backend that is not there, or with more than the transport has. */
#include <limits.h>

#include "errors.h"

static struct cbd_transport *t;
static struct cbd_blkdev *d;

static void refuse(struct cbd_blkdev_options o, int error, const char *text)
{
	if (!o.backend)
		o.backend = "disk";
	fails(cbd_blkdev_open(t, &o, sizeof(o), &d), error, text);
}

int main(void)
{
	struct server *s;
	const char *path;
	struct cbd_transport *bt;

	errors_start();
	path = errors_format();
	bt = errors_open(path, 0);
	s = errors_serve(bt);
	t = errors_open(path, 0);

	refuse((struct cbd_blkdev_options){ .backend = "" }, ENOENT, "no backend has this name");
	refuse((struct cbd_blkdev_options){ .backend = "2" }, EINVAL, "the transport has 0..1");
	refuse((struct cbd_blkdev_options){ .backend = "4294967296" }, EINVAL,
	       "the transport has 0..1");
	refuse((struct cbd_blkdev_options){ .backend = "99999999999999999999" }, EINVAL,
	       "the transport has 0..1");
	refuse((struct cbd_blkdev_options){ .backend = "-1" }, ENOENT, "no backend has this name");
	refuse((struct cbd_blkdev_options){ .backend = "other" }, ENOENT,
	       "no backend has this name");
	refuse((struct cbd_blkdev_options){ .backend = "1" }, ENOENT, "is not running");
	refuse((struct cbd_blkdev_options){ .queues = 3 }, EINVAL, "queues: 3");
	refuse((struct cbd_blkdev_options){ .queues = UINT_MAX }, EINVAL, "queues: ");
	refuse((struct cbd_blkdev_options){ .depth = 17 }, EINVAL, "depth: 17");
	refuse((struct cbd_blkdev_options){ .depth = UINT_MAX }, EINVAL, "depth: ");
	refuse((struct cbd_blkdev_options){ .poll = 3 }, EINVAL, "poll: 3");

	/* nothing is kept of all that */
	d = errors_attach(t, false);
	holds(cbd_blkdev_queue(d, 1) == NULL);
	holds(cbd_blkdev_queue(d, UINT_MAX) == NULL);
	works(cbd_queue_flush(cbd_blkdev_queue(d, 0)));
	cbd_blkdev_close(d);
	cbd_transport_close(t);
	errors_serve_end(s);
	cbd_transport_close(bt);
	return 0;
}
