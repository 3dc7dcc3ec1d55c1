/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker.h - the handler threads: from the ring to the disk and back.
 */
#ifndef CBD_BACKEND_WORKER_H
#define CBD_BACKEND_WORKER_H

#include <cbd.h>

#include "disk.h"

struct worker;

/*
 * Start a thread and let it make its queue in the engine; it then waits for
 * worker_serve() or worker_stop().  Returns NULL after a message.
 */
struct worker *worker_start(struct disk *d, const struct disk_engine *engine, unsigned index);

/* Serve the requests of handler H of B until worker_stop().  Once. */
void worker_serve(struct worker *w, struct cbd_backend *b, struct cbd_handler *h);

/* End the thread, after what it has in flight, and free it. */
void worker_stop(struct worker *w);

#endif
