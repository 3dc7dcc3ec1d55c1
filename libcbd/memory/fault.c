/* SPDX-License-Identifier: BSD-3-Clause */
/* fault.c - the SIGBUS handler and the recovery points of each thread. */
#include <config.h>

#include <errno.h>
#include <libpmem.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>

#include "memory/fault.h"

/* Up to this memcpy(3) copies: it is faster where the source is in the cache, as small hot
 * blocks of a disk are, and another CPU has the lines of the target (docs/performance.md). */
#define SHORT 4096u

static __thread struct cbd_fault *current __attribute__((tls_model("initial-exec")));

static struct sigaction previous;

/* A SIGBUS that no access to shared memory raised: what was installed before this
 * handler decides. */
static void chain(int sig, siginfo_t *info, void *context)
{
	if (previous.sa_flags & SA_SIGINFO) {
		previous.sa_sigaction(sig, info, context);
	} else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(sig);
	} else if (info->si_code > 0 || previous.sa_handler == SIG_DFL) {
		/* A synchronous SIGBUS cannot be ignored: the instruction
		 * runs again under the default action.  One that was sent does
		 * not come again by itself. */
		signal(sig, SIG_DFL);
		if (info->si_code <= 0)
			raise(sig);
	}
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	struct cbd_fault *f = current;

	/* no recovery point, or kill(2) sent it: no access of libcbd faulted */
	if (!f || info->si_code <= 0) {
		chain(sig, info, context);
		return;
	}
	current = f->outer;
	siglongjmp(f->env, 1);
}

static void install(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus,
				    .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK };

	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, &previous);
}

void cbd_fault_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install);
}

/* The signal handler reads `current`, which the compiler does not know: with -flto it
 * sees no reader between begin and end, and without the fence leaves the store out. */
void cbd_fault_begin(struct cbd_fault *f)
{
	f->outer = current;
	current = f;
	cbd_signal_fence();
}

void cbd_fault_end(struct cbd_fault *f)
{
	cbd_signal_fence();
	current = f->outer;
}

int cbd_fault_store(const struct cbd_mem *m, void *dst, const void *src, size_t len)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	cbd_mem_store(m, dst, src, len);
	cbd_fault_end(&f);
	return 0;
}

int cbd_fault_load(const struct cbd_mem *m, void *dst, const void *src, size_t len)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	cbd_mem_load(m, dst, src, len);
	cbd_fault_end(&f);
	return 0;
}

int cbd_fault_copy(void *dst, const void *src, size_t len)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	if (len <= SHORT)
		memcpy(dst, src, len);
	else
		cbd_mem_copy(dst, src, len);
	cbd_fault_end(&f);
	return 0;
}

int cbd_fault_copy_around(void *dst, const void *src, size_t len)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	cbd_mem_copy_around(dst, src, len);
	cbd_fault_end(&f);
	return 0;
}

int cbd_fault_persist(void *dst, const void *src, size_t len)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	pmem_memcpy_persist(dst, src, len);
	cbd_fault_end(&f);
	return 0;
}

int cbd_fault_write_back(const struct cbd_mem *m, const void *p, size_t len)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	cbd_mem_write_back(m, p, len);
	cbd_fault_end(&f);
	return 0;
}

int cbd_fault_take(const struct cbd_mem *m, const void *p, size_t len)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	cbd_sys_take(m, p, len);
	cbd_fault_end(&f);
	return 0;
}

int cbd_fault_landed(const struct cbd_mem *m, void *p, size_t len)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	cbd_sys_landed(m, p, len);
	cbd_fault_end(&f);
	return 0;
}

int cbd_fault_wipe(const struct cbd_mem *mem, char *base, uint64_t offset, uint64_t length)
{
	static const char zeroes[65536];
	int r = 0;

	for (uint64_t end = offset + length; offset < end && r == 0;) {
		size_t n = end - offset < sizeof(zeroes) ? end - offset : sizeof(zeroes);

		r = cbd_fault_store(mem, base + offset, zeroes, n);
		offset += n;
	}
	cbd_fault_write_back(mem, base, CBD_LINE); /* its fence orders the stores above */
	return r;
}
