/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * exports.h - which exports there are: live backends as NBD names them.
 *
 * Any thread; on failure nbdkit_error() was called.
 */
#ifndef CBD_PLUGIN_EXPORTS_H
#define CBD_PLUGIN_EXPORTS_H

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <cbd.h>

#define EXPORT_DESCRIPTION_SIZE (CBD_PATH_SIZE + 32)

/* Add all live backends to EXPORTS.  Blocks for some heartbeats. */
int exports_list(struct cbd_transport *t, struct nbdkit_exports *exports);

/* The export of a client that gives no name: the only live backend, else "".
 * The string is nbdkit's. */
const char *exports_default(struct cbd_transport *t);

/* The backend that the export NAME of a client means. */
int exports_find(struct cbd_transport *t, const char *name, struct cbd_backend_info *result);

/* Path and size of backend ID. */
int exports_describe(struct cbd_transport *t, unsigned id, char text[EXPORT_DESCRIPTION_SIZE]);

#endif
