/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * random-io.c - random requests over several NBD connections, checked against a
 * shadow copy of the disk.
 *
 * Each connection is a thread with several requests in flight. A request locks
 * its range of bytes, readers together and writers alone, so that the shadow
 * always tells what a read has to return; ranges begin and end anywhere, so that
 * neighbours in one block are in flight at the same time. With -a all of it happens
 * in a small area, in requests of up to a sixteenth of it: in few blocks. At the end the whole
 * disk is read and, with -o, written to a file for the comparison with the disk
 * behind the server.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

#define MAX_CONNECTIONS 64
#define MAX_IN_FLIGHT 64
#define MAX_DATA ((2u << 20) + 4097)
#define MAX_RANGE (6u << 20) /* of a request that carries no data */
#define HOT_AREA (256u << 10)
#define PROGRESS_STEP 64

enum op { READ, WRITE, FLUSH, TRIM, ZERO, STATUS, OPS };

static const char *const op_names[OPS] = { "read", "write", "flush", "trim", "zero", "status" };

struct random {
	uint64_t state;
};

struct range {
	uint64_t start, end;
	bool alone;
};

/* A request; idle when the range is empty and it is not a flush. */
struct request {
	struct connection *connection;
	bool busy;
	enum op op;
	uint32_t flags;
	struct range range;
	unsigned char *buf; /* MAX_DATA bytes, for reads */
};

struct connection {
	unsigned id;
	struct nbd_handle *nbd;
	struct random random;
	struct request requests[MAX_IN_FLIGHT];
	unsigned busy;
	pthread_t thread;
};

static struct {
	unsigned connections, in_flight;
	uint64_t operations; /* 0: until SIGTERM */
	uint64_t area;	     /* 0: the whole disk */
	uint64_t seed;
	const char *image;
	const char *uri;
	bool no_trim;
	bool partial;
} options = { .connections = 8, .in_flight = 8, .operations = 4000 };

static uint64_t size;
static bool fast_zero; /* some disks have none */
static unsigned char *shadow;
/* Trim is advice: bytes marked here are those of the shadow or zero. */
static bool *perhaps_zero;

/* Guards the ranges of all requests. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct connection connections[MAX_CONNECTIONS];

static atomic_uint_fast64_t started, finished;
static atomic_uint_fast64_t counts[OPS], refused;
static volatile sig_atomic_t stopping;

/* ----------------------------------------------------------------- failure */

static void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* All threads end at once: the server is told nothing more. */
static void die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "random-io: seed %" PRIu64 ": ", options.seed);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	fflush(NULL);
	_exit(EXIT_FAILURE);
}

static void die_of_nbd(const char *what)
{
	die("%s: %s", what, nbd_get_error());
}

/* ------------------------------------------------------------ random numbers */

/* splitmix64: any seed is a good one. */
static uint64_t next(struct random *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static uint64_t below(struct random *r, uint64_t limit)
{
	return next(r) % limit;
}

static bool one_in(struct random *r, unsigned n)
{
	return below(r, n) == 0;
}

static void fill(struct random *r, unsigned char *p, size_t n)
{
	uint64_t word;

	for (; n >= sizeof word; n -= sizeof word, p += sizeof word) {
		word = next(r);
		memcpy(p, &word, sizeof word);
	}
	word = next(r);
	memcpy(p, &word, n);
}

/* ------------------------------------------------------------------- ranges */

static bool conflict(const struct range *a, const struct range *b)
{
	return a->start < b->end && b->start < a->end && (a->alone || b->alone);
}

static bool is_free(const struct range *range)
{
	unsigned c, i;

	for (c = 0; c < options.connections; c++)
		for (i = 0; i < options.in_flight; i++)
			if (connections[c].requests[i].busy &&
			    conflict(range, &connections[c].requests[i].range))
				return false;
	return true;
}

static bool lock_range(struct request *r, const struct range *range)
{
	bool free;

	pthread_mutex_lock(&lock);
	free = is_free(range);
	if (free) {
		r->range = *range;
		r->busy = true;
	}
	pthread_mutex_unlock(&lock);
	return free;
}

static void unlock_range(struct request *r)
{
	pthread_mutex_lock(&lock);
	r->busy = false;
	pthread_mutex_unlock(&lock);
}

/* From one byte to LIMIT; all magnitudes are as likely, and so are round sizes,
 * and sizes beside them. */
static uint64_t random_length(struct random *r, uint64_t limit)
{
	uint64_t length = 1 + below(r, 1ull << below(r, 24));

	if (one_in(r, 3))
		length = 512ull << below(r, 13);
	if (one_in(r, 10))
		length += below(r, 3) - 1;
	if (one_in(r, 50))
		length = limit;
	return length == 0 || length > limit ? 1 + below(r, limit) : length;
}

static uint64_t random_offset(struct random *r, uint64_t length)
{
	uint64_t last = (options.area ? options.area : size) - length;
	uint64_t offset = below(r, last + 1);

	if (one_in(r, 20))
		return last;
	if (length < HOT_AREA && one_in(r, 2))
		offset = below(r, last < HOT_AREA ? last + 1 : HOT_AREA);
	if (one_in(r, 3))
		offset &= ~4095ull;
	return offset;
}

/* With many large ranges in flight there may be no room for another: a flush
 * needs none. */
static void choose_range(struct request *r)
{
	struct random *random = &r->connection->random;
	uint64_t limit = r->op == READ || r->op == WRITE ? MAX_DATA : MAX_RANGE;
	struct range range = { .alone = r->op != READ && r->op != STATUS };
	unsigned attempt;

	if (options.area)
		limit = options.area / 16;

	for (attempt = 0; attempt < 100; attempt++) {
		uint64_t length = random_length(random, limit < size ? limit : size);

		range.start = random_offset(random, length);
		range.end = range.start + length;
		if (lock_range(r, &range))
			return;
	}
	r->op = FLUSH;
	lock_range(r, &(struct range){ 0 });
}

/* -------------------------------------------------------------------- shadow */

static bool expected(uint64_t offset, unsigned char value)
{
	return value == shadow[offset] || (perhaps_zero[offset] && value == 0);
}

static void check(const unsigned char *buf, uint64_t start, uint64_t length, const char *what)
{
	uint64_t first = 0, last = 0, wrong = 0;
	uint64_t i;

	if (memcmp(buf, shadow + start, length) == 0)
		return;
	for (i = 0; i < length; i++) {
		if (expected(start + i, buf[i]))
			continue;
		if (wrong++ == 0)
			first = i;
		last = i;
	}
	if (wrong > 0)
		die("%s of %" PRIu64 " bytes at %" PRIu64 ": %" PRIu64
		    " bytes differ, from %" PRIu64 " to %" PRIu64
		    "; first is %#x and has to be %#x%s",
		    what, length, start, wrong, start + first, start + last, buf[first],
		    shadow[start + first], perhaps_zero[start + first] ? " or 0" : "");
}

/* Called by nbd_poll(), before completed(): what is said to be zeroes is. */
static int extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries, size_t n,
		   int *error)
{
	const struct request *r = opaque;
	size_t i;

	(void)context;
	(void)error;
	if (offset != r->range.start || n < 2)
		die("status at %" PRIu64 ": an answer about %" PRIu64, r->range.start, offset);
	for (i = 0; i + 1 < n; i += 2) {
		uint64_t end = offset + entries[i];

		/* NBD, "Block status": the last one may go on behind the request */
		if (entries[i] == 0 || end > size || (end > r->range.end && i + 3 < n))
			die("status: %u bytes at %" PRIu64 ", behind %" PRIu64, entries[i], offset,
			    r->range.end);
		for (; offset < end && offset < r->range.end; offset++)
			if ((entries[i + 1] & LIBNBD_STATE_ZERO) && !expected(offset, 0))
				die("status: the byte at %" PRIu64 " is said to be zero", offset);
	}
	return 0;
}

static void apply_zero(const struct range *range)
{
	memset(shadow + range->start, 0, range->end - range->start);
	memset(perhaps_zero + range->start, false, range->end - range->start);
}

static void apply_trim(const struct range *range)
{
	memset(perhaps_zero + range->start, true, range->end - range->start);
}

/* Before the request is sent: its data is sent from there, and until it is
 * answered nobody else looks at it. */
static void apply_write(struct random *random, const struct range *range)
{
	fill(random, shadow + range->start, range->end - range->start);
	memset(perhaps_zero + range->start, false, range->end - range->start);
}

/* ------------------------------------------------------------------ requests */

/* Only a fast zero may be refused, and then it has changed nothing. */
static void check_error(const struct request *r, int error)
{
	if (r->op == ZERO && (r->flags & LIBNBD_CMD_FLAG_FAST_ZERO) && error == ENOTSUP)
		return;
	die("%s of %" PRIu64 " bytes at %" PRIu64 ", flags %#x: %s", op_names[r->op],
	    r->range.end - r->range.start, r->range.start, r->flags, strerror(error));
}

static void apply(struct request *r)
{
	switch (r->op) {
	case READ:
		check(r->buf, r->range.start, r->range.end - r->range.start, "read");
		break;
	case TRIM:
		apply_trim(&r->range);
		break;
	case ZERO:
		apply_zero(&r->range);
		break;
	default:
		break;
	}
}

/* Called by nbd_poll(). 1: libnbd forgets the request. */
static int completed(void *opaque, int *error)
{
	struct request *r = opaque;
	uint64_t n;

	if (*error != 0) {
		check_error(r, *error);
		if (r->op == ZERO && options.partial)
			apply_trim(&r->range);
		atomic_fetch_add(&refused, 1);
	} else {
		apply(r);
		atomic_fetch_add(&counts[r->op], 1);
	}
	unlock_range(r);
	r->connection->busy--;
	n = atomic_fetch_add(&finished, 1) + 1;
	if (n % PROGRESS_STEP == 0)
		printf("%" PRIu64 " finished\n", n);
	return 1;
}

static enum op random_op(struct random *r)
{
	static const enum op weighted[] = {
		READ,  READ,  READ,  READ,  READ, READ, WRITE, WRITE, WRITE,
		WRITE, WRITE, WRITE, WRITE, ZERO, ZERO, TRIM,  FLUSH, STATUS,
	};

	enum op op = weighted[below(r, sizeof weighted / sizeof *weighted)];

	return op == TRIM && options.no_trim ? FLUSH : op;
}

static uint32_t random_flags(struct random *r, enum op op)
{
	uint32_t flags = 0;

	if (op != READ && op != FLUSH && op != STATUS && one_in(r, 6))
		flags |= LIBNBD_CMD_FLAG_FUA;
	if (op == ZERO && one_in(r, 2))
		flags |= LIBNBD_CMD_FLAG_NO_HOLE;
	if (op == ZERO && fast_zero && one_in(r, 3))
		flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
	return flags;
}

static int64_t send_request(struct request *r)
{
	struct nbd_handle *nbd = r->connection->nbd;
	nbd_completion_callback callback = { .callback = completed, .user_data = r };
	uint64_t start = r->range.start, length = r->range.end - r->range.start;

	switch (r->op) {
	case READ:
		return nbd_aio_pread(nbd, r->buf, length, start, callback, 0);
	case WRITE:
		return nbd_aio_pwrite(nbd, shadow + start, length, start, callback, r->flags);
	case TRIM:
		return nbd_aio_trim(nbd, length, start, callback, r->flags);
	case ZERO:
		return nbd_aio_zero(nbd, length, start, callback, r->flags);
	case STATUS:
		return nbd_aio_block_status(nbd, length, start,
					    (nbd_extent_callback){ .callback = extents,
								   .user_data = r },
					    callback, r->flags);
	default:
		return nbd_aio_flush(nbd, callback, 0);
	}
}

static void submit(struct connection *c, struct request *r)
{
	r->op = random_op(&c->random);
	choose_range(r);
	r->flags = random_flags(&c->random, r->op);
	if (r->op == WRITE)
		apply_write(&c->random, &r->range);
	if (send_request(r) == -1)
		die_of_nbd(op_names[r->op]);
	c->busy++;
}

/* Whether there is another one to do. */
static bool take_operation(void)
{
	if (options.operations == 0)
		return !stopping;
	return atomic_fetch_add(&started, 1) < options.operations;
}

static void *run(void *opaque)
{
	struct connection *c = opaque;
	bool more = true;
	unsigned i;

	while (more || c->busy > 0) {
		for (i = 0; more && i < options.in_flight; i++)
			if (!c->requests[i].busy) {
				more = take_operation();
				if (more)
					submit(c, &c->requests[i]);
			}
		if (c->busy > 0 && nbd_poll(c->nbd, -1) == -1)
			die_of_nbd("poll");
	}
	return NULL;
}

/* -------------------------------------------------------------- connections */

static void connect_to(struct connection *c, unsigned id)
{
	unsigned i;

	c->id = id;
	c->random.state = options.seed * MAX_CONNECTIONS + id;
	c->nbd = nbd_create();
	if (!c->nbd || nbd_add_meta_context(c->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
	    nbd_connect_uri(c->nbd, options.uri) == -1)
		die_of_nbd(options.uri);
	for (i = 0; i < options.in_flight; i++) {
		c->requests[i].connection = c;
		c->requests[i].buf = malloc(MAX_DATA);
		if (!c->requests[i].buf)
			die("malloc: %m");
	}
}

static void disconnect(struct connection *c)
{
	unsigned i;

	if (nbd_shutdown(c->nbd, 0) == -1)
		die_of_nbd("shutdown");
	nbd_close(c->nbd);
	for (i = 0; i < options.in_flight; i++)
		free(c->requests[i].buf);
}

/* What all requests of this test need. */
static void check_server(struct nbd_handle *nbd)
{
	int64_t s = nbd_get_size(nbd);

	if (s < MAX_DATA)
		die("the disk has %" PRId64 " bytes, this test needs %u", s, MAX_DATA);
	size = (uint64_t)s;
	if (nbd_can_multi_conn(nbd) != 1 || nbd_can_fua(nbd) != 1 || nbd_can_flush(nbd) != 1 ||
	    nbd_can_trim(nbd) != 1 || nbd_can_zero(nbd) != 1)
		die("the server lacks one of multi_conn, fua, flush, trim, zero");
	fast_zero = nbd_can_fast_zero(nbd) == 1;
}

static void read_all(struct nbd_handle *nbd, void (*see)(unsigned char *, uint64_t, uint64_t))
{
	unsigned char *buf = connections[0].requests[0].buf;
	uint64_t offset, length;

	for (offset = 0; offset < size; offset += length) {
		length = size - offset < 1u << 20 ? size - offset : 1u << 20;
		if (nbd_pread(nbd, buf, length, offset, 0) == -1)
			die_of_nbd("read of all");
		see(buf, offset, length);
	}
}

static void adopt(unsigned char *buf, uint64_t offset, uint64_t length)
{
	memcpy(shadow + offset, buf, length);
}

static void check_and_adopt(unsigned char *buf, uint64_t offset, uint64_t length)
{
	check(buf, offset, length, "last read");
	adopt(buf, offset, length);
}

static void write_image(void)
{
	FILE *f = fopen(options.image, "w");

	if (!f || fwrite(shadow, 1, size, f) != size || fclose(f) != 0)
		die("%s: %m", options.image);
}

static void show_counts(void)
{
	enum op op;

	for (op = 0; op < OPS; op++)
		printf("%s %" PRIu64 ", ", op_names[op], (uint64_t)counts[op]);
	printf("refused %" PRIu64 "; seed %" PRIu64 "\n", (uint64_t)refused, options.seed);
}

/* ------------------------------------------------------------------- program */

static void on_term(int signal)
{
	(void)signal;
	stopping = 1;
}

static void usage(void)
{
	fputs("usage: random-io [-c CONNECTIONS] [-d IN_FLIGHT] [-n OPERATIONS] [-s SEED]"
	      " [-a AREA] [-o IMAGE] [-P] [-T] URI\n"
	      "-n 0: until SIGTERM; -T: no trims\n"
	      "-P: a fast zero that was refused may have been done in part\n",
	      stderr);
	exit(2);
}

static uint64_t number(uint64_t min, uint64_t max)
{
	char *end;
	uint64_t n = strtoull(optarg, &end, 10);

	if (*optarg == '\0' || *end != '\0' || n < min || n > max)
		usage();
	return n;
}

static void parse(int argc, char **argv)
{
	int c;

	options.seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 20;
	while ((c = getopt(argc, argv, "a:c:d:n:s:o:PT")) != -1)
		switch (c) {
		case 'a':
			options.area = number(16, MAX_DATA);
			break;
		case 'c':
			options.connections = number(1, MAX_CONNECTIONS);
			break;
		case 'd':
			options.in_flight = number(1, MAX_IN_FLIGHT);
			break;
		case 'n':
			options.operations = number(0, UINT64_MAX);
			break;
		case 's':
			options.seed = number(0, UINT64_MAX);
			break;
		case 'o':
			options.image = optarg;
			break;
		case 'P':
			options.partial = true;
			break;
		case 'T':
			options.no_trim = true;
			break;
		default:
			usage();
		}
	if (optind + 1 != argc)
		usage();
	options.uri = argv[optind];
}

static void open_all(void)
{
	unsigned i;

	for (i = 0; i < options.connections; i++)
		connect_to(&connections[i], i);
	check_server(connections[0].nbd);
	shadow = malloc(size);
	perhaps_zero = calloc(size, sizeof *perhaps_zero);
	if (!shadow || !perhaps_zero)
		die("malloc: %m");
}

static void run_all(void)
{
	unsigned i;

	for (i = 0; i < options.connections; i++)
		if (pthread_create(&connections[i].thread, NULL, run, &connections[i]) != 0)
			die("pthread_create: %m");
	for (i = 0; i < options.connections; i++)
		pthread_join(connections[i].thread, NULL);
}

static void close_all(void)
{
	unsigned i;

	for (i = 0; i < options.connections; i++)
		disconnect(&connections[i]);
	free(shadow);
	free(perhaps_zero);
}

int main(int argc, char **argv)
{
	struct nbd_handle *nbd;

	parse(argc, argv);
	setlinebuf(stdout);
	signal(SIGTERM, on_term);
	/* the first word: from here on SIGTERM ends it in order */
	printf("seed %" PRIu64 "\n", options.seed);

	open_all();
	nbd = connections[0].nbd;
	read_all(nbd, adopt);
	run_all();
	if (nbd_flush(nbd, 0) == -1)
		die_of_nbd("last flush");
	read_all(nbd, check_and_adopt);
	show_counts();
	if (options.image)
		write_image();
	close_all();
	return EXIT_SUCCESS;
}
