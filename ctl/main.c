/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - cbdctl: find the command and run it.
 *
 * Owns the table of commands and what all commands say about mistakes on the
 * command line.
 */
#include <config.h>

#include <getopt.h>
#include <stdarg.h>
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

static void complain_about(const char *format, va_list args)
{
	fputs("cbdctl: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain_about(format, args);
	va_end(args);
}

void warn_if_damaged(const char *path, const struct cbd_transport *t)
{
	if (cbd_transport_damaged(t))
		complain("%s: the header is damaged, its copy is used; "
			 "'cbdctl check --repair' restores it",
			 path);
}

static void hint(const char *command)
{
	fprintf(stderr, "Try 'cbdctl %s%s--help'.\n", command ? command : "", command ? " " : "");
}

void usage_error(const char *command, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain_about(format, args);
	va_end(args);
	hint(command);
	exit(EXIT_USAGE);
}

void unknown_option(const char *command)
{
	hint(command);
	exit(EXIT_USAGE);
}

const char *only_operand(const char *command, int argc, char **argv)
{
	if (optind == argc)
		usage_error(command, "the transport is missing");
	if (optind + 1 < argc)
		usage_error(command, "%s: one transport is enough", argv[optind + 1]);
	return argv[optind];
}

/* What does not fit is as large as can be: it is beyond any limit here. */
static bool starts_with_digits(const char *text, char **end, uint64_t *value)
{
	if (*text < '0' || *text > '9')
		return false;
	*value = strtoull(text, end, 10);
	return true;
}

uint32_t parse_number(const char *command, const char *option, const char *text, uint32_t min,
		      uint32_t max)
{
	uint64_t value;
	char *end;

	if (!starts_with_digits(text, &end, &value) || *end != '\0' || value < min || value > max)
		usage_error(command, "%s: '%s': must be a number from %u to %u", option, text, min,
			    max);
	return (uint32_t)value;
}

/* The shift that the suffix stands for; -1: it is none. */
static int suffix_shift(const char *suffix)
{
	static const char suffixes[] = "KMGT";
	const char *found;

	if (suffix[0] == '\0')
		return 0;
	found = strchr(suffixes, suffix[0]);
	return found && suffix[1] == '\0' ? 10 * (int)(found - suffixes + 1) : -1;
}

uint64_t parse_size(const char *command, const char *option, const char *text, uint64_t max)
{
	uint64_t value;
	char *end;
	int shift;

	if (!starts_with_digits(text, &end, &value) || value == 0 ||
	    (shift = suffix_shift(end)) < 0)
		usage_error(command,
			    "%s: '%s': must be a whole number above 0, perhaps with K, M, G or T",
			    option, text);
	if (value > max >> shift)
		usage_error(command, "%s: '%s': is more than %lluT", option, text,
			    (unsigned long long)(max >> 40));
	return value << shift;
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

/* A result that could not be written is none. */
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
