/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * driver-control.c - the control commands of the kernel's driver: io_uring on
 * /dev/ublk-control.
 *
 * Owns how a command is encoded, which kernels know which form, and what to do where there
 * is no driver.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../common/log.h"
#include "driver.h"

#define CONTROL "/dev/ublk-control"
#define NODE_SIZE 32 /* of the path of a node */

/* Stopping waits for requests that are under way, starting for partitions to be read. */
#define COMMAND_S 90

#define OPEN_MS 5000 /* until udev has given an unprivileged user the node */

struct control {
	struct driver base;
	int fd;
	int device; /* /dev/ublkcN, or -1.  The driver lets it be open once */
	struct io_uring ring;
	uint64_t features;
	uint64_t sent; /* number of commands */
	/* Of the device that was added or asked about last, which is the one of all commands. */
	bool unprivileged;
};

static struct control *to_control(struct driver *d)
{
	return (struct control *)d;
}

/* The result of the last command.  One before it that was not waited for to its end may
 * come first. */
static int await(struct control *c)
{
	struct __kernel_timespec time = { .tv_sec = COMMAND_S };
	struct io_uring_cqe *cqe;
	bool is_last = false;
	int r = 0;

	while (!is_last) {
		do
			r = io_uring_wait_cqe_timeout(&c->ring, &cqe, &time);
		while (r == -EINTR);
		if (r < 0)
			return r == -ETIME ? -ETIMEDOUT : r;
		is_last = cqe->user_data == c->sent;
		r = cqe->res;
		io_uring_cqe_seen(&c->ring, cqe);
	}
	return r;
}

static int send_command(struct control *c, uint32_t op, const struct ublk_control_command *command)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);
	int r;

	if (sqe == NULL)
		return -EBUSY;
	memset(sqe, 0, 2 * sizeof(*sqe)); /* IORING_SETUP_SQE128 */
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = c->fd;
	sqe->cmd_op = op;
	sqe->user_data = ++c->sent;
	memcpy(sqe->cmd, command, sizeof(*command));
	do
		r = io_uring_submit(&c->ring);
	while (r == -EINTR);
	return r < 0 ? r : await(c);
}

/* The plain number, or what UBLK_READS() and UBLK_CHANGES() make of it. */
static uint32_t encode(const struct control *c, unsigned nr, bool changes)
{
	if (c->features == 0)
		return nr;
	return changes ? UBLK_CHANGES(nr) : UBLK_READS(nr);
}

/*
 * For a device, with SIZE bytes at PAYLOAD in or out.  The path of the device's node goes in
 * front of the payload: the driver decides by it, where the device is unprivileged, and
 * for GET_DEV_INFO2 always.  Others look at the payload alone.
 */
struct call {
	unsigned nr, number;
	bool changes, with_path, gets;
	void *payload;
	size_t size;
	uint64_t data;
};

static int call_with_path(struct control *c, const struct call *k, void *bytes)
{
	char node[NODE_SIZE] = "";
	struct ublk_control_command command = {
		.dev_id = k->number,
		.queue_id = (uint16_t)-1,
		.addr = (uintptr_t)bytes,
		.len = (uint16_t)(NODE_SIZE + k->size),
		.data = k->data,
		.dev_path_len = NODE_SIZE,
	};
	int r;

	snprintf(node, sizeof(node), "/dev/ublkc%u", k->number);
	memcpy(bytes, node, NODE_SIZE);
	memcpy((char *)bytes + NODE_SIZE, k->payload, k->size);
	r = send_command(c, encode(c, k->nr, k->changes), &command);
	if (r >= 0 && k->gets)
		memcpy(k->payload, (char *)bytes + NODE_SIZE, k->size);
	return r;
}

static int call(struct control *c, const struct call *k)
{
	struct ublk_control_command command = {
		.dev_id = k->number,
		.queue_id = (uint16_t)-1,
		.addr = (uintptr_t)k->payload,
		.len = (uint16_t)k->size,
		.data = k->data,
	};
	void *bytes;
	int r;

	if (!k->with_path)
		return send_command(c, encode(c, k->nr, k->changes), &command);
	bytes = malloc(NODE_SIZE + k->size);
	if (bytes == NULL)
		return -ENOMEM;
	r = call_with_path(c, k, bytes);
	/* after a time-out the kernel may still write there */
	if (r != -ETIMEDOUT)
		free(bytes);
	return r;
}

/* ------------------------------------------------------------- operations */

static uint64_t control_features(struct driver *d)
{
	return to_control(d)->features;
}

static int control_add(struct driver *d, struct ublksrv_ctrl_dev_info *info)
{
	struct control *c = to_control(d);
	int r = call(c, &(struct call){ .nr = UBLK_CMD_ADD_DEV,
					.number = info->dev_id,
					.changes = true,
					.payload = info,
					.size = sizeof(*info) });

	c->unprivileged = r >= 0 && (info->flags & UBLK_F_UNPRIVILEGED_DEV);
	return r;
}

/* GET_DEV_INFO2 is for privileged and unprivileged devices, since Linux 6.4. */
static int control_info(struct driver *d, unsigned number, struct ublksrv_ctrl_dev_info *info)
{
	struct control *c = to_control(d);
	struct call k = {
		.nr = c->features != 0 ? UBLK_NR_GET_DEV_INFO2 : UBLK_CMD_GET_DEV_INFO,
		.number = number,
		.with_path = c->features != 0,
		.gets = true,
		.payload = info,
		.size = sizeof(*info),
	};

	int r;

	memset(info, 0, sizeof(*info));
	r = call(c, &k);
	if (r >= 0)
		c->unprivileged = info->flags & UBLK_F_UNPRIVILEGED_DEV;
	return r;
}

static int control_set_params(struct driver *d, unsigned number, const struct ublk_params *params)
{
	struct ublk_params copy = *params;

	return call(to_control(d), &(struct call){ .nr = UBLK_CMD_SET_PARAMS,
						   .number = number,
						   .changes = true,
						   .with_path = to_control(d)->unprivileged,
						   .payload = &copy,
						   .size = sizeof(copy) });
}

static int control_get_params(struct driver *d, unsigned number, struct ublk_params *params)
{
	*params = (struct ublk_params){ .len = sizeof(*params) };
	return call(to_control(d), &(struct call){ .nr = UBLK_CMD_GET_PARAMS,
						   .number = number,
						   .with_path = to_control(d)->unprivileged,
						   .gets = true,
						   .payload = params,
						   .size = sizeof(*params) });
}

static int control_command(struct driver *d, unsigned number, enum driver_command command,
			   uint64_t argument)
{
	static const unsigned nrs[] = {
		[DRIVER_START] = UBLK_CMD_START_DEV,
		[DRIVER_STOP] = UBLK_CMD_STOP_DEV,
		[DRIVER_DELETE] = UBLK_CMD_DEL_DEV,
		[DRIVER_BEGIN_RECOVERY] = UBLK_CMD_START_USER_RECOVERY,
		[DRIVER_END_RECOVERY] = UBLK_CMD_END_USER_RECOVERY,
		[DRIVER_UPDATE_SIZE] = UBLK_NR_UPDATE_SIZE,
	};

	return call(to_control(d), &(struct call){ .nr = nrs[command],
						   .number = number,
						   .changes = true,
						   .with_path = to_control(d)->unprivileged,
						   .payload = "",
						   .data = argument });
}

static int control_open(struct driver *d, unsigned number)
{
	struct control *c = to_control(d);
	char node[NODE_SIZE];

	snprintf(node, sizeof(node), "/dev/ublkc%u", number);
	for (unsigned ms = 0; ms < OPEN_MS; ms++) {
		c->device = open(node, O_RDWR | O_CLOEXEC);
		if (c->device >= 0 || (errno != EACCES && errno != ENOENT))
			break;
		usleep(1000);
	}
	return c->device < 0 ? -errno : 0;
}

static void control_release(struct driver *d)
{
	struct control *c = to_control(d);

	if (c->device >= 0)
		close(c->device);
	c->device = -1;
}

static int control_queue_open(struct driver *d, const struct ublksrv_ctrl_dev_info *info,
			      unsigned index, struct driver_queue **q)
{
	struct control *c = to_control(d);

	return driver_kernel_queue(c->device, info, index, c->features != 0, q);
}

static void control_close(struct driver *d)
{
	struct control *c = to_control(d);

	control_release(d);
	io_uring_queue_exit(&c->ring);
	close(c->fd);
	free(c);
}

static const struct driver_ops control_ops = {
	.features = control_features,
	.add = control_add,
	.info = control_info,
	.set_params = control_set_params,
	.get_params = control_get_params,
	.command = control_command,
	.open = control_open,
	.queue_open = control_queue_open,
	.release = control_release,
	.close = control_close,
};

/* ------------------------------------------------------------------- open */

static void no_driver(int error)
{
	struct utsname kernel;

	uname(&kernel);
	if (error == ENOENT || error == ENODEV || error == ENXIO)
		log_error(CONTROL
			  ": the kernel's driver is not loaded: 'modprobe ublk_drv' loads it. "
			  "Linux %s: 6.0 and later have it, if built with "
			  "CONFIG_BLK_DEV_UBLK (on Debian 12 linux-image-amd64 of "
			  "bookworm-backports). Without it the disk is a block device by "
			  "NBD: nbdkit-cbd-plugin(1)",
			  kernel.release);
	else if (error == EACCES || error == EPERM)
		log_error(CONTROL ": %s: root may use it, and with --unprivileged those to whom "
				  "a rule of udev gives it",
			  strerror(error));
	else
		log_error(CONTROL ": %s", strerror(error));
}

static int ring_open(struct control *c)
{
	int r = io_uring_queue_init(4, &c->ring, IORING_SETUP_SQE128);

	if (r < 0)
		log_error("io_uring: %s%s", strerror(-r),
			  r == -EPERM ? ": it is forbidden: see /proc/sys/kernel/io_uring_disabled"
				      : "");
	return r;
}

/* Kernels before 6.5 do not know the command, and take the plain numbers. */
static void ask_features(struct control *c)
{
	uint64_t features = 0;
	struct ublk_control_command command = {
		.queue_id = (uint16_t)-1,
		.dev_id = (uint32_t)-1,
		.addr = (uintptr_t)&features,
		.len = sizeof(features),
	};

	if (send_command(c, UBLK_READS(UBLK_NR_GET_FEATURES), &command) >= 0)
		c->features = features | UBLK_F_CMD_IOCTL_ENCODE;
}

struct driver *driver_kernel_open(void)
{
	struct control *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		log_error(CONTROL ": %s", strerror(ENOMEM));
		return NULL;
	}
	c->base.ops = &control_ops;
	c->device = -1;
	c->fd = open(CONTROL, O_RDWR | O_CLOEXEC);
	if (c->fd < 0) {
		no_driver(errno);
		free(c);
		return NULL;
	}
	if (ring_open(c) < 0) {
		close(c->fd);
		free(c);
		return NULL;
	}
	ask_features(c);
	return &c->base;
}
