/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * format.c - cbdctl format: write an empty transport and show it.
 *
 * Owns the option table and the words of its progress; what a geometry may be and
 * whether the old content may go is decided by libcbd.
 */
#include <config.h>

#include <cbd-format.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../common/progress.h"
#include "ctl.h"

/* An x86-64 process can map 128 TiB in all: no process could open a larger transport. */
#define MAX_SIZE (64ull << 40)

enum {
	OPT_SIZE = 256,
	OPT_HOSTS,
	OPT_BACKENDS,
	OPT_BLKDEVS,
	OPT_CHANNELS,
	OPT_CHANNEL_SIZE,
	OPT_DEPTH,
	OPT_HEARTBEAT,
	OPT_DEAD_AFTER,
	OPT_COHERENCE,
	OPT_DATA_CRC,
	OPT_LABEL,
	OPT_SPARSE,
	OPT_FORCE,
};

static const struct option options[] = {
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "hosts", required_argument, NULL, OPT_HOSTS },
	{ "backends", required_argument, NULL, OPT_BACKENDS },
	{ "blkdevs", required_argument, NULL, OPT_BLKDEVS },
	{ "channels", required_argument, NULL, OPT_CHANNELS },
	{ "channel-size", required_argument, NULL, OPT_CHANNEL_SIZE },
	{ "depth", required_argument, NULL, OPT_DEPTH },
	{ "heartbeat", required_argument, NULL, OPT_HEARTBEAT },
	{ "dead-after", required_argument, NULL, OPT_DEAD_AFTER },
	{ "coherence", required_argument, NULL, OPT_COHERENCE },
	{ "data-crc", no_argument, NULL, OPT_DATA_CRC },
	{ "label", required_argument, NULL, OPT_LABEL },
	{ "sparse", no_argument, NULL, OPT_SPARSE },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: cbdctl format [OPTION]... TRANSPORT\n"
	"Write an empty transport to a devdax device or a file, and show it.\n"
	"\n"
	"  --size=S               use S bytes; create or grow the file to that\n"
	"  --hosts=N              host slots (default 16)\n"
	"  --backends=N           backend slots (default 4)\n"
	"  --blkdevs=N            blkdev slots (default 16)\n"
	"  --channels=N           channels of each backend (default 8)\n"
	"  --channel-size=S       bytes of a channel, 1M to 16M (default: as fits)\n"
	"  --depth=N              requests in flight on a channel, a power of two\n"
	"                         (default 128)\n"
	"  --heartbeat=MS         milliseconds between two beats (default 500)\n"
	"  --dead-after=N         missed beats that make a suspect (default 10)\n"
	"  --coherence=MODE       hardware or software (default: software on DAX, else\n"
	"                         hardware)\n"
	"  --data-crc             protect payloads by a CRC in hardware mode too\n"
	"  --label=TEXT           a name for people\n"
	"  --sparse               do not reserve the data areas of a file\n"
	"  --force                format over a file system, or over a transport whose owners\n"
	"                         are all dead; twice: over any transport\n"
	"  -h, --help             show this help and exit\n"
	"\n"
	"A size S is a number of bytes; K (also k, KiB), M, G and T stand for powers of 1024.";

static uint32_t number(const char *option, const char *text, uint32_t min, uint32_t max)
{
	return parse_number("format", option, text, min, max);
}

static uint32_t parse_channel_size(const char *text)
{
	uint64_t size = parse_size("format", "--channel-size", text, MAX_SIZE);

	if (size < CBD_MIN_CHANNEL_SIZE || size > CBD_MAX_CHANNEL_SIZE || size % CBD_PAGE_SIZE != 0)
		usage_error("format",
			    "--channel-size: '%s': must be a multiple of 4K from 1M to 16M", text);
	return (uint32_t)size;
}

static uint32_t parse_depth(const char *text)
{
	uint32_t depth = number("--depth", text, CBD_MIN_DEPTH, CBD_MAX_DEPTH);

	if ((depth & (depth - 1)) != 0)
		usage_error("format", "--depth: '%s': must be a power of two", text);
	return depth;
}

static enum cbd_coherence parse_coherence(const char *text)
{
	if (strcmp(text, "hardware") == 0)
		return CBD_COHERENCE_HARDWARE;
	if (strcmp(text, "software") == 0)
		return CBD_COHERENCE_SOFTWARE;
	usage_error("format", "--coherence: '%s': must be hardware or software", text);
}

static const char *parse_label(const char *text)
{
	if (strlen(text) >= CBD_LABEL_SIZE)
		usage_error("format", "--label: '%s': must have at most %d bytes", text,
			    CBD_LABEL_SIZE - 1);
	return text;
}

static void set_option(struct cbd_format_options *o, int option)
{
	switch (option) {
	case OPT_SIZE:
		o->size = parse_size("format", "--size", optarg, MAX_SIZE);
		break;
	case OPT_HOSTS:
		o->hosts = number("--hosts", optarg, 1, CBD_MAX_HOSTS);
		break;
	case OPT_BACKENDS:
		o->backends = number("--backends", optarg, 1, CBD_MAX_BACKENDS);
		break;
	case OPT_BLKDEVS:
		o->blkdevs = number("--blkdevs", optarg, 1, CBD_MAX_BLKDEVS);
		break;
	case OPT_CHANNELS:
		o->channels = number("--channels", optarg, 1, CBD_MAX_CHANNELS);
		break;
	case OPT_CHANNEL_SIZE:
		o->channel_size = parse_channel_size(optarg);
		break;
	case OPT_DEPTH:
		o->depth = parse_depth(optarg);
		break;
	case OPT_HEARTBEAT:
		o->heartbeat_ms = number("--heartbeat", optarg, 1, 60000);
		break;
	case OPT_DEAD_AFTER:
		o->dead_after = number("--dead-after", optarg, 2, 1000);
		break;
	case OPT_COHERENCE:
		o->coherence = parse_coherence(optarg);
		break;
	case OPT_DATA_CRC:
		o->data_crc = true;
		break;
	case OPT_LABEL:
		o->label = parse_label(optarg);
		break;
	case OPT_SPARSE:
		o->sparse = true;
		break;
	case OPT_FORCE:
		o->force++;
		break;
	case 'h':
		puts(help);
		exit(EXIT_SUCCESS);
	default:
		unknown_option("format");
	}
}

static int show(const char *path)
{
	struct cbd_transport *t;
	int status, r = cbd_transport_open(path, CBD_TRANSPORT_READ_ONLY, &t);

	if (r < 0)
		return library_failed(r);
	status = json_print(json_transport(path, t, false));
	cbd_transport_close(t);
	return status;
}

struct formatting {
	const char *path;
	const struct cbd_format_options *options;
};

/* What takes long is to reserve a file, which shows in the blocks that it has. */
static void tell_reserved(void *opaque, char *text, size_t size)
{
	const struct formatting *g = opaque;
	struct stat st;
	uint64_t total;

	if (g->options->sparse || stat(g->path, &st) < 0 || !S_ISREG(st.st_mode)) {
		snprintf(text, size, "cbdctl: %s: formatting", g->path);
		return;
	}
	total = g->options->size ? g->options->size : (uint64_t)st.st_size;
	snprintf(text, size, "cbdctl: %s: reserving, %llu of %llu MiB", g->path,
		 (unsigned long long)st.st_blocks * 512 >> 20, (unsigned long long)total >> 20);
}

static int format(const char *path, const struct cbd_format_options *o)
{
	struct formatting g = { .path = path, .options = o };
	int r;

	progress_start(tell_reserved, &g);
	r = cbd_format(path, o, sizeof *o);
	progress_end();
	return r;
}

int cmd_format(int argc, char **argv)
{
	struct cbd_format_options o = { 0 };
	const char *path;
	int option, r;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		set_option(&o, option);
	path = only_operand("format", argc, argv);

	r = format(path, &o);
	if (r < 0)
		return library_failed(r);
	return show(path);
}
