/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-uring.c - engine "uring": one io_uring for each handler.
 *
 * Owns the translation of requests to SQEs and back.  A request has at most
 * one SQE at a time, and the worker keeps at most DEPTH requests in flight, so
 * neither the submission nor the completion queue can overflow.  What io_uring
 * cannot do (ioctls, unaligned requests of --direct) is executed by disk-io.c
 * in between.
 *
 * The disk's file is not registered: a registered file, and so the disk's
 * lock, outlives a killed process for some tens of milliseconds.
 */
#include <config.h>

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "disk.h"
#include "../common/log.h"

#define REAP_BATCH 64

struct uring_queue {
	struct disk_queue base;
	struct io_uring ring;
};

static struct uring_queue *to_uring(struct disk_queue *q)
{
	return (struct uring_queue *)q;
}

/* ------------------------------------------------------- open and close */

/*
 * COOP_TASKRUN: completions wait until this thread enters the kernel or sleeps
 * there (poll(2) in uring_wait() is interrupted for them), so that no
 * interrupt is spent on telling it while it works.  SINGLE_ISSUER: no other
 * thread submits.  Kernels before 6.0 do not know SINGLE_ISSUER, those before
 * 5.19 neither.
 */
static int ring_init(struct io_uring *ring, unsigned depth)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int err = -EINVAL;

	for (size_t i = 0; err == -EINVAL && i < sizeof(flags) / sizeof(flags[0]); i++)
		err = io_uring_queue_init(depth, ring, flags[i]);
	return err;
}

static bool has_operations(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool has = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_READ) &&
		   io_uring_opcode_supported(probe, IORING_OP_WRITE) &&
		   io_uring_opcode_supported(probe, IORING_OP_FSYNC) &&
		   io_uring_opcode_supported(probe, IORING_OP_FALLOCATE);

	io_uring_free_probe(probe);
	return has;
}

static int uring_probe(void)
{
	struct io_uring ring;
	int err = ring_init(&ring, 1);

	if (err < 0)
		return err;
	err = has_operations(&ring) ? 0 : -EOPNOTSUPP;
	io_uring_queue_exit(&ring);
	return err;
}

static int uring_open(struct disk *d, unsigned depth, struct disk_queue **queue)
{
	struct uring_queue *u = calloc(1, sizeof(*u));
	int err;

	(void)d;
	if (u == NULL)
		return -ENOMEM;
	err = ring_init(&u->ring, depth);
	if (err < 0) {
		free(u);
		return err;
	}
	*queue = &u->base;
	return 0;
}

static void uring_close(struct disk_queue *q)
{
	io_uring_queue_exit(&to_uring(q)->ring);
	free(q);
}

/* --------------------------------------------------------------- submit */

static void finish(struct uring_queue *u, struct disk_io *io, int result)
{
	u->base.events.done(u->base.events.opaque, io, result);
}

/* Requests cannot be taken back from a ring that the kernel does not accept:
 * end as after a crash, and the clients wait for the next process. */
static void ring_broken(int err)
{
	log_error("io_uring: %s", strerror(-err));
	abort();
}

static void uring_kick(struct disk_queue *q)
{
	struct io_uring *ring = &to_uring(q)->ring;
	int n;

	if (io_uring_sq_ready(ring) == 0)
		return;
	n = io_uring_submit(ring);
	/* Short of memory for a moment: the next round tries again. */
	if (n < 0 && n != -EAGAIN && n != -EBUSY && n != -EINTR && n != -ENOMEM)
		ring_broken(n);
}

static struct io_uring_sqe *get_sqe(struct uring_queue *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	/* Cannot happen, see above; but never lose a request. */
	while (sqe == NULL) {
		uring_kick(&u->base);
		sqe = io_uring_get_sqe(&u->ring);
	}
	return sqe;
}

static void submit_sync(struct uring_queue *u, struct disk_io *io)
{
	struct io_uring_sqe *sqe = get_sqe(u);

	io_uring_prep_fsync(sqe, u->base.disk->fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data(sqe, io);
	io->syncing = true;
}

/* Also for the rest of a read or write that came up short. */
static void submit_transfer(struct uring_queue *u, struct disk_io *io)
{
	const struct cbd_request *r = io->request;
	const struct disk *d = u->base.disk;
	struct io_uring_sqe *sqe = get_sqe(u);
	char *buf = (char *)r->buf + io->finished;
	uint32_t length = r->length - io->finished;
	uint64_t offset = r->offset + io->finished;

	if (r->op == CBD_OP_READ)
		io_uring_prep_read(sqe, d->fd, buf, length, offset);
	else
		io_uring_prep_write(sqe, d->fd, buf, length, offset);
	if (r->op == CBD_OP_WRITE && (r->flags & CBD_IO_FUA) && !d->write_through)
		sqe->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_data(sqe, io);
}

static void submit_fallocate(struct uring_queue *u, struct disk_io *io, int mode)
{
	const struct cbd_request *r = io->request;
	struct io_uring_sqe *sqe = get_sqe(u);

	io_uring_prep_fallocate(sqe, u->base.disk->fd, mode, r->offset, r->length);
	io_uring_sqe_set_data(sqe, io);
}

/* Whether the request is under way now, as one SQE. */
static bool submit_async(struct uring_queue *u, struct disk_io *io)
{
	const struct cbd_request *r = io->request;
	const struct disk *d = u->base.disk;
	int mode;

	switch (r->op) {
	case CBD_OP_READ:
	case CBD_OP_WRITE:
		if (!disk_aligned(d, r))
			return false;
		submit_transfer(u, io);
		return true;
	case CBD_OP_FLUSH:
		if (d->write_through || d->read_only)
			return false;
		submit_sync(u, io);
		return true;
	case CBD_OP_DISCARD:
	case CBD_OP_WRITE_ZEROES:
		mode = disk_fallocate_mode(d, r);
		if (mode >= 0)
			submit_fallocate(u, io, mode);
		return mode >= 0;
	default:
		return false;
	}
}

static void uring_submit(struct disk_queue *q, struct disk_io *io)
{
	struct uring_queue *u = to_uring(q);

	io->failures = q->failures;
	if (!submit_async(u, io))
		finish(u, io, disk_execute(q, io->request));
}

/* ----------------------------------------------------------------- reap */

/* A success, of which another one in flight may have taken away the error. */
static int durable(struct uring_queue *u, const struct disk_io *io)
{
	if (io->failures != u->base.failures)
		return -EIO;
	return disk_synced(&u->base);
}

static void sync_done(struct uring_queue *u, struct disk_io *io, int result)
{
	if (result < 0)
		disk_sync_failed(&u->base, result);
	else
		result = durable(u, io);
	finish(u, io, result);
}

static void transfer_failed(struct uring_queue *u, struct disk_io *io, int error)
{
	const struct cbd_request *r = io->request;

	if (r->op == CBD_OP_WRITE && disk_wants_sync(u->base.disk, r))
		error = disk_durable_write_failed(&u->base, r, error);
	finish(u, io, error);
}

static void transfer_finished(struct uring_queue *u, struct disk_io *io)
{
	const struct cbd_request *r = io->request;
	bool sync = r->op == CBD_OP_WRITE && disk_wants_sync(u->base.disk, r);

	finish(u, io, sync ? durable(u, io) : 0);
}

static void transfer_done(struct uring_queue *u, struct disk_io *io, int result)
{
	struct disk_queue *q = &u->base;

	if (result <= 0) {
		transfer_failed(u, io, result == 0 ? -EIO : result);
		return;
	}
	io->finished += result;
	if (io->finished == io->request->length)
		transfer_finished(u, io);
	else if (q->disk->direct != 0) /* the rest may be unaligned */
		finish(u, io, disk_execute_rest(q, io->request, io->finished));
	else
		submit_transfer(u, io);
}

static void fallocate_done(struct uring_queue *u, struct disk_io *io, int result)
{
	struct disk_queue *q = &u->base;

	if (disk_unsupported(result))
		finish(u, io, disk_execute(q, io->request));
	else if (result == 0 && disk_wants_sync(q->disk, io->request))
		submit_sync(u, io);
	else
		finish(u, io, result);
}

/* The kernel was disturbed and has not done it. */
static int execute_here(struct uring_queue *u, struct disk_io *io)
{
	const struct cbd_request *r = io->request;

	if (io->syncing)
		return disk_sync(&u->base);
	if (r->op == CBD_OP_READ || r->op == CBD_OP_WRITE)
		return disk_execute_rest(&u->base, r, io->finished);
	return disk_execute(&u->base, r);
}

static void completed(struct uring_queue *u, struct disk_io *io, int result)
{
	enum cbd_op op = io->request->op;

	if (result == -EINTR || result == -EAGAIN)
		finish(u, io, execute_here(u, io));
	else if (io->syncing)
		sync_done(u, io, result);
	else if (op == CBD_OP_READ || op == CBD_OP_WRITE)
		transfer_done(u, io, result);
	else
		fallocate_done(u, io, result);
}

static unsigned uring_reap(struct disk_queue *q, bool wait)
{
	struct uring_queue *u = to_uring(q);
	struct io_uring_cqe *cqes[REAP_BATCH];
	unsigned n;

	if (wait)
		io_uring_submit_and_wait(&u->ring, 1);
	n = io_uring_peek_batch_cqe(&u->ring, cqes, REAP_BATCH);
	for (unsigned i = 0; i < n; i++)
		completed(u, io_uring_cqe_get_data(cqes[i]), cqes[i]->res);
	io_uring_cq_advance(&u->ring, n);
	return n;
}

/* The ring's descriptor is readable when it has a completion. */
static void uring_wait(struct disk_queue *q, int fd, int max_ms)
{
	struct pollfd fds[] = {
		{ .fd = to_uring(q)->ring.ring_fd, .events = POLLIN },
		{ .fd = fd, .events = POLLIN },
	};

	/* The kernel was short of memory: uring_kick() tries again soon. */
	if (io_uring_sq_ready(&to_uring(q)->ring) > 0)
		max_ms = 1;
	/* What ended the sleep is found by the caller's next look. */
	(void)poll(fds, sizeof(fds) / sizeof(fds[0]), max_ms);
}

const struct disk_engine disk_uring = {
	.name = "uring",
	.probe = uring_probe,
	.open = uring_open,
	.close = uring_close,
	.submit = uring_submit,
	.block_status = disk_block_status,
	.kick = uring_kick,
	.reap = uring_reap,
	.wait = uring_wait,
};
