/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libc.c - what libcbd asks of the system, on a simulated host: clocks, sleeps,
 * futexes, threads, locks, file locks, randomness, mappings, its identity.  The linker
 * puts each __wrap_NAME in the place of NAME.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

void sim_libc_process_died(struct sim_proc *p);

static struct sim_proc *me(void)
{
	return sim.current ? sim.current->proc : NULL;
}

/* ------------------------------------------------------------------ clock */

static uint64_t clock_of(const struct sim_proc *p)
{
	return sim.now_ns + (p ? p->host->clock_offset : 0);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	uint64_t now;

	sim_step(); /* a loop that only looks at the clock goes on */
	now = clock_of(me());
	if (clock == CLOCK_MONOTONIC_COARSE)
		now -= now % (4 * SIM_MS);
	ts->tv_sec = (time_t)(now / 1000000000);
	ts->tv_nsec = (long)(now % 1000000000);
	return 0;
}

time_t __wrap_time(time_t *t);
time_t __wrap_time(time_t *t)
{
	time_t now = (time_t)(clock_of(me()) / 1000000000);

	if (t)
		*t = now;
	return now;
}

int __wrap_nanosleep(const struct timespec *ts, struct timespec *rest);
int __wrap_nanosleep(const struct timespec *ts, struct timespec *rest)
{
	(void)rest;
	sim_cache_sleep_check();
	/* a timer has its slack */
	sim_sleep((uint64_t)ts->tv_sec * 1000000000ull + (uint64_t)ts->tv_nsec + sim_below(60000));
	return 0;
}

int __wrap_sched_yield(void);
int __wrap_sched_yield(void)
{
	sim.now_ns += 200;
	sim_turn();
	return 0;
}

/* ------------------------------------------------------------------ futex */

/* On the way to sleep: the moment in which the word may change is short otherwise. */
static void doze(void)
{
	sim_cache_sleep_check();
	if (sim_chance(sim.noise.doze))
		sim_sleep(sim_below(100000));
}

static int futex_wait(const uint32_t *word, uint32_t value, const struct timespec *ts)
{
	uint64_t until;

	doze();
	until = ts ? sim.now_ns + (uint64_t)ts->tv_sec * 1000000000ull + (uint64_t)ts->tv_nsec
		   : SIM_NEVER;
	if (cbd_word_load(word) != value) {
		errno = EAGAIN;
		return -1;
	}
	if (sim_wait(sim_key(word), until))
		return 0;
	errno = ETIMEDOUT;
	return -1;
}

static int futex_waitv(const struct futex_waitv *w, unsigned n, const struct timespec *ts)
{
	const void *keys[130];
	uint64_t at = (uint64_t)ts->tv_sec * 1000000000ull + (uint64_t)ts->tv_nsec;

	doze();
	for (unsigned i = 0; i < n; i++) {
		const uint32_t *word = (const uint32_t *)(uintptr_t)w[i].uaddr;

		if (cbd_word_load(word) != (uint32_t)w[i].val) {
			errno = EAGAIN;
			return -1;
		}
		keys[i] = sim_key(word);
	}
	if (sim_wait_any(keys, n, at - me()->host->clock_offset))
		return 0;
	errno = ETIMEDOUT;
	return -1;
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_futex && (b & 0x7f) == FUTEX_WAIT)
		return futex_wait((const uint32_t *)a, (uint32_t)c, (const struct timespec *)d);
	if (number == SYS_futex && (b & 0x7f) == FUTEX_WAKE) {
		sim_wake(sim_key((const void *)a), (unsigned)c);
		return 0;
	}
#ifdef SYS_futex_waitv
	if (number == SYS_futex_waitv)
		return futex_waitv((const struct futex_waitv *)a, (unsigned)b,
				   (const struct timespec *)d);
#endif
	return __real_syscall(number, a, b, c, d, e, f);
}

/* --------------------------------------------------------------- threads */

/* What lies in a pthread_mutex_t here. */
struct mutex {
	struct sim_fibre *owner;
};

static struct mutex *mutex_of(pthread_mutex_t *m)
{
	return (struct mutex *)m;
}

int __wrap_pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr);
int __wrap_pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
	(void)attr;
	memset(m, 0, sizeof(*m));
	return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *m);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *m)
{
	(void)m;
	return 0;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *m);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *m)
{
	if (mutex_of(m)->owner)
		return EBUSY;
	mutex_of(m)->owner = sim.current;
	return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
	sim_cache_lock_check();
	sim_step();
	while (__wrap_pthread_mutex_trylock(m) != 0) {
		if (mutex_of(m)->owner == sim.current)
			sim_fail("a mutex is locked twice by one thread");
		sim_wait(m, SIM_NEVER);
	}
	return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
	if (mutex_of(m)->owner != sim.current)
		sim_fail("a mutex is unlocked by a thread that has not locked it");
	mutex_of(m)->owner = NULL;
	sim_wake(m, 1);
	return 0;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *ts);
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *ts)
{
	uint64_t at = (uint64_t)ts->tv_sec * 1000000000ull + (uint64_t)ts->tv_nsec;
	bool woken;

	__wrap_pthread_mutex_unlock(m);
	woken = sim_wait(c, at - me()->host->clock_offset);
	__wrap_pthread_mutex_lock(m);
	return woken ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_signal(pthread_cond_t *c);
int __wrap_pthread_cond_signal(pthread_cond_t *c)
{
	sim_wake(c, 1);
	return 0;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	(void)attr;
	*thread = (pthread_t)sim_fibre_new(me(), "thread", fn, arg);
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **ret);
int __wrap_pthread_join(pthread_t thread, void **ret)
{
	struct sim_fibre *f = (struct sim_fibre *)thread;

	while (!f->dead)
		sim_wait(f, SIM_NEVER);
	if (ret)
		*ret = f->ret;
	return 0;
}

/* --------------------------------------------------------------- identity */

pid_t __wrap_getpid(void);
pid_t __wrap_getpid(void)
{
	return me() ? (pid_t)(1000 + me()->id) : 1;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
	uint8_t *p = buf;

	(void)flags;
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(sim_random() >> 8);
	return (ssize_t)len;
}

int __wrap_cbd_identity_read(struct cbd_identity *id);
int __wrap_cbd_identity_read(struct cbd_identity *id)
{
	memset(id, 0, sizeof(*id));
	memcpy(id->uuid, me()->host->uuid, 16);
	memcpy(id->boot_id, me()->host->boot_id, 16);
	snprintf(id->name, sizeof(id->name), "host%u", me()->host->id);
	return 0;
}

uint32_t __real_cbd_channel_payload_crc(uint32_t seed, const void *data, size_t len);
uint32_t __wrap_cbd_channel_payload_crc(uint32_t seed, const void *data, size_t len);
uint32_t __wrap_cbd_channel_payload_crc(uint32_t seed, const void *data, size_t len)
{
	return sim.rules.no_crc ? 0 : __real_cbd_channel_payload_crc(seed, data, len);
}

/* The CRC seeds of rings, of this world: what 24 bytes give (ring/channel.c). */
static uint32_t ring_seeds[1024];
static unsigned n_ring_seeds;

static bool is_ring_seed(uint32_t seed)
{
	for (unsigned i = 0; i < n_ring_seeds && i < 1024; i++)
		if (ring_seeds[i] == seed)
			return true;
	return false;
}

uint32_t __real_cbd_crc32c(uint32_t crc, const void *buf, size_t len);
uint32_t __wrap_cbd_crc32c(uint32_t crc, const void *buf, size_t len);
uint32_t __wrap_cbd_crc32c(uint32_t crc, const void *buf, size_t len)
{
	uint32_t of;

	if (sim.rules.no_entry_crc && len == offsetof(struct cbd_line, crc) && is_ring_seed(crc))
		return 0;
	of = __real_cbd_crc32c(crc, buf, len);
	if (len == 24 && !is_ring_seed(of))
		ring_seeds[n_ring_seeds++ % 1024] = of;
	return of;
}

/* The places that libcbd names (base/step.h). */
void __wrap_cbd_step(const char *name);
void __wrap_cbd_step(const char *name)
{
	struct sim_proc *p = me();

	if (p && p->halt_at_step && strcmp(p->halt_at_step, name) == 0)
		sim_halt();
	sim_step();
}

/* ------------------------------------------------------------------ files */

static void note_fd(int fd)
{
	struct sim_proc *p = me();

	if (!p || fd < 0)
		return;
	if (p->n_fds == sizeof(p->fds) / sizeof(p->fds[0]))
		sim_fail("too many open files");
	p->fds[p->n_fds++] = fd;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, mode_t mode)
{
	int fd = __real_open(path, flags, mode);

	note_fd(fd);
	return fd;
}

int __real_posix_fallocate(int fd, off_t offset, off_t len);
int __wrap_posix_fallocate(int fd, off_t offset, off_t len);
int __wrap_posix_fallocate(int fd, off_t offset, off_t len)
{
	return ftruncate(fd, offset + len) < 0 ? errno : 0;
}

/* ------------------------------------------------------------- file locks */

/* One description each, so a descriptor names it. */
#define LOCKS 256
static struct lock {
	const struct sim_host *host;
	struct sim_proc *proc;
	int fd;
	int64_t start, len;
	short type;
} locks[LOCKS];
static unsigned n_locks;

static bool overlap(const struct lock *l, const struct flock *f)
{
	return l->start < f->l_start + f->l_len && f->l_start < l->start + l->len;
}

static struct lock *conflict(int fd, const struct flock *f)
{
	for (unsigned i = 0; i < n_locks; i++) {
		struct lock *l = &locks[i];

		if (l->host == me()->host && l->fd != fd && overlap(l, f) &&
		    (l->type == F_WRLCK || f->l_type == F_WRLCK))
			return l;
	}
	return NULL;
}

static void forget_locks(int fd, const struct flock *f)
{
	for (unsigned i = 0; i < n_locks; i++)
		if (locks[i].fd == fd && (!f || overlap(&locks[i], f)))
			locks[i--] = locks[--n_locks];
}

static int set_lock(int fd, const struct flock *f)
{
	if (f->l_type != F_UNLCK && conflict(fd, f)) {
		errno = EAGAIN;
		return -1;
	}
	forget_locks(fd, f);
	if (f->l_type == F_UNLCK)
		return 0;
	if (n_locks == LOCKS)
		sim_fail("too many locks");
	locks[n_locks++] = (struct lock){ me()->host, me(), fd, f->l_start, f->l_len, f->l_type };
	return 0;
}

int __wrap_fcntl(int fd, int command, struct flock *f);
int __wrap_fcntl(int fd, int command, struct flock *f)
{
	struct lock *l;

	sim_step();
	if (command == F_OFD_SETLK)
		return set_lock(fd, f);
	if (command != F_OFD_GETLK)
		sim_fail("fcntl %d is not simulated", command);
	l = conflict(fd, f);
	f->l_type = l ? l->type : F_UNLCK;
	return 0;
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
	struct sim_proc *p = me();

	forget_locks(fd, NULL);
	for (unsigned i = 0; p && i < p->n_fds; i++)
		if (p->fds[i] == fd)
			p->fds[i--] = p->fds[--p->n_fds];
	return __real_close(fd);
}

/* --------------------------------------------------------------- mappings */

void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct sim_proc *p = me();
	void *base;

	if (!p || fd < 0)
		return __real_mmap(at, len, prot, flags, fd, offset);
	base = __real_mmap(at, len, PROT_NONE, flags, fd, offset);
	if (base == MAP_FAILED)
		return base;
	if (p->n_maps == SIM_MAPS)
		sim_fail("too many mappings");
	p->maps[p->n_maps++] = (struct sim_map){ base, len };
	return base;
}

static void forget_map(struct sim_proc *p, const void *at)
{
	for (unsigned i = 0; i < p->n_maps; i++)
		if (p->maps[i].base == at)
			p->maps[i--] = p->maps[--p->n_maps];
}

int __real_munmap(void *at, size_t len);
int __wrap_munmap(void *at, size_t len);
int __wrap_munmap(void *at, size_t len)
{
	if (me())
		forget_map(me(), at);
	return __real_munmap(at, len);
}

void sim_libc_process_died(struct sim_proc *p)
{
	while (p->n_fds) {
		forget_locks(p->fds[0], NULL);
		__real_close(p->fds[0]);
		p->fds[0] = p->fds[--p->n_fds];
	}
	while (p->n_maps) {
		struct sim_map m = p->maps[--p->n_maps];

		__real_munmap(m.base, m.size);
	}
}
