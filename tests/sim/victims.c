/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * victims.c - see systematic.h.  Each victim is one that stores control lines: a client,
 * a backend, the two processes of a take-over, the newcomer of a fail-over, and the
 * programs that join, clear, format and repair.
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "systematic.h"

#define TRIES 3

static struct cbd_format_options format = {
	.size = SYSTEMATIC_SIZE,
	.hosts = 4,
	.backends = 1,
	.blkdevs = 4,
	.channels = 2,
	.channel_size = 1u << 20,
	.depth = 4,
	.heartbeat_ms = 20,
	.dead_after = 4,
	.coherence = CBD_COHERENCE_SOFTWARE,
};

int systematic_slots[SIM_HOSTS];
bool systematic_repaired;

static struct actor_disk disk;
static struct shadow_block shadows[SIM_HOSTS][PART_BLOCKS];

/* Backends: started by an operator, and the two of a take-over. */
static struct actor_backend backends[16], *serving;
static unsigned n_backends;
static struct sim_proc *server;

/* Clients that go on until they are told, each on a host of its own. */
static struct actor_client clients[SIM_HOSTS];
static struct sim_proc *client_procs[SIM_HOSTS];

static uint64_t bit(const struct sim_host *h)
{
	int slot = systematic_slots[h->id];

	return slot < 0 ? 0 : 1ull << slot;
}

/* ---------------------------------------------------------------- backend */

static struct actor_backend *new_backend(uint64_t fenced)
{
	struct actor_backend *b = &backends[n_backends++ % 16];

	*b = (struct actor_backend){
		.disk = &disk, .handlers = 1, .max_blkdevs = 4, .fenced_hosts = fenced
	};
	return b;
}

static bool await_serving(struct sim_proc *p, const struct actor_backend *b)
{
	while (p->alive && !b->serving)
		sim_sleep(SIM_MS);
	return p->alive;
}

static void serve_on(struct sim_host *h, uint64_t fenced)
{
	serving = new_backend(fenced);
	server = sim_spawn(h, "backend", actor_backend, serving);
	await_serving(server, serving);
}

static void stop_server(void)
{
	if (!server || !server->alive)
		return;
	serving->wanted_stop = true;
	actor_wait(server, SIM_NEVER);
}

static int check(bool repair)
{
	/* a claim of a host that is in use is repaired there */
	if (repair) {
		actor_run(VICTIM_HOST, "check", actor_check, &repair);
		if (GONE_HOST->on)
			actor_run(GONE_HOST, "check", actor_check, &repair);
	}
	return actor_run(OTHER_HOST, "check", actor_check, &repair);
}

static void start_server(struct sim_host *h, uint64_t fenced)
{
	serve_on(h, fenced);
	if (server->alive)
		return;
	systematic_repaired = true;
	check(true);
	serve_on(h, fenced);
	if (!server->alive)
		sim_fail("the backend does not start, repaired or not: %d", server->result);
}

/* The hosts whose claims may stand in the way are off. */
static void start_elsewhere(void)
{
	start_server(THIRD_HOST, bit(VICTIM_HOST) | bit(GONE_HOST));
}

static void return_backend(void)
{
	start_server(VICTIM_HOST, bit(GONE_HOST));
}

/* ----------------------------------------------------------------- client */

static struct actor_client six_requests(const struct sim_host *h)
{
	return (struct actor_client){
		.shadow = shadows[h->id], .first = h->id * PART_BLOCKS, .requests = 6, .threads = 1
	};
}

static int use(struct sim_host *h)
{
	struct actor_client c = six_requests(h);
	int r;

	c.again = 20;
	r = actor_run(h, "client", actor_client, &c);
	/* of a write of the dead one, or of a line that came late */
	if (c.leaves > 1 || c.resends > 1)
		sim_fail("%llu left epochs, %llu resends", (unsigned long long)c.leaves,
			 (unsigned long long)c.resends);
	return r;
}

static void must_use(struct sim_host *h)
{
	int r = use(h);

	if (r < 0) {
		systematic_repaired = true;
		check(true);
		r = use(h);
	}
	if (r < 0)
		sim_fail("the client of host %u ends with %d, repaired or not", h->id, r);
}

/* A client that goes on; HARD: its backend may be taken away for good. */
static void attach(struct sim_host *h, bool hard)
{
	struct actor_client *c = &clients[h->id];

	*c = six_requests(h);
	c->requests = 0;
	c->again = 20;
	c->hard = hard;
	client_procs[h->id] = sim_spawn(h, "client", actor_client, c);
	while (client_procs[h->id]->alive && c->done == 0)
		sim_sleep(SIM_MS);
	if (!client_procs[h->id]->alive)
		sim_fail("a client does not attach: %d", client_procs[h->id]->result);
}

/* Let it do so many requests more; or it is gone. */
static void let_work(const struct sim_host *h, unsigned requests, const struct sim_proc *victim)
{
	unsigned until = clients[h->id].done + requests;

	while (victim->alive && client_procs[h->id]->alive && clients[h->id].done < until)
		sim_sleep(SIM_MS);
}

/* With its backend there again, or another one, it ends in order. */
static void end_client(struct sim_host *h)
{
	struct sim_proc *p = client_procs[h->id];

	if (!p)
		return;
	client_procs[h->id] = NULL;
	clients[h->id].wanted_stop = true;
	actor_wait(p, SIM_NEVER);
	if (p->result < 0 && !clients[h->id].hard)
		sim_fail("the client that has seen it all ends with %d", p->result);
}

/* The same, unless the victim dies meanwhile: then it goes on with what follows. */
static void ask_to_end(const struct sim_host *h, const struct sim_proc *victim)
{
	clients[h->id].wanted_stop = true;
	while (victim->alive && client_procs[h->id]->alive)
		sim_sleep(SIM_MS);
}

static void kill_client(struct sim_host *h)
{
	if (client_procs[h->id] && client_procs[h->id]->alive)
		sim_kill(client_procs[h->id]);
	client_procs[h->id] = NULL;
}

static void kill_all_of(const struct sim_host *h)
{
	for (unsigned i = 0; i < sim.n_procs; i++)
		if (sim.procs[i]->host == h && sim.procs[i]->alive)
			sim_kill(sim.procs[i]);
}

/* --------------------------------------------------- client, as the victim */

static void prepare_client(void)
{
	start_elsewhere();
}

static struct sim_proc *run_until_death(struct sim_host *h, int (*fn)(struct sim_proc *, void *),
					void *arg, uint64_t store)
{
	struct sim_proc *p = sim_spawn(h, "victim", fn, arg);

	p->die_at_store = store;
	actor_wait(p, SIM_NEVER);
	return p;
}

static struct sim_proc *run_client(uint64_t store)
{
	static struct actor_client c;

	c = six_requests(VICTIM_HOST);
	c.again = 5;
	c.hard = true;
	return run_until_death(VICTIM_HOST, actor_client, &c, store);
}

static void return_client(void)
{
	must_use(VICTIM_HOST);
}

static void other_client(void)
{
	must_use(OTHER_HOST);
}

/* -------------------------------------------------- backend, as the victim */

/* It serves a client, which is taken away: its requests would wait for long. */
static struct sim_proc *run_backend(uint64_t store)
{
	struct actor_backend *b = new_backend(0);
	struct actor_client c = six_requests(OTHER_HOST);
	struct sim_proc *p = sim_spawn(VICTIM_HOST, "victim", actor_backend, b), *client;

	c.again = 5;
	c.hard = true;
	p->die_at_store = store;
	if (await_serving(p, b)) {
		client = sim_spawn(OTHER_HOST, "client", actor_client, &c);
		while (p->alive && client->alive)
			sim_sleep(SIM_MS);
		sim_kill(client);
	}
	b->wanted_stop = true;
	actor_wait(p, SIM_NEVER);
	return p;
}

/* -------------------------------------------------------------- take-over */

static struct actor_backend *successor;
static struct sim_proc *successor_proc;

static void prepare_takeover(void)
{
	start_server(VICTIM_HOST, 0);
	attach(OTHER_HOST, false);
}

/* Both live until one dies at its store, or the successor serves and is stopped. */
static struct sim_proc *run_takeover(uint64_t store, bool of_successor)
{
	struct sim_proc *old = server, *victim;

	successor = new_backend(0);
	successor->takeover = true;
	successor_proc = sim_spawn(VICTIM_HOST, "successor", actor_backend, successor);
	victim = of_successor ? successor_proc : old;
	victim->die_at_store = victim->stores + store;
	while (victim->alive && successor_proc->alive && !successor->serving)
		sim_sleep(SIM_MS);
	if (victim->alive && successor->serving)
		let_work(OTHER_HOST, 6, victim);
	if (!victim->alive && !victim->ended)
		return victim;
	ask_to_end(OTHER_HOST, victim);
	successor->wanted_stop = true;
	actor_wait(successor_proc, SIM_NEVER);
	if (!victim->alive && !victim->ended)
		return victim;
	actor_wait(old, SIM_NEVER);
	if (!victim->ended)
		return victim;
	if (old->result < 0 || successor_proc->result < 0)
		sim_fail("the take-over ends with %d and %d", old->result, successor_proc->result);
	return victim;
}

static struct sim_proc *run_successor(uint64_t store)
{
	return run_takeover(store, true);
}

static struct sim_proc *run_predecessor(uint64_t store)
{
	return run_takeover(store, false);
}

/* The process that lives serves, or a new one is started. */
static void return_takeover(void)
{
	while ((server->alive && !serving->serving) ||
	       (successor_proc->alive && !successor->serving))
		sim_sleep(5 * SIM_MS);
	if (successor_proc->alive) {
		server = successor_proc;
		serving = successor;
	}
	if (!server->alive)
		start_server(VICTIM_HOST, 0);
	end_client(OTHER_HOST);
}

static void other_takeover(void)
{
	kill_all_of(VICTIM_HOST);
	start_elsewhere();
	end_client(OTHER_HOST);
}

/* -------------------------------------------------------------- fail-over */

static void off(struct sim_host *h)
{
	sim_power_off(h, 50);
	client_procs[h->id] = NULL;
}

static void prepare_failover(void)
{
	start_server(GONE_HOST, 0);
	attach(OTHER_HOST, false);
	off(GONE_HOST);
}

static struct sim_proc *run_failover(uint64_t store)
{
	struct actor_backend *b = new_backend(bit(GONE_HOST));
	struct sim_proc *p = sim_spawn(VICTIM_HOST, "victim", actor_backend, b);

	p->die_at_store = store;
	if (await_serving(p, b))
		let_work(OTHER_HOST, 6, p);
	ask_to_end(OTHER_HOST, p);
	b->wanted_stop = true;
	actor_wait(p, SIM_NEVER);
	return p;
}

static void return_failover(void)
{
	return_backend();
	end_client(OTHER_HOST);
}

static void other_failover(void)
{
	start_elsewhere();
	end_client(OTHER_HOST);
}

/* ------------------------------------------------------------------- join */

static struct sim_proc *run_join(uint64_t store)
{
	return run_until_death(VICTIM_HOST, actor_join, NULL, store);
}

static void must_join(struct sim_host *h)
{
	int slot = actor_run(h, "join", actor_join, NULL);

	if (slot < 0)
		sim_fail("host %u does not join: %d", h->id, slot);
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		if (i != h->id && systematic_slots[i] == slot)
			sim_fail("hosts %u and %u have slot %d", i, h->id, slot);
	systematic_slots[h->id] = slot;
}

/* Has joined behind the death: it keeps its slot, whatever comes late. */
static struct sim_host *joined;

static void return_join(void)
{
	joined = VICTIM_HOST;
	must_join(joined);
}

static void other_join(void)
{
	joined = OTHER_HOST;
	must_join(joined);
}

static void must_keep_slot(void)
{
	int slot = joined ? systematic_slots[joined->id] : -1;

	if (!joined)
		return;
	must_join(joined);
	if (systematic_slots[joined->id] != slot)
		sim_fail("host %u had slot %d and has slot %d", joined->id, slot,
			 systematic_slots[joined->id]);
}

/* A virtual machine that starts again, with the cache of the boot before, in which a
 * backend and a client have died. */
static void prepare_boot(void)
{
	start_server(VICTIM_HOST, 0);
	attach(VICTIM_HOST, true);
	sim_reboot_vm(VICTIM_HOST);
	client_procs[VICTIM_HOST->id] = NULL;
}

/* ------------------------------------------------------------------ clear */

static struct actor_clear to_clear;

static struct sim_proc *run_clear(uint64_t store)
{
	return run_until_death(VICTIM_HOST, actor_clear, &to_clear, store);
}

/* A beat that comes late is one: then it is refused, and asked again. */
static void must_clear(struct sim_host *h, struct actor_clear c)
{
	int r = -EBUSY;

	for (int i = 0; i < TRIES && r == -EBUSY; i++)
		r = actor_run(h, "clear", actor_clear, &c);
	if (r < 0 && r != -ENOENT)
		sim_fail("clear of %d %u fails on host %u: %d", (int)c.object, c.id, h->id, r);
}

/* As before, or its own claim is that of a dead process of this host. */
static void return_clear(void)
{
	must_clear(VICTIM_HOST, to_clear);
	kill_client(OTHER_HOST);
}

static void other_clear(void)
{
	struct actor_clear c = to_clear;

	c.hosts_gone = bit(VICTIM_HOST) | bit(GONE_HOST);
	must_clear(OTHER_HOST, c);
	kill_client(OTHER_HOST);
}

static void clear_of(enum cbd_object object, struct sim_host *h)
{
	to_clear = (struct actor_clear){
		.object = object,
		.id = object == CBD_OBJECT_HOST ? (unsigned)systematic_slots[h->id] : 0,
		.hosts_gone = h == GONE_HOST ? bit(h) : 0,
	};
}

/* A client dies on H: alone, or the whole host. */
static void leave_blkdev(struct sim_host *h)
{
	start_elsewhere();
	attach(h, true);
	if (h == GONE_HOST)
		off(h);
	else
		kill_client(h);
	clear_of(CBD_OBJECT_BLKDEV, h);
}

static void prepare_blkdev(void)
{
	leave_blkdev(VICTIM_HOST);
}

static void prepare_blkdev_gone(void)
{
	leave_blkdev(GONE_HOST);
}

/* A backend dies on H, whose client waits for it. */
static void leave_backend(struct sim_host *h)
{
	start_server(h, 0);
	attach(OTHER_HOST, true);
	if (h == GONE_HOST)
		off(h);
	else
		sim_kill(server);
	clear_of(CBD_OBJECT_BACKEND, h);
}

static void prepare_backend(void)
{
	leave_backend(VICTIM_HOST);
}

static void prepare_backend_gone(void)
{
	leave_backend(GONE_HOST);
}

/* A host dies with a backend, and a client of its own beside that of another host. */
static void leave_host(struct sim_host *h)
{
	leave_backend(h);
	clear_of(CBD_OBJECT_HOST, h);
}

static void prepare_host(void)
{
	leave_host(VICTIM_HOST);
}

static void prepare_host_gone(void)
{
	leave_host(GONE_HOST);
}

/* ----------------------------------------------------------------- format */

static void prepare_dead(void)
{
	start_elsewhere();
	attach(OTHER_HOST, true);
	sim_kill(server);
	kill_client(OTHER_HOST);
}

/* What was there is gone, also for the clients. */
static void forget_all(void)
{
	memset(shadows, 0, sizeof(shadows));
	memset(&disk, 0, sizeof(disk));
}

static struct sim_proc *run_format(uint64_t store)
{
	forget_all();
	format.force = 2;
	return run_until_death(VICTIM_HOST, actor_format, &format, store);
}

static void format_on(struct sim_host *h)
{
	forget_all();
	format.force = 2;
	if (actor_run(h, "format", actor_format, &format) < 0)
		sim_fail("format fails");
}

static void return_format(void)
{
	format_on(VICTIM_HOST);
}

static void other_format(void)
{
	format_on(OTHER_HOST);
}

/* ----------------------------------------------------------------- repair */

static uint32_t line_of(uint64_t area, unsigned page, unsigned line)
{
	return (uint32_t)(area / SIM_LINE) + page * (CBD_PAGE_SIZE / SIM_LINE) + line;
}

/* One line of most kinds.  Nobody is there who would store its own again, and no slot has an
 * owner. */
static void damage(void)
{
	const struct cbd_header *h = &sim.header;
	unsigned victim = (unsigned)systematic_slots[VICTIM_HOST->id];

	sim_cache_damage(line_of(h->host_area.offset, 0, 0));
	sim_cache_damage(line_of(h->host_area.offset, 3 * cbd_host_pages(h) + CBD_HOST_INFO, 1));
	sim_cache_damage(line_of(h->backend_area.offset, 0, victim));
	sim_cache_damage(line_of(h->backend_area.offset, CBD_BACKEND_INFO, 0));
	sim_cache_damage(line_of(h->backend_area.offset, CBD_BACKEND_INFO, 1));
	sim_cache_damage(line_of(h->backend_area.offset, CBD_BACKEND_INFO, 2));
	sim_cache_damage(line_of(h->blkdev_area.offset, 0, victim));
	sim_cache_damage(line_of(h->blkdev_area.offset, CBD_BLKDEV_INFO, 0));
	sim_cache_damage(line_of(h->blkdev_area.offset, CBD_BLKDEV_INFO, 2));
	sim_cache_damage(line_of(h->channel_area.offset, CBD_CHANNEL_BACKEND, 0));
	sim_cache_damage(line_of(h->channel_area.offset, CBD_CHANNEL_BLKDEV, 0));
}

static void prepare_repair(void)
{
	start_elsewhere();
	attach(OTHER_HOST, false);
	end_client(OTHER_HOST);
	stop_server();
	damage();
}

static struct sim_proc *run_repair(uint64_t store)
{
	static bool repair = true;

	return run_until_death(VICTIM_HOST, actor_check, &repair, store);
}

static void return_repair(void)
{
	actor_run(VICTIM_HOST, "check", actor_check, &(bool){ true });
}

static void other_repair(void)
{
	actor_run(OTHER_HOST, "check", actor_check, &(bool){ true });
}

/* ---------------------------------------------------------------- victims */

const struct victim systematic_victims[] = {
	{ "client", false, false, false, prepare_client, run_client, return_client, other_client },
	{ "backend", false, false, true, NULL, run_backend, return_backend, start_elsewhere },
	{ "join", true, true, false, NULL, run_join, return_join, other_join },
	{ "boot", false, false, false, prepare_boot, run_join, return_join, other_join },
	{ "clear-blkdev", false, false, false, prepare_blkdev, run_clear, return_clear,
	  other_clear },
	{ "clear-blkdev-gone", false, false, false, prepare_blkdev_gone, run_clear, return_clear,
	  other_clear },
	{ "clear-backend", false, false, false, prepare_backend, run_clear, return_clear,
	  other_clear },
	{ "clear-backend-gone", false, false, false, prepare_backend_gone, run_clear, return_clear,
	  other_clear },
	{ "clear-host", false, false, false, prepare_host, run_clear, return_clear, other_clear },
	{ "clear-host-gone", false, false, false, prepare_host_gone, run_clear, return_clear,
	  other_clear },
	{ "format", false, false, false, prepare_dead, run_format, return_format, other_format },
	{ "repair", false, false, false, prepare_repair, run_repair, return_repair, other_repair },
	{ "successor", false, false, true, prepare_takeover, run_successor, return_takeover,
	  other_takeover },
	{ "predecessor", false, false, true, prepare_takeover, run_predecessor, return_takeover,
	  other_takeover },
	{ "newcomer", false, false, true, prepare_failover, run_failover, return_failover,
	  other_failover },
};
const unsigned systematic_n_victims = sizeof(systematic_victims) / sizeof(systematic_victims[0]);

/* --------------------------------------------------------------- operator */

static int join_first(struct sim_host *h)
{
	return actor_run(h, "join", actor_join, NULL);
}

void systematic_begin(const struct victim *v, bool joins)
{
	if (actor_run(THIRD_HOST, "format", actor_format, &format) < 0)
		sim_fail("format fails");
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		systematic_slots[i] = -1;
	systematic_slots[THIRD_HOST->id] = join_first(THIRD_HOST);
	if (!joins)
		systematic_slots[VICTIM_HOST->id] = join_first(VICTIM_HOST);
	if (!v->other_joins)
		systematic_slots[OTHER_HOST->id] = join_first(OTHER_HOST);
	if (joins && !v->other_joins) /* the next free one */
		systematic_slots[VICTIM_HOST->id] = 2;
	else if (!joins)
		systematic_slots[GONE_HOST->id] = join_first(GONE_HOST);
	if (v->prepare)
		v->prepare();
}

void systematic_clear(const struct victim *v)
{
	int slot = systematic_slots[VICTIM_HOST->id];
	struct actor_clear c = { .object = CBD_OBJECT_HOST,
				 .id = slot >= 0 ? (unsigned)slot : 1,
				 .hosts_gone = 1ull << (slot >= 0 ? slot : 1) };

	kill_all_of(VICTIM_HOST);
	for (int i = 0; i < TRIES; i++)
		if (actor_run(OTHER_HOST, "clear", actor_clear, &c) != -EBUSY)
			break;
	kill_client(OTHER_HOST);
	systematic_slots[VICTIM_HOST->id] = -1;
	if (v->run == run_format) /* there is nothing to clear: it is formatted again */
		format_on(OTHER_HOST);
	if (v->serves)
		start_elsewhere();
}

void systematic_format(void)
{
	if (server && server->alive)
		sim_kill(server);
	kill_all_of(VICTIM_HOST);
	kill_client(OTHER_HOST);
	format_on(OTHER_HOST);
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		systematic_slots[i] = -1;
	start_elsewhere();
}

void systematic_all_work(void)
{
	must_keep_slot();
	if (!GONE_HOST->on)
		sim_boot(GONE_HOST, true);
	if (!server || !server->alive)
		start_elsewhere();
	must_use(OTHER_HOST);
	must_use(VICTIM_HOST);
	must_use(GONE_HOST);
	stop_server();
	start_server(THIRD_HOST, 0);
	must_use(VICTIM_HOST);
	stop_server();
	if (check(false) != 0) {
		systematic_repaired = true;
		if (check(true) != 0)
			sim_fail("check --repair leaves problems");
	}
}
