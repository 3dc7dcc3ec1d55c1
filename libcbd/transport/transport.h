/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport.h - an open transport: the mapping and its checked header.
 *
 * Owns the mapping and the shared "in use" lock, which keeps format away.  Also
 * holds what the process knows of its host slot and of other slots' liveness;
 * slots/host.c and slots/info.c own that.
 */
#ifndef CBD_TRANSPORT_H
#define CBD_TRANSPORT_H

#include <pthread.h>
#include <sys/types.h>

#include <cbd-format.h>
#include <cbd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "memory/coherence.h"
#include "base/identity.h"
#include "base/lock.h"
#include "transport/header.h"

struct cbd_transport {
	struct cbd_mem mem;
	char *path;
	char *full_path;	    /* absolute; NULL: unknown */
	pthread_mutex_t path_mutex; /* guards path_is: several threads beat */
	int path_is;		    /* enum path_is, of the last look */
	int fd;			    /* of the mapping; only asks for locks, never holds one */
	char *base;
	size_t map_length;
	bool read_only;
	bool damaged; /* the header is, and its copy is used */
	dev_t dev;
	ino_t ino;
	struct cbd_header header;
	struct cbd_area *table; /* of channels; a checked private copy, like header */
	uint32_t seed;		/* CRC of the uuid: of every CRC in this memory */
	struct cbd_lock in_use;
	struct cbd_identity identity;
	struct cbd_host_line host_line;		/* as this host's boot wrote it */
	int host;				/* slot, -1: not joined */
	void (*leave)(struct cbd_transport *t); /* set by the join: says that the host left */
	struct cbd_lock member_lock;		/* shared: this process is one of the host's */
	struct cbd_lock host_lock;		/* the process that holds it beats for the host */
	uint64_t host_counter;			/* as last stored in the host's beat line */
	pthread_mutex_t host_mutex;		/* guards host_line, the locks, host_counter */
	uint64_t claims_damaged_ns;	/* since when a sweep sees damaged claims; 0: none */
	pthread_mutex_t liveness_mutex; /* guards liveness */
	enum cbd_liveness *liveness;	/* as last watched, of all slots; NULL: never */
};

static inline uint64_t cbd_interval_ns(const struct cbd_transport *t)
{
	return t->header.heartbeat_ms * 1000000ull;
}

/* After how long without a beat an owner is suspect, as a bound for waiting. */
static inline uint64_t cbd_suspect_ns(const struct cbd_transport *t)
{
	return cbd_interval_ns(t) * (t->header.dead_after + 1);
}

/* Give the host's lock back: this process takes part in the transport no more. */
void cbd_host_leave(struct cbd_transport *t);

/* The later of two incarnations; 0 is none. */
static inline uint32_t cbd_newer(uint32_t a, uint32_t b)
{
	if (!a || !b)
		return a ? a : b;
	return (int32_t)(a - b) > 0 ? a : b;
}

/* -EINVAL: T is NULL. */
int cbd_transport_given(const struct cbd_transport *t);

/* The same; -EROFS: it was opened for reading only, and so is its mapping. */
int cbd_transport_writable(const struct cbd_transport *t);

/*
 * 0 while the memory still has the format that was opened.  -ESTALE: somebody formatted
 * it by force meanwhile, so this process must not store its lines again: they lie in
 * what others use now.  A header that is damaged or just being written counts as the
 * old one.
 */
int cbd_transport_verify(const struct cbd_transport *t);

/* Log, once each time, that the path names no file or another file by now: this
 * process goes on with what it has mapped, but who opens the path does not meet it.
 * At each beat, any thread. */
void cbd_transport_check_path(struct cbd_transport *t);

#endif
