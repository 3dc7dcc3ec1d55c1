/* SPDX-License-Identifier: BSD-3-Clause */
/* check-lines.h - one pass of a check over every control line. */
#ifndef CBD_CHECK_LINES_H
#define CBD_CHECK_LINES_H

#include "admin/findings.h"

/* Look at everything once; findings go to c->now. */
void cbd_check_pass(struct check *c);

#endif
