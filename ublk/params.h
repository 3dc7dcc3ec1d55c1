/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * params.h - what a disk of libcbd is to the kernel: parameters of a block device.
 */
#ifndef CBD_UBLK_PARAMS_H
#define CBD_UBLK_PARAMS_H

#include <cbd.h>

#include "uapi.h"

#define SECTOR 512u

/* The largest request, in bytes: a part of libcbd has at most as much. */
#define MAX_IO (512u << 10)

/* Sectors of 512 bytes that the device has: whole logical blocks. */
uint64_t params_sectors(const struct cbd_blkdev_geometry *g);

void params_fill(struct ublk_params *p, const struct cbd_blkdev_geometry *g);

/* What is wrong with G for a new device, or for one that has the parameters P already
 * (NULL: new).  NULL: nothing. */
const char *params_refuse(const struct cbd_blkdev_geometry *g, const struct ublk_params *p);

#endif
