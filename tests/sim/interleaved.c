/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * interleaved.c - two programs meet, and neither dies: the first halts behind each line
 * that it stores, before the line is written back and behind the fence that completes it;
 * the second goes as far as it can; then the first goes on.  And scenes: what needs
 * more than two programs, or a line that comes late, or memory or a peer that lies.
 *
 * What the two find of each other may not be healed by epochs, repeated requests or
 * repair: it has to be right.
 *
 * Usage: sim-interleaved [MEETING STORE stored|written] or [SCENE], as it prints a case
 * that fails.  SIM_SEED: other schedules of the same cases (0); SIM_FIRST: the first
 * case that fails ends it.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actors.h"
#include "backend/backend.h"
#include "blkdev/blkdev.h"

#define SIZE (4ull << 20)
#define STORES_MOST 200
#define SUSPICION_MS 400 /* more than one takes */

static struct cbd_format_options format = {
	.size = SIZE,
	.hosts = 4,
	.backends = 1,
	.blkdevs = 1,
	.channels = 1,
	.channel_size = 1u << 20,
	.depth = 4,
	.heartbeat_ms = 20,
	.dead_after = 4,
	.coherence = CBD_COHERENCE_SOFTWARE,
};

static struct actor_disk disks[SIM_HOSTS];
static struct shadow_block shadows[SIM_HOSTS][PART_BLOCKS];

/* One of each on a host. */
static struct actor_backend backends[SIM_HOSTS];
static struct actor_client clients[SIM_HOSTS];
static struct sim_proc *servers[SIM_HOSTS], *users[SIM_HOSTS];
static int slots[SIM_HOSTS];

static uint64_t bit(unsigned host)
{
	return 1ull << slots[host];
}

/* ---------------------------------------------------------------- programs */

static void format_and_join(unsigned hosts)
{
	if (actor_run(&sim.hosts[0], "format", actor_format, &format) < 0)
		sim_fail("format fails");
	for (unsigned i = 0; i < hosts; i++)
		slots[i] = actor_run(&sim.hosts[i], "join", actor_join, NULL);
}

static struct sim_proc *serve(unsigned host, struct actor_disk *disk, uint64_t fenced)
{
	backends[host] = (struct actor_backend){
		.disk = disk,
		.handlers = 1,
		.max_blkdevs = format.blkdevs,
		.fenced_hosts = fenced,
	};
	servers[host] = sim_spawn(&sim.hosts[host], "backend", actor_backend, &backends[host]);
	return servers[host];
}

/* False: it has ended, or MS are over. */
static bool await_serving(unsigned host, unsigned ms)
{
	for (unsigned i = 0; i < ms && servers[host]->alive && !backends[host].serving; i++)
		sim_sleep(SIM_MS);
	return servers[host]->alive && backends[host].serving;
}

static void must_serve(unsigned host, uint64_t fenced)
{
	serve(host, &disks[0], fenced);
	if (!await_serving(host, 3000))
		sim_fail("the backend on host %u does not start: %d", host, servers[host]->result);
}

static void stop_serving(unsigned host)
{
	backends[host].wanted_stop = true;
	actor_wait(servers[host], SIM_NEVER);
	if (servers[host]->result < 0)
		sim_fail("the backend on host %u ends with %d", host, servers[host]->result);
}

/* REQUESTS 0: until it is told. */
static struct sim_proc *use(unsigned host, unsigned requests, unsigned again)
{
	clients[host] = (struct actor_client){ .shadow = shadows[host],
					       .first = host * PART_BLOCKS,
					       .requests = requests,
					       .again = again,
					       .threads = 1 };
	users[host] = sim_spawn(&sim.hosts[host], "client", actor_client, &clients[host]);
	return users[host];
}

/* That many requests more, within MS. */
static bool await_done(unsigned host, unsigned requests, unsigned ms)
{
	unsigned until = clients[host].done + requests;

	for (unsigned i = 0; i < ms && users[host]->alive && clients[host].done < until; i++)
		sim_sleep(SIM_MS);
	return clients[host].done >= until;
}

static void must_attach(unsigned host)
{
	use(host, 0, 0);
	if (!await_done(host, 3, 3000))
		sim_fail("the client on host %u does not attach: %d", host, users[host]->result);
}

static void end_use(unsigned host)
{
	clients[host].wanted_stop = true;
	actor_wait(users[host], SIM_NEVER);
	if (users[host]->result < 0)
		sim_fail("the client on host %u ends with %d", host, users[host]->result);
}

/* Nothing was healed: it had one epoch, and left none. */
static void must_be_calm(unsigned host)
{
	const struct actor_client *c = &clients[host];

	if (c->epochs != 1 || c->leaves || c->resends || c->bad_payloads)
		sim_fail("the client on host %u had %llu epochs, left %llu, %llu resends, %llu bad "
			 "payloads",
			 host, (unsigned long long)c->epochs, (unsigned long long)c->leaves,
			 (unsigned long long)c->resends, (unsigned long long)c->bad_payloads);
}

static void check_finds_nothing(void)
{
	int n = actor_run(&sim.hosts[0], "check", actor_check, &(bool){ false });

	if (n != 0)
		sim_fail("check finds %d problems", n);
}

/* What an observer on host 0 reads of a slot 0. */
struct sight {
	bool backend;
	bool live;
	int host;
};

static int look(struct sim_proc *p, void *arg)
{
	struct sight *s = arg;
	struct cbd_transport *t;
	struct cbd_backend_info b;
	struct cbd_blkdev_info d;
	int r = cbd_transport_open(sim.path, CBD_TRANSPORT_READ_ONLY, &t);

	(void)p;
	if (r < 0)
		return r;
	r = s->backend ? cbd_backend_get(t, 0, &b, sizeof(b)) : cbd_blkdev_get(t, 0, &d, sizeof(d));
	s->live = r == 0 && (s->backend ? b.state : d.state) == CBD_STATE_LIVE;
	s->host = s->backend ? (int)b.host_id : (int)d.host_id;
	cbd_transport_close(t);
	return r;
}

/* Its owner is on HOST, as anybody can see without waiting for a beat. */
static void must_be_seen(bool backend, unsigned host)
{
	struct sight s = { .backend = backend };

	if (actor_run(&sim.hosts[0], "look", look, &s) < 0 || !s.live || s.host != slots[host])
		sim_fail("%s 0, of host slot %d, is seen as %s, of host slot %d",
			 backend ? "backend" : "blkdev", slots[host], s.live ? "live" : "not live",
			 s.host);
}

/* Of host slot *ARG. */
static int look_at_name(struct sim_proc *p, void *arg)
{
	struct cbd_transport *t;
	struct cbd_host_info h;
	int r = cbd_transport_open(sim.path, CBD_TRANSPORT_READ_ONLY, &t);

	(void)p;
	if (r < 0)
		return r;
	r = cbd_host_get(t, *(unsigned *)arg, &h, sizeof(h));
	cbd_transport_close(t);
	return r < 0 ? r : strncmp(h.name, "host", 4) == 0;
}

static void must_have_a_name(unsigned host)
{
	if (actor_run(&sim.hosts[0], "look", look_at_name, &(unsigned){ (unsigned)slots[host] }) !=
	    1)
		sim_fail("host slot %d has no name", slots[host]);
}

/* False: the backend is live, and a blkdev that was attached has no grant of it. */
static int look_at_grant(struct sim_proc *p, void *arg)
{
	struct cbd_transport *t;
	struct cbd_channel ch;
	struct cbd_grant_line g;
	struct cbd_state_line s;
	int r = cbd_transport_open(sim.path, CBD_TRANSPORT_READ_ONLY, &t);

	(void)p;
	(void)arg;
	if (r < 0)
		return r;
	cbd_channel_init(&ch, t, 0, 0);
	r = cbd_line_get(t, cbd_side_state_at(t, CBD_SIDE_BACKEND, 0), &s);
	if (r == 0)
		r = cbd_line_get(t, cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT), &g);
	cbd_transport_close(t);
	return r < 0 ? r : s.state != CBD_SLOT_LIVE || g.epoch >> 32 == s.incarnation;
}

static void off(unsigned host, unsigned percent_lost)
{
	sim_power_off(&sim.hosts[host], percent_lost);
}

static struct actor_clear to_clear;

static struct sim_proc *clear(unsigned on, enum cbd_object object, unsigned id, uint64_t gone)
{
	to_clear = (struct actor_clear){ .object = object, .id = id, .hosts_gone = gone };
	return sim_spawn(&sim.hosts[on], "clear", actor_clear, &to_clear);
}

static void must_clear(unsigned on, enum cbd_object object, unsigned id, uint64_t gone)
{
	struct sim_proc *p = clear(on, object, id, gone);

	actor_wait(p, SIM_NEVER);
	if (p->result < 0)
		sim_fail("clear fails: %d", p->result);
}

static void await_halt(const struct sim_proc *p)
{
	while (p->alive && !p->halted)
		sim_sleep(SIM_MS);
	if (!p->halted)
		sim_fail("%s does not get there: %d", p->name, p->result);
}

/* ---------------------------------------------------------------- meetings */

/* FIRST starts the one that halts, or says that what is there does something; DONE: it has
 * got through without a halt, and there are no more stores.  SECOND: the other one, as
 * far as it gets.  JUDGE: when the first goes on.  Host 1 is that of the first, host 2 that
 * of the second; host 3 is off where something is gone. */
struct meeting {
	const char *name;
	struct cbd_format_options with; /* what differs: 0 is as above */
	unsigned join;			/* hosts */
	unsigned most;			/* stores; 0: as many as there are */
	void (*prepare)(void);
	struct sim_proc *(*first)(void);
	bool (*done)(void);
	void (*second)(void);
	void (*judge)(void);
};

static struct sim_proc *first;

static bool first_has_ended(void)
{
	return !first->alive;
}

/* --- two backends claim a slot --- */

static struct sim_proc *claim_backend(void)
{
	return serve(1, &disks[1], 0);
}

static bool claimed_backend(void)
{
	return !servers[1]->alive || backends[1].serving;
}

static void claim_backend_too(void)
{
	serve(2, &disks[2], 0);
	await_serving(2, SUSPICION_MS);
}

static void one_serves(void)
{
	for (unsigned i = 0; i < 60; i++) {
		sim_sleep(5 * SIM_MS);
		if (backends[1].serving && backends[2].serving)
			sim_fail("two backends serve one slot");
	}
	if (!backends[1].serving && !backends[2].serving)
		sim_fail("no backend serves: %d and %d", servers[1]->result, servers[2]->result);
	must_be_seen(true, backends[1].serving ? 1 : 2);
	stop_serving(backends[1].serving ? 1 : 2);
	check_finds_nothing();
}

/* --- two blkdevs claim a slot --- */

static void serve_on_0(void)
{
	must_serve(0, 0);
}

static struct sim_proc *claim_blkdev(void)
{
	return use(1, 0, 0);
}

static bool claimed_blkdev(void)
{
	return !users[1]->alive || clients[1].done > 0;
}

static void claim_blkdev_too(void)
{
	use(2, 0, 0);
	await_done(2, 1, SUSPICION_MS);
}

static void one_is_attached(void)
{
	unsigned who;

	for (unsigned i = 0; i < 60; i++) {
		sim_sleep(5 * SIM_MS);
		if (clients[1].attached && clients[2].attached)
			sim_fail("two blkdevs have one slot");
	}
	if (!clients[1].attached && !clients[2].attached)
		sim_fail("no blkdev is attached: %d and %d", users[1]->result, users[2]->result);
	who = clients[1].attached ? 1 : 2;
	must_be_seen(false, who);
	end_use(who);
	must_be_calm(who);
	stop_serving(0);
	check_finds_nothing();
}

/* --- two hosts join --- */

static struct sim_proc *join_first(void)
{
	return sim_spawn(&sim.hosts[1], "join", actor_join, NULL);
}

static struct sim_proc *joiner;

static void join_too(void)
{
	joiner = sim_spawn(&sim.hosts[2], "join", actor_join, NULL);
	actor_wait(joiner, SUSPICION_MS * SIM_MS);
}

static void both_have_slots(void)
{
	actor_wait(first, SIM_NEVER);
	actor_wait(joiner, SIM_NEVER);
	slots[1] = first->result;
	slots[2] = joiner->result;
	if (slots[1] < 0 || slots[2] < 0 || slots[1] == slots[2])
		sim_fail("the hosts got slots %d and %d", slots[1], slots[2]);
	for (unsigned i = 1; i <= 2; i++)
		if (actor_run(&sim.hosts[i], "join", actor_join, NULL) != slots[i])
			sim_fail("host %u does not keep slot %d", i, slots[i]);
	serve_on_0();
	must_attach(2);
	end_use(2);
	must_be_calm(2);
}

/* --- a blkdev attaches; its backend halts --- */

static void serve_on_1(void)
{
	must_serve(1, 0);
}

/* From its next store on: beats, and what the request of the client brings. */
static struct sim_proc *answer(void)
{
	use(2, 8, 0);
	return servers[1];
}

static bool answered(void)
{
	return !users[2]->alive;
}

/* Not so long that the backend is suspect. */
static void go_on_without_answer(void)
{
	sim_sleep(40 * SIM_MS);
}

static void was_attached(void)
{
	actor_wait(users[2], SIM_NEVER);
	if (users[2]->result < 0)
		sim_fail("the client ends with %d", users[2]->result);
	must_be_calm(2);
	stop_serving(1);
	check_finds_nothing();
}

/* --- a backend starts behind another one, to which a blkdev is attached --- */

static void serve_and_stop(void)
{
	serve_on_1();
	must_attach(2);
	stop_serving(1);
}

static struct sim_proc *start_again(void)
{
	return serve(1, &disks[0], 0);
}

static void another_client(void)
{
	if (actor_run(&sim.hosts[0], "look", look_at_grant, NULL) == 0)
		sim_fail("the backend is live, and its blkdev has no grant of it");
	use(0, 6, 40);
	await_done(0, 1, 60);
}

static void both_work(void)
{
	if (!await_serving(1, 3000))
		sim_fail("the backend does not start: %d", servers[1]->result);
	if (!await_done(2, 6, 3000))
		sim_fail("the client that was attached does not go on");
	actor_wait(users[0], SIM_NEVER);
	if (users[0]->result < 0)
		sim_fail("the new client ends with %d", users[0]->result);
	must_be_calm(0);
	end_use(2);
	if (clients[2].epochs != 2 || clients[2].leaves)
		sim_fail("the client that was attached had %llu epochs and left %llu",
			 (unsigned long long)clients[2].epochs,
			 (unsigned long long)clients[2].leaves);
	stop_serving(1);
	check_finds_nothing();
}

/* --- a blkdev leaves its slot to another one --- */

static void attach_on_1(void)
{
	serve_on_0();
	must_attach(1);
}

static struct sim_proc *leave(void)
{
	clients[1].wanted_stop = true;
	return users[1];
}

/* As soon as the slot is free. */
static void come_after(void)
{
	for (unsigned i = 0; i < 20; i++) {
		use(2, 0, 0);
		if (await_done(2, 1, 20) || users[2]->alive)
			break;
	}
}

static void has_come(void)
{
	actor_wait(first, SIM_NEVER);
	if (clients[2].attached)
		must_be_seen(false, 2);
	while (!users[2]->alive && !clients[2].attached) {
		use(2, 0, 0);
		await_done(2, 1, 3000);
	}
	if (!await_done(2, 6, 3000))
		sim_fail("the client does not attach: %d", users[2]->result);
	must_be_seen(false, 2);
	end_use(2);
	must_be_calm(2);
	stop_serving(0);
	check_finds_nothing();
}

/* --- a slot is cleared, and taken --- */

static void leave_blkdev(void)
{
	serve_on_0();
	must_attach(3);
	off(3, 100);
}

static struct sim_proc *clear_blkdev(void)
{
	return clear(1, CBD_OBJECT_BLKDEV, 0, bit(3));
}

static void leave_backend(void)
{
	must_serve(3, 0);
	off(3, 100);
}

static struct sim_proc *clear_backend(void)
{
	return clear(1, CBD_OBJECT_BACKEND, 0, bit(3));
}

static void serve_after(void)
{
	for (unsigned i = 0; i < 20; i++) {
		serve(2, &disks[0], 0);
		if (await_serving(2, 100) || servers[2]->alive)
			break;
	}
}

static void serves_after(void)
{
	actor_wait(first, SIM_NEVER);
	if (backends[2].serving)
		must_be_seen(true, 2);
	if (!servers[2]->alive)
		serve(2, &disks[0], 0);
	if (!await_serving(2, 3000))
		sim_fail("the backend does not start: %d", servers[2]->result);
	must_be_seen(true, 2);
	must_attach(0);
	end_use(0);
	must_be_calm(0);
	stop_serving(2);
}

static void host_3_is_gone(void)
{
	slots[3] = actor_run(&sim.hosts[3], "join", actor_join, NULL);
	off(3, 100);
}

static struct sim_proc *clear_host(void)
{
	return clear(1, CBD_OBJECT_HOST, (unsigned)slots[3], 0);
}

static void join_after(void)
{
	for (unsigned i = 0; i < 20; i++) {
		joiner = sim_spawn(&sim.hosts[2], "join", actor_join, NULL);
		actor_wait(joiner, SIM_NEVER);
		if (joiner->result >= 0)
			break;
		sim_sleep(5 * SIM_MS);
	}
}

static void has_joined(void)
{
	actor_wait(first, SIM_NEVER);
	if (joiner->result < 0)
		join_after();
	slots[2] = joiner->result;
	if (slots[2] < 0 || slots[2] == slots[0] || slots[2] == slots[1])
		sim_fail("host 2 got slot %d", slots[2]);
	must_have_a_name(2); /* its next process would store it again */
	serve_on_0();
	must_attach(2);
	must_be_seen(false, 2);
	end_use(2);
	must_be_calm(2);
	if (actor_run(&sim.hosts[2], "join", actor_join, NULL) != slots[2])
		sim_fail("host 2 does not keep slot %d", slots[2]);
	stop_serving(0);
	check_finds_nothing();
}

static const struct meeting meetings[] = {
	{ "claim-backend",
	  { 0 },
	  3,
	  6,
	  NULL,
	  claim_backend,
	  claimed_backend,
	  claim_backend_too,
	  one_serves },
	{ "claim-blkdev",
	  { .channels = 2 },
	  3,
	  6,
	  serve_on_0,
	  claim_blkdev,
	  claimed_blkdev,
	  claim_blkdev_too,
	  one_is_attached },
	{ "join", { 0 }, 1, 0, NULL, join_first, first_has_ended, join_too, both_have_slots },
	{ "attach", { 0 }, 3, 10, serve_on_1, answer, answered, go_on_without_answer, was_attached },
	{ "start",
	  { .blkdevs = 2, .channels = 2 },
	  3,
	  16,
	  serve_and_stop,
	  start_again,
	  claimed_backend,
	  another_client,
	  both_work },
	{ "leave", { 0 }, 3, 0, attach_on_1, leave, first_has_ended, come_after, has_come },
	{ "clear-blkdev",
	  { 0 },
	  4,
	  0,
	  leave_blkdev,
	  clear_blkdev,
	  first_has_ended,
	  come_after,
	  has_come },
	{ "clear-backend",
	  { 0 },
	  4,
	  0,
	  leave_backend,
	  clear_backend,
	  first_has_ended,
	  serve_after,
	  serves_after },
	{ "clear-host",
	  { .hosts = 3 },
	  2,
	  0,
	  host_3_is_gone,
	  clear_host,
	  first_has_ended,
	  join_after,
	  has_joined },
};
#define MEETINGS (sizeof(meetings) / sizeof(meetings[0]))

/* ------------------------------------------------------------------ scenes */

static uint32_t page_line(uint64_t area, unsigned page, unsigned line)
{
	return (uint32_t)(area / SIM_LINE) + page * (CBD_PAGE_SIZE / SIM_LINE) + line;
}

static uint32_t blkdev_line(unsigned page, unsigned line)
{
	return page_line(sim.header.blkdev_area.offset, page, line);
}

static void kill_user(unsigned host)
{
	sim_kill(users[host]);
}

/*
 * A process dies behind the store of its claim; another host finds the slot free and
 * claims with the same generation; then the write-back comes, before the owner beats
 * again, and a backend starts meanwhile: the channel stays that of the owner.
 */
static void late_claim(void)
{
	format.blkdevs = 2;
	format_and_join(3);
	serve_on_0();
	use(1, 0, 0)->die_at_line = blkdev_line(CBD_BLKDEV_CLAIMS, (unsigned)slots[1]);
	actor_wait(users[1], SIM_NEVER);
	must_attach(2);
	sim_stop(users[2], 10000 * SIM_MS);
	sim_cache_write_back_dead(&sim.hosts[1]);
	stop_serving(0);
	must_serve(0, 0);
	/* a third one gets the channel when nobody has it */
	use(0, 6, 0);
	actor_wait(users[0], SIM_NEVER);
	sim_go_on(users[2]);
	if (users[0]->result >= 0)
		sim_fail("the channel of a blkdev that lives was given away");
	if (!await_done(2, 6, 3000))
		sim_fail("the owner of the slot does not go on");
	end_use(2);
	if (clients[2].epochs != 2 || clients[2].leaves)
		sim_fail("the owner had %llu epochs and left %llu",
			 (unsigned long long)clients[2].epochs,
			 (unsigned long long)clients[2].leaves);
}

/* The request to detach of an owner before comes late, over the line of one that lives. */
static void late_detach(void)
{
	format_and_join(3);
	serve_on_0();
	must_attach(1);
	users[1]->die_at_line = blkdev_line(CBD_BLKDEV_INFO, CBD_BLKDEV_REQUEST);
	clients[1].wanted_stop = true;
	actor_wait(users[1], SIM_NEVER);
	off(1, 0);
	must_clear(0, CBD_OBJECT_BLKDEV, 0, bit(1));
	must_attach(2);
	sim_stop(users[2], 50 * SIM_MS);
	sim_boot(&sim.hosts[1], true);
	sim_sleep(50 * SIM_MS);
	if (!await_done(2, 6, 3000))
		sim_fail("the client does not go on");
	end_use(2);
	must_be_calm(2);
}

/* A request that was not answered, and the claim of the next owner beside it. */
static void old_request(void)
{
	format_and_join(3);
	serve_on_0();
	sim_stop(servers[0], 10000 * SIM_MS);
	use(1, 6, 0)->halt_at_step = "attach-requested";
	await_halt(users[1]);
	kill_user(1);
	use(1, 6, 0)->halt_at_step = "claim-raised";
	await_halt(users[1]);
	sim_go_on(servers[0]);
	sim_sleep(50 * SIM_MS);
	sim_go_on(users[1]);
	actor_wait(users[1], SIM_NEVER);
	if (users[1]->result < 0)
		sim_fail("the client ends with %d", users[1]->result);
	must_be_calm(1);
	if (backends[0].b->ended.epochs.epochs != 1)
		sim_fail("the backend has begun %llu epochs for one client",
			 (unsigned long long)backends[0].b->ended.epochs.epochs);
	stop_serving(0);
}

/*
 * A client is between an answer and its payload when an operator, who is wrong, clears
 * its slot; the channel goes to another one, which writes there.  The payload is not
 * that of the answer: CRCs are off.
 */
static void cleared_in_a_copy(void)
{
	sim.rules.no_crc = true;
	format_and_join(3);
	serve_on_0();
	use(1, 0, 0);
	clients[1].op = CBD_OP_READ;
	clients[1].hard = true;
	await_done(1, 3, 3000);
	users[1]->halt_at_step = "io-reap";
	await_halt(users[1]);
	must_clear(0, CBD_OBJECT_BLKDEV, 0, bit(1));
	use(2, 30, 40);
	clients[2].op = CBD_OP_WRITE;
	if (!await_done(2, 30, 3000))
		sim_fail("the other client does not attach: %d", users[2]->result);
	clients[1].wanted_stop = true;
	sim_go_on(users[1]);
	actor_wait(users[1], SIM_NEVER);
	actor_wait(users[2], SIM_NEVER);
}

static int lie(struct sim_proc *p, void *arg)
{
	struct cbd_transport *t;
	struct cbd_channel ch;
	struct cbd_grant_line g;
	struct cbd_se se = { 0 };
	struct cbd_ce ce = { .result = CBD_RESULT_OK };
	int r = cbd_transport_open(sim.path, 0, &t);

	(void)p;
	(void)arg;
	if (r < 0)
		return r;
	cbd_channel_init(&ch, t, 0, 0);
	r = cbd_line_get(t, cbd_channel_backend_line(&ch, CBD_CHANNEL_GRANT), &g);
	if (r == 0) {
		cbd_channel_enter(&ch, g.epoch);
		r = cbd_channel_receive_se(&ch, 0, &se);
	}
	if (r > 0) {
		ce.tid = se.tid ^ 0x10000; /* the request that had this tag before */
		r = cbd_channel_send_ce(&ch, &ce);
	}
	cbd_transport_close(t);
	return r;
}

/* An answer to a request that is over, where the one to a request is due. */
static void wrong_answer(void)
{
	format_and_join(3);
	serve_on_0();
	use(1, 6, 0);
	clients[1].op = CBD_OP_WRITE;
	servers[0]->halt_at_step = "io-fetched";
	await_halt(servers[0]);
	if (actor_run(&sim.hosts[0], "liar", lie, NULL) < 0)
		sim_fail("the liar fails");
	sim_sleep(20 * SIM_MS);
	if (clients[1].done > 0)
		sim_fail("a request has ended that nobody has executed");
	sim_go_on(servers[0]);
	/* less than it takes to see that nothing is answered */
	if (!await_done(1, 1, 250))
		sim_fail("the request hangs");
	actor_wait(users[1], SIM_NEVER);
	if (users[1]->result < 0)
		sim_fail("the client ends with %d", users[1]->result);
	stop_serving(0);
}

/* Payload that does not stay as it was stored: the request fails, and soon. */
static void bad_memory(unsigned op)
{
	const struct cbd_header *h = &sim.header;
	unsigned ring;

	format_and_join(3);
	ring = (h->ring_slots * SIM_LINE + CBD_PAGE_SIZE - 1) / CBD_PAGE_SIZE;
	serve_on_0();
	sim.bad_line = page_line(h->channel_area.offset, CBD_CHANNEL_RINGS + 2 * ring, 0);
	use(1, 1, 0);
	clients[1].op = op;
	clients[1].hard = true;
	actor_wait(users[1], 5000 * SIM_MS);
	if (users[1]->alive)
		sim_fail("a request with a payload that never matches does not end");
	if (clients[1].errors != 1)
		sim_fail("a request with a payload that never matches has succeeded");
	stop_serving(0);
}

static void bad_memory_written(void)
{
	bad_memory(CBD_OP_WRITE);
}

static void bad_memory_read(void)
{
	bad_memory(CBD_OP_READ);
}

/* The host that is said to be off was only stopped: what was taken over it gives up. */
static void not_off(void)
{
	format_and_join(3);
	serve(1, &disks[1], 0);
	await_serving(1, 3000);
	sim_stop(servers[1], 10000 * SIM_MS);
	serve(2, &disks[2], bit(1));
	if (!await_serving(2, 3000))
		sim_fail("the fail-over fails: %d", servers[2]->result);
	sim_go_on(servers[1]);
	sim_sleep(100 * SIM_MS);
	if (backends[1].serving || !backends[1].lost)
		sim_fail("the backend that was taken over goes on");
	if (!backends[2].serving)
		sim_fail("the backend that took over has ended");
	stop_serving(2);
}

/*
 * A client is at an answer when an operator, who is wrong, clears its slot; the channel goes
 * to another one, which has that slot or another one with the same incarnation.  The first
 * goes on: it has no part in the epochs of the other.
 */
static void cleared_and_given(bool another_slot)
{
	format.blkdevs = 2;
	format_and_join(4);
	serve_on_0();
	use(1, 0, 0);
	clients[1].op = CBD_OP_READ;
	clients[1].hard = true;
	await_done(1, 3, 3000);
	users[1]->halt_at_step = "io-reap";
	await_halt(users[1]);
	must_clear(0, CBD_OBJECT_BLKDEV, 0, bit(1));
	if (another_slot) {
		use(3, 6, 0)->halt_at_step = "claim-raised";
		await_halt(users[3]);
	}
	sim_sleep(50 * SIM_MS); /* the backend has seen it */
	must_attach(2);
	sim_go_on(users[1]);
	actor_wait(users[1], 1000 * SIM_MS);
	if (users[1]->alive)
		sim_fail("the client whose slot was cleared goes on");
	if (clients[1].epochs != 1)
		sim_fail("the client whose slot was cleared has entered an epoch of another one");
	if (!await_done(2, 6, 1000))
		sim_fail("the client that has the channel does not go on");
	end_use(2);
	must_be_calm(2);
	stop_serving(0);
}

static void cleared_and_taken(void)
{
	cleared_and_given(false);
}

static void cleared_beside_another(void)
{
	cleared_and_given(true);
}

/* A process dies behind an SE; when the next one of its host has the slot, nothing of it is
 * dirty that might come over what another host has in the channel by then. */
static void swept(void)
{
	format_and_join(3);
	serve_on_0();
	use(1, 6, 0)->die_at_line = page_line(sim.header.channel_area.offset, CBD_CHANNEL_RINGS, 0);
	actor_wait(users[1], SIM_NEVER);
	use(1, 6, 0)->halt_at_step = "claim-raised";
	await_halt(users[1]);
	sim_cache_left_check(&sim.hosts[1]);
	sim_go_on(users[1]);
	actor_wait(users[1], SIM_NEVER);
	if (users[1]->result < 0)
		sim_fail("the client ends with %d", users[1]->result);
	must_be_calm(1);
	stop_serving(0);
}

/* A process dies, and the next one of its host has the slot and asks before the backend
 * has looked. */
static void next_life(void)
{
	format_and_join(3);
	serve_on_0();
	must_attach(1);
	sim_stop(servers[0], 10000 * SIM_MS);
	kill_user(1);
	use(1, 6, 0)->halt_at_step = "attach-requested";
	await_halt(users[1]);
	sim_go_on(servers[0]);
	sim_go_on(users[1]);
	actor_wait(users[1], SIM_NEVER);
	if (users[1]->result < 0)
		sim_fail("the client ends with %d", users[1]->result);
	must_be_calm(1);
	stop_serving(0);
}

/* More threads than the ring has slots, and a backend that comes late; the data area is
 * gone round twice. */
static void ring_and_area_full(void)
{
	format_and_join(3);
	serve_on_0();
	use(1, 600, 0);
	clients[1].threads = 6;
	clients[1].one_queue = true;
	for (unsigned i = 0; i < 5; i++) {
		if (!await_done(1, 10, 3000))
			sim_fail("the requests hang: %u done", clients[1].done);
		sim_stop(servers[0], 5 * SIM_MS);
	}
	actor_wait(users[1], 10000 * SIM_MS);
	if (users[1]->alive)
		sim_fail("the requests hang: %u done", clients[1].done);
	must_be_calm(1);
	stop_serving(0);
}

/*
 * The first SE of an epoch, while it is stored over one of the epoch before with the same
 * position: a handler loses its CPU between two loads of the line, which leaves its cache
 * meanwhile.  CRCs of entries are constant.
 */
static void torn_entry(void)
{
	uint32_t line;

	sim.rules.no_entry_crc = true;
	format_and_join(3);
	line = page_line(sim.header.channel_area.offset, CBD_CHANNEL_RINGS, 0);
	serve_on_0();
	use(1, 3, 0);
	actor_wait(users[1], SIM_NEVER);
	servers[0]->doze_in_line = line;
	use(2, 6, 0)->halt_in_line = line;
	await_halt(users[2]);
	if (servers[0]->doze_in_line)
		sim_fail("the handler has not looked at the line");
	sim_cache_evict(&sim.hosts[0], line);
	sim_cache_evict(&sim.hosts[2], line);
	sim_sleep(60 * SIM_MS);
	sim_go_on(users[2]);
	actor_wait(users[2], SIM_NEVER);
	if (users[2]->result < 0)
		sim_fail("the client ends with %d", users[2]->result);
	must_be_calm(2);
	stop_serving(0);
}

static void must_refuse_to_clear(enum cbd_object object, unsigned host)
{
	struct sim_proc *p = clear(1, object, 0, bit(host));

	actor_wait(p, SIM_NEVER);
	if (p->result != -EBUSY)
		sim_fail("a slot of host %u, which beats, is cleared: %d", host, p->result);
}

/* Whatever an operator says: what beats is not cleared. */
static void clear_of_the_living(void)
{
	format_and_join(3);
	serve_on_0();
	must_attach(2);
	must_refuse_to_clear(CBD_OBJECT_BLKDEV, 2);
	must_refuse_to_clear(CBD_OBJECT_BACKEND, 0);
	end_use(2);
	must_be_calm(2);
	stop_serving(0);
}

/* Who waits for a backend that does not beat waits for as long as a suspicion takes. */
static void silent_backend(void)
{
	format_and_join(3);
	serve_on_0();
	sim_stop(servers[0], 10000 * SIM_MS);
	use(1, 1, 0);
	clients[1].waits = true;
	actor_wait(users[1], 1000 * SIM_MS);
	if (users[1]->alive || users[1]->result != -ETIMEDOUT)
		sim_fail("an attach to a backend that does not beat: %d",
			 users[1]->alive ? 0 : users[1]->result);
}

/* The claim of a host that never was, damaged: it keeps nobody out. */
static void claim_of_no_host(void)
{
	format_and_join(2);
	sim_cache_damage(page_line(sim.header.backend_area.offset, CBD_BACKEND_CLAIMS, 3));
	sim_cache_damage(blkdev_line(CBD_BLKDEV_CLAIMS, 3));
	serve_on_0();
	must_attach(1);
	end_use(1);
	must_be_calm(1);
	stop_serving(0);
}

static const struct scene {
	const char *name;
	void (*fn)(void);
} scenes[] = {
	{ "late-claim", late_claim },
	{ "late-detach", late_detach },
	{ "old-request", old_request },
	{ "cleared-in-a-copy", cleared_in_a_copy },
	{ "wrong-answer", wrong_answer },
	{ "bad-memory-written", bad_memory_written },
	{ "bad-memory-read", bad_memory_read },
	{ "not-off", not_off },
	{ "claim-of-no-host", claim_of_no_host },
	{ "cleared-and-taken", cleared_and_taken },
	{ "cleared-beside-another", cleared_beside_another },
	{ "swept", swept },
	{ "next-life", next_life },
	{ "ring-and-area-full", ring_and_area_full },
	{ "torn-entry", torn_entry },
	{ "clear-of-the-living", clear_of_the_living },
	{ "silent-backend", silent_backend },
};
#define SCENES (sizeof(scenes) / sizeof(scenes[0]))

/* --------------------------------------------------------------------- run */

struct a_case {
	const struct meeting *meeting;
	uint64_t store;
	bool written;
	const struct scene *scene;
};

enum { DONE = 0, NO_SUCH_STORE = 2 };
static int status;

static void calm(void)
{
	sim.limit_ns = sim.now_ns + 60000 * SIM_MS;
	sim.noise = (struct sim_noise){ .turn = 8, .early = 16 };
}

static void differ(const struct cbd_format_options *with)
{
	format.hosts = with->hosts ? with->hosts : format.hosts;
	format.blkdevs = with->blkdevs ? with->blkdevs : format.blkdevs;
	format.channels = with->channels ? with->channels : format.channels;
}

static void meet(void *arg)
{
	const struct a_case *k = arg;
	const struct meeting *m = k->meeting;

	calm();
	differ(&m->with);
	format_and_join(m->join);
	if (m->prepare)
		m->prepare();
	first = m->first();
	first->halt_at_store = first->stores + k->store;
	first->halt_written = k->written;
	while (!first->halted && !m->done())
		sim_sleep(SIM_MS);
	if (!first->halted) {
		status = NO_SUCH_STORE;
		return;
	}
	m->second();
	sim_go_on(first);
	m->judge();
}

static void play(void *arg)
{
	const struct a_case *k = arg;

	calm();
	k->scene->fn();
}

static int run_case(const struct a_case *k)
{
	const char *more = getenv("SIM_SEED");
	int how;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		sim_begin((more ? strtoull(more, NULL, 0) : 0) * 65536 + k->store * 2 + k->written,
			  SIZE);
		sim_run(k->meeting ? meet : play, (void *)(uintptr_t)k);
		sim_end();
		_exit(status);
	}
	if (child < 0 || waitpid(child, &how, 0) < 0)
		return 1;
	if (WIFSIGNALED(how))
		printf("seed %llu: died by signal %d\n", (unsigned long long)k->store,
		       WTERMSIG(how));
	return WIFEXITED(how) ? WEXITSTATUS(how) : 1;
}

static unsigned runs, failures;

/* False: there is no such store. */
static bool run(const struct a_case *k)
{
	int how = run_case(k);

	if (how == NO_SUCH_STORE)
		return false;
	runs++;
	if (how == DONE)
		return true;
	failures++;
	if (k->meeting)
		printf("case: sim-interleaved %s %llu %s\n", k->meeting->name,
		       (unsigned long long)k->store, k->written ? "written" : "stored");
	else
		printf("case: sim-interleaved %s\n", k->scene->name);
	if (getenv("SIM_FIRST"))
		exit(1);
	return true;
}

static void run_meeting(const struct meeting *m)
{
	uint64_t most = m->most ? m->most : STORES_MOST, store = 1;

	while (store <= most && run(&(struct a_case){ m, store, false, NULL }) &&
	       run(&(struct a_case){ m, store, true, NULL }))
		store++;
	printf("%s: %llu stores\n", m->name, (unsigned long long)store - 1);
}

static void run_named(char **argv, int argc)
{
	for (unsigned i = 0; i < MEETINGS; i++) {
		struct a_case k = { &meetings[i], argc > 2 ? strtoull(argv[2], NULL, 0) : 0,
				    argc > 3 && strcmp(argv[3], "written") == 0, NULL };

		if (strcmp(meetings[i].name, argv[1]) != 0)
			continue;
		if (k.store)
			run(&k);
		else
			run_meeting(&meetings[i]);
	}
	for (unsigned i = 0; i < SCENES; i++)
		if (strcmp(scenes[i].name, argv[1]) == 0)
			run(&(struct a_case){ .scene = &scenes[i] });
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		run_named(argv, argc);
	} else {
		for (unsigned i = 0; i < SCENES; i++)
			run(&(struct a_case){ .scene = &scenes[i] });
		for (unsigned i = 0; i < MEETINGS; i++)
			run_meeting(&meetings[i]);
	}
	printf("%u cases, %u failed\n", runs, failures);
	return failures > 0;
}
