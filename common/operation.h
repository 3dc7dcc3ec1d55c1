/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * operation.h - operations of a disk in the messages of daemons: "write of 4096 bytes".
 */
#ifndef CBD_OPERATION_H
#define CBD_OPERATION_H

#include <cbd.h>

const char *operation_name(enum cbd_op op);

#endif
