/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * queue.c - the public calls on a queue: check a request, submit it, reap its completion.
 *
 * Fast path: cbd_queue_submit -> cbd_queue_issue_unlocks (publish.c); cbd_queue_poll ->
 * cbd_queue_await_completion_unlocks (lead.c); cbd_queue_execute: both.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blkdev/blkdev.h"
#include "base/error.h"

/* ----------------------------------------------------------------- checks */

static int check_range(struct cbd_blkdev *b, const struct cbd_io *io)
{
	if (io->op == CBD_OP_FLUSH)
		return 0;
	if (io->offset > b->geometry.size || io->length > b->geometry.size - io->offset)
		return cbd_error(EINVAL, "%llu bytes at %llu: beyond the end of the device (%llu)",
				 (unsigned long long)io->length, (unsigned long long)io->offset,
				 (unsigned long long)b->geometry.size);
	if ((io->op == CBD_OP_READ || io->op == CBD_OP_WRITE) && io->length && !io->buf)
		return cbd_error(EINVAL, "no buffer");
	return 0;
}

static int check_io(struct cbd_blkdev *b, const struct cbd_io *io)
{
	bool writes = cbd_op_writes(io->op);

	if (!writes && io->op != CBD_OP_READ && io->op != CBD_OP_FLUSH)
		return cbd_error(EINVAL, "operation %d: unknown", (int)io->op);
	if (io->flags & ~CBD_SE_FLAGS_KNOWN)
		return cbd_error(EINVAL, "flags %#x: unknown", io->flags);
	if (!writes)
		return check_range(b, io);
	if (b->read_only)
		return cbd_error(EPERM, "the device is read-only");
	if (cbd_shared_get(&b->timed_out))
		return cbd_error(
			EIO,
			"a request has timed out and may still be executed; no writes until it is over");
	return check_range(b, io);
}

/* ----------------------------------------------------------- public calls */

static void submit_unlocks(struct cbd_queue *q, struct cbd_pending *p)
{
	p->at = p->io.op == CBD_OP_FLUSH ? 0 : p->io.offset;
	p->left = p->io.op == CBD_OP_FLUSH ? 0 : p->io.length;
	p->next = NULL;
	p->since_ns = cbd_coarse_ns();
	if (p->io.op == CBD_OP_FLUSH)
		cbd_flush_submitted(q->b, p);
	if (p->result < 0 || (p->left == 0 && p->io.op != CBD_OP_FLUSH)) {
		cbd_pending_complete(q, p);
		return;
	}
	cbd_pending_enqueue(q, p);
	cbd_queue_issue_unlocks(q);
	/* a thread may wait in cbd_queue_poll() since before anything was in flight; that of
	 * a synchronous call leads itself, if nobody does */
	if (!p->waiter)
		cbd_wake_one(q);
}

int cbd_queue_submit(struct cbd_queue *q, const struct cbd_io *io)
{
	int r = check_io(q->b, io);
	struct cbd_pending *p;

	if (r < 0)
		return r;
	pthread_mutex_lock(&q->lock);
	p = cbd_pending_get(q, io);
	if (p)
		submit_unlocks(q, p);
	cbd_queue_unlock_and_tell(q);
	return p ? 0 : cbd_error(ENOMEM, "request: out of memory");
}

int cbd_queue_poll(struct cbd_queue *q, struct cbd_completion *completions, unsigned max,
		   int timeout_ms)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX
					   : cbd_now_ns() + (unsigned)timeout_ms * 1000000ull;
	struct cbd_pending *p;
	unsigned n = 0;

	pthread_mutex_lock(&q->lock);
	if (!q->pending.done)
		cbd_queue_await_completion_unlocks(q, deadline);
	while (n < max && (p = cbd_pending_reap(q))) {
		completions[n++] = (struct cbd_completion){ p->io.cookie, p->result };
		cbd_pending_put(q, p);
	}
	cbd_queue_unlock_and_tell(q);
	return (int)n;
}

int cbd_queue_execute(struct cbd_queue *q, const struct cbd_io *io)
{
	struct cbd_waiter waiter = { .word = CBD_WAITER_WOKEN };
	struct cbd_pending p = { .io = *io, .waiter = &waiter };
	int r = check_io(q->b, io);

	if (r < 0)
		return r;
	waiter.pending = &p;
	pthread_mutex_lock(&q->lock);
	submit_unlocks(q, &p);
	/* also when it is done: what completed on the way may leave no thread awake */
	cbd_queue_await_answer_and_unlock(q, &p);
	return p.result < 0 ? cbd_error(-p.result, "%m") : 0;
}

int cbd_queue_read(struct cbd_queue *q, void *buf, size_t length, uint64_t offset)
{
	return cbd_queue_execute(q, &(struct cbd_io){ .op = CBD_OP_READ,
						      .buf = buf,
						      .length = length,
						      .offset = offset });
}

int cbd_queue_write(struct cbd_queue *q, const void *buf, size_t length, uint64_t offset,
		    unsigned flags)
{
	return cbd_queue_execute(q, &(struct cbd_io){ .op = CBD_OP_WRITE,
						      .buf = (void *)(uintptr_t)buf,
						      .length = length,
						      .offset = offset,
						      .flags = flags });
}

int cbd_queue_flush(struct cbd_queue *q)
{
	return cbd_queue_execute(q, &(struct cbd_io){ .op = CBD_OP_FLUSH });
}

int cbd_queue_discard(struct cbd_queue *q, uint64_t length, uint64_t offset, unsigned flags)
{
	return cbd_queue_execute(q, &(struct cbd_io){ .op = CBD_OP_DISCARD,
						      .length = length,
						      .offset = offset,
						      .flags = flags });
}

int cbd_queue_write_zeroes(struct cbd_queue *q, uint64_t length, uint64_t offset, unsigned flags)
{
	return cbd_queue_execute(q, &(struct cbd_io){ .op = CBD_OP_WRITE_ZEROES,
						      .length = length,
						      .offset = offset,
						      .flags = flags });
}

/* -------------------------------------------------------- life of a queue */

void cbd_queue_init(struct cbd_queue *q, struct cbd_blkdev *b, unsigned index)
{
	memset(q, 0, sizeof(*q));
	q->b = b;
	q->index = index;
	pthread_mutex_init(&q->lock, NULL);
	cbd_pendings_init(&q->pending);
}

void cbd_queue_free(struct cbd_queue *q)
{
	cbd_pendings_free(&q->pending);
	pthread_mutex_destroy(&q->lock);
	free(q->parts.all);
	free(q->parts.free_tags);
}
