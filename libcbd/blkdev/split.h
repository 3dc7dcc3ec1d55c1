/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * split.h - cut a request of any size into parts of one SE each, at multiples
 * of 4 KiB of the device offset (rule 5), so that a part never tears a block.
 */
#ifndef CBD_SPLIT_H
#define CBD_SPLIT_H

#include <stdint.h>

/* Length of the first part of LENGTH bytes at OFFSET: at most MOST (a multiple
 * of 4 KiB), ending on a multiple of 4 KiB unless it is the last part. */
uint32_t cbd_split_first(uint64_t offset, uint64_t length, uint32_t most);

#endif
