/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * small.h - a small transport in a file, whose places in the memory are known
 * in numbers, and the bytes of that file.
 */
#ifndef CBD_SMALL_H
#define CBD_SMALL_H

#include "unit.h"

#define MIB (1ull << 20)
#define SMALL_SIZE (8 * MIB)

extern const struct cbd_format_options small_options;
extern char small_path[UNIT_PATH];

/* A fresh one, under a fresh name. */
void small_make(void);

void small_read(uint64_t offset, void *buf, size_t size);
void small_write(uint64_t offset, const void *buf, size_t size);

/* Change one bit of the byte at OFFSET; twice: as it was. */
void small_flip(uint64_t offset);

/* The CRC of a header. */
void small_seal(struct cbd_header *header);

/* Open, expect DAMAGED, close. */
void small_opens(bool damaged);

/* Neither for writing nor for reading, and with a message. */
void small_open_fails(int error);

#endif
