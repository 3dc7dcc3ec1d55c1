/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * load.h - random requests on several NBD connections, checked against the
 * shadow; and the loop in which the driver waits.
 */
#ifndef LOAD_H
#define LOAD_H

#include "fault.h"

void load_init(void);

/* Connect all; the server is ready. */
void load_connect(const char *socket);

/* In order, nothing in flight. */
void load_disconnect(void);

/* The server was killed: from here on requests may fail, and connections end.
 * load_abandoned() waits until all have and gives up what was in flight. */
void load_expect_loss(void);
void load_abandoned(void);

/* Send new requests, or no more. */
void load_on(bool on);

/* Serve the connections until DEADLINE, or until `done` says so (NULL: never).
 * Watches the processes meanwhile.  Returns whether it was done. */
bool load_serve(uint64_t deadline_ns, bool (*done)(void));

/* The same with a bound, after which the run ends; and for a time. */
void load_wait_for(const char *what, bool (*done)(void));
void load_wait_ms(uint64_t ms);

/* Wait until nothing is in flight. */
void load_quiesce(void);

/*
 * One read is sent now.  load_probed(): it was answered, when.  Sent after the
 * death of a server's process, it tells when its successor serves.
 */
void load_probe(void);
bool load_probed(void);
uint64_t load_probe_ns(void);

/*
 * The pause that a fault makes: the longest time without any answer, from the last one
 * before load_gap_start() on.  And the first answer after the slot's next owner granted a
 * channel; 0: there was none.
 */
void load_gap_start(void);
uint64_t load_gap_end(void);
uint64_t load_granted_answer_ns(void);

/* What a new connection says that the disk has. */
uint64_t load_size(void);

/* Read all blocks and compare; nothing else in flight. */
void load_verify(void);
void load_flush(void);

struct load_counts {
	uint64_t requests, bytes, checked, flushes, lost;
};
struct load_counts load_counts(void);

#endif
