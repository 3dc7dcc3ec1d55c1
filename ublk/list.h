/* SPDX-License-Identifier: BSD-3-Clause */
/* list.h - the command "list": devices as JSON, and the name of one for udev. */
#ifndef CBD_UBLK_LIST_H
#define CBD_UBLK_LIST_H

#include "options.h"

/* The exit status. */
int cmd_list(const struct options *o);

#endif
