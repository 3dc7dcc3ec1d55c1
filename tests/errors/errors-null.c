/* SPDX-License-Identifier: BSD-3-Clause */
/* NULL where something has to be. */
#include "errors.h"

static void no_transport(void)
{
	struct cbd_format_options format = { .size = 8u << 20 };
	struct cbd_transport *t;

	fails(cbd_format(NULL, &format, sizeof(format)), EINVAL, "path");
	fails(cbd_transport_open(NULL, 0, &t), EINVAL, "path");
	fails(cbd_transport_open("/dev/null", 0, NULL), EINVAL, "transport");
	fails(cbd_transport_check(NULL, 0, NULL, NULL), EINVAL, "path");
	fails(cbd_transport_watch(NULL), EINVAL, "transport");
	fails(cbd_transport_join(NULL), EINVAL, "transport");
	fails(cbd_poll_parse(NULL, NULL), EINVAL, "poll");
}

static void no_options(struct cbd_transport *t)
{
	struct cbd_backend_options backend = { .handlers = 1 };
	struct cbd_blkdev_options blkdev = {};
	struct cbd_takeover *takeover;
	struct cbd_backend *b;
	struct cbd_blkdev *d;

	fails(cbd_backend_open(t, &backend, sizeof(backend), NULL), EINVAL, "backend");
	fails(cbd_backend_open(NULL, &backend, sizeof(backend), &b), EINVAL, "transport");
	fails(cbd_takeover_begin(NULL, 0, 0, &takeover), EINVAL, "transport");
	fails(cbd_backend_publish(NULL, NULL, 0), EINVAL, "backend");
	fails(cbd_blkdev_open(t, NULL, 0, &d), EINVAL, "no backend");
	fails(cbd_blkdev_open(t, &blkdev, sizeof(blkdev), NULL), EINVAL, "blkdev");
	fails(cbd_blkdev_open(t, &blkdev, sizeof(blkdev), &d), EINVAL, "no backend");
	fails(cbd_blkdev_open(NULL, &blkdev, sizeof(blkdev), &d), EINVAL, "transport");
	fails(cbd_blkdev_start(NULL), EINVAL, "blkdev");
	fails(cbd_clear(t, CBD_OBJECT_HOST, 0, NULL, 0), ENOENT, "is not in use");
	fails(cbd_clear(NULL, CBD_OBJECT_HOST, 0, NULL, 0), EINVAL, "transport");
}

static void no_info(struct cbd_transport *t)
{
	struct cbd_host_info host;

	fails(cbd_host_get(NULL, 0, &host, sizeof(host)), EINVAL, "transport");
	fails(cbd_host_get(t, 0, NULL, 8), EINVAL, "host");
	fails(cbd_backend_get(t, 0, NULL, 8), EINVAL, "backend");
	fails(cbd_blkdev_get(t, 0, NULL, 8), EINVAL, "blkdev");
	fails(cbd_channel_get(t, 0, 0, NULL, 8), EINVAL, "no place");
}

int main(void)
{
	struct cbd_transport *t;
	const char *path;

	errors_start();
	path = errors_format();
	t = errors_open(path, 0);
	no_transport();
	fails(cbd_transport_check(path, 0, NULL, NULL), EINVAL, "callback");
	no_options(t);
	no_info(t);
	fails(cbd_connection_open(NULL) ? 0 : -errno, EINVAL, "blkdev");

	/* closing nothing is no mistake */
	cbd_connection_close(NULL);
	cbd_blkdev_close(NULL);
	cbd_backend_close(NULL);
	cbd_transport_close(NULL);
	cbd_transport_close(t);
	return 0;
}
