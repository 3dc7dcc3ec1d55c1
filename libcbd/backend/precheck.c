/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * precheck.c - what speaks against serving a disk in a slot, found out before
 * anything is changed there (rules 7.5 and 7.7).
 *
 * Reads only.  What it finds may be another state when the slot is taken: so
 * cbd_backend_open() looks at the owner again, and the blkdevs at the disk.
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "backend/backend.h"
#include "base/error.h"
#include "base/sized.h"
#include "slots/host.h"
#include "slots/leftover.h"

uint64_t cbd_digest(uint64_t hash, const void *data, size_t len)
{
	for (const uint8_t *p = data; len--; p++)
		hash = (hash ^ *p) * 0x100000001b3ull;
	return hash;
}

uint64_t cbd_disk_digest(const struct cbd_disk_geometry *g)
{
	uint64_t hash = cbd_digest(0xcbf29ce484222325ull, g->disk_id, sizeof(g->disk_id));

	return cbd_digest(hash, &g->logical_block, sizeof(g->logical_block));
}

/* ---------------------------------------------------------------- options */

int cbd_options_check_numbers(const struct cbd_transport *t, const struct cbd_backend_options *o)
{
	const struct cbd_header *h = &t->header;

	if (o->id >= h->backends)
		return cbd_error(EINVAL, "%s: backend %u: the transport has 0..%u", t->path, o->id,
				 h->backends - 1);
	if (o->handlers > h->channels)
		return cbd_error(EINVAL,
				 "%s: handlers: %u is more than the %u channels of a backend",
				 t->path, o->handlers, h->channels);
	if (o->max_blkdevs > h->blkdevs)
		return cbd_error(EINVAL, "%s: max_blkdevs: %u is more than the %u of the transport",
				 t->path, o->max_blkdevs, h->blkdevs);
	if (o->name && strlen(o->name) > CBD_TEXT_SIZE)
		return cbd_error(EINVAL, "%s: name: longer than %d bytes", t->path, CBD_TEXT_SIZE);
	if (h->hosts < 64 && o->fenced_hosts >> h->hosts)
		return cbd_error(EINVAL, "%s: fenced_hosts: the transport has hosts 0..%u", t->path,
				 h->hosts - 1);
	return cbd_poll_check(o->poll);
}

static bool is_owned(struct cbd_transport *t, enum cbd_side side, unsigned slot)
{
	struct cbd_claim_line claim;

	return cbd_claim_owner(t, side, slot, &claim) >= 0 &&
	       !cbd_claim_is_dead(t, side, slot, &claim);
}

/* A name is for clients to find one backend by. */
static int check_name(struct cbd_transport *t, const struct cbd_backend_options *o)
{
	struct cbd_backend_info info;
	char host[100];

	for (unsigned b = 0; o->name && b < t->header.backends; b++) {
		if (b == o->id || !is_owned(t, CBD_SIDE_BACKEND, b) ||
		    cbd_backend_get(t, b, &info, sizeof(info)) < 0 ||
		    strcmp(info.name, o->name) != 0)
			continue;
		return cbd_error(EEXIST, "%s: name '%s': backend %u has it, process %u on %s",
				 t->path, o->name, b, info.pid,
				 cbd_host_describe(t, info.host_id, host, sizeof(host)));
	}
	return 0;
}

int cbd_options_check(struct cbd_transport *t, const struct cbd_backend_options *o)
{
	int r = cbd_options_check_numbers(t, o);

	return r < 0 ? r : check_name(t, o);
}

int cbd_backend_check_options(struct cbd_transport *t, const struct cbd_backend_options *options,
			      size_t size)
{
	struct cbd_backend_options o;
	int r = cbd_transport_given(t);

	if (r == 0)
		r = cbd_sized_get(&o, sizeof(o), options, size, "cbd_backend_options");
	return r < 0 ? r : cbd_options_check(t, &o);
}

/* ---------------------------------------------------------------- blkdevs */

/* A blkdev that uses the slot, and what it uses there. */
struct user {
	unsigned blkdev;
	int host;
	bool read_only;
	uint64_t disk_identity;
};

/* Does the channel that G grants have a blkdev that is not proven dead? */
static bool has_user(struct cbd_transport *t, unsigned backend, const struct cbd_grant_line *g,
		     struct user *user)
{
	struct cbd_claim_line claim;
	struct cbd_request_line q;

	if (g->epoch == 0 || (g->state != CBD_GRANT_GRANTED && g->state != CBD_GRANT_LEAVING &&
			      g->state != CBD_GRANT_QUARANTINED))
		return false;
	if (g->blkdev >= t->header.blkdevs || !is_owned(t, CBD_SIDE_BLKDEV, g->blkdev))
		return false;
	*user = (struct user){
		.blkdev = g->blkdev,
		.host = cbd_claim_owner(t, CBD_SIDE_BLKDEV, g->blkdev, &claim),
		.disk_identity = g->disk_identity,
	};
	/* what cannot be read may be its request */
	if (cbd_line_get(t, cbd_blkdev_info_at(t, g->blkdev, CBD_BLKDEV_REQUEST), &q) < 0)
		return true;
	user->read_only = q.flags & CBD_REQUEST_READ_ONLY;
	return q.state == CBD_REQUEST_ATTACH && q.backend == backend &&
	       q.incarnation == g->incarnation;
}

static int refuse_disk(struct cbd_transport *t, const struct cbd_backend_options *o,
		       const struct user *user)
{
	struct cbd_backend_info info = { .id = 0 };
	char host[100];

	cbd_backend_get(t, o->id, &info, sizeof(info));
	return cbd_error(EMEDIUMTYPE,
			 "%s: backend %u: blkdev %u of %s is attached to another disk, '%s'; "
			 "'%s' is not that one (--replace: serve it, and let the blkdev wait)",
			 t->path, o->id, user->blkdev,
			 cbd_host_describe(t, (unsigned)user->host, host, sizeof(host)), info.path,
			 o->path ? o->path : "");
}

static int refuse_size(struct cbd_transport *t, const struct cbd_backend_options *o,
		       const struct user *user, uint64_t was, uint64_t is)
{
	char host[100];

	return cbd_error(EFBIG,
			 "%s: backend %u: '%s' has shrunk from %llu to %llu bytes, and blkdev %u of "
			 "%s is attached (--replace: serve it nevertheless)",
			 t->path, o->id, o->path ? o->path : "", (unsigned long long)was,
			 (unsigned long long)is, user->blkdev,
			 cbd_host_describe(t, (unsigned)user->host, host, sizeof(host)));
}

static int refuse_read_only(struct cbd_transport *t, const struct cbd_backend_options *o,
			    const struct user *user)
{
	char host[100];

	return cbd_error(EROFS,
			 "%s: backend %u: blkdev %u of %s may write, and its writes would fail on "
			 "a read-only disk (--replace: serve it nevertheless)",
			 t->path, o->id, user->blkdev,
			 cbd_host_describe(t, (unsigned)user->host, host, sizeof(host)));
}

static int check_blkdevs(struct cbd_transport *t, const struct cbd_backend_options *o,
			 const struct cbd_disk_geometry *disk)
{
	uint64_t identity = cbd_disk_digest(disk);
	struct cbd_geometry_line old;
	struct cbd_grant_line g;
	struct cbd_channel ch;
	struct user user;

	if (cbd_line_get(t, cbd_backend_info_at(t, o->id, CBD_BACKEND_GEOMETRY), &old) < 0)
		memset(&old, 0, sizeof(old));
	for (unsigned c = 0; c < t->header.channels; c++) {
		cbd_channel_init(&ch, t, o->id, c);
		if (cbd_line_get(t, cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT), &g) < 0 ||
		    !has_user(t, o->id, &g, &user))
			continue;
		if (user.disk_identity != identity)
			return refuse_disk(t, o, &user);
		if (disk->size < old.size)
			return refuse_size(t, o, &user, old.size, disk->size);
		if (disk->read_only && !user.read_only && !(old.flags & CBD_GEOMETRY_READ_ONLY))
			return refuse_read_only(t, o, &user);
	}
	return 0;
}

int cbd_backend_check(struct cbd_transport *t, const struct cbd_backend_options *options,
		      size_t size, const struct cbd_disk_geometry *geometry, size_t geometry_size)
{
	struct cbd_backend_options o;
	struct cbd_disk_geometry g;
	int r = cbd_transport_given(t);

	if (r == 0)
		r = cbd_sized_get(&o, sizeof(o), options, size, "cbd_backend_options");
	if (r == 0)
		r = cbd_sized_get(&g, sizeof(g), geometry, geometry_size, "cbd_disk_geometry");
	if (r == 0)
		r = cbd_options_check(t, &o);
	return r < 0 || o.replace ? r : check_blkdevs(t, &o, &g);
}

bool cbd_backend_has_disk(struct cbd_transport *t, unsigned id,
			  const struct cbd_disk_geometry *geometry, size_t size)
{
	struct cbd_identity_line line;
	struct cbd_disk_geometry g;

	return t && id < t->header.backends &&
	       cbd_sized_get(&g, sizeof(g), geometry, size, "cbd_disk_geometry") == 0 &&
	       cbd_line_get(t, cbd_backend_info_at(t, id, CBD_BACKEND_IDENTITY), &line) == 0 &&
	       line.disk_identity == cbd_disk_digest(&g);
}

/* ------------------------------------------------------------------ hosts */

/* Rule 7.5.  The slot is free, but how was it left?  The page cache of another host may
 * hold what that host wrote. */
int cbd_backend_may_write_back(struct cbd_transport *t, unsigned id)
{
	int host = cbd_leftover_in_page_cache(t, id);

	return host == t->host ? -1 : host;
}

int cbd_backend_to_fence(struct cbd_transport *t, unsigned id, struct cbd_host_info *host,
			 size_t size)
{
	struct cbd_claim_line claim;
	int owner, r;

	r = cbd_transport_given(t);
	if (r < 0)
		return r;
	if (id >= t->header.backends)
		return cbd_error(EINVAL, "%s: backend %u: the transport has 0..%u", t->path, id,
				 t->header.backends - 1);
	owner = cbd_claim_owner(t, CBD_SIDE_BACKEND, id, &claim);
	if (owner < 0)
		owner = cbd_backend_may_write_back(t, id);
	if (owner < 0 || owner == t->host)
		return 0;
	r = cbd_host_get(t, (unsigned)owner, host, size);
	return r < 0 ? r : 1;
}
