/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log-limit.h - a peer that makes a program complain all the time does not fill its log.
 *
 * Messages that differ only in words with digits in them (numbers, ids, uuids) are of
 * one kind.  The first ten of a kind in ten seconds are written, the others counted:
 * when the ten seconds are over, and at the end of the program, "N more like this" is
 * written with the last of them.  As long as a kind comes without a break each such
 * time is twice as long as the one before, up to ten minutes, and has one message.
 *
 * Owns which messages are written, not where to, and no words but those.
 */
#ifndef CBD_LOG_LIMIT_H
#define CBD_LOG_LIMIT_H

/* Called from any thread, one call at a time. */
typedef void log_write_fn(int priority, const char *message);

#define LOG_LIMIT_MS 10000

/*
 * From here on.  WINDOW_MS: LOG_LIMIT_MS; tests have less time.  Not before a fork
 * whose child goes on: a thread writes what was counted.
 */
void log_limit_start(log_write_fn *write, unsigned window_ms);

/* Write or count a message.  Any thread; before log_limit_start() and after
 * log_limit_end() it goes to WRITE at once. */
void log_limit(log_write_fn *write, int priority, const char *message);

/* Write what was counted.  No other thread may be in log_limit(). */
void log_limit_end(void);

#endif
