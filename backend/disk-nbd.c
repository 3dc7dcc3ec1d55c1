/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-nbd.c - engine "nbd": a disk that an NBD server has, asynchronously by libnbd.
 *
 * Owns the queue of a handler.  Each handler drives the connection that it uses, from
 * its own thread: its own one where the server takes several, else one that all handlers
 * share; the handler that looks first takes the answers out, and rings the bells of the
 * handlers that wait for them.  What a request becomes is nbd-op.c's.  Connections come and
 * go in nbd-server.c.
 *
 * libnbd has no recovery point (rule 12), so payload in shared memory is copied.
 */
#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../common/log.h"
#include "nbd-op.h"

static struct nbd_queue *to_nbd(struct disk_queue *q)
{
	return (struct nbd_queue *)q;
}

/* ------------------------------------------------------- open and close */

static int nbd_check(const struct disk *d)
{
	if (d->nbd != NULL)
		return 0;
	log_error("%s: engine nbd: is no NBD URI", d->name);
	return -1;
}

static int nbd_open(struct disk *d, unsigned depth, struct disk_queue **queue)
{
	struct nbd_queue *q = calloc(1, sizeof(*q) + depth * sizeof(q->ops[0]));
	int number;

	if (q == NULL)
		return -ENOMEM;
	q->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	number = q->bell < 0 ? -errno : nbd_queue_add(d->nbd, q->bell);
	if (number < 0) {
		if (q->bell >= 0)
			close(q->bell);
		free(q);
		return number;
	}
	q->n = d->nbd;
	q->number = (unsigned)number;
	q->conn = nbd_queue_conn(q->n, q->number);
	q->depth = depth;
	q->owner = pthread_self();
	q->answered_end = &q->answered;
	pthread_mutex_init(&q->lock, NULL);
	for (unsigned i = 0; i < depth; i++) {
		q->ops[i].q = q;
		q->ops[i].next = q->unused;
		q->unused = &q->ops[i];
	}
	*queue = &q->base;
	return 0;
}

static void nbd_close_queue(struct disk_queue *base)
{
	struct nbd_queue *q = to_nbd(base);

	nbd_queue_remove(q->n, q->number);
	close(q->bell);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* ----------------------------------------------------------------- reap */

static struct nbd_op *take_answered(struct nbd_queue *q)
{
	struct nbd_op *list;

	pthread_mutex_lock(&q->lock);
	list = q->answered;
	q->answered = NULL;
	q->answered_end = &q->answered;
	pthread_mutex_unlock(&q->lock);
	return list;
}

static unsigned pass_on(struct nbd_queue *q)
{
	struct nbd_op *op, *next;
	unsigned n = 0;

	pthread_rwlock_rdlock(&q->n->order);
	for (op = take_answered(q); op != NULL; op = next, n++) {
		bool of_set = op->generation == atomic_load(&q->n->generation);

		next = op->next;
		if (nbd_op_is_lost(op)) {
			q->broken = op->generation;
			op->generation = 0; /* refresh() */
		} else if (!of_set) {
			op->generation = 0;
		} else {
			nbd_op_go_on(op);
		}
	}
	pthread_rwlock_unlock(&q->n->order);
	return n;
}

/* A set is there that this queue does not know.  A loss is told before anything of the new
 * set is passed on; the old set's answers, of which there are no more, go before.  Returns
 * how many these were. */
static unsigned refresh(struct nbd_queue *q)
{
	struct nbd *n = q->n;
	unsigned installed = atomic_load(&n->installed), generation, answers;

	if (installed == q->installed || installed % 2 != 0)
		return 0;
	answers = pass_on(q);
	q->installed = installed;
	pthread_rwlock_wrlock(&n->order);
	if (n->loss_due && !n->disk->write_through)
		q->base.events.lost(q->base.events.opaque, -ECONNRESET);
	n->loss_due = false;
	pthread_rwlock_unlock(&n->order);
	pthread_rwlock_rdlock(&n->order);
	generation = atomic_load(&n->generation);
	for (unsigned i = 0; i < q->depth; i++)
		if (q->ops[i].io != NULL && q->ops[i].generation != generation)
			nbd_op_restart(&q->ops[i]);
	pthread_rwlock_unlock(&n->order);
	return answers;
}

static void note_break(struct nbd_queue *q)
{
	if (q->broken == 0)
		return;
	nbd_broken(q->n, q->broken, nbd_last_error());
	q->broken = 0;
}

static void drive(struct nbd_queue *q)
{
	struct nbd_conn *c = q->conn;

	pthread_mutex_lock(&c->lock);
	nbd_drive(c);
	if (nbd_is_broken(c))
		q->broken = c->generation;
	pthread_mutex_unlock(&c->lock);
	note_break(q);
}

static void sleep_on(struct nbd_queue *q, int fd, int max_ms)
{
	struct pollfd fds[3] = {
		{ .fd = q->bell, .events = POLLIN },
		{ .fd = fd, .events = POLLIN },
		{ .fd = -1, .events = POLLIN },
	};
	struct nbd_conn *c = q->conn;
	uint64_t value;

	pthread_mutex_lock(&c->lock);
	/* one that is given up is of no interest any more */
	if (c->handle != NULL && c->generation == atomic_load(&q->n->generation)) {
		fds[2].fd = nbd_aio_get_fd(c->handle);
		if (nbd_aio_get_direction(c->handle) & LIBNBD_AIO_DIRECTION_WRITE)
			fds[2].events |= POLLOUT;
	}
	pthread_mutex_unlock(&c->lock);
	if (poll(fds, 3, max_ms) > 0 && (fds[0].revents & POLLIN) &&
	    read(q->bell, &value, sizeof(value)) < 0)
		log_debug("eventfd: %s", strerror(errno));
}

static void nbd_wait(struct disk_queue *base, int fd, int max_ms)
{
	struct nbd_queue *q = to_nbd(base);
	bool any;

	/* what another thread has got meanwhile has rung the bell */
	pthread_mutex_lock(&q->lock);
	any = q->answered != NULL;
	pthread_mutex_unlock(&q->lock);
	if (!any)
		sleep_on(q, fd, max_ms);
}

/* Answers that were passed on: the caller does not sleep before it has told the clients. */
static unsigned look(struct nbd_queue *q)
{
	unsigned n = refresh(q);

	drive(q);
	n += pass_on(q);
	note_break(q);
	return n;
}

static unsigned nbd_reap(struct disk_queue *base, bool wait)
{
	struct nbd_queue *q = to_nbd(base);
	unsigned n = look(q);

	if (n == 0 && wait) {
		sleep_on(q, -1, 100);
		n = look(q);
	}
	return n;
}

/* --------------------------------------------------------------- submit */

/* What faults is found before anything is sent. */
static int take_payload(struct nbd_op *op)
{
	const struct cbd_request *r = op->io->request;

	if (!r->shared || (r->op != CBD_OP_READ && r->op != CBD_OP_WRITE))
		return 0;
	op->copy = malloc(r->length);
	if (op->copy == NULL)
		return -ENOMEM;
	return r->op == CBD_OP_WRITE ? cbd_request_load(r, op->copy) : 0;
}

static void nbd_submit(struct disk_queue *base, struct disk_io *io)
{
	struct nbd_queue *q = to_nbd(base);
	struct nbd_op *op = q->unused;
	int err;

	/* Nobody has looked at the connection meanwhile.  One that broke is not given a
	 * write of which nobody knows what has become of it. */
	if (q->busy == 0) {
		drive(q);
		refresh(q);
	}
	q->unused = op->next;
	q->busy++;
	op->io = io;
	op->generation = 0;
	pthread_rwlock_rdlock(&q->n->order);
	err = take_payload(op);
	if (err < 0)
		nbd_op_finish(op, err);
	else
		nbd_op_restart(op);
	pthread_rwlock_unlock(&q->n->order);
	note_break(q);
}

const struct disk_engine disk_nbd = {
	.name = "nbd",
	.check = nbd_check,
	.open = nbd_open,
	.close = nbd_close_queue,
	.submit = nbd_submit,
	.block_status = nbd_submit,
	.reap = nbd_reap,
	.wait = nbd_wait,
};
