/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * queue.c - the public calls on a queue: check a request, submit it, reap its completion.
 *
 * Fast path: cbd_queue_submit -> cbd_queue_issue_unlocks (publish.c).
 * cbd_queue_poll -> cbd_queue_await_completion_unlocks (lead.c).  cbd_queue_execute ->
 * cbd_queue_issue_unlocks; then cbd_queue_await_answer_and_unlock (lead.c).
 */
#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "blkdev/blkdev.h"
#include "base/error.h"
#include "base/sized.h"
#include "memory/wait-times.h"

/* ----------------------------------------------------------------- checks */

static bool has_range(enum cbd_op op)
{
	return op != CBD_OP_FLUSH;
}

static bool has_buffer(enum cbd_op op)
{
	return op == CBD_OP_READ || op == CBD_OP_WRITE;
}

static bool has_blocks(enum cbd_op op)
{
	return op == CBD_OP_BLOCK_STATUS;
}

static bool is_known(enum cbd_op op)
{
	return cbd_op_writes(op) || op == CBD_OP_READ || op == CBD_OP_FLUSH ||
	       op == CBD_OP_BLOCK_STATUS;
}

/* What an operation does not look at is nothing from here on. */
static void forget_unused(struct cbd_io *io)
{
	if (!has_range(io->op))
		io->offset = io->length = 0;
	if (!has_buffer(io->op)) {
		io->buf = NULL;
		io->iov = NULL;
		io->iovcnt = 0;
	}
	if (!has_blocks(io->op)) {
		io->blocks = NULL;
		io->n_blocks = 0;
	}
}

/* The pieces are as long as the request, together. */
static int check_pieces(const struct cbd_io *io)
{
	uint64_t left = io->length;

	if (!io->iov || !io->iovcnt || io->iovcnt > IOV_MAX || io->buf)
		return cbd_error(EINVAL,
				 "an iovec of %u pieces: 1 to %d are possible, without a buffer",
				 io->iovcnt, IOV_MAX);
	for (unsigned i = 0; i < io->iovcnt; i++) {
		if (io->iov[i].iov_len > left)
			return cbd_error(EINVAL, "an iovec of more than %llu bytes",
					 (unsigned long long)io->length);
		left -= io->iov[i].iov_len;
	}
	return left ? cbd_error(EINVAL, "an iovec of less than %llu bytes",
				(unsigned long long)io->length)
		    : 0;
}

static int check_buffer(const struct cbd_io *io)
{
	if (io->iovcnt || io->iov)
		return check_pieces(io);
	return io->length && !io->buf ? cbd_error(EINVAL, "no buffer") : 0;
}

static int check_blocks(const struct cbd_io *io)
{
	return !io->blocks || !io->n_blocks ? cbd_error(EINVAL, "no place for the blocks given")
					    : 0;
}

static int check_range(struct cbd_blkdev *b, const struct cbd_io *io)
{
	uint64_t size = cbd_shared_get(&b->geometry.size);

	if (!has_range(io->op))
		return 0;
	if (io->offset > size || io->length > size - io->offset)
		return cbd_error(EINVAL, "%llu bytes at %llu: beyond the end of the device (%llu)",
				 (unsigned long long)io->length, (unsigned long long)io->offset,
				 (unsigned long long)size);
	if (has_blocks(io->op))
		return check_blocks(io);
	return has_buffer(io->op) ? check_buffer(io) : 0;
}

static int check_io(struct cbd_blkdev *b, const struct cbd_io *io)
{
	bool writes;

	if (!io)
		return cbd_error(EINVAL, "no request given");
	writes = cbd_op_writes(io->op);
	if (!is_known(io->op))
		return cbd_error(EINVAL, "operation %d: unknown", (int)io->op);
	if (io->flags & ~CBD_SE_FLAGS_KNOWN)
		return cbd_error(EINVAL, "flags %#x: unknown", io->flags);
	if (io->reserved0 || io->reserved1 || io->reserved[0])
		return cbd_reserved_error("cbd_io");
	if (io->connection && io->connection->b != b)
		return cbd_error(EINVAL, "the connection is of another blkdev");
	if (!writes)
		return check_range(b, io);
	if (cbd_flag_get(&b->read_only))
		return cbd_error(EPERM, "the device is read-only");
	if (cbd_shared_get(&b->timed_out))
		return cbd_error(EIO, "a request has timed out and may still be executed; "
				      "no writes until it is over");
	return check_range(b, io);
}

/* ----------------------------------------------------------- public calls */

static void enqueue(struct cbd_queue *q, struct cbd_pending *p)
{
	forget_unused(&p->io);
	p->at = p->io.offset;
	p->left = p->io.length;
	p->vector = (struct cbd_vector){ p->io.iov, 0 };
	p->next = NULL;
	p->since_ns = cbd_coarse_ns();
	cbd_counters_begin(&q->counted.now, p->io.op);
	if (cbd_timing_is_due(&q->timing, p->since_ns))
		p->timed_ns = cbd_now_ns();
	p->since_beating = cbd_shared_get(&q->b->beating_ns);
	if (p->io.op == CBD_OP_FLUSH)
		cbd_flush_submitted(q->b, p);
	if (p->result < 0 || (p->left == 0 && p->io.op != CBD_OP_FLUSH))
		cbd_pending_complete(q, p);
	else if (cbd_pending_may_start(q, p))
		cbd_pending_enqueue(q, p);
}

/* A backend that comes after the one that was cleared serves from when it has granted, not
 * only from when this side has beaten and has seen that. */
static void look_if_cleared_unlocks(struct cbd_queue *q)
{
	if (cbd_queue_is_cleared(q))
		cbd_grant_check_unlocks(q);
}

static int submit_one(struct cbd_queue *q, const struct cbd_io *io)
{
	int r = check_io(q->b, io);
	struct cbd_pending *p;

	if (r < 0)
		return r;
	if (q->pending.n_inside >= q->b->max_requests)
		return cbd_error(EAGAIN,
				 "backend %u: queue %u: %u requests are submitted and not reaped",
				 q->b->backend, q->index, q->pending.n_inside);
	p = cbd_pending_get(q, io);
	if (!p)
		return cbd_error(ENOMEM, "request: out of memory");
	q->pending.n_inside++;
	enqueue(q, p);
	return 0;
}

int cbd_queue_submit(struct cbd_queue *q, const struct cbd_io *ios, unsigned n)
{
	unsigned done = 0;
	int r = 0;

	pthread_mutex_lock(&q->lock);
	look_if_cleared_unlocks(q);
	while (done < n && (r = submit_one(q, ios ? &ios[done] : NULL)) == 0)
		done++;
	cbd_queue_issue_unlocks(q); /* as one batch */
	/* a thread may wait in cbd_queue_poll() since before anything was in flight */
	cbd_wake_one(q);
	cbd_event_submitted(q);
	cbd_queue_unlock_and_tell(q);
	return done ? (int)done : r;
}

/* Those that are done, up to MAX. */
static unsigned take_done(struct cbd_queue *q, struct cbd_completion *completions, unsigned max)
{
	struct cbd_pending *p;
	unsigned n = 0;

	while (n < max && (p = cbd_pending_reap(q))) {
		completions[n++] = (struct cbd_completion){ .cookie = p->io.cookie,
							    .message = p->why,
							    .result = p->result };
		cbd_pending_put(q, p);
	}
	q->pending.n_inside -= n;
	return n;
}

int cbd_queue_poll(struct cbd_queue *q, struct cbd_completion *completions, unsigned min,
		   unsigned max, int timeout_ms)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX
					   : cbd_now_ns() + (unsigned)timeout_ms * 1000000ull;
	unsigned n = 0, before;

	if (min > max)
		return cbd_error(EINVAL, "poll: min %u is more than max %u", min, max);
	if (max && !completions)
		return cbd_error(EINVAL, "no place for the completions given");
	pthread_mutex_lock(&q->lock);
	cbd_event_disarm(q);
	do {
		if (!q->pending.done)
			cbd_queue_await_completion_unlocks(q, min ? deadline : 0);
		before = n;
		n += take_done(q, completions + n, max - n);
	} while (n < min && n > before);
	cbd_queue_unlock_and_tell(q);
	return (int)n;
}

int cbd_queue_fd(struct cbd_queue *q)
{
	int r;

	pthread_mutex_lock(&q->lock);
	r = cbd_event_open(q);
	pthread_mutex_unlock(&q->lock);
	return r;
}

static void look_around_unlocks(struct cbd_queue *q)
{
	uint64_t now = cbd_now_ns();

	if (now - q->event.looked_ns <= CBD_LOOK_AROUND_NS)
		return;
	q->event.looked_ns = now;
	cbd_look_now_unlocks(q, now);
}

int cbd_queue_arm(struct cbd_queue *q)
{
	int r;

	pthread_mutex_lock(&q->lock);
	look_around_unlocks(q);
	r = cbd_event_arm(q);
	cbd_queue_unlock_and_tell(q);
	return r;
}

int cbd_queue_arm_bell(struct cbd_queue *q, const uint32_t **bell, uint32_t *value)
{
	int r;

	if (!bell || !value)
		return cbd_error(EINVAL, "queue %u: no place for the bell given", q->index);
	pthread_mutex_lock(&q->lock);
	look_around_unlocks(q);
	r = cbd_event_arm_bell(q, bell, value);
	cbd_queue_unlock_and_tell(q);
	return r;
}

static const char *verb(enum cbd_op op)
{
	switch (op) {
	case CBD_OP_READ:
		return "read";
	case CBD_OP_WRITE:
		return "write";
	case CBD_OP_FLUSH:
		return "flush";
	case CBD_OP_DISCARD:
		return "discard";
	case CBD_OP_WRITE_ZEROES:
		return "write zeroes";
	case CBD_OP_BLOCK_STATUS:
		return "block status";
	}
	return "operation";
}

static int failed(const struct cbd_queue *q, const struct cbd_pending *p)
{
	if (p->io.op == CBD_OP_FLUSH)
		return cbd_error(-p->result, "backend %u: %s: %s", q->b->backend, verb(p->io.op),
				 p->why);
	return cbd_error(-p->result, "backend %u: %s %llu bytes at %llu: %s", q->b->backend,
			 verb(p->io.op), (unsigned long long)p->io.length,
			 (unsigned long long)p->io.offset, p->why);
}

int cbd_queue_execute(struct cbd_queue *q, const struct cbd_io *io)
{
	struct cbd_waiter waiter = { .word = CBD_WAITER_WOKEN };
	struct cbd_pending p = { .waiter = &waiter };
	int r = check_io(q->b, io);

	if (r < 0)
		return r;
	p.io = *io;
	waiter.pending = &p;
	pthread_mutex_lock(&q->lock);
	look_if_cleared_unlocks(q);
	enqueue(q, &p);
	cbd_queue_issue_unlocks(q);
	/* also when it is done: what completed on the way may leave no thread awake */
	cbd_queue_await_answer_and_unlock(q, &p);
	return p.result < 0 ? failed(q, &p) : p.result;
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

int cbd_queue_block_status(struct cbd_queue *q, uint64_t length, uint64_t offset,
			   struct cbd_block_status *blocks, unsigned n)
{
	return cbd_queue_execute(q, &(struct cbd_io){ .op = CBD_OP_BLOCK_STATUS,
						      .length = length,
						      .offset = offset,
						      .blocks = blocks,
						      .n_blocks = n });
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
	cbd_event_close(q);
	cbd_pendings_free(&q->pending);
	pthread_mutex_destroy(&q->lock);
	free(q->parts.all);
	free(q->parts.free_tags);
}
