/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.h - a device that this process serves: how it comes, goes, and is left to another
 * process.
 *
 * Owns the order of these steps between the driver, libcbd and the state file;
 * docs/design.md has the states, and what a death between two steps leaves.  It does not
 * own signals, nor when a device is left: see serve.c.
 */
#ifndef CBD_UBLK_DEVICE_H
#define CBD_UBLK_DEVICE_H

#include "attach.h"
#include "driver.h"
#include "ledger.h"
#include "queue.h"
#include "state.h"

struct device {
	struct driver *driver;
	struct state state;
	struct attachment attachment;
	struct ledger ledger;
	struct queue_device common; /* of the queues */
	struct queue **queues;
	unsigned running;   /* queues that have ended are none of them */
	bool made;	    /* the driver has it, and it goes with this process */
	bool stuck;	    /* the driver does not stop it: its queues run still */
	uint64_t sectors;   /* that the kernel knows of */
	uint64_t told_size; /* bytes; of the disk, at the last message about it */
	uint64_t verifier;  /* the last that was seen */
	uint64_t recovered; /* the verifier at the recovery; constant while queues run */
};

/* Whether the driver has the device that S names, and not another one under its number.
 * INFO: what it says of it. */
bool device_exists(struct driver *d, const struct state *s, struct ublksrv_ctrl_dev_info *info);

/* Whether the kernel keeps it when its process is gone: not an unprivileged one, and not
 * before Linux 6.1. */
bool device_stays(const struct device *d);

/* The functions below give 0, or -1 after a message.  The name is locked by the caller. */

/* Make a new device; STATE says of which backend and how.  NUMBER: -1, or that of the node. */
int device_add(struct device *d, int number, unsigned wait_s);

/* Serve the device that STATE names, whose process is gone. */
int device_recover(struct device *d, unsigned wait_s);

/* Each second: follow the disk's size and its verifier. */
void device_look(struct device *d);

/* Whether somebody has the block device for himself: mounted, a part of a volume, swap. */
bool device_is_in_use(unsigned number);

/* Whether a queue has ended by itself.  The caller may poll common.ended for that. */
bool device_has_ended(const struct device *d);

/* Then: whether another program has stopped the device, so that it is gone for its users. */
bool device_is_stopped(const struct device *d);

/* The kernel keeps the device, for another process: at most about MS milliseconds for the
 * answers to what was taken. */
void device_leave(struct device *d, unsigned ms);

/* The device goes, also from the kernel.  When the driver does not stop it, all there is to
 * do is to end the process, whose death leaves the device waiting. */
int device_remove(struct device *d);

/* What is left of a device without a process: the driver's and the file. */
int device_remove_orphan(struct driver *driver, const struct state *s);

/* After any of the above, and after what has failed: a device that was made goes again, one
 * that was to be recovered stays for the next process. */
void device_close(struct device *d);

#endif
