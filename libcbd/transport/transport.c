/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport.c - open, map and close a transport on a file or a devdax device.
 */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/error.h"
#include "base/sized.h"
#include "base/text.h"
#include "memory/fault.h"
#include "transport/file.h"
#include "transport/header.h"
#include "transport/transport.h"

static int read_header(struct cbd_transport *t, const struct cbd_file *f)
{
	char *base;
	size_t length;
	/* the coherence mode is not known yet: invalidating is right in both */
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
	return r < 0 ? cbd_error(-r, "%s: cannot lock: %m", t->path) : 0;
}

static int check_arguments(const char *path, unsigned flags, struct cbd_transport **out)
{
	if (!path)
		return cbd_error(EINVAL, "no path of a transport given");
	if (!out)
		return cbd_error(EINVAL, "%s: no place for the transport given", path);
	if (flags & ~CBD_TRANSPORT_READ_ONLY)
		return cbd_error(EINVAL, "%s: flags %#x: unknown", path, flags);
	return 0;
}

int cbd_transport_open(const char *path, unsigned flags, struct cbd_transport **out)
{
	struct cbd_transport *t;
	struct cbd_file f = { .fd = -1 };
	int r = check_arguments(path, flags, out);

	if (r < 0)
		return r;
	t = calloc(1, sizeof(*t));
	if (!t || !(t->path = strdup(path))) {
		free(t);
		return cbd_error(ENOMEM, "%s: %m", path);
	}
	cbd_coherence_init();
	cbd_fault_init();
	pthread_mutex_init(&t->host_mutex, NULL);
	pthread_mutex_init(&t->liveness_mutex, NULL);
	pthread_mutex_init(&t->path_mutex, NULL);
	t->fd = t->in_use.fd = t->member_lock.fd = t->host_lock.fd = t->host = -1;
	t->read_only = flags & CBD_TRANSPORT_READ_ONLY;
	t->full_path = realpath(path, NULL);
	r = cbd_file_open(path, !t->read_only, false, &f);
	if (r == 0) {
		t->fd = f.fd;
		t->dev = f.dev;
		t->ino = f.ino;
		r = transport_map(t, &f);
	}
	/* a reader does not need an identity */
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

void cbd_host_leave(struct cbd_transport *t)
{
	if (t->host >= 0 && t->leave)
		t->leave(t);
	cbd_lock_release(&t->host_lock);
	cbd_lock_release(&t->member_lock);
	t->host = -1;
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
	pthread_mutex_destroy(&t->liveness_mutex);
	pthread_mutex_destroy(&t->path_mutex);
	free(t->liveness);
	free(t->table);
	free(t->path);
	free(t->full_path);
	free(t);
}

int cbd_transport_given(const struct cbd_transport *t)
{
	return t ? 0 : cbd_error(EINVAL, "no transport given");
}

int cbd_transport_writable(const struct cbd_transport *t)
{
	int r = cbd_transport_given(t);

	return r == 0 && t->read_only ? cbd_error(EROFS, "%s: is open for reading only", t->path)
				      : r;
}

int cbd_transport_get(const struct cbd_transport *t, struct cbd_transport_info *info, size_t size)
{
	const struct cbd_header *h = &t->header;
	struct cbd_transport_info i = {
		.size = h->size,
		.created = h->created,
		.channel_size = h->channel_size,
		.compat = h->compat,
		.incompat = h->incompat,
		.ro_compat = h->ro_compat,
		.version = h->version,
		.coherence = (enum cbd_coherence)h->coherence,
		.hosts = h->hosts,
		.backends = h->backends,
		.blkdevs = h->blkdevs,
		.channels = h->channels,
		.depth = h->ring_slots,
		.heartbeat_ms = h->heartbeat_ms,
		.dead_after = h->dead_after,
		.data_crc = h->flags & CBD_HEADER_DATA_CRC,
		.damaged = t->damaged,
	};

	memcpy(i.uuid, h->uuid, sizeof(i.uuid));
	memcpy(i.label, h->label, sizeof(i.label));
	i.label[sizeof(i.label) - 1] = 0;
	cbd_text_make_printable(i.label);
	cbd_sized_put(info, size, &i, sizeof(i));
	return 0;
}

int cbd_transport_verify(const struct cbd_transport *t)
{
	struct cbd_header h;
	int r;

	/* the uuid is in the first line: the rest is read only when it differs */
	if (cbd_fault_load(&t->mem, &h, t->base, CBD_LINE_SIZE) < 0 ||
	    memcmp(h.uuid, t->header.uuid, sizeof(h.uuid)) == 0 ||
	    cbd_fault_load(&t->mem, &h, t->base, sizeof(h)) < 0)
		return 0;
	r = cbd_header_check(t->path, &h, UINT64_MAX);
	if (r < 0 && r != -EPROTONOSUPPORT)
		return 0;
	return cbd_error(ESTALE, "%s: was formatted again", t->path);
}

enum path_is { PATH_SAME, PATH_MISSING, PATH_OTHER };

/* The node of a device may be made anew; the device counts. */
static enum path_is path_is(const struct cbd_transport *t)
{
	struct stat mine, named;

	if (!t->full_path || fstat(t->fd, &mine) < 0)
		return PATH_SAME;
	if (stat(t->full_path, &named) < 0) /* without the right to look: unknown */
		return errno == ENOENT || errno == ENOTDIR ? PATH_MISSING : PATH_SAME;
	if (S_ISCHR(mine.st_mode) && S_ISCHR(named.st_mode) && mine.st_rdev == named.st_rdev)
		return PATH_SAME;
	return mine.st_dev == named.st_dev && mine.st_ino == named.st_ino ? PATH_SAME : PATH_OTHER;
}

void cbd_transport_check_path(struct cbd_transport *t)
{
	int is = path_is(t), was;

	pthread_mutex_lock(&t->path_mutex);
	was = t->path_is;
	t->path_is = is;
	pthread_mutex_unlock(&t->path_mutex);
	if (is == was || is == PATH_SAME)
		return;
	cbd_log(CBD_LOG_WARNING,
		"%s: the path names %s now: this process goes on with the one that it has opened; "
		"processes that start now do not meet it",
		t->path, is == PATH_OTHER ? "another file" : "no file");
}
