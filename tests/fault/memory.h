/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.h - the transport as this program sees it: a mapping of its own.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include "transport/transport.h"

extern struct cbd_transport memory;

/* After format. */
void memory_init(void);

#endif
