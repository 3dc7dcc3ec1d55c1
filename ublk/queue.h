/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * queue.h - one queue of a device: a thread that takes requests of the kernel, submits them
 * to a queue of libcbd, and gives the answers back.
 */
#ifndef CBD_UBLK_QUEUE_H
#define CBD_UBLK_QUEUE_H

#include <cbd.h>

#include "driver.h"
#include "ledger.h"

struct queue;

/* What all queues of a device have in common; constant while they run. */
struct queue_device {
	const char *name;
	struct driver *driver;
	struct ublksrv_ctrl_dev_info info;
	struct cbd_blkdev *blkdev;
	enum cbd_poll poll;
	struct ledger *ledger;
	/* Whether the disk may have lost what a process before has left unflushed. */
	bool (*has_lost)(const struct queue_device *device);
	int ended; /* eventfd: counts the queues that have ended */
};

/*
 * Start the thread of queue INDEX, and return when it takes requests.  NULL after a message.
 * It ends when the device was stopped, or after queue_leave().
 */
struct queue *queue_start(const struct queue_device *device, unsigned index);

/*
 * The device stays, for another process: take no more requests, answer those that were
 * taken, and end.  The kernel gives what was not taken to the next process.  ABANDON:
 * do not wait for answers; the kernel gives those requests too to the next process.
 */
void queue_leave(struct queue *q, bool abandon);

/* Wait for the end of the thread.  True: it has ended because the device was stopped. */
bool queue_join(struct queue *q);

/* After queue_join(), and after cbd_blkdev_close(): requests that were abandoned use its
 * memory until then. */
void queue_free(struct queue *q);

#endif
