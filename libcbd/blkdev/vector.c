/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vector.c - the user's memory of a part: one buffer, or pieces of an iovec.  Owns how
 * payload goes between it and the data area; publish.c (out of a write) and reap.c (into a
 * read) say when, parts.c where the bytes of a part begin.
 *
 * The pieces are those of the user's array, which stays his until the request completes:
 * a part remembers the first one that it touches, and how far into it.
 */
#include <config.h>

#include <sys/uio.h>

#include "blkdev/blkdev.h"
#include "ring/copy.h"

/* What lies at the beginning of the rest, LEFT bytes of it; goes behind it. */
static char *next_piece(struct cbd_vector *v, size_t left, size_t *length)
{
	char *piece;

	while (v->skip == v->iov->iov_len) {
		v->iov++;
		v->skip = 0;
	}
	piece = (char *)v->iov->iov_base + v->skip;
	*length = v->iov->iov_len - v->skip;
	if (*length > left)
		*length = left;
	v->skip += *length;
	return piece;
}

void cbd_vector_skip(struct cbd_vector *v, size_t length)
{
	size_t n;

	for (; v->iov && length > 0; length -= n)
		next_piece(v, length, &n);
}

void cbd_part_store_inside(const struct cbd_mem *m, const struct cbd_part *p, char *to,
			   uint32_t *crc)
{
	struct cbd_vector v = p->vector;
	size_t left = p->se.length, n;

	if (!v.iov) {
		cbd_copy_in(m, to, p->buf, left, crc);
		return;
	}
	for (; left > 0; left -= n, to += n) {
		const char *piece = next_piece(&v, left, &n);

		cbd_copy_in(m, to, piece, n, crc);
	}
}

void cbd_part_load_inside(const struct cbd_mem *m, const struct cbd_part *p, const char *from,
			  uint32_t *crc)
{
	struct cbd_vector v = p->vector;
	size_t left = p->se.length, n;

	if (!v.iov) {
		cbd_copy_out(m, p->buf, from, left, crc);
		return;
	}
	for (; left > 0; left -= n, from += n) {
		char *piece = next_piece(&v, left, &n);

		cbd_copy_out(m, piece, from, n, crc);
	}
}
