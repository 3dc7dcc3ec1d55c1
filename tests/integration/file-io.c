/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * file-io.c - random operations on a file of fixed size, checked against a shadow
 * copy: read, write, both through mmap, fsync, punched holes, zeroed ranges, and the
 * file closed and opened again, so that pages come from below once more.
 *
 *	file-io [-s SEED] [-n OPERATIONS] [-o IMAGE] FILE
 *
 * At the end the whole file is compared, and with -o the shadow copy is written to
 * IMAGE for the comparison with what lies behind FILE. The seed makes a run again.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_LENGTH (64u << 10)
#define LOG_SIZE 32

enum op { READ, WRITE, MAP_READ, MAP_WRITE, SYNC, PUNCH, ZERO, REOPEN, OPS };

static const char *const op_names[OPS] = { "read",  "write", "mapped read", "mapped write",
					   "fsync", "punch", "zero",	    "open" };
/* Of 1000. */
static const unsigned shares[OPS] = { 330, 330, 150, 100, 10, 35, 35, 10 };

struct step {
	enum op op;
	size_t offset, length;
};

static struct {
	const char *path;
	int fd;
	unsigned char *shadow, *buf;
	size_t size;
	uint64_t state;
	unsigned long done[OPS];
	struct step log[LOG_SIZE]; /* the last ones */
	unsigned long steps;
} file;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *format, ...)
{
	unsigned long first = file.steps > LOG_SIZE ? file.steps - LOG_SIZE : 0;
	va_list args;

	for (unsigned long i = first; i < file.steps; i++) {
		const struct step *s = &file.log[i % LOG_SIZE];

		fprintf(stderr, "%8lu %-12s %zu + %zu\n", i, op_names[s->op], s->offset, s->length);
	}
	fprintf(stderr, "file-io: %s: ", file.path);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(EXIT_FAILURE);
}

/* splitmix64 */
static uint64_t next(void)
{
	uint64_t x = file.state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static void fill(unsigned char *to, size_t length)
{
	for (size_t i = 0; i < length; i += 8) {
		uint64_t word = next();

		memcpy(to + i, &word, length - i < 8 ? length - i : 8);
	}
}

static void compare(const unsigned char *data, size_t offset, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (data[i] != file.shadow[offset + i])
			die("byte %zu is 0x%02x, not 0x%02x", offset + i, data[i],
			    file.shadow[offset + i]);
}

static void open_file(void)
{
	file.fd = open(file.path, O_RDWR | O_CLOEXEC);
	if (file.fd < 0)
		die("open: %s", strerror(errno));
}

/* Whole, or the end of the program. */
static void read_all(unsigned char *to, size_t offset, size_t length)
{
	while (length > 0) {
		ssize_t n = pread(file.fd, to, length, (off_t)offset);

		if (n <= 0)
			die("read at %zu: %s", offset, n ? strerror(errno) : "end of file");
		to += n;
		offset += (size_t)n;
		length -= (size_t)n;
	}
}

static void write_all(const unsigned char *from, size_t offset, size_t length)
{
	while (length > 0) {
		ssize_t n = pwrite(file.fd, from, length, (off_t)offset);

		if (n <= 0)
			die("write at %zu: %s", offset, strerror(errno));
		from += n;
		offset += (size_t)n;
		length -= (size_t)n;
	}
}

/* Through a mapping of just these pages. */
static void mapped(bool write, size_t offset, size_t length)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), start = offset / page * page;
	size_t mapped_length = offset - start + length;
	unsigned char *m = mmap(NULL, mapped_length, write ? PROT_READ | PROT_WRITE : PROT_READ,
				MAP_SHARED, file.fd, (off_t)start);

	if (m == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	if (write)
		memcpy(m + (offset - start), file.shadow + offset, length);
	else
		compare(m + (offset - start), offset, length);
	if (write && next() % 2 && msync(m, mapped_length, MS_SYNC) < 0)
		die("msync: %s", strerror(errno));
	munmap(m, mapped_length);
}

static void zero(int mode, size_t offset, size_t length)
{
	if (fallocate(file.fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) < 0)
		die("fallocate at %zu: %s", offset, strerror(errno));
	memset(file.shadow + offset, 0, length);
}

static enum op choose(void)
{
	unsigned n = (unsigned)(next() % 1000), op = 0;

	while (op < OPS - 1 && n >= shares[op])
		n -= shares[op++];
	return (enum op)op;
}

static void run(const struct step *s)
{
	switch (s->op) {
	case READ:
		read_all(file.buf, s->offset, s->length);
		compare(file.buf, s->offset, s->length);
		break;
	case WRITE:
		fill(file.shadow + s->offset, s->length);
		write_all(file.shadow + s->offset, s->offset, s->length);
		break;
	case MAP_READ:
		mapped(false, s->offset, s->length);
		break;
	case MAP_WRITE:
		fill(file.shadow + s->offset, s->length);
		mapped(true, s->offset, s->length);
		break;
	case SYNC:
		if (fsync(file.fd) < 0)
			die("fsync: %s", strerror(errno));
		break;
	case PUNCH:
		zero(FALLOC_FL_PUNCH_HOLE, s->offset, s->length);
		break;
	case ZERO:
		zero(FALLOC_FL_ZERO_RANGE, s->offset, s->length);
		break;
	default:
		if (close(file.fd) < 0)
			die("close: %s", strerror(errno));
		open_file();
	}
}

/* Short ones more often than long ones, anywhere. */
static void one_step(void)
{
	struct step s = { .op = choose(), .offset = next() % file.size };

	s.length = 1 + (next() % MAX_LENGTH >> next() % 16);
	if (s.length > file.size - s.offset)
		s.length = file.size - s.offset;
	file.log[file.steps++ % LOG_SIZE] = s;
	run(&s);
	file.done[s.op]++;
}

static void write_image(const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f || fwrite(file.shadow, 1, file.size, f) != file.size || fclose(f) != 0)
		die("%s: %s", path, strerror(errno));
}

static void start(const char *path)
{
	struct stat st;

	file.path = path;
	open_file();
	if (fstat(file.fd, &st) < 0 || st.st_size == 0)
		die("has no size");
	file.size = (size_t)st.st_size;
	file.shadow = malloc(file.size);
	file.buf = malloc(MAX_LENGTH);
	if (!file.shadow || !file.buf)
		die("out of memory");
	read_all(file.shadow, 0, file.size);
}

static void compare_all(void)
{
	for (size_t at = 0, length; at < file.size; at += length) {
		length = file.size - at < MAX_LENGTH ? file.size - at : MAX_LENGTH;
		read_all(file.buf, at, length);
		compare(file.buf, at, length);
	}
}

int main(int argc, char **argv)
{
	unsigned long operations = 1000;
	const char *image = NULL;
	int option;

	while ((option = getopt(argc, argv, "s:n:o:")) != -1) {
		if (option == 's')
			file.state = strtoull(optarg, NULL, 10);
		else if (option == 'n')
			operations = strtoul(optarg, NULL, 10);
		else if (option == 'o')
			image = optarg;
		else
			return 2;
	}
	if (argc - optind != 1)
		return 2;
	printf("seed %" PRIu64 ", %lu operations\n", file.state, operations);
	start(argv[optind]);
	while (file.steps < operations)
		one_step();
	run(&(struct step){ .op = SYNC });
	run(&(struct step){ .op = REOPEN });
	compare_all();
	if (image)
		write_image(image);
	for (unsigned op = 0; op < OPS; op++)
		printf("%8lu %s\n", file.done[op], op_names[op]);
	close(file.fd);
	free(file.shadow);
	free(file.buf);
	return 0;
}
