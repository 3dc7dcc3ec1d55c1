/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz.h - what the harnesses share: one small transport that each input begins with,
 * and changes of its lines that an input tells.
 */
#ifndef CBD_FUZZ_H
#define CBD_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "transport/transport.h"

/* An input is records of 8 bytes. */
struct fuzz_record {
	uint8_t what, where;
	uint16_t place;
	uint32_t value;
};

#define FUZZ_HOSTS 2
#define FUZZ_BACKENDS 2
#define FUZZ_BLKDEVS 3
#define FUZZ_CHANNELS 2
#define FUZZ_SLOTS 8 /* of a ring */

/* Format, once; then the same bytes again for each input.  Its name. */
const char *fuzz_transport(void);

/* The same memory, for changes. */
char *fuzz_memory(size_t *size);

/* Add VALUE to a word of a line, or store it there, or flip a bit; with its CRC right
 * afterwards, or as it is. */
void fuzz_change(const struct fuzz_record *r);

/* The same of a word of the header and its copy. */
void fuzz_change_header(const struct fuzz_record *r);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
