/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cache.c - one cache for each host, one memory for all, and the instructions of
 * cpu-sim.h on them.
 *
 * A line is absent, clean or dirty in a cache; a write-back of it is under way while a
 * fibre has the instruction in its list.  Instructions for a line and stores around the
 * cache take effect at the next fence of their fibre, or earlier, or in parts.  Owns
 * the rules that watch single accesses (struct sim_rules).
 */
#include <config.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu-sim.h"
#include "sim.h"

enum { ABSENT, CLEAN, DIRTY };
enum { WRITE_BACK, INVALIDATE, STREAM };

#define RECENT 256
static uint32_t recent[RECENT];
static unsigned n_recent;

void sim_cache_begin(void)
{
	n_recent = 0;
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		struct sim_host *h = &sim.hosts[i];
		size_t size = sim.n_lines * sizeof(struct sim_line);

		h->cache = mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		h->present = mmap(NULL, sim.n_lines * sizeof(uint32_t), PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		h->late = calloc(4096, sizeof(*h->late));
		if (h->cache == MAP_FAILED || h->present == MAP_FAILED || !h->late)
			abort();
	}
	sim.memory = mmap(NULL, (size_t)sim.n_lines * SIM_LINE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sim.memory == MAP_FAILED)
		abort();
}

/* -------------------------------------------------------------- addresses */

static bool find(const struct sim_proc *p, const void *at, size_t *offset)
{
	for (unsigned i = 0; p && i < p->n_maps; i++) {
		const struct sim_map *m = &p->maps[i];

		if ((const char *)at >= m->base && (const char *)at < m->base + m->size) {
			*offset = (size_t)((const char *)at - m->base);
			return true;
		}
	}
	return false;
}

static struct sim_proc *me(void)
{
	return sim.current ? sim.current->proc : NULL;
}

bool sim_is_shared(const void *p)
{
	size_t offset;

	return find(me(), p, &offset);
}

uint32_t sim_line_of(const void *p)
{
	size_t offset;

	if (!find(me(), p, &offset))
		sim_fail("an access to %p, which this process has not mapped", p);
	return (uint32_t)(offset / SIM_LINE);
}

static unsigned word_of(const void *p)
{
	return (unsigned)((uintptr_t)p % SIM_LINE / 8);
}

const void *sim_key(const void *p)
{
	size_t offset;

	/* futexes of one host alone: another boot is another kernel */
	if (!find(me(), p, &offset))
		return p;
	return (const char *)me()->host->cache + offset;
}

/* ------------------------------------------------------------------ lines */

static struct sim_line *line_at(struct sim_host *h, uint32_t line)
{
	return &h->cache[line];
}

static void fill(struct sim_host *h, uint32_t line)
{
	struct sim_line *c = line_at(h, line);

	memcpy(c->word, sim.memory[line], SIM_LINE);
	c->state = CLEAN;
	c->at = h->n_present;
	h->present[h->n_present++] = line;
}

static void remove_line(struct sim_host *h, uint32_t line)
{
	struct sim_line *c = line_at(h, line);
	uint32_t last = h->present[--h->n_present];

	h->present[c->at] = last;
	h->cache[last].at = c->at;
	c->state = ABSENT;
	c->writer = NULL;
	c->owner = NULL;
}

/* Stuck, at what no payload of the actors has. */
static void fail_memory(uint32_t line)
{
	if (line && line == sim.bad_line)
		sim.memory[line][3] = 0x5a;
}

static void clean(struct sim_host *h, uint32_t line)
{
	struct sim_line *c = line_at(h, line);

	if (c->state != DIRTY)
		return;
	memcpy(sim.memory[line], c->word, SIM_LINE);
	fail_memory(line);
	c->state = CLEAN;
	c->hint = false;
	c->writer = NULL;
	c->owner = NULL;
}

static void drop(struct sim_host *h, uint32_t line)
{
	if (line_at(h, line)->state == ABSENT)
		return;
	clean(h, line);
	remove_line(h, line);
}

static void note_recent(uint32_t line)
{
	recent[n_recent++ % RECENT] = line;
}

void sim_cache_evict(struct sim_host *h, uint32_t line)
{
	drop(h, line);
}

bool sim_cache_dirty(struct sim_host *h, uint32_t line)
{
	return line_at(h, line)->state == DIRTY;
}

/* ------------------------------------------------------------------ rules */

static bool lives(const struct sim_proc *p)
{
	return p && p->alive && !p->ended;
}

void sim_cache_write_back_dead(struct sim_host *h)
{
	for (uint32_t i = 0; i < h->n_present; i++) {
		struct sim_line *c = line_at(h, h->present[i]);

		if (c->state != DIRTY || lives(c->owner))
			continue;
		sim_trace("host %u writes back %s", h->id, sim_line_name(h->present[i]));
		clean(h, h->present[i]);
	}
}

void sim_cache_left_check(struct sim_host *h)
{
	for (uint32_t i = 0; i < h->n_present; i++) {
		struct sim_line *c = line_at(h, h->present[i]);

		if (c->state == DIRTY && !lives(c->owner))
			sim_fail("%s is dirty in the cache of host %u still, after its process has "
				 "died and another one has swept",
				 sim_line_name(h->present[i]), h->id);
	}
}

void sim_cache_write_back_dead_at(struct sim_host *h, uint64_t step)
{
	sim.due_host = h;
	sim.due_step = step;
}

void sim_cache_damage(uint32_t line)
{
	for (unsigned i = 0; i < SIM_HOSTS; i++)
		drop(&sim.hosts[i], line);
	sim.memory[line][3] ^= 0x5a;
}

/* A store: nobody else has the line dirty whose process lives.  Host slots are taken by
 * whoever stores last: two hosts may be at it. */
static void check_two_dirty(struct sim_host *mine, uint32_t line)
{
	uint64_t at = (uint64_t)line * SIM_LINE;

	if (at >= sim.header.host_area.offset && at < sim.header.backend_area.offset)
		return;
	for (unsigned i = 0; i < SIM_HOSTS; i++) {
		struct sim_host *h = &sim.hosts[i];
		struct sim_line *c = line_at(h, line);

		if (h == mine || c->state != DIRTY || !lives(c->owner))
			continue;
		sim_fail("%s is dirty in the caches of host %u (%s) and host %u",
			 sim_line_name(line), h->id, c->owner->name, mine->id);
	}
}

static void note_stored(struct sim_fibre *f, uint32_t line)
{
	for (unsigned i = 0; i < f->n_stored; i++)
		if (f->stored[i] == line)
			return;
	if (f->n_stored < sizeof(f->stored) / sizeof(f->stored[0]))
		f->stored[f->n_stored++] = line;
}

/* A fence: what was stored before it has been written back. */
static void check_written(struct sim_fibre *f)
{
	for (unsigned i = 0; i < f->n_stored; i++) {
		struct sim_line *c = line_at(f->proc->host, f->stored[i]);

		if (sim.rules.not_written && c->state == DIRTY && c->writer == f)
			sim_fail("%s was stored and is not written back at the fence",
				 sim_line_name(f->stored[i]));
	}
	f->n_stored = 0;
}

/*
 * An invalidate of a line that is dirty writes it back, over what another host may
 * have stored.  A thread of the same host that is between its store and its write-back
 * is no fault of the one who invalidates.
 */
static void check_dropped(struct sim_fibre *f, uint32_t line)
{
	struct sim_line *c = line_at(f->proc->host, line);

	if (!sim.rules.dirty_dropped || c->state != DIRTY || c->hint || !lives(c->owner))
		return;
	for (unsigned i = 0; c->writer && i < c->writer->n_stored; i++)
		if (c->writer != f && c->writer->stored[i] == line)
			return;
	sim_fail("%s is invalidated while it is dirty: its owner has not written it back",
		 sim_line_name(line));
}

#define INVALIDATED 0x100

static void note_invalidated(struct sim_fibre *f, uint32_t line)
{
	f->seen[line] = INVALIDATED;
}

/* WORDS of LINE are loaded from the cache. */
static void check_stale(struct sim_fibre *f, uint32_t line, uint8_t words)
{
	const struct sim_line *c = line_at(f->proc->host, line);
	bool fresh = (f->seen[line] & INVALIDATED) && !(f->seen[line] & words);

	f->seen[line] |= words;
	if (c->state != CLEAN || memcmp(c->word, sim.memory[line], SIM_LINE) == 0)
		return;
	sim.count.stale_hits++;
	if (sim.rules.stale && !fresh)
		sim_fail("%s is stale in the cache of host %u and was not invalidated since "
			 "the last load",
			 sim_line_name(line), f->proc->host->id);
}

void sim_cache_exit_check(struct sim_proc *p)
{
	struct sim_host *h = p->host;

	if (!sim.rules.dirty_at_exit)
		return;
	for (uint32_t i = 0; i < h->n_present; i++) {
		struct sim_line *c = line_at(h, h->present[i]);

		if (c->state == DIRTY && c->owner == p)
			sim_fail("%s: has ended in order and left %s dirty", p->name,
				 sim_line_name(h->present[i]));
	}
}

/* Who waits for an answer to what is not out yet waits for nothing. */
void sim_cache_sleep_check(void)
{
	const struct sim_fibre *f = sim.current;

	if (f->proc && f->n_ops && sim.rules.not_written)
		sim_fail("sleeps, and no fence has completed what it did to %s",
			 sim_line_name(f->ops[0].line));
}

/* What a thread stores without a lock another one may announce as soon as it has the
 * lock: that one's fence is not for these stores. */
void sim_cache_lock_check(void)
{
	const struct sim_fibre *f = sim.current;

	for (unsigned i = 0; f->proc && sim.rules.not_written && i < f->n_ops; i++)
		if (f->ops[i].kind == STREAM)
			sim_fail("takes a lock, and no fence has completed its store of %s",
				 sim_line_name(f->ops[i].line));
}

/* ----------------------------------------------------------- instructions */

/* Words of MASK to memory, around the cache. */
static void stream_words(struct sim_host *h, struct sim_op *op, uint8_t mask)
{
	drop(h, op->line);
	for (unsigned i = 0; i < 8; i++)
		if (mask & op->mask & 1u << i)
			sim.memory[op->line][i] = op->word[i];
	fail_memory(op->line);
	op->mask &= (uint8_t)~mask;
}

static void execute(struct sim_fibre *f, struct sim_op *op)
{
	struct sim_host *h = f->proc->host;

	switch (op->kind) {
	case WRITE_BACK:
		clean(h, op->line);
		break;
	case INVALIDATE:
		check_dropped(f, op->line);
		drop(h, op->line);
		note_invalidated(f, op->line);
		break;
	case STREAM:
		stream_words(h, op, 0xff);
		break;
	}
}

void sim_cache_drain(struct sim_fibre *f)
{
	/* a list that grows meanwhile does not exist: nothing in here switches */
	for (unsigned i = 0; i < f->n_ops; i++)
		execute(f, &f->ops[i]);
	f->n_ops = 0;
}

static void remove_op(struct sim_fibre *f, unsigned i)
{
	memmove(&f->ops[i], &f->ops[i + 1], (f->n_ops - i - 1) * sizeof(f->ops[0]));
	f->n_ops--;
}

/* One instruction before its fence, or a part of it.  Those for one line keep their
 * order. */
static void early(struct sim_fibre *f)
{
	unsigned i = (unsigned)sim_below(f->n_ops);
	struct sim_op *op = &f->ops[i];

	for (unsigned k = 0; k < i; k++)
		if (f->ops[k].line == op->line)
			return;
	if (op->kind == STREAM && sim_chance(2)) {
		stream_words(f->proc->host, op, (uint8_t)sim_random());
		sim.count.torn++;
		return;
	}
	if (op->kind == WRITE_BACK && !sim.rules.no_entry_crc && sim_chance(2)) {
		struct sim_line *c = line_at(f->proc->host, op->line);
		uint8_t mask = (uint8_t)sim_random();

		for (unsigned w = 0; c->state == DIRTY && w < 8; w++)
			if (mask & 1u << w)
				sim.memory[op->line][w] = c->word[w];
		sim.count.torn++;
		return;
	}
	execute(f, op);
	remove_op(f, i);
}

static void add_op(uint8_t kind, uint32_t line, uint8_t mask, const uint64_t *word)
{
	struct sim_fibre *f = sim.current;
	struct sim_op *op;

	if (f->n_ops == f->room) {
		f->room = f->room ? 2 * f->room : 64;
		f->ops = realloc(f->ops, f->room * sizeof(*f->ops));
		if (!f->ops)
			abort();
	}
	op = &f->ops[f->n_ops++];
	op->kind = kind;
	op->line = line;
	op->mask = mask;
	if (word)
		memcpy(op->word, word, SIM_LINE);
}

void cbd_cpu_invalidate(const void *p)
{
	uint32_t line = sim_line_of(p);

	note_recent(line);
	add_op(INVALIDATE, line, 0, NULL);
	sim_step();
}

void cbd_cpu_write_back(const void *p)
{
	uint32_t line = sim_line_of(p);

	if (line_at(me()->host, line)->state == ABSENT) {
		bool pending = false;

		for (unsigned i = 0; i < sim.current->n_ops && !pending; i++)
			pending = sim.current->ops[i].line == line;
		if (!pending)
			return;
	}
	add_op(WRITE_BACK, line, 0, NULL);
	sim_step();
}

void cbd_cpu_store_fence(void)
{
	sim_step();
	sim_cache_drain(sim.current);
	check_written(sim.current);
	if (sim.current->halt_at_fence) {
		sim.current->halt_at_fence = false;
		sim_halt();
	}
}

void cbd_cpu_full_fence(void)
{
	cbd_cpu_store_fence();
}

/* Between processes of one host, whose cache is coherent: nothing is delayed here. */
void cbd_cpu_order(void)
{
	sim_step();
}

void cbd_relax(void)
{
	sim.now_ns += 40;
	sim_step();
}

/* ------------------------------------------------------- loads and stores */

/* Own stores around the cache are seen by own loads. */
static void settle(uint32_t line)
{
	struct sim_fibre *f = sim.current;

	for (unsigned i = 0; i < f->n_ops; i++)
		if (f->ops[i].kind == STREAM && f->ops[i].line == line) {
			execute(f, &f->ops[i]);
			remove_op(f, i--);
		}
}

static struct sim_line *for_load(uint32_t line, uint8_t words, bool checked)
{
	struct sim_host *h = me()->host;

	settle(line);
	if (line_at(h, line)->state == ABSENT)
		fill(h, line);
	if (checked)
		check_stale(sim.current, line, words);
	return line_at(h, line);
}

static struct sim_line *for_store(uint32_t line)
{
	struct sim_host *h = me()->host;
	struct sim_line *c = line_at(h, line);

	settle(line);
	if (sim.rules.two_dirty)
		check_two_dirty(h, line);
	if (c->state == ABSENT)
		fill(h, line);
	if (c->state != DIRTY)
		c->hint = false;
	c->state = DIRTY;
	c->writer = sim.current;
	c->owner = me();
	note_recent(line);
	return c;
}

static uint64_t load(const void *p, bool checked)
{
	uint32_t line;

	if (!sim_is_shared(p))
		return *(const cbd_word64 *)p;
	sim_step();
	line = sim_line_of(p);
	return for_load(line, (uint8_t)(1u << word_of(p)), checked)->word[word_of(p)];
}

uint64_t cbd_cpu_load(const cbd_word64 *p)
{
	return load(p, true);
}

uint64_t cbd_cpu_load_acquire(const void *p)
{
	uint64_t value = load(p, true);
	uint32_t *at = &me()->doze_in_line;

	sim.count.lines_loaded++;
	if (*at && word_of(p) == 0 && sim_line_of(p) == *at) {
		*at = 0;
		sim_trace("loses its CPU behind the first word");
		sim_pause(50 * SIM_MS);
	}
	return value;
}

uint64_t cbd_cpu_load_again(const void *p)
{
	return load(p, false);
}

void cbd_cpu_store(cbd_word64 *p, uint64_t value)
{
	uint32_t line = sim_line_of(p);

	sim_step();
	for_store(line)->word[word_of(p)] = value;
	note_stored(sim.current, line);
	if (line && line == me()->halt_in_line && word_of(p) == 1) {
		me()->halt_in_line = 0;
		sim_halt();
	}
}

static void die_behind(uint32_t line)
{
	me()->died_line = line;
	sim_trace("dies behind the store of %s", sim_line_name(line));
	sim_kill(me());
}

/* The last word of a line: the place to die before it is written back. */
void cbd_cpu_store_release(cbd_word64 *p, uint64_t value)
{
	struct sim_proc *proc = me();
	uint32_t line = sim_line_of(p);

	cbd_cpu_store(p, value);
	sim.count.lines_stored++;
	proc->stores++;
	sim_trace("stores %s", sim_line_name(line));
	if (proc->stores == proc->die_at_store || (line && line == proc->die_at_line))
		die_behind(line);
	if (proc->halt_at_store && proc->stores >= proc->halt_at_store) {
		proc->halt_at_store = 0;
		if (proc->halt_written)
			sim.current->halt_at_fence = true;
		else
			sim_halt();
	}
	sim_step();
}

uint32_t cbd_cpu_load32(const uint32_t *p)
{
	struct sim_line *c;

	sim_step();
	if (!sim_is_shared(p))
		return *p;
	c = for_load(sim_line_of(p), 0, false);
	return (uint32_t)(c->word[word_of(p)] >> ((uintptr_t)p % 8 * 8));
}

void cbd_cpu_store32(uint32_t *p, uint32_t value)
{
	struct sim_line *c;
	unsigned shift = (unsigned)((uintptr_t)p % 8 * 8);

	sim_step();
	if (!sim_is_shared(p)) {
		*p = value;
		return;
	}
	if (sim_chance(sim.noise.doze))
		sim_sleep(sim_below(50000));
	c = for_store(sim_line_of(p));
	c->word[word_of(p)] = (c->word[word_of(p)] & ~(0xffffffffull << shift)) | (uint64_t)value
											  << shift;
	c->hint = true;
}

bool cbd_cpu_swap(uint64_t *p, uint64_t expected, uint64_t desired)
{
	(void)p;
	(void)expected;
	(void)desired;
	sim_fail("a compare-and-swap on memory that is not coherent");
}

/* ----------------------------------------------------------------- copies */

/* The line may come now, or not. */
void cbd_cpu_fetch(const void *p)
{
	uint32_t line;

	sim_step();
	if (!sim_is_shared(p))
		return;
	line = sim_line_of(p);
	if (line_at(me()->host, line)->state == ABSENT && sim_chance(2))
		fill(me()->host, line);
}

void cbd_cpu_read(void *dst, const void *src, size_t len)
{
	char *to = dst;

	if (!sim_is_shared(src)) {
		memcpy(dst, src, len);
		return;
	}
	while (len > 0) {
		size_t in = (uintptr_t)src % SIM_LINE,
		       n = SIM_LINE - in < len ? SIM_LINE - in : len;
		struct sim_line *c;

		sim_step();
		c = for_load(sim_line_of(src), 0xff, true);
		memcpy(to, (const char *)c->word + in, n);
		src = (const char *)src + n;
		to += n;
		len -= n;
	}
}

static void write_part(char *dst, const void *src, size_t in, size_t n)
{
	uint32_t line = sim_line_of(dst);
	struct sim_line *c;

	sim_step();
	c = for_store(line);
	memcpy((char *)c->word + in, src, n);
	note_stored(sim.current, line);
}

/* The line in which the process dies, if it does: the store that is counted last is of N
 * bytes at TO. */
static const char *dies_in(const char *to, size_t n)
{
	if (++me()->stores == me()->die_at_store)
		return to + sim_below(n);
	return NULL;
}

/* Through the cache: the rules find it when it is not written back. */
void cbd_cpu_write(void *dst, const void *src, size_t len)
{
	char *to = dst;
	const char *last = dies_in(to, len);

	while (len > 0) {
		size_t in = (uintptr_t)to % SIM_LINE, n = SIM_LINE - in < len ? SIM_LINE - in : len;

		write_part(to, src, in, n);
		if (last && last < to + n)
			die_behind(sim_line_of(to));
		src = (const char *)src + n;
		to += n;
		len -= n;
	}
}

/* Around the cache, or one time in 16 through it, as CPUs do that know no such stores.  A
 * store of payload does not look at the fence rule of single lines: for_store() notes the
 * writer only. */
bool cbd_cpu_stream(void *dst, const void *src, size_t lines)
{
	const char *last = lines ? dies_in(dst, lines * SIM_LINE) : NULL;
	bool around = !sim_chance(16);

	for (char *to = dst, *end = to + lines * SIM_LINE; to < end; to += SIM_LINE) {
		uint64_t word[8];

		if (!around || (last && last < to + SIM_LINE)) {
			write_part(to, src, 0, SIM_LINE);
			if (last && last < to + SIM_LINE)
				die_behind(sim_line_of(to));
		} else {
			memcpy(word, src, SIM_LINE);
			if (sim.rules.two_dirty)
				check_two_dirty(me()->host, sim_line_of(to));
			note_recent(sim_line_of(to));
			add_op(STREAM, sim_line_of(to), 0xff, word);
			sim_step();
		}
		src = (const char *)src + SIM_LINE;
	}
	return around;
}

/* ------------------------------------------------------------------ noise */

static struct sim_host *any_host(void)
{
	return &sim.hosts[sim_below(SIM_HOSTS)];
}

static void evict(void)
{
	struct sim_host *h = any_host();
	uint32_t line;

	if (h->n_late && sim_chance(4)) {
		unsigned i = (unsigned)sim_below(h->n_late);

		line = h->late[i].line;
		sim_trace("late write-back of %s by host %u", sim_line_name(line), h->id);
		memcpy(sim.memory[line], h->late[i].word, SIM_LINE);
		h->late[i] = h->late[--h->n_late];
		sim.count.late++;
		return;
	}
	if (h->n_present == 0)
		return;
	line = h->present[sim_below(h->n_present)];
	drop(h, line);
	sim.count.evictions++;
}

static void speculate(void)
{
	struct sim_host *h = any_host();
	uint32_t line = recent[sim_below(n_recent < RECENT ? n_recent + 1 : RECENT)];

	if (!h->on || line_at(h, line)->state != ABSENT)
		return;
	fill(h, line);
	sim.count.fills++;
}

void sim_cache_noise(void)
{
	if (sim.due_step && sim.count.steps >= sim.due_step) {
		sim.due_step = 0;
		sim_cache_write_back_dead(sim.due_host);
	}
	if (sim_chance(sim.noise.evict))
		evict();
	if (sim_chance(sim.noise.fill))
		speculate();
	if (sim_chance(sim.noise.early)) {
		struct sim_fibre *f = sim.fibres[sim_below(sim.n_fibres)];

		if (!f->dead && f->n_ops)
			early(f);
	}
}

/* ----------------------------------------------------------------- faults */

/* What the CPU was told is done; what it was not told stays dirty. */
void sim_cache_process_died(struct sim_proc *p)
{
	for (unsigned i = 0; i < sim.n_fibres; i++) {
		struct sim_fibre *f = sim.fibres[i];

		if (f->proc == p && !f->dead) {
			sim_cache_drain(f);
			f->n_stored = 0;
		}
	}
	for (uint32_t i = 0; i < p->host->n_present; i++) {
		struct sim_line *c = line_at(p->host, p->host->present[i]);

		if (c->owner == p)
			c->writer = NULL;
	}
}

void sim_cache_power_off(struct sim_host *h, unsigned percent_lost)
{
	for (uint32_t i = 0; i < h->n_present; i++) {
		uint32_t line = h->present[i];
		struct sim_line *c = line_at(h, line);

		if (c->state != DIRTY)
			continue;
		if (sim_below(100) >= percent_lost && h->n_late < 4096) {
			h->late[h->n_late].line = line;
			memcpy(h->late[h->n_late++].word, c->word, SIM_LINE);
		} else {
			sim.count.losses++;
			c->state = CLEAN;
		}
	}
	while (h->n_present) {
		line_at(h, h->present[0])->state = CLEAN; /* its content is lost or on its way */
		remove_line(h, h->present[0]);
	}
}

void sim_cache_late_end(struct sim_host *h)
{
	while (h->n_late) {
		h->n_late--;
		memcpy(sim.memory[h->late[h->n_late].line], h->late[h->n_late].word, SIM_LINE);
		sim.count.late++;
	}
}
