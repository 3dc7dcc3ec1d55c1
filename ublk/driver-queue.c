/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * driver-queue.c - one queue of a device of the kernel's driver: an io_uring on /dev/ublkcN.
 *
 * Each tag has one command with the kernel: it comes back when a request has come, and goes
 * out again with the result of that request.  The descriptors of requests lie in a mapping.
 * The same io_uring waits for what tells of answers through shared memory, a descriptor and,
 * on kernels that can (Linux 6.7), a futex; and for the descriptor of wake().
 *
 * The kernel copies the data of a write to the tag's buffer before the command comes back,
 * and that of a read from it at the commit.
 */
#include <config.h>

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../common/log.h"
#include "driver.h"

/* What a completion is of, in its user_data. */
enum what { OF_TAG, OF_FD, OF_WAKE, OF_BELL };
#define USER_DATA(what, tag) ((uint64_t)(what) << 32 | (tag))

/* Of Linux 6.7, which older headers have not. */
#define FUTEX_WAIT_OPCODE 51
#define FUTEX_32_BITS 2u
#define FUTEX_ANY_WAKE 0xffffffffu

struct kernel_queue {
	struct driver_queue base;
	unsigned index, depth;
	bool encoded;	      /* commands as ioctls */
	int device;	      /* /dev/ublkcN, of driver-control.c */
	int woken;	      /* eventfd of wake() */
	bool polls_woken;     /* its poll is in the ring */
	int polled;	      /* the caller's descriptor whose poll is in the ring, or -1 */
	const uint32_t *bell; /* the futex for which the ring waits, or NULL */
	uint32_t n_bells;     /* which of these waits it is */
	unsigned gone;	      /* tags that have come back for ever */
	struct io_uring ring;
	const struct ublksrv_io_desc *requests;
	size_t mapped;
};

static struct kernel_queue *to_kernel(struct driver_queue *q)
{
	return (struct kernel_queue *)q;
}

/* A command cannot be taken back from a ring that the kernel does not accept: end as after
 * a crash, and the device waits for the next process. */
static void ring_broken(int error)
{
	log_error("io_uring: %s", strerror(-error));
	abort();
}

/* There is room for each tag, both descriptors and the bell. */
static struct io_uring_sqe *get_sqe(struct kernel_queue *k)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&k->ring);

	if (sqe == NULL)
		ring_broken(-EBUSY);
	return sqe;
}

static const struct ublksrv_io_desc *kernel_request(struct driver_queue *q, unsigned tag)
{
	return &to_kernel(q)->requests[tag];
}

static void put_command(struct kernel_queue *k, unsigned nr, unsigned tag, void *buf, int result)
{
	struct io_uring_sqe *sqe = get_sqe(k);
	const struct ublksrv_io_cmd command = {
		.q_id = (uint16_t)k->index,
		.tag = (uint16_t)tag,
		.result = result,
		.addr = (uintptr_t)buf,
	};

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = k->device;
	sqe->cmd_op = k->encoded ? UBLK_IO(nr) : nr;
	sqe->user_data = USER_DATA(OF_TAG, tag);
	_Static_assert(sizeof(command) <= 16, "the room of a command in an SQE");
	memcpy(sqe->cmd, &command, sizeof(command));
}

static void kernel_fetch(struct driver_queue *q, unsigned tag, void *buf)
{
	put_command(to_kernel(q), UBLK_IO_FETCH_REQ, tag, buf, 0);
}

static void kernel_commit(struct driver_queue *q, unsigned tag, void *buf, int result)
{
	put_command(to_kernel(q), UBLK_IO_COMMIT_AND_FETCH_REQ, tag, buf, result);
}

static void put_poll(struct kernel_queue *k, int fd, enum what what)
{
	struct io_uring_sqe *sqe = get_sqe(k);

	io_uring_prep_poll_add(sqe, fd, POLLIN);
	sqe->user_data = USER_DATA(what, 0);
}

/* A wait that is in the ring already is ended by the next wake, whatever the value. */
static void put_bell(struct kernel_queue *k, const struct driver_wait *wait)
{
	struct io_uring_sqe *sqe;

	if (wait->bell == NULL || wait->bell == k->bell)
		return;
	sqe = get_sqe(k);
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = FUTEX_WAIT_OPCODE;
	sqe->fd = FUTEX_32_BITS;
	sqe->addr = (uintptr_t)wait->bell;
	sqe->addr2 = wait->value;
	sqe->addr3 = FUTEX_ANY_WAKE;
	sqe->user_data = USER_DATA(OF_BELL, ++k->n_bells);
	k->bell = wait->bell;
}

static void put_waits(struct kernel_queue *k, const struct driver_wait *wait)
{
	if (!k->polls_woken)
		put_poll(k, k->woken, OF_WAKE);
	k->polls_woken = true;
	if (wait->fd >= 0 && k->polled < 0) {
		put_poll(k, wait->fd, OF_FD);
		k->polled = wait->fd;
	}
	put_bell(k, wait);
}

/* -EAGAIN: it had another value already.  An error of its memory is libcbd's to find. */
static void bell_rang(struct kernel_queue *k, uint32_t which, int result)
{
	if (which == k->n_bells)
		k->bell = NULL;
	if (result < 0 && result != -EAGAIN && result != -EINTR)
		k->base.takes_bells = false;
}

static void was_woken(struct kernel_queue *k)
{
	eventfd_t value;

	k->polls_woken = false;
	eventfd_read(k->woken, &value);
}

/* True: TAG has a request. */
static bool tag_is_back(struct kernel_queue *k, unsigned tag, int result)
{
	if (result == UBLK_IO_RES_OK)
		return true;
	if (result != UBLK_IO_RES_ABORT)
		log_error("queue %u, tag %u: the driver refuses a command: %s", k->index, tag,
			  strerror(result < 0 ? -result : EPROTO));
	k->gone++;
	return false;
}

static int reap(struct kernel_queue *k, uint16_t *tags, unsigned max)
{
	struct io_uring_cqe *cqe;
	unsigned n = 0;

	while (n < max && io_uring_peek_cqe(&k->ring, &cqe) == 0) {
		unsigned tag = (uint32_t)cqe->user_data;

		switch ((enum what)(cqe->user_data >> 32)) {
		case OF_TAG:
			if (tag_is_back(k, tag, cqe->res))
				tags[n++] = (uint16_t)tag;
			break;
		case OF_FD:
			k->polled = -1;
			break;
		case OF_WAKE:
			was_woken(k);
			break;
		case OF_BELL:
			bell_rang(k, tag, cqe->res);
			break;
		}
		io_uring_cqe_seen(&k->ring, cqe);
	}
	return (int)n;
}

static bool may_come_again(int error)
{
	return error == -EINTR || error == -EAGAIN || error == -EBUSY || error == -ENOMEM;
}

static int kernel_turn(struct driver_queue *q, const struct driver_wait *wait, uint16_t *tags,
		       unsigned max)
{
	struct kernel_queue *k = to_kernel(q);
	int r = 0, n;

	if (wait != NULL) {
		put_waits(k, wait);
		r = io_uring_submit_and_wait(&k->ring, 1);
	} else if (io_uring_sq_ready(&k->ring) > 0) {
		r = io_uring_submit(&k->ring);
	}
	if (r < 0 && !may_come_again(r))
		ring_broken(r);
	n = reap(k, tags, max);
	return n == 0 && k->gone == k->depth ? -ENODEV : n;
}

static void kernel_wake(struct driver_queue *q)
{
	eventfd_write(to_kernel(q)->woken, 1);
}

static void kernel_close(struct driver_queue *q)
{
	struct kernel_queue *k = to_kernel(q);

	io_uring_queue_exit(&k->ring);
	if (k->requests != NULL)
		munmap((void *)(uintptr_t)k->requests, k->mapped);
	close(k->woken);
	free(k);
}

static const struct driver_queue_ops kernel_ops = {
	.request = kernel_request,
	.fetch = kernel_fetch,
	.commit = kernel_commit,
	.turn = kernel_turn,
	.wake = kernel_wake,
	.close = kernel_close,
};

/* ------------------------------------------------------------------- open */

/*
 * COOP_TASKRUN and TASKRUN_FLAG: what the kernel has to do in this thread waits until the
 * thread looks, so that no interrupt is spent on telling it while it works.
 * SINGLE_ISSUER: no other thread submits.
 */
static int ring_open(struct io_uring *ring, unsigned entries)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int r = -EINVAL;

	for (size_t i = 0; r == -EINVAL && i < sizeof(flags) / sizeof(flags[0]); i++)
		r = io_uring_queue_init(entries, ring, flags[i]);
	return r;
}

static bool knows_futexes(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool knows = probe != NULL && io_uring_opcode_supported(probe, FUTEX_WAIT_OPCODE);

	io_uring_free_probe(probe);
	return knows;
}

static size_t pages(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (bytes + page - 1) / page * page;
}

/* Each queue has its place, as large as that of the deepest queue. */
static int map_requests(struct kernel_queue *k)
{
	size_t place = pages(UBLK_MAX_QUEUE_DEPTH * sizeof(struct ublksrv_io_desc));
	void *map;

	k->mapped = pages(k->depth * sizeof(struct ublksrv_io_desc));
	map = mmap(NULL, k->mapped, PROT_READ, MAP_SHARED | MAP_POPULATE, k->device,
		   (off_t)(UBLKSRV_CMD_BUF_OFFSET + k->index * place));
	if (map == MAP_FAILED)
		return -errno;
	k->requests = map;
	return 0;
}

int driver_kernel_queue(int device, const struct ublksrv_ctrl_dev_info *info, unsigned index,
			bool encoded, struct driver_queue **q)
{
	struct kernel_queue *k = calloc(1, sizeof(*k));
	int r = -ENOMEM;

	if (k == NULL)
		return r;
	k->base.ops = &kernel_ops;
	k->index = index;
	k->depth = info->queue_depth;
	k->encoded = encoded;
	k->device = device;
	k->polled = -1;
	k->woken = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = k->woken < 0 ? -errno : ring_open(&k->ring, k->depth + 3);
	if (r < 0) {
		if (k->woken >= 0)
			close(k->woken);
		free(k);
		return r;
	}
	k->base.takes_bells = knows_futexes(&k->ring);
	r = map_requests(k);
	if (r < 0)
		kernel_close(&k->base);
	else
		*q = &k->base;
	return r;
}
