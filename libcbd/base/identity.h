/* SPDX-License-Identifier: BSD-3-Clause */
/* identity.h - who this machine is: its uuid, its boot, its name. */
#ifndef CBD_IDENTITY_H
#define CBD_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "cbd-format.h"

/* Who this process's host is; filled at open, tests may change it. */
struct cbd_identity {
	uint8_t uuid[16];
	uint8_t boot_id[16];
	char name[CBD_TEXT_SIZE + 1];
};

#define CBD_HOST_ID_FILE "/etc/cbd/host-id"

/* Identity: uuid from CBD_HOST_ID_FILE, else the machine-id; boot id; name. */
int cbd_identity_read(struct cbd_identity *identity);

/* 32 hex digits with or without dashes. */
bool cbd_uuid_parse(const char *text, uint8_t uuid[16]);
#define CBD_UUID_TEXT 37
const char *cbd_uuid_text(const uint8_t uuid[16], char text[CBD_UUID_TEXT]);

#endif
