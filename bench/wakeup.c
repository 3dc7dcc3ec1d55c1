/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wakeup.c - what it costs here to wait otherwise than by spinning: to yield, to switch
 * between threads of one CPU, to wake one that sleeps on another.  It explains figures
 * over NBD, where three processes with many threads share the CPUs.
 *
 *	wakeup [ROUNDS]
 *
 * Nanoseconds, medians, as JSON; null where there is one CPU only.
 */
#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/coherence.h"
#include "base/clock.h"
#include "memory/wait.h"

#define MAX_ROUNDS 100000u
#define BOUND_US 1000000u /* of a sleep that somebody ends */
#define PAUSE_NS 20000u	  /* between two wake-ups: the sleeper is asleep by then */

enum { ASLEEP, WOKEN, OVER };

static uint32_t word;	    /* the sleeper's */
static uint64_t runs_since; /* time at which the sleeper ran; 0: not yet */
static bool stop;
static unsigned rounds = 2000;
static uint64_t samples[MAX_ROUNDS];
static int cpus[2]; /* two of the CPUs that this process may use */
static unsigned n_cpus;

static void die(const char *what, int error)
{
	fprintf(stderr, "wakeup: %s: %s\n", what, strerror(error));
	exit(EXIT_FAILURE);
}

static void find_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		die("sched_getaffinity", errno);
	for (int i = 0; i < CPU_SETSIZE && n_cpus < 2; i++)
		if (CPU_ISSET(i, &set))
			cpus[n_cpus++] = i;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity", errno);
}

static pthread_t start(void *(*f)(void *), int *cpu)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, f, cpu);

	if (r != 0)
		die("pthread_create", r);
	return thread;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static unsigned long long median(void)
{
	qsort(samples, rounds, sizeof(samples[0]), compare);
	return samples[rounds / 2];
}

static void set_and_wake(uint32_t value)
{
	cbd_word_store(&word, value);
	cbd_futex_wake_private(&word);
}

static void sleep_while(uint32_t value)
{
	while (cbd_word_load(&word) == value)
		cbd_futex_wait_private(&word, value, BOUND_US);
}

/* ----------------------------------------------------------------- yields */

static void *yields(void *cpu)
{
	pin(*(int *)cpu);
	while (!cbd_flag_get(&stop))
		sched_yield();
	return NULL;
}

static unsigned long long time_yields(void)
{
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t since = cbd_now_ns();

		sched_yield();
		samples[i] = cbd_now_ns() - since;
	}
	return median();
}

/* There and back: two switches. */
static unsigned long long yield_to_another(void)
{
	pthread_t thread;
	unsigned long long ns;

	stop = false;
	thread = start(yields, &cpus[0]);
	ns = time_yields();
	cbd_flag_set(&stop, true);
	pthread_join(thread, NULL);
	return ns;
}

/* --------------------------------------------------------------- wake-ups */

static void *sleeper(void *cpu)
{
	pin(*(int *)cpu);
	for (;;) {
		sleep_while(ASLEEP);
		cbd_shared_set(&runs_since, cbd_now_ns());
		if (cbd_word_load(&word) == OVER)
			return NULL;
		set_and_wake(ASLEEP);
	}
}

/* To a thread on the same CPU and back: two wake-ups, two switches. */
static unsigned long long ping_pong(void)
{
	pthread_t thread = start(sleeper, &cpus[0]);

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t since = cbd_now_ns();

		set_and_wake(WOKEN);
		sleep_while(WOKEN);
		samples[i] = cbd_now_ns() - since;
	}
	set_and_wake(OVER);
	pthread_join(thread, NULL);
	word = ASLEEP;
	return median();
}

/* Wake a thread on another CPU: the time until that thread runs, or the time of the call. */
static unsigned long long wake_far(bool call)
{
	pthread_t thread = start(sleeper, &cpus[1]);

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t since, called, ran, until = cbd_now_ns() + PAUSE_NS;

		while (cbd_now_ns() < until)
			;
		cbd_shared_set(&runs_since, 0);
		since = cbd_now_ns();
		set_and_wake(WOKEN);
		called = cbd_now_ns();
		while ((ran = cbd_shared_get(&runs_since)) == 0)
			;
		samples[i] = (call ? called : ran) - since;
		while (cbd_word_load(&word) != ASLEEP)
			;
	}
	set_and_wake(OVER);
	pthread_join(thread, NULL);
	word = ASLEEP;
	return median();
}

static unsigned long long wake_beside(void *(*busy)(void *), bool call)
{
	pthread_t thread;
	unsigned long long ns;

	stop = false;
	thread = start(busy, &cpus[1]);
	ns = wake_far(call);
	cbd_flag_set(&stop, true);
	pthread_join(thread, NULL);
	return ns;
}

static void far(void)
{
	if (n_cpus < 2) {
		printf(" \"wake_idle_cpu_call\": null, \"wake_idle_cpu\": null,"
		       " \"wake_yielding_cpu_call\": null, \"wake_yielding_cpu\": null");
		return;
	}
	printf(" \"wake_idle_cpu_call\": %llu,", wake_far(true));
	printf(" \"wake_idle_cpu\": %llu,", wake_far(false));
	printf(" \"wake_yielding_cpu_call\": %llu,", wake_beside(yields, true));
	printf(" \"wake_yielding_cpu\": %llu", wake_beside(yields, false));
}

int main(int argc, char **argv)
{
	if (argc > 1)
		rounds = (unsigned)strtoul(argv[1], NULL, 10);
	if (argc > 2 || rounds < 1 || rounds > MAX_ROUNDS) {
		fprintf(stderr, "usage: wakeup [ROUNDS]\n");
		return 2;
	}
	find_cpus();
	pin(cpus[0]);
	printf("{\"yield\": %llu,", time_yields());
	printf(" \"yield_to_another\": %llu,", yield_to_another());
	printf(" \"ping_pong_one_cpu\": %llu,", ping_pong());
	far();
	printf("}\n");
	return 0;
}
