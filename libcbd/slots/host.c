/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host.c - the slot of this machine in the transport: its beat, and what others read
 * there.  How it is taken is join.c's.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "slots/host.h"
#include "base/step.h"

/* ------------------------------------------------------------------- slot */

uint64_t cbd_host_token(const uint8_t uuid[16])
{
	uint64_t token;

	memcpy(&token, uuid, sizeof(token));
	return token | 1;
}

bool cbd_host_boot(const struct cbd_transport *t, unsigned h, uint8_t boot_id[16])
{
	struct cbd_host_line line;

	if (h >= t->header.hosts ||
	    cbd_line_get(t, cbd_host_info_at(t, h, CBD_HOST_STATE), &line) < 0 || line.state == 0)
		return false;
	memcpy(boot_id, line.boot_id, 16);
	return true;
}

bool cbd_host_is_local(const struct cbd_transport *t, unsigned h)
{
	uint8_t boot[16];

	return cbd_host_boot(t, h, boot) && cbd_boot_is_local(t, boot);
}

bool cbd_host_is_own(const struct cbd_transport *t, unsigned h)
{
	struct cbd_host_line line;

	return cbd_line_get(t, cbd_host_info_at(t, h, CBD_HOST_STATE), &line) == 0 &&
	       line.state != 0 && memcmp(line.uuid, t->identity.uuid, 16) == 0;
}

const char *cbd_host_describe(const struct cbd_transport *t, unsigned h, char *text, size_t size)
{
	char name[CBD_TEXT_SIZE + 1] = "";

	if (h < t->header.hosts)
		cbd_text_get(t, cbd_host_info_at(t, h, CBD_HOST_NAME), CBD_NAME_LINES, name);
	snprintf(text, size, "host %u%s%s%s", h, *name ? " (" : "", name, *name ? ")" : "");
	return text;
}

uint64_t cbd_host_counter(const struct cbd_transport *t, unsigned h)
{
	struct cbd_beat_line line;

	if (cbd_line_get(t, cbd_host_info_at(t, h, CBD_HOST_BEAT), &line) < 0)
		return 0;
	return line.counter;
}

int cbd_join_lock(struct cbd_transport *t, struct cbd_lock *lock)
{
	unsigned wait_ms = cbd_suspect_ns(t) / 1000000 + 5000;
	int r = cbd_lock_take(lock, t->fd, CBD_LOCK_JOIN, false, wait_ms);

	if (r == -EBUSY)
		return cbd_error(
			EBUSY,
			"%s: another process of this host is still taking or clearing a slot",
			t->path);
	return r < 0 ? cbd_error(-r, "%s: cannot lock: %m", t->path) : 0;
}

/* ------------------------------------------------------------------- beat */

static int lost_slot(const struct cbd_transport *t, const char *why)
{
	return cbd_error(ESTALE, "%s: host id %d %s", t->path, t->host, why);
}

/*
 * Has this host and boot still the slot?  The state line decides: cbd_clear() frees it
 * first and a new host stores it last, so when it is sound and names another, this
 * process is a leftover.  Where the state line is lost, the claim line decides.
 */
static int check_slot(const struct cbd_transport *t)
{
	unsigned h = (unsigned)t->host;
	struct cbd_host_claim_line claim;
	struct cbd_host_line state;
	int r = cbd_line_get(t, cbd_host_info_at(t, h, CBD_HOST_STATE), &state);

	if (r == -EIO)
		return r;
	if (r == 0 && !cbd_is_zero(&state, sizeof(state))) {
		if (state.state == 0)
			return lost_slot(t, "was cleared; this process has lost it");
		if (memcmp(state.uuid, t->identity.uuid, 16) != 0)
			return lost_slot(t, "belongs to another machine by now");
		if (memcmp(state.boot_id, t->identity.boot_id, 16) != 0)
			return cbd_error(
				EADDRINUSE,
				"%s: host id %d was taken over by another boot of this identity",
				t->path, t->host);
		return 0;
	}
	r = cbd_line_get(t, cbd_host_claim_at(t, h), &claim);
	if (r == -EIO)
		return r;
	if (r == 0 && !cbd_is_zero(&claim, sizeof(claim)) &&
	    memcmp(claim.uuid, t->identity.uuid, 16) != 0)
		return lost_slot(t, "belongs to another machine by now");
	return 0;
}

/* What a damaged request line asked is lost: store an empty one.  A process that
 * still asks for a hand-over stores its request again. */
static int repair_requests(struct cbd_transport *t)
{
	struct cbd_host_request_line line;
	int r = 0;

	for (unsigned b = 0; b < t->header.backends && r == 0; b++) {
		void *place = cbd_host_request_at(t, (unsigned)t->host, b);

		r = cbd_line_get(t, place, &line);
		if (r != -EBADMSG)
			continue;
		line = (struct cbd_host_request_line){ .request = CBD_HOST_REQUEST_NONE };
		cbd_random(&line.sequence, sizeof(line.sequence));
		r = cbd_line_put(t, place, &line);
	}
	return r;
}

/* Store a line of the slot again if it differs.  It may differ because the slot was
 * cleared and taken by another host after the last check_slot(), so that is asked again
 * before the store (tests/model/cleared.pml). */
static int assert_own(const struct cbd_transport *t, void *line, void *copy)
{
	int r = cbd_line_differs(t, line, copy);

	if (r <= 0)
		return r;
	r = check_slot(t);
	return r == 0 ? cbd_line_put(t, line, copy) : r;
}

/* Rule 1.5: the process that beats for the host stores lost lines of the slot again. */
static int assert_slot(struct cbd_transport *t)
{
	struct cbd_host_claim_line claim = { .token = cbd_host_token(t->identity.uuid) };
	unsigned h = (unsigned)t->host;
	int r = check_slot(t);

	cbd_step("host-checked");

	memcpy(claim.uuid, t->identity.uuid, 16);
	if (r == 0)
		r = assert_own(t, cbd_host_claim_at(t, h), &claim);
	if (r == 0)
		r = assert_own(t, cbd_host_info_at(t, h, CBD_HOST_STATE), &t->host_line);
	if (r == 0)
		r = cbd_text_each(t, cbd_host_info_at(t, h, CBD_HOST_NAME), CBD_NAME_LINES,
				  t->identity.name, assert_own);
	return r == 0 ? repair_requests(t) : r;
}

static int beat_locked(struct cbd_transport *t)
{
	struct cbd_beat_line beat = { .counter = 0 };
	int r;

	if (t->host_lock.fd < 0) {
		r = cbd_lock_take(&t->host_lock, t->fd, CBD_LOCK_HOST(t->host), false, 0);
		if (r == -EBUSY)
			return 0; /* another process of this host beats */
		/* A daemon that may not open the file again (it changed its
		 * user) gets no lock and beats beside the process that has
		 * it: observers only see that the counter changes. */
		t->host_counter = cbd_host_counter(t, (unsigned)t->host);
	}
	r = assert_slot(t);
	if (r < 0)
		return r;
	beat.counter = ++t->host_counter;
	return cbd_line_put(t, cbd_host_info_at(t, (unsigned)t->host, CBD_HOST_BEAT), &beat);
}

int cbd_host_beat(struct cbd_transport *t)
{
	int r;

	pthread_mutex_lock(&t->host_mutex);
	r = beat_locked(t);
	pthread_mutex_unlock(&t->host_mutex);
	return r;
}

int cbd_host_renew(struct cbd_transport *t)
{
	int r = 0;

	pthread_mutex_lock(&t->host_mutex);
	if (t->in_use.fd >= 0)
		r = cbd_lock_renew(&t->in_use);
	if (r == 0 && t->member_lock.fd >= 0)
		r = cbd_lock_renew(&t->member_lock);
	if (r == 0 && t->host_lock.fd >= 0)
		cbd_lock_release(&t->host_lock); /* taken again at the next beat */
	pthread_mutex_unlock(&t->host_mutex);
	return r < 0 ? cbd_error(-r, "%s: cannot lock: %m", t->path) : 0;
}
