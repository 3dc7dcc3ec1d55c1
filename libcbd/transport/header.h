/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * header.h - the header of a transport and its copy: lay them out, check, find
 * and store them.  Nothing here looks into slots or rings.
 */
#ifndef CBD_HEADER_H
#define CBD_HEADER_H

#include <cbd-format.h>
#include <cbd.h>

#include "memory/coherence.h"

/* Pages of one slot in the tables of hosts and of backends. */
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

/* Read and check the header at OFFSET of a mapping of SIZE bytes.  On success *table is
 * the caller's to free. */
int cbd_header_read(const char *path, const struct cbd_mem *mem, const char *base, uint64_t size,
		    uint64_t offset, struct cbd_header *header, struct cbd_area **table);

/* Store header and table at AT: the line with the magic is zeroed first and stored
 * last, so that a process that dies meanwhile leaves no header.  0 or -EIO. */
int cbd_header_put(const struct cbd_mem *mem, char *at, const struct cbd_header *header,
		   const struct cbd_area *table);

/* Read header and table from a mapping; when the header is damaged, its copy at the
 * end, and *damaged is true.  On success *table is the caller's to free. */
int cbd_header_find(const char *path, const struct cbd_mem *mem, const char *base, uint64_t size,
		    struct cbd_header *header, struct cbd_area **table, bool *damaged);

/* Find the copy alone.  HINT is where a damaged header says that the transport ends; it
 * is tried before the end of the mapping.  On success *table is the caller's to free. */
int cbd_header_find_copy(const char *path, const struct cbd_mem *mem, const char *base,
			 uint64_t size, uint64_t hint, struct cbd_header *header,
			 struct cbd_area **table);

#endif
