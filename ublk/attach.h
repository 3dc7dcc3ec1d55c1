/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * attach.h - the side of a device that is libcbd's: one transport, one blkdev.
 */
#ifndef CBD_UBLK_ATTACH_H
#define CBD_UBLK_ATTACH_H

#include <cbd.h>

#include "state.h"

struct attachment {
	struct cbd_transport *transport;
	struct cbd_blkdev *blkdev;
	unsigned backend; /* its id */
	struct cbd_blkdev_geometry geometry;
};

/* These give 0, or -1 after a message. */

int attach_open(struct attachment *a, const struct state *s);

/*
 * For a recovery, before attach_to(): wait until the blkdev of the process before, which S
 * names, is proven dead or gone.  Then a backend admits the next blkdev of this host only
 * when it has drained what that one has left (rule 2 of docs/protocol.md), so nothing that
 * the dead process had submitted is executed after what the kernel gives to this one.
 */
int attach_await_death(struct attachment *a, const struct state *s);

/* Attach, and start to beat.  WAIT_S: for a backend that may come. */
int attach_to(struct attachment *a, const struct state *s, unsigned wait_s);

/* What it is attached to, for the state file, but for the verifier, which is given apart. */
int attach_describe(struct attachment *a, struct state *s, uint64_t *verifier);

/* The verifier of the disk now.  -1, without a message: it cannot be read. */
int attach_verifier(struct attachment *a, uint64_t *verifier);

/* Detach; safe in every state. */
void attach_close(struct attachment *a);

#endif
