/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-coherence.c - the native accesses: pushing and dropping change nothing,
 * a line is whole once its first word is seen, in both modes.  What another
 * host sees cannot be shown on one; test-coherence-trace shows the discipline.
 */
#include <config.h>

#include <pthread.h>

#include "memory/coherence.h"
#include "memory/fault.h"
#include "unit.h"

static const struct cbd_mem mems[] = { { .software = false }, { .software = true } };
static _Alignas(4096) unsigned char memory[65536], want[65536], copy[65536];

static void setup(void)
{
	cbd_coherence_init();
	unit_fill(memory, sizeof(memory), 1);
	memcpy(want, memory, sizeof(memory));
}

START_TEST(write_back_and_invalidate_change_nothing)
{
	const struct cbd_mem *m = &mems[_i];
	uint64_t state = 2;

	for (int i = 0; i < 500; i++) {
		size_t at = unit_random(&state) % sizeof(memory);
		size_t len = unit_random(&state) % (sizeof(memory) - at + 1);

		cbd_mem_write_back(m, memory + at, len);
		cbd_mem_invalidate(m, memory + at, len);
		cbd_sys_landed(m, memory + at, len);
		cbd_sys_take(m, memory + at, len);
		cbd_line_invalidate_start(m, memory + at / 64 * 64);
		cbd_invalidate_done(m);
		memory[at] ^= 1; /* dirty: dropped, it is written back */
		want[at] ^= 1;
		cbd_mem_invalidate(m, memory + at, 1);
		ck_assert_uint_eq(memory[at], want[at]);
	}
	ck_assert_mem_eq(memory, want, sizeof(memory));
}
END_TEST

/* Of all lengths, from and to all places: whole and nothing else. */
START_TEST(copies)
{
	static unsigned char from[6000];
	uint64_t state = 4;

	for (int i = 0; i < 2000; i++) {
		size_t at = unit_random(&state) % 200, skip = unit_random(&state) % 200;
		size_t len = unit_random(&state) % (i % 2 ? 300 : 5000);

		unit_fill(from, sizeof(from), (uint64_t)i);
		memset(memory, 0xee, sizeof(memory));
		memset(want, 0xee, sizeof(want));
		memcpy(want + at, from + skip, len);
		if (_i)
			cbd_mem_copy_around(memory + at, from + skip, len);
		else
			cbd_mem_copy(memory + at, from + skip, len);
		ck_assert_mem_eq(memory, want, sizeof(memory));
	}
}
END_TEST

START_TEST(payload)
{
	const struct cbd_mem *m = &mems[_i];
	uint64_t state = 3;

	for (int i = 0; i < 1000; i++) {
		size_t at = unit_random(&state) % 4096;
		size_t from = unit_random(&state) % 64;
		size_t len = unit_random(&state) % 5000;

		unit_fill(copy, 8192, unit_random(&state));
		cbd_mem_store(m, memory + at, copy + from, len);
		memcpy(want + at, copy + from, len);
		ck_assert_mem_eq(memory, want, 16384); /* nothing beside it */
		memset(copy, 0, 8192);
		cbd_mem_load(m, copy + from, memory + at, len);
		ck_assert(len == 0 || memcmp(copy + from, want + at, len) == 0);
		ck_assert(cbd_is_zero(copy, from));
		ck_assert(cbd_is_zero(copy + from + len, 8192 - from - len));
	}
}
END_TEST

START_TEST(lines)
{
	const struct cbd_mem *m = &mems[_i];
	uint64_t line[8], got[8];

	for (uint64_t n = 0; n < 200; n++) {
		uint64_t *place = (uint64_t *)(memory + n % 9 * 64);

		unit_fill(line, sizeof(line), n);
		memcpy(want + n % 9 * 64, line, 64);
		cbd_line_store(m, place, line);
		ck_assert_mem_eq(memory, want, 1024);
		cbd_line_load(m, place, got);
		ck_assert_mem_eq(got, line, 64);
		memset(got, 0, 64);
		cbd_line_invalidate_start(m, place);
		cbd_invalidate_done(m);
		ck_assert(!cbd_line_await(m, place, line[0] + 1, got));
		ck_assert(cbd_is_zero(got, 64)); /* left alone */
		ck_assert(cbd_line_await(m, place, line[0], got));
		ck_assert_mem_eq(got, line, 64);
	}
}
END_TEST

/* --------------------------------------------- the first word comes last */

#define TURNS 20000

static uint64_t there[8] __attribute__((aligned(64))), back[8] __attribute__((aligned(64)));
static const struct cbd_mem *mem;
static unsigned torn;

static void await(const uint64_t *place, uint64_t n)
{
	uint64_t got[8];

	for (unsigned i = 0;; i++) {
		cbd_line_invalidate_start(mem, place);
		cbd_invalidate_done(mem);
		if (cbd_line_await(mem, place, n, got))
			break;
		if (i % 64 == 63)
			sched_yield();
	}
	for (unsigned i = 1; i < 8; i++)
		torn += got[i] != n * 8 + i;
}

static void store(uint64_t *place, uint64_t n)
{
	uint64_t line[8] = { n };

	for (unsigned i = 1; i < 8; i++)
		line[i] = n * 8 + i;
	cbd_line_store(mem, place, line);
}

static void *answer(void *arg)
{
	(void)arg;
	for (uint64_t n = 1; n <= TURNS; n++) {
		await(there, n);
		store(back, n);
	}
	return NULL;
}

START_TEST(ping_pong)
{
	pthread_t thread;

	mem = &mems[_i];
	ck_assert_int_eq(pthread_create(&thread, NULL, answer, NULL), 0);
	for (uint64_t n = 1; n <= TURNS; n++) {
		store(there, n);
		await(back, n);
	}
	pthread_join(thread, NULL);
	ck_assert_uint_eq(torn, 0);
}
END_TEST

/* Payload before its line: whoever sees the line sees the payload. */
static unsigned char message[4096];

static void *consume(void *arg)
{
	unsigned char got[4096];

	(void)arg;
	for (uint64_t n = 1; n <= TURNS / 10; n++) {
		await(there, n);
		cbd_mem_load(mem, got, message, sizeof(got));
		for (size_t i = 0; i < sizeof(got); i++)
			torn += got[i] != (unsigned char)n;
		store(back, n);
	}
	return NULL;
}

START_TEST(payload_then_line)
{
	unsigned char private[4096];
	pthread_t thread;

	mem = &mems[_i];
	ck_assert_int_eq(pthread_create(&thread, NULL, consume, NULL), 0);
	for (uint64_t n = 1; n <= TURNS / 10; n++) {
		memset(private, (int)n, sizeof(private));
		cbd_mem_store(mem, message, private, sizeof(private));
		store(there, n);
		await(back, n);
	}
	pthread_join(thread, NULL);
	ck_assert_uint_eq(torn, 0);
}
END_TEST

START_TEST(words_and_tokens)
{
	uint32_t word = 0;
	uint64_t token = 0, value = 0;
	bool flag = false;

	cbd_word_store(&word, 5);
	ck_assert_uint_eq(cbd_word_load(&word), 5);
	ck_assert(cbd_token_swap(&token, 0, 7));
	ck_assert(!cbd_token_swap(&token, 0, 8));
	ck_assert_uint_eq(token, 7);
	cbd_flag_set(&flag, true);
	ck_assert(cbd_flag_get(&flag));
	cbd_shared_set(&value, 9);
	ck_assert_uint_eq(cbd_shared_get(&value), 9);
	cbd_store_load_fence();
	cbd_relax();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("coherence");
	TCase *t = tcase_create("native");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_loop_test(t, copies, 0, 2);
	tcase_add_loop_test(t, write_back_and_invalidate_change_nothing, 0, 2);
	tcase_add_loop_test(t, payload, 0, 2);
	tcase_add_loop_test(t, lines, 0, 2);
	tcase_add_loop_test(t, ping_pong, 0, 2);
	tcase_add_loop_test(t, payload_then_line, 0, 2);
	tcase_add_test(t, words_and_tokens);
	suite_add_tcase(s, t);
	return unit_main(s);
}
