/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * payload.h - the data of a request between the channel's data area and the disk
 * (rule 10 of docs/protocol.md).
 */
#ifndef CBD_PAYLOAD_H
#define CBD_PAYLOAD_H

#include "backend/hchannel.h"

/*
 * Private memory for the payload of a channel, where its data must not be used in place: as
 * large as its data area and with the same offsets, so that it needs no allocation and has
 * no more than that, whatever the blkdev asks for.
 *
 * Extents go round the data area in software mode, and copies at the same offsets would be
 * in no cache near the CPU.  So there is a hot part in front: requests take from its
 * beginning while it has room, and all of it is free again when the last of them has ended;
 * with an engine that executes at once that is each round.  The others have their place
 * behind it.
 *
 * Its pages are the kernel's until they are used, and are given back by
 * cbd_payload_free().  Control thread, while the channel belongs to it.  -ENOMEM after a
 * message.
 */
#define CBD_HOT_BYTES (512u << 10) /* as much as a handler takes in a round */
int cbd_payload_prepare(struct cbd_hchannel *hc);
void cbd_payload_free(struct cbd_hchannel *hc);

/* Set where the disk reads or writes, and for a WRITE copy and check what it gets.
 * -EAGAIN: its CRC is wrong, perhaps only for now; -EIO: the memory is gone. */
int cbd_payload_bring(struct cbd_hrequest *r);

/* The request has ended. */
void cbd_payload_put(struct cbd_hrequest *r);

/* The payload of an answer without an error, in bytes; 0: it has none. */
uint32_t cbd_payload_length(const struct cbd_hrequest *r);

/* The disk has filled the buffer of a READ, or the engine has told of the blocks of a
 * BLOCK_STATUS: bring that to where the blkdev reads it.  CRC, where the channel has one.  -EIO: the memory is gone. */
int cbd_payload_deliver(struct cbd_hrequest *r, uint32_t *crc);

#endif
