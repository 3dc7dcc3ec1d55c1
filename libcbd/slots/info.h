/* SPDX-License-Identifier: BSD-3-Clause */
/* info.h - what info.c tells other files; the rest is in cbd.h. */
#ifndef CBD_INFO_H
#define CBD_INFO_H

#include "transport/transport.h"

/* 0 when nobody owns anything, -EBUSY with a message otherwise. Blocks as
 * cbd_transport_watch(). */
int cbd_transport_owned(struct cbd_transport *t);

#endif
