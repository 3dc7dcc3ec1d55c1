/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json.c - values as daxctl and cxl show them, and the transport itself, which
 * format and list show alike.
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl.h"

/* Bytes of the UTF-8 character at S; 0: it is none (RFC 3629, section 4). */
static unsigned utf8_length(const unsigned char *s)
{
	unsigned length, i;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	for (i = 1; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return length;
}

/* Paths and names may be any bytes, JSON is UTF-8. */
struct json_object *json_text(const char *text)
{
	struct json_object *string;
	char *copy = strdup(text);
	unsigned length;
	char *c;

	if (!copy)
		return NULL;
	for (c = copy; *c != '\0'; c += length) {
		length = utf8_length((unsigned char *)c);
		if (length == 0) {
			*c = '?';
			length = 1;
		}
	}
	string = json_object_new_string(copy);
	free(copy);
	return string;
}

static double scale(double bytes, double unit, unsigned *power)
{
	*power = 0;
	while (bytes >= unit && *power < 6) {
		bytes /= unit;
		++*power;
	}
	return bytes;
}

struct json_object *json_size(uint64_t bytes, bool human)
{
	static const char prefixes[] = " KMGTPE";
	unsigned binary, decimal;
	char text[64];
	double b, d;

	if (!human)
		return json_object_new_uint64(bytes);
	if (bytes < 1024) {
		snprintf(text, sizeof text, "%u B", (unsigned)bytes);
		return json_object_new_string(text);
	}
	b = scale((double)bytes, 1024, &binary);
	d = scale((double)bytes, 1000, &decimal);
	snprintf(text, sizeof text, "%.2f %ciB (%.2f %cB)", b, prefixes[binary], d,
		 prefixes[decimal]);
	return json_object_new_string(text);
}

struct json_object *json_hex(uint64_t value)
{
	char text[32];

	snprintf(text, sizeof text, "0x%llx", (unsigned long long)value);
	return json_object_new_string(text);
}

struct json_object *json_uuid(const uint8_t u[16])
{
	char text[40];

	snprintf(text, sizeof text,
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
		 u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
		 u[15]);
	return json_object_new_string(text);
}

static struct json_object *json_time(uint64_t seconds, bool human)
{
	time_t time = (time_t)seconds;
	struct tm tm;
	char text[64];

	if (!human || !gmtime_r(&time, &tm) ||
	    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return json_object_new_uint64(seconds);
	return json_object_new_string(text);
}

static const char *coherence_name(enum cbd_coherence coherence)
{
	switch (coherence) {
	case CBD_COHERENCE_HARDWARE:
		return "hardware";
	case CBD_COHERENCE_SOFTWARE:
		return "software";
	default:
		return "unknown";
	}
}

static void add_numbers(struct json_object *o, const struct cbd_transport_info *h, bool human)
{
	json_object_object_add(o, "hosts", json_object_new_uint64(h->hosts));
	json_object_object_add(o, "backends", json_object_new_uint64(h->backends));
	json_object_object_add(o, "blkdevs", json_object_new_uint64(h->blkdevs));
	json_object_object_add(o, "channels", json_object_new_uint64(h->channels));
	json_object_object_add(o, "channel_size", json_size(h->channel_size, human));
	json_object_object_add(o, "depth", json_object_new_uint64(h->depth));
	json_object_object_add(o, "heartbeat_ms", json_object_new_uint64(h->heartbeat_ms));
	json_object_object_add(o, "dead_after", json_object_new_uint64(h->dead_after));
}

struct json_object *json_transport(const char *path, const struct cbd_transport *t, bool human)
{
	struct json_object *o = json_object_new_object();
	struct cbd_transport_info info, *h = &info;

	cbd_transport_get(t, &info, sizeof info);
	json_object_object_add(o, "path", json_text(path));
	json_object_object_add(o, "uuid", json_uuid(h->uuid));
	json_object_object_add(o, "label", json_text(h->label));
	json_object_object_add(o, "version", json_object_new_uint64(h->version));
	json_object_object_add(o, "compat", json_hex(h->compat));
	json_object_object_add(o, "incompat", json_hex(h->incompat));
	json_object_object_add(o, "ro_compat", json_hex(h->ro_compat));
	json_object_object_add(o, "created", json_time(h->created, human));
	json_object_object_add(o, "size", json_size(h->size, human));
	json_object_object_add(o, "coherence",
			       json_object_new_string(coherence_name(h->coherence)));
	json_object_object_add(o, "data_crc", json_object_new_boolean(h->data_crc));
	json_object_object_add(o, "damaged", json_object_new_boolean(h->damaged));
	add_numbers(o, h, human);
	return o;
}

int json_print(struct json_object *object)
{
	const int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE;

	bool failed;

	failed = puts(json_object_to_json_string_ext(object, flags)) == EOF || fflush(stdout) != 0;
	if (failed)
		complain("stdout: %m");
	json_object_put(object);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
