/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.c - parse the command line, or say what is wrong with it.
 *
 * Owns the table of options, --help and --version.  Every option here is
 * described in cbd-backend.pod.
 */
#include <config.h>

#include <ctype.h>
#include <cbd-format.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/number.h"
#include "options.h"

#define EXIT_USAGE 2

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
	"Offer DISK, a regular file or a block device, to the hosts that share the\n"
	"memory TRANSPORT.\n"
	"\n"
	"  -t, --transport=T       devdax device or file, formatted by cbdctl (required)\n"
	"      --id=N              backend slot of the transport (required)\n"
	"      --name=NAME         a name for clients to find this backend by\n"
	"      --host-id=H         host slot of this machine (default: found by identity)\n"
	"      --handlers=N        threads that serve channels (default 1)\n"
	"      --engine=ENGINE     how to do I/O: auto, psync, uring or mmap\n"
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
	    strcmp(text, "mmap") != 0)
		usage_error("--engine: '%s': must be auto, psync, uring or mmap", text);
	return text;
}

static enum cbd_poll parse_poll(const char *text)
{
	enum cbd_poll poll;

	if (cbd_poll_parse(text, &poll) < 0)
		usage_error("--poll: '%s': must be adaptive, busy or sleep", text);
	return poll;
}

static void show_version(void)
{
	printf("cbd-backend %s (libcbd %s)\n", PACKAGE_VERSION, cbd_version());
	exit(EXIT_SUCCESS);
}

static void show_help(void)
{
	fputs(help, stdout);
	exit(EXIT_SUCCESS);
}

static void parse_option(struct options *o, int c, const char *arg, bool *have_id)
{
	switch (c) {
	case 't':
		o->transport = arg;
		break;
	case OPT_ID:
		o->id = parse_unsigned("--id", arg, 0, CBD_MAX_BACKENDS - 1);
		*have_id = true;
		break;
	case OPT_NAME:
		o->name = parse_name(arg);
		break;
	case OPT_HOST_ID:
		o->host_id = parse_unsigned("--host-id", arg, 0, CBD_MAX_HOSTS - 1);
		break;
	case OPT_HANDLERS:
		o->handlers = parse_unsigned("--handlers", arg, 1, CBD_MAX_CHANNELS);
		break;
	case OPT_ENGINE:
		o->engine = parse_engine(arg);
		break;
	case OPT_DIRECT:
		o->direct = true;
		break;
	case 'r':
		o->read_only = true;
		break;
	case OPT_WRITE_THROUGH:
		o->write_through = true;
		break;
	case OPT_MAX_BLKDEVS:
		o->max_blkdevs = parse_unsigned("--max-blkdevs", arg, 1, CBD_MAX_BLKDEVS);
		break;
	case OPT_ALLOW_HOST:
		o->allow_hosts = parse_hosts(arg);
		break;
	case OPT_POLL:
		o->poll = parse_poll(arg);
		break;
	case OPT_TAKEOVER:
		o->takeover = true;
		break;
	case OPT_REPLACE:
		o->replace = true;
		break;
	case OPT_FENCE:
		o->fence = arg;
		break;
	case OPT_FENCED:
		o->fenced = true;
		break;
	case 'u':
		o->user = arg;
		break;
	case 'f':
		o->foreground = true;
		break;
	case 'P':
		o->pidfile = arg;
		break;
	case 'v':
		o->verbose = true;
		break;
	case 'h':
		show_help();
		break;
	case 'V':
		show_version();
		break;
	default: /* getopt_long() has said what it is about */
		fputs("Try 'cbd-backend --help'.\n", stderr);
		exit(EXIT_USAGE);
	}
}

static void check_present(const struct options *o, bool have_id)
{
	if (o->transport == NULL || o->transport[0] == '\0')
		usage_error("--transport: is required");
	if (!have_id)
		usage_error("--id: is required");
	if ((o->fence != NULL || o->fenced) && !o->takeover)
		usage_error("--%s: needs --takeover", o->fenced ? "fenced" : "fence");
	if (o->fence != NULL && o->fenced)
		usage_error("--fence, --fenced: are one or the other");
	if (o->fence != NULL && o->fence[0] == '\0')
		usage_error("--fence: must not be empty");
	if (o->pidfile != NULL && o->pidfile[0] == '\0')
		usage_error("--pidfile: must not be empty");
}

void options_parse(struct options *o, int argc, char **argv)
{
	static char program[] = "cbd-backend";
	bool have_id = false;
	int c;

	*o = (struct options){
		.host_id = -1,
		.handlers = 1,
		.engine = "auto",
		.max_blkdevs = 1,
		.poll = CBD_POLL_ADAPTIVE,
	};
	argv[0] = program; /* for the messages of getopt_long() */
	while ((c = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
		parse_option(o, c, optarg, &have_id);

	check_present(o, have_id);
	if (optind == argc || argv[optind][0] == '\0')
		usage_error("DISK: is required");
	if (optind + 1 < argc)
		usage_error("'%s': one DISK only", argv[optind + 1]);
	o->disk = argv[optind];
}
