/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbd.h - a disk that an NBD server has: its connections, and the file of this host
 * that stands for it.
 *
 * Owns what nbd-uri.c, nbd-state.c, nbd-conn.c, nbd-server.c, nbd-disk.c, nbd-op.c and
 * disk-nbd.c share.  disk.c uses the functions nbd_disk_*(), the engine (disk-nbd.c, nbd-op.c)
 * the rest.  docs/design.md, "Disks of
 * NBD servers", says why it is so.
 *
 * All connections that are in use at a time are a set.  A set is made as a whole by the
 * thread of nbd-server.c and given up as a whole when one of them breaks, so all of
 * its connections lead to the same run of the server, and a flush on one of them says
 * something of all.
 */
#ifndef CBD_BACKEND_NBD_H
#define CBD_BACKEND_NBD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <libnbd.h>

#include "disk.h"

#define NBD_MAX_QUEUES 256u
#define NBD_ASSUMED_BLOCK 512u	    /* of a server that does not tell */
#define NBD_MAX_REQUEST (32u << 20) /* the same */
#define NBD_ANSWER_MS 10000u	    /* for what this process asks for itself */
#define NBD_FENCE_MS 5000u	    /* an old run of writes is over by then */
#define NBD_RETRY_MIN_MS 20u
#define NBD_RETRY_MAX_MS 1000u

/* What a server can do, asked from one connection. */
struct nbd_abilities {
	uint64_t size;
	uint32_t block, preferred, largest; /* bytes */
	bool read_only, rotational;
	bool flush, fua, trim, zero, fast_zero, multi_conn, block_status;
};

struct nbd_conn {
	pthread_mutex_t lock;	   /* of the handle and all below */
	struct nbd_handle *handle; /* NULL: none now */
	unsigned generation;	   /* of the set that it belongs to */
	struct nbd_abilities can;
};

/* The file of this host that is locked in place of the disk (nbd-state.c). */
struct nbd_state {
	uint64_t serial; /* how many processes have had the lock for writing */
	uint64_t source; /* of the verifier */
	bool clean;	 /* the last one has ended in order, with everything flushed */
};

struct nbd {
	struct disk *disk;
	char *known_as; /* scheme, place and export, normalised */

	/*
	 * Read side: an answer of the set in force is passed on, and the next request is
	 * sent.  Write side: the set is given up.  So nothing that a lost server has
	 * acknowledged is passed on after its loss was counted.
	 */
	pthread_rwlock_t order;
	_Atomic unsigned generation; /* of the set in force; changed on the write side */
	_Atomic unsigned installed;  /* changes with each set; odd while its handles are stored */
	_Atomic uint64_t written;    /* changes that were passed on and are not durable */
	_Atomic uint64_t flushed;    /* `written` when a flush was sent that has succeeded */
	_Atomic unsigned failures;   /* of flushes, at the server */
	bool loss_due;		     /* the next queue tells libcbd; on the write side */

	_Atomic bool paused;	    /* nothing new is sent: a set is to be replaced in order */
	_Atomic unsigned in_flight; /* commands that were sent and not answered */
	_Atomic unsigned writes;    /* those of them that change the disk */
	_Atomic uint64_t answer_ns; /* when the server answered last */

	struct nbd_conn conns[NBD_MAX_QUEUES];
	unsigned n_conns;	    /* of a set */
	struct nbd_abilities first; /* when the disk was opened: blocks do not change */

	/* Between the main thread, the handlers and the thread of nbd-server.c. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool started, stop;
	bool busy, cancel;     /* the thread works; it is to stop doing so */
	bool unsettled;	       /* what was written could not be flushed at the end */
	bool locked;	       /* this process has the disk's lock */
	bool clean;	       /* nothing was sent since it has it, and nothing before is left */
	bool wanted;	       /* a set, by a queue or by the main thread */
	bool up;	       /* there is one */
	bool reached;	       /* the connections of the next one are there */
	bool awaited;	       /* the main thread waits for it, and tells what fails */
	bool ask;	       /* for the size */
	uint64_t fence_ns;     /* no set is used before; 0: at once */
	uint64_t installed_ns; /* the last set */
	unsigned pause_ms;     /* before the next one, after one that did not last */
	uint64_t lost_ns;      /* since when there is no set; 0: it was not said */
	char error[192];       /* why there is none */
	uint64_t size;	       /* the server's, when it was asked last */
	_Atomic bool news;     /* the size may be another one */
	int bells[NBD_MAX_QUEUES]; /* eventfds of the queues, or -1 */
	unsigned queues;

	struct nbd_handle *spare; /* of the opening of the disk, for the first set */
	uint64_t spare_serial;	  /* of the state at that time */
	bool spare_beside;	  /* another process may have been writing at that time */
};

/* --------------------------------------------------------------- nbd-uri.c */

/* What identifies the disk: "unix:/run/x.sock:export"; the caller frees it.  NULL after
 * a message. */
char *nbd_uri_normalise(const char *uri);

/* ------------------------------------------------------------- nbd-state.c */

/* Open the file for a disk that is known as KNOWN_AS.  Returns a descriptor, or -1
 * after a message that names NAME. */
int nbd_state_open(const char *name, const char *known_as);

/* False: nothing was written there yet.  What is damaged is not clean. */
bool nbd_state_read(int fd, struct nbd_state *state);
int nbd_state_write(int fd, const struct nbd_state *state);

/* -------------------------------------------------------------- nbd-conn.c */

uint64_t nbd_now_ns(void);
uint64_t nbd_after_ms(unsigned ms);

/* Connect, until a time.  NULL, and the reason in ERROR. */
struct nbd_handle *nbd_connect(struct nbd *n, uint64_t until_ns, char *error, size_t size);

/* Until the handle is ready, or command COOKIE is answered.  0; 1: the answer is an error;
 * -1: there is none.  With ERROR. */
int nbd_await(struct nbd *n, struct nbd_handle *h, int64_t cookie, uint64_t until_ns, char *error,
	      size_t size);
void nbd_ask_abilities(struct nbd_handle *h, struct nbd_abilities *can);

/* Say good-bye, and free it. */
void nbd_leave(struct nbd_handle *h);

/* Whether the connection has come to its end. */
bool nbd_is_over(struct nbd_handle *h);

/* With the connection's lock: look whether it has answers; whether it broke; and what
 * libnbd has said last. */
void nbd_drive(struct nbd_conn *c);
bool nbd_is_broken(const struct nbd_conn *c);
const char *nbd_last_error(void);

/* ------------------------------------------------------------ nbd-server.c */

int nbd_start_thread(struct nbd *n);

/* With `lock`: sleep until a time, or until something has changed.  False: stop. */
bool nbd_rest(struct nbd *n, uint64_t until_ns);

/* With `lock`. */
void nbd_note_size(struct nbd *n, uint64_t size);

/* Flush on each connection, so that one that has broken is noticed.  No other thread sends. */
int nbd_flush_all(struct nbd *n, char *error, size_t size);

/* The old handles, and with them the commands that are in flight there: no callback runs
 * after this. */
void nbd_drop_handles(struct nbd *n, bool in_order);

/* A queue of the engine.  Its number, or a negative errno. */
int nbd_queue_add(struct nbd *n, int bell);
void nbd_queue_remove(struct nbd *n, unsigned queue);
struct nbd_conn *nbd_queue_conn(struct nbd *n, unsigned queue);

/* A queue has requests and there is no set. */
void nbd_want(struct nbd *n);

/* A connection of set GENERATION broke, for the reason ERROR. */
void nbd_broken(struct nbd *n, unsigned generation, const char *error);

/* -------------------------------------------------------------- nbd-disk.c */

/* For disk.c; main thread.  Negative: an errno, after a message. */
int nbd_disk_open(struct disk *d);
void nbd_disk_close(struct disk *d);
int nbd_disk_locked(struct disk *d);  /* the lock was taken */
void nbd_disk_unlock(struct disk *d); /* before it is given up */
int nbd_disk_settle(struct disk *d);
uint64_t nbd_disk_size(const struct disk *d);

#endif
