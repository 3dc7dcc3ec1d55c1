/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbd-io.c - single NBD requests from the command line, each sent as it is given:
 * other clients split and round what they are asked for.
 *
 *	nbd-io URI REQUEST...
 *
 *	write:OFFSET:LENGTH:BYTE[:fua]
 *	zero:OFFSET:LENGTH[:fua|:no-hole|:fast]...
 *	trim:OFFSET:LENGTH[:fua]
 *	flush
 *	read:OFFSET:LENGTH:BYTE      every byte has to be this one
 *	fails:ERROR:REQUEST          e.g. fails:ENOSPC:write:0:512:1
 *	pause:FILE                   make FILE, and wait until it was removed
 *
 * Numbers may have the suffixes K, M and G. Requests are not checked before they
 * are sent, so that the server can be asked for nonsense.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

#define MAX_FIELDS 8
#define READ_SIZE (1u << 20)

static struct nbd_handle *nbd;
static const char *text; /* the request that is executed */

struct request {
	char *fields[MAX_FIELDS];
	unsigned count;
	uint64_t offset, length;
	uint32_t flags;
};

static void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "nbd-io: %s: ", text);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(EXIT_FAILURE);
}

static uint64_t number(const char *field)
{
	static const char suffixes[] = "KMG";
	char *end;
	uint64_t value = strtoull(field, &end, 0);
	const char *suffix = *end != '\0' ? strchr(suffixes, *end) : NULL;

	if (end == field || (*end != '\0' && (!suffix || end[1] != '\0')))
		die("'%s' is not a number", field);
	return suffix ? value << 10 * (suffix - suffixes + 1) : value;
}

static void split(struct request *r, char *copy)
{
	char *field;

	*r = (struct request){ .count = 0 };
	while ((field = strsep(&copy, ":"))) {
		if (r->count == MAX_FIELDS)
			die("too many fields");
		r->fields[r->count++] = field;
	}
}

static void parse_flags(struct request *r, unsigned first)
{
	static const struct {
		const char *name;
		uint32_t flag;
	} flags[] = {
		{ "fua", LIBNBD_CMD_FLAG_FUA },
		{ "no-hole", LIBNBD_CMD_FLAG_NO_HOLE },
		{ "fast", LIBNBD_CMD_FLAG_FAST_ZERO },
	};
	unsigned i, f;

	for (i = first; i < r->count; i++) {
		for (f = 0; f < 3 && strcmp(r->fields[i], flags[f].name) != 0; f++)
			;
		if (f == 3)
			die("'%s' is not a flag", r->fields[i]);
		r->flags |= flags[f].flag;
	}
}

static void parse_range(struct request *r, unsigned fields)
{
	if (r->count < fields)
		die("too few fields");
	r->offset = number(r->fields[1]);
	r->length = number(r->fields[2]);
	parse_flags(r, fields);
}

static void *allocate(size_t size)
{
	/* a request of 0 bytes needs a buffer too */
	void *buf = malloc(size > 0 ? size : 1);

	if (!buf)
		die("%zu bytes: %m", size);
	return buf;
}

static int do_write(const struct request *r)
{
	unsigned char *buf = allocate(r->length);
	int result;

	memset(buf, (int)number(r->fields[3]), r->length);
	result = nbd_pwrite(nbd, buf, r->length, r->offset, r->flags);
	free(buf);
	return result;
}

static void check(const unsigned char *buf, uint64_t length, uint64_t offset, unsigned byte)
{
	uint64_t i;

	for (i = 0; i < length; i++)
		if (buf[i] != byte)
			die("the byte at %" PRIu64 " is %#x", offset + i, buf[i]);
}

/* In pieces, unless it is one that has to be refused as a whole. */
static int do_read(const struct request *r, bool whole)
{
	uint64_t piece = whole ? r->length : READ_SIZE;
	unsigned char *buf = allocate(piece);
	uint64_t done = 0;
	int result;

	do {
		if (piece > r->length - done)
			piece = r->length - done;
		result = nbd_pread(nbd, buf, piece, r->offset + done, 0);
		if (result == 0)
			check(buf, piece, r->offset + done, (unsigned)number(r->fields[3]));
		done += piece;
	} while (result == 0 && done < r->length);
	free(buf);
	return result;
}

static int execute(struct request *r, bool whole)
{
	const char *verb = r->fields[0];

	if (strcmp(verb, "flush") == 0)
		return nbd_flush(nbd, 0);
	if (strcmp(verb, "write") == 0 || strcmp(verb, "read") == 0)
		parse_range(r, 4);
	else
		parse_range(r, 3);
	if (strcmp(verb, "write") == 0)
		return do_write(r);
	if (strcmp(verb, "read") == 0)
		return do_read(r, whole);
	if (strcmp(verb, "zero") == 0)
		return nbd_zero(nbd, r->length, r->offset, r->flags);
	if (strcmp(verb, "trim") == 0)
		return nbd_trim(nbd, r->length, r->offset, r->flags);
	die("unknown request");
}

/* fails:ERROR:REQUEST */
static void expect_error(struct request *r)
{
	const char *error = r->fields[1], *name;
	unsigned i;

	if (r->count < 3)
		die("too few fields");
	for (i = 2; i < r->count; i++)
		r->fields[i - 2] = r->fields[i];
	r->count -= 2;
	if (execute(r, true) == 0)
		die("has not failed");
	name = strerrorname_np(nbd_get_errno());
	if (!name || strcmp(name, error) != 0)
		die("failed with %s", nbd_get_error());
}

/* So that a test can do something between two requests of one connection. */
static void pause_until_removed(const char *file)
{
	const struct timespec ts = { .tv_nsec = 10000000 };
	FILE *f = fopen(file, "w");

	if (!f || fclose(f) != 0)
		die("%m");
	while (access(file, F_OK) == 0)
		nanosleep(&ts, NULL);
}

static void run(char *argument)
{
	char *copy = strdup(argument);
	struct request r;

	text = argument;
	if (!copy)
		die("%m");
	split(&r, copy);
	if (strcmp(r.fields[0], "fails") == 0)
		expect_error(&r);
	else if (strcmp(r.fields[0], "pause") == 0)
		pause_until_removed(argument + strlen("pause:"));
	else if (execute(&r, false) == -1)
		die("%s", nbd_get_error());
	free(copy);
}

int main(int argc, char **argv)
{
	int i;

	if (argc < 3) {
		fputs("usage: nbd-io URI REQUEST...\n", stderr);
		return 2;
	}
	text = argv[1];
	nbd = nbd_create();
	if (!nbd || nbd_set_strict_mode(nbd, 0) == -1 || nbd_connect_uri(nbd, argv[1]) == -1)
		die("%s", nbd_get_error());
	for (i = 2; i < argc; i++)
		run(argv[i]);
	text = argv[1];
	if (nbd_shutdown(nbd, 0) == -1)
		die("%s", nbd_get_error());
	nbd_close(nbd);
	return EXIT_SUCCESS;
}
