/* SPDX-License-Identifier: BSD-3-Clause */
/* param.c - see param.h. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <cbd-format.h>

#include "../common/number.h"
#include "param.h"

#define MAX_TIMEOUT_S 86400
#define MAX_WAIT_S 86400

struct param param = { .queues = 1, .host_id = -1 };

#define KNOWN_KEYS "transport, backend, queues, host-id, poll, timeout, wait, readonly"

const char param_help[] =
	"[transport=]T         Shared memory: a devdax device or a file (required).\n"
	"backend=ID|NAME       The disk to serve; without it, the export name chooses.\n"
	"queues=N              Queues, used by the connections in turn (default 1).\n"
	"host-id=H             Slot of this host (default: found by its identity).\n"
	"poll=P                Waiting: adaptive (default), busy or sleep.\n"
	"timeout=S             Seconds until a request fails (default 0: see manual).\n"
	"wait=S                Seconds to wait at the start for the backend (default 0).\n"
	"readonly=true         Attach and serve read-only.";

/* Decimal only, with one message for whatever is wrong with it. */
static int parse_range(const char *key, const char *value, unsigned min, unsigned max,
		       unsigned *result)
{
	uint64_t n;

	if (!number_parse(value, strlen(value), &n) || n < min || n > max) {
		nbdkit_error("%s=%s: must be a number from %u to %u", key, value, min, max);
		return -1;
	}
	*result = (unsigned)n;
	return 0;
}

static int parse_transport(const char *value)
{
	if (param.transport) {
		nbdkit_error("transport=%s: there is one already: %s", value, param.transport);
		return -1;
	}
	param.transport = realpath(value, NULL);
	if (!param.transport)
		nbdkit_error("transport=%s: %m", value);
	return param.transport ? 0 : -1;
}

static int parse_backend(const char *value)
{
	if (*value == '\0') {
		nbdkit_error("backend=: must be the id or the name of a backend");
		return -1;
	}
	param.backend = value;
	return 0;
}

static int parse_host_id(const char *value)
{
	unsigned id;

	if (parse_range("host-id", value, 0, CBD_MAX_HOSTS - 1, &id) < 0)
		return -1;
	param.host_id = (int)id;
	return 0;
}

static int parse_poll(const char *value)
{
	if (cbd_poll_parse(value, &param.poll) < 0) {
		nbdkit_error("poll=%s: must be adaptive, busy or sleep", value);
		return -1;
	}
	return 0;
}

static int parse_readonly(const char *value)
{
	static const char *const words[] = { "false", "true", "0", "1", "no", "yes",
					     "off",   "on",   "f", "t", "n",  "y" };
	size_t i;

	/* nbdkit_parse_bool() takes the same, and has a message without the key */
	for (i = 0; i < sizeof words / sizeof *words; i++)
		if (strcasecmp(value, words[i]) == 0) {
			param.read_only = i % 2;
			return 0;
		}
	nbdkit_error("readonly=%s: must be true or false", value);
	return -1;
}

int param_set(const char *key, const char *value)
{
	if (strcmp(key, "transport") == 0)
		return parse_transport(value);
	if (strcmp(key, "backend") == 0)
		return parse_backend(value);
	if (strcmp(key, "queues") == 0)
		return parse_range(key, value, 1, CBD_MAX_CHANNELS, &param.queues);
	if (strcmp(key, "host-id") == 0)
		return parse_host_id(value);
	if (strcmp(key, "poll") == 0)
		return parse_poll(value);
	if (strcmp(key, "timeout") == 0)
		return parse_range(key, value, 0, MAX_TIMEOUT_S, &param.timeout);
	if (strcmp(key, "wait") == 0)
		return parse_range(key, value, 0, MAX_WAIT_S, &param.wait);
	if (strcmp(key, "readonly") == 0)
		return parse_readonly(value);
	nbdkit_error("unknown parameter '%s'; known are %s", key, KNOWN_KEYS);
	return -1;
}

int param_complete(void)
{
	if (!param.transport) {
		nbdkit_error(
			"the transport is missing: transport=PATH of a devdax device or a file");
		return -1;
	}
	if (param.wait && !param.backend) {
		nbdkit_error("wait=%u: needs backend=", param.wait);
		return -1;
	}
	return 0;
}

void param_free(void)
{
	free(param.transport);
	param.transport = NULL;
}
