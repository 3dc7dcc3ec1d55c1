/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * number.h - numbers and sizes as all programs take them on the command line.
 *
 * Owns their syntax; ranges and messages are the programs' own.
 */
#ifndef CBD_NUMBER_H
#define CBD_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first LENGTH bytes of TEXT: decimal digits and nothing else; strtoul() alone
 * would take " 1", "+1" and "-1".  What does not fit is UINT64_MAX. */
bool number_parse(const char *text, size_t length, uint64_t *value);

/* Bytes: a number and perhaps a suffix that stands for a power of 1024: K, k or KiB,
 * M, m or MiB, and so on with G and T.  What does not fit is UINT64_MAX. */
bool size_parse(const char *text, uint64_t *bytes);

#endif
