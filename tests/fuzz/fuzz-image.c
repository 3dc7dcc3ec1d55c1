/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-image.c - a transport with changed lines, as any host may have left it, under
 * everything that reads one: list, check, repair, clear, format, the start of a backend,
 * attach and a request.  In virtual time; each of them ends within a bound.
 */
#include <config.h>

#include <string.h>

#include "backend/backend.h"
#include "blkdev/blkdev.h"
#include "base/error.h"
#include "fuzz.h"
#include "virtual.h"

#define DISK (1u << 20)
#define RECORDS 64

static struct cbd_backend *backend;
static bool stopped;
static char disk[DISK], buf[4096];

static int execute(const struct cbd_request *r)
{
	if (r->offset > DISK || r->length > DISK - r->offset)
		virtual_fail("a request outside of the disk: %llu, %u bytes",
			     (unsigned long long)r->offset, r->length);
	if (r->op == CBD_OP_READ)
		return cbd_request_store(r, disk + r->offset);
	return r->op == CBD_OP_WRITE ? cbd_request_load(r, disk + r->offset) : 0;
}

static void serve(void)
{
	struct cbd_request *r[8];
	unsigned n;

	if (!backend || stopped)
		return;
	if (cbd_backend_tick(backend) < 0) {
		stopped = true;
		return;
	}
	n = cbd_handler_fetch(cbd_backend_handler(backend, 0), r, 8);
	for (unsigned i = 0; i < n; i++)
		cbd_handler_complete(cbd_backend_handler(backend, 0), r[i], execute(r[i]));
}

static void ignore(void *opaque, const struct cbd_problem *problem)
{
	(void)opaque;
	if (!problem->object || !problem->what)
		virtual_fail("a finding without words");
}

/* Names and paths end in logs and on terminals. */
static void check_text(const char *text, size_t size)
{
	size_t length = strnlen(text, size);

	if (length == size)
		virtual_fail("a text has no end");
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)text[i] < 32 || text[i] == 127)
			virtual_fail("a text has control characters");
}

static void list(const char *path)
{
	struct cbd_transport_info ti;
	struct cbd_transport *t;

	if (cbd_transport_open(path, CBD_TRANSPORT_READ_ONLY, &t) < 0)
		return;
	cbd_transport_get(t, &ti, sizeof(ti));
	check_text(ti.label, sizeof(ti.label));
	cbd_transport_watch(t);
	for (unsigned h = 0; h < ti.hosts; h++) {
		struct cbd_host_info info;

		if (cbd_host_get(t, h, &info, sizeof(info)) == 0)
			check_text(info.name, sizeof(info.name));
	}
	for (unsigned b = 0; b < ti.backends; b++) {
		struct cbd_backend_info info;

		if (cbd_backend_get(t, b, &info, sizeof(info)) == 0) {
			check_text(info.name, sizeof(info.name));
			check_text(info.path, sizeof(info.path));
		}
		for (unsigned c = 0; c < ti.channels; c++) {
			struct cbd_channel_info channel;

			cbd_channel_get(t, b, c, &channel, sizeof(channel));
		}
	}
	for (unsigned d = 0; d < ti.blkdevs; d++) {
		struct cbd_blkdev_info info;

		cbd_blkdev_get(t, d, &info, sizeof(info));
	}
	cbd_transport_close(t);
}

static void clear(const char *path, bool force)
{
	const struct cbd_clear_options o = { .hosts_gone = force ? UINT64_MAX : 0, .force = force };
	struct cbd_transport *t;

	if (cbd_transport_open(path, 0, &t) < 0)
		return;
	for (unsigned i = 0; i < FUZZ_BLKDEVS; i++)
		cbd_clear(t, CBD_OBJECT_BLKDEV, i, &o, sizeof(o));
	for (unsigned i = 0; i < FUZZ_BACKENDS; i++)
		cbd_clear(t, CBD_OBJECT_BACKEND, i, &o, sizeof(o));
	for (unsigned i = 0; i < FUZZ_HOSTS; i++)
		cbd_clear(t, CBD_OBJECT_HOST, i, &o, sizeof(o));
	cbd_transport_close(t);
}

static void request(struct cbd_blkdev *b)
{
	struct cbd_io io = { .op = CBD_OP_WRITE, .buf = buf, .length = sizeof(buf) };
	uint64_t until = virtual_now_ns() + 900 * VIRTUAL_S;
	struct cbd_completion c;

	if (cbd_queue_submit(cbd_blkdev_queue(b, 0), &io, 1) != 1)
		return;
	while (cbd_queue_poll(cbd_blkdev_queue(b, 0), &c, 0, 1, 0) == 0) {
		if (virtual_now_ns() > until)
			virtual_fail("HANG: a request after the attach");
		virtual_sleep(50 * VIRTUAL_MS);
		virtual_beat(b);
	}
}

static void attach(struct cbd_transport *t)
{
	const struct cbd_blkdev_options o = { .backend = "0" };
	struct cbd_blkdev *b;

	if (cbd_blkdev_open(t, &o, sizeof(o), &b) < 0)
		return;
	if (cbd_blkdev_start(b) == 0)
		request(b);
	cbd_blkdev_close(b);
}

static void start(const char *path)
{
	const struct cbd_disk_geometry g = { .size = DISK,
					     .disk_id = "a disk",
					     .verifier = 0x70000 };
	const struct cbd_backend_options o = { .max_blkdevs = 2, .replace = true };
	struct cbd_transport *bt, *ct;

	stopped = false;
	if (cbd_transport_open(path, 0, &bt) < 0)
		return;
	if (cbd_backend_open(bt, &o, sizeof(o), &backend) == 0) {
		if (cbd_backend_publish(backend, &g, sizeof(g)) == 0 &&
		    cbd_transport_open(path, 0, &ct) == 0) {
			attach(ct);
			cbd_transport_close(ct);
		}
		cbd_backend_close(backend);
		backend = NULL;
	}
	cbd_transport_close(bt);
}

static void format(const char *path, unsigned force)
{
	const struct cbd_format_options o = { .force = force,
					      .hosts = FUZZ_HOSTS,
					      .channels = FUZZ_CHANNELS,
					      .backends = FUZZ_BACKENDS,
					      .blkdevs = FUZZ_BLKDEVS,
					      .depth = FUZZ_SLOTS };

	cbd_format(path, &o, sizeof(o));
}

/* The first byte tells what is done, each record what was changed before. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *path = fuzz_transport();
	struct fuzz_record r;
	unsigned what;

	if (size < 1)
		return 0;
	what = *data++;
	size--;
	for (unsigned i = 0; i < RECORDS && size >= sizeof(r); i++) {
		memcpy(&r, data, sizeof(r));
		data += sizeof(r);
		size -= sizeof(r);
		if (r.what % 8 == 7)
			fuzz_change_header(&r);
		else
			fuzz_change(&r);
	}
	virtual_begin(48 * 3600 * VIRTUAL_S, serve);
	if (what & 1)
		list(path);
	if (what & 2)
		cbd_transport_check(path, what & 4 ? CBD_CHECK_REPAIR : 0, ignore, NULL);
	if (what & 8)
		clear(path, what & 16);
	if (what & 32)
		start(path);
	if (what & 64)
		format(path, what & 128 ? 2 : 0);
	virtual_end();
	return 0;
}
