/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport.c - open and map a transport on a file or a devdax device, and
 * read and write its control lines.
 */
#include <config.h>

#include <daxctl/libdaxctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/error.h"
#include "memory/fault.h"
#include "transport/format.h"
#include "slots/host.h"
#include "transport/transport.h"

/* ------------------------------------------------------------------ files */

/* Size and alignment of a devdax device, found by its device number. */
static int devdax_probe(const char *path, struct cbd_file *f, dev_t rdev)
{
	struct daxctl_ctx *ctx;
	struct daxctl_region *region;
	struct daxctl_dev *dev;
	bool found = false;

	if (daxctl_new(&ctx) < 0)
		return cbd_error(ENOMEM, "%s: libdaxctl: cannot start", path);
	daxctl_region_foreach(ctx, region)
		daxctl_dev_foreach(region, dev) {
			if (daxctl_dev_get_major(dev) != (int)major(rdev) ||
			    daxctl_dev_get_minor(dev) != (int)minor(rdev))
				continue;
			f->size = daxctl_dev_get_size(dev);
			f->align = daxctl_dev_get_align(dev);
			found = true;
		}
	daxctl_unref(ctx);
	if (!found)
		return cbd_error(ENODEV, "%s: a character device, but not a devdax one", path);
	if (!f->align)
		f->align = 2u << 20; /* kernels that do not tell it */
	f->devdax = f->dax = true;
	return 0;
}

static int file_probe(const char *path, struct cbd_file *f, const struct stat *st)
{
	struct statx stx;
	struct statfs fs;

	f->size = st->st_size;
	f->align = CBD_PAGE_SIZE;
	if (fstatfs(f->fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC)
		f->align = fs.f_bsize;
	if (statx(f->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) == 0)
		f->dax = stx.stx_attributes & STATX_ATTR_DAX;
	(void)path;
	return 0;
}

int cbd_file_open(const char *path, bool writable, bool create, struct cbd_file *f)
{
	struct stat st;
	int r;

	*f = (struct cbd_file){ .fd = -1 };
	/* a FIFO or a tape must not be touched, not even by open() */
	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return cbd_error(EISDIR, "%s: %m", path);
		if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
			return cbd_error(EINVAL, "%s: neither a file nor a devdax device", path);
	}
	f->fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | (create ? O_CREAT : 0),
		     0600);
	if (f->fd < 0)
		return cbd_error(errno, "%s: %m", path);
	if (fstat(f->fd, &st) < 0)
		r = cbd_error(errno, "%s: %m", path);
	else if (S_ISCHR(st.st_mode))
		r = devdax_probe(path, f, st.st_rdev);
	else if (S_ISREG(st.st_mode))
		r = file_probe(path, f, &st);
	else
		r = cbd_error(EINVAL, "%s: neither a file nor a devdax device", path);
	if (r < 0) {
		close(f->fd);
		f->fd = -1;
		return r;
	}
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	return 0;
}

int cbd_file_map(const struct cbd_file *f, const char *path, bool writable, uint64_t length,
		 char **base, size_t *map_length)
{
	size_t len = (length + f->align - 1) / f->align * f->align;
	void *p = mmap(NULL, len, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, f->fd, 0);

	if (p == MAP_FAILED)
		return cbd_error(errno, "%s: cannot map %zu bytes: %m", path, len);
	/* Ring lines are far apart and few: read-ahead brings nothing.  Huge
	 * pages do, where the file system has them; it is advice. */
	madvise(p, len, MADV_HUGEPAGE);
	*base = p;
	*map_length = len;
	return 0;
}

/* ------------------------------------------------------------- open, close */

static int read_header(struct cbd_transport *t, const struct cbd_file *f)
{
	char *base;
	size_t length;
	/* the kind is not known yet: dropping is right for both */
	struct cbd_mem mem = { .software = true };
	int r;

	if (f->size < CBD_PAGE_SIZE)
		return cbd_error(ENOMEDIUM, "%s: too small (%llu bytes) to be a cbd transport",
				 t->path, (unsigned long long)f->size);
	r = cbd_file_map(f, t->path, false, f->size, &base, &length);
	if (r < 0)
		return r;
	r = cbd_header_find(t->path, &mem, base, f->size, &t->header, &t->table, &t->damaged);
	munmap(base, length);
	return r;
}

static int check_features(struct cbd_transport *t)
{
	const struct cbd_header *h = &t->header;
	uint64_t unknown = h->ro_compat & ~CBD_RO_COMPAT_KNOWN;

	if (unknown && !t->read_only)
		return cbd_error(EPROTONOSUPPORT,
				 "%s: has features (ro_compat %#llx) that this version only reads",
				 t->path, (unsigned long long)unknown);
	return 0;
}

static int transport_map(struct cbd_transport *t, const struct cbd_file *f)
{
	int r = read_header(t, f);

	if (r == 0)
		r = check_features(t);
	if (r < 0)
		return r;
	t->mem.software = t->header.coherence == CBD_COHERENCE_SOFTWARE;
	t->seed = cbd_crc32c(0, t->header.uuid, sizeof(t->header.uuid));
	r = cbd_file_map(f, t->path, !t->read_only, t->header.size, &t->base, &t->map_length);
	if (r < 0 || t->read_only)
		return r;
	/* shared by all that use it; format takes it alone */
	r = cbd_lock_take(&t->in_use, t->fd, CBD_LOCK_FORMAT, true, 0);
	if (r == -EBUSY)
		return cbd_error(EBUSY, "%s: is being formatted", t->path);
	return r < 0 ? cbd_error(-r, "%s: lock: %m", t->path) : 0;
}

int cbd_transport_open(const char *path, unsigned flags, struct cbd_transport **out)
{
	struct cbd_transport *t = calloc(1, sizeof(*t));
	struct cbd_file f = { .fd = -1 };
	int r;

	if (!t || !(t->path = strdup(path))) {
		free(t);
		return cbd_error(ENOMEM, "%s: %m", path);
	}
	cbd_coherence_init();
	cbd_fault_init();
	pthread_mutex_init(&t->host_mutex, NULL);
	t->fd = t->in_use.fd = t->host_lock.fd = t->host = -1;
	t->read_only = flags & CBD_TRANSPORT_READ_ONLY;
	r = cbd_file_open(path, !t->read_only, false, &f);
	if (r == 0) {
		t->fd = f.fd;
		t->dev = f.dev;
		t->ino = f.ino;
		r = transport_map(t, &f);
	}
	/* only who takes part has to have an identity */
	if (r == 0) {
		r = cbd_identity_read(&t->identity);
		if (t->read_only)
			r = 0;
	}
	if (r < 0) {
		cbd_transport_close(t);
		return r;
	}
	*out = t;
	return 0;
}

void cbd_transport_close(struct cbd_transport *t)
{
	if (!t)
		return;
	cbd_host_leave(t);
	cbd_lock_release(&t->in_use);
	if (t->base)
		munmap(t->base, t->map_length);
	if (t->fd >= 0)
		close(t->fd);
	pthread_mutex_destroy(&t->host_mutex);
	free(t->watches);
	free(t->liveness);
	free(t->table);
	free(t->path);
	free(t);
}

const struct cbd_header *cbd_transport_header(const struct cbd_transport *t)
{
	return &t->header;
}

bool cbd_transport_damaged(const struct cbd_transport *t)
{
	return t->damaged;
}

int cbd_transport_verify(const struct cbd_transport *t)
{
	struct cbd_header h;
	int r;

	/* the uuid is in the first line: the rest is read when it differs */
	if (cbd_fault_load(&t->mem, &h, t->base, CBD_LINE_SIZE) < 0 ||
	    memcmp(h.uuid, t->header.uuid, sizeof(h.uuid)) == 0 ||
	    cbd_fault_load(&t->mem, &h, t->base, sizeof(h)) < 0)
		return 0;
	r = cbd_header_check(t->path, &h, UINT64_MAX);
	if (r < 0 && r != -EPROTONOSUPPORT)
		return 0;
	return cbd_error(ESTALE, "%s: was formatted again", t->path);
}

/* ---------------------------------------------------------- control lines */

bool cbd_is_zero(const void *p, size_t len)
{
	const char *c = p;

	return len == 0 || (*c == 0 && memcmp(c, c + 1, len - 1) == 0);
}

void cbd_random(void *p, size_t len)
{
	/* up to 256 bytes are never short; without the call: the clock */
	if (getrandom(p, len, 0) != (ssize_t)len) {
		uint64_t x = cbd_now_ns() * 0x9e3779b97f4a7c15ull;

		for (size_t i = 0; i < len; i++, x = x * 6364136223846793005ull + 1)
			((uint8_t *)p)[i] = x >> 56;
	}
}

static uint32_t line_crc(uint32_t seed, uint64_t offset, const struct cbd_line *line)
{
	return cbd_crc32c(cbd_crc32c(seed, &offset, sizeof(offset)), line->body,
			  sizeof(line->body));
}

void cbd_line_seal(uint32_t seed, uint64_t offset, struct cbd_line *line)
{
	line->crc = line_crc(seed, offset, line);
}

static uint64_t offset_of(const struct cbd_transport *t, const void *line)
{
	return (const char *)line - t->base;
}

static bool line_load(const struct cbd_transport *t, const void *line, void *copy)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return false;
	cbd_line_load(&t->mem, line, copy);
	cbd_fault_end(&f);
	return true;
}

int cbd_line_get(const struct cbd_transport *t, const void *line, void *copy)
{
	struct cbd_line *l = copy;

	/* A torn line is whole a moment later; a damaged one is not. */
	for (int tries = 0; tries < 16; tries++) {
		if (!line_load(t, line, copy))
			return cbd_error(EIO, "%s: the memory at offset %llu is poisoned or gone",
					 t->path, (unsigned long long)offset_of(t, line));
		if (l->crc == line_crc(t->seed, offset_of(t, line), l) ||
		    cbd_is_zero(copy, CBD_LINE_SIZE))
			return 0;
		cbd_relax();
	}
	return cbd_error(EBADMSG, "%s: the line at offset %llu is damaged", t->path,
			 (unsigned long long)offset_of(t, line));
}

int cbd_line_put(const struct cbd_transport *t, void *line, void *copy)
{
	struct cbd_fault f;

	cbd_line_seal(t->seed, offset_of(t, line), copy);
	if (!CBD_FAULT_TRY(&f))
		return cbd_error(EIO, "%s: the memory at offset %llu is poisoned or gone", t->path,
				 (unsigned long long)offset_of(t, line));
	cbd_line_store(&t->mem, line, copy);
	cbd_fault_end(&f);
	return 0;
}

int cbd_line_differs(const struct cbd_transport *t, const void *line, void *copy)
{
	struct cbd_line now;
	int r = cbd_line_get(t, line, &now);

	cbd_line_seal(t->seed, offset_of(t, line), copy);
	if (r == -EIO)
		return r;
	return r < 0 || memcmp(&now, copy, sizeof(now)) != 0;
}

int cbd_line_assert(const struct cbd_transport *t, void *line, void *copy)
{
	int r = cbd_line_differs(t, line, copy);

	return r > 0 ? cbd_line_put(t, line, copy) : r;
}

int cbd_text_each(const struct cbd_transport *t, char *line, unsigned count, const char *text,
		  cbd_line_fn *store)
{
	size_t left = strlen(text);
	int r = 0;

	for (unsigned i = 0; i < count && r == 0; i++) {
		struct cbd_text_line l = { .reserved = 0 };
		size_t n = left < sizeof(l.text) ? left : sizeof(l.text);

		memcpy(l.text, text, n);
		text += n;
		left -= n;
		r = store(t, line + i * CBD_LINE_SIZE, &l);
	}
	return r;
}

int cbd_text_put(const struct cbd_transport *t, char *line, unsigned count, const char *text)
{
	return cbd_text_each(t, line, count, text, cbd_line_put);
}

int cbd_text_assert(const struct cbd_transport *t, char *line, unsigned count, const char *text)
{
	return cbd_text_each(t, line, count, text, cbd_line_assert);
}

/* Length of the valid UTF-8 sequence at S (RFC 3629); 0: none. */
static size_t utf8_length(const unsigned char *s)
{
	size_t n = *s < 0x80		     ? 1
		   : *s >= 0xc2 && *s < 0xe0 ? 2
		   : *s >= 0xe0 && *s < 0xf0 ? 3
		   : *s >= 0xf0 && *s < 0xf5 ? 4
					     : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* Names come from whoever can write the memory, and end in logs, JSON and
 * export lists. */
static void make_printable(char *text)
{
	for (size_t n; *text; text += n) {
		n = utf8_length((unsigned char *)text);
		if (n == 0 || (unsigned char)*text < 0x20 || *text == 0x7f) {
			*text = '?';
			n = 1;
		}
	}
}

void cbd_text_get(const struct cbd_transport *t, const char *line, unsigned count, char *text)
{
	struct cbd_text_line l;

	for (unsigned i = 0; i < count; i++) {
		if (cbd_line_get(t, line + i * CBD_LINE_SIZE, &l) < 0)
			memset(l.text, 0, sizeof(l.text));
		memcpy(text + i * sizeof(l.text), l.text, sizeof(l.text));
	}
	text[count * CBD_TEXT_SIZE] = 0;
	make_printable(text);
}
