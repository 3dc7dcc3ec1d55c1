/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-fault.c - recovery points as an optimizer sees them that knows all of
 * fault.c, as with -flto: what a signal handler reads is not left out.
 */
#include <config.h>

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../libcbd/memory/fault.c"
#include "unit.h"

static struct cbd_mem hardware = { .software = false }, software = { .software = true };
static char *gone; /* a mapping without a file behind it */
static uint64_t word;
static char large[8192];

static void make_gone(void)
{
	FILE *f = tmpfile();

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(ftruncate(fileno(f), 4096), 0);
	gone = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
	ck_assert_ptr_ne(gone, MAP_FAILED);
	ck_assert_int_eq(ftruncate(fileno(f), 0), 0);
	fclose(f);
	cbd_coherence_init();
	cbd_fault_init();
}

START_TEST(copies)
{
	make_gone();
	ck_assert_int_eq(cbd_fault_copy(&word, gone, sizeof(word)), -EIO);
	ck_assert_int_eq(cbd_fault_copy(gone, &word, sizeof(word)), -EIO);
	ck_assert_int_eq(cbd_fault_load(&hardware, &word, gone, sizeof(word)), -EIO);
	ck_assert_int_eq(cbd_fault_store(&hardware, gone, &word, sizeof(word)), -EIO);
	ck_assert_int_eq(cbd_fault_load(&software, &word, gone, sizeof(word)), -EIO);
	for (size_t at = 0; at < 64; at += 21) /* parts of lines, and whole ones */
		for (size_t len = 1; len < 3000; len += 700)
			ck_assert_int_eq(cbd_fault_copy_around(gone + at, large, len), -EIO);
	ck_assert_int_eq(cbd_fault_copy(large, gone, 4096), -EIO);
	ck_assert_int_eq(cbd_fault_copy(&word, &hardware, 1), 0);
	ck_assert_ptr_null(current);
}
END_TEST

/* The inner one ends, the outer one is in force again. */
START_TEST(nested)
{
	struct cbd_fault outer;
	volatile int caught = 0;

	make_gone();
	if (CBD_FAULT_TRY(&outer)) {
		ck_assert_int_eq(cbd_fault_copy(&word, gone, sizeof(word)), -EIO);
		caught = 1;
		memcpy(&word, gone, sizeof(word));
		cbd_fault_end(&outer);
		caught = 3;
	} else {
		caught++;
	}
	ck_assert_int_eq(caught, 2);
	ck_assert_ptr_null(current);
}
END_TEST

/* Sent, not raised by an access: as if the library were not there. */
START_TEST(sent)
{
	signal(SIGBUS, SIG_DFL); /* not that of a sanitizer */
	cbd_fault_init();
	raise(SIGBUS);
}
END_TEST

START_TEST(sent_and_ignored)
{
	signal(SIGBUS, SIG_IGN);
	make_gone();
	raise(SIGBUS);
	ck_assert_int_eq(cbd_fault_copy(&word, gone, sizeof(word)), -EIO);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fault");
	TCase *t = tcase_create("fault");

	suite_add_tcase(s, t);
	if (!UNIT_TSAN) {
		tcase_add_test(t, copies);
		tcase_add_test(t, nested);
		tcase_add_test_raise_signal(t, sent, SIGBUS);
		tcase_add_test(t, sent_and_ignored);
	}
	return unit_main(s);
}
