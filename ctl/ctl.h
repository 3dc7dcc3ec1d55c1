/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ctl.h - what the commands of cbdctl share.
 *
 * Each command is one file and one function, which gets its own name as
 * argv[0] and returns the exit status.
 */
#ifndef CBD_CTL_H
#define CBD_CTL_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#include <cbd.h>

#define EXIT_USAGE 2

int cmd_format(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_list_transports(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_clear(int argc, char **argv);
int cmd_check(int argc, char **argv);

/* usage.c: "cbdctl: MESSAGE" on stderr. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* complain() of what libcbd has refused with ERROR, a negative errno, and of what helps.
 * Returns EXIT_FAILURE. */
int library_failed(int error);

/* If the header is damaged, and its copy is used, say so and what repairs it. */
void warn_if_damaged(const char *path, const struct cbd_transport *t);

/* complain(), a hint to the --help of COMMAND (NULL: of cbdctl), exit. */
void usage_error(const char *command, const char *format, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/* After getopt_long() said what is wrong with an option. */
void unknown_option(const char *command) __attribute__((noreturn));

/* After getopt_long(): the only operand.  Does not return without one. */
const char *only_operand(const char *command, int argc, char **argv);

/* The number that TEXT is.  Does not return unless it is one in MIN..MAX. */
uint32_t parse_number(const char *command, const char *option, const char *text, uint32_t min,
		      uint32_t max);

/* Bytes, at least 1 (common/number.h).  MAX is whole T. */
uint64_t parse_size(const char *command, const char *option, const char *text, uint64_t max);

/* json.c: values as daxctl and cxl show them.  HUMAN: sizes as text. */
struct json_object *json_text(const char *text);
struct json_object *json_size(uint64_t bytes, bool human);
struct json_object *json_hex(uint64_t value);
struct json_object *json_uuid(const uint8_t uuid[16]);
struct json_object *json_transport(const char *path, const struct cbd_transport *t, bool human);

/* Print and free.  Returns an exit status. */
int json_print(struct json_object *object);

#endif
