/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.c - is a transport sound?
 *
 * Reads the header, its copy and every control line; not rings and data areas,
 * whose entries prove themselves by epoch and CRC.
 *
 * The lines of a transport in use change meanwhile, and their owners store lost lines
 * again at each beat.  So all is read in several passes over more than two beats, and a
 * finding counts only if every pass had it, in the same bytes.  That the lines of an
 * owner agree counts only while that owner is seen to live.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "admin/check-lines.h"
#include "admin/check-repair.h"
#include "slots/claim.h"
#include "base/crc.h"
#include "base/error.h"
#include "memory/fault.h"
#include "slots/host.h"
#include "transport/file.h"

#define PASSES 11 /* a quarter of an interval apart */

/* --------------------------------------------------------------- findings */

static bool same(const struct finding *a, const struct finding *b)
{
	return a->at.line == b->at.line && a->at.type == b->at.type && a->what == b->what &&
	       a->stamp == b->stamp;
}

/* Keep in OLD what NEW has too; both are in the order of the walk. */
static void intersect(struct findings *old, const struct findings *new)
{
	size_t kept = 0, j = 0;

	for (size_t i = 0; i < old->count; i++) {
		size_t k = j;

		while (k < new->count && !same(&old->list[i], &new->list[k]))
			k++;
		if (k == new->count)
			continue;
		old->list[kept++] = old->list[i];
		j = k + 1;
	}
	old->count = kept;
}

/* ----------------------------------------------------------------- passes */

/* Leave in c->now what every pass has found. */
static int settle(struct check *c)
{
	struct findings kept;

	cbd_check_pass(c);
	kept = c->now;
	for (int i = 1; i < PASSES && kept.count > 0; i++) {
		cbd_sleep_us(c->h->heartbeat_ms * 250);
		c->now = (struct findings){ .list = NULL };
		cbd_check_pass(c);
		intersect(&kept, &c->now);
		kept.failed |= c->now.failed;
		free(c->now.list);
	}
	c->now = kept;
	return kept.failed ? cbd_error(ENOMEM, "%s: %m", c->t->path) : 0;
}

/* --------------------------------------------------------------- liveness */

static enum cbd_liveness backend_liveness(const struct check *c, unsigned b)
{
	struct cbd_backend_info info;

	return cbd_backend_get(c->t, b, &info, sizeof(info)) < 0 ? CBD_UNDECIDED : info.liveness;
}

static enum cbd_liveness blkdev_liveness(const struct check *c, unsigned d)
{
	struct cbd_blkdev_info info;

	return cbd_blkdev_get(c->t, d, &info, sizeof(info)) < 0 ? CBD_UNDECIDED : info.liveness;
}

/* A watch waits for all that is silent, so only when its result is needed. */
static int watch(struct check *c)
{
	bool needed = c->now.count > 0;

	for (unsigned b = 0; b < c->h->backends; b++)
		needed |= backend_liveness(c, b) == CBD_UNDECIDED;
	for (unsigned d = 0; d < c->h->blkdevs; d++)
		needed |= blkdev_liveness(c, d) == CBD_UNDECIDED;
	return needed ? cbd_transport_watch(c->t) : 0;
}

static void note_owner(struct check *c, enum cbd_liveness l, struct spot at)
{
	struct finding f = { .at = at, .note = true };

	f.what = l == CBD_DEAD	    ? "is of an owner that is dead; its slot is free to take"
		 : l == CBD_SUSPECT ? "is of an owner that is suspect; its slot is kept"
				    : NULL;
	if (f.what)
		cbd_check_tell(c, &f, CBD_CHECK_NOTE);
}

static void note_owners(struct check *c)
{
	for (unsigned b = 0; b < c->h->backends; b++)
		note_owner(c, backend_liveness(c, b),
			   (struct spot){ BACKEND_STATE, b, 0,
					  cbd_backend_info_at(c->t, b, CBD_BACKEND_STATE) });
	for (unsigned d = 0; d < c->h->blkdevs; d++)
		note_owner(c, blkdev_liveness(c, d),
			   (struct spot){ BLKDEV_STATE, d, 0,
					  cbd_blkdev_info_at(c->t, d, CBD_BLKDEV_STATE) });
}

/* ----------------------------------------------------------------- header */

static void tell_header(struct check *c, const char *object, const char *what, int written)
{
	struct cbd_problem p = {
		.object = object,
		.what = what,
		.verdict = !c->repair	  ? CBD_CHECK_DAMAGED
			   : written == 0 ? CBD_CHECK_REPAIRED
					  : CBD_CHECK_LEFT,
	};

	c->left += p.verdict != CBD_CHECK_REPAIRED;
	c->fn(c->opaque, &p);
}

static int put_place(struct check *c, uint64_t offset)
{
	return c->repair ? cbd_header_put(&c->t->mem, c->t->base + offset, c->h, c->t->table) : 0;
}

/* The transport could be opened, so header or copy is sound, and c->h is that one.  When
 * both are sound and differ, the header counts: every process uses it. */
static void check_headers(struct check *c)
{
	static const char *const damage = "is damaged";
	struct cbd_header h;
	struct cbd_area *table;
	int r;

	r = cbd_header_read(c->t->path, &c->t->mem, c->t->base, c->h->size, 0, &h, &table);
	if (r < 0)
		tell_header(c, "header", damage, put_place(c, 0));
	else
		free(table);
	r = cbd_header_read(c->t->path, &c->t->mem, c->t->base, c->h->size, c->h->copy_area.offset,
			    &h, &table);
	if (r == 0) {
		bool equal = memcmp(&h, c->h, sizeof(h)) == 0 &&
			     memcmp(table, c->t->table, h.table_entries * sizeof(*table)) == 0;

		free(table);
		if (equal)
			return;
	}
	tell_header(c, "copy of the header", r < 0 ? damage : "is not equal to the header",
		    put_place(c, c->h->copy_area.offset));
}

static bool has_magic(const struct cbd_mem *mem, const char *page)
{
	char magic[8];

	return cbd_fault_load(mem, magic, page, sizeof(magic)) == 0 &&
	       memcmp(magic, CBD_MAGIC, sizeof(magic)) == 0;
}

/* Is there a magic where a header or a copy may lie, as if this had been a transport? */
static bool has_trace(const char *path)
{
	struct cbd_mem mem = { .software = true };
	struct cbd_file f;
	uint64_t end, last;
	size_t length;
	char *base;
	bool found;

	if (cbd_file_open(path, false, false, &f) < 0)
		return false;
	found = f.size >= CBD_PAGE_SIZE &&
		cbd_file_map(&f, path, false, f.size, &base, &length) == 0;
	close(f.fd);
	if (!found)
		return false;
	end = f.size / CBD_PAGE_SIZE;
	last = CBD_MAX_BACKENDS * CBD_MAX_CHANNELS * sizeof(struct cbd_area) / CBD_PAGE_SIZE + 1;
	found = has_magic(&mem, base);
	for (uint64_t p = 1; p <= last && p < end && !found; p++)
		found = has_magic(&mem, base + (end - p) * CBD_PAGE_SIZE);
	munmap(base, length);
	return found;
}

/* Turn the reason why the transport cannot be opened into what the check says. */
static int judge_failure(const char *path, int r)
{
	char reason[400];

	if (r != -EBADMSG && r != -EINVAL && r != -ENOMEDIUM)
		return r;
	snprintf(reason, sizeof(reason), "%s", cbd_errmsg());
	if (!has_trace(path))
		return cbd_error(-r, "%s", reason);
	return cbd_error(EBADMSG, "%s; header and copy are both beyond repair", reason);
}

/* ------------------------------------------------------------------ check */

static bool owners_live(const struct check *c, const struct finding *f)
{
	return (f->backend < 0 || backend_liveness(c, (unsigned)f->backend) == CBD_ALIVE) &&
	       (f->blkdev < 0 || blkdev_liveness(c, (unsigned)f->blkdev) == CBD_ALIVE);
}

/* Tell the notes, and remove them and what the death of an owner explains. */
static void judge(struct check *c)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->now.count; i++) {
		struct finding *f = &c->now.list[i];

		if (f->note)
			cbd_check_tell(c, f, CBD_CHECK_NOTE);
		else if (!f->if_alive || owners_live(c, f))
			c->now.list[kept++] = *f;
	}
	c->now.count = kept;
}

static int check_lines(struct check *c)
{
	int r = settle(c);

	if (r == 0)
		r = watch(c);
	if (r < 0)
		return r;
	judge(c);
	note_owners(c);
	if (c->repair && c->now.count > 0)
		return cbd_check_repair(c);
	for (size_t i = 0; i < c->now.count; i++)
		cbd_check_tell(c, &c->now.list[i], CBD_CHECK_DAMAGED);
	return 0;
}

static int check_arguments(const char *path, unsigned flags, cbd_check_fn *fn)
{
	if (!path)
		return cbd_error(EINVAL, "no path of a transport given");
	if (!fn)
		return cbd_error(EINVAL, "%s: no callback for what is found given", path);
	if (flags & ~CBD_CHECK_REPAIR)
		return cbd_error(EINVAL, "%s: flags %#x: unknown", path, flags);
	return 0;
}

int cbd_transport_check(const char *path, unsigned flags, cbd_check_fn *fn, void *opaque)
{
	struct check c = { .repair = flags & CBD_CHECK_REPAIR, .fn = fn, .opaque = opaque };
	int r = check_arguments(path, flags, fn);

	if (r < 0)
		return r;
	r = cbd_transport_open(path, c.repair ? 0 : CBD_TRANSPORT_READ_ONLY, &c.t);

	if (r < 0)
		return judge_failure(path, r);
	c.h = &c.t->header;
	check_headers(&c);
	r = check_lines(&c);
	free(c.now.list);
	cbd_transport_close(c.t);
	return r < 0 ? r : (int)c.left;
}
