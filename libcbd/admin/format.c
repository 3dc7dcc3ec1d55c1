/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * format.c - make a file or a device a transport.
 *
 * The order of stores: first the magic of the old header and the old copy are zeroed,
 * then all control pages; then come state lines, the copy, and last the header.  A
 * process that dies meanwhile leaves no transport, or (before its first store) the old
 * one.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/foreign.h"
#include "base/bytes.h"
#include "base/crc.h"
#include "base/error.h"
#include "base/sized.h"
#include "base/step.h"
#include "memory/fault.h"
#include "slots/info.h"
#include "transport/file.h"
#include "transport/lines.h"

typedef unsigned long long ull;

static uint64_t pages(uint64_t bytes)
{
	return (bytes + CBD_PAGE_SIZE - 1) / CBD_PAGE_SIZE;
}

/* Of a channel only control pages and rings: its data area is read only after an entry
 * whose CRC is of the new uuid. */
/* Bytes at the beginning of each channel that are no payload: its lines and rings. */
static uint64_t channel_control(const struct cbd_header *h)
{
	return (CBD_CHANNEL_RINGS + 2 * pages((uint64_t)h->ring_slots * CBD_LINE_SIZE)) *
	       CBD_PAGE_SIZE;
}

static int wipe_channels(const struct cbd_mem *mem, char *base, const struct cbd_header *h,
			 const struct cbd_area *table)
{
	uint64_t control = channel_control(h);
	int r = 0;

	for (uint32_t i = 0; i < h->table_entries && r == 0; i++)
		r = cbd_fault_wipe(mem, base, table[i].offset, control);
	return r;
}

static int put_state(const struct cbd_mem *mem, char *base, const struct cbd_header *h,
		     uint64_t offset)
{
	struct cbd_state_line line = { .state = CBD_SLOT_FREE };
	uint32_t seed = cbd_crc32c(0, h->uuid, sizeof(h->uuid));

	/* random, so that it differs from those of an older format */
	cbd_random(&line.incarnation, sizeof(line.incarnation));
	cbd_line_seal(seed, offset, (struct cbd_line *)&line);
	return cbd_fault_store(mem, base + offset, &line, sizeof(line));
}

static int put_states(const struct cbd_mem *mem, char *base, const struct cbd_header *h)
{
	int r = 0;

	for (unsigned i = 0; i < h->backends && r == 0; i++)
		r = put_state(mem, base, h,
			      h->backend_area.offset +
				      (i * cbd_backend_pages(h) + CBD_BACKEND_INFO) *
					      (uint64_t)CBD_PAGE_SIZE);
	for (unsigned i = 0; i < h->blkdevs && r == 0; i++)
		r = put_state(mem, base, h,
			      h->blkdev_area.offset + (i * CBD_BLKDEV_PAGES + CBD_BLKDEV_INFO) *
							      (uint64_t)CBD_PAGE_SIZE);
	return r;
}

static int write_all(const char *path, char *base, const struct cbd_header *h,
		     const struct cbd_area *table)
{
	struct cbd_mem mem = { .software = h->coherence == CBD_COHERENCE_SOFTWARE };
	uint64_t control = h->channel_area.offset;
	int r = cbd_fault_wipe(&mem, base, 0, CBD_PAGE_SIZE);

	cbd_step("format-magic");
	if (r == 0)
		r = cbd_fault_wipe(&mem, base, h->copy_area.offset, h->copy_area.length);
	cbd_step("format-copy");
	if (r == 0)
		r = cbd_fault_wipe(&mem, base, 0, control);
	if (r == 0)
		r = wipe_channels(&mem, base, h, table);
	cbd_step("format-wiped");
	if (r == 0)
		r = put_states(&mem, base, h);
	cbd_step("format-states");
	if (r == 0)
		r = cbd_header_put(&mem, base + h->copy_area.offset, h, table);
	cbd_step("format-copy-written");
	if (r == 0)
		r = cbd_header_put(&mem, base, h, table);
	cbd_step("format-written");
	return r < 0 ? cbd_error(-r, "%s: write: the memory is poisoned or gone", path) : 0;
}

/* ----------------------------------------------------------------- format */

/* Refuse a file that holds data of another program: the path is probably wrong.  What a
 * devdax device holds is memory, and means nothing to anybody. */
static int check_foreign(const char *path, const struct cbd_file *f, unsigned force, bool locked)
{
	if (locked || (!f->devdax && cbd_lock_content_held(f->fd)))
		return cbd_error(EBUSY, "%s: is in use, and not as a transport", path);
	return force || f->devdax ? 0 : cbd_foreign_check(path, f->fd);
}

/* What cbd_transport_open() returns for what is a transport, usable or not. */
static bool is_transport(int r)
{
	return r == 0 || r == -EBADMSG || r == -EINVAL || r == -EPROTONOSUPPORT;
}

/* Refuse to destroy a transport, or with force 1 one that is in use; see --force in
 * cbdctl(1). */
static int check_old(const char *path, const struct cbd_file *f, unsigned force, bool locked)
{
	struct cbd_transport *t = NULL;
	int r = cbd_transport_open(path, CBD_TRANSPORT_READ_ONLY, &t);

	if (r == -ENOMEDIUM)
		return check_foreign(path, f, force, locked);
	if (!force && !is_transport(r))
		return r; /* nothing is known of it but this error */
	if (!force)
		r = cbd_error(EEXIST, "%s: is a cbd transport already", path);
	else if (force > 1 || r == -EBADMSG || r == -EINVAL)
		r = 0; /* told to, or so damaged that nobody can be using it */
	else if (r == 0)
		r = cbd_transport_owned(t);
	cbd_transport_close(t);
	return r;
}

/* Beyond the limit of a process the kernel would send SIGXFSZ. */
static int check_limit(const char *path, const struct cbd_file *f, uint64_t size)
{
	struct rlimit limit;

	if (size <= f->size || getrlimit(RLIMIT_FSIZE, &limit) < 0 || size <= limit.rlim_cur)
		return 0;
	return cbd_error(EFBIG,
			 "%s: cannot grow to %llu bytes: this process may write files of "
			 "%llu bytes only (ulimit -f)",
			 path, (ull)size, (ull)limit.rlim_cur);
}

/* All but the data areas, which take memory when requests use them: a file system that has
 * no more then costs those requests, and never a line or a ring.  0 or an errno. */
static int reserve_control(const struct cbd_file *f, const struct cbd_header *h,
			   const struct cbd_area *table, uint64_t size)
{
	uint64_t control = channel_control(h);
	int r = size > f->size && ftruncate(f->fd, (off_t)size) < 0 ? errno : 0;

	if (r == 0)
		r = posix_fallocate(f->fd, 0, (off_t)h->channel_area.offset);
	for (uint32_t i = 0; i < h->table_entries && r == 0; i++)
		r = posix_fallocate(f->fd, (off_t)table[i].offset, (off_t)control);
	if (r == 0)
		r = posix_fallocate(f->fd, (off_t)h->copy_area.offset,
				    (off_t)(size - h->copy_area.offset));
	return r;
}

/* A device has all of its memory.  A file is reserved now, holes of an older one too, so that
 * a full file system is an error here and not a SIGBUS later. */
static int reserve(const char *path, struct cbd_file *f, const struct cbd_format_options *o,
		   const struct cbd_header *h, const struct cbd_area *table, uint64_t size)
{
	int r;

	if (f->devdax && size > f->size)
		return cbd_error(ENOSPC, "%s: the device has %llu bytes, not %llu", path,
				 (ull)f->size, (ull)size);
	if (f->devdax && o->sparse)
		return cbd_error(EINVAL, "%s: a device has all of its memory: it cannot be sparse",
				 path);
	if (f->devdax)
		return 0;
	size = (size + f->align - 1) / f->align * f->align;
	r = check_limit(path, f, size);
	if (r < 0)
		return r;
	r = o->sparse ? reserve_control(f, h, table, size) : posix_fallocate(f->fd, 0, (off_t)size);
	if (r != 0)
		return cbd_error(r, "%s: cannot reserve %llu bytes: %m", path, (ull)size);
	if (size > f->size)
		f->size = size;
	return 0;
}

/* The file may end with the copy of an older, larger transport.  Should the header of the
 * new one be damaged later, that copy would be taken for its own: wipe it. */
static int forget_copies(const char *path, const struct cbd_file *f)
{
	struct cbd_mem mem = { .software = true };
	struct cbd_header h, old;
	struct cbd_area *table;
	char *base;
	size_t length;
	int r = cbd_file_map(f, path, true, f->size, &base, &length);

	if (r < 0)
		return r;
	r = cbd_fault_load(&mem, &h, base, sizeof(h));
	while (r == 0 &&
	       cbd_header_find_copy(path, &mem, base, f->size, h.size, &old, &table) == 0) {
		free(table);
		r = cbd_fault_wipe(&mem, base, old.copy_area.offset, CBD_LINE_SIZE);
	}
	munmap(base, length);
	return r < 0 ? cbd_error(-r, "%s: write: the memory is poisoned or gone", path) : 0;
}

static int format_file(const char *path, const struct cbd_format_options *options,
		       struct cbd_file *f)
{
	struct cbd_format_options o = *options;
	struct cbd_header h;
	struct cbd_area *table = NULL;
	char *base = NULL;
	size_t length = 0;
	uint64_t old_size = f->size, size = o.size ? o.size : f->size;
	struct stat st;
	int r;

	if (!o.coherence)
		o.coherence = f->dax ? CBD_COHERENCE_SOFTWARE : CBD_COHERENCE_HARDWARE;
	if (!size)
		return cbd_error(EINVAL, "%s: is empty; give its size", path);
	r = cbd_header_build(path, &o, size, &h, &table);
	if (r == 0)
		r = reserve(path, f, &o, &h, table, size);
	if (r == 0)
		r = forget_copies(path, f);
	if (r == 0)
		r = cbd_file_map(f, path, true, h.size, &base, &length);
	if (r == 0)
		r = write_all(path, base, &h, table);
	if (r == 0 && !f->devdax && msync(base, length, MS_SYNC) < 0)
		r = cbd_error(errno, "%s: msync: %m", path);
	if (base)
		munmap(base, length);
	free(table);
	/* also when a sparse one has grown, and not all of its lines were reserved */
	if (r < 0 && !f->devdax && fstat(f->fd, &st) == 0 && (uint64_t)st.st_size != old_size &&
	    ftruncate(f->fd, (off_t)old_size) < 0)
		return r;
	return r;
}

/* A file of the name of a device would be written and used in its place. */
static int check_fresh(const char *path, const struct cbd_format_options *o)
{
	char *copy = strdup(path), *folder = copy ? realpath(dirname(copy), NULL) : NULL;
	bool in_dev = folder && strcmp(folder, "/dev") == 0;

	free(folder);
	free(copy);
	if (in_dev)
		return cbd_error(ENODEV, "%s: there is no such device; 'daxctl list' shows all",
				 path);
	return o->size ? 0 : cbd_error(ENOENT, "%s: %m; give a size to create it", path);
}

/* ------------------------------------------------------------------- file */

#define OPEN_TRIES 16

/* What is to be formatted: open, and locked unless a process uses it. */
struct target {
	const char *path;
	struct cbd_file f;
	struct cbd_lock lock;
	bool fresh; /* made here, and nobody else's yet */
};

/* Of two that make the same file one does; the other finds it. */
static int open_or_make(struct target *g, bool may_make)
{
	struct stat st;
	int r = cbd_file_open(g->path, true, false, &g->f);

	g->fresh = false;
	if (r != -ENOENT)
		return r;
	if (!may_make)
		return cbd_error(ENOENT, "%s: %m; give a size to create it", g->path);
	r = cbd_file_open(g->path, true, true, &g->f);
	g->fresh = r == 0;
	cbd_step("format-made");
	if (r == -EEXIST && lstat(g->path, &st) == 0 && S_ISLNK(st.st_mode))
		return cbd_error(ENOENT, "%s: is a symbolic link to what does not exist", g->path);
	return r == -EEXIST ? -EAGAIN : r;
}

/* Is it still what its path names?  Who made it may have failed and removed it. */
static bool has_name(const struct target *g)
{
	struct stat st;

	return stat(g->path, &st) == 0 && st.st_dev == g->f.dev && st.st_ino == g->f.ino;
}

static void target_close(struct target *g)
{
	cbd_lock_release(&g->lock);
	if (g->f.fd >= 0)
		close(g->f.fd);
	g->f.fd = -1;
}

/* Take the lock; -EBUSY without a message: a process has it.  The file's size is as
 * of then. */
static int target_lock(struct target *g)
{
	struct stat st;
	int r = cbd_lock_take(&g->lock, g->f.fd, CBD_LOCK_FORMAT, false, 0);

	if (r == -EBUSY)
		g->fresh = false; /* it was faster, and has the file now */
	else if (r < 0)
		return cbd_error(-r, "%s: cannot lock: %m", g->path);
	if (!has_name(g))
		return -EAGAIN;
	if (!g->f.devdax && fstat(g->f.fd, &st) == 0)
		g->f.size = (uint64_t)st.st_size;
	/* another one may have found it, formatted it, and be gone, before the lock */
	if (g->f.size != 0)
		g->fresh = false;
	return r;
}

/* Everybody may make files in /dev/shm and /tmp, also one that waits for a transport of
 * root's, to read and write it. */
static int check_owner(const struct target *g)
{
	struct stat st, folder;
	char *real;
	int r;

	if (g->f.devdax || fstat(g->f.fd, &st) < 0 || st.st_uid == 0 || st.st_uid == geteuid())
		return 0;
	real = realpath(g->path, NULL);
	r = real ? stat(dirname(real), &folder) : -1;
	free(real);
	if (r == 0 && (!(folder.st_mode & S_ISVTX) || !(folder.st_mode & S_IWOTH) ||
		       folder.st_uid == st.st_uid))
		return 0;
	return cbd_error(EACCES,
			 "%s: belongs to user %u, in a folder where everybody may make files; "
			 "remove it, or use another path",
			 g->path, (unsigned)st.st_uid);
}

/* -EBUSY without a message, with an open target: a process uses it. */
static int target_open(struct target *g, const char *path, bool may_make)
{
	int r = -EAGAIN;

	for (int i = 0; i < OPEN_TRIES && r == -EAGAIN; i++) {
		*g = (struct target){ .path = path, .f = { .fd = -1 }, .lock = CBD_LOCK_NONE };
		r = open_or_make(g, may_make);
		if (r == 0)
			r = check_owner(g);
		if (r == 0)
			r = target_lock(g);
		if (r < 0 && r != -EBUSY)
			target_close(g);
	}
	return r == -EAGAIN ? cbd_error(EAGAIN, "%s: is made and removed all the time", path) : r;
}

static int check_options(const struct cbd_format_options *o)
{
	if (o->coherence > CBD_COHERENCE_SOFTWARE)
		return cbd_error(EINVAL, "coherence %u: there is no such mode",
				 (unsigned)o->coherence);
	return cbd_reserved_check(o->reserved, sizeof(o->reserved), "cbd_format_options");
}

int cbd_format(const char *path, const struct cbd_format_options *options, size_t size)
{
	struct cbd_format_options o;
	struct target g;
	int r = cbd_sized_get(&o, sizeof(o), options, size, "cbd_format_options");

	if (r == 0)
		r = check_options(&o);
	if (r < 0)
		return r;
	if (!path)
		return cbd_error(EINVAL, "no path of a transport given");
	r = access(path, F_OK) != 0 && errno == ENOENT ? check_fresh(path, &o) : 0;
	if (r < 0)
		return r;
	cbd_coherence_init();
	cbd_fault_init();
	r = target_open(&g, path, o.size != 0);
	if (r < 0 && r != -EBUSY)
		return r;
	if (r == -EBUSY && o.force < 2)
		r = cbd_error(EBUSY, "%s: is in use by a process on this host", path);
	else
		r = g.fresh ? 0 : check_old(path, &g.f, o.force, r == -EBUSY);
	if (r == 0)
		r = format_file(path, &o, &g.f);
	if (r < 0 && g.fresh && has_name(&g))
		unlink(path);
	target_close(&g);
	return r;
}
