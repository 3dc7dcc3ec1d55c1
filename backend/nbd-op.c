/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbd-op.c - see nbd-op.h.
 *
 * A request is one command as a rule.  It is several, one after the other, where it is
 * longer than the server takes, where it does not begin or end at a block of the server
 * (that block is read, changed and written; disk-range.c keeps other writes away from
 * it), and where a flush stands for FUA.  When the connection is lost the request begins
 * anew on the next one, however much of it was done: the server may have lost that.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/log.h"
#include "nbd-op.h"

#define ZEROES_SIZE (512u << 10)

/* Never written to. */
static const char zeroes[ZEROES_SIZE];

static bool is_change(const struct cbd_request *r)
{
	return r->op == CBD_OP_WRITE || r->op == CBD_OP_DISCARD || r->op == CBD_OP_WRITE_ZEROES;
}

/* --------------------------------------------------------------- answers */

/* Not an answer of the server, but the end of the connection; or its last answer. */
static bool is_lost(int error)
{
	return error == ENOTCONN || error == ESHUTDOWN;
}

/* Called by libnbd with its lock, and the connection's, in the thread that drives. */
static int answered(void *opaque, int *error)
{
	struct nbd_op *op = opaque;
	struct nbd_queue *q = op->q;
	static const uint64_t one = 1;

	op->error = *error;
	op->next = NULL;
	atomic_fetch_sub(&q->n->in_flight, 1);
	if (!is_lost(*error)) {
		atomic_store(&q->n->answer_ns, nbd_now_ns());
		if (op->changes)
			atomic_fetch_sub(&q->n->writes, 1);
	}
	pthread_mutex_lock(&q->lock);
	*q->answered_end = op;
	q->answered_end = &op->next;
	pthread_mutex_unlock(&q->lock);
	if (!pthread_equal(q->owner, pthread_self()) && write(q->bell, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno));
	return 1;
}

/* --------------------------------------------------------------- the end */

static void op_free(struct nbd_op *op)
{
	struct nbd_queue *q = op->q;

	free(op->copy);
	free(op->edge);
	free(op->runs);
	op->copy = op->edge = NULL;
	op->runs = NULL;
	op->io = NULL;
	op->next = q->unused;
	q->unused = op;
	q->busy--;
}

/* What a client is told is on stable storage, or counts as written. */
static void count(struct nbd_op *op)
{
	const struct cbd_request *r = op->io->request;
	struct nbd *n = op->q->n;

	/* flushes end in any order; one too low counts a loss too many */
	if (r->op == CBD_OP_FLUSH && op->written > atomic_load(&n->flushed))
		atomic_store(&n->flushed, op->written);
	if (is_change(r) && !disk_wants_sync(n->disk, r))
		atomic_fetch_add(&n->written, 1);
}

/* On the read side of `order`, as all that follows down to the submission. */
void nbd_op_finish(struct nbd_op *op, int result)
{
	struct nbd_queue *q = op->q;
	struct disk_io *io = op->io;

	if (result == 0 && io->request->op == CBD_OP_READ && op->copy != NULL)
		result = cbd_request_store(io->request, op->copy);
	if (result == 0)
		count(op);
	op_free(op);
	q->base.events.done(q->base.events.opaque, io, result);
}

/* --------------------------------------------------------------- commands */

/* The payload from byte AT on, in memory that does not fault. */
static char *payload(struct nbd_op *op, uint32_t at)
{
	return (op->copy != NULL ? op->copy : op->io->request->buf) + at;
}

static uint32_t command_flags(const struct nbd_op *op, const struct nbd_abilities *can)
{
	const struct cbd_request *r = op->io->request;
	uint32_t flags = 0;

	if (can->fua && disk_wants_sync(op->q->n->disk, r))
		flags |= LIBNBD_CMD_FLAG_FUA;
	if (r->op == CBD_OP_WRITE_ZEROES && op->stage == STAGE_WHOLE && can->zero) {
		if (!(r->flags & CBD_IO_MAY_TRIM))
			flags |= LIBNBD_CMD_FLAG_NO_HOLE;
		if (r->flags & CBD_IO_FAST_ZERO)
			flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
	}
	return flags;
}

static int64_t issue_whole(struct nbd_op *op, struct nbd_conn *c, nbd_completion_callback done)
{
	const struct cbd_request *r = op->io->request;
	uint64_t at = r->offset + op->finished;
	uint32_t flags = command_flags(op, &c->can);

	switch (r->op) {
	case CBD_OP_READ:
		return nbd_aio_pread(c->handle, payload(op, op->finished), op->piece, at, done, 0);
	case CBD_OP_WRITE:
		return nbd_aio_pwrite(c->handle, payload(op, op->finished), op->piece, at, done,
				      flags);
	case CBD_OP_DISCARD:
		return nbd_aio_trim(c->handle, op->piece, at, done, flags);
	case CBD_OP_WRITE_ZEROES:
		if (c->can.zero)
			return nbd_aio_zero(c->handle, op->piece, at, done, flags);
		return nbd_aio_pwrite(c->handle, zeroes, op->piece, at, done, flags);
	default:
		return -1;
	}
}

/* Called by libnbd as answered() is, before it. */
static int take_runs(void *opaque, const char *context, uint64_t offset, uint32_t *numbers,
		     size_t count, int *error)
{
	struct nbd_op *op = opaque;

	(void)offset;
	if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 || *error != 0 || op->runs != NULL)
		return 0;
	op->runs = malloc(sizeof(*op->runs) + count * sizeof(*numbers));
	if (op->runs == NULL)
		return 0;
	op->runs->count = count / 2;
	memcpy(op->runs->numbers, numbers, count * sizeof(*numbers));
	return 0;
}

/* Of whole blocks. */
static int64_t issue_status(struct nbd_op *op, struct nbd_conn *c, nbd_completion_callback done)
{
	const nbd_extent_callback runs = { .callback = take_runs, .user_data = op };
	const struct cbd_request *r = op->io->request;
	uint64_t mask = op->q->n->first.block - 1;
	uint64_t start = r->offset & ~mask, end = (r->offset + r->length + mask) & ~mask;

	free(op->runs);
	op->runs = NULL;
	return nbd_aio_block_status(c->handle, end - start, start, runs, done, 0);
}

static int64_t issue(struct nbd_op *op, struct nbd_conn *c)
{
	const nbd_completion_callback done = { .callback = answered, .user_data = op };
	uint32_t block = op->q->n->first.block;
	uint64_t at = (op->io->request->offset + op->finished) & ~(uint64_t)(block - 1);

	switch (op->stage) {
	case STAGE_EDGE_READ:
		return nbd_aio_pread(c->handle, op->edge, block, at, done, 0);
	case STAGE_EDGE_WRITE:
		return nbd_aio_pwrite(c->handle, op->edge, block, at, done,
				      command_flags(op, &c->can));
	case STAGE_FLUSH:
		return nbd_aio_flush(c->handle, done, 0);
	case STAGE_STATUS:
		return issue_status(op, c, done);
	default:
		return issue_whole(op, c, done);
	}
}

/* libnbd may call answered() before this returns, for this command too. */
static int64_t send_counted(struct nbd_op *op, struct nbd_conn *c)
{
	struct nbd *n = op->q->n;
	int64_t cookie;

	op->generation = c->generation;
	op->failures = atomic_load(&n->failures);
	op->written = atomic_load(&n->written);
	op->changes = op->stage == STAGE_EDGE_WRITE ||
		      (op->stage == STAGE_WHOLE && is_change(op->io->request));
	atomic_fetch_add(&n->in_flight, 1);
	if (op->changes)
		atomic_fetch_add(&n->writes, 1);
	cookie = issue(op, c);
	if (cookie > 0)
		return cookie;
	op->generation = 0;
	atomic_fetch_sub(&n->in_flight, 1);
	if (op->changes && !nbd_is_broken(c))
		atomic_fetch_sub(&n->writes, 1);
	return cookie;
}

/* Without a set the operation waits for one: nbd_op_restart(). */
static void send_command(struct nbd_op *op)
{
	struct nbd_queue *q = op->q;
	struct nbd_conn *c = q->conn;
	int error = 0;
	bool down, waits;

	pthread_mutex_lock(&c->lock);
	down = c->handle == NULL || c->generation != atomic_load(&q->n->generation);
	/* refresh() comes first */
	waits = atomic_load(&q->n->paused) || atomic_load(&q->n->installed) != q->installed;
	op->generation = 0;
	if (!down && !waits && send_counted(op, c) < 0)
		error = nbd_get_errno() != 0 ? nbd_get_errno() : EIO;
	if (nbd_is_broken(c)) {
		q->broken = c->generation;
		error = 0;
	}
	pthread_mutex_unlock(&c->lock);
	if (down)
		nbd_want(q->n);
	if (error != 0)
		nbd_op_finish(op, -error);
}

/* ----------------------------------------------------------- what comes next */

/* Of the command that begins at AT; 0: it begins or ends inside of a block. */
static uint32_t whole_blocks(const struct nbd_op *op, const struct nbd_abilities *can, uint64_t at,
			     uint32_t left)
{
	uint32_t block = op->q->n->first.block, most = can->largest;

	if ((at & (block - 1)) != 0)
		return 0;
	if (op->io->request->op == CBD_OP_WRITE_ZEROES && !can->zero && most > ZEROES_SIZE)
		most = ZEROES_SIZE;
	if (most > left)
		most = left;
	return most & ~(block - 1);
}

static uint32_t left_in_block(const struct nbd_op *op, uint64_t at, uint32_t left)
{
	uint32_t block = op->q->n->first.block;
	uint32_t room = block - (uint32_t)(at & (block - 1));

	return left < room ? left : room;
}

static void begin_edge(struct nbd_op *op)
{
	op->stage = STAGE_EDGE_READ;
	if (op->edge == NULL)
		op->edge = malloc(op->q->n->first.block);
	if (op->edge == NULL)
		nbd_op_finish(op, -ENOMEM);
	else
		send_command(op);
}

/* Everything is written: is it to be durable, and is it not yet? */
static void end(struct nbd_op *op, const struct nbd_abilities *can)
{
	if (!is_change(op->io->request) || !disk_wants_sync(op->q->n->disk, op->io->request) ||
	    can->fua || !can->flush) {
		nbd_op_finish(op, 0);
		return;
	}
	op->stage = STAGE_FLUSH;
	send_command(op);
}

/* The next command, or the end. */
static void go_on(struct nbd_op *op, const struct nbd_abilities *can)
{
	const struct cbd_request *r = op->io->request;
	uint64_t at = r->offset + op->finished;

	op->piece = 0;
	while (op->finished < r->length) {
		op->piece = whole_blocks(op, can, at, r->length - op->finished);
		if (op->piece > 0)
			break;
		op->piece = left_in_block(op, at, r->length - op->finished);
		if (r->op != CBD_OP_DISCARD) {
			begin_edge(op);
			return;
		}
		/* advice: a part of a block stays as it is */
		op->finished += op->piece;
		at += op->piece;
		op->piece = 0;
	}
	if (op->piece == 0) {
		end(op, can);
		return;
	}
	op->stage = STAGE_WHOLE;
	send_command(op);
}

static bool is_refused(const struct nbd_op *op, const struct nbd_abilities *can)
{
	const struct cbd_request *r = op->io->request;
	uint32_t block = op->q->n->first.block;

	/* nothing may be changed before it is known whether it is fast */
	return r->op == CBD_OP_WRITE_ZEROES && (r->flags & CBD_IO_FAST_ZERO) &&
	       (!can->fast_zero || ((r->offset | r->length) & (block - 1)) != 0);
}

/* A server that has no flush says that it needs none. */
static void flush(struct nbd_op *op, const struct nbd_abilities *can)
{
	op->stage = STAGE_FLUSH;
	op->written = atomic_load(&op->q->n->written);
	if (can->flush && !op->q->n->disk->read_only)
		send_command(op);
	else
		nbd_op_finish(op, 0);
}

/* Where the server does not tell, all is data. */
static void ask_blocks(struct nbd_op *op, const struct nbd_abilities *can)
{
	op->stage = STAGE_STATUS;
	if (can->block_status)
		send_command(op);
	else
		nbd_op_finish(op, 0);
}

/* From the beginning, on the set that is there. */
void nbd_op_restart(struct nbd_op *op)
{
	const struct cbd_request *r = op->io->request;
	struct nbd_conn *c = op->q->conn;
	struct nbd_abilities can;
	bool there;

	pthread_mutex_lock(&c->lock);
	there = c->handle != NULL;
	can = c->can;
	pthread_mutex_unlock(&c->lock);
	op->finished = 0;
	op->generation = 0;
	if (!there)
		nbd_want(op->q->n);
	else if (r->op == CBD_OP_FLUSH)
		flush(op, &can);
	else if (r->op == CBD_OP_BLOCK_STATUS)
		ask_blocks(op, &can);
	else if (is_refused(op, &can))
		nbd_op_finish(op, -EOPNOTSUPP);
	else if (r->op == CBD_OP_DISCARD && !can.trim)
		nbd_op_finish(op, 0);
	else
		go_on(op, &can);
}

/* ------------------------------------------------------- what was answered */

/* A block was read of which the request is a part. */
static void edge_read(struct nbd_op *op)
{
	const struct cbd_request *r = op->io->request;
	uint32_t skip = (uint32_t)(r->offset + op->finished) & (op->q->n->first.block - 1);

	if (r->op == CBD_OP_READ) {
		memcpy(payload(op, op->finished), op->edge + skip, op->piece);
		op->finished += op->piece;
		return;
	}
	if (r->op == CBD_OP_WRITE)
		memcpy(op->edge + skip, payload(op, op->finished), op->piece);
	else
		memset(op->edge + skip, 0, op->piece);
	op->stage = STAGE_EDGE_WRITE;
}

/* The first run may begin before the request, and the last one end behind it. */
static void tell_runs(struct nbd_op *op)
{
	struct cbd_request *r = op->io->request;
	uint64_t skip = r->offset & (op->q->n->first.block - 1);

	for (size_t i = 0; op->runs != NULL && i < op->runs->count; i++) {
		uint64_t length = op->runs->numbers[2 * i];
		uint32_t state = op->runs->numbers[2 * i + 1];
		unsigned flags = (state & LIBNBD_STATE_HOLE ? CBD_BLOCK_HOLE : 0) |
				 (state & LIBNBD_STATE_ZERO ? CBD_BLOCK_ZERO : 0);

		if (length == 0)
			return;
		if (length <= skip) {
			skip -= length;
			continue;
		}
		if (cbd_request_add_blocks(r, length - skip, flags) == 0)
			return;
		skip = 0;
	}
}

/* The server could not bring to stable storage what it had acknowledged. */
static bool is_sync_error(const struct nbd_op *op)
{
	const struct cbd_request *r = op->io->request;

	if (op->stage == STAGE_FLUSH)
		return true;
	return is_change(r) && disk_wants_sync(op->q->n->disk, r) && op->error == EIO;
}

static void failed(struct nbd_op *op)
{
	struct nbd_queue *q = op->q;
	int error = op->error;

	if (is_sync_error(op)) {
		atomic_fetch_add(&q->n->failures, 1);
		disk_sync_failed(&q->base, -error);
	}
	/* in doubt it is data */
	if (op->stage == STAGE_STATUS)
		error = 0;
	nbd_op_finish(op, error == ENOTSUP ? -EOPNOTSUPP : -error);
}

/* Of several flushes at a time the server may tell one of an error. */
static bool is_hidden(const struct nbd_op *op)
{
	const struct cbd_request *r = op->io->request;
	bool sync = op->stage == STAGE_FLUSH ||
		    (is_change(r) && disk_wants_sync(op->q->n->disk, r));

	return sync && op->failures != atomic_load(&op->q->n->failures);
}

static void succeeded(struct nbd_op *op)
{
	struct nbd_abilities can;

	if (is_hidden(op)) {
		nbd_op_finish(op, -EIO);
		return;
	}
	pthread_mutex_lock(&op->q->conn->lock);
	can = op->q->conn->can;
	pthread_mutex_unlock(&op->q->conn->lock);
	switch (op->stage) {
	case STAGE_STATUS:
		tell_runs(op);
		nbd_op_finish(op, 0);
		return;
	case STAGE_FLUSH:
		nbd_op_finish(op, 0);
		return;
	case STAGE_EDGE_READ:
		edge_read(op);
		if (op->stage == STAGE_EDGE_WRITE)
			send_command(op);
		else
			go_on(op, &can);
		return;
	default:
		op->finished += op->piece;
		go_on(op, &can);
	}
}

void nbd_op_go_on(struct nbd_op *op)
{
	if (op->error != 0)
		failed(op);
	else
		succeeded(op);
}

bool nbd_op_is_lost(const struct nbd_op *op)
{
	return op->error != 0 && is_lost(op->error);
}
