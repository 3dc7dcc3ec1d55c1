/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * places.h - where each control line lies in the mapping.
 *
 * A place is named by what it is for; a page and a line in it, two numbers that
 * are easily exchanged, are only for code that walks over all of them.  Numbers
 * of slots come from the checked header or were checked against it before.
 */
#ifndef CBD_PLACES_H
#define CBD_PLACES_H

#include "transport/transport.h"

/* --------------------------------------------------- any line of a slot */

static inline void *cbd_host_line(const struct cbd_transport *t, unsigned host, unsigned page,
				  unsigned line)
{
	return t->base + t->header.host_area.offset +
	       ((size_t)host * cbd_host_pages(&t->header) + page) * CBD_PAGE_SIZE +
	       line * CBD_LINE_SIZE;
}

static inline void *cbd_backend_line(const struct cbd_transport *t, unsigned backend, unsigned page,
				     unsigned line)
{
	return t->base + t->header.backend_area.offset +
	       ((size_t)backend * cbd_backend_pages(&t->header) + page) * CBD_PAGE_SIZE +
	       line * CBD_LINE_SIZE;
}

static inline void *cbd_blkdev_line(const struct cbd_transport *t, unsigned blkdev, unsigned page,
				    unsigned line)
{
	return t->base + t->header.blkdev_area.offset +
	       ((size_t)blkdev * CBD_BLKDEV_PAGES + page) * CBD_PAGE_SIZE + line * CBD_LINE_SIZE;
}

/* ------------------------------------------------------------ host slots */

/* Whose the slot is: written once by the host that takes it. */
static inline void *cbd_host_claim_at(const struct cbd_transport *t, unsigned host)
{
	return cbd_host_line(t, host, CBD_HOST_CLAIM, 0);
}

/* LINE: CBD_HOST_STATE, _BEAT or _NAME. */
static inline void *cbd_host_info_at(const struct cbd_transport *t, unsigned host, unsigned line)
{
	return cbd_host_line(t, host, CBD_HOST_INFO, line);
}

/* What the host asks of the owner of a backend slot. */
static inline void *cbd_host_request_at(const struct cbd_transport *t, unsigned host,
					unsigned backend)
{
	return cbd_host_line(t, host, CBD_HOST_REQUESTS + backend / CBD_LINES_PER_PAGE,
			     backend % CBD_LINES_PER_PAGE);
}

/* --------------------------------------------------------- backend slots */

/* LINE: CBD_BACKEND_STATE and so on. */
static inline void *cbd_backend_info_at(const struct cbd_transport *t, unsigned backend,
					unsigned line)
{
	return cbd_backend_line(t, backend, CBD_BACKEND_INFO, line);
}

/* The backend's answer to a blkdev slot. */
static inline void *cbd_backend_reply_at(const struct cbd_transport *t, unsigned backend,
					 unsigned blkdev)
{
	return cbd_backend_line(t, backend, CBD_BACKEND_REPLIES + blkdev / CBD_LINES_PER_PAGE,
				blkdev % CBD_LINES_PER_PAGE);
}

/* ---------------------------------------------------------- blkdev slots */

/* LINE: CBD_BLKDEV_STATE and so on. */
static inline void *cbd_blkdev_info_at(const struct cbd_transport *t, unsigned blkdev,
				       unsigned line)
{
	return cbd_blkdev_line(t, blkdev, CBD_BLKDEV_INFO, line);
}

/* ------------------------------------------------------ slots of a side */

/* The two tables whose slots processes own. */
enum cbd_side { CBD_SIDE_BACKEND, CBD_SIDE_BLKDEV };

static inline const char *cbd_side_name(enum cbd_side side)
{
	return side == CBD_SIDE_BACKEND ? "backend" : "blkdev";
}

static inline unsigned cbd_side_slots(const struct cbd_transport *t, enum cbd_side side)
{
	return side == CBD_SIDE_BACKEND ? t->header.backends : t->header.blkdevs;
}

/* The line in which HOST claims a slot for one of its processes. */
static inline void *cbd_side_claim_at(const struct cbd_transport *t, enum cbd_side side,
				      unsigned slot, unsigned host)
{
	return side == CBD_SIDE_BACKEND ? cbd_backend_line(t, slot, CBD_BACKEND_CLAIMS, host)
					: cbd_blkdev_line(t, slot, CBD_BLKDEV_CLAIMS, host);
}

static inline void *cbd_side_state_at(const struct cbd_transport *t, enum cbd_side side,
				      unsigned slot)
{
	return side == CBD_SIDE_BACKEND ? cbd_backend_info_at(t, slot, CBD_BACKEND_STATE)
					: cbd_blkdev_info_at(t, slot, CBD_BLKDEV_STATE);
}

static inline void *cbd_side_beat_at(const struct cbd_transport *t, enum cbd_side side,
				     unsigned slot)
{
	return side == CBD_SIDE_BACKEND ? cbd_backend_info_at(t, slot, CBD_BACKEND_BEAT)
					: cbd_blkdev_info_at(t, slot, CBD_BLKDEV_BEAT);
}

/* A struct cbd_counter_block. */
static inline void *cbd_side_counters_at(const struct cbd_transport *t, enum cbd_side side,
					 unsigned slot)
{
	return side == CBD_SIDE_BACKEND ? cbd_backend_line(t, slot, CBD_BACKEND_COUNTERS, 0)
					: cbd_blkdev_line(t, slot, CBD_BLKDEV_COUNTERS, 0);
}

/* The byte of the file that the owner's process locks. */
static inline int64_t cbd_side_lock_byte(enum cbd_side side, unsigned slot)
{
	return side == CBD_SIDE_BACKEND ? CBD_LOCK_BACKEND(slot) : CBD_LOCK_BLKDEV(slot);
}

/* -------------------------------------------------------------- channels */

static inline const struct cbd_area *cbd_channel_area(const struct cbd_transport *t,
						      unsigned backend, unsigned channel)
{
	return &t->table[backend * t->header.channels + channel];
}

#endif
