/* SPDX-License-Identifier: BSD-3-Clause */
/* crc.h - CRC32C (RFC 3720, appendix B.4), by ISA-L. */
#ifndef CBD_CRC_H
#define CBD_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Continue CRC (0 at the start) over LEN bytes: crc32c(crc32c(0, a), b) is
 * that of a and b joined. */
uint32_t cbd_crc32c(uint32_t crc, const void *buf, size_t len);

#endif
