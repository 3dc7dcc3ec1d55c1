/* SPDX-License-Identifier: BSD-3-Clause */
/* identity.c - see identity.h. */
#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/identity.h"

bool cbd_uuid_parse(const char *text, uint8_t uuid[16])
{
	unsigned n = 0, value;

	memset(uuid, 0, 16);
	for (; *text && *text != '\n'; text++) {
		if (*text == '-')
			continue;
		if (n == 32 || !isxdigit((unsigned char)*text) || sscanf(text, "%1x", &value) != 1)
			return false;
		uuid[n / 2] |= value << (n % 2 ? 0 : 4);
		n++;
	}
	return n == 32 && !cbd_is_zero(uuid, 16);
}

/* 0; -ENOENT; another negative errno, with a message */
static int read_uuid(const char *path, uint8_t uuid[16])
{
	char text[80] = "";
	FILE *f = fopen(path, "re");

	if (!f)
		return errno == ENOENT ? -ENOENT : cbd_error(errno, "%s: %m", path);
	if (!fgets(text, sizeof(text), f))
		text[0] = 0;
	fclose(f);
	if (cbd_uuid_parse(text, uuid))
		return 0;
	/* systemd writes "uninitialized" until the first boot is complete */
	text[strcspn(text, "\n")] = 0;
	return cbd_error(EINVAL,
			 "%s: %s%s%s: not a uuid of 32 hex digits, not all zero; write one to %s",
			 path, *text ? "'" : "", *text ? text : "is empty", *text ? "'" : "",
			 CBD_HOST_ID_FILE);
}

#ifdef CBD_TEST_HOOKS
/* Several hosts on one machine: test builds only. */
static int identity_override(struct cbd_identity *id)
{
	const char *uuid = getenv("CBD_TEST_HOST_UUID"), *boot = getenv("CBD_TEST_BOOT_ID");

	if (uuid && !cbd_uuid_parse(uuid, id->uuid))
		return cbd_error(EINVAL, "CBD_TEST_HOST_UUID: not a uuid");
	if (boot && !cbd_uuid_parse(boot, id->boot_id))
		return cbd_error(EINVAL, "CBD_TEST_BOOT_ID: not a uuid");
	return 0;
}
#else
static int identity_override(struct cbd_identity *id)
{
	(void)id;
	return 0;
}
#endif

int cbd_identity_read(struct cbd_identity *id)
{
	int r;

	memset(id, 0, sizeof(*id));
	r = read_uuid(CBD_HOST_ID_FILE, id->uuid);
	if (r == -ENOENT)
		r = read_uuid("/etc/machine-id", id->uuid);
	if (r == -ENOENT)
		return cbd_error(ENOENT, "%s: this host has no identity; write a uuid there",
				 CBD_HOST_ID_FILE);
	if (r == 0)
		r = read_uuid("/proc/sys/kernel/random/boot_id", id->boot_id);
	if (r < 0)
		return r == -ENOENT ? cbd_error(ENOENT, "boot id: /proc is not mounted") : r;
	if (gethostname(id->name, sizeof(id->name) - 1) < 0)
		id->name[0] = 0;
	return identity_override(id);
}
