/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * driver.h - what cbd-ublk needs of the driver ublk_drv: control commands on one side, the
 * requests of a queue on the other.
 *
 * driver-control.c and driver-queue.c implement it on the kernel's driver, the unit test in
 * memory.  Nothing else knows io_uring or the nodes in /dev.
 *
 * Functions that return int give 0 or a count, or a negative errno.
 */
#ifndef CBD_UBLK_DRIVER_H
#define CBD_UBLK_DRIVER_H

#include <stdbool.h>

#include "uapi.h"

struct driver {
	const struct driver_ops *ops;
};

struct driver_queue {
	const struct driver_queue_ops *ops;
	bool takes_bells; /* turn() waits for a bell too */
};

/* What ends a turn() that sleeps, beside requests and wake(). */
struct driver_wait {
	int fd;		      /* it is readable; -1: none */
	const uint32_t *bell; /* a futex that changes or is woken; NULL: none */
	uint32_t value;	      /* that it has until then */
};

enum driver_command {
	DRIVER_START,	       /* argument: pid.  Returns when each queue has fetched each tag */
	DRIVER_STOP,	       /* the block device is gone; tags come back to the queues */
	DRIVER_DELETE,	       /* the number is free; after the queues were closed */
	DRIVER_BEGIN_RECOVERY, /* -EBUSY: the process before has the device open still */
	DRIVER_END_RECOVERY,   /* argument: pid.  As DRIVER_START */
	DRIVER_UPDATE_SIZE,    /* argument: sectors of 512 bytes */
};

/* One thread at a time. */
struct driver_ops {
	/* UBLK_F_*; 0: of a kernel before 6.5, which cannot tell. */
	uint64_t (*features)(struct driver *d);

	/* Make a device.  The driver fills in what it grants: number, flags, depth. */
	int (*add)(struct driver *d, struct ublksrv_ctrl_dev_info *info);

	/* What the device is; one of add() and info() comes before the other calls for it. */
	int (*info)(struct driver *d, unsigned number, struct ublksrv_ctrl_dev_info *info);
	int (*set_params)(struct driver *d, unsigned number, const struct ublk_params *params);
	int (*get_params)(struct driver *d, unsigned number, struct ublk_params *params);
	int (*command)(struct driver *d, unsigned number, enum driver_command command,
		       uint64_t argument);

	/* Become the process that serves the device: after add, before all else, because an
	 * unprivileged user may not say more before the node is his; or after the begin of a
	 * recovery.
	 * -EBUSY: another one is. */
	int (*open)(struct driver *d, unsigned number);

	/* After open(), by the thread that will use the queue. */
	int (*queue_open)(struct driver *d, const struct ublksrv_ctrl_dev_info *info,
			  unsigned index, struct driver_queue **q);

	/* No more; after the queues were closed.  Also without open(). */
	void (*release)(struct driver *d);

	void (*close)(struct driver *d);
};

/* By the thread that has opened the queue, but for wake(). */
struct driver_queue_ops {
	/* What the request that has come with TAG is; read-only, valid until its commit. */
	const struct ublksrv_io_desc *(*request)(struct driver_queue *q, unsigned tag);

	/* The first request of TAG may come.  Payload goes from and to BUF, whose size is the
	 * device's max_io_buf_bytes.  Sent by the next turn(). */
	void (*fetch)(struct driver_queue *q, unsigned tag, void *buf);

	/* The request of TAG ends with RESULT (bytes, 0 or a negative errno), and the next one
	 * may come.  Sent by the next turn(). */
	void (*commit)(struct driver_queue *q, unsigned tag, void *buf, int result);

	/*
	 * Send what is due, and take up to MAX tags whose requests have come.  None there, and
	 * WAIT is not NULL: until one comes, what WAIT tells, or wake().
	 * -ENODEV: the device was stopped, and every tag is back.
	 */
	int (*turn)(struct driver_queue *q, const struct driver_wait *wait, uint16_t *tags,
		    unsigned max);

	/* End a turn() that sleeps, or the next one.  Any thread. */
	void (*wake)(struct driver_queue *q);

	void (*close)(struct driver_queue *q);
};

/* The kernel's.  NULL after a message that tells what to do. */
struct driver *driver_kernel_open(void);

/* driver-queue.c: a queue of the kernel's driver.  DEVICE: /dev/ublkcN, which stays the
 * caller's; ENCODED: commands as ioctls. */
int driver_kernel_queue(int device, const struct ublksrv_ctrl_dev_info *info, unsigned index,
			bool encoded, struct driver_queue **q);

#endif
