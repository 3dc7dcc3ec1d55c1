/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * header.h - the header of a transport: lay it out, check it, find it.
 * Nothing here looks into slots or rings.
 */
#ifndef CBD_HEADER_H
#define CBD_HEADER_H

#include "cbd.h"
#include "memory/coherence.h"

/* Pages of a slot in each table, from the header. */
unsigned cbd_host_pages(const struct cbd_header *h);
unsigned cbd_backend_pages(const struct cbd_header *h);

/* Fill HEADER and TABLE (allocated here) for SIZE bytes; -EINVAL with a
 * message that says what would fit. */
int cbd_header_build(const char *path, const struct cbd_format_options *options, uint64_t size,
		     struct cbd_header *header, struct cbd_area **table);

/*
 * Check a private copy of a header whole: magic, version, features, CRC,
 * limits, areas inside SIZE and without overlap.  -ENOMEDIUM: no transport at
 * all; -EBADMSG: damaged; -EPROTONOSUPPORT: too new; -EINVAL: impossible.
 */
int cbd_header_check(const char *path, const struct cbd_header *header, uint64_t size);
int cbd_table_check(const char *path, const struct cbd_header *header,
		    const struct cbd_area *table);

/* Read and check the one at OFFSET of a mapping of SIZE bytes.  *table is the
 * caller's to free, on success only. */
int cbd_header_read(const char *path, const struct cbd_mem *mem, const char *base, uint64_t size,
		    uint64_t offset, struct cbd_header *header, struct cbd_area **table);

/* Store header and table at AT: the line with the magic goes first and comes
 * back last.  0 or -EIO. */
int cbd_header_put(const struct cbd_mem *mem, char *at, const struct cbd_header *header,
		   const struct cbd_area *table);

/* Read header and table from a mapping, the copy at the end when the first is
 * damaged.  *table is the caller's to free. */
int cbd_header_find(const char *path, const struct cbd_mem *mem, const char *base, uint64_t size,
		    struct cbd_header *header, struct cbd_area **table, bool *damaged);

/* The copy alone; HINT is where a damaged header says that the transport ends.
 * *table is the caller's to free. */
int cbd_header_find_copy(const char *path, const struct cbd_mem *mem, const char *base,
			 uint64_t size, uint64_t hint, struct cbd_header *header,
			 struct cbd_area **table);

#endif
