/* SPDX-License-Identifier: BSD-3-Clause */
/* info.h - what info.c offers inside libcbd; the rest is in cbd.h. */
#ifndef CBD_INFO_H
#define CBD_INFO_H

#include "transport/transport.h"

/* 0 when no slot has an owner that lives or is suspect; -EBUSY with a message that names
 * the first.  Takes as long as cbd_transport_watch(). */
int cbd_transport_owned(struct cbd_transport *t);

#endif
