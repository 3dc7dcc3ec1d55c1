/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.c - parse the command line, or say what is wrong with it.
 *
 * Owns the table of options, from which --help is made too.  Every option here is
 * described in cbd-ublk.pod.
 */
#include <config.h>

#include <cbd-format.h>
#include <getopt.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/number.h"
#include "options.h"
#include "state.h"
#include "uapi.h"

#define ADD (1u << COMMAND_ADD)
#define RECOVER (1u << COMMAND_RECOVER)
#define DEL (1u << COMMAND_DEL)
#define LIST (1u << COMMAND_LIST)
#define ALL (ADD | RECOVER | DEL | LIST)

static const struct {
	const char *name, *operand, *summary, *about;
} commands[COMMANDS] = {
	[COMMAND_ADD] = { "add", "", "make a block device of a backend, and serve it",
			  "Attach to a backend, make /dev/ublkbN of it, and serve it." },
	[COMMAND_RECOVER] = { "recover", " NAME", "serve a device whose process is gone",
			      "Serve device NAME again, whose process has ended. What it was "
			      "asked\nmeanwhile is done now." },
	[COMMAND_DEL] = { "del", " NAME", "remove a device",
			  "Remove device NAME, and end the process that serves it." },
	[COMMAND_LIST] = { "list", " [NAME]", "show the devices, as JSON",
			   "Show the devices of cbd-ublk, or device NAME, as JSON." },
};

enum kind {
	KIND_FLAG, /* a bool becomes true */
	KIND_TEXT, /* not empty */
	KIND_NUMBER,
	KIND_OTHER, /* by a function */
};

struct rule {
	const char *name;
	const char *argument; /* NULL: none */
	const char *help;     /* lines */
	unsigned commands;
	char letter; /* 0: none */
	enum kind kind;
	size_t place; /* in struct options */
	unsigned min, max;
	void (*set)(struct options *o, const char *arg);
};

static void set_name(struct options *o, const char *arg);
static void set_poll(struct options *o, const char *arg);
static void show_help(struct options *o, const char *arg);

#define PLACE(member) offsetof(struct options, member)

static const struct rule rules[] = {
	{ "transport", "T", "devdax device or file, formatted by cbdctl (required)", ADD, 't',
	  KIND_TEXT, PLACE(transport), 0, 0, NULL },
	{ "backend", "ID|NAME", "the disk (required)", ADD, 0, KIND_TEXT, PLACE(backend), 0, 0,
	  NULL },
	{ "name", "NAME", "name of the device (default: that of the backend)", ADD, 0, KIND_OTHER,
	  0, 0, 0, set_name },
	{ "number", "N", "make /dev/ublkbN (default: the first that is free)", ADD, 0, KIND_NUMBER,
	  PLACE(number), 0, 1u << 19, NULL },
	{ "queues", "N", "threads, each with a channel of its own (default 1)", ADD, 0, KIND_NUMBER,
	  PLACE(queues), 1, CBD_MAX_CHANNELS, NULL },
	{ "depth", "N", "requests of each queue at a time (default 128)", ADD, 0, KIND_NUMBER,
	  PLACE(depth), 1, UBLK_MAX_QUEUE_DEPTH, NULL },
	{ "read-only", NULL, "attach and serve read-only", ADD, 'r', KIND_FLAG, PLACE(read_only), 0,
	  0, NULL },
	{ "host-id", "H", "slot of this host (default: found by its identity)", ADD, 0, KIND_NUMBER,
	  PLACE(host_id), 0, CBD_MAX_HOSTS - 1, NULL },
	{ "poll", "P", "how to wait: adaptive, busy or sleep (default adaptive)", ADD, 0,
	  KIND_OTHER, 0, 0, 0, set_poll },
	{ "timeout", "S", "seconds until a request fails (default 0: see manual)", ADD, 0,
	  KIND_NUMBER, PLACE(timeout_s), 0, 86400, NULL },
	{ "unprivileged", NULL, "a device that its owner may serve, without being root", ADD, 0,
	  KIND_FLAG, PLACE(unprivileged), 0, 0, NULL },
	{ "recover", NULL, "if the device is there and its process is gone: recover it", ADD, 0,
	  KIND_FLAG, PLACE(recover), 0, 0, NULL },
	{ "wait", "S", "seconds to wait at the start for the backend (default 0)", ADD | RECOVER, 0,
	  KIND_NUMBER, PLACE(wait_s), 0, 86400, NULL },
	{ "force", NULL, "also a device that is in use: its users get errors", DEL, 0, KIND_FLAG,
	  PLACE(force), 0, 0, NULL },
	{ "udev", "DEVICE", "name and owner of DEVICE, for a rule of udev", LIST, 0, KIND_TEXT,
	  PLACE(udev), 0, 0, NULL },
	{ "foreground", NULL, "do not become a daemon, log to stderr", ADD | RECOVER, 'f',
	  KIND_FLAG, PLACE(foreground), 0, 0, NULL },
	{ "verbose", NULL, "log more", ADD | RECOVER, 'v', KIND_FLAG, PLACE(verbose), 0, 0, NULL },
	{ "help", NULL, "show this help and exit", ALL, 'h', KIND_OTHER, 0, 0, 0, show_help },
};

#define RULES (sizeof(rules) / sizeof(rules[0]))
#define FIRST_LONG 256 /* what getopt_long() returns for rule I is FIRST_LONG + I */

/* ------------------------------------------------------------------- text */

static void usage_error(const struct options *o, const char *format, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

static void hint(const struct options *o) __attribute__((noreturn));

static void hint(const struct options *o)
{
	fprintf(stderr, "Try 'cbd-ublk %s%s--help'.\n", o != NULL ? commands[o->command].name : "",
		o != NULL ? " " : "");
	exit(EXIT_USAGE);
}

static void usage_error(const struct options *o, const char *format, ...)
{
	va_list args;

	fputs("cbd-ublk: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	hint(o);
}

static void show_rule(const struct rule *r)
{
	char option[32], letter[8] = "    ";

	snprintf(option, sizeof(option), "--%s%s%s", r->name, r->argument != NULL ? "=" : "",
		 r->argument != NULL ? r->argument : "");
	if (r->letter != 0)
		snprintf(letter, sizeof(letter), "-%c, ", r->letter);
	printf("  %s%-19s %s\n", letter, option, r->help);
}

static void show_help(struct options *o, const char *arg)
{
	(void)arg;
	printf("Usage: cbd-ublk %s [OPTION]...%s\n%s\n\n", commands[o->command].name,
	       commands[o->command].operand, commands[o->command].about);
	for (size_t i = 0; i < RULES; i++)
		if (rules[i].commands & 1u << o->command)
			show_rule(&rules[i]);
	puts("\nSee cbd-ublk(8).");
	exit(EXIT_SUCCESS);
}

static void show_commands(void)
{
	puts("Usage: cbd-ublk COMMAND [OPTION]...\n"
	     "Disks of other hosts, through shared memory, as block devices of the kernel.\n"
	     "\n"
	     "Commands:");
	for (unsigned c = 0; c < COMMANDS; c++)
		printf("  %-20s %s\n", commands[c].name, commands[c].summary);
	puts("\n"
	     "Options:\n"
	     "  -h, --help           show this help and exit\n"
	     "  -V, --version        show the version and exit\n"
	     "\n"
	     "'cbd-ublk COMMAND --help' shows the options of a command.  See cbd-ublk(8).");
	exit(EXIT_SUCCESS);
}

/* ----------------------------------------------------------------- values */

static void check_name(const struct options *o, const char *option, const char *text)
{
	if (!state_name_is_good(text))
		usage_error(o,
			    "%s'%s': a name has 1 to %d letters, digits and . _ + -, and begins "
			    "with a letter or digit",
			    option, text, STATE_NAME_SIZE - 1);
}

static void set_name(struct options *o, const char *arg)
{
	check_name(o, "--name: ", arg);
	o->name = arg;
}

static void set_poll(struct options *o, const char *arg)
{
	if (cbd_poll_parse(arg, &o->poll) < 0)
		usage_error(o, "--poll: '%s': must be adaptive, busy or sleep", arg);
}

static unsigned parse_number(const struct options *o, const struct rule *r, const char *text)
{
	uint64_t value;

	if (!number_parse(text, strlen(text), &value) || value < r->min || value > r->max)
		usage_error(o, "--%s: '%s': must be a number from %u to %u", r->name, text, r->min,
			    r->max);
	return (unsigned)value;
}

static void set_option(struct options *o, const struct rule *r, const char *arg)
{
	void *place = (char *)o + r->place;

	switch (r->kind) {
	case KIND_FLAG:
		*(bool *)place = true;
		break;
	case KIND_TEXT:
		if (arg[0] == '\0')
			usage_error(o, "--%s: must not be empty", r->name);
		*(const char **)place = arg;
		break;
	case KIND_NUMBER:
		*(unsigned *)place = parse_number(o, r, arg);
		break;
	case KIND_OTHER:
		r->set(o, arg);
		break;
	}
}

/* ----------------------------------------------------------------- parsing */

/* For getopt_long(): those of the command. */
static void make_tables(const struct options *o, struct option *longs, char *shorts)
{
	for (size_t i = 0; i < RULES; i++) {
		const struct rule *r = &rules[i];

		if (!(r->commands & 1u << o->command))
			continue;
		*longs++ = (struct option){ r->name,
					    r->argument != NULL ? required_argument : no_argument,
					    NULL, FIRST_LONG + (int)i };
		if (r->letter != 0)
			*shorts++ = r->letter;
		if (r->letter != 0 && r->argument != NULL)
			*shorts++ = ':';
	}
	*longs = (struct option){ NULL, 0, NULL, 0 };
	*shorts = '\0';
}

static const struct rule *find_rule(const struct options *o, int c)
{
	if (c >= FIRST_LONG)
		return &rules[c - FIRST_LONG];
	for (size_t i = 0; i < RULES; i++)
		if (rules[i].letter == c && (rules[i].commands & 1u << o->command))
			return &rules[i];
	hint(o); /* getopt_long() has said what it is about */
}

static void take_operand(struct options *o, int argc, char **argv)
{
	bool wants = o->command != COMMAND_ADD;

	if (optind < argc && wants) {
		o->name = argv[optind++];
		check_name(o, "", o->name);
	}
	if (optind < argc)
		usage_error(o, "'%s': one NAME only", argv[optind]);
	if (o->name == NULL && wants && o->command != COMMAND_LIST)
		usage_error(o, "the NAME of the device is missing");
	if (o->name != NULL && o->udev != NULL)
		usage_error(o, "--udev: takes no NAME");
}

static void check_add(struct options *o)
{
	if (o->transport == NULL)
		usage_error(o, "--transport: is required");
	if (o->backend == NULL)
		usage_error(o, "--backend: is required");
	if (o->name == NULL) {
		if (!state_name_is_good(o->backend))
			usage_error(o, "--name: is required: '%s' cannot be the name of a device",
				    o->backend);
		o->name = o->backend;
	}
}

static enum command find_command(const char *name)
{
	for (unsigned c = 0; c < COMMANDS; c++)
		if (strcmp(commands[c].name, name) == 0)
			return c;
	usage_error(NULL, "%s: unknown command", name);
}

/* What comes before the command. */
static void parse_front(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};

	switch (getopt_long(argc, argv, "+hV", options, NULL)) {
	case 'h':
		show_commands();
		break;
	case 'V':
		printf("cbd-ublk %s (libcbd %s)\n", PACKAGE_VERSION, cbd_version());
		exit(EXIT_SUCCESS);
	case -1:
		break;
	default:
		hint(NULL);
	}
	if (optind == argc)
		usage_error(NULL, "the command is missing");
}

void options_parse(struct options *o, int argc, char **argv)
{
	static char program[] = "cbd-ublk";
	struct option longs[RULES + 1];
	char shorts[2 * RULES + 1];
	int c;

	argv[0] = program; /* for the messages of getopt_long() */
	parse_front(argc, argv);
	*o = (struct options){
		.command = find_command(argv[optind]),
		.queues = 1,
		.depth = 128,
		.number = -1,
		.host_id = -1,
		.poll = CBD_POLL_ADAPTIVE,
	};
	argc -= optind;
	argv += optind;
	argv[0] = program;
	optind = 0; /* glibc: begin anew */
	make_tables(o, longs, shorts);
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1)
		set_option(o, find_rule(o, c), optarg);
	take_operand(o, argc, argv);
	if (o->command == COMMAND_ADD)
		check_add(o);
}
