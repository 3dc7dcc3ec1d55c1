/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ublk-driver.h - ublk_drv, simulated: one block device in memory that processes share.
 *
 * A test has the side of the block device: it submits requests and waits for their results.
 * The other side is ublk/driver.h, for a device of cbd-ublk in a child of the test, which may
 * be killed, or in the test itself.
 */
#ifndef CBD_UNIT_UBLK_DRIVER_H
#define CBD_UNIT_UBLK_DRIVER_H

#include <pthread.h>

#include "../../ublk/driver.h"

#define SIM_QUEUES 4u
#define SIM_DEPTH 8u
#define SIM_DATA (64u << 10) /* bytes of the largest request */

struct sim_tag {
	bool fetched;	/* the server may be given a request */
	bool requested; /* there is one, without a result */
	bool taken;	/* and the server has it */
	unsigned given; /* how often it was given to a server */
	int result;
	struct ublksrv_io_desc desc;
	unsigned char data[SIM_DATA];
};

struct sim_queue {
	int wake; /* eventfd: something has come */
	struct sim_tag tags[SIM_DEPTH];
};

struct sim {
	pthread_mutex_t lock; /* guards all that follows; of processes that may be killed */
	uint64_t features;
	bool deaf; /* a kernel before 6.7: it waits for no bell */
	bool exists, open, stopped;
	struct ublksrv_ctrl_dev_info info;
	struct ublk_params params;
	uint64_t sectors; /* of DRIVER_UPDATE_SIZE */
	/* sleeps that a bell has ended, that a descriptor of libcbd has ended, and those that were
	 * one call with the results before them; counted without the lock */
	_Atomic unsigned by_bell, by_fd, with_results;
	struct sim_queue queues[SIM_QUEUES];
};

/* A kernel without a device. */
struct sim *sim_new(void);
void sim_free(struct sim *s);

/* The driver, for one process. */
struct driver *sim_driver(struct sim *s);

/* A request of the block device: the next free tag of QUEUE.  DATA is that of a write. */
unsigned sim_submit(struct sim *s, unsigned queue, unsigned op_flags, uint64_t offset,
		    uint32_t length, const void *data);

/* Its result, with a bound; DATA takes that of a read. */
int sim_wait(struct sim *s, unsigned queue, unsigned tag, void *data);

/* Both. */
int sim_execute(struct sim *s, unsigned queue, unsigned op_flags, uint64_t offset, uint32_t length,
		void *data);

/* Whether the request has no result yet; how often it was given to a server. */
bool sim_is_open(struct sim *s, unsigned queue, unsigned tag);
unsigned sim_given(struct sim *s, unsigned queue, unsigned tag);

/* The server was killed, and the kernel has closed what it had. */
void sim_server_died(struct sim *s);

/* UBLK_S_DEV_*; requests are served. */
unsigned sim_state(struct sim *s);

#endif
