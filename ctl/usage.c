/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * usage.c - what all commands say about mistakes on the command line, and how
 * they read numbers there.
 */
#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/number.h"
#include "ctl.h"

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

int library_failed(int error)
{
	complain("%s%s", cbd_errmsg(),
		 error == -ENOMEDIUM ? "; 'cbdctl format' makes one"
		 : error == -EEXIST  ? "; --force formats it"
				     : "");
	return EXIT_FAILURE;
}

void warn_if_damaged(const char *path, const struct cbd_transport *t)
{
	struct cbd_transport_info info;

	cbd_transport_get(t, &info, sizeof info);
	if (info.damaged)
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

uint32_t parse_number(const char *command, const char *option, const char *text, uint32_t min,
		      uint32_t max)
{
	uint64_t value;

	if (!number_parse(text, strlen(text), &value) || value < min || value > max)
		usage_error(command, "%s: '%s': must be a number from %u to %u", option, text, min,
			    max);
	return (uint32_t)value;
}

uint64_t parse_size(const char *command, const char *option, const char *text, uint64_t max)
{
	uint64_t bytes;

	if (!size_parse(text, &bytes) || bytes == 0)
		usage_error(command,
			    "%s: '%s': must be a whole number above 0, perhaps with K, M, G or T",
			    option, text);
	if (bytes > max)
		usage_error(command, "%s: '%s': is more than %lluT", option, text,
			    (unsigned long long)(max >> 40));
	return bytes;
}
