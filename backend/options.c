/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.c - parse the command line, or say what is wrong with it.
 *
 * Owns the tables of options, --help and --version.  Every option here is
 * described in cbd-backend.pod.
 */
#include <config.h>

#include <ctype.h>
#include <cbd-format.h>
#include <getopt.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/number.h"
#include "options.h"

#define EXIT_USAGE 2
#define NO_ID (~0u) /* until --id is seen */

enum {
	OPT_ID = 256,
	OPT_NAME,
	OPT_HOST_ID,
	OPT_HANDLERS,
	OPT_ENGINE,
	OPT_DIRECT,
	OPT_WRITE_THROUGH,
	OPT_MAX_BLKDEVS,
	OPT_ALLOW_HOST,
	OPT_POLL,
	OPT_TAKEOVER,
	OPT_REPLACE,
	OPT_FENCE,
	OPT_FENCE_ALIVE,
	OPT_FENCED,
};

static const char short_options[] = "t:ru:fP:vhV";

static const struct option long_options[] = {
	{ "transport", required_argument, NULL, 't' },
	{ "id", required_argument, NULL, OPT_ID },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "host-id", required_argument, NULL, OPT_HOST_ID },
	{ "handlers", required_argument, NULL, OPT_HANDLERS },
	{ "engine", required_argument, NULL, OPT_ENGINE },
	{ "direct", no_argument, NULL, OPT_DIRECT },
	{ "read-only", no_argument, NULL, 'r' },
	{ "write-through", no_argument, NULL, OPT_WRITE_THROUGH },
	{ "max-blkdevs", required_argument, NULL, OPT_MAX_BLKDEVS },
	{ "allow-host", required_argument, NULL, OPT_ALLOW_HOST },
	{ "poll", required_argument, NULL, OPT_POLL },
	{ "takeover", no_argument, NULL, OPT_TAKEOVER },
	{ "replace", no_argument, NULL, OPT_REPLACE },
	{ "fence", required_argument, NULL, OPT_FENCE },
	{ "fence-alive", no_argument, NULL, OPT_FENCE_ALIVE },
	{ "fenced", no_argument, NULL, OPT_FENCED },
	{ "user", required_argument, NULL, 'u' },
	{ "foreground", no_argument, NULL, 'f' },
	{ "pidfile", required_argument, NULL, 'P' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: cbd-backend -t TRANSPORT --id N [OPTION]... DISK\n"
	"Offer DISK, a file, a block or devdax device, or the NBD URI of a server's disk,\n"
	"to the hosts that share the memory TRANSPORT.\n"
	"\n"
	"  -t, --transport=T       devdax device or file, formatted by cbdctl (required)\n"
	"      --id=N              backend slot of the transport (required)\n"
	"      --name=NAME         a name for clients to find this backend by\n"
	"      --host-id=H         host slot of this machine (default: found by identity)\n"
	"      --handlers=N        threads that serve channels (default 1)\n"
	"      --engine=ENGINE     how to do I/O: auto, psync, uring, mmap or nbd\n"
	"                          (default auto)\n"
	"      --direct            go around the page cache (O_DIRECT)\n"
	"  -r, --read-only         refuse writes\n"
	"      --write-through     make every write durable before it is answered\n"
	"      --max-blkdevs=N     clients at the same time (default 1)\n"
	"      --allow-host=H,..   serve these hosts only (default: all)\n"
	"      --poll=P            how to wait: adaptive, busy or sleep (default adaptive)\n"
	"      --takeover          take the slot over from the process that serves it\n"
	"      --replace           another or a smaller disk than clients are attached to,\n"
	"                          or a read-only one, is what is meant\n"
	"      --fence=COMMAND     with --takeover: cut off the host that served it\n"
	"      --fence-alive       with --fence: also when that host serves it still\n"
	"      --fenced            with --takeover: that host is known to be cut off\n"
	"  -u, --user=USER         become USER when everything is open\n"
	"  -f, --foreground        do not become a daemon, log to stderr\n"
	"  -P, --pidfile=FILE      write the process id to FILE when ready\n"
	"  -v, --verbose           log more\n"
	"  -h, --help              show this help and exit\n"
	"  -V, --version           show the version and exit\n"
	"\n"
	"See cbd-backend(8).\n";

static void usage_error(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void usage_error(const char *format, ...)
{
	va_list args;

	fputs("cbd-backend: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'cbd-backend --help'.\n", stderr);
	exit(EXIT_USAGE);
}

static unsigned long parse_range(const char *option, const char *text, size_t length,
				 unsigned long min, unsigned long max)
{
	uint64_t value;

	if (!number_parse(text, length, &value) || value < min || value > max)
		usage_error("%s: '%.*s': must be a number from %lu to %lu", option, (int)length,
			    text, min, max);
	return (unsigned long)value;
}

static unsigned parse_unsigned(const char *option, const char *text, unsigned min, unsigned max)
{
	return parse_range(option, text, strlen(text), min, max);
}

static uint64_t parse_hosts(const char *text)
{
	uint64_t hosts = 0;

	for (;;) {
		size_t length = strcspn(text, ",");

		hosts |= 1ull << parse_range("--allow-host", text, length, 0, CBD_MAX_HOSTS - 1);
		if (text[length] == '\0')
			return hosts;
		text += length + 1;
	}
}

static const char *parse_name(const char *text)
{
	size_t length = strlen(text);

	if (length == 0 || length > CBD_TEXT_SIZE)
		usage_error("--name: '%s': must have 1 to %d bytes", text, CBD_TEXT_SIZE);
	/* backend=12 is an id where a backend is chosen. */
	if (strspn(text, "0123456789") == length)
		usage_error("--name: '%s': must not be a number", text);
	for (const char *c = text; *c != '\0'; c++)
		if (iscntrl((unsigned char)*c))
			usage_error("--name: must not have control characters");
	return text;
}

static const char *parse_engine(const char *text)
{
	if (strcmp(text, "auto") != 0 && strcmp(text, "psync") != 0 && strcmp(text, "uring") != 0 &&
	    strcmp(text, "mmap") != 0 && strcmp(text, "nbd") != 0)
		usage_error("--engine: '%s': must be auto, psync, uring, mmap or nbd", text);
	return text;
}

static enum cbd_poll parse_poll(const char *text)
{
	enum cbd_poll poll;

	if (cbd_poll_parse(text, &poll) < 0)
		usage_error("--poll: '%s': must be adaptive, busy or sleep", text);
	return poll;
}

static void show_version(struct options *o, const char *arg)
{
	(void)o;
	(void)arg;
	printf("cbd-backend %s (libcbd %s)\n", PACKAGE_VERSION, cbd_version());
	exit(EXIT_SUCCESS);
}

static void show_help(struct options *o, const char *arg)
{
	(void)o;
	(void)arg;
	fputs(help, stdout);
	exit(EXIT_SUCCESS);
}

/* ------------------------------------------------------- what each one sets */

enum kind {
	KIND_FLAG, /* a bool becomes true */
	KIND_TEXT,
	KIND_NUMBER, /* an unsigned or int, from min to max */
	KIND_OTHER,  /* by a function */
};

struct rule {
	int c; /* as getopt_long() returns it */
	enum kind kind;
	size_t place; /* in struct options */
	const char *option;
	unsigned min, max;
	void (*set)(struct options *o, const char *arg);
};

static void set_name(struct options *o, const char *arg)
{
	o->name = parse_name(arg);
}

static void set_engine(struct options *o, const char *arg)
{
	o->engine = parse_engine(arg);
}

static void set_allowed_hosts(struct options *o, const char *arg)
{
	o->allow_hosts = parse_hosts(arg);
}

static void set_poll(struct options *o, const char *arg)
{
	o->poll = parse_poll(arg);
}

#define FLAG(c, member)                                                          \
	{                                                                        \
		c, KIND_FLAG, offsetof(struct options, member), NULL, 0, 0, NULL \
	}
#define TEXT(c, member)                                                          \
	{                                                                        \
		c, KIND_TEXT, offsetof(struct options, member), NULL, 0, 0, NULL \
	}
#define NUMBER(c, member, option, min, max)                                              \
	{                                                                                \
		c, KIND_NUMBER, offsetof(struct options, member), option, min, max, NULL \
	}
#define OTHER(c, function)                             \
	{                                              \
		c, KIND_OTHER, 0, NULL, 0, 0, function \
	}

static const struct rule rules[] = {
	TEXT('t', transport),
	NUMBER(OPT_ID, id, "--id", 0, CBD_MAX_BACKENDS - 1),
	OTHER(OPT_NAME, set_name),
	NUMBER(OPT_HOST_ID, host_id, "--host-id", 0, CBD_MAX_HOSTS - 1),
	NUMBER(OPT_HANDLERS, handlers, "--handlers", 1, CBD_MAX_CHANNELS),
	OTHER(OPT_ENGINE, set_engine),
	FLAG(OPT_DIRECT, direct),
	FLAG('r', read_only),
	FLAG(OPT_WRITE_THROUGH, write_through),
	NUMBER(OPT_MAX_BLKDEVS, max_blkdevs, "--max-blkdevs", 1, CBD_MAX_BLKDEVS),
	OTHER(OPT_ALLOW_HOST, set_allowed_hosts),
	OTHER(OPT_POLL, set_poll),
	FLAG(OPT_TAKEOVER, takeover),
	FLAG(OPT_REPLACE, replace),
	TEXT(OPT_FENCE, fence),
	FLAG(OPT_FENCE_ALIVE, fence_alive),
	FLAG(OPT_FENCED, fenced),
	TEXT('u', user),
	FLAG('f', foreground),
	TEXT('P', pidfile),
	FLAG('v', verbose),
	OTHER('h', show_help),
	OTHER('V', show_version),
};

_Static_assert(sizeof(int) == sizeof(unsigned), "host_id is set as the other numbers");

static const struct rule *find_rule(int c)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (rules[i].c == c)
			return &rules[i];
	/* getopt_long() has said what it is about */
	fputs("Try 'cbd-backend --help'.\n", stderr);
	exit(EXIT_USAGE);
}

static void set_option(struct options *o, const struct rule *rule, const char *arg)
{
	void *place = (char *)o + rule->place;

	switch (rule->kind) {
	case KIND_FLAG:
		*(bool *)place = true;
		break;
	case KIND_TEXT:
		*(const char **)place = arg;
		break;
	case KIND_NUMBER:
		*(unsigned *)place = parse_unsigned(rule->option, arg, rule->min, rule->max);
		break;
	case KIND_OTHER:
		rule->set(o, arg);
		break;
	}
}

static void check_present(const struct options *o)
{
	if (o->transport == NULL || o->transport[0] == '\0')
		usage_error("--transport: is required");
	if (o->id == NO_ID)
		usage_error("--id: is required");
	if ((o->fence != NULL || o->fenced) && !o->takeover)
		usage_error("--%s: needs --takeover", o->fenced ? "fenced" : "fence");
	if (o->fence != NULL && o->fenced)
		usage_error("--fence, --fenced: are one or the other");
	if (o->fence != NULL && o->fence[0] == '\0')
		usage_error("--fence: must not be empty");
	if (o->fence_alive && o->fence == NULL)
		usage_error("--fence-alive: needs --fence");
	if (o->pidfile != NULL && o->pidfile[0] == '\0')
		usage_error("--pidfile: must not be empty");
}

void options_parse(struct options *o, int argc, char **argv)
{
	static char program[] = "cbd-backend";
	int c;

	*o = (struct options){
		.id = NO_ID,
		.host_id = -1,
		.handlers = 1,
		.engine = "auto",
		.max_blkdevs = 1,
		.poll = CBD_POLL_ADAPTIVE,
	};
	argv[0] = program; /* for the messages of getopt_long() */
	while ((c = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
		set_option(o, find_rule(c), optarg);

	check_present(o);
	if (optind == argc || argv[optind][0] == '\0')
		usage_error("DISK: is required");
	if (optind + 1 < argc)
		usage_error("'%s': one DISK only", argv[optind + 1]);
	o->disk = argv[optind];
}
