/* SPDX-License-Identifier: BSD-3-Clause */
/* file.c - see file.h. */
#include <config.h>

#include <daxctl/libdaxctl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.h"
#include "cbd-format.h"
#include "transport/file.h"

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
		f->align = 2u << 20; /* some kernels do not say */
	f->devdax = f->dax = true;
	return 0;
}

/* A devdax device whose driver is another one, or none, has a node all the same;
 * its open or its mmap says ENXIO or ENODEV. */
int cbd_devdax_mode_error(const char *path, int err, const char *driver)
{
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;

	if (!driver)
		return cbd_error(err, "%s: %m; it is disabled: daxctl enable-device %s", path,
				 name);
	return cbd_error(err, "%s: %m; it is in %s mode: daxctl reconfigure-device %s%s", path,
			 strcmp(driver, "kmem") == 0	    ? "system-ram"
			 : strcmp(driver, "fsdev_dax") == 0 ? "famfs"
							    : driver,
			 strcmp(driver, "kmem") == 0 ? "--force --mode=devdax " : "--mode=devdax ",
			 name);
}

/* The message for ERR of a device of the dax subsystem; any other: just ERR. */
static int devdax_error(const char *path, int err)
{
	char link[80], target[PATH_MAX], *driver;
	struct stat st;
	ssize_t n;

	if ((err != ENXIO && err != ENODEV) || stat(path, &st) < 0 || !S_ISCHR(st.st_mode))
		return cbd_error(err, "%s: %m", path);
	snprintf(link, sizeof(link), "/sys/dev/char/%u:%u/subsystem", major(st.st_rdev),
		 minor(st.st_rdev));
	n = readlink(link, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = 0;
	if (strcmp(basename(target), "dax") != 0)
		return cbd_error(err, "%s: %m", path);
	snprintf(link, sizeof(link), "/sys/dev/char/%u:%u/driver", major(st.st_rdev),
		 minor(st.st_rdev));
	n = readlink(link, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = 0;
	driver = basename(target);
	return cbd_devdax_mode_error(path, err, n > 0 ? driver : NULL);
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
	/* checked before open(2), which waits on a FIFO and rewinds a tape */
	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return cbd_error(EISDIR, "%s: %m", path);
		if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
			return cbd_error(EINVAL, "%s: neither a file nor a devdax device", path);
	}
	f->fd = open(path,
		     (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0),
		     0600);
	if (f->fd < 0)
		return devdax_error(path, errno);
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

	if (p == MAP_FAILED && (errno == ENODEV || errno == ENXIO))
		return devdax_error(path, errno);
	if (p == MAP_FAILED)
		return cbd_error(errno, "%s: cannot map %zu bytes: %m", path, len);
	/* Advice: a file system that has huge pages (tmpfs) may use them. */
	madvise(p, len, MADV_HUGEPAGE);
	*base = p;
	*map_length = len;
	return 0;
}
