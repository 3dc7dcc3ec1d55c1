/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * liar.h - a peer that seals what it likes: a blkdev or a backend that attaches in
 * order, and from then on breaks one rule of the protocol as fast as it can.
 *
 * It stores only where its host may store: its claim lines, its slot, its side of the
 * channels that were granted to it.  All CRCs are right, unless the mode is about
 * wrong ones.
 */
#ifndef CBD_LIAR_H
#define CBD_LIAR_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "blkdev/blkdev.h"

/* A channel, as the liar uses it beside (not through) the functions of a queue. */
struct liar_channel {
	struct cbd_channel ch;
	struct cbd_grant_line grant; /* as last read */
	uint64_t position, count;    /* next SE to send, next CE to read */
	uint64_t asked;		     /* the epoch that it asked to leave */
};

struct liar {
	struct cbd_transport *t;
	const char *target; /* the backend's id, as the user gave it */
	struct cbd_blkdev *b;
	struct cbd_backend *backend;
	int disk; /* of a lying backend, -1 */
	struct liar_channel channels[CBD_MAX_CHANNELS];
	unsigned n_channels;
	uint64_t random, lies;
	uint64_t beaten_ns;
};

struct liar_mode {
	const char *name;
	unsigned queues, depth; /* to attach with: 0: one, the transport's */
	void (*step)(struct liar *l);
	/* of a client: requests of half a MiB, so that a neighbour waits for one of these */
	bool large;
};

extern const struct liar_mode liar_client_modes[], liar_backend_modes[];

uint64_t liar_random(struct liar *l);
uint64_t liar_below(struct liar *l, uint64_t n);

/* Each ends the program with a message when it fails. */
void liar_check(int result, const char *what);

/* Attach, and take each granted channel; close. */
bool liar_attach(struct liar *l, const struct liar_mode *mode);
void liar_detach(struct liar *l);

/* Beat when it is due, and follow new grants. */
void liar_beat(struct liar *l);

/* Take backend slot TARGET over as a process of this host whose predecessor is dead,
 * and serve DISK. */
void liar_serve(struct liar *l, const char *disk);

/* One round of an honest backend. ANSWER: called for each request in the place of an
 * honest completion, or NULL. */
typedef void liar_answer_fn(struct liar *l, struct cbd_handler *h, struct cbd_request *r);
void liar_round(struct liar *l, liar_answer_fn *answer);

#endif
