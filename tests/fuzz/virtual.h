/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtual.h - blkdev and backend in one thread, in virtual time: what libcbd calls of
 * libc to wait moves the clock instead, and lets the other side work meanwhile.
 *
 * The heartbeat thread of a blkdev is not started: virtual_beat() is one turn of it.
 * Outside of virtual_begin() and virtual_end() libc is itself.
 */
#ifndef CBD_VIRTUAL_H
#define CBD_VIRTUAL_H

#include <stdint.h>

#include "blkdev/blkdev.h"

#define VIRTUAL_S 1000000000ull
#define VIRTUAL_MS 1000000ull

/* IDLE is called whenever something waits: the other side.  Never from inside itself.
 * When the clock has moved by LIMIT_NS, something waits for ever: the process aborts. */
void virtual_begin(uint64_t limit_ns, void (*idle)(void));
void virtual_end(void);

uint64_t virtual_now_ns(void);
void virtual_sleep(uint64_t ns);

/* One turn of the heartbeat thread of B, which was started.  False: it has ended. */
bool virtual_beat(struct cbd_blkdev *b);

/* Called at each cbd_step() of libcbd; or NULL. */
extern void (*virtual_on_step)(void);

/* Something is wrong: say what, and abort. */
void virtual_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
