/* SPDX-License-Identifier: BSD-3-Clause */
/* attachment.h - see attachment.c.  The control thread's; D is a blkdev slot. */
#ifndef CBD_ATTACHMENT_H
#define CBD_ATTACHMENT_H

#include "backend/grants.h"

/* To a state that the table in attachment.c allows. */
void cbd_attachment_become(struct cbd_attachment *att, enum cbd_attachment_state to);
bool cbd_attachment_is_leaving(const struct cbd_attachment *att);

/* The owner of CLAIM, who has written request Q, is attached. */
void cbd_attachment_begin(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
			  const struct cbd_claim_line *claim);

/* It leaves, for the reason that STATE is: its channels stop.  When all are retired it
 * ends, and they are free. */
void cbd_attachment_stop(struct cbd_backend *b, unsigned d, enum cbd_attachment_state state);
bool cbd_attachment_retired(const struct cbd_backend *b, unsigned d);
void cbd_attachment_end(struct cbd_backend *b, unsigned d);

/* Answer request Q: with ANSWER; refused, CHANNELS being free; granted, with the
 * channels that are served for D. */
void cbd_reply_put(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
		   struct cbd_reply_line answer);
void cbd_reply_refuse(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q,
		      enum cbd_refusal reason, unsigned channels);
void cbd_reply_grant(struct cbd_backend *b, unsigned d, const struct cbd_request_line *q);

/* Does the reply line answer Q? */
bool cbd_reply_is_given(const struct cbd_backend *b, unsigned d, const struct cbd_request_line *q);

#endif
