/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - cbdctl: find the command and run it.  Owns the table of commands.
 */
#include <config.h>

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{ "format", cmd_format, "write an empty transport" },
	{ "list", cmd_list, "show a transport and what is on it, as JSON" },
	{ "list-transports", cmd_list_transports,
	  "show which devices and files carry a transport" },
	{ "status", cmd_status, "show what is on a transport and what it has done, as a table" },
	{ "top", cmd_top, "show what backends, blkdevs and channels do, live" },
	{ "metrics", cmd_metrics, "show counters for a monitoring system" },
	{ "clear", cmd_clear, "free what a dead host, backend or blkdev has left" },
	{ "check", cmd_check, "look for damage in a transport, and repair it" },
};

/* As argv[0]: begins the messages of getopt_long(). */
static char program[] = "cbdctl";

#define COMMANDS (sizeof commands / sizeof *commands)

static void help(void)
{
	size_t i;

	puts("Usage: cbdctl COMMAND [OPTION]... TRANSPORT\n"
	     "Administer shared memory that block devices travel through.\n"
	     "\n"
	     "Commands:");
	for (i = 0; i < COMMANDS; i++)
		printf("  %-20s %s\n", commands[i].name, commands[i].summary);
	puts("\n"
	     "Options:\n"
	     "  -h, --help           show this help and exit\n"
	     "  -V, --version        show the version and exit\n"
	     "\n"
	     "'cbdctl COMMAND --help' shows the options of a command.  See cbdctl(1).");
}

static const struct command *find_command(const char *name)
{
	size_t i;

	for (i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	usage_error(NULL, "%s: unknown command", name);
}

static int run_command(int argc, char **argv)
{
	const struct command *command = find_command(argv[0]);

	argv[0] = program;
	optind = 0; /* glibc: begin anew, and sort options before operands */
	return command->run(argc, argv);
}

/* Output that could not be written, to a full disk for example, is a failure. */
static int flush_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	complain("stdout: %m");
	return status == EXIT_SUCCESS ? EXIT_FAILURE : status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};

	signal(SIGXFSZ, SIG_IGN); /* the limit of a file's size is an error */
	if (argc > 0)
		argv[0] = program;
	switch (getopt_long(argc, argv, "+hV", options, NULL)) {
	case 'h':
		help();
		return EXIT_SUCCESS;
	case 'V':
		printf("cbdctl %s\n", cbd_version());
		return EXIT_SUCCESS;
	case -1:
		break;
	default:
		unknown_option(NULL);
	}
	if (optind == argc)
		usage_error(NULL, "the command is missing");
	return flush_output(run_command(argc - optind, argv + optind));
}
