/* SPDX-License-Identifier: BSD-3-Clause */
/* wait.c - waiting policy and futexes; its times are in wait-times.h. */
#include <config.h>

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "memory/coherence.h"
#include "base/error.h"
#include "base/clock.h"
#include "memory/wait.h"

void cbd_wait_init(struct cbd_wait *w, enum cbd_poll poll, unsigned most_us)
{
	memset(w, 0, sizeof(*w));
	w->poll = poll;
	w->one_cpu = sysconf(_SC_NPROCESSORS_ONLN) == 1;
	w->yield_us = poll == CBD_POLL_SLEEP ? 0 : CBD_YIELD_START_US;
	w->most_us = most_us;
	w->sleep_us = CBD_FIRST_SLEEP_US;
}

void cbd_wait_bound(struct cbd_wait *w, unsigned most_us)
{
	w->most_us = most_us;
	if (w->sleep_us > most_us)
		w->sleep_us = CBD_FIRST_SLEEP_US;
}

void cbd_wait_hit(struct cbd_wait *w)
{
	/* something came after a long wait and before the first sleep: yielding pays */
	if (w->poll == CBD_POLL_ADAPTIVE && w->turns && w->sleep_us == CBD_FIRST_SLEEP_US &&
	    w->yield_us < CBD_YIELD_MOST_US && w->last_ns - w->since_ns > w->yield_us * 500ull)
		w->yield_us += w->yield_us / 2;
	w->turns = 0;
	w->sleep_us = CBD_FIRST_SLEEP_US;
}

void cbd_wait_slept(struct cbd_wait *w, uint64_t since_ns)
{
	cbd_count_add(&w->sleep_ns, cbd_now_ns() - (since_ns ? since_ns : w->last_ns));
	cbd_count_add(&w->sleeps, 1);
}

static unsigned next_sleep(struct cbd_wait *w)
{
	unsigned us = w->sleep_us;

	w->asleep = true;
	if (us == CBD_FIRST_SLEEP_US && w->poll == CBD_POLL_ADAPTIVE &&
	    w->yield_us > CBD_YIELD_LEAST_US)
		w->yield_us -= w->yield_us / 4;
	w->sleep_us = us * 2 < w->most_us ? us * 2 : w->most_us;
	return us < w->most_us ? us : w->most_us;
}

/* Threads may run this concurrently; a lost update is harmless: the next yield that lets
 * others run writes it again. */
static void note_crowd(struct cbd_wait *w, uint64_t now)
{
	uint64_t last = cbd_shared_get(&w->crowd_ns);

	if (now > last + CBD_CROWD_BREAK_NS)
		cbd_shared_set(&w->crowd_since_ns, now);
	if (now > last)
		cbd_shared_set(&w->crowd_ns, now);
}

uint64_t cbd_wait_yield(struct cbd_wait *w)
{
	uint64_t since = cbd_now_ns(), took;
	bool others;

	sched_yield();
	took = cbd_now_ns() - since;
	others = took > CBD_OTHERS_RAN_NS && took < CBD_OTHERS_STAY_NS;
	cbd_flag_set(&w->crowded, others);
	if (others)
		note_crowd(w, since + took);
	return others ? CBD_SWITCHES_NS : took;
}

/* The last yield let others run who soon gave the CPU back: yield at once.  A lone request
 * ignores that in a tenth of the time. */
static bool gives_way(const struct cbd_wait *w, uint64_t now)
{
	uint64_t since = cbd_shared_get(&w->crowd_since_ns);
	bool insists = w->alone &&
		       (now < since || (now - since) % CBD_INSIST_EVERY_NS < CBD_INSIST_NS);

	return cbd_flag_get(&w->crowded) && !insists;
}

static bool may_spin(const struct cbd_wait *w, uint64_t waited_ns)
{
	if (w->one_cpu)
		return false;
	if (w->poll == CBD_POLL_BUSY)
		return true;
	return !gives_way(w, w->last_ns) &&
	       waited_ns < (w->poll == CBD_POLL_SLEEP ? CBD_SPIN_SLEEP_NS : CBD_SPIN_NS);
}

unsigned cbd_wait_next_at(struct cbd_wait *w, uint64_t now)
{
	uint64_t waited;

	if (w->turns++ == 0)
		w->since_ns = now;
	else if (!w->asleep)
		cbd_count_add(&w->poll_ns, now - w->last_ns);
	w->last_ns = now;
	w->asleep = false;
	waited = now - w->since_ns;
	if (may_spin(w, waited))
		return CBD_WAIT_SPIN;
	if (w->poll == CBD_POLL_BUSY ||
	    (w->sleep_us == CBD_FIRST_SLEEP_US && waited < w->yield_us * 1000ull))
		return CBD_WAIT_YIELD;
	return next_sleep(w);
}

unsigned cbd_wait_next(struct cbd_wait *w)
{
	return cbd_wait_next_at(w, cbd_now_ns());
}

int cbd_poll_parse(const char *text, enum cbd_poll *poll)
{
	static const char *const names[] = { "adaptive", "busy", "sleep" };

	if (!text || !poll)
		return cbd_error(EINVAL, "poll: no text or no place for the policy given");
	for (unsigned i = 0; i < 3; i++)
		if (strcmp(text, names[i]) == 0) {
			*poll = (enum cbd_poll)i;
			return 0;
		}
	return cbd_error(EINVAL, "poll: '%s' is none of adaptive, busy, sleep", text);
}

int cbd_poll_check(enum cbd_poll poll)
{
	if ((unsigned)poll > CBD_POLL_SLEEP)
		return cbd_error(EINVAL, "poll: %u: there is no such policy", (unsigned)poll);
	return 0;
}

void cbd_futex_wait(const uint32_t *word, uint32_t value, unsigned us)
{
	struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000l };

	/* where the kernel refuses (a mapping without pages behind it): sleep, and look
	 * again soon */
	if (syscall(SYS_futex, word, FUTEX_WAIT, value, &ts, NULL, 0) < 0 && errno != EAGAIN &&
	    errno != EINTR && errno != ETIMEDOUT)
		cbd_sleep_us(us < 1000 ? us : 1000);
}

void cbd_futex_wake(const uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0);
}

void cbd_futex_wait_private(const uint32_t *word, uint32_t value, unsigned us)
{
	struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000l };

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &ts, NULL, 0);
}

void cbd_futex_wake_private(const uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void cbd_futex_wait_any(const struct cbd_futex *f, unsigned count, unsigned us)
{
#ifdef SYS_futex_waitv
	struct futex_waitv waiters[CBD_FUTEX_MAX];
	uint64_t until = cbd_now_ns() + us * 1000ull;
	struct timespec ts = { .tv_sec = until / 1000000000, .tv_nsec = until % 1000000000 };

	if (count == 1) {
		cbd_futex_wait(f->word, f->value, us);
		return;
	}
	if (count <= CBD_FUTEX_MAX) {
		for (unsigned i = 0; i < count; i++)
			waiters[i] = (struct futex_waitv){ .uaddr = (uintptr_t)f[i].word,
							   .val = f[i].value,
							   .flags = FUTEX_32 };
		if (syscall(SYS_futex_waitv, waiters, count, 0, &ts, CLOCK_MONOTONIC) >= 0 ||
		    errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT)
			return;
	}
#endif
	cbd_sleep_us(us < 1000 ? us : 1000);
}
