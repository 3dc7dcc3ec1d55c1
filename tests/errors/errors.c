/* SPDX-License-Identifier: BSD-3-Clause */
/* errors.c - see errors.h. */
#define _GNU_SOURCE

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../factor.h"
#include "errors.h"

#define HANG_S 20 /* no program here takes a second on an idle machine */
#define DISK_SIZE (1u << 20)

/* ----------------------------------------------------------------- checks */

static void fail(int line, const char *call, const char *problem)
{
	fprintf(stderr, "line %d: %s: %s: %s\n", line, call, problem, cbd_errmsg());
	exit(EXIT_FAILURE);
}

void errors_forget(void)
{
	enum cbd_poll poll;

	if (cbd_poll_parse("an older message", &poll) != -EINVAL)
		fail(__LINE__, "cbd_poll_parse", "accepts nonsense");
}

void errors_check_failure(int line, const char *call, int result, int error, const char *text)
{
	char problem[100];

	snprintf(problem, sizeof(problem), "%d instead of %d", result, -error);
	if (result != -error)
		fail(line, call, problem);
	if (!strstr(cbd_errmsg(), text))
		fail(line, call, "another message");
	printf("%s: %s\n", call, cbd_errmsg());
}

int errors_check_success(int line, const char *call, int result)
{
	char problem[100];

	snprintf(problem, sizeof(problem), "%d", result);
	if (result < 0)
		fail(line, call, problem);
	return result;
}

void errors_start(void)
{
	alarm(HANG_S * (test_factor() + 8));
	setvbuf(stdout, NULL, _IOLBF, 0);
}

/* ------------------------------------------------------------- transports */

const char *errors_file(size_t size)
{
	static char paths[16][sizeof("/proc/self/fd/2147483647")];
	static unsigned n;
	int fd = memfd_create("cbd-errors", 0);

	holds(fd >= 0);
	holds(ftruncate(fd, (off_t)size) == 0);
	holds(n < sizeof(paths) / sizeof(paths[0]));
	snprintf(paths[n], sizeof(paths[n]), "/proc/self/fd/%d", fd);
	return paths[n++];
}

const char *errors_format(void)
{
	const char *path = errors_file(0);
	struct cbd_format_options o = {
		.size = 8u << 20,
		.hosts = 4,
		.backends = 2,
		.blkdevs = 4,
		.channels = 2,
		.depth = 16,
		.heartbeat_ms = 20,
	};

	works(cbd_format(path, &o, sizeof(o)));
	return path;
}

struct cbd_transport *errors_open(const char *path, unsigned flags)
{
	struct cbd_transport *t;

	works(cbd_transport_open(path, flags, &t));
	return t;
}

/* ----------------------------------------------------------------- server */

struct server {
	struct cbd_backend *backend;
	pthread_t thread;
	atomic_bool stop;
	char *data;
};

static int execute(struct server *s, const struct cbd_request *r)
{
	if (r->op == CBD_OP_READ)
		return cbd_request_store(r, s->data + r->offset);
	if (r->op == CBD_OP_WRITE)
		return cbd_request_load(r, s->data + r->offset);
	return 0;
}

static void *serve(void *arg)
{
	struct server *s = arg;
	struct cbd_handler *h = cbd_backend_handler(s->backend, 0);
	struct cbd_request *r[8];

	while (!s->stop) {
		unsigned n;

		works(cbd_backend_tick(s->backend));
		n = cbd_handler_fetch(h, r, 8);
		for (unsigned i = 0; i < n; i++)
			cbd_handler_complete(h, r[i], execute(s, r[i]));
		cbd_handler_wait(h, 1000);
	}
	return NULL;
}

struct server *errors_serve(struct cbd_transport *t)
{
	struct cbd_backend_options o = { .name = "disk", .handlers = 1, .max_blkdevs = 2 };
	struct cbd_disk_geometry g = {
		.size = DISK_SIZE,
		.logical_block = 512,
		.physical_block = 512,
		.optimal_block = 512,
	};
	struct server *s = calloc(1, sizeof(*s));

	holds(s && (s->data = calloc(1, DISK_SIZE)));
	works(cbd_backend_open(t, &o, sizeof(o), &s->backend));
	works(cbd_backend_publish(s->backend, &g, sizeof(g)));
	holds(pthread_create(&s->thread, NULL, serve, s) == 0);
	return s;
}

void errors_serve_end(struct server *s)
{
	s->stop = true;
	pthread_join(s->thread, NULL);
	cbd_backend_close(s->backend);
	free(s->data);
	free(s);
}

struct cbd_blkdev *errors_attach(struct cbd_transport *t, bool read_only)
{
	struct cbd_blkdev_options o = { .backend = "disk",

					.read_only = read_only,
					.attach_timeout_ms = 10000 * test_factor() };
	struct cbd_blkdev *b;

	works(cbd_blkdev_open(t, &o, sizeof(o), &b));
	works(cbd_blkdev_start(b));
	return b;
}
