/* SPDX-License-Identifier: BSD-3-Clause */
/* faults.c - see faults.h. */
#include <config.h>

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "damage.h"
#include "faults.h"
#include "load.h"
#include "server.h"
#include "slot.h"

#define SIZE_EVERY_MS 20

static struct fault *current; /* of this round */
static char text[100] = "none";
static uint64_t fault_ns;      /* its begin */
static uint64_t start_ns;      /* the same, or that of what ends it */
static uint64_t deliberate_ns; /* of the pause: what was waited on purpose */
static uint64_t pause_ns;

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

/* As a part of the fault. */
static void be_absent(uint64_t ms)
{
	load_wait_ms(ms);
	deliberate_ns += ms * MS;
}

/* A moment long before a suspicion, near it, or at once. */
static uint64_t random_absence(void)
{
	return one_in(&driver_random, 2) ? 0
					 : between(&driver_random, 1, suspicion_ns() / MS * 3 / 2);
}

/* Until a request that is sent now is answered. */
static void recover(void)
{
	load_probe();
	load_wait_for("the first answer after the fault", load_probed);
	result_note(&current->result, FIRST_ANSWER, load_probe_ns() - start_ns);
}

/* ------------------------------------------------------------------ measure */

/* From FROM, or the last step that was seen before, to STEP. */
static uint64_t note_part(enum series part, enum slot_step step, uint64_t from)
{
	uint64_t ns = slot_ns(step);

	if (ns == 0)
		return from;
	result_note(&current->result, part, ns > from ? ns - from : 0);
	return ns;
}

/* Of a pause in which the slot got a new owner. */
static void note_parts(void)
{
	uint64_t from = fault_ns, answered = load_granted_answer_ns();

	if (!current->in_parts || slot_ns(SLOT_GRANTED) == 0 || answered == 0)
		return;
	from = note_part(PART_ASKED, SLOT_DRAINING, from);
	from = note_part(PART_DRAINED, SLOT_LEFT, from);
	from = note_part(PART_TAKEN, SLOT_TAKEN, from > start_ns ? from : start_ns);
	from = note_part(PART_GRANTED, SLOT_GRANTED, from);
	result_note(&current->result, PART_ANSWERED, answered > from ? answered - from : 0);
	from = slot_ns(SLOT_DRAINING) ? slot_ns(SLOT_DRAINING) : fault_ns;
	result_note(&current->result, UNSERVED, answered - from - deliberate_ns);
}

static void measure_start(void)
{
	fault_ns = start_ns = now_ns();
	deliberate_ns = 0;
	slot_watch();
	load_gap_start();
}

static void measure_end(void)
{
	uint64_t gap = load_gap_end();

	pause_ns = gap > deliberate_ns ? gap - deliberate_ns : 0;
	result_note(&current->result, PAUSE, pause_ns);
	note_parts();
	slot_rest();
}

/* ------------------------------------------------------------------ faults */

static void restart_backend(void)
{
	start_ns = now_ns();
	backend_start();
	recover();
	load_wait_for("the backend's start", backend_ready);
}

static void backend_killed(void)
{
	server_kill(&backend);
	restart_backend();
}

/* Nobody serves for a while, perhaps until the backend is suspect. */
static void backend_absent(void)
{
	uint64_t ms = between(&driver_random, 1, suspicion_ns() / MS * 3 / 2);

	faults_name("backend-absent for %" PRIu64 " ms", ms);
	server_kill(&backend);
	be_absent(ms);
	restart_backend();
}

/* Killed while it starts. */
static void backend_killed_twice(void)
{
	uint64_t us = between(&driver_random, 0, 30000);

	faults_name("backend-killed-twice, %" PRIu64 " us after its start", us);
	server_kill(&backend);
	backend_start();
	load_serve(now_ns() + us * 1000, NULL);
	server_kill(&backend);
	restart_backend();
}

/* What was begun is answered; the rest waits. */
static void stop_backend(void)
{
	backend.expect = END_WELL;
	server_signal(&backend, SIGTERM);
	load_wait_for("the backend's end", backend_gone);
}

/* In order, as a service manager does it. */
static void backend_restarted(void)
{
	uint64_t ms = random_absence();

	faults_name("backend-restarted, after %" PRIu64 " ms", ms);
	stop_backend();
	be_absent(ms);
	restart_backend();
}

/* Stopped or killed, and started with another disk, or none. */
static void backend_misled(void)
{
	static const char *const names[] = { "other", "odd", "none" };
	const char *name = names[below(&driver_random, 3)];
	char disk[300];
	uint64_t from;

	faults_name("wrong-disk: %s", name);
	snprintf(disk, sizeof(disk), "%s/%s", options.tmp, name);
	if (one_in(&driver_random, 2))
		stop_backend();
	else
		server_kill(&backend);
	from = now_ns();
	newcomer_start_refused(NULL, disk, false);
	load_wait_for("the end of a start with another disk", newcomer_gone);
	if (strcmp(name, "other") == 0 && !newcomer_says("is attached to another disk"))
		die("another disk is refused for another reason");
	deliberate_ns += now_ns() - from;
	restart_backend();
}

static void stop_and_continue(struct server *s, uint64_t ms)
{
	faults_name("%s stopped for %" PRIu64 " ms", s->name, ms);
	server_signal(s, SIGSTOP);
	be_absent(ms);
	server_signal(s, SIGCONT);
	start_ns = now_ns();
	recover();
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

static void restart_nbdkit(void)
{
	nbdkit_start();
	load_wait_for("nbdkit's start", nbdkit_ready);
	load_connect(socket_path());
	recover();
}

static void nbdkit_killed(void)
{
	load_expect_loss();
	server_kill(&nbdkit);
	load_abandoned();
	restart_nbdkit();
}

/* Both at once: nobody is left who knows what was in flight. */
static void both_killed(void)
{
	load_expect_loss();
	if (one_in(&driver_random, 2)) {
		server_kill(&nbdkit);
		server_kill(&backend);
	} else {
		server_kill(&backend);
		server_kill(&nbdkit);
	}
	load_abandoned();
	backend_start();
	load_wait_for("the backend's start", backend_ready);
	restart_nbdkit();
}

static void finish_takeover(void)
{
	load_wait_for("the hand-over", backend_handed_over);
	load_wait_for("the new backend's start", backend_ready);
	load_probe();
	load_wait_for("the first answer after the hand-over", load_probed);
}

static void takeover(void)
{
	backend_take_over();
	finish_takeover();
}

/* What it is refused for is seen before the process that serves is asked. */
static void takeover_refused(void)
{
	static const struct {
		const char *what, *disk, *options[4];
	} ways[] = {
		{ "no disk", "none", { NULL } },
		{ "a disk of 1000 bytes", "odd", { NULL } },
		{ "another disk", "other", { NULL } },
		{ "a folder", ".", { NULL } },
		{ "99 handlers", NULL, { "--handlers", "99", NULL } },
		{ "mmap and direct", NULL, { "--engine", "mmap", "--direct", NULL } },
		{ "read-only", NULL, { "--read-only", NULL } },
	};
	unsigned i = (unsigned)below(&driver_random, sizeof(ways) / sizeof(ways[0]));
	char disk[300];

	faults_name("takeover-refused: %s", ways[i].what);
	snprintf(disk, sizeof(disk), "%s/%s", options.tmp, ways[i].disk ? ways[i].disk : "");
	newcomer_start_refused(ways[i].options, ways[i].disk ? disk : NULL, true);
	load_wait_for("the end of a refused take-over", newcomer_gone);
	if (slot_ns(SLOT_DRAINING) != 0 || slot_ns(SLOT_TAKEN) != 0)
		die("the process that serves was asked to hand over");
	recover();
}

static bool answered_or_handed_over(void)
{
	return load_probed() || backend_handed_over();
}

/* The process that asks is dead: the one that was asked goes on, or has handed over before;
 * then the death is that of the backend. */
static void settle_takeover(void)
{
	start_ns = now_ns();
	load_probe();
	load_wait_for("an answer after a take-over that failed", answered_or_handed_over);
	if (backend_stays()) {
		result_note(&current->result, FIRST_ANSWER, load_probe_ns() - start_ns);
		return;
	}
	backend_start();
	load_wait_for("the first answer after the fault", load_probed);
	load_wait_for("the backend's start", backend_ready);
}

/* Killed while it asks, waits, takes, publishes, serves. */
static void takeover_killed(void)
{
	static const enum slot_step steps[] = { SLOT_DRAINING, SLOT_LEFT, SLOT_TAKEN, SLOT_GRANTED,
						SLOT_LIVE };
	static const char *const after[] = { "asked", "left", "taken", "granted", "live" };
	unsigned i = (unsigned)below(&driver_random, 6);
	unsigned us = one_in(&driver_random, 2) ? 0 : (unsigned)below(&driver_random, 2000);

	newcomer_take_over();
	if (i == 5) {
		us = (unsigned)below(&driver_random, 20000);
		faults_name("takeover-killed, %u us after its start", us);
		load_serve(now_ns() + us * UINT64_C(1000), NULL);
		server_kill(&newcomer);
	} else {
		faults_name("takeover-killed, %u us after '%s'", us, after[i]);
		newcomer.expect = END_KILLED;
		slot_kill_at(steps[i], us, newcomer.pid);
		load_wait_for("the death of the process that takes over", newcomer_gone);
	}
	settle_takeover();
}

static uint64_t size_goal;

static bool has_new_size(void)
{
	static uint64_t looked;

	if (now_ns() < looked + SIZE_EVERY_MS * MS)
		return false;
	looked = now_ns();
	return load_size() == size_goal;
}

/* While requests are under way; then connections see what they can use. */
static void disk_grown(void)
{
	static const char *const names[] = { "SIGHUP", "a start", "a take-over" };
	unsigned way = (unsigned)below(&driver_random, 3);
	uint64_t room = MOST_BLOCKS - options.blocks;
	uint64_t blocks = options.blocks +
			  (room ? 1 + below(&driver_random, room < 64 ? room : 64) : 0);

	faults_name("disk-grown to %" PRIu64 " blocks, %s", blocks, names[way]);
	size_goal = blocks * BLOCK;
	if (way == 1)
		server_kill(&backend);
	if (truncate(options.disk, (off_t)size_goal) < 0)
		die("%s: %m", options.disk);
	if (way == 0) {
		server_signal(&backend, SIGHUP);
		recover();
	} else if (way == 1) {
		restart_backend();
	} else {
		takeover();
	}
	load_wait_for("the new size", has_new_size);
	measure_end();
	load_quiesce();
	load_disconnect();
	options.blocks = blocks;
	load_connect(socket_path());
	load_on(true);
}

/* Its next start waits until it is proven that there is no clone (cbd(7)). */
static void disk_host_rebooted(void)
{
	server_kill(&backend);
	backend.boot++;
	restart_backend();
}

static void client_host_rebooted(void)
{
	load_expect_loss();
	server_kill(&nbdkit);
	nbdkit.boot++;
	load_abandoned();
	restart_nbdkit();
}

static void fail_over(void)
{
	server_kill(&backend);
	start_ns = now_ns();
	backend_fail_over();
	recover();
	load_wait_for("the backend's start", backend_ready);
}

static void line_damaged(void)
{
	unsigned n = one_in(&driver_random, 2) ? 1 : (unsigned)between(&driver_random, 2, 6);
	size_t length = 0;

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
	{ .name = "backend-killed", .inject = backend_killed, .weight = 5, .in_parts = true },
	{ .name = "backend-absent", .inject = backend_absent, .weight = 1 },
	{ .name = "backend-killed-twice", .inject = backend_killed_twice, .weight = 2 },
	{ .name = "backend-restarted", .inject = backend_restarted, .weight = 4, .in_parts = true },
	{ .name = "wrong-disk", .inject = backend_misled, .weight = 2 },
	{ .name = "backend-stopped", .inject = backend_stopped, .weight = 2 },
	{ .name = "backend-suspect", .inject = backend_suspect, .weight = 1 },
	{ .name = "nbdkit-killed", .inject = nbdkit_killed, .weight = 5 },
	{ .name = "nbdkit-stopped", .inject = nbdkit_stopped, .weight = 1 },
	{ .name = "nbdkit-suspect", .inject = nbdkit_suspect, .weight = 1 },
	{ .name = "both-killed", .inject = both_killed, .weight = 2 },
	{ .name = "takeover", .inject = takeover, .weight = 4, .in_parts = true },
	{ .name = "takeover-refused", .inject = takeover_refused, .weight = 3 },
	{ .name = "takeover-killed", .inject = takeover_killed, .weight = 6 },
	{ .name = "disk-grown", .inject = disk_grown, .weight = 3, .end = FAULT_ENDS_ITSELF },
	{ .name = "disk-host-rebooted", .inject = disk_host_rebooted, .weight = 4, .hosts = true },
	{ .name = "client-host-rebooted",
	  .inject = client_host_rebooted,
	  .weight = 4,
	  .hosts = true },
	{ .name = "fail-over", .inject = fail_over, .weight = 4, .hosts = true },
	{ .name = "line-damaged", .inject = line_damaged, .weight = 6, .end = FAULT_ENDS_SETTLED },
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
		if ((options.only && !listed(options.only, faults[i].name)) ||
		    (faults[i].hosts && !options.hosts))
			faults[i].weight = 0;
		n += faults[i].weight;
	}
	if (n == 0) {
		fprintf(stderr, "fault: --only %s: no such fault%s\n", options.only,
			options.hosts ? "" : " without --hosts");
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
	measure_start();
	f->inject();
	f->result.count++;
	if (f->end == FAULT_ENDS_ANSWERED)
		measure_end();
}

void faults_settled(struct fault *f)
{
	if (f->end == FAULT_ENDS_SETTLED)
		measure_end();
}

uint64_t faults_pause_ns(void)
{
	return pause_ns;
}

void faults_show(void)
{
	for (unsigned i = 0; i < FAULTS; i++)
		result_show(&faults[i].result, faults[i].name);
}
