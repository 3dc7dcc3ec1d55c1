/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cbd.h - public interface of libcbd: a block device through shared memory.
 *
 * Three groups: transports (format, open, list), the blkdev side (submit and
 * complete block I/O) and the handler side (serve a disk).  A program uses one
 * side; a test may use both in one process.
 *
 * Errors.  Functions that return int return 0 or a count on success and a
 * negative errno on failure, and leave a message for people in cbd_errmsg().
 * The library prints nothing; see cbd_set_log().  NULL for a transport or a place
 * for a result, an id or a number that the transport has not, and a transport
 * that is open for reading only where one has to write (-EROFS), are such failures.
 * Handles that were closed, or that are not of the kind, are not found out.
 *
 * Growth.  A function that takes a structure of options or a geometry, or fills in
 * a structure of information, takes its size too, as openat2(2) does:
 * f(..., &options, sizeof(options)).
 *   To the library: members beyond SIZE are zero.  Bytes of SIZE that this version
 *   does not know must be zero, else -E2BIG: the caller asks for something that
 *   the library cannot do.  NULL stands for a structure of zeroes.
 *   From the library: it fills in what both know, and zeroes the rest of SIZE.
 * Zero is the default of every member.  struct cbd_io and struct cbd_completion, which
 * come in arrays, do not grow: they have reserved members.  Structures to which the
 * library gives a pointer (cbd_problem, cbd_request) may grow at their end.
 * Reserved members must be zero, else -EINVAL.
 *
 * Signals.  cbd_transport_open() installs a handler for SIGBUS, which turns a
 * poisoned or truncated mapping into an error of one request, and passes
 * every other SIGBUS to the handler that was there before.  The library's own
 * threads block all signals but SIGBUS, SIGSEGV, SIGFPE and SIGILL.
 *
 * Fork.  Between cbd_blkdev_open() and cbd_blkdev_start() a process may fork
 * and go on in the child (a daemon does); after cbd_blkdev_start() the mapping
 * is not inherited any more.
 */
#ifndef CBD_H
#define CBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Versions are compared as numbers: #if CBD_VERSION >= CBD_VERSION_NUMBER(1, 2, 0). */
#define CBD_VERSION_NUMBER(major, minor, patch) ((major)*1000000 + (minor)*1000 + (patch))
#define CBD_VERSION_MAJOR 1
#define CBD_VERSION_MINOR 0
#define CBD_VERSION_PATCH 0
#define CBD_VERSION CBD_VERSION_NUMBER(CBD_VERSION_MAJOR, CBD_VERSION_MINOR, CBD_VERSION_PATCH)
#define CBD_VERSION_STRING "1.0.0"

/* The version of the library that runs, as "1.0.0" and as CBD_VERSION.  Any thread.
 * At the end of this header there is a macro CBD_HAVE_... for each function. */
const char *cbd_version(void);
unsigned cbd_version_number(void);

/* The message of the last failure in this thread, never NULL.  Owned by the
 * library, valid until the thread's next call. */
const char *cbd_errmsg(void);

enum cbd_log_level { CBD_LOG_ERROR, CBD_LOG_WARNING, CBD_LOG_INFO, CBD_LOG_DEBUG };

/*
 * Events that no caller waits for (a backend is gone or back, a channel was
 * left) are told to this function, from any thread, without a lock of the library
 * (it may call the library, but should not wait for I/O), without a trailing
 * newline.  Set it before the first transport is opened; NULL (the default)
 * drops them.
 */
typedef void cbd_log_fn(void *opaque, enum cbd_log_level level, const char *message);
void cbd_set_log(cbd_log_fn *fn, void *opaque);

/* ------------------------------------------------------------ transports */

struct cbd_transport;
struct iovec; /* sys/uio.h */

/* How stores of one host become visible to another: see cbd(7). */
enum cbd_coherence {
	CBD_COHERENCE_AUTO = 0,	    /* format: by the kind of file */
	CBD_COHERENCE_HARDWARE = 1, /* every host sees every store */
	CBD_COHERENCE_SOFTWARE = 2, /* libcbd writes back and invalidates */
};

/* What to format.  A zero takes the default in brackets. */
struct cbd_format_options {
	uint64_t size;	       /* bytes; a file is created or grown to it [as it is] */
	uint32_t hosts;	       /* [16] */
	uint32_t backends;     /* [4] */
	uint32_t blkdevs;      /* [16] */
	uint32_t channels;     /* per backend [8] */
	uint32_t channel_size; /* bytes [as fits, 1M..16M] */
	uint32_t depth;	       /* ring slots, a power of two [128] */
	uint32_t heartbeat_ms; /* [500] */
	uint32_t dead_after;   /* [10] */
	enum cbd_coherence coherence;
	uint32_t force; /* 1: over file systems and dead owners; 2: over any */
	bool data_crc;	/* payload CRC in hardware mode too */
	bool sparse;	/* a file's data areas take memory when they are used */
	uint8_t reserved[6];
	const char *label; /* up to 63 bytes, or NULL */
};

/*
 * Write an empty transport to PATH (a file, which may be new when size is
 * given, or a devdax device).  Refused with -EEXIST when PATH carries a
 * transport already, or is a file with a file system or the like (see force), -EBUSY when it
 * is in use, -EINVAL when the geometry does not fit.
 */
int cbd_format(const char *path, const struct cbd_format_options *options, size_t size);

/*
 * Open and map a transport; nothing is written.  The header is checked whole;
 * when it is damaged and its copy is sound, the copy serves, and `damaged` of
 * cbd_transport_get() tells so.  *t is owned by the caller; close it
 * after everything that was opened on it.
 */
#define CBD_TRANSPORT_READ_ONLY 1u /* for lists; also allows unknown ro_compat features */
int cbd_transport_open(const char *path, unsigned flags, struct cbd_transport **t);
void cbd_transport_close(struct cbd_transport *t);

/*
 * Take part as a host: find or take the host slot of this machine, by its identity, or
 * slot HOST_ID, which the operator has reserved for it.  A transport takes part as one
 * host until it is closed.  Opening a blkdev or a backend joins by identity, if nothing
 * has joined before.  Return the slot.
 * -EADDRINUSE: another machine with the same identity is alive in the slot;
 * -EEXIST: HOST_ID belongs to another machine; -ENOSPC: no free slot; -EINVAL: no such
 * slot, or joined as another host already.
 */
int cbd_transport_join(struct cbd_transport *t);
int cbd_transport_join_as(struct cbd_transport *t, unsigned host_id);

/* --------------------------------------------------------------- listing */

enum cbd_liveness {
	CBD_FREE,      /* nobody's */
	CBD_ALIVE,     /* its counter moves */
	CBD_SUSPECT,   /* it does not: perhaps dead */
	CBD_DEAD,      /* proven so; its slot is free to take */
	CBD_UNDECIDED, /* not watched for long enough */
};

/* What the owner of a backend or blkdev slot says of itself.  A value comes from shared
 * memory: it may be one that this version does not know. */
enum cbd_state {
	CBD_STATE_FREE = 0,
	CBD_STATE_STARTING = 1,
	CBD_STATE_LIVE = 2,
	CBD_STATE_DRAINING = 3,
	CBD_STATE_HANDOVER = 4,	 /* another process takes over */
	CBD_STATE_GONE = 5,	 /* it stopped in order */
	CBD_STATE_ABANDONED = 6, /* it detached without the backend's answer */
};

/* What a backend says of one of its channels; as above. */
enum cbd_channel_state {
	CBD_CHANNEL_STATE_FREE = 0,
	CBD_CHANNEL_STATE_GRANTED = 1,
	CBD_CHANNEL_STATE_LEAVING = 2,	   /* its blkdev is asked to begin anew, or has asked
					    * to, and what was fetched is answered */
	CBD_CHANNEL_STATE_QUARANTINED = 3, /* claim or lines of its blkdev are damaged, so it
					    * may be in use: not reused */
	CBD_CHANNEL_STATE_CLOSED = 4,	   /* the administrator has cleared the backend */
};

#define CBD_NAME_SIZE 64  /* of a name, with the terminating 0 */
#define CBD_PATH_SIZE 256 /* the same of a path */

enum cbd_object { CBD_OBJECT_HOST, CBD_OBJECT_BACKEND, CBD_OBJECT_BLKDEV };

struct cbd_transport_info {
	uint8_t uuid[16]; /* new at each format */
	uint64_t size;	  /* bytes */
	uint64_t created; /* seconds since 1970 */
	uint64_t channel_size;
	uint64_t compat, incompat, ro_compat; /* feature words of the format */
	uint32_t version;		      /* of the format */
	enum cbd_coherence coherence;
	uint32_t hosts, backends, blkdevs; /* slots */
	uint32_t channels;		   /* of each backend */
	uint32_t depth;			   /* slots of each ring */
	uint32_t heartbeat_ms;
	uint32_t dead_after;
	bool data_crc;
	bool damaged; /* the header is, and its copy served */
	uint8_t reserved[2];
	char label[64];
};

struct cbd_host_info {
	uint32_t id;
	enum cbd_liveness liveness;
	uint8_t uuid[16], boot_id[16];
	char name[CBD_NAME_SIZE];
	bool local; /* it is this boot of this machine */
	uint8_t reserved[7];
};

struct cbd_backend_info {
	uint32_t id;
	uint32_t incarnation;
	uint32_t host_id;
	uint32_t pid;
	uint32_t blkdevs, max_blkdevs;
	uint32_t handlers;
	enum cbd_state state;
	enum cbd_liveness liveness;
	uint32_t logical_block, physical_block, optimal_block;
	bool local; /* its process is of this boot of this machine */
	bool rotational, read_only, write_through, discard, fast_zero;
	bool block_status;
	uint8_t reserved[1];
	uint64_t size;	      /* bytes */
	uint64_t allow_hosts; /* bit h: host h may attach; 0: all */
	uint64_t disk_identity, verifier;
	char name[CBD_NAME_SIZE];
	char path[CBD_PATH_SIZE];
};

struct cbd_blkdev_info {
	uint32_t id;
	uint32_t incarnation;
	uint32_t host_id;
	uint32_t backend_id;
	uint32_t pid;
	uint32_t queues;
	enum cbd_state state;
	enum cbd_liveness liveness;
	bool read_only;
	bool local; /* its process is of this boot of this machine */
	uint8_t reserved[6];
};

struct cbd_channel_info {
	uint32_t backend_id, id;
	uint32_t blkdev_id, queue;
	uint32_t depth, ring_slots;
	enum cbd_channel_state state;
	uint32_t reserved;
	uint64_t epoch;
	uint64_t offset, length; /* bytes, in the transport */
	uint64_t data_size;
};

/*
 * Watch all heartbeats for long enough to decide every slot that is in use:
 * two intervals when all beat, dead_after + 1 when one does not.  Blocks; on a busy
 * machine for longer, but at most 2 * (dead_after + 2) intervals that are 0.5 s longer.
 * What is not decided by then stays CBD_UNDECIDED.
 * Without it the liveness of the functions below is CBD_UNDECIDED.  One
 * thread at a time.
 */
int cbd_transport_watch(struct cbd_transport *t);

/* Read the header's private copy, or slot ID.  -EINVAL: no such slot.  A free slot
 * gives CBD_FREE.  Any thread. */
int cbd_transport_get(const struct cbd_transport *t, struct cbd_transport_info *info, size_t size);
int cbd_host_get(struct cbd_transport *t, unsigned id, struct cbd_host_info *info, size_t size);
int cbd_backend_get(struct cbd_transport *t, unsigned id, struct cbd_backend_info *info,
		    size_t size);
int cbd_blkdev_get(struct cbd_transport *t, unsigned id, struct cbd_blkdev_info *info, size_t size);
int cbd_channel_get(struct cbd_transport *t, unsigned backend, unsigned id,
		    struct cbd_channel_info *info, size_t size);

/* -------------------------------------------------------------- counters */

#define CBD_COUNTED_OPS 12     /* by enum cbd_op */
#define CBD_LATENCIES 3	       /* by enum cbd_latency */
#define CBD_LATENCY_BUCKETS 36 /* bucket k: less than 2^(k+8) ns; the last one: all more too */

enum cbd_latency { CBD_LATENCY_READ, CBD_LATENCY_WRITE, CBD_LATENCY_OTHER };

/* Requests of one operation; of a backend: parts of requests. */
struct cbd_op_counters {
	uint64_t requests; /* ended */
	uint64_t begun;	   /* at least as many: the difference is in flight */
	uint64_t bytes;	   /* of those that ended well */
	uint64_t errors;   /* of those that ended */
	uint64_t timed;	   /* of those that ended: their time was taken */
	uint64_t time_ns;  /* of these together */
};

/*
 * What the owner of a slot has counted since it took it, as of its last beat.  The values
 * are of one instant, but for a request or two that a handler ended meanwhile.  They are the
 * owner's word: another host may have written any there.
 */
struct cbd_counters {
	uint32_t incarnation;	     /* of the owner */
	uint32_t blkdev_incarnation; /* of a channel: of its blkdev; else 0 */
	uint64_t sequence;	     /* raised each time that they are stored */
	uint64_t uptime_ns; /* since it began to count from zero, by the owner's clock: for rates */
	uint64_t stored_ns; /* since 1970, by its clock: for people */
	/* blkdev: payloads that did not check, SEs that were sent again for that; backend:
	 * payloads that stayed bad.  Payloads that were copied again because of their CRC */
	uint64_t bad_payloads, resends, retries;
	uint64_t time_outs;   /* blkdev: requests that have timed out */
	uint64_t losses;      /* that writes which were not flushed may be lost */
	uint64_t epochs;      /* blkdev: entered; backend: granted */
	uint64_t epochs_left; /* because something was damaged or stood still */
	uint64_t silent_ns;   /* blkdev: in which its backend did not beat */
	/* of the threads that wait for entries: awake, asleep, and how often */
	uint64_t poll_ns, sleep_ns, sleeps;
	struct cbd_op_counters ops[CBD_COUNTED_OPS];
	uint64_t latency[CBD_LATENCIES][CBD_LATENCY_BUCKETS]; /* requests that were timed */
};

/*
 * The counters of a backend (CBD_OBJECT_BACKEND: from fetched to answered) or blkdev
 * (CBD_OBJECT_BLKDEV: from submitted to complete), living or not: those of the slot's last
 * owner stay until the next one stores its own.  -ENODATA: it has stored none; -EBADMSG:
 * they are damaged, or the owner died while it stored them; -EINVAL: no such slot or kind.
 * Any thread.
 */
int cbd_counters_get(struct cbd_transport *t, enum cbd_object object, unsigned id,
		     struct cbd_counters *counters, size_t size);

/* The same of channel ID of a backend, while it is granted: as its handler counts
 * (COUNTED_BY CBD_OBJECT_BACKEND) or its queue (CBD_OBJECT_BLKDEV).  Those of a handler
 * have no waits, which are of all channels together. */
int cbd_channel_counters_get(struct cbd_transport *t, unsigned backend, unsigned id,
			     enum cbd_object counted_by, struct cbd_counters *counters,
			     size_t size);

/* -------------------------------------------------------- check and clear */

enum cbd_verdict {
	CBD_CHECK_NOTE,	    /* sound, for people to know */
	CBD_CHECK_DAMAGED,  /* and nothing was done about it */
	CBD_CHECK_REPAIRED, /* written again */
	CBD_CHECK_LEFT,	    /* not repaired: somebody may be using it */
};

struct cbd_problem {
	const char *object; /* "backend 1: state line" */
	const char *what;   /* "is damaged (CRC)" */
	uint64_t offset;    /* bytes, of the line; 0 for the header */
	enum cbd_verdict verdict;
	uint32_t reserved;
};

/* Called by cbd_transport_check(), in its thread, once for each finding;
 * PROBLEM is valid during the call. */
typedef void cbd_check_fn(void *opaque, const struct cbd_problem *problem);

/*
 * Look at the header, its copy and every control line.  Works on a live
 * transport and then takes some heartbeats, as lines that look damaged may be
 * under way; blocks as cbd_transport_watch().  Without CBD_CHECK_REPAIR nothing
 * is written.  Returns the number of problems that are there still, 0 for a
 * sound transport.  -EBADMSG: header and copy are both damaged; anything else:
 * it could not be checked.
 */
#define CBD_CHECK_REPAIR 1u /* restore what no owner may be using */
int cbd_transport_check(const char *path, unsigned flags, cbd_check_fn *fn, void *opaque);

struct cbd_clear_options {
	uint64_t hosts_gone; /* bit h: the operator says that host h is off or was booted */
	bool force;	     /* the same of whichever host a suspect owner is on */
	uint8_t reserved[7];
};

/*
 * Free slot ID of a kind: its owner is proven dead, or gone by the operator's
 * word.  A host gives back all its slots.  -ENOENT: it is not in use; -EBUSY:
 * it is alive, or only suspect, and the message names the owner; -EINVAL: no
 * such slot, or the owner is on a host that is not in hosts_gone.  Blocks as
 * cbd_transport_watch().
 */
int cbd_clear(struct cbd_transport *t, enum cbd_object object, unsigned id,
	      const struct cbd_clear_options *options, size_t size);

/*
 * The process of this host that has slot ID of a kind (backend or blkdev): for a signal
 * to it.  What a slot says of its process is not to be acted upon; this is, because the
 * kernel says that the process holds the slot's lock.  0: it is not known: no owner, or
 * one of another host.  -EACCES: the slot has an owner on this host, and this process may
 * not look whether it is the one that the slot names.  -EINVAL: no such slot.
 */
int cbd_owner_pid(struct cbd_transport *t, enum cbd_object object, unsigned id);

/* --------------------------------------------------------------- waiting */

enum cbd_poll {
	CBD_POLL_ADAPTIVE, /* spin while it pays, then yield, then sleep */
	CBD_POLL_BUSY,	   /* spin; one CPU for each waiting thread */
	CBD_POLL_SLEEP,	   /* hardly spin */
};

/* "adaptive", "busy", "sleep"; -EINVAL for anything else. */
int cbd_poll_parse(const char *text, enum cbd_poll *poll);

/* ---------------------------------------------------------- blkdev side */

struct cbd_blkdev;
struct cbd_queue;

struct cbd_blkdev_options {
	const char *backend; /* id or name of the backend; required */
	unsigned queues;     /* 0: one */
	unsigned depth;	     /* SEs in flight for each queue; 0: all slots */
	enum cbd_poll poll;
	unsigned timeout_s;	    /* seconds from its submission until a request ends with
				     * EIO; 0: never while the backend is away or has another
				     * disk, else after five minutes without an answer */
	unsigned attach_timeout_ms; /* wait for a backend that may come; 0: as
				     * long as its suspicion takes, and up to
				     * a minute while it beats */
	unsigned max_requests;	    /* submitted and not reaped, for each queue; 0: 8192 */
	bool read_only;
	uint8_t reserved[7];
};

struct cbd_blkdev_geometry {
	uint64_t size; /* bytes */
	uint32_t logical_block, physical_block, optimal_block;
	uint32_t max_data; /* bytes of one part; larger requests are split */
	bool rotational, read_only, discard, fast_zero, write_through;
	bool block_status; /* BLOCK_STATUS tells more than "data" */
	uint8_t reserved[2];
};

/*
 * Claim a blkdev slot, attach to the backend and get a channel for each queue.
 * Starts no thread.  -ENOENT: no backend has this name, or it is not running; -EINVAL:
 * no such slot; -EBUSY: it has its maximum of blkdevs, or no slot or channel is free;
 * -EACCES: it does not admit this host; -ETIMEDOUT: it is suspect or does not answer.
 */
int cbd_blkdev_open(struct cbd_transport *t, const struct cbd_blkdev_options *options, size_t size,
		    struct cbd_blkdev **blkdev);

/* Start the heartbeat thread, in the process that will do the I/O. */
int cbd_blkdev_start(struct cbd_blkdev *b);

/*
 * Wait no longer for a backend that is gone: requests end with -EIO, these and
 * later ones, as soon as it is suspect or serves another disk, and in any case 30 s
 * after the first call.  For a program that is told to end while its threads are in
 * cbd_queue_execute().  Any thread.
 */
void cbd_blkdev_stop_waiting(struct cbd_blkdev *b);

/* Whether the backend has not been seen to beat for so long that its requests
 * wait for it.  Any thread. */
bool cbd_blkdev_suspects(const struct cbd_blkdev *b);

/* Drain, detach, release the slot, free everything.  No call on the blkdev
 * may be under way.  Bounded, also when the backend is dead. */
void cbd_blkdev_close(struct cbd_blkdev *b);

void cbd_blkdev_geometry(const struct cbd_blkdev *b, struct cbd_blkdev_geometry *geometry,
			 size_t size);
unsigned cbd_blkdev_id(const struct cbd_blkdev *b);
unsigned cbd_blkdev_queues(const struct cbd_blkdev *b);

/* Queue I of 0..queues-1; owned by the blkdev. */
struct cbd_queue *cbd_blkdev_queue(struct cbd_blkdev *b, unsigned i);

/*
 * A connection is what a loss of unflushed data is reported to: each one that
 * was open at the loss gets one failed flush.  So does one whose user may have
 * come again, from a process that is dead: that is each one, until a flush of any
 * connection that was submitted after its beginning has succeeded.  Programs with
 * one user need none: NULL below means the blkdev's own, for which only its own
 * writes count.  Close it with no I/O under way, before or after its blkdev.
 */
struct cbd_connection;
struct cbd_connection *cbd_connection_open(struct cbd_blkdev *b); /* NULL: see cbd_errmsg() */
void cbd_connection_close(struct cbd_connection *c);

enum cbd_op {
	CBD_OP_READ = 1,
	CBD_OP_WRITE = 2,
	CBD_OP_FLUSH = 3,
	CBD_OP_DISCARD = 4,
	CBD_OP_WRITE_ZEROES = 5,
	CBD_OP_BLOCK_STATUS = 6, /* what is data, hole, zeroes */
};

#define CBD_IO_FUA 1u	    /* durable before it completes */
#define CBD_IO_MAY_TRIM 2u  /* WRITE_ZEROES may deallocate */
#define CBD_IO_FAST_ZERO 4u /* WRITE_ZEROES: -EOPNOTSUPP rather than slow */

/* What LENGTH bytes of the disk are.  The bits have the values of NBD's base:allocation. */
#define CBD_BLOCK_HOLE 1u /* not allocated: to write there takes space */
#define CBD_BLOCK_ZERO 2u /* reads as zeroes */
struct cbd_block_status {
	uint64_t length; /* bytes, of any alignment */
	uint32_t flags;	 /* CBD_BLOCK_*; 0: data, or not known */
	uint32_t reserved;
};

/*
 * One request.  Any offset, length and alignment inside the device; 64 MiB is
 * as good as 512 bytes: libcbd splits.  What an operation does not need is not looked
 * at: offset and length of a FLUSH, the buffers of all but READ and WRITE, blocks of all
 * but BLOCK_STATUS.
 */
struct cbd_io {
	enum cbd_op op;
	unsigned flags;		 /* CBD_IO_* */
	uint64_t offset;	 /* bytes */
	uint64_t length;	 /* bytes */
	void *buf;		 /* READ, WRITE: held by libcbd until completion, and not to be
			  * changed meanwhile (its CRC is taken twice) */
	const struct iovec *iov; /* or pieces of LENGTH bytes together; the array too is
				  * held until completion, and buf is NULL */
	uint32_t iovcnt;	 /* 0: buf; up to 1024 */
	uint32_t reserved0;
	struct cbd_connection *connection; /* or NULL */
	void *cookie;			   /* given back with the completion */
	struct cbd_block_status *blocks;   /* BLOCK_STATUS: takes the answer; held by libcbd until
					    * completion */
	uint32_t n_blocks;		   /* room there, from 1 on; more than 512 is of no use */
	uint32_t reserved1;
	uint64_t reserved[1];
};

struct cbd_completion {
	void *cookie;
	const char *message; /* of an error, for people; NULL: none.  Static */
	int result;	     /* 0 or a negative errno; of a BLOCK_STATUS the number of its blocks */
	uint32_t reserved0;
	uint64_t reserved;
};

/*
 * Submit N requests, in order; any thread.  Returns how many were taken: 0 to N, and
 * N but for an error in the one after them; the message tells of that one.  A negative
 * errno when the first was refused:
 * -EAGAIN: max_requests are submitted and not reaped; -EINVAL: beyond the end or
 * nonsense; -EPERM: write to a read-only blkdev; -ENOMEM.
 * A full ring is no error: requests wait inside the queue.  A request of length 0
 * completes at once.
 */
int cbd_queue_submit(struct cbd_queue *q, const struct cbd_io *ios, unsigned n);

/*
 * Reap up to MAX completions of cbd_queue_submit().  Waits until there are MIN of them
 * for up to TIMEOUT_MS (-1: without end); with MIN 0 it does not wait.  Returns their
 * number, which is less than MIN when the time was over.  Any thread; several threads
 * may poll one queue, each completion goes to one of them.  -EINVAL: MIN is more
 * than MAX.
 */
int cbd_queue_poll(struct cbd_queue *q, struct cbd_completion *completions, unsigned min,
		   unsigned max, int timeout_ms);

/*
 * For event loops: a file descriptor to wait on, and what makes it tell.
 *
 *	fd = cbd_queue_fd(q);
 *	for (;;) {
 *		do
 *			while ((n = cbd_queue_poll(q, done, 0, MAX, 0)) > 0)
 *				...;
 *		while (cbd_queue_arm(q) > 0);
 *		... wait until fd is readable (POLLIN), or for something else ...
 *	}
 *
 * cbd_queue_fd() returns the descriptor of the queue; the first call starts a thread
 * that waits for answers in this one's place.  It belongs to the queue, until
 * cbd_blkdev_close(): do not read from it, nor close it.
 *
 * cbd_queue_arm() returns 1 when there may be something to reap: poll again.  With 0
 * the descriptor, which is not readable now, becomes so when there is, once; what came
 * since the poll counts.  It may also become readable for nothing.  cbd_queue_poll()
 * ends that: who has called it arms again before he waits.  -EINVAL: cbd_queue_fd() was
 * not called.  Any thread; one of them at a time waits on the descriptor.
 */
int cbd_queue_fd(struct cbd_queue *q);
int cbd_queue_arm(struct cbd_queue *q);

/*
 * As cbd_queue_arm(), for a thread that can wait for a futex beside descriptors, as
 * io_uring(7) can (IORING_OP_FUTEX_WAIT, Linux 6.7): it saves the wake-up of the thread
 * behind the descriptor.  With 0 *BELL is NULL, when the descriptor alone tells (the other
 * side is on another host), or a word of shared memory: wait for the descriptor and for a
 * change or a wake of *BELL, which is a futex of 32 bits, not private, and was VALUE.  Which
 * of them comes first counts.  The word stays readable until cbd_blkdev_close(); a fault
 * of its memory ends the wait with EFAULT, then use cbd_queue_arm().
 * -EINVAL: cbd_queue_fd() was not called; no place for an answer.
 */
int cbd_queue_arm_bell(struct cbd_queue *q, const uint32_t **bell, uint32_t *value);

/* Submit one request and wait for it; any thread.  io->cookie is not used.  Returns what
 * `result` of a completion is. */
int cbd_queue_execute(struct cbd_queue *q, const struct cbd_io *io);

/* The same, by name.  Return 0 or a negative errno. */
int cbd_queue_read(struct cbd_queue *q, void *buf, size_t length, uint64_t offset);
int cbd_queue_write(struct cbd_queue *q, const void *buf, size_t length, uint64_t offset,
		    unsigned flags);
int cbd_queue_flush(struct cbd_queue *q);
int cbd_queue_discard(struct cbd_queue *q, uint64_t length, uint64_t offset, unsigned flags);
int cbd_queue_write_zeroes(struct cbd_queue *q, uint64_t length, uint64_t offset, unsigned flags);

/*
 * Which parts of a range are data, which are holes or zeroes: fills in up to N of BLOCKS,
 * which follow one another from OFFSET on, and returns how many, at least 1 unless LENGTH
 * is 0.  The answer may end before the range does, never behind it: go on from there.  A
 * backend that cannot tell, or is of a version that does not know this operation, makes
 * the answer "data" (see block_status of the geometry); so does all that is in doubt.
 * The answer is of a moment between submission and completion, as what a READ brings:
 * a write that was complete before is in it, one that is in flight may be.
 */
int cbd_queue_block_status(struct cbd_queue *q, uint64_t length, uint64_t offset,
			   struct cbd_block_status *blocks, unsigned n);

/* --------------------------------------------------------- handler side */

struct cbd_backend;
struct cbd_handler;

struct cbd_disk_geometry {
	uint64_t size;	     /* bytes, a number of logical blocks */
	uint64_t verifier;   /* changes when acknowledged, unflushed data may be gone; its
			      * low 16 bits are 0: libcbd counts failed syncs there */
	uint8_t disk_id[32]; /* stable: the same disk gives the same id on any host */
	/* bytes, powers of two from 512 on; 0: 512, or as the one before */
	uint32_t logical_block, physical_block, optimal_block;
	bool rotational, read_only, write_through, discard, fast_zero;
	bool block_status; /* the engine answers BLOCK_STATUS; else no such request comes */
	uint8_t reserved[6];
};

struct cbd_backend_options {
	const char *name;      /* up to 56 bytes, or NULL */
	const char *path;      /* of the disk, for lists; or NULL */
	uint64_t allow_hosts;  /* bit h: host h may attach; 0: all */
	uint64_t fenced_hosts; /* bit h: host h is known to be off, or cut from the disk: if
				* it served this slot last, take the slot although the host
				* is silent only, or may still write back its page cache */
	unsigned id;
	unsigned handlers;    /* up to the channels of the transport; 0: one */
	unsigned max_blkdevs; /* 0: one */
	enum cbd_poll poll;
	bool replace; /* another disk than blkdevs are attached to is meant */
	uint8_t reserved[7];
};

/*
 * What speaks against serving a disk in slot options->id, before anything is changed
 * there.  cbd_backend_check_options(): -EINVAL for numbers that the transport does not
 * have, -EEXIST when another backend that lives has the name.  cbd_backend_check()
 * looks at the disk as well, unless options->replace: while blkdevs are attached that
 * are not proven dead, -EMEDIUMTYPE when they use another disk, -EFBIG when it has
 * shrunk, -EROFS when they write and it is read-only.  The transport is joined.
 */
int cbd_backend_check_options(struct cbd_transport *t, const struct cbd_backend_options *options,
			      size_t size);
int cbd_backend_check(struct cbd_transport *t, const struct cbd_backend_options *options,
		      size_t size, const struct cbd_disk_geometry *geometry, size_t geometry_size);

/* Whether slot ID publishes this disk, whoever serves it. */
bool cbd_backend_has_disk(struct cbd_transport *t, unsigned id,
			  const struct cbd_disk_geometry *geometry, size_t size);

/*
 * The host that has to be off, or cut from the disk, before this one may serve slot
 * ID: it owns the slot, or it served it last and may still write back old data.
 * Returns 1 and fills HOST, or 0 when there is none.
 */
int cbd_backend_to_fence(struct cbd_transport *t, unsigned id, struct cbd_host_info *host,
			 size_t size);

/*
 * Take a slot over from the process of this host that serves it (rule 7.6 of
 * docs/protocol.md).  begin asks for it, if there is such a process; -EBUSY: another
 * one asks already.  poll returns 1 when the slot is free to open, 0 while it is not,
 * -ETIMEDOUT after TIMEOUT_MS.  end says that it is done: before the backend was
 * published it means that this process gives up, and the old one goes on.  It does that
 * too when this process dies.  *takeover is owned by the caller until end.
 */
struct cbd_takeover;
int cbd_takeover_begin(struct cbd_transport *t, unsigned id, unsigned timeout_ms,
		       struct cbd_takeover **takeover);
int cbd_takeover_poll(struct cbd_takeover *takeover);
void cbd_takeover_end(struct cbd_takeover *takeover);

/*
 * Claim backend slot options->id.  Nothing is granted before
 * cbd_backend_publish().  -EBUSY: the slot has an owner (the message names it),
 * or another host that lives has served it, did not stop in order and may
 * still write data back (see fenced_hosts).  With those it takes as long as
 * a suspicion does: an owner that beats meanwhile is not believed to be cut off, -EBUSY.
 */
int cbd_backend_open(struct cbd_transport *t, const struct cbd_backend_options *options,
		     size_t size, struct cbd_backend **backend);

/* Publish the disk and begin to grant, once.  The caller holds the disk's lock. */
int cbd_backend_publish(struct cbd_backend *b, const struct cbd_disk_geometry *geometry,
			size_t size);

/*
 * The control work: beat, answer requests, grant, take back the channels of
 * those that detached or are proven dead.  Call it from one thread, again
 * after at most the milliseconds that it returns.  A negative value: the slot
 * was lost to another owner (stop at once) or the memory is gone.  When another
 * process asks to take over, it drains as if cbd_backend_drain() were called:
 * look at cbd_backend_drained() after each tick.
 */
int cbd_backend_tick(struct cbd_backend *b);

/* The disk has grown to SIZE bytes; attached blkdevs follow.  Control thread. */
int cbd_backend_resize(struct cbd_backend *b, uint64_t size);

/* Stop fetching and finish what was fetched; go on with tick and the handlers until
 * cbd_backend_drained().  The blkdevs wait for the next backend. */
void cbd_backend_drain(struct cbd_backend *b);
bool cbd_backend_drained(const struct cbd_backend *b);

/*
 * It has drained for a successor on this host, which shares the page cache: what was
 * written need not be synced.  Then cbd_backend_release() gives the slot up, with no
 * handler call under way, and cbd_backend_successor() tells whether the successor
 * serves, or has served and stopped in order since: 1; 0 while it is on its way; -ESRCH: it
 * is dead or has given up, so this process opens the disk's lock and the slot again, as a
 * new backend; -ETIMEDOUT: the same may be tried, it is too slow; -ESTALE: the transport
 * was formatted again, so there is nothing to take back.
 */
bool cbd_backend_handed_over(const struct cbd_backend *b);
void cbd_backend_release(struct cbd_backend *b);
int cbd_backend_successor(struct cbd_backend *b);

/* Tell of a failed sync, before its completion: the verifier changes.  Any
 * thread. */
void cbd_backend_data_lost(struct cbd_backend *b);

/* Release the slot.  No handler call may be under way; after a drain everything
 * that was acknowledged is on stable storage (unless handed over on this host),
 * so that another host may serve the disk. */
void cbd_backend_close(struct cbd_backend *b);

/* Handler I of 0..handlers-1, owned by the backend.  All calls on one handler
 * come from one thread. */
struct cbd_handler *cbd_backend_handler(struct cbd_backend *b, unsigned i);

/* One request on its way through a disk.  `buf` holds the payload of a WRITE,
 * takes that of a READ, and stays valid until cbd_handler_complete(). */
struct cbd_request {
	enum cbd_op op;
	unsigned flags;	 /* CBD_IO_* */
	uint64_t offset; /* bytes, inside the disk */
	uint32_t length; /* bytes */
	bool shared;	 /* buf lies in shared memory (no copy): the kernel's
			  * reads and writes there may come up short */
	uint8_t reserved[3];
	void *buf;
	void *opaque; /* the engine's */
};

/*
 * For engines whose disk is memory: copy the payload of a READ from FROM, that of
 * a WRITE to TO, which lie in the disk.  Any thread that owns the request.
 * cbd_request_load() stores 16 KiB and more around the cache.
 * cbd_request_store() is the last that is done to a READ before cbd_handler_complete():
 * with payload CRC it copies to the client at once, and buf stays as it was; what is
 * stored in buf afterwards reaches nobody, or with a wrong CRC.  After -EFAULT the data
 * may be brought into buf in another way.
 * -EFAULT: one of the two sides is poisoned or cut off by a truncation; a part may
 * have been copied.  cbd_request_persist() is cbd_request_load() to memory that is
 * durable itself (MAP_SYNC), and returns when the payload is.
 */
int cbd_request_store(const struct cbd_request *r, const void *from);
int cbd_request_load(const struct cbd_request *r, void *to);
int cbd_request_persist(const struct cbd_request *r, void *to);

/*
 * For engines, of a BLOCK_STATUS, before cbd_handler_complete(): the next LENGTH bytes of
 * its range, from its offset on, are FLAGS (CBD_BLOCK_*; 0: data).  What is said of bytes
 * behind the range, or finds no room, is left out, and all that is said later.  Say "zero" only of what is known to read as
 * zeroes after every write that was answered before the request was fetched.  Returns how
 * many bytes of the range were not told of yet; 0: it is done, or has no room for more.
 * A request that is completed with 0 before that gets a shorter answer, and the client
 * asks on; where nothing was told all is data.
 */
uint64_t cbd_request_add_blocks(struct cbd_request *r, uint64_t length, unsigned flags);

/*
 * Fetch up to MAX new requests of this handler's channels, without waiting.
 * Returns their number.  Everything in them was validated against the
 * channel and the disk.
 */
unsigned cbd_handler_fetch(struct cbd_handler *h, struct cbd_request **requests, unsigned max);

/*
 * May what was fetched go to the disk now?  False after this process was away
 * for so long that another one may have its place: ask right before each
 * submission, and keep the request until it may, or cbd_backend_tick() fails.
 */
bool cbd_handler_may_submit(const struct cbd_handler *h);

/*
 * Answer one request: result is 0 or a negative errno.  Any order.  The answer is on its way
 * to the client; the next cbd_handler_fetch(), _wait() or _arm() of this handler sees that it
 * gets there and wakes who fell asleep meanwhile, so one of them follows before this thread
 * waits for anything else.
 */
void cbd_handler_complete(struct cbd_handler *h, struct cbd_request *request, int result);

/* Requests that were fetched and not completed. */
unsigned cbd_handler_inflight(const struct cbd_handler *h);

/*
 * After a round that found nothing: wait by the poll policy until there may be
 * something to fetch, for at most MAX_US microseconds (an engine with I/O
 * under way gives a small bound).  Call cbd_handler_hit() after a round that
 * found something.  True: it has looked for about a microsecond, and by the policy
 * the next call looks again.  False: by the policy it is time to sleep, and it has
 * slept; with MAX_US 0 it has not, and the caller may sleep in its own way, for which
 * there is cbd_handler_arm().
 */
bool cbd_handler_wait(struct cbd_handler *h, unsigned max_us);
void cbd_handler_hit(struct cbd_handler *h);

/*
 * For event loops, as cbd_queue_fd() and cbd_queue_arm(): fetch until there is nothing,
 * arm, and when that returns 0 wait until the descriptor is readable.  1: fetch again.
 * Calls of cbd_handler_complete() come before the last fetch.  cbd_handler_fetch() and
 * cbd_handler_wait() end what was armed.  The descriptor belongs to the handler, until
 * cbd_backend_close().
 */
int cbd_handler_fd(struct cbd_handler *h);
int cbd_handler_arm(struct cbd_handler *h);

/* Wake a handler out of cbd_handler_wait(), or make its armed descriptor readable; the
 * next cbd_handler_arm() returns 1.  Any thread. */
void cbd_handler_wake(struct cbd_handler *h);

/* ---------------------------------------------------------------- features */

/* One for each function, so that a program can be built with older headers too. */
#define CBD_HAVE_BACKEND_CHECK 1
#define CBD_HAVE_BACKEND_CHECK_OPTIONS 1
#define CBD_HAVE_BACKEND_CLOSE 1
#define CBD_HAVE_BACKEND_DATA_LOST 1
#define CBD_HAVE_BACKEND_DRAIN 1
#define CBD_HAVE_BACKEND_DRAINED 1
#define CBD_HAVE_BACKEND_GET 1
#define CBD_HAVE_BACKEND_HANDED_OVER 1
#define CBD_HAVE_BACKEND_HANDLER 1
#define CBD_HAVE_BACKEND_HAS_DISK 1
#define CBD_HAVE_BACKEND_OPEN 1
#define CBD_HAVE_BACKEND_PUBLISH 1
#define CBD_HAVE_BACKEND_RELEASE 1
#define CBD_HAVE_BACKEND_RESIZE 1
#define CBD_HAVE_BACKEND_SUCCESSOR 1
#define CBD_HAVE_BACKEND_TICK 1
#define CBD_HAVE_BACKEND_TO_FENCE 1
#define CBD_HAVE_BLKDEV_CLOSE 1
#define CBD_HAVE_BLKDEV_GEOMETRY 1
#define CBD_HAVE_BLKDEV_GET 1
#define CBD_HAVE_BLKDEV_ID 1
#define CBD_HAVE_BLKDEV_OPEN 1
#define CBD_HAVE_BLKDEV_QUEUE 1
#define CBD_HAVE_BLKDEV_QUEUES 1
#define CBD_HAVE_BLKDEV_START 1
#define CBD_HAVE_BLKDEV_STOP_WAITING 1
#define CBD_HAVE_BLKDEV_SUSPECTS 1
#define CBD_HAVE_CHANNEL_COUNTERS_GET 1
#define CBD_HAVE_CHANNEL_GET 1
#define CBD_HAVE_CLEAR 1
#define CBD_HAVE_CONNECTION_CLOSE 1
#define CBD_HAVE_CONNECTION_OPEN 1
#define CBD_HAVE_COUNTERS_GET 1
#define CBD_HAVE_ERRMSG 1
#define CBD_HAVE_FORMAT 1
#define CBD_HAVE_HANDLER_ARM 1
#define CBD_HAVE_HANDLER_COMPLETE 1
#define CBD_HAVE_HANDLER_FD 1
#define CBD_HAVE_HANDLER_FETCH 1
#define CBD_HAVE_HANDLER_HIT 1
#define CBD_HAVE_HANDLER_INFLIGHT 1
#define CBD_HAVE_HANDLER_MAY_SUBMIT 1
#define CBD_HAVE_HANDLER_WAIT 1
#define CBD_HAVE_HANDLER_WAKE 1
#define CBD_HAVE_HOST_GET 1
#define CBD_HAVE_OWNER_PID 1
#define CBD_HAVE_POLL_PARSE 1
#define CBD_HAVE_QUEUE_ARM 1
#define CBD_HAVE_QUEUE_ARM_BELL 1
#define CBD_HAVE_QUEUE_BLOCK_STATUS 1
#define CBD_HAVE_QUEUE_DISCARD 1
#define CBD_HAVE_QUEUE_EXECUTE 1
#define CBD_HAVE_QUEUE_FD 1
#define CBD_HAVE_QUEUE_FLUSH 1
#define CBD_HAVE_QUEUE_POLL 1
#define CBD_HAVE_QUEUE_READ 1
#define CBD_HAVE_QUEUE_SUBMIT 1
#define CBD_HAVE_QUEUE_WRITE 1
#define CBD_HAVE_QUEUE_WRITE_ZEROES 1
#define CBD_HAVE_REQUEST_ADD_BLOCKS 1
#define CBD_HAVE_REQUEST_LOAD 1
#define CBD_HAVE_REQUEST_PERSIST 1
#define CBD_HAVE_REQUEST_STORE 1
#define CBD_HAVE_SET_LOG 1
#define CBD_HAVE_TAKEOVER_BEGIN 1
#define CBD_HAVE_TAKEOVER_END 1
#define CBD_HAVE_TAKEOVER_POLL 1
#define CBD_HAVE_TRANSPORT_CHECK 1
#define CBD_HAVE_TRANSPORT_CLOSE 1
#define CBD_HAVE_TRANSPORT_GET 1
#define CBD_HAVE_TRANSPORT_JOIN 1
#define CBD_HAVE_TRANSPORT_JOIN_AS 1
#define CBD_HAVE_TRANSPORT_OPEN 1
#define CBD_HAVE_TRANSPORT_WATCH 1
#define CBD_HAVE_VERSION 1
#define CBD_HAVE_VERSION_NUMBER 1

#ifdef __cplusplus
}
#endif

#endif
