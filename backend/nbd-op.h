/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbd-op.h - what a request becomes for an NBD server: commands, one after the other.
 *
 * Used by disk-nbd.c, which owns the queue of a handler: when it looks at its connection,
 * what it does when a set of connections comes or goes, and how it sleeps.
 */
#ifndef CBD_BACKEND_NBD_OP_H
#define CBD_BACKEND_NBD_OP_H

#include "nbd.h"

enum nbd_stage {
	STAGE_WHOLE,	  /* of blocks: as the client has asked */
	STAGE_EDGE_READ,  /* of the block that the request begins or ends in */
	STAGE_EDGE_WRITE, /* the same, changed */
	STAGE_FLUSH,
	STAGE_STATUS,
};

/* What the server has told of the blocks, two numbers for each: bytes and flags. */
struct nbd_runs {
	size_t count;
	uint32_t numbers[];
};

struct nbd_op {
	struct nbd_queue *q;
	struct disk_io *io; /* NULL: unused */
	struct nbd_op *next;
	enum nbd_stage stage;
	uint32_t finished, piece; /* bytes; of the command that is under way */
	unsigned generation;	  /* of the set that this went to; 0: to none */
	int error;		  /* of the command */
	bool changes;		  /* the command does */
	unsigned failures;	  /* of flushes, when the command was sent */
	uint64_t written;	  /* what a flush covers */
	char *copy;		  /* of payload in shared memory */
	char *edge;		  /* a block */
	struct nbd_runs *runs;	  /* of a block status */
};

struct nbd_queue {
	struct disk_queue base;
	struct nbd *n;
	struct nbd_conn *conn;
	unsigned number;
	int bell;
	unsigned depth, busy;
	unsigned installed; /* sets that this queue has seen */
	unsigned broken;    /* the set that was seen to break, 0: none */
	pthread_t owner;
	struct nbd_op *unused;
	pthread_mutex_t lock; /* of the list of what was answered */
	struct nbd_op *answered, **answered_end;
	struct nbd_op ops[];
};

/*
 * All of these in the thread of the handler, on the read side of nbd.order.  What has ended is
 * told to the queue's events, and the operation is unused again.
 */

/* From the beginning, on the set that is there; without one it waits, and one is wanted. */
void nbd_op_restart(struct nbd_op *op);

/* Its command was answered, by the server: the next command, or the end. */
void nbd_op_go_on(struct nbd_op *op);

/* The end. */
void nbd_op_finish(struct nbd_op *op, int result);

/* Of what was answered: was it not the server, but the end of the connection (or its last
 * answer)? */
bool nbd_op_is_lost(const struct nbd_op *op);

#endif
