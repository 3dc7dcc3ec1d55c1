/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests that no disk can execute: refused before they are on their way. */
#include <stdint.h>

#include <limits.h>

#include "errors.h"

#define DISK (1u << 20)

static char buf[4096];
static struct cbd_block_status block;
static struct cbd_blkdev *d;
static struct cbd_queue *q;

static void refuse(struct cbd_io io, int error, const char *text)
{
	struct cbd_completion c;

	fails(cbd_queue_submit(q, &io, 1), error, text);
	fails(cbd_queue_execute(q, &io), error, text);
	holds(cbd_queue_poll(q, &c, 0, 1, 0) == 0);
}

static void ranges(enum cbd_op op)
{
	static const struct {
		uint64_t offset, length;
	} bad[] = {
		{ DISK, 1 },
		{ DISK - 1, 2 },
		{ DISK + 1, 0 },
		{ 0, DISK + 1 },
		{ UINT64_MAX, 1 },
		{ 1, UINT64_MAX },
		{ 4096, UINT64_MAX - 4095 },
		{ 1ull << 63, 4096 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse((struct cbd_io){ .op = op,
					.buf = buf,
					.offset = bad[i].offset,
					.length = bad[i].length },
		       EINVAL, "beyond the end of the device");
}

static void operations(void)
{
	static const unsigned ops[] = { 0, 7, 255, UINT_MAX };

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		refuse((struct cbd_io){ .op = (enum cbd_op)ops[i], .buf = buf, .length = 512 },
		       EINVAL, "unknown");
	refuse((struct cbd_io){ .op = CBD_OP_WRITE, .buf = buf, .length = 512, .flags = 1u << 31 },
	       EINVAL, "flags");
	refuse((struct cbd_io){ .op = CBD_OP_READ, .length = 512 }, EINVAL, "no buffer");
	refuse((struct cbd_io){ .op = CBD_OP_WRITE, .length = 512 }, EINVAL, "no buffer");
	refuse((struct cbd_io){ .op = CBD_OP_BLOCK_STATUS, .length = 512 }, EINVAL, "no place");
	refuse((struct cbd_io){ .op = CBD_OP_BLOCK_STATUS, .length = 512, .blocks = &block },
	       EINVAL, "no place");
	fails(cbd_queue_submit(q, NULL, 1), EINVAL, "request");
	fails(cbd_queue_execute(q, NULL), EINVAL, "request");
	fails(cbd_queue_poll(q, NULL, 0, 1, 0), EINVAL, "completions");
}

/* What a flush has beside its operation means nothing. */
static void flush(void)
{
	works(cbd_queue_execute(q, &(struct cbd_io){ .op = CBD_OP_FLUSH,
						     .buf = buf,
						     .offset = UINT64_MAX,
						     .length = UINT64_MAX }));
}

/* Of another blkdev: its losses are not those of this one. */
static void connection(struct cbd_transport *t)
{
	struct cbd_blkdev *other = errors_attach(t, true);
	struct cbd_connection *c = cbd_connection_open(other);

	holds(c != NULL);
	refuse((struct cbd_io){ .op = CBD_OP_FLUSH, .connection = c }, EINVAL, "connection");
	cbd_connection_close(c);
	q = cbd_blkdev_queue(other, 0);
	for (unsigned op = CBD_OP_WRITE; op <= CBD_OP_WRITE_ZEROES; op++)
		if (op != CBD_OP_FLUSH)
			refuse((struct cbd_io){ .op = op, .buf = buf, .length = 512 }, EPERM,
			       "read-only");
	works(cbd_queue_read(q, buf, sizeof(buf), DISK - sizeof(buf)));
	cbd_blkdev_close(other);
	q = cbd_blkdev_queue(d, 0);
}

int main(void)
{
	struct cbd_transport *t, *bt;
	struct server *s;
	const char *path;

	errors_start();
	path = errors_format();
	bt = errors_open(path, 0);
	s = errors_serve(bt);
	t = errors_open(path, 0);
	d = errors_attach(t, false);
	q = cbd_blkdev_queue(d, 0);

	for (unsigned op = CBD_OP_READ; op <= CBD_OP_BLOCK_STATUS; op++)
		if (op != CBD_OP_FLUSH)
			ranges(op);
	operations();
	flush();
	connection(t);
	works(cbd_queue_write(q, buf, sizeof(buf), DISK - sizeof(buf), 0));
	/* a disk that cannot tell: all is data */
	holds(works(cbd_queue_block_status(q, DISK, 0, &block, 1)) == 1);
	holds(block.length == DISK && block.flags == 0);

	cbd_blkdev_close(d);
	cbd_transport_close(t);
	errors_serve_end(s);
	cbd_transport_close(bt);
	return 0;
}
