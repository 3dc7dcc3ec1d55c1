/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cpu-sim.h - the instructions of memory/coherence-cpu.h on a simulated host:
 * CBD_CPU_IMPL names this file when libcbd is compiled for tests/sim.  cache.c
 * defines them.
 */
#ifndef CBD_SIM_CPU_H
#define CBD_SIM_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t __attribute__((may_alias)) cbd_word64;

void cbd_cpu_invalidate(const void *p);
void cbd_cpu_write_back(const void *p);
void cbd_cpu_store_fence(void);
void cbd_cpu_full_fence(void);
void cbd_cpu_order(void);
void cbd_relax(void);

uint64_t cbd_cpu_load(const cbd_word64 *p);
uint64_t cbd_cpu_load_acquire(const void *p);
uint64_t cbd_cpu_load_again(const void *p);
void cbd_cpu_store(cbd_word64 *p, uint64_t value);
void cbd_cpu_store_release(cbd_word64 *p, uint64_t value);
uint32_t cbd_cpu_load32(const uint32_t *p);
void cbd_cpu_store32(uint32_t *p, uint32_t value);
bool cbd_cpu_swap(uint64_t *p, uint64_t expected, uint64_t desired);

void cbd_cpu_fetch(const void *p);
void cbd_cpu_read(void *dst, const void *src, size_t len);
void cbd_cpu_write(void *dst, const void *src, size_t len);
bool cbd_cpu_stream(void *dst, const void *src, size_t lines);

#endif
