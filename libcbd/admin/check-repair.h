/* SPDX-License-Identifier: BSD-3-Clause */
/* check-repair.h - repair what a check has found. */
#ifndef CBD_CHECK_REPAIR_H
#define CBD_CHECK_REPAIR_H

#include "admin/findings.h"

/* c->now, each told with what was done. */
int cbd_check_repair(struct check *c);

#endif
