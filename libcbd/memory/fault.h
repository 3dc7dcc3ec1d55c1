/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault.h - a poisoned or truncated mapping is an error, not a dead process.
 *
 * Rule 12 of docs/protocol.md: every access to shared memory has a recovery point.  Use:
 *
 *	struct cbd_fault f;
 *	if (CBD_FAULT_TRY(&f)) { ...accesses...; cbd_fault_end(&f); }
 *	else error;
 *
 * Between the two: no return, no lock taken, no allocation.
 */
#ifndef CBD_FAULT_H
#define CBD_FAULT_H

#include <setjmp.h>

#include "memory/coherence.h"

struct cbd_fault {
	sigjmp_buf env;
	struct cbd_fault *outer;
};

/* Install the SIGBUS handler, once.  A SIGBUS outside of recovery points goes to the
 * handler that was installed before. */
void cbd_fault_init(void);

void cbd_fault_begin(struct cbd_fault *f);
void cbd_fault_end(struct cbd_fault *f);

/* sigsetjmp() need not save the signal mask: the handler runs with SA_NODEFER, which
 * blocks nothing while it runs, so that leaving it by siglongjmp() is harmless. */
#define CBD_FAULT_TRY(f) (sigsetjmp((f)->env, 0) == 0 && (cbd_fault_begin(f), 1))

/* Payload in and out of shared memory; 0 or -EIO. */
int cbd_fault_store(const struct cbd_mem *m, void *dst, const void *src, size_t len);
int cbd_fault_load(const struct cbd_mem *m, void *dst, const void *src, size_t len);

/* A plain copy where either side may fault, without write-back or invalidation;
 * _around: around the cache, see cbd_mem_copy_around();
 * _persist: to durable memory, where it is durable when the call returns. */
int cbd_fault_copy(void *dst, const void *src, size_t len);
int cbd_fault_copy_around(void *dst, const void *src, size_t len);
int cbd_fault_persist(void *dst, const void *src, size_t len);

/* Write a range back; prepare it for a kernel that loads from it (write(2)); make
 * visible what the kernel has stored there (read(2)).  0 or -EIO. */
int cbd_fault_write_back(const struct cbd_mem *m, const void *p, size_t len);
int cbd_fault_take(const struct cbd_mem *m, const void *p, size_t len);
int cbd_fault_landed(const struct cbd_mem *m, void *p, size_t len);

/* Store zeroes over LENGTH bytes at OFFSET.  0 or -EIO. */
int cbd_fault_wipe(const struct cbd_mem *mem, char *base, uint64_t offset, uint64_t length);

#endif
