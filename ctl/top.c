/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * top.c - cbdctl top: what backends, blkdevs and channels do now, once or again and again.
 * Owns the command line and the time between two samples.
 */
#include <config.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "top.h"

enum {
	OPT_ONCE = 256,
	OPT_INTERVAL,
	OPT_SORT,
	OPT_JSON,
};

static const struct option options[] = {
	{ "once", no_argument, NULL, OPT_ONCE },
	{ "interval", required_argument, NULL, OPT_INTERVAL },
	{ "sort", required_argument, NULL, OPT_SORT },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: cbdctl top [OPTION]... TRANSPORT\n"
	"Show what backends, blkdevs and channels do, live.\n"
	"\n"
	"      --once             show the rates of one interval, and end; needs no terminal\n"
	"      --interval=S       seconds between two looks (default 1)\n"
	"      --sort=KEY         id, iops, bytes, p50, p99, in-flight or errors\n"
	"                         (default id)\n"
	"      --json             show a line of JSON for each interval; needs no terminal\n"
	"  -h, --help             show this help and exit\n"
	"\n"
	"Keys: q ends, s sorts by the next key, c shows or hides channels, arrows scroll.";

/* ------------------------------------------------------------ without screen */

static int print(const struct top *top, const struct rows *rows)
{
	char line[TOP_LINE];

	if (top->json)
		return top_print_json(top, rows);
	top_heading(line);
	puts(line);
	for (unsigned i = 0; i < rows->n; i++) {
		top_line(top, &rows->row[i], line);
		puts(line);
	}
	return EXIT_SUCCESS;
}

static int compare(const struct top *top, const struct sample *now, const struct sample *before)
{
	struct rows rows;
	int status;

	if (!rows_make(&rows, now, before, false))
		return EXIT_FAILURE;
	rows_sort(&rows, top->sort);
	status = print(top, &rows);
	free(rows.row);
	return status;
}

/* The watch is a part of the interval, or longer than it. */
static bool pause_interval(const struct top *top)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += top->interval_s;
	if (cbd_transport_watch(top->t) < 0) {
		complain("%s", cbd_errmsg());
		return false;
	}
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
	return true;
}

static int top_plain(const struct top *top)
{
	struct sample *before = sample_take(top->t, false, true), *now;
	int status = before ? EXIT_SUCCESS : EXIT_FAILURE;

	while (status == EXIT_SUCCESS) {
		now = pause_interval(top) ? sample_take(top->t, false, true) : NULL;
		status = now ? compare(top, now, before) : EXIT_FAILURE;
		if (now && now->failed && top->once)
			status = EXIT_FAILURE;
		sample_free(before);
		before = now;
		if (top->once)
			break;
	}
	sample_free(before);
	return status;
}

/* ----------------------------------------------------------------- command */

static void set_option(struct top *top, int option)
{
	int key;

	switch (option) {
	case OPT_ONCE:
		top->once = true;
		break;
	case OPT_INTERVAL:
		top->interval_s = parse_number("top", "--interval", optarg, 1, 3600);
		break;
	case OPT_SORT:
		key = sort_key_parse(optarg);
		if (key < 0)
			usage_error("top",
				    "--sort: '%s': must be id, iops, bytes, p50, p99, in-flight or "
				    "errors",
				    optarg);
		top->sort = (enum sort_key)key;
		break;
	case OPT_JSON:
		top->json = true;
		break;
	case 'h':
		puts(help);
		exit(EXIT_SUCCESS);
	default:
		unknown_option("top");
	}
}

int cmd_top(int argc, char **argv)
{
	static struct top top = { .interval_s = 1 }; /* a thread of the screen has it to the end */
	int option, status;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
		set_option(&top, option);
	top.path = only_operand("top", argc, argv);
	top.t = sample_open(top.path);
	if (!top.t)
		return EXIT_FAILURE;
	if (!top.once && !top.json)
		return top_screen(&top);
	status = top_plain(&top);
	cbd_transport_close(top.t);
	return status;
}
