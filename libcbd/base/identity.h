/* SPDX-License-Identifier: BSD-3-Clause */
/* identity.h - who this machine is: its uuid, its boot, its name. */
#ifndef CBD_IDENTITY_H
#define CBD_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "cbd-format.h"

/* Which host this process runs on; read when a transport is opened.  Tests change it
 * to be another host. */
struct cbd_identity {
	uint8_t uuid[16];
	uint8_t boot_id[16];
	char name[CBD_TEXT_SIZE + 1];
};

#define CBD_HOST_ID_FILE "/etc/cbd/host-id"

/* The uuid from CBD_HOST_ID_FILE, else from /etc/machine-id; the boot id; the host's
 * name.  0, or a negative errno with a message. */
int cbd_identity_read(struct cbd_identity *identity);

/* 32 hex digits with or without dashes, as in machine-id, up to the end of a line.
 * False: it is no uuid, or all zero.  (libuuid does not read the form without dashes.) */
bool cbd_uuid_parse(const char *text, uint8_t uuid[16]);

#endif
