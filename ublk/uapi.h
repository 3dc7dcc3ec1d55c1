/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uapi.h - the interface of the driver ublk_drv, as include/uapi/linux/ublk_cmd.h of Linux
 * defines it.
 *
 * The header of Linux 6.1, which Debian 12 has, is the least that this program is built
 * with.  What later versions have added is defined here, with the version that brought it;
 * whether the running kernel knows it is asked by UBLK_U_CMD_GET_FEATURES.
 */
#ifndef CBD_UBLK_UAPI_H
#define CBD_UBLK_UAPI_H

#include <linux/ublk_cmd.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* Flags of a device, and features of the driver. */
#ifndef UBLK_F_UNPRIVILEGED_DEV
#define UBLK_F_UNPRIVILEGED_DEV (1UL << 5) /* Linux 6.4 */
#endif
#ifndef UBLK_F_CMD_IOCTL_ENCODE
#define UBLK_F_CMD_IOCTL_ENCODE (1UL << 6) /* Linux 6.4 */
#endif
#ifndef UBLK_F_UPDATE_SIZE
#define UBLK_F_UPDATE_SIZE (1ULL << 10) /* Linux 6.16 */
#endif

/* Commands that later headers add, as numbers of an ioctl. */
#define UBLK_NR_GET_DEV_INFO2 0x12 /* Linux 6.4 */
#define UBLK_NR_GET_FEATURES 0x13  /* Linux 6.5 */
#define UBLK_NR_UPDATE_SIZE 0x15   /* Linux 6.16 */

/* What goes with a control command.  Linux 6.4 has given the last member its meaning:
 * before, it was a second word of data. */
struct ublk_control_command {
	uint32_t dev_id;
	uint16_t queue_id; /* -1: none */
	uint16_t len;
	uint64_t addr;
	uint64_t data;
	uint16_t dev_path_len; /* of an unprivileged device: the path is in front of ADDR */
	uint16_t pad;
	uint32_t reserved;
};

_Static_assert(sizeof(struct ublk_control_command) == sizeof(struct ublksrv_ctrl_cmd),
	       "the size is a part of the command's number");

/* Who has made an unprivileged device: uid and gid, which the header of 6.1 has as one
 * reserved word after ublksrv_flags. */
struct ublk_owner {
	uint32_t uid, gid;
};
#define UBLK_OWNER_AT (offsetof(struct ublksrv_ctrl_dev_info, ublksrv_flags) + 8)

/* Since Linux 6.4 commands are encoded as ioctls are; a kernel may be built without the
 * plain numbers. */
#define UBLK_READS(nr) _IOR('u', nr, struct ublksrv_ctrl_cmd)
#define UBLK_CHANGES(nr) _IOWR('u', nr, struct ublksrv_ctrl_cmd)
#define UBLK_IO(nr) _IOWR('u', nr, struct ublksrv_io_cmd)

#endif
