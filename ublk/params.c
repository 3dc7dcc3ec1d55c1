/* SPDX-License-Identifier: BSD-3-Clause */
/* params.c - see params.h. */
#include <config.h>

#include <string.h>

#include "params.h"

#define MAX_BLOCK 4096u /* of what ublk_drv takes, on a machine with pages of 4 KiB */

/* One discard or write of zeroes occupies a tag until the disk has done all of it. */
#define MAX_DISCARD (256u << 20)

static uint8_t shift_of(uint32_t bytes)
{
	return (uint8_t)__builtin_ctz(bytes);
}

static uint32_t at_least(uint32_t value, uint32_t least)
{
	return value > least ? value : least;
}

uint64_t params_sectors(const struct cbd_blkdev_geometry *g)
{
	return (g->size & ~(uint64_t)(g->logical_block - 1)) / SECTOR;
}

static uint32_t attributes(const struct cbd_blkdev_geometry *g)
{
	uint32_t a = 0;

	if (g->read_only)
		a |= UBLK_ATTR_READ_ONLY;
	if (g->rotational)
		a |= UBLK_ATTR_ROTATIONAL;
	/* without these the kernel sends no FLUSH and no FUA */
	if (!g->write_through)
		a |= UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
	return a;
}

void params_fill(struct ublk_params *p, const struct cbd_blkdev_geometry *g)
{
	uint32_t physical = at_least(g->physical_block, g->logical_block);

	memset(p, 0, sizeof(*p));
	p->len = sizeof(*p);
	p->types = UBLK_PARAM_TYPE_BASIC;
	p->basic = (struct ublk_param_basic){
		.attrs = attributes(g),
		.logical_bs_shift = shift_of(g->logical_block),
		.physical_bs_shift = shift_of(physical),
		.io_min_shift = shift_of(physical),
		.io_opt_shift = shift_of(at_least(g->optimal_block, physical)),
		.max_sectors = MAX_IO / SECTOR,
		.dev_sectors = params_sectors(g),
	};
	if (g->read_only)
		return;
	p->types |= UBLK_PARAM_TYPE_DISCARD;
	p->discard = (struct ublk_param_discard){
		.discard_granularity = physical,
		.max_discard_sectors = g->discard ? MAX_DISCARD / SECTOR : 0,
		.max_write_zeroes_sectors = MAX_DISCARD / SECTOR,
		.max_discard_segments = 1,
	};
}

static const char *refuse_new(const struct cbd_blkdev_geometry *g)
{
	if (g->logical_block > MAX_BLOCK)
		return "the kernel takes no logical block of more than 4096 bytes";
	if (params_sectors(g) == 0)
		return "the disk is smaller than one block";
	return NULL;
}

const char *params_refuse(const struct cbd_blkdev_geometry *g, const struct ublk_params *p)
{
	const char *why = refuse_new(g);

	if (why != NULL || p == NULL)
		return why;
	if (params_sectors(g) < p->basic.dev_sectors)
		return "the disk has become smaller than the device";
	if (shift_of(g->logical_block) != p->basic.logical_bs_shift)
		return "the disk has another logical block than the device";
	if (g->read_only && !(p->basic.attrs & UBLK_ATTR_READ_ONLY))
		return "the disk is read-only, and the device is not";
	if (!g->write_through && !(p->basic.attrs & UBLK_ATTR_VOLATILE_CACHE))
		return "the disk has a volatile cache now: the kernel would never flush it";
	return NULL;
}
