/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state.h - the state files: what a process has to know of a device that another one has
 * added, and who serves a device now.
 *
 * There are two files for each device in the run folder: NAME.json, and NAME.lock, which
 * the process that serves the device holds locked.  A file is replaced as a whole, so
 * a reader finds the old content or the new one.
 */
#ifndef CBD_UBLK_STATE_H
#define CBD_UBLK_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <json-c/json.h>

#include <cbd.h>

#define STATE_NAME_SIZE 57
#define STATE_TEXT_SIZE 256

struct state {
	char name[STATE_NAME_SIZE];
	unsigned number; /* of /dev/ublkbN */
	uint64_t cookie; /* the driver gives it back: the device is the one that was added */
	pid_t pid;	 /* of the process that serves it, or served it last */

	/* As given to "add". */
	char transport[STATE_TEXT_SIZE]; /* absolute */
	char backend[STATE_TEXT_SIZE];
	unsigned queues, depth;
	int host_id; /* -1: found by identity */
	enum cbd_poll poll;
	unsigned timeout_s;
	bool read_only, unprivileged;

	/* What that process is attached to. */
	uint8_t transport_uuid[16];
	unsigned blkdev, incarnation; /* its slot */
	uint64_t disk_identity;
	uint64_t verifier; /* see ledger.h */
};

/* Whether TEXT can be the name of a device: it becomes one of a file. */
bool state_name_is_good(const char *text);

/* The run folder: $CBD_UBLK_RUN, /run/cbd-ublk for root, $XDG_RUNTIME_DIR/cbd-ublk for
 * others; made if it is not there.  NULL after a message. */
const char *state_folder(void);

/* These give 0, or -1 after a message. */
int state_write(const struct state *s);
/* 1: there is no such device. */
int state_read(const char *name, struct state *s);
void state_remove(const char *name);

/* Lock the device's name; the process that has it serves the device.  A descriptor, which
 * keeps the lock until it is closed; -EWOULDBLOCK: another process has it; -1 after a
 * message. */
int state_lock(const char *name);

/* Whether a process has the lock. */
bool state_is_served(const char *name);

/* Call FN for each device, in the order of the names. */
int state_each(void (*fn)(void *opaque, const struct state *s), void *opaque);

/* What is for people of it, for lists: the caller's. */
struct json_object *state_json(const struct state *s);

#endif
