/* SPDX-License-Identifier: BSD-3-Clause */
/* findings.c - see findings.h. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#include "admin/findings.h"
#include "base/bytes.h"
#include "transport/lines.h"
#include "transport/places.h"

void cbd_check_add(struct check *c, struct finding f)
{
	struct findings *s = &c->now;
	struct finding *list = s->list;

	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 64;
		list = realloc(s->list, s->room * sizeof(*list));
		if (!list) {
			s->failed = true;
			s->room = s->count;
			return;
		}
		s->list = list;
	}
	list[s->count++] = f;
}

void cbd_check_tell(struct check *c, const struct finding *f, enum cbd_verdict verdict)
{
	static const char *const formats[] = {
		[HOST_CLAIM] = "host %1$u: claim line",
		[HOST_STATE] = "host %1$u: state line",
		[HOST_BEAT] = "host %1$u: heartbeat line",
		[HOST_NAME] = "host %1$u: name line",
		[HOST_REQUEST] = "host %1$u: request line for backend %2$u",
		[BACKEND_CLAIM] = "backend %1$u: claim line of host %2$u",
		[BACKEND_STATE] = "backend %1$u: state line",
		[BACKEND_BEAT] = "backend %1$u: heartbeat line",
		[BACKEND_GEOMETRY] = "backend %1$u: geometry line",
		[BACKEND_IDENTITY] = "backend %1$u: identity line",
		[BACKEND_ACCESS] = "backend %1$u: access line",
		[BACKEND_NAME] = "backend %1$u: name line",
		[BACKEND_PATH] = "backend %1$u: path line %2$u",
		[BACKEND_REPLY] = "backend %1$u: reply line for blkdev %2$u",
		[BACKEND_GRANT] = "backend %1$u: channel %2$u: grant line",
		[BACKEND_LEAVE] = "backend %1$u: channel %2$u: leave line",
		[BLKDEV_CLAIM] = "blkdev %1$u: claim line of host %2$u",
		[BLKDEV_STATE] = "blkdev %1$u: state line",
		[BLKDEV_BEAT] = "blkdev %1$u: heartbeat line",
		[BLKDEV_REQUEST] = "blkdev %1$u: request line",
		[BLKDEV_DOORBELL] = "blkdev %1$u: doorbell line",
	};
	struct cbd_problem p = { .what = f->what, .verdict = verdict };
	char object[100];

	snprintf(object, sizeof(object), formats[f->at.type], f->at.slot, f->at.index);
	p.object = object;
	p.offset = (uint64_t)((char *)f->at.line - c->t->base);
	if (verdict == CBD_CHECK_DAMAGED || verdict == CBD_CHECK_LEFT)
		c->left++;
	c->fn(c->opaque, &p);
}

bool cbd_check_has_host(const struct check *c, unsigned host)
{
	struct cbd_host_claim_line line;

	return host < c->h->hosts &&
	       (cbd_line_get(c->t, cbd_host_claim_at(c->t, host), &line) < 0 ||
		!cbd_is_zero(&line, sizeof(line)));
}
