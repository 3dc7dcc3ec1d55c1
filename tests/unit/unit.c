/* SPDX-License-Identifier: BSD-3-Clause */
/* unit.c - see unit.h. */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/fault.h"
#include "unit.h"

/* ------------------------------------------------------------------ files */

static char directory[64];

static bool make_directory(const char *where)
{
	if (!where || access(where, W_OK) != 0)
		return false;
	snprintf(directory, sizeof(directory), "%s/cbd-unit-XXXXXX", where);
	return mkdtemp(directory) != NULL;
}

static void remove_directory(void)
{
	DIR *d = opendir(directory);
	struct dirent *entry;

	while (d && (entry = readdir(d)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(d), entry->d_name, 0);
	if (d)
		closedir(d);
	rmdir(directory);
}

int unit_main(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	/* a caller who may end the test before its end names a place that it removes */
	if (!make_directory(getenv("CBD_TEST_FOLDER")) && !make_directory("/dev/shm") &&
	    !make_directory(getenv("TMPDIR")) && !make_directory("/tmp")) {
		perror("no place for temporary files");
		return EXIT_FAILURE;
	}
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	remove_directory();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

void unit_path(char path[UNIT_PATH])
{
	int fd;

	snprintf(path, UNIT_PATH, "%s/XXXXXX", directory);
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	unlink(path);
}

bool unit_may_wait(uint64_t since_ns)
{
	uint64_t waited = cbd_now_ns() - since_ns, most = UNIT_WAIT_S * 1000000000ull;

	return waited < most || waited < most * test_factor();
}

unsigned unit_share(unsigned n)
{
	const char *percent = getenv("CBD_TEST_PERCENT");

	return percent ? n * (unsigned)atoi(percent) / 100 : n;
}

/* splitmix64 */
uint64_t unit_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

void unit_fill(void *buf, size_t size, uint64_t seed)
{
	unsigned char *p = buf;
	uint64_t state = seed, word = 0;

	for (size_t i = 0; i < size; i++) {
		if (i % 8 == 0)
			word = unit_random(&state);
		p[i] = (unsigned char)(word >> 8 * (i % 8));
	}
}

/* ------------------------------------------------------------------- disk */

/* The buffer may lie in shared memory, which may be gone. */
static int transfer(void *to, const void *from, size_t length)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	memcpy(to, from, length);
	cbd_fault_end(&f);
	return 0;
}

/*
 * For ThreadSanitizer, which asks for it by this name.  A block of counters is copied while its
 * owner may be storing it; a copy whose CRCs and digest do not fit is thrown away (rule
 * 1.6 of docs/protocol.md).  The function that copies is named, so that all else that is done
 * to the block is looked at: two owners who store it, say.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:^load_block_as_it_is$\n";
}

/* A page without a byte is a hole. */
static int tell_blocks(const struct unit_disk *d, const struct cbd_request *r)
{
	const uint64_t end = r->offset + r->length;

	for (uint64_t at = r->offset, next; at < end; at = next) {
		const uint64_t page = at / CBD_PAGE_SIZE * CBD_PAGE_SIZE;
		bool hole;

		next = page + CBD_PAGE_SIZE < end ? page + CBD_PAGE_SIZE : end;
		hole = cbd_is_zero(d->data + page, CBD_PAGE_SIZE);
		if (cbd_request_add_blocks((struct cbd_request *)(uintptr_t)r, next - at,
					   hole ? CBD_BLOCK_HOLE | CBD_BLOCK_ZERO : 0) == 0)
			break;
	}
	return 0;
}

static int execute(struct unit_disk *d, const struct cbd_request *r)
{
	d->ops[r->op]++;
	d->flags[r->op] = r->flags;
	if (d->fail[r->op] < 0)
		return d->fail[r->op];
	if (r->op == CBD_OP_READ)
		return transfer(r->buf, d->data + r->offset, r->length);
	if (r->op == CBD_OP_WRITE)
		return transfer(d->data + r->offset, r->buf, r->length);
	if (r->op == CBD_OP_DISCARD || r->op == CBD_OP_WRITE_ZEROES)
		memset(d->data + r->offset, 0, r->length);
	return r->op == CBD_OP_BLOCK_STATUS ? tell_blocks(d, r) : 0;
}

int unit_disk_run(struct unit_disk *d, const struct cbd_request *r)
{
	int result;

	ck_assert_uint_le(r->offset, d->size);
	ck_assert_uint_le(r->length, d->size - r->offset);
	pthread_mutex_lock(&d->lock);
	result = execute(d, r);
	pthread_mutex_unlock(&d->lock);
	return result;
}

const unsigned char *unit_disk_data(struct unit_disk *d)
{
	pthread_mutex_lock(&d->lock);
	pthread_mutex_unlock(&d->lock);
	return d->data;
}

unsigned unit_disk_ops(struct unit_disk *d, enum cbd_op op)
{
	unsigned n;

	pthread_mutex_lock(&d->lock);
	n = d->ops[op];
	pthread_mutex_unlock(&d->lock);
	return n;
}

unsigned unit_disk_flags(struct unit_disk *d, enum cbd_op op)
{
	unsigned flags;

	pthread_mutex_lock(&d->lock);
	flags = d->flags[op];
	pthread_mutex_unlock(&d->lock);
	return flags;
}

void unit_disk_fail(struct unit_disk *d, enum cbd_op op, int error)
{
	pthread_mutex_lock(&d->lock);
	d->fail[op] = -error;
	pthread_mutex_unlock(&d->lock);
}

/* ----------------------------------------------------------------- server */

static bool serve_handler(struct pair *p, struct cbd_handler *h)
{
	struct cbd_request *r[16];
	unsigned n = cbd_handler_fetch(h, r, 16);

	for (unsigned i = 0; i < n; i++)
		cbd_handler_complete(h, r[i], unit_disk_run(&p->disk, r[i]));
	if (n)
		cbd_handler_hit(h);
	return n > 0;
}

static void *serve(void *arg)
{
	struct pair *p = arg;
	uint64_t next = 0;

	while (!cbd_flag_get(&p->stop)) {
		bool found = false;

		if (cbd_now_ns() >= next) {
			int ms = cbd_backend_tick(p->backend);

			if (ms < 0) {
				p->server_error = ms;
				cbd_flag_set(&p->server_ended, true);
				break;
			}
			next = cbd_now_ns() + (unsigned)ms * 1000000ull;
		}
		for (unsigned i = 0; i < p->o.handlers; i++)
			found |= serve_handler(p, cbd_backend_handler(p->backend, i));
		if (!found)
			cbd_handler_wait(cbd_backend_handler(p->backend, 0), 500);
	}
	return NULL;
}

void server_start(struct pair *p)
{
	if (p->serving)
		return;
	p->stop = false;
	p->server_error = 0;
	ck_assert_int_eq(pthread_create(&p->server, NULL, serve, p), 0);
	p->serving = true;
}

void server_stop(struct pair *p)
{
	if (!p->serving)
		return;
	cbd_flag_set(&p->stop, true);
	pthread_join(p->server, NULL);
	p->serving = false;
}

/* ------------------------------------------------------------------- pair */

static void set_default(unsigned *value, unsigned otherwise)
{
	if (!*value)
		*value = otherwise;
}

static void set_defaults(struct pair_options *o)
{
	if (!o->kind)
		o->kind = CBD_COHERENCE_HARDWARE;
	set_default(&o->ring_slots, 16);
	set_default(&o->channels, 4);
	set_default(&o->handlers, 1);
	set_default(&o->queues, 1);
	set_default(&o->heartbeat_ms, 50);
	set_default(&o->dead_after, 10);
	if (!o->disk_size)
		o->disk_size = 1u << 20;
}

void pair_format(struct pair *p, const struct pair_options *o)
{
	struct cbd_format_options f;

	memset(p, 0, sizeof(*p));
	p->o = *o;
	set_defaults(&p->o);
	f = (struct cbd_format_options){
		.size = (uint64_t)(p->o.channels + 1) << 20,
		.hosts = 4,
		.backends = 1,
		.blkdevs = 4,
		.channels = p->o.channels,
		.channel_size = 1u << 20,
		.depth = p->o.ring_slots,
		.heartbeat_ms = p->o.heartbeat_ms,
		.dead_after = p->o.dead_after,
		.coherence = p->o.kind,
		.data_crc = p->o.data_crc,
	};
	unit_path(p->path);
	unit_ok(cbd_format(p->path, &f, sizeof(f)));
	unit_ok(cbd_transport_open(p->path, 0, &p->bt));
	unit_ok(cbd_transport_open(p->path, 0, &p->ct));
	p->disk.size = p->o.disk_size;
	p->disk.data = malloc(p->disk.size);
	ck_assert_ptr_nonnull(p->disk.data);
	unit_fill(p->disk.data, p->disk.size, 1);
	pthread_mutex_init(&p->disk.lock, NULL);
	p->geometry = (struct cbd_disk_geometry){
		.size = p->disk.size,
		.logical_block = 512,
		.physical_block = 4096,
		.optimal_block = 4096,
		.discard = true,
		.fast_zero = true,
		.block_status = true,
		.read_only = p->o.disk_read_only,
		.disk_id = "a disk",
		.verifier = 0x70000,
	};
}

static void backend_open(struct pair *p)
{
	struct cbd_backend_options o = {
		.name = "disk",
		.handlers = p->o.handlers,
		.max_blkdevs = p->o.max_blkdevs,
		.allow_hosts = p->o.allow_hosts,
	};

	unit_ok(cbd_backend_open(p->bt, &o, sizeof(o), &p->backend));
	unit_ok(cbd_backend_publish(p->backend, &p->geometry, sizeof(p->geometry)));
}

void pair_publish(struct pair *p)
{
	backend_open(p);
	server_start(p);
}

struct cbd_blkdev_options pair_blkdev_options(const struct pair *p)
{
	return (struct cbd_blkdev_options){
		.backend = "disk",
		.queues = p->o.queues,
		.depth = p->o.depth,
		.read_only = p->o.read_only,
		.timeout_s = p->o.timeout_s,
		.max_requests = p->o.max_requests,
		.attach_timeout_ms = 10000 * test_factor(),
	};
}

void pair_attach(struct pair *p)
{
	struct cbd_blkdev_options o = pair_blkdev_options(p);

	unit_ok(cbd_blkdev_open(p->ct, &o, sizeof(o), &p->blkdev));
	p->q = cbd_blkdev_queue(p->blkdev, 0);
	if (p->o.stepping)
		server_stop(p);
	else
		unit_ok(cbd_blkdev_start(p->blkdev));
}

void pair_open(struct pair *p, const struct pair_options *o)
{
	pair_format(p, o);
	pair_publish(p);
	pair_attach(p);
}

void pair_crash(struct pair *p)
{
	server_stop(p);
	cbd_backend_close(p->backend);
	p->backend = NULL;
	backend_open(p);
}

void pair_close(struct pair *p)
{
	if (p->blkdev) {
		if (p->backend)
			server_start(p);
		cbd_blkdev_close(p->blkdev);
	}
	server_stop(p);
	cbd_backend_close(p->backend);
	cbd_transport_close(p->ct);
	cbd_transport_close(p->bt);
	pthread_mutex_destroy(&p->disk.lock);
	free(p->disk.data);
	unlink(p->path);
}

uint64_t pair_epoch(struct pair *p)
{
	uint64_t epoch;

	pthread_mutex_lock(&p->q->lock);
	epoch = cbd_queue_has_epoch(p->q) ? p->q->ch.epoch : 0;
	pthread_mutex_unlock(&p->q->lock);
	return epoch;
}

uint64_t pair_beats(struct pair *p)
{
	uint64_t beats;

	pthread_mutex_lock(&p->blkdev->lines);
	beats = p->blkdev->beat.counter;
	pthread_mutex_unlock(&p->blkdev->lines);
	return beats;
}

enum cbd_queue_state queue_state(struct cbd_queue *q)
{
	enum cbd_queue_state state;

	pthread_mutex_lock(&q->lock);
	state = q->state;
	pthread_mutex_unlock(&q->lock);
	return state;
}

uint64_t queue_epoch(struct cbd_queue *q)
{
	uint64_t epoch;

	pthread_mutex_lock(&q->lock);
	epoch = q->ch.epoch;
	pthread_mutex_unlock(&q->lock);
	return epoch;
}

unsigned queue_leaves(struct cbd_queue *q)
{
	unsigned n;

	pthread_mutex_lock(&q->lock);
	n = (unsigned)q->counted.now.epochs.left;
	pthread_mutex_unlock(&q->lock);
	return n;
}

void *queue_grant(struct cbd_queue *q)
{
	return cbd_channel_backend_line(&q->ch, CBD_CHANNEL_GRANT);
}

/* --------------------------------------------------------------- stepping */

unsigned pair_fetch(struct pair *p, struct cbd_request **r, unsigned max)
{
	ck_assert(!p->serving);
	unit_ok(cbd_backend_tick(p->backend));
	return cbd_handler_fetch(cbd_backend_handler(p->backend, 0), r, max);
}

void pair_fetch_all(struct pair *p, struct cbd_request **r, unsigned n)
{
	unsigned have = 0;

	unit_wait((have += pair_fetch(p, r + have, n - have)) == n);
}

void pair_complete(struct pair *p, struct cbd_request *r)
{
	cbd_handler_complete(cbd_backend_handler(p->backend, 0), r, unit_disk_run(&p->disk, r));
}

void pair_submit(struct pair *p, enum cbd_op op, void *buf, uint64_t offset, uint64_t length,
		 uintptr_t cookie)
{
	struct cbd_io io = {
		.op = op, .buf = buf, .offset = offset, .length = length, .cookie = (void *)cookie
	};

	ck_assert_int_eq(cbd_queue_submit(p->q, &io, 1), 1);
}

struct cbd_completion pair_reap(struct pair *p)
{
	struct cbd_completion c = { .result = 1 };

	ck_assert_int_eq(cbd_queue_poll(p->q, &c, 1, 1, UNIT_WAIT_S * 1000 * (int)test_factor()),
			 1);
	return c;
}

void pair_reap_none(struct pair *p)
{
	struct cbd_completion c;

	ck_assert_int_eq(cbd_queue_poll(p->q, &c, 0, 1, 0), 0);
}

/* ------------------------------------------------------------------- ways */

/* Kind of memory, payload CRC: what every data path is run with. */
static const struct {
	enum cbd_coherence kind;
	bool crc;
} ways[] = {
	{ CBD_COHERENCE_HARDWARE, false },
	{ CBD_COHERENCE_HARDWARE, true },
	{ CBD_COHERENCE_SOFTWARE, true },
};

struct pair_options way(int i)
{
	return (struct pair_options){ .kind = ways[i].kind, .data_crc = ways[i].crc };
}

struct pair_options stepping(int i)
{
	struct pair_options o = way(i);

	o.stepping = true;
	return o;
}

unsigned char *new_buffer(size_t size, uint64_t seed)
{
	unsigned char *buf = malloc(size);

	ck_assert_ptr_nonnull(buf);
	unit_fill(buf, size, seed);
	return buf;
}

/* ------------------------------------------------------------------ worker */

/* What is said to be zeroes is. */
static int check_blocks(struct worker *w, uint64_t offset, uint64_t length)
{
	struct cbd_block_status blocks[16];
	int n = cbd_queue_block_status(w->q, length, w->start + offset, blocks, 16);

	for (int i = 0; i < n; offset += blocks[i].length, length -= blocks[i++].length)
		if (blocks[i].length == 0 || blocks[i].length > length ||
		    ((blocks[i].flags & CBD_BLOCK_ZERO) &&
		     !cbd_is_zero(w->shadow + offset, blocks[i].length)))
			return -EILSEQ;
	return n < 0 ? n : n == 0 && length > 0 ? -EILSEQ : 0;
}

static int one_io(struct worker *w, uint64_t *state)
{
	uint64_t offset = unit_random(state) % w->size;
	uint64_t length = unit_random(state) >> (unit_random(state) % 64);
	unsigned what = (unsigned)(unit_random(state) % 10);

	length %= w->size - offset + 1;
	if (what < 4) {
		unit_fill(w->buf, length, unit_random(state));
		memcpy(w->shadow + offset, w->buf, length);
		return cbd_queue_write(w->q, w->buf, length, w->start + offset,
				       what ? 0 : CBD_IO_FUA);
	}
	if (what == 4) {
		memset(w->shadow + offset, 0, length);
		return cbd_queue_write_zeroes(w->q, length, w->start + offset, 0);
	}
	if (what == 5) {
		memset(w->shadow + offset, 0, length);
		return cbd_queue_discard(w->q, length, w->start + offset, 0);
	}
	if (what == 6)
		return cbd_queue_flush(w->q);
	if (what == 7)
		return check_blocks(w, offset, length);
	if (cbd_queue_read(w->q, w->buf, length, w->start + offset) < 0)
		return -EIO;
	return memcmp(w->buf, w->shadow + offset, length) == 0 ? 0 : -EILSEQ;
}

void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t state = w->seed;

	w->shadow = malloc(w->size);
	w->buf = malloc(w->size);
	w->error = cbd_queue_read(w->q, w->shadow, w->size, w->start);
	for (unsigned i = 0; i < w->count && w->error == 0; i++)
		w->error = one_io(w, &state);
	if (w->error == 0)
		w->error = cbd_queue_read(w->q, w->buf, w->size, w->start);
	if (w->error == 0 && memcmp(w->buf, w->shadow, w->size) != 0)
		w->error = -EILSEQ;
	free(w->shadow);
	free(w->buf);
	return NULL;
}

/* --------------------------------------------------------------- machines */

static int lock_files[256]; /* by machine; each test is a process */

void unit_container(struct cbd_transport *t, unsigned char who)
{
	memset(t->identity.uuid, who, 16);
}

void unit_identity(struct cbd_transport *t, unsigned char who)
{
	memset(t->identity.uuid, who, 16);
	memset(t->identity.boot_id, who + 1, 16);
	snprintf(t->identity.name, sizeof(t->identity.name), "machine %u", who);
}

void unit_machine(struct cbd_transport *t, unsigned char who)
{
	char file[40];

	if (lock_files[who] == 0)
		lock_files[who] = memfd_create("locks", MFD_CLOEXEC);
	ck_assert_int_gt(lock_files[who], 0);
	snprintf(file, sizeof(file), "/proc/self/fd/%d", lock_files[who]);
	cbd_lock_release(&t->in_use);
	close(t->fd);
	t->fd = open(file, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(t->fd, 0);
	t->ino += who + 1;
	unit_identity(t, who);
}

void unit_reboot(struct cbd_transport *t)
{
	t->identity.boot_id[0] ^= 0xff;
}

void unit_clone(struct cbd_transport *t, const struct cbd_transport *of)
{
	memcpy(t->identity.uuid, of->identity.uuid, 16);
}
