/* SPDX-License-Identifier: BSD-3-Clause */
/* held.h - states of slots in words, and what keeps a slot. */
#ifndef CBD_CTL_HELD_H
#define CBD_CTL_HELD_H

#include <limits.h>

#include "ctl.h"

#define WORD_SIZE (4 * PATH_MAX + 3) /* of a path, quoted for the shell */

const char *slot_state_name(enum cbd_state state);
const char *grant_state_name(enum cbd_channel_state state);

/* What the heartbeat shows counts more than the state that the owner wrote: the owner may
 * be dead. */
const char *seen_state(enum cbd_liveness liveness, const char *written);

/* TEXT as one word of the shell, in quotes only where it needs them. */
void shell_quote(const char *text, char *word, size_t size);

/* Whom a slot of a backend or blkdev belongs to, as it was read. */
struct owner {
	enum cbd_object object;
	unsigned id, host;
	enum cbd_liveness liveness;
	bool local;
};

struct held {
	const char *reason;
	char free[WORD_SIZE + 80]; /* what frees it */
};

/* Whether the slot is kept although its owner is not seen to live.  WORD: the path of the
 * transport, quoted. */
bool slot_is_held(struct cbd_transport *t, const char *word, const struct owner *o, struct held *h);

#endif
