/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * queue.c - see queue.h.
 *
 * Owns the translation of the kernel's requests and their results, and the waiting for both
 * sides.  Which request may overtake which is libcbd's (rule 13).
 *
 * Fast path: serve -> answer (answers: cbd_queue_poll) then take (one system call sends all
 * results and takes all requests; one cbd_queue_submit).  When requests come slowly that one
 * call sleeps too (sleep_for_both).
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../common/log.h"
#include "../common/operation.h"
#include "../common/thread.h"
#include "params.h"
#include "pause.h"
#include "queue.h"

#define BATCH 64u

static const char lost_before[] =
	"data that was written before this process was started, and not flushed, is lost";

enum leave { STAYS, LEAVES, ABANDONS };

/* One tag. */
struct request {
	struct cbd_io io;	   /* as submitted last */
	uint64_t zeroes_end;	   /* of zeroes that are written because the disk cannot make
				    * them: else 0 */
	struct ledger_flush flush; /* of a FLUSH */
	int bytes;		   /* the kernel's result, if it succeeds */
};

struct queue {
	const struct queue_device *device;
	unsigned index;
	pthread_t thread;
	_Atomic(enum leave) leave;

	/* Of the thread alone. */
	struct driver_queue *dq;
	struct cbd_queue *cq;
	struct request *requests; /* by tag */
	char *buffers;		  /* MAX_IO bytes for each tag */
	unsigned in_flight;	  /* submitted to libcbd */
	struct pause idle, busy;  /* waits with nothing in flight, and with something */
	int fd;			  /* of the queue of libcbd, made at the first sleep; -1 */
	bool fd_failed;		  /* and looked for in vain */
	bool stopped;		  /* the driver has taken the device away */
	unsigned flushes_to_tell;
	struct ledger_flush told[BATCH];
	unsigned long errors;

	/* Between the threads, until it runs. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool decided;
	int error;
};

static char *buffer_of(const struct queue *q, unsigned tag)
{
	return q->buffers + (size_t)tag * MAX_IO;
}

/* ---------------------------------------------------------------- results */

/* A disk that has begun to fail goes on to: the 1st, 2nd, 4th, 8th ... time is logged. */
static bool worth_logging(unsigned long count)
{
	return (count & (count - 1)) == 0;
}

static void note_error(struct queue *q, const struct cbd_io *io, int error, const char *why)
{
	if (error == -EOPNOTSUPP || !worth_logging(++q->errors))
		return;
	if (why == NULL)
		why = strerror(-error);
	if (io->op == CBD_OP_FLUSH)
		log_error("%s: flush: %s (error %lu)", q->device->name, why, q->errors);
	else
		log_error("%s: %s of %" PRIu64 " bytes at %" PRIu64 ": %s (error %lu)",
			  q->device->name, operation_name(io->op), io->length, io->offset, why,
			  q->errors);
}

/* Those that the block layer has a word for.  -ENODEV would tell the driver that this
 * process goes. */
static int kernel_error(int error)
{
	switch (error) {
	case -ENOSPC:
	case -EOPNOTSUPP:
	case -ENOMEM:
		return error;
	default:
		return -EIO;
	}
}

static bool changes_disk(enum cbd_op op)
{
	return op == CBD_OP_WRITE || op == CBD_OP_DISCARD || op == CBD_OP_WRITE_ZEROES;
}

static void count_end(struct queue *q, struct request *r, int result)
{
	if (changes_disk(r->io.op)) {
		ledger_write_ends(q->device->ledger);
	} else if (r->io.op == CBD_OP_FLUSH) {
		if (result >= 0)
			ledger_flush_succeeds(q->device->ledger, &r->flush);
		if (q->flushes_to_tell < BATCH) /* else a later one tells of them too */
			q->told[q->flushes_to_tell++] = r->flush;
	}
}

static void end_request(struct queue *q, unsigned tag, int result, const char *why)
{
	struct request *r = &q->requests[tag];

	if (result < 0)
		note_error(q, &r->io, result, why);
	count_end(q, r, result);
	q->dq->ops->commit(q->dq, tag, buffer_of(q, tag),
			   result < 0 ? kernel_error(result) : r->bytes);
}

/* After a turn: what was committed has reached the kernel. */
static void tell_flushes(struct queue *q)
{
	while (q->flushes_to_tell > 0)
		ledger_flush_told(q->device->ledger, &q->told[--q->flushes_to_tell]);
}

/* --------------------------------------------------------------- requests */

static void submit(struct queue *q, struct cbd_io *ios, unsigned n)
{
	while (n > 0) {
		int r = cbd_queue_submit(q->cq, ios, n);
		unsigned taken = r > 0 ? (unsigned)r : 0;

		q->in_flight += taken;
		ios += taken;
		n -= taken;
		if (r >= 0)
			continue; /* the next call tells why the first of the rest is refused */
		end_request(q, (unsigned)(uintptr_t)ios[0].cookie, r, cbd_errmsg());
		ios++;
		n--;
	}
}

/*
 * The disk can make no zeroes: they are written, a buffer at a time.  END is where they end.
 */
static void write_zeroes(struct queue *q, unsigned tag, uint64_t at, uint64_t end)
{
	struct request *r = &q->requests[tag];

	if (r->zeroes_end == 0)
		memset(buffer_of(q, tag), 0, MAX_IO);
	r->zeroes_end = end;
	r->io.op = CBD_OP_WRITE;
	r->io.flags &= CBD_IO_FUA;
	r->io.offset = at;
	r->io.length = end - at < MAX_IO ? end - at : MAX_IO;
	r->io.buf = buffer_of(q, tag);
	submit(q, &r->io, 1);
}

/* True: the request goes on with another one. */
static bool goes_on(struct queue *q, unsigned tag, int result)
{
	struct request *r = &q->requests[tag];
	uint64_t end = r->io.offset + r->io.length;

	if (r->io.op == CBD_OP_WRITE_ZEROES && result == -EOPNOTSUPP)
		write_zeroes(q, tag, r->io.offset, end);
	else if (result >= 0 && r->zeroes_end > end)
		write_zeroes(q, tag, end, r->zeroes_end);
	else
		return false;
	return true;
}

static unsigned io_flags(uint32_t op_flags, enum cbd_op op)
{
	unsigned flags = op_flags & UBLK_IO_F_FUA ? CBD_IO_FUA : 0;

	if (op == CBD_OP_WRITE_ZEROES && !(op_flags & UBLK_IO_F_NOUNMAP))
		flags |= CBD_IO_MAY_TRIM;
	return flags;
}

static int operation(uint32_t op_flags, enum cbd_op *op)
{
	switch (op_flags & 0xff) {
	case UBLK_IO_OP_READ:
		*op = CBD_OP_READ;
		return 0;
	case UBLK_IO_OP_WRITE:
		*op = CBD_OP_WRITE;
		return 0;
	case UBLK_IO_OP_FLUSH:
		*op = CBD_OP_FLUSH;
		return 0;
	case UBLK_IO_OP_DISCARD:
		*op = CBD_OP_DISCARD;
		return 0;
	case UBLK_IO_OP_WRITE_ZEROES:
		*op = CBD_OP_WRITE_ZEROES;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* The request of TAG as one of libcbd.  The descriptor is memory that the driver writes:
 * each word is read once. */
static int translate(struct queue *q, unsigned tag)
{
	const volatile struct ublksrv_io_desc *d = q->dq->ops->request(q->dq, tag);
	const uint32_t op_flags = d->op_flags;
	const uint64_t length = (uint64_t)d->nr_sectors * SECTOR;
	struct request *r = &q->requests[tag];
	enum cbd_op op = 0;
	int error = operation(op_flags, &op);

	*r = (struct request){
		.io = {
			.op = op,
			.flags = io_flags(op_flags, op),
			.offset = d->start_sector * SECTOR,
			.length = op == CBD_OP_FLUSH ? 0 : length,
			.buf = op == CBD_OP_READ || op == CBD_OP_WRITE ? buffer_of(q, tag) : NULL,
			.cookie = (void *)(uintptr_t)tag,
		},
		.bytes = op == CBD_OP_READ || op == CBD_OP_WRITE ? (int)length : 0,
	};
	if (error == 0 && r->io.buf != NULL && length > MAX_IO)
		error = -EINVAL;
	return error;
}

/* False: it has ended already. */
static bool begin_request(struct queue *q, unsigned tag)
{
	struct request *r = &q->requests[tag];
	int error = translate(q, tag);
	const char *why = NULL;

	if (changes_disk(r->io.op))
		ledger_write_begins(q->device->ledger);
	if (r->io.op == CBD_OP_FLUSH) {
		r->flush = ledger_flush_begins(q->device->ledger);
		if (ledger_take_loss(q->device->ledger)) {
			error = -EIO;
			why = lost_before;
			ledger_inheritance_ends(q->device->ledger);
		}
	}
	if (error < 0)
		end_request(q, tag, error, why);
	return error == 0;
}

/*
 * A flush has succeeded.  libcbd has compared the verifier for what this process has written;
 * for what one before has left it is done here, at the end of the first flush.
 */
static int check_inheritance(struct queue *q, const char **why)
{
	struct ledger *l = q->device->ledger;
	bool lost;

	if (!atomic_load(&l->inherited))
		return 0;
	lost = q->device->has_lost(q->device);
	ledger_inheritance_ends(l);
	if (!lost)
		return 0;
	*why = lost_before;
	return -EIO;
}

/* -------------------------------------------------------------- both sides */

/* Send the results, and take what requests have come; with WAIT, sleep until there are some. */
static unsigned take(struct queue *q, const struct driver_wait *wait)
{
	uint16_t tags[BATCH];
	struct cbd_io ios[BATCH];
	unsigned n = 0;
	int got = q->dq->ops->turn(q->dq, wait, tags, BATCH);

	tell_flushes(q);
	if (got < 0) {
		q->stopped = true;
		return 0;
	}
	/* one that leaves does not touch what has come: the next process gets it */
	if (atomic_load_explicit(&q->leave, memory_order_relaxed) != STAYS)
		return (unsigned)got;
	for (int i = 0; i < got; i++)
		if (begin_request(q, tags[i]))
			ios[n++] = q->requests[tags[i]].io;
	submit(q, ios, n);
	return (unsigned)got;
}

/* Results for what libcbd has answered. */
static unsigned answer(struct queue *q)
{
	struct cbd_completion done[BATCH];
	int n;

	if (q->in_flight == 0)
		return 0;
	n = cbd_queue_poll(q->cq, done, 0, BATCH, 0);
	for (int i = 0; i < n; i++) {
		unsigned tag = (unsigned)(uintptr_t)done[i].cookie;
		const char *why = done[i].message;
		int result = done[i].result;

		q->in_flight--;
		if (result >= 0 && q->requests[tag].io.op == CBD_OP_FLUSH)
			result = check_inheritance(q, &why);
		if (!goes_on(q, tag, result))
			end_request(q, tag, result, why);
	}
	return n > 0 ? (unsigned)n : 0;
}

/* The descriptor of libcbd's queue costs a thread, so it is made when it is needed first. */
static int descriptor(struct queue *q)
{
	if (q->fd >= 0 || q->fd_failed)
		return q->fd;
	q->fd = cbd_queue_fd(q->cq);
	if (q->fd < 0) {
		log_error("%s: queue %u: %s; it looks for answers at intervals", q->device->name,
			  q->index, cbd_errmsg());
		q->fd_failed = true;
		q->fd = -1;
	}
	return q->fd;
}

/* Where the kernel can wait for the bell of libcbd's queue, an answer wakes no thread but
 * this one.  Not 0: there may be an answer. */
static int arm(struct queue *q, struct driver_wait *wait)
{
	wait->fd = descriptor(q);
	if (wait->fd < 0) {
		usleep(1000);
		return -ENODEV;
	}
	if (q->dq->takes_bells)
		return cbd_queue_arm_bell(q->cq, &wait->bell, &wait->value);
	return cbd_queue_arm(q->cq);
}

/* With nothing in flight only the kernel, or queue_leave(), has something to tell. */
static unsigned sleep_for_both(struct queue *q)
{
	struct pause *p = q->in_flight > 0 ? &q->busy : &q->idle;
	struct driver_wait wait = { .fd = -1 };
	unsigned n;

	if (q->in_flight > 0 && arm(q, &wait) != 0)
		return 0;
	pause_falls_asleep(p);
	n = take(q, &wait);
	pause_wakes_up(p);
	return n;
}

/* A queue that leaves ends when the last result was sent. */
static bool is_over(const struct queue *q, bool idle)
{
	enum leave leave = atomic_load_explicit(&q->leave, memory_order_relaxed);

	return q->stopped || leave == ABANDONS || (leave == LEAVES && q->in_flight == 0 && idle);
}

/* The last results are sent by the call that sleeps, when to stay awake for the next request
 * would be in vain.  A queue that leaves has had its wake-up, perhaps. */
static bool sleeps_at_once(const struct queue *q)
{
	return q->in_flight == 0 && pause_is_in_vain(&q->idle) &&
	       atomic_load_explicit(&q->leave, memory_order_relaxed) == STAYS;
}

static void serve(struct queue *q)
{
	for (;;) {
		struct pause *p = q->in_flight > 0 ? &q->busy : &q->idle;
		unsigned some = answer(q);

		some += some > 0 && sleeps_at_once(q) ? sleep_for_both(q) : take(q, NULL);
		if (is_over(q, some == 0))
			return;
		if (some > 0)
			pause_hit(p);
		else if (!pause_stay_awake(p))
			sleep_for_both(q);
	}
}

/* ------------------------------------------------------------ start and end */

static int prepare(struct queue *q)
{
	const struct ublksrv_ctrl_dev_info *info = &q->device->info;
	struct driver *d = q->device->driver;
	int r;

	q->requests = calloc(info->queue_depth, sizeof(*q->requests));
	/* pages are there from their first use on */
	q->buffers = mmap(NULL, (size_t)info->queue_depth * MAX_IO, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (q->requests == NULL || q->buffers == MAP_FAILED)
		return -ENOMEM;
	r = d->ops->queue_open(d, info, q->index, &q->dq);
	if (r < 0)
		return r;
	for (unsigned tag = 0; tag < info->queue_depth; tag++)
		q->dq->ops->fetch(q->dq, tag, buffer_of(q, tag));
	take(q, NULL);
	return q->stopped ? -ENODEV : 0;
}

static void decide(struct queue *q, int error)
{
	pthread_mutex_lock(&q->lock);
	q->error = error;
	q->decided = true;
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
}

static void *queue_thread(void *opaque)
{
	struct queue *q = opaque;
	int r;

	prctl(PR_SET_NAME, "cbd-ublk-queue");
	/* The default of 50 us is more than many waits here are to last. */
	prctl(PR_SET_TIMERSLACK, 1000ul);
	/* To get memory this thread must not wait for what it is to write itself.  Without the
	 * capability it goes without. */
	prctl(PR_SET_IO_FLUSHER, 1ul, 0ul, 0ul, 0ul);
	r = prepare(q);
	decide(q, r);
	if (r == 0)
		serve(q);
	eventfd_write(q->device->ended, 1);
	return NULL;
}

/* The driver's queue stays until here, because queue_leave() may be called at any time. */
void queue_free(struct queue *q)
{
	if (q->dq != NULL)
		q->dq->ops->close(q->dq);
	if (q->buffers != NULL && q->buffers != MAP_FAILED)
		munmap(q->buffers, (size_t)q->device->info.queue_depth * MAX_IO);
	free(q->requests);
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

static int run(struct queue *q)
{
	int r = thread_create(&q->thread, queue_thread, q);

	if (r < 0)
		return r;
	pthread_mutex_lock(&q->lock);
	while (!q->decided)
		pthread_cond_wait(&q->changed, &q->lock);
	r = q->error;
	pthread_mutex_unlock(&q->lock);
	if (r < 0)
		pthread_join(q->thread, NULL);
	return r;
}

struct queue *queue_start(const struct queue_device *device, unsigned index)
{
	struct queue *q = calloc(1, sizeof(*q));
	int r;

	if (q == NULL) {
		log_error("%s: queue %u: %s", device->name, index, strerror(ENOMEM));
		return NULL;
	}
	q->device = device;
	q->index = index;
	q->cq = cbd_blkdev_queue(device->blkdev, index);
	q->fd = -1;
	pause_init(&q->idle, device->poll);
	pause_init(&q->busy, device->poll);
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->changed, NULL);
	r = run(q);
	if (r == 0)
		return q;
	log_error("%s: queue %u: %s", device->name, index, strerror(-r));
	queue_free(q);
	return NULL;
}

void queue_leave(struct queue *q, bool abandon)
{
	atomic_store(&q->leave, abandon ? ABANDONS : LEAVES);
	q->dq->ops->wake(q->dq);
}

bool queue_join(struct queue *q)
{
	pthread_join(q->thread, NULL);
	return q->stopped;
}
