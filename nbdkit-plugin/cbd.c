/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cbd.c - nbdkit plugin: a disk of another host, through shared memory.
 *
 * Owns the life cycle and the translation of NBD requests and errors into those
 * of libcbd.  The parameters are param.c's, what exports there are is
 * exports.c's, when to attach and to detach disk.c's, and the user that nbdkit
 * becomes user.c's.
 *
 * nbdkit calls everything up to get_ready in one thread before it forks.  The
 * functions that take a handle come from up to 16 threads a connection.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <cbd-format.h>
#include <cbd.h>

#include "disk.h"
#include "exports.h"
#include "../common/log-limit.h"
#include "param.h"
#include "user.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

/* nbdkit itself refuses reads and writes beyond this. */
#define MAX_BLOCK_SIZE (64u << 20)

/* Of one answer to a BLOCK_STATUS; libcbd gives no more. */
#define MAX_BLOCKS 512

static struct cbd_transport *transport;

/* The disk of backend=, attached all the time; NULL: each client chooses by export name. */
static struct disk *fixed_disk;

/* True in the process that serves clients, after nbdkit has forked. */
static bool started;

/* One NBD connection. */
struct connection {
	struct connection *next;
	struct disk *disk;
	struct cbd_queue *queue;
	struct cbd_connection *losses;	/* who is told of lost data */
	_Atomic unsigned entered, left; /* requests, counted by the threads of nbdkit */
};

static pthread_mutex_t connections_lock = PTHREAD_MUTEX_INITIALIZER;
static struct connection *connections;

static void plugin_dump(void)
{
	printf("cbd_library_version=%s\n", cbd_version());
	printf("cbd_format_version=%d\n", CBD_FORMAT_VERSION);
	printf("cbd_features=data-crc,block-status\n");
}

/* ------------------------------------------------------------ life cycle */

static void put_error(int priority, const char *message)
{
	(void)priority;
	nbdkit_error("%s", message);
}

/* From any thread, libcbd's own ones too. */
static void log_event(void *opaque, enum cbd_log_level level, const char *message)
{
	(void)opaque;
	if (level <= CBD_LOG_WARNING)
		log_limit(put_error, 0, message);
	else
		nbdkit_debug("%s", message);
}

static struct cbd_blkdev_options blkdev_options(const char *backend, bool read_only)
{
	return (struct cbd_blkdev_options){
		.backend = backend,
		.queues = param.queues,
		.read_only = read_only,
		.poll = param.poll,
		.timeout_s = param.timeout,
	};
}

static void close_fixed_disk(void)
{
	if (fixed_disk)
		disk_close(fixed_disk);
	fixed_disk = NULL;
}

/* nbdkit has forked: this parent only reports the start, or runs the client of --run. The
 * child owns the attachment. */
static void give_to_child(void)
{
	if (!started)
		fixed_disk = NULL;
}

/* nbdkit just exits when it cannot, say, bind its socket.  Without this the
 * backend would have to find out that its blkdev is dead. */
static void detach_at_exit(void)
{
	if (!started)
		close_fixed_disk();
}

static int attach_fixed_disk(void)
{
	struct cbd_blkdev_options options = blkdev_options(param.backend, param.read_only);

	fixed_disk = disk_open(transport, &options);
	if (!fixed_disk)
		return -1;
	if (atexit(detach_at_exit) != 0 || pthread_atfork(NULL, give_to_child, NULL) != 0) {
		nbdkit_error("out of memory");
		return -1;
	}
	return 0;
}

/* Everything that can be refused is done here, before nbdkit forks, so that the user sees
 * the message: an error after the fork leaves a stale socket and no message. */
static int plugin_get_ready(void)
{
	struct cbd_transport_info info;

	if (user_check(param.transport) < 0)
		return -1;
	cbd_set_log(log_event, NULL);
	if (cbd_transport_open(param.transport, 0, &transport) < 0) {
		nbdkit_error("%s", cbd_errmsg());
		return -1;
	}
	cbd_transport_get(transport, &info, sizeof info);
	if (info.damaged)
		nbdkit_error("%s: the header is damaged, its copy is used; "
			     "'cbdctl check --repair' restores it",
			     param.transport);
	return param.backend ? attach_fixed_disk() : 0;
}

/* What has been entered and not left, and whether anything was left since the last
 * call.  By wait_for_quit() alone. */
static bool any_waits(void)
{
	static unsigned last_left;
	unsigned inside = 0, left = 0;
	struct connection *c;
	bool moved;

	pthread_mutex_lock(&connections_lock);
	for (c = connections; c; c = c->next) {
		/* what has left had entered: so LEFT first */
		unsigned l = atomic_load_explicit(&c->left, memory_order_acquire);

		left += l;
		inside += atomic_load_explicit(&c->entered, memory_order_relaxed) - l;
	}
	pthread_mutex_unlock(&connections_lock);
	moved = left != last_left;
	last_left = left;
	return inside > 0 && !moved;
}

static void stop_waiting(void)
{
	struct connection *c;

	pthread_mutex_lock(&connections_lock);
	for (c = connections; c; c = c->next)
		cbd_blkdev_stop_waiting(c->disk->blkdev);
	pthread_mutex_unlock(&connections_lock);
}

/*
 * nbdkit ends when the last request has, and requests may wait for long: for a backend
 * that is gone, has another disk or does not answer.  So when nbdkit is told to end, and
 * requests are inside of which none was answered for half a second, they wait no longer
 * than cbd_blkdev_stop_waiting() lets them.  Only the sleep of nbdkit tells that it is to
 * end, and it logs an error then: it is for this case alone.
 */
static void *wait_for_quit(void *unused)
{
	const struct timespec pause = { .tv_nsec = 500000000 };

	(void)unused;
	while (!any_waits() || nbdkit_nanosleep(0, pause.tv_nsec) == 0)
		nanosleep(&pause, NULL);
	stop_waiting();
	return NULL;
}

/* Not joined: nbdkit may end without having been told to. */
static int watch_quit(void)
{
	sigset_t block, old;
	pthread_t thread;
	int err;

	sigfillset(&block);
	sigdelset(&block, SIGBUS);
	sigdelset(&block, SIGSEGV);
	sigdelset(&block, SIGFPE);
	sigdelset(&block, SIGILL);
	pthread_sigmask(SIG_SETMASK, &block, &old);
	err = pthread_create(&thread, NULL, wait_for_quit, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err == 0)
		err = pthread_detach(thread);
	if (err != 0)
		nbdkit_error("thread: %s", strerror(err));
	return err == 0 ? 0 : -1;
}

/* When this fails nbdkit exits, without cleanup and unload. */
static int plugin_after_fork(void)
{
	if (fixed_disk && disk_start(fixed_disk) < 0)
		return -1;
	if (watch_quit() < 0)
		return -1;
	log_limit_start(put_error, LOG_LIMIT_MS);
	started = true;
	return 0;
}

static void plugin_unload(void)
{
	close_fixed_disk();
	if (transport)
		cbd_transport_close(transport);
	transport = NULL;
	log_limit_end();
	cbd_set_log(NULL, NULL);
	param_free();
}

/* --------------------------------------------------------------- exports */

static int plugin_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports)
{
	char text[EXPORT_DESCRIPTION_SIZE];

	(void)readonly;
	(void)is_tls;
	if (!fixed_disk)
		return exports_list(transport, exports);
	if (exports_describe(transport, fixed_disk->backend, text) < 0)
		return nbdkit_use_default_export(exports);
	return nbdkit_add_export(exports, "", text);
}

static const char *plugin_default_export(int readonly, int is_tls)
{
	(void)readonly;
	(void)is_tls;
	return fixed_disk ? "" : exports_default(transport);
}

static const char *plugin_export_description(void *handle)
{
	struct connection *c = handle;
	char text[EXPORT_DESCRIPTION_SIZE];

	if (exports_describe(transport, c->disk->backend, text) < 0)
		return NULL;
	return nbdkit_strdup_intern(text);
}

/* ----------------------------------------------------------- connections */

static struct disk *open_export(const char *name, bool read_only)
{
	struct cbd_backend_info info;
	struct cbd_blkdev_options options;
	char id[16];

	if (exports_find(transport, name, &info) < 0)
		return NULL;
	snprintf(id, sizeof id, "%u", info.id);
	options = blkdev_options(id, read_only);
	return disk_get(transport, &options, &info);
}

static struct disk *get_disk(bool read_only)
{
	const char *name;

	if (fixed_disk)
		return fixed_disk;
	name = nbdkit_export_name();
	return name ? open_export(name, read_only) : NULL;
}

static void put_disk(struct disk *d)
{
	if (d != fixed_disk)
		disk_put(d);
}

static void link_connection(struct connection *c)
{
	pthread_mutex_lock(&connections_lock);
	c->next = connections;
	connections = c;
	pthread_mutex_unlock(&connections_lock);
}

static void unlink_connection(struct connection *c)
{
	struct connection **link = &connections;

	pthread_mutex_lock(&connections_lock);
	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	pthread_mutex_unlock(&connections_lock);
}

static int connect_to(struct connection *c, struct disk *d)
{
	c->disk = d;
	c->queue = disk_queue(d);
	c->losses = cbd_connection_open(d->blkdev);
	if (!c->losses) {
		nbdkit_error("%s", cbd_errmsg());
		return -1;
	}
	return 0;
}

static void *plugin_open(int readonly)
{
	struct connection *c = calloc(1, sizeof *c);
	struct disk *d;

	if (!c) {
		nbdkit_error("calloc: %m");
		return NULL;
	}
	d = get_disk(readonly || param.read_only);
	if (!d)
		goto no_disk;
	if (connect_to(c, d) < 0)
		goto no_connection;
	link_connection(c);
	return c;

no_connection:
	put_disk(d);
no_disk:
	free(c);
	return NULL;
}

static void plugin_close(void *handle)
{
	struct connection *c = handle;

	unlink_connection(c);
	cbd_connection_close(c->losses);
	put_disk(c->disk);
	free(c);
}

/* nbdkit 1.32 that is told to quit ends the threads of open connections, but
 * does not close these. */
static void plugin_cleanup(void)
{
	while (connections)
		plugin_close(connections);
	close_fixed_disk();
}

static int64_t plugin_get_size(void *handle)
{
	struct connection *c = handle;
	struct cbd_blkdev_geometry g;

	/* the disk may have grown since it was attached */
	cbd_blkdev_geometry(c->disk->blkdev, &g, sizeof(g));
	return (int64_t)g.size;
}

static int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
			     uint32_t *maximum)
{
	struct connection *c = handle;
	uint32_t physical = c->disk->geometry.physical_block;

	*minimum = 1;
	*preferred = physical > 4096 && physical <= MAX_BLOCK_SIZE ? physical : 4096;
	*maximum = MAX_BLOCK_SIZE;
	return 0;
}

/* nbdkit asks only when -r was not given. */
static int plugin_can_write(void *handle)
{
	struct connection *c = handle;

	return !c->disk->read_only && !c->disk->geometry.read_only;
}

static int plugin_is_rotational(void *handle)
{
	struct connection *c = handle;

	return c->disk->geometry.rotational;
}

static int plugin_can_trim(void *handle)
{
	struct connection *c = handle;

	return c->disk->geometry.discard;
}

static int plugin_can_fast_zero(void *handle)
{
	struct connection *c = handle;

	return c->disk->geometry.fast_zero;
}

/* Of the disk that is attached now: nbdkit asks once for each connection. */
static int plugin_can_extents(void *handle)
{
	struct connection *c = handle;
	struct cbd_blkdev_geometry g;

	cbd_blkdev_geometry(c->disk->blkdev, &g, sizeof(g));
	return g.block_status;
}

static int always(void *handle)
{
	(void)handle;
	return 1;
}

static int plugin_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static int plugin_can_cache(void *handle)
{
	(void)handle;
	return NBDKIT_CACHE_NONE;
}

/* -------------------------------------------------------------- requests */

/*
 * nbdkit passes these to the client and makes EINVAL of all others, which would
 * blame the client for what happened on the way.  EOVERFLOW and EOPNOTSUPP are
 * among the others but for requests that ask for them; plugin_zero() does its
 * own.
 */
static int nbd_error(int error)
{
	switch (error) {
	case EPERM:
	case EIO:
	case ENOMEM:
	case EINVAL:
	case ENOSPC:
	case ESHUTDOWN:
		return error;
	case EROFS:
		return EPERM;
	case EDQUOT:
	case EFBIG:
		return ENOSPC;
	default:
		return EIO;
	}
}

static const char *verb(enum cbd_op op)
{
	switch (op) {
	case CBD_OP_READ:
		return "read";
	case CBD_OP_WRITE:
		return "write";
	case CBD_OP_FLUSH:
		return "flush";
	case CBD_OP_DISCARD:
		return "trim";
	case CBD_OP_WRITE_ZEROES:
		return "zero";
	case CBD_OP_BLOCK_STATUS:
		return "extents";
	}
	return "request";
}

/* Every request of nbdkit: while it is inside, wait_for_quit() may end it. */
static int execute(struct connection *c, const struct cbd_io *io)
{
	int r;

	atomic_fetch_add_explicit(&c->entered, 1, memory_order_relaxed);
	r = cbd_queue_execute(c->queue, io);
	atomic_fetch_add_explicit(&c->left, 1, memory_order_release);
	return r;
}

/* Turn a result of libcbd into that of a callback of nbdkit. */
static int finish(const struct connection *c, const struct cbd_io *io, int result)
{
	char message[200];

	if (result >= 0)
		return 0;
	errno = -result;
	if (io->op == CBD_OP_FLUSH)
		snprintf(message, sizeof(message), "backend %u: flush: %m", c->disk->backend);
	else
		snprintf(message, sizeof(message),
			 "backend %u: %s %" PRIu64 " bytes at %" PRIu64 ": %m", c->disk->backend,
			 verb(io->op), io->length, io->offset);
	log_limit(put_error, 0, message);
	nbdkit_set_error(nbd_error(-result));
	return -1;
}

static unsigned io_flags(uint32_t flags)
{
	unsigned io = 0;

	if (flags & NBDKIT_FLAG_FUA)
		io |= CBD_IO_FUA;
	if (flags & NBDKIT_FLAG_MAY_TRIM)
		io |= CBD_IO_MAY_TRIM;
	if (flags & NBDKIT_FLAG_FAST_ZERO)
		io |= CBD_IO_FAST_ZERO;
	return io;
}

static int plugin_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct connection *c = handle;
	struct cbd_io io = {
		.op = CBD_OP_READ,
		.offset = offset,
		.length = count,
		.buf = buf,
		.connection = c->losses,
	};

	(void)flags;
	return finish(c, &io, execute(c, &io));
}

static int plugin_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset,
			 uint32_t flags)
{
	struct connection *c = handle;
	struct cbd_io io = {
		.op = CBD_OP_WRITE,
		.flags = io_flags(flags),
		.offset = offset,
		.length = count,
		.buf = (void *)buf, /* only read from */
		.connection = c->losses,
	};

	return finish(c, &io, execute(c, &io));
}

static int plugin_flush(void *handle, uint32_t flags)
{
	struct connection *c = handle;
	struct cbd_io io = { .op = CBD_OP_FLUSH, .connection = c->losses };

	(void)flags;
	return finish(c, &io, execute(c, &io));
}

static int plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct connection *c = handle;
	struct cbd_io io = {
		.op = CBD_OP_DISCARD,
		.flags = io_flags(flags),
		.offset = offset,
		.length = count,
		.connection = c->losses,
	};
	int r = execute(c, &io);

	/* A trim is advice: that a disk cannot do it is no error. */
	return finish(c, &io, r == -EOPNOTSUPP ? 0 : r);
}

static int write_zeroes(struct connection *c, const struct cbd_io *zero)
{
	static char zeroes[1 << 20]; /* never written to */
	struct cbd_io io = {
		.op = CBD_OP_WRITE,
		.flags = zero->flags & CBD_IO_FUA,
		.buf = zeroes,
		.connection = c->losses,
	};
	uint64_t done;
	int r = 0;

	for (done = 0; r == 0 && done < zero->length; done += io.length) {
		io.offset = zero->offset + done;
		io.length = zero->length - done;
		if (io.length > sizeof zeroes)
			io.length = sizeof zeroes;
		r = execute(c, &io);
	}
	return r;
}

/*
 * nbdkit 1.32 falls back to writes after EOPNOTSUPP, but does not go on after
 * the first 64 MiB and reports success.  So that error must leave this
 * function for a fast zero only, where nbdkit passes it on.
 */
static int plugin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct connection *c = handle;
	struct cbd_io io = {
		.op = CBD_OP_WRITE_ZEROES,
		.flags = io_flags(flags),
		.offset = offset,
		.length = count,
		.connection = c->losses,
	};
	int r = execute(c, &io);

	if (r == -EOPNOTSUPP && (flags & NBDKIT_FLAG_FAST_ZERO)) {
		nbdkit_set_error(EOPNOTSUPP);
		return -1;
	}
	if (r == -EOPNOTSUPP)
		r = write_zeroes(c, &io);
	return finish(c, &io, r);
}

/* One answer, which may end before the range does: the client asks on.  The bits are the
 * same, and no block goes beyond the range: nbdkit 1.32 aborts at an extent of 4 GiB. */
static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
			  struct nbdkit_extents *extents)
{
	struct cbd_block_status blocks[MAX_BLOCKS];
	struct connection *c = handle;
	const struct cbd_io io = {
		.op = CBD_OP_BLOCK_STATUS,
		.offset = offset,
		.length = count,
		.blocks = blocks,
		.n_blocks = flags & NBDKIT_FLAG_REQ_ONE ? 1 : MAX_BLOCKS,
		.connection = c->losses,
	};
	int n = execute(c, &io), i;

	for (i = 0; i < n; i++) {
		if (nbdkit_add_extent(extents, offset, blocks[i].length, blocks[i].flags) == -1)
			return -1;
		offset += blocks[i].length;
	}
	return finish(c, &io, n);
}

static struct nbdkit_plugin plugin = {
	.name = "cbd",
	.longname = "nbdkit cbd plugin",
	.version = CBD_VERSION_STRING,
	.description = "Serves a disk of another host, reached through shared memory (CXL).",
	.unload = plugin_unload,
	.config = param_set,
	.config_complete = param_complete,
	.config_help = param_help,
	.magic_config_key = "transport",
	.dump_plugin = plugin_dump,
	.get_ready = plugin_get_ready,
	.after_fork = plugin_after_fork,
	.cleanup = plugin_cleanup,
	.list_exports = plugin_list_exports,
	.default_export = plugin_default_export,
	.export_description = plugin_export_description,
	.open = plugin_open,
	.close = plugin_close,
	.get_size = plugin_get_size,
	.block_size = plugin_block_size,
	.can_write = plugin_can_write,
	.can_flush = always,
	.is_rotational = plugin_is_rotational,
	.can_trim = plugin_can_trim,
	.can_zero = always,
	.can_fast_zero = plugin_can_fast_zero,
	.can_extents = plugin_can_extents,
	.can_fua = plugin_can_fua,
	.can_multi_conn = always,
	.can_cache = plugin_can_cache,
	.pread = plugin_pread,
	.pwrite = plugin_pwrite,
	.flush = plugin_flush,
	.trim = plugin_trim,
	.zero = plugin_zero,
	.extents = plugin_extents,
};

/* NBDKIT_REGISTER_PLUGIN defines plugin_init(), which nbdkit's header does not declare. */
struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
