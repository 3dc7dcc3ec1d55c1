/* SPDX-License-Identifier: BSD-3-Clause */
/* bytes.h - plain memory: is it zero, fill it at random. */
#ifndef CBD_BYTES_H
#define CBD_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool cbd_is_zero(const void *p, size_t len);

/* Random bytes, at most 256.  Not for secrets. */
void cbd_random(void *p, size_t len);

#endif
