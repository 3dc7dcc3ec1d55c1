/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cbd-format.h - what lies in the shared memory of a cbd transport.
 *
 * This header is an ABI between hosts.  It owns the layout and the numbers;
 * how they are used is told in docs/protocol.md, and cbd-format(5) shows the
 * same as tables.
 *
 * Everything is little-endian, of fixed width and without implicit padding.
 * The unit of a message is one 64-byte line: on memory that is not coherent
 * between hosts, order is guaranteed only inside a line (CXL 3.1, 3.3 "CXL.mem":
 * the unit of transfer is 64 bytes).  So a line has one writer, carries what
 * identifies it, and ends in a CRC32C (RFC 3720, appendix B.4) of its first 60
 * bytes.  Reserved fields are written as zero and ignored by readers, so that
 * a feature may give them a meaning.
 *
 * This is version 1.  It stays: tests/images has transports of it that every later
 * release opens.
 *
 * A "page" is 4096 bytes.  Each page below names its one writer; in claim
 * pages each line has a writer of its own.
 */
#ifndef CBD_FORMAT_H
#define CBD_FORMAT_H

#include <stdint.h>

#ifdef __cplusplus
#define CBD_PIN(type, size) static_assert(sizeof(type) == (size), #type)
extern "C" {
#else
#define CBD_PIN(type, size) _Static_assert(sizeof(type) == (size), #type)
#endif

#define CBD_MAGIC "CBDshmem" /* 8 bytes, no terminator in memory */
#define CBD_FORMAT_VERSION 1 /* does not change; what is added has a feature bit */

#define CBD_LINE_SIZE 64
#define CBD_PAGE_SIZE 4096
#define CBD_LINES_PER_PAGE (CBD_PAGE_SIZE / CBD_LINE_SIZE)
#define CBD_UNIT_SIZE 4096 /* data area: unit of allocation and of splitting */

/* Limits of version 1.  A header beyond them is refused. */
#define CBD_MAX_HOSTS 64
#define CBD_MAX_BACKENDS 64
#define CBD_MAX_BLKDEVS 256
#define CBD_MAX_CHANNELS 256 /* per backend */
#define CBD_MIN_DEPTH 1
#define CBD_MAX_DEPTH 4096 /* ring slots N of a channel, a power of two */
#define CBD_MIN_CHANNEL_SIZE (1u << 20)
#define CBD_MAX_CHANNEL_SIZE (16u << 20)
#define CBD_LABEL_SIZE 64 /* with the terminating 0 */
#define CBD_TEXT_SIZE 56  /* bytes of text in a text line, no terminator */
#define CBD_NAME_LINES 1
#define CBD_PATH_LINES 4
#define CBD_MAX_RUNS 512	  /* in the answer to a BLOCK_STATUS, which fits into a unit */
#define CBD_MAX_STATUS (1u << 31) /* bytes that one BLOCK_STATUS SE asks about */

struct cbd_area {
	uint64_t offset; /* bytes from the start of the transport */
	uint64_t length; /* bytes */
};
CBD_PIN(struct cbd_area, 16);

/* Kind of memory, fixed at format. */
enum cbd_memory {
	CBD_MEMORY_HARDWARE = 1, /* every host sees every store, in order */
	CBD_MEMORY_SOFTWARE = 2, /* hosts write back and invalidate lines */
};

#define CBD_HEADER_DATA_CRC 1u /* flags: payload always carries a CRC */

/*
 * Feature words, as in other on-media formats: an unknown bit in `incompat`
 * refuses the transport, in `ro_compat` allows reading lists only, in `compat`
 * is ignored.  Version 1 knows none yet.
 */
#define CBD_COMPAT_KNOWN 0ull
#define CBD_INCOMPAT_KNOWN 0ull
#define CBD_RO_COMPAT_KNOWN 0ull

/*
 * Header page, at offset 0 and again at the start of the copy area at the end
 * of the transport.  Writer: format (and `check --repair`), nobody else.  It
 * is followed, in the next page, by the channel table: one struct cbd_area
 * for channel c of backend b at index b * channels + c.
 */
struct cbd_header {
	char magic[8];
	uint32_t version;
	uint32_t header_size; /* of this struct, 4096 */
	uint64_t compat;
	uint64_t incompat;
	uint64_t ro_compat;
	uint8_t uuid[16]; /* new at each format; seeds every CRC */
	uint64_t size;	  /* bytes of the whole transport */
	uint32_t coherence;
	uint32_t page_size; /* 4096 */
	uint32_t hosts;	    /* slots in each table */
	uint32_t backends;
	uint32_t blkdevs;
	uint32_t channels;     /* per backend */
	uint32_t ring_slots;   /* N of each ring, a power of two */
	uint32_t heartbeat_ms; /* interval of a beat */
	uint32_t dead_after;   /* K: unchanged samples until suspect */
	uint32_t flags;	       /* CBD_HEADER_* */
	struct cbd_area header_area;
	struct cbd_area host_area;
	struct cbd_area backend_area;
	struct cbd_area blkdev_area;
	struct cbd_area channel_area;
	struct cbd_area copy_area;
	uint64_t channel_size; /* bytes, as asked for; the table is what counts */
	uint64_t created;      /* seconds since 1970, for people */
	uint32_t table_entries;
	uint32_t table_crc; /* CRC32C of the table, seeded by the uuid */
	char label[CBD_LABEL_SIZE];
	uint8_t reserved[3804];
	uint32_t crc; /* CRC32C of the 4092 bytes before */
};
CBD_PIN(struct cbd_header, 4096);

/* ------------------------------------------------------------------ lines */

/* Any line, for code that only checks or seals it. */
struct cbd_line {
	uint8_t body[60];
	uint32_t crc;
};
CBD_PIN(struct cbd_line, 64);

/*
 * Claim of a backend or blkdev slot by one host; line h of the slot's claim
 * page is written by host h alone.  The highest raised generation owns.
 */
enum cbd_claim_state {
	CBD_CLAIM_NONE = 0,
	CBD_CLAIM_RAISED = 1,
	CBD_CLAIM_RELEASED = 2, /* by its owner, after it wrote all lines back */
	CBD_CLAIM_DEAD = 3,	/* by another process of the same boot, which
				 * held the owner's lock and wrote its lines back */
};

struct cbd_claim_line {
	uint64_t generation;
	uint8_t owner[16];   /* random, one for each claim */
	uint8_t boot_id[16]; /* of the owner's kernel */
	uint64_t lock_dev;   /* st_dev and st_ino of the locked file, as the */
	uint64_t lock_ino;   /* owner's kernel numbers them */
	uint32_t state;	     /* enum cbd_claim_state */
	uint32_t crc;
};
CBD_PIN(struct cbd_claim_line, 64);

/* Line 0 of a host slot's claim page.  Taken by compare-and-swap of `token`
 * from 0 in hardware mode, by write, wait and check in software mode. */
struct cbd_host_claim_line {
	uint64_t token; /* first 8 bytes of uuid, with bit 0 set */
	uint8_t uuid[16];
	uint8_t reserved[36];
	uint32_t crc;
};
CBD_PIN(struct cbd_host_claim_line, 64);

/* Of a host slot.  LEFT: it is the host's still, but the last process of that boot has
 * closed the transport in order. */
enum cbd_host_state {
	CBD_HOST_FREE = 0,
	CBD_HOST_IN_USE = 1,
	CBD_HOST_LEFT = 2,
};

struct cbd_host_line {
	uint8_t uuid[16];
	uint8_t boot_id[16];
	uint32_t incarnation; /* raised when the boot id changes */
	uint32_t state;	      /* enum cbd_host_state */
	uint8_t reserved[20];
	uint32_t crc;
};
CBD_PIN(struct cbd_host_line, 64);

/* Heartbeat: counter goes up by one a beat.  Only its change means anything;
 * clocks of two hosts are never compared. */
struct cbd_beat_line {
	uint64_t counter;
	uint32_t incarnation; /* of the object */
	uint8_t reserved[48];
	uint32_t crc;
};
CBD_PIN(struct cbd_beat_line, 64);

/* UTF-8, not terminated when full.  A long text uses several lines. */
struct cbd_text_line {
	char text[CBD_TEXT_SIZE];
	uint32_t reserved;
	uint32_t crc;
};
CBD_PIN(struct cbd_text_line, 64);

/* A host's request to a backend slot: a newcomer never writes the owner's
 * line.  Writer: host. */
enum cbd_host_request {
	CBD_HOST_REQUEST_NONE = 0,
	CBD_HOST_REQUEST_TAKEOVER = 1,
	CBD_HOST_REQUEST_DRAIN = 2,
	CBD_HOST_REQUEST_CLEAR = 3,
};

struct cbd_host_request_line {
	uint64_t sequence;
	uint32_t request;     /* enum cbd_host_request */
	uint32_t incarnation; /* of the backend that is asked */
	uint8_t owner[16];    /* who asks */
	uint64_t argument;
	uint8_t reserved[20];
	uint32_t crc;
};
CBD_PIN(struct cbd_host_request_line, 64);

enum cbd_slot_state {
	CBD_SLOT_FREE = 0,
	CBD_SLOT_STARTING = 1,
	CBD_SLOT_LIVE = 2,
	CBD_SLOT_DRAINING = 3,
	CBD_SLOT_HANDOVER = 4, /* another process takes over: wait */
	CBD_SLOT_GONE = 5,     /* stopped in order: wait */
	CBD_SLOT_ABANDONED = 6 /* detached without the backend's answer */
};

/* State of a backend or blkdev slot.  Writer: the owner of the claim.
 * `incarnation` is raised at every claim and never lowered, not by clear. */
struct cbd_state_line {
	uint32_t incarnation;
	uint16_t state; /* enum cbd_slot_state */
	uint16_t host;	/* host slot of the owner */
	uint8_t owner[16];
	uint8_t boot_id[16];
	uint32_t pid;	   /* on the owner's host, for people */
	uint16_t backend;  /* blkdev: the backend it uses */
	uint16_t count;	   /* backend: attached blkdevs; blkdev: queues */
	uint16_t handlers; /* backend */
	uint8_t reserved[10];
	uint32_t crc;
};
CBD_PIN(struct cbd_state_line, 64);

#define CBD_GEOMETRY_ROTATIONAL 1u
#define CBD_GEOMETRY_READ_ONLY 2u
#define CBD_GEOMETRY_WRITE_THROUGH 4u
#define CBD_GEOMETRY_DISCARD 8u	   /* DISCARD does something */
#define CBD_GEOMETRY_FAST_ZERO 16u /* FAST_ZERO may succeed */

struct cbd_geometry_line {
	uint64_t size;	     /* bytes */
	uint32_t generation; /* raised by a resize */
	uint32_t logical_block;
	uint32_t physical_block;
	uint32_t optimal_block;
	uint32_t max_data;  /* bytes of payload in one SE */
	uint32_t max_range; /* bytes of one DISCARD or WRITE_ZEROES SE */
	uint32_t flags;	    /* CBD_GEOMETRY_* */
	uint8_t reserved[24];
	uint32_t crc;
};
CBD_PIN(struct cbd_geometry_line, 64);

/* What tells that it is the same disk, and whether it lost something. */
#define CBD_IDENTITY_SETTLED 1u /* stopped in order, with everything synced */

struct cbd_identity_line {
	uint8_t disk_id[32];	/* stable id, as the engine defines it */
	uint64_t disk_identity; /* digest of id and logical block */
	uint64_t verifier;	/* opaque; see rule 8 of docs/protocol.md */
	uint64_t source;	/* what the engine gave for it */
	uint32_t flags;		/* CBD_IDENTITY_* */
	uint32_t crc;
};
CBD_PIN(struct cbd_identity_line, 64);

struct cbd_access_line {
	uint64_t allow_hosts; /* bit h: host slot h may attach; 0: all may */
	uint32_t max_blkdevs;
	uint32_t features; /* offered, CBD_FEATURE_* */
	uint8_t reserved[44];
	uint32_t crc;
};
CBD_PIN(struct cbd_access_line, 64);

/* Attach and detach.  Writer: blkdev. */
enum cbd_request_state {
	CBD_REQUEST_NONE = 0,
	CBD_REQUEST_ATTACH = 1,
	CBD_REQUEST_DETACH = 2,
	CBD_REQUEST_ABANDONED = 3,
};

#define CBD_REQUEST_READ_ONLY 1u

struct cbd_request_line {
	uint32_t incarnation; /* of the blkdev */
	uint32_t sequence;    /* random at first, raised at each request */
	uint16_t state;	      /* enum cbd_request_state */
	uint16_t backend;
	uint16_t host;
	uint16_t queues;
	uint16_t depth;
	uint16_t flags;	   /* CBD_REQUEST_* */
	uint32_t features; /* offered, CBD_FEATURE_* */
	uint8_t reserved[36];
	uint32_t crc;
};
CBD_PIN(struct cbd_request_line, 64);

/* A backend's answer to blkdev slot d, in line d of its reply pages.  It
 * echoes incarnation and sequence: without the echo a new blkdev would take
 * the grant of its dead predecessor. */
enum cbd_reply_state {
	CBD_REPLY_NONE = 0,
	CBD_REPLY_GRANTED = 1,
	CBD_REPLY_REFUSED = 2,
	CBD_REPLY_DETACHED = 3,
};

enum cbd_refusal {
	CBD_REFUSED_NOT = 0,
	CBD_REFUSED_BUSY = 1,	   /* max_blkdevs are attached */
	CBD_REFUSED_HOST = 2,	   /* this host is not allowed */
	CBD_REFUSED_CHANNELS = 3,  /* no free channel */
	CBD_REFUSED_READ_ONLY = 4, /* reserved */
	CBD_REFUSED_REQUEST = 5,   /* the request makes no sense */
	CBD_REFUSED_STOPPING = 6,
};

struct cbd_reply_line {
	uint32_t incarnation; /* echo */
	uint32_t sequence;    /* echo */
	uint32_t backend_incarnation;
	uint16_t state;		 /* enum cbd_reply_state */
	uint16_t reason;	 /* enum cbd_refusal */
	uint32_t features;	 /* accepted, CBD_FEATURE_* */
	uint16_t channels;	 /* granted */
	uint16_t depth;		 /* granted, for each channel */
	uint8_t channel_map[32]; /* bit c: channel c of the backend's pool */
	uint32_t reserved;
	uint32_t crc;
};
CBD_PIN(struct cbd_reply_line, 64);

/* Rung by a blkdev when it has written a request or a leave line; not for entries
 * (rule 4 of docs/protocol.md). */
struct cbd_doorbell_line {
	uint64_t count;
	uint32_t incarnation;
	uint8_t reserved[48];
	uint32_t crc;
};
CBD_PIN(struct cbd_doorbell_line, 64);

/* Grant G of one channel.  Writer: backend; nobody else writes an epoch. */
enum cbd_grant_state {
	CBD_GRANT_FREE = 0,
	CBD_GRANT_GRANTED = 1,
	CBD_GRANT_LEAVING = 2,	   /* the blkdev has left this epoch (its leave line): the
				    * channel drains; else it is asked to leave it */
	CBD_GRANT_QUARANTINED = 3, /* claim or lines of its blkdev cannot be read, so it may
				    * be using the channel: not reused */
	CBD_GRANT_CLOSED = 4,	   /* the administrator has cleared the backend: ESHUTDOWN */
};

struct cbd_grant_line {
	uint64_t epoch;	      /* backend incarnation << 32 | grant count, never 0 */
	uint32_t incarnation; /* of the blkdev */
	uint16_t blkdev;      /* its slot */
	uint16_t queue;
	uint16_t ring_slots; /* N */
	uint16_t depth;	     /* D <= N: SEs in flight */
	uint16_t state;	     /* enum cbd_grant_state */
	uint16_t reserved0;
	uint32_t data_page;  /* data area: first page, from the channel's start */
	uint32_t data_pages; /* and its length in pages */
	uint64_t disk_identity;
	uint64_t verifier;
	uint32_t geometry_generation;
	uint32_t features; /* accepted, CBD_FEATURE_* */
	uint32_t reserved1;
	uint32_t crc;
};
CBD_PIN(struct cbd_grant_line, 64);

/* "I leave epoch e".  Writer: blkdev. */
enum cbd_leave_reason {
	CBD_LEAVE_NOT = 0,
	CBD_LEAVE_BAD_ENTRY = 1, /* a CE line stayed bad */
	CBD_LEAVE_UNKNOWN_TID = 2,
	CBD_LEAVE_STALLED = 3,	/* nothing moves, the backend is alive */
	CBD_LEAVE_BAD_RATE = 4, /* too many bad payloads */
	CBD_LEAVE_TIMEOUT = 5,
};

struct cbd_leave_line {
	uint64_t epoch;
	uint32_t incarnation; /* of the blkdev */
	uint32_t reason;      /* enum cbd_leave_reason */
	uint8_t reserved[44];
	uint32_t crc;
};
CBD_PIN(struct cbd_leave_line, 64);

/* Bell and sleep flag: one 32-bit word at the start of a line, used by
 * processes of one boot only (futex), so without CRC.  A hint, never proof. */
struct cbd_word_line {
	uint32_t word;
	uint8_t reserved[60];
};
CBD_PIN(struct cbd_word_line, 64);

/* ------------------------------------------------------------------ rings */

enum cbd_se_op {
	CBD_SE_OP_READ = 1,
	CBD_SE_OP_WRITE = 2,
	CBD_SE_OP_FLUSH = 3,
	CBD_SE_OP_DISCARD = 4,
	CBD_SE_OP_WRITE_ZEROES = 5,
	CBD_SE_OP_BLOCK_STATUS = 6, /* with CBD_FEATURE_BLOCK_STATUS */
};

#define CBD_SE_FUA 1u	    /* durable before its CE */
#define CBD_SE_MAY_TRIM 2u  /* WRITE_ZEROES may deallocate */
#define CBD_SE_FAST_ZERO 4u /* WRITE_ZEROES: ENOTSUP rather than slow */
#define CBD_SE_FLAGS_KNOWN 7u

#define CBD_FEATURE_DATA_CRC 1u
#define CBD_FEATURE_BLOCK_STATUS 2u
#define CBD_FEATURES_KNOWN 3u

/* Submission entry at position p of an epoch, in slot p mod N.  Writer:
 * blkdev.  The CRC is seeded by transport, channel, direction and epoch. */
struct cbd_se {
	uint64_t position;
	uint64_t epoch;
	uint32_t tid;
	uint16_t op;	      /* enum cbd_se_op */
	uint16_t flags;	      /* CBD_SE_* */
	uint64_t offset;      /* bytes, on the disk */
	uint32_t length;      /* bytes */
	uint32_t data_crc;    /* of a WRITE's payload, with CBD_FEATURE_DATA_CRC */
	uint64_t data_offset; /* bytes from the start of the data area */
	uint64_t auth;	      /* reserved for an authentication tag */
	uint32_t room;	      /* bytes, of the data area for the answer to a BLOCK_STATUS */
	uint32_t crc;
};
CBD_PIN(struct cbd_se, 64);

/*
 * The payload of the answer to a BLOCK_STATUS: up to CBD_MAX_RUNS of these, which follow
 * one another from the offset of the SE on.  Writer: backend.  They may end before the
 * range does, never behind it.
 */
struct cbd_run {
	uint32_t length; /* bytes, not 0 */
	uint32_t flags;	 /* CBD_RUN_*; 0: data */
};
CBD_PIN(struct cbd_run, 8);

#define CBD_RUN_HOLE 1u /* not allocated */
#define CBD_RUN_ZERO 2u /* reads as zeroes */
#define CBD_RUN_FLAGS_KNOWN 3u

/* Results are the project's own numbers: errno differs between systems. */
enum cbd_result {
	CBD_RESULT_OK = 0,
	CBD_RESULT_IO = 1,
	CBD_RESULT_NOSPC = 2,
	CBD_RESULT_PERM = 3,
	CBD_RESULT_INVAL = 4,
	CBD_RESULT_NOTSUP = 5,
	CBD_RESULT_NOMEM = 6,
	CBD_RESULT_OVERFLOW = 7,
	CBD_RESULT_BADCRC = 8, /* payload did not match: copied again */
	CBD_RESULT_SHUTDOWN = 9,
};

/* Completion entry number c of an epoch, in slot c mod N.  Writer: backend. */
struct cbd_ce {
	uint64_t count;
	uint64_t epoch;
	uint32_t tid;
	uint32_t result;   /* enum cbd_result */
	uint64_t aux;	   /* reserved for operations with a 64-bit answer */
	uint32_t length;   /* bytes of payload that came back */
	uint32_t data_crc; /* of the same */
	uint64_t auth;	   /* reserved for an authentication tag */
	uint8_t reserved[12];
	uint32_t crc;
};
CBD_PIN(struct cbd_ce, 64);

/* -------------------------------------------------------------- counters */

/*
 * What an owner has counted since it took its slot: a block of sealed lines.  A value only
 * goes up, as long as the incarnations in the head are the same; of a channel a handler
 * counts from zero for each blkdev.  The owner stores its block at a beat: the lines whose
 * values have changed, four of the others in turn (which heals what was damaged; all of
 * them the first time), and last the head, whose digest covers the CRCs of all of them.
 * So a reader knows whether the lines that it has read belong together.  A line that is
 * zero, or of another incarnation than the head (an earlier owner's), counts as zero: in
 * the digest too.
 *
 * There is a block in the counters page of each backend and blkdev slot, from its start;
 * and two of each channel, from line CBD_CHANNEL_COUNTERS of its pages on: what its
 * handler has counted (page 0) and what its queue has (page 1).
 */
#define CBD_COUNTED_OPS 12     /* enum cbd_se_op; a number beyond counts as 0 */
#define CBD_LATENCIES 3	       /* READ, WRITE, all others */
#define CBD_LATENCY_BUCKETS 36 /* of each */
#define CBD_BUCKETS_PER_LINE 6
#define CBD_LATENCY_LINES (CBD_LATENCY_BUCKETS / CBD_BUCKETS_PER_LINE)
#define CBD_COUNTER_LINES 48
#define CBD_COUNTER_RESERVED (CBD_COUNTER_LINES - 4 - CBD_COUNTED_OPS - 3 * CBD_LATENCY_LINES)

struct cbd_counter_head {
	uint64_t sequence;  /* of the block: raised by one at each store */
	uint64_t uptime_ns; /* since it began to count from zero, by the owner's clock */
	uint64_t stored_ns; /* time of the day there, since 1970, for people */
	uint16_t slot;	    /* of a channel: its blkdev, */
	uint16_t queue;	    /* and the queue of that */
	uint32_t digest;    /* CRC32C, seeded by the uuid, of the CRCs of the 47 other lines */
	uint32_t blkdev_incarnation; /* of a channel: of its blkdev; else 0 */
	uint8_t reserved[20];
	uint32_t incarnation; /* of the owner, as in its state line */
	uint32_t crc;
};
CBD_PIN(struct cbd_counter_head, 64);

/* Requests of one operation.  A handler counts SEs: parts of requests. */
struct cbd_counter_op_line {
	uint64_t sequence; /* of the block when the line has changed last */
	uint64_t requests; /* ended */
	uint64_t begun;	   /* the difference is in flight */
	uint64_t bytes;	   /* of those that ended well */
	uint64_t errors;   /* of those that ended */
	uint64_t timed;	   /* of those that ended: their time was taken */
	uint64_t time_ns;  /* of these together */
	uint32_t incarnation;
	uint32_t crc;
};
CBD_PIN(struct cbd_counter_op_line, 64);

struct cbd_counter_event_line {
	uint64_t sequence;
	uint64_t bad_payloads; /* blkdev: a payload did not check; handler: BADCRC answered */
	uint64_t resends;      /* blkdev: SEs that were sent again for that */
	uint64_t retries;      /* payloads that were copied again, because their CRC was wrong */
	uint64_t time_outs;    /* blkdev: requests that have timed out */
	uint64_t losses;       /* that unflushed writes may have been lost */
	uint64_t reserved;
	uint32_t incarnation;
	uint32_t crc;
};
CBD_PIN(struct cbd_counter_event_line, 64);

struct cbd_counter_epoch_line {
	uint64_t sequence;
	uint64_t epochs;    /* blkdev: entered; backend: granted */
	uint64_t left;	    /* blkdev: asked to leave; backend: left, or asked to be left */
	uint64_t silent_ns; /* blkdev: its backend was suspect */
	uint64_t reserved[3];
	uint32_t incarnation;
	uint32_t crc;
};
CBD_PIN(struct cbd_counter_epoch_line, 64);

/* Time of the threads that wait for entries: the leader of a queue, a handler. */
struct cbd_counter_wait_line {
	uint64_t sequence;
	uint64_t poll_ns;  /* awake: spins and yields */
	uint64_t sleep_ns; /* asleep */
	uint64_t sleeps;   /* how often */
	uint64_t reserved[3];
	uint32_t incarnation;
	uint32_t crc;
};
CBD_PIN(struct cbd_counter_wait_line, 64);

/* Bucket k counts times below 2^(k+8) ns that no lower bucket does; the last one all
 * that are longer too. */
struct cbd_counter_latency_line {
	uint64_t sequence;
	uint64_t bucket[CBD_BUCKETS_PER_LINE];
	uint32_t incarnation;
	uint32_t crc;
};
CBD_PIN(struct cbd_counter_latency_line, 64);

struct cbd_counter_block {
	struct cbd_counter_head head;
	struct cbd_counter_event_line events;
	struct cbd_counter_epoch_line epochs;
	struct cbd_counter_wait_line waits;
	struct cbd_counter_op_line ops[CBD_COUNTED_OPS];
	struct cbd_counter_latency_line latency[CBD_LATENCIES][CBD_LATENCY_LINES];
	struct cbd_line reserved[CBD_COUNTER_RESERVED]; /* zero */
};
CBD_PIN(struct cbd_counter_block, CBD_COUNTER_LINES *CBD_LINE_SIZE);

/* ------------------------------------------------------- places in a slot */

/* Host slot: page 0 claim (line 0), page 1 written by the host, then request
 * pages written by the host, line b for backend slot b. */
enum { CBD_HOST_CLAIM, CBD_HOST_INFO, CBD_HOST_REQUESTS };
enum { CBD_HOST_STATE, CBD_HOST_BEAT, CBD_HOST_NAME };

/* Backend slot: page 0 claims (line h: host h), page 1 and 2 (its counters) written by the
 * backend, then its reply pages, line d for blkdev slot d. */
enum { CBD_BACKEND_CLAIMS, CBD_BACKEND_INFO, CBD_BACKEND_COUNTERS, CBD_BACKEND_REPLIES };
enum {
	CBD_BACKEND_STATE,
	CBD_BACKEND_BEAT,
	CBD_BACKEND_GEOMETRY,
	CBD_BACKEND_IDENTITY,
	CBD_BACKEND_ACCESS,
	CBD_BACKEND_NAME,
	CBD_BACKEND_PATH, /* CBD_PATH_LINES lines */
};

/* Blkdev slot: page 0 claims, page 1 and 2 written by the blkdev. */
enum { CBD_BLKDEV_CLAIMS, CBD_BLKDEV_INFO, CBD_BLKDEV_COUNTERS, CBD_BLKDEV_PAGES };
enum { CBD_BLKDEV_STATE, CBD_BLKDEV_BEAT, CBD_BLKDEV_REQUEST, CBD_BLKDEV_DOORBELL };

/* Channel: page 0 written by the backend, page 1 by the blkdev, then the SE
 * ring (blkdev), the CE ring (backend), both rounded up to pages, and the
 * data area, whose extents change hands with the entries that name them. */
enum { CBD_CHANNEL_BACKEND, CBD_CHANNEL_BLKDEV, CBD_CHANNEL_RINGS };
enum { CBD_CHANNEL_GRANT, CBD_CHANNEL_CE_BELL, CBD_CHANNEL_HANDLER_SLEEPS };
enum { CBD_CHANNEL_LEAVE, CBD_CHANNEL_SE_BELL, CBD_CHANNEL_BLKDEV_SLEEPS };
#define CBD_CHANNEL_COUNTERS 16 /* in both pages: a struct cbd_counter_block, to the end */

/*
 * OFD byte-range locks (fcntl(2)) on the transport's file or device node, one
 * byte a slot, far beyond any file's end.  They are proof between processes of
 * one boot that see the same (st_dev, st_ino), and nothing else.
 */
#define CBD_LOCK_BASE 0x4000000000000000ll
#define CBD_LOCK_HOST(h) (CBD_LOCK_BASE + (h))
#define CBD_LOCK_MEMBER(h) (CBD_LOCK_BASE + 0x800 + (h)) /* shared: each process of the host */
#define CBD_LOCK_BLKDEV(d) (CBD_LOCK_BASE + 0x1000 + (d))
#define CBD_LOCK_BACKEND(b) (CBD_LOCK_BASE + 0x2000 + (b))
#define CBD_LOCK_TAKEOVER(b) (CBD_LOCK_BASE + 0x2800 + (b)) /* asks for a backend slot */
#define CBD_LOCK_JOIN (CBD_LOCK_BASE + 0x3000)		    /* host slots, sweeping */
#define CBD_LOCK_FORMAT (CBD_LOCK_BASE + 0x3001)	    /* shared: in use */

#ifdef __cplusplus
}
#endif

#endif
