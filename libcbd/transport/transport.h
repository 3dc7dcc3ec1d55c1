/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * transport.h - an open transport: the mapping, its header, and where each
 * slot lies.  Owns the mapping and the shared "in use" lock; what is in the
 * slots belongs to the files that claim them.
 */
#ifndef CBD_TRANSPORT_H
#define CBD_TRANSPORT_H

#include <pthread.h>
#include <sys/types.h>

#include "cbd.h"
#include "memory/coherence.h"
#include "slots/heartbeat.h"
#include "base/lock.h"

/* Who this process's host is; filled at open, tests may change it. */
struct cbd_identity {
	uint8_t uuid[16];
	uint8_t boot_id[16];
	char name[CBD_TEXT_SIZE + 1];
};

struct cbd_transport {
	struct cbd_mem mem;
	char *path;
	int fd; /* of the mapping; tests locks, never holds one */
	char *base;
	size_t map_length;
	bool read_only, damaged;
	dev_t dev;
	ino_t ino;
	struct cbd_header header;
	struct cbd_area *table; /* channels, private copy */
	uint32_t seed;		/* CRC of the uuid */
	struct cbd_lock in_use;
	struct cbd_identity identity;
	struct cbd_host_line host_line; /* as this host's boot wrote it */
	int host;			/* slot, -1: not joined */
	struct cbd_lock host_lock;	/* whoever holds it beats for the host */
	pthread_mutex_t host_mutex;	/* guards the beat of this process */
	uint64_t host_counter;
	uint64_t claims_damaged_ns; /* since when a sweep sees damaged claims; 0: none */
	struct cbd_watch *watches;  /* of cbd_transport_watch(), all tables */
	enum cbd_liveness *liveness;
};

/* What a path is, before it is mapped. */
struct cbd_file {
	int fd;
	uint64_t size;	/* usable bytes; 0: empty file */
	uint64_t align; /* of length and offset of a mapping */
	bool devdax, dax;
	dev_t dev;
	ino_t ino;
};

/* -ENOENT and so on, with a message.  CREATE makes a missing file. */
int cbd_file_open(const char *path, bool writable, bool create, struct cbd_file *file);

/* Map LENGTH bytes, rounded up to the file's alignment. */
int cbd_file_map(const struct cbd_file *file, const char *path, bool writable, uint64_t length,
		 char **base, size_t *map_length);

/* Pages of a slot in each table, from the header. */
unsigned cbd_host_pages(const struct cbd_header *h);
unsigned cbd_backend_pages(const struct cbd_header *h);

static inline void *cbd_host_line(const struct cbd_transport *t, unsigned host, unsigned page,
				  unsigned line)
{
	return t->base + t->header.host_area.offset +
	       ((size_t)host * cbd_host_pages(&t->header) + page) * CBD_PAGE_SIZE +
	       line * CBD_LINE_SIZE;
}

static inline void *cbd_backend_line(const struct cbd_transport *t, unsigned backend, unsigned page,
				     unsigned line)
{
	return t->base + t->header.backend_area.offset +
	       ((size_t)backend * cbd_backend_pages(&t->header) + page) * CBD_PAGE_SIZE +
	       line * CBD_LINE_SIZE;
}

static inline void *cbd_blkdev_line(const struct cbd_transport *t, unsigned blkdev, unsigned page,
				    unsigned line)
{
	return t->base + t->header.blkdev_area.offset +
	       ((size_t)blkdev * CBD_BLKDEV_PAGES + page) * CBD_PAGE_SIZE + line * CBD_LINE_SIZE;
}

static inline const struct cbd_area *cbd_channel_area(const struct cbd_transport *t,
						      unsigned backend, unsigned channel)
{
	return &t->table[backend * t->header.channels + channel];
}

static inline uint64_t cbd_interval_ns(const struct cbd_transport *t)
{
	return t->header.heartbeat_ms * 1000000ull;
}

/* How long until a silent object is suspect, as a bound for waiting. */
static inline uint64_t cbd_suspect_ns(const struct cbd_transport *t)
{
	return cbd_interval_ns(t) * (t->header.dead_after + 1);
}

/* ------------------------------------------------------- control lines */

/*
 * Read a control line: dropped, copied, its CRC checked on the copy, a torn
 * one tried again.  An all-zero line is an empty one.  -EBADMSG: damaged;
 * -EIO: the memory is poisoned or gone.
 */
int cbd_line_get(const struct cbd_transport *t, const void *line, void *copy);

/* Seal COPY and store it.  Only its one writer may. */
int cbd_line_put(const struct cbd_transport *t, void *line, void *copy);

/* A writer's beat: if the line in memory is not COPY, store it again. */
int cbd_line_assert(const struct cbd_transport *t, void *line, void *copy);

/* Seal a line that lies at OFFSET of a transport with this uuid seed. */
void cbd_line_seal(uint32_t seed, uint64_t offset, struct cbd_line *line);

/* The later of two incarnations; 0 is none. */
static inline uint32_t cbd_newer(uint32_t a, uint32_t b)
{
	if (!a || !b)
		return a ? a : b;
	return (int32_t)(a - b) > 0 ? a : b;
}

bool cbd_is_zero(const void *p, size_t len);

/*
 * Whether the memory is still of the format that was opened; -ESTALE: it was
 * formatted by force, and who stores its lines again damages those of others.
 * A header that is damaged, or just being written, says nothing.
 */
int cbd_transport_verify(const struct cbd_transport *t);

/* Random bytes, not for secrets. */
void cbd_random(void *p, size_t len);

/* 1 when the line in memory is not COPY, which is sealed here; 0; -EIO. */
int cbd_line_differs(const struct cbd_transport *t, const void *line, void *copy);

/* Store TEXT as COUNT text lines from LINE on, and read it back. */
typedef int cbd_line_fn(const struct cbd_transport *t, void *line, void *copy);
int cbd_text_each(const struct cbd_transport *t, char *line, unsigned count, const char *text,
		  cbd_line_fn *store);
int cbd_text_put(const struct cbd_transport *t, char *line, unsigned count, const char *text);
int cbd_text_assert(const struct cbd_transport *t, char *line, unsigned count, const char *text);
void cbd_text_get(const struct cbd_transport *t, const char *line, unsigned count, char *text);

#endif
