/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cbd-bench.c - a load generator on libcbd itself, without NBD: what the memory,
 * the rings and the backend can do.
 *
 * Owns the command line and the report; the load is load.c's.  Every option
 * here is described in cbd-bench.pod.
 */
#include <config.h>

#include <cbd-format.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "../common/number.h"
#include "../common/progress.h"
#include "load.h"

#define EXIT_USAGE 2
#define MAX_CPUS 256
#define MAX_BLOCK (64ull << 20)

enum {
	OPT_BACKEND = 256,
	OPT_RW,
	OPT_QUEUES,
	OPT_THREADS,
	OPT_IDLE,
	OPT_TIME,
	OPT_RAMP,
	OPT_THINK,
	OPT_SIZE,
	OPT_READ_SHARE,
	OPT_VERIFY,
	OPT_FUA,
	OPT_POLL,
	OPT_CPUS,
	OPT_HOST_ID,
	OPT_SEED,
	OPT_JSON,
};

static const char short_options[] = "t:b:d:hV";

static const struct option long_options[] = {
	{ "transport", required_argument, NULL, 't' },
	{ "backend", required_argument, NULL, OPT_BACKEND },
	{ "rw", required_argument, NULL, OPT_RW },
	{ "block-size", required_argument, NULL, 'b' },
	{ "depth", required_argument, NULL, 'd' },
	{ "queues", required_argument, NULL, OPT_QUEUES },
	{ "threads", required_argument, NULL, OPT_THREADS },
	{ "idle", required_argument, NULL, OPT_IDLE },
	{ "time", required_argument, NULL, OPT_TIME },
	{ "ramp", required_argument, NULL, OPT_RAMP },
	{ "think", required_argument, NULL, OPT_THINK },
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "read-share", required_argument, NULL, OPT_READ_SHARE },
	{ "verify", no_argument, NULL, OPT_VERIFY },
	{ "fua", no_argument, NULL, OPT_FUA },
	{ "poll", required_argument, NULL, OPT_POLL },
	{ "cpus", required_argument, NULL, OPT_CPUS },
	{ "host-id", required_argument, NULL, OPT_HOST_ID },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: cbd-bench -t TRANSPORT --backend ID|NAME [OPTION]...\n"
	"Put a load on a disk of another host and measure it. Writing kinds of load\n"
	"destroy what is on the disk.\n"
	"\n"
	"  -t, --transport=T       devdax device or file, formatted by cbdctl (required)\n"
	"      --backend=ID|NAME   the disk (required)\n"
	"      --rw=KIND           randread, randwrite, randrw, read, write or rw\n"
	"                          (default randread)\n"
	"  -b, --block-size=S      bytes of a request (default 4k)\n"
	"  -d, --depth=N           requests in flight of each thread (default 1)\n"
	"      --queues=N          queues with a load (default 1)\n"
	"      --threads=N         threads of each queue (default 1)\n"
	"      --idle=N            more queues, without a load (default 0)\n"
	"      --time=S            seconds to measure (default 5)\n"
	"      --ramp=S            seconds before that (default 0.2)\n"
	"      --think=MS          pause of each thread between two requests (default 0)\n"
	"      --size=S            bytes of the device to use (default all)\n"
	"      --read-share=P      percent of reads in randrw and rw (default 70)\n"
	"      --verify            write everything first and check all that is read\n"
	"      --fua               make every write durable before it is answered\n"
	"      --poll=P            how to wait: adaptive, busy or sleep (default adaptive)\n"
	"      --cpus=N,..         CPUs of the threads, in turn (default any)\n"
	"      --host-id=H         host slot of this machine (default: found by identity)\n"
	"      --seed=N            of offsets and content (default 1)\n"
	"      --json              print the result as JSON\n"
	"  -h, --help              show this help and exit\n"
	"  -V, --version           show the version and exit\n"
	"\n"
	"Sizes take the suffixes K (also k, KiB), M, G and T. See cbd-bench(1).\n";

static const char *const kinds[] = {
	[LOAD_RANDREAD] = "randread", [LOAD_RANDWRITE] = "randwrite", [LOAD_RANDRW] = "randrw",
	[LOAD_READ] = "read",	      [LOAD_WRITE] = "write",	      [LOAD_RW] = "rw",
};

struct options {
	const char *transport;
	struct cbd_blkdev_options blkdev;
	int host_id; /* -1: by identity */
	struct load_options load;
	unsigned idle;
	bool json;
	unsigned cpus[MAX_CPUS];
};

/* ---------------------------------------------------------------- parsing */

static void usage_error(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void usage_error(const char *format, ...)
{
	va_list args;

	fputs("cbd-bench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'cbd-bench --help'.\n", stderr);
	exit(EXIT_USAGE);
}

static unsigned parse_number(const char *option, const char *text, unsigned min, unsigned max)
{
	uint64_t n;

	if (!number_parse(text, strlen(text), &n) || n < min || n > max)
		usage_error("%s: '%s' is not a number from %u to %u", option, text, min, max);
	return (unsigned)n;
}

static double parse_seconds(const char *option, const char *text)
{
	char *end;
	double s = strtod(text, &end);

	if (end == text || *end != '\0' || !(s >= 0 && s <= 86400))
		usage_error("%s: '%s' is not a number of seconds up to 86400", option, text);
	return s;
}

static uint64_t parse_size(const char *option, const char *text)
{
	uint64_t size;

	if (!size_parse(text, &size))
		usage_error("%s: '%s': must be a whole number, perhaps with K, M, G or T", option,
			    text);
	return size;
}

static enum load_kind parse_kind(const char *text)
{
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(text, kinds[i]) == 0)
			return (enum load_kind)i;
	usage_error("--rw: there is no kind of load '%s'", text);
}

static void parse_cpus(struct options *o, const char *text)
{
	char *list = strdup(text), *save = NULL;

	if (!list)
		usage_error("--cpus: out of memory");
	for (char *p = strtok_r(list, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		if (o->load.n_cpus == MAX_CPUS)
			usage_error("--cpus: too many");
		o->cpus[o->load.n_cpus++] = parse_number("--cpus", p, 0, CPU_SETSIZE - 1);
	}
	free(list);
	if (o->load.n_cpus == 0)
		usage_error("--cpus: '%s' is not a list of CPUs", text);
	o->load.cpus = o->cpus;
}

static void parse_poll(struct options *o, const char *text)
{
	if (cbd_poll_parse(text, &o->blkdev.poll) < 0)
		usage_error("--%s", cbd_errmsg());
}

static void version(void)
{
	printf("cbd-bench %s (libcbd %s)\n", PACKAGE_VERSION, cbd_version());
	exit(EXIT_SUCCESS);
}

/* The options of the load. */
static void parse_load(struct load_options *l, int option, const char *arg)
{
	switch (option) {
	case OPT_RW:
		l->kind = parse_kind(arg);
		break;
	case 'b':
		l->block = parse_size("--block-size", arg);
		break;
	case 'd':
		l->depth = parse_number("--depth", arg, 1, 65536);
		break;
	case OPT_QUEUES:
		l->queues = parse_number("--queues", arg, 1, CBD_MAX_CHANNELS);
		break;
	case OPT_THREADS:
		l->threads = parse_number("--threads", arg, 1, 256);
		break;
	case OPT_TIME:
		l->seconds = parse_seconds("--time", arg);
		break;
	case OPT_RAMP:
		l->ramp_s = parse_seconds("--ramp", arg);
		break;
	case OPT_THINK:
		l->think_ms = parse_number("--think", arg, 0, 3600000);
		break;
	case OPT_SIZE:
		l->size = parse_size("--size", arg);
		break;
	case OPT_READ_SHARE:
		l->read_share = parse_number("--read-share", arg, 0, 100);
		break;
	case OPT_VERIFY:
		l->verify = true;
		break;
	case OPT_FUA:
		l->fua = true;
		break;
	case OPT_SEED:
		l->seed = parse_number("--seed", arg, 0, UINT32_MAX);
		break;
	default:
		usage_error("what is meant is unclear");
	}
}

static void parse_option(struct options *o, int option, const char *arg)
{
	switch (option) {
	case 't':
		o->transport = arg;
		break;
	case OPT_BACKEND:
		o->blkdev.backend = arg;
		break;
	case OPT_IDLE:
		o->idle = parse_number("--idle", arg, 0, CBD_MAX_CHANNELS);
		break;
	case OPT_POLL:
		parse_poll(o, arg);
		break;
	case OPT_CPUS:
		parse_cpus(o, arg);
		break;
	case OPT_HOST_ID:
		o->host_id = (int)parse_number("--host-id", arg, 0, CBD_MAX_HOSTS - 1);
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case 'h':
		fputs(help, stdout);
		exit(EXIT_SUCCESS);
	case 'V':
		version();
		break;
	case '?':
		fputs("Try 'cbd-bench --help'.\n", stderr);
		exit(EXIT_USAGE);
	default:
		parse_load(&o->load, option, arg);
	}
}

static void check_options(const struct options *o)
{
	const struct load_options *l = &o->load;

	if (!o->transport)
		usage_error("the transport is missing: --transport");
	if (!o->blkdev.backend)
		usage_error("the backend is missing: --backend");
	if (l->queues + o->idle > CBD_MAX_CHANNELS)
		usage_error("--idle: more than %u queues in all", CBD_MAX_CHANNELS);
	if (l->block == 0 || l->block > MAX_BLOCK || l->block % 512 != 0)
		usage_error("--block-size: must be a multiple of 512 up to 64M");
}

static void parse(struct options *o, int argc, char **argv)
{
	static char program[] = "cbd-bench";
	int option;

	argv[0] = program; /* for the messages of getopt_long() */
	while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1)
		parse_option(o, option, optarg);
	if (optind < argc)
		usage_error("'%s': there are no arguments", argv[optind]);
	check_options(o);
}

/* ----------------------------------------------------------------- report */

static long max_rss_kb(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

static double per_second(const struct load_result *r, uint64_t count)
{
	return r->seconds > 0 ? (double)count / r->seconds : 0;
}

static double mean(const struct histogram *h)
{
	return h->count ? (double)h->sum / (double)h->count : 0;
}

static void json_side(const char *name, const struct histogram *h, const struct options *o,
		      const struct load_result *r)
{
	printf("  \"%s\": { \"ios\": %llu, \"iops\": %.1f, \"bytes_per_second\": %.0f,\n", name,
	       (unsigned long long)h->count, per_second(r, h->count),
	       per_second(r, h->count * o->load.block));
	printf("    \"latency_ns\": { \"min\": %llu, \"mean\": %.1f, \"p50\": %llu, \"p99\": %llu, "
	       "\"p99.9\": %llu, \"max\": %llu } },\n",
	       (unsigned long long)h->min, mean(h),
	       (unsigned long long)histogram_percentile(h, 0.5),
	       (unsigned long long)histogram_percentile(h, 0.99),
	       (unsigned long long)histogram_percentile(h, 0.999), (unsigned long long)h->max);
}

static void report_json(const struct options *o, const struct load_result *r)
{
	const struct load_options *l = &o->load;

	printf("{ \"program\": \"cbd-bench\", \"version\": \"%s\",\n", cbd_version());
	printf("  \"rw\": \"%s\", \"block_size\": %llu, \"depth\": %u, \"queues\": %u, "
	       "\"threads\": %u, \"idle\": %u, \"seconds\": %.3f,\n",
	       kinds[l->kind], (unsigned long long)l->block, l->depth, l->queues, l->threads,
	       o->idle, r->seconds);
	json_side("read", &r->read, o, r);
	json_side("write", &r->write, o, r);
	printf("  \"cpu_seconds\": %.6f, \"sleeps\": %llu, \"preempted\": %llu, "
	       "\"max_rss_kb\": %ld }\n",
	       r->cpu_s, (unsigned long long)r->sleeps, (unsigned long long)r->preempted,
	       max_rss_kb());
}

static void text_side(const char *name, const struct histogram *h, const struct options *o,
		      const struct load_result *r)
{
	if (h->count == 0)
		return;
	printf("%-6s %10.0f IOPS %9.1f MB/s   latency us: mean %.2f p50 %.2f p99 %.2f p99.9 %.2f "
	       "max %.1f\n",
	       name, per_second(r, h->count), per_second(r, h->count * o->load.block) / 1e6,
	       mean(h) / 1e3, (double)histogram_percentile(h, 0.5) / 1e3,
	       (double)histogram_percentile(h, 0.99) / 1e3,
	       (double)histogram_percentile(h, 0.999) / 1e3, (double)h->max / 1e3);
}

static void report_text(const struct options *o, const struct load_result *r)
{
	uint64_t ios = r->read.count + r->write.count;

	text_side("read", &r->read, o, r);
	text_side("write", &r->write, o, r);
	printf("cpu    %.2f us a request, %llu sleeps, %llu times preempted, %ld kB\n",
	       ios ? r->cpu_s * 1e6 / (double)ios : 0, (unsigned long long)r->sleeps,
	       (unsigned long long)r->preempted, max_rss_kb());
}

/* ------------------------------------------------------------------- main */

static int failed(void)
{
	fprintf(stderr, "cbd-bench: %s\n", cbd_errmsg());
	return EXIT_FAILURE;
}

static bool writes(const struct load_options *l)
{
	return l->verify || (l->kind != LOAD_RANDREAD && l->kind != LOAD_READ);
}

static void tell_load(void *opaque, char *text, size_t size)
{
	char what[64];

	(void)opaque;
	load_tell(what, sizeof(what));
	snprintf(text, size, "cbd-bench: %s", what);
}

static int run(struct options *o, struct cbd_blkdev *b)
{
	static struct load_result result;
	struct cbd_blkdev_geometry g;
	int r;

	cbd_blkdev_geometry(b, &g, sizeof(g));
	if (o->load.size == 0 || o->load.size > g.size)
		o->load.size = g.size;
	if (cbd_blkdev_queues(b) < o->load.queues + o->idle) {
		fprintf(stderr, "cbd-bench: %s: %u queues were granted, not %u\n", o->transport,
			cbd_blkdev_queues(b), o->load.queues + o->idle);
		return EXIT_FAILURE;
	}
	progress_start(tell_load, NULL);
	r = load_run(b, &o->load, &result);
	progress_end();
	if (r < 0)
		return EXIT_FAILURE;
	if (o->json)
		report_json(o, &result);
	else
		report_text(o, &result);
	return EXIT_SUCCESS;
}

static int attach_and_run(struct options *o, struct cbd_transport *t)
{
	struct cbd_blkdev *b;
	int status;

	o->blkdev.queues = o->load.queues + o->idle;
	o->blkdev.read_only = !writes(&o->load);
	if (o->host_id >= 0 && cbd_transport_join_as(t, (unsigned)o->host_id) < 0)
		return failed();
	if (cbd_blkdev_open(t, &o->blkdev, sizeof(o->blkdev), &b) < 0)
		return failed();
	status = cbd_blkdev_start(b) < 0 ? failed() : run(o, b);
	cbd_blkdev_close(b);
	return status;
}

int main(int argc, char **argv)
{
	static struct options o = {
		.host_id = -1,
		.load = { .block = 4096,
			  .depth = 1,
			  .queues = 1,
			  .threads = 1,
			  .read_share = 70,
			  .seconds = 5,
			  .ramp_s = 0.2,
			  .seed = 1 },
	};
	struct cbd_transport *t;
	int status;

	parse(&o, argc, argv);
	if (cbd_transport_open(o.transport, 0, &t) < 0)
		return failed();
	status = attach_and_run(&o, t);
	cbd_transport_close(t);
	return status;
}
