/* SPDX-License-Identifier: BSD-3-Clause */
/* faults.c - see faults.h. */
#include <config.h>

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "damage.h"
#include "faults.h"
#include "load.h"
#include "server.h"

static struct fault *current; /* of this round */
static char text[100] = "none";

const char *faults_text(void)
{
	return text;
}

/* ------------------------------------------------------------------ waiting */

void faults_name(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
}

/* Until a request that is sent now is answered: from START. */
static void recover(uint64_t start)
{
	load_probe();
	load_wait_for("the first answer after the fault", load_probed);
	result_recovery(&current->result, load_probe_ns() - start);
}

/* ------------------------------------------------------------------ faults */

static void restart_backend(uint64_t killed_ns)
{
	backend_start(false);
	recover(killed_ns);
	load_wait_for("the backend's start", backend_ready);
}

static void backend_killed(void)
{
	uint64_t start = now_ns();

	server_kill(&backend);
	restart_backend(start);
}

/* Nobody serves for a while, perhaps until the backend is suspect. */
static void backend_absent(void)
{
	uint64_t ms = between(&driver_random, 1, suspicion_ns() / MS * 3 / 2);

	faults_name("backend-absent for %" PRIu64 " ms", ms);
	server_kill(&backend);
	load_wait_ms(ms);
	restart_backend(now_ns());
}

/* Killed while it starts. */
static void backend_killed_twice(void)
{
	uint64_t us = between(&driver_random, 0, 30000), start;

	faults_name("backend-killed-twice, %" PRIu64 " us after its start", us);
	server_kill(&backend);
	backend_start(false);
	load_serve(now_ns() + us * 1000, NULL);
	start = now_ns();
	server_kill(&backend);
	restart_backend(start);
}

static void stop_and_continue(struct server *s, uint64_t ms)
{
	faults_name("%s stopped for %" PRIu64 " ms", s->name, ms);
	server_signal(s, SIGSTOP);
	load_wait_ms(ms);
	server_signal(s, SIGCONT);
	recover(now_ns());
}

static uint64_t short_stop(void)
{
	return between(&driver_random, 1, suspicion_ns() / MS / 2);
}

static uint64_t long_stop(void)
{
	return between(&driver_random, suspicion_ns() / MS * 9 / 10, suspicion_ns() / MS * 3 / 2);
}

static void backend_stopped(void)
{
	stop_and_continue(&backend, short_stop());
}

static void backend_suspect(void)
{
	stop_and_continue(&backend, long_stop());
}

static void nbdkit_stopped(void)
{
	stop_and_continue(&nbdkit, short_stop());
}

static void nbdkit_suspect(void)
{
	stop_and_continue(&nbdkit, long_stop());
}

static void nbdkit_killed(void)
{
	uint64_t start = now_ns();

	load_expect_loss();
	server_kill(&nbdkit);
	load_abandoned();
	nbdkit_start();
	load_wait_for("nbdkit's start", nbdkit_ready);
	load_connect(socket_path());
	recover(start);
}

/* Both at once: nobody is left who knows what was in flight. */
static void both_killed(void)
{
	uint64_t start = now_ns();

	load_expect_loss();
	if (one_in(&driver_random, 2)) {
		server_kill(&nbdkit);
		server_kill(&backend);
	} else {
		server_kill(&backend);
		server_kill(&nbdkit);
	}
	load_abandoned();
	backend_start(false);
	load_wait_for("the backend's start", backend_ready);
	nbdkit_start();
	load_wait_for("nbdkit's start", nbdkit_ready);
	load_connect(socket_path());
	recover(start);
}

/* The recovery is the longest time without an answer. */
static void takeover(void)
{
	load_gap_start();
	backend_start(true);
	load_wait_for("the hand-over", backend_handed_over);
	load_wait_for("the new backend's start", backend_ready);
	load_probe();
	load_wait_for("the first answer after the hand-over", load_probed);
	result_recovery(&current->result, load_gap());
}

static void line_damaged(void)
{
	unsigned n = one_in(&driver_random, 2) ? 1 : (unsigned)between(&driver_random, 2, 6);
	size_t length = 0;

	load_gap_start();
	for (unsigned i = 0; i < n; i++) {
		const char *name = damage_line(&driver_random);

		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s",
					   i ? ", " : "damaged ", name);
		if (length >= sizeof(text))
			length = sizeof(text) - 1;
		load_wait_ms(below(&driver_random, 20));
	}
}

static struct fault faults[] = {
	{ .name = "backend-killed", .inject = backend_killed, .weight = 5 },
	{ .name = "backend-absent", .inject = backend_absent, .weight = 1 },
	{ .name = "backend-killed-twice", .inject = backend_killed_twice, .weight = 2 },
	{ .name = "backend-stopped", .inject = backend_stopped, .weight = 2 },
	{ .name = "backend-suspect", .inject = backend_suspect, .weight = 1 },
	{ .name = "nbdkit-killed", .inject = nbdkit_killed, .weight = 5 },
	{ .name = "nbdkit-stopped", .inject = nbdkit_stopped, .weight = 1 },
	{ .name = "nbdkit-suspect", .inject = nbdkit_suspect, .weight = 1 },
	{ .name = "both-killed", .inject = both_killed, .weight = 2 },
	{ .name = "takeover", .inject = takeover, .weight = 4 },
	{ .name = "line-damaged", .inject = line_damaged, .weight = 6 },
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

/* Is NAME one of a list with commas? */
static bool listed(const char *list, const char *name)
{
	size_t length = strlen(name);

	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (strncmp(p, name, length) == 0 && (p[length] == 0 || p[length] == ','))
			return true;
	}
	return false;
}

void faults_select(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAULTS; i++) {
		if (options.only && !listed(options.only, faults[i].name))
			faults[i].weight = 0;
		n += faults[i].weight;
	}
	if (n == 0) {
		fprintf(stderr, "fault: --only %s: no such fault\n", options.only);
		exit(2);
	}
}

struct fault *faults_choose(void)
{
	unsigned sum = 0, n;

	for (unsigned i = 0; i < FAULTS; i++)
		sum += faults[i].weight;
	n = (unsigned)below(&driver_random, sum);
	for (unsigned i = 0;; i++) {
		if (n < faults[i].weight)
			return &faults[i];
		n -= faults[i].weight;
	}
}

void faults_inject(struct fault *f)
{
	current = f;
	faults_name("%s", f->name);
	f->inject();
	f->result.count++;
}

void faults_settled(struct fault *f)
{
	if (f->inject == line_damaged)
		result_recovery(&f->result, load_gap());
}

void faults_show(void)
{
	for (unsigned i = 0; i < FAULTS; i++)
		result_show(&faults[i].result, faults[i].name);
}
