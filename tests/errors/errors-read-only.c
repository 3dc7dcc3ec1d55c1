/* SPDX-License-Identifier: BSD-3-Clause */
/* A transport that was opened for reading has a mapping for reading: what has to
 * write says so, and what only reads goes on. */
#include "errors.h"

int main(void)
{
	struct cbd_takeover *takeover;
	struct cbd_backend_options backend = { .handlers = 1 };
	struct cbd_blkdev_options blkdev = { .backend = "disk" };
	struct cbd_clear_options clear = { .hosts_gone = 0 };
	static const char *const text = "is open for reading only";
	struct cbd_transport *t, *r;
	struct cbd_backend *b;
	struct cbd_blkdev *d;
	struct cbd_backend_info info;
	struct server *s;
	const char *path;

	errors_start();
	path = errors_format();
	t = errors_open(path, 0);
	s = errors_serve(t);
	r = errors_open(path, CBD_TRANSPORT_READ_ONLY);

	fails(cbd_transport_join(r), EROFS, text);
	fails(cbd_transport_join_as(r, 1), EROFS, text);
	fails(cbd_takeover_begin(r, 0, 0, &takeover), EROFS, text);
	backend.id = 1;
	fails(cbd_backend_open(r, &backend, sizeof(backend), &b), EROFS, text);
	fails(cbd_blkdev_open(r, &blkdev, sizeof(blkdev), &d), EROFS, text);
	for (unsigned object = CBD_OBJECT_HOST; object <= CBD_OBJECT_BLKDEV; object++) {
		clear.hosts_gone = 0;
		fails(cbd_clear(r, object, 0, &clear, sizeof(clear)), EROFS, text);
		clear.hosts_gone = 1;
		fails(cbd_clear(r, object, 1, &clear, sizeof(clear)), EROFS, text);
	}
	works(cbd_transport_watch(r));
	works(cbd_backend_get(r, 0, &info, sizeof(info)));
	holds(info.liveness == CBD_ALIVE);

	cbd_transport_close(r);
	errors_serve_end(s);
	cbd_transport_close(t);
	return 0;
}
