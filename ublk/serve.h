/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * serve.h - the commands that make this process the server of a device.
 */
#ifndef CBD_UBLK_SERVE_H
#define CBD_UBLK_SERVE_H

#include "driver.h"
#include "options.h"

/* add and recover: the exit status, when the process is not to serve any more.  The driver
 * stays the caller's. */
int serve(const struct options *o, struct driver *driver);

#endif
