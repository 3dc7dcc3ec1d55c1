/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fence.h - the operator's command that cuts a host off.
 */
#ifndef CBD_BACKEND_FENCE_H
#define CBD_BACKEND_FENCE_H

#include <stdbool.h>

#include <cbd.h>

/*
 * Run COMMAND by the shell, with number, name and uuid of HOST in its environment,
 * and wait for it.  GIVEN_UP tells that this process is to end: then the command
 * goes on by itself, and nothing is proven.  Returns 0 when it says that the host is
 * cut off, -1 after a message.
 */
int fence_run(const char *command, const struct cbd_host_info *host, bool (*given_up)(void));

#endif
