/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * held.c - what a slot's state is called; why a slot is kept although its owner is not
 * seen to live, and the command that frees it.
 */
#include <config.h>

#include <stdio.h>
#include <string.h>

#include "held.h"

const char *slot_state_name(enum cbd_state state)
{
	static const char *const names[] = {
		[CBD_STATE_FREE] = "free",	     [CBD_STATE_STARTING] = "starting",
		[CBD_STATE_LIVE] = "live",	     [CBD_STATE_DRAINING] = "draining",
		[CBD_STATE_HANDOVER] = "handover",   [CBD_STATE_GONE] = "gone",
		[CBD_STATE_ABANDONED] = "abandoned",
	};

	return state < sizeof names / sizeof *names ? names[state] : "unknown";
}

const char *grant_state_name(enum cbd_channel_state state)
{
	static const char *const names[] = {
		[CBD_CHANNEL_STATE_FREE] = "free",
		[CBD_CHANNEL_STATE_GRANTED] = "granted",
		[CBD_CHANNEL_STATE_LEAVING] = "leaving",
		[CBD_CHANNEL_STATE_QUARANTINED] = "quarantined",
		[CBD_CHANNEL_STATE_CLOSED] = "closed",
	};

	return state < sizeof names / sizeof *names ? names[state] : "unknown";
}

const char *seen_state(enum cbd_liveness liveness, const char *written)
{
	return liveness == CBD_SUSPECT ? "suspect" : liveness == CBD_DEAD ? "dead" : written;
}

void shell_quote(const char *text, char *word, size_t size)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789/._-+:,@%=";
	size_t n = 0;

	if (*text != '\0' && strspn(text, plain) == strlen(text)) {
		snprintf(word, size, "%s", text);
		return;
	}
	word[n++] = '\'';
	for (; *text != '\0' && n + 6 < size; text++)
		n += (size_t)sprintf(word + n, *text == '\'' ? "'\\''" : "%c", *text);
	strcpy(word + n, "'");
}

/* By a process of this host, which holds its lock and does not beat. */
static void held_by_process(struct cbd_transport *t, enum cbd_object object, unsigned id,
			    struct held *h)
{
	/* the number that the slot names is a peer's word: kill(1) needs more */
	int pid = cbd_owner_pid(t, object, id);

	h->reason = "its process does not beat, and holds its lock still";
	if (pid <= 0)
		snprintf(h->free, sizeof h->free,
			 "end its process, whose number is not known here");
	else
		snprintf(h->free, sizeof h->free, "kill -9 %d", pid);
}

bool slot_is_held(struct cbd_transport *t, const char *word, const struct owner *o, struct held *h)
{
	bool backend = o->object == CBD_OBJECT_BACKEND;
	const char *kind = backend ? "backend" : "blkdev";
	struct cbd_transport_info info;

	if (o->liveness == CBD_DEAD) {
		h->reason = backend ? "its process is dead; when it is started again its "
				      "clients go on, and freeing the slot ends them"
				    : "its process is dead";
		snprintf(h->free, sizeof h->free, "cbdctl clear %s %u %s", kind, o->id, word);
		return true;
	}
	if (o->liveness != CBD_SUSPECT)
		return false;
	if (o->local) {
		held_by_process(t, o->object, o->id, h);
		return true;
	}
	cbd_transport_get(t, &info, sizeof info);
	if (o->host >= info.hosts) {
		h->reason = "it does not beat, and names no host of this transport";
		snprintf(h->free, sizeof h->free,
			 "wait until its owner has written its lines again");
		return true;
	}
	h->reason = "it does not beat, which does not prove that it is dead";
	snprintf(h->free, sizeof h->free, "cbdctl clear %s %u --host-gone %u %s", kind, o->id,
		 o->host, word);
	return true;
}
