/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sized.h - structures that a program gives with their size, so that they may grow
 * ("Growth" in cbd.h).  Owns the rule; not what the members mean.
 */
#ifndef CBD_SIZED_H
#define CBD_SIZED_H

#include <stddef.h>

/*
 * A program's structure FROM of SIZE bytes (NULL: all zero) becomes ours of KNOWN bytes.
 * -E2BIG: it asks for something that this version does not know.  NAME is told in the
 * message.
 */
int cbd_sized_get(void *to, size_t known, const void *from, size_t size, const char *name);

/* Ours of KNOWN bytes becomes a program's of SIZE; what only the program knows is zero. */
void cbd_sized_put(void *to, size_t size, const void *from, size_t known);

/* -EINVAL when one of the LENGTH reserved bytes at P is not zero. */
int cbd_reserved_check(const void *p, size_t length, const char *name);
int cbd_reserved_error(const char *name);

#endif
