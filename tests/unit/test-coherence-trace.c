/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-coherence-trace.c - libcbd built with another coherence header: the
 * discipline of docs/coherence.md while a pair runs I/O, dies and comes back.
 */
#include <config.h>

#include <errno.h>

#include "unit.h"

static struct pair p;

static void open_traced(struct pair_options o)
{
	struct cbd_channel ch;

	pair_format(&p, &o);
	trace_start();
	trace_side(&p.bt->mem, p.bt->base, p.bt->header.size);
	trace_side(&p.ct->mem, p.ct->base, p.ct->header.size);
	pair_publish(&p);
	pair_attach(&p);
	ch = p.q->ch;
	trace_rings((size_t)((char *)ch.se - p.ct->base), (size_t)((char *)ch.ce - p.ct->base),
		    (size_t)(ch.data - p.ct->base), (size_t)(ch.base + ch.length - p.ct->base));
}

static void some_io(unsigned count)
{
	static unsigned char buf[300 << 10], back[300 << 10];

	for (unsigned i = 0; i < count; i++) {
		size_t size = (i * 7919) % sizeof(buf) + 1;

		unit_fill(buf, size, i);
		unit_ok(cbd_queue_write(p.q, buf, size, i * 11, 0));
		unit_ok(cbd_queue_read(p.q, back, size, i * 11));
		ck_assert_mem_eq(buf, back, size);
		unit_ok(cbd_queue_write_zeroes(p.q, size, i * 11, 0));
		unit_ok(cbd_queue_flush(p.q));
	}
}

static void check_trace(void)
{
	struct trace t = trace_get();

	ck_assert_uint_eq(t.undropped, 0);
	ck_assert_uint_eq(t.unfenced, 0);
	ck_assert_uint_eq(t.undropped_payloads, 0);
	ck_assert_uint_eq(t.two_writers, 0);
	ck_assert_uint_eq(t.late_payload, 0);
	ck_assert_uint_eq(t.unordered, 0);
	ck_assert_uint_eq(t.unfinished, 0);
	ck_assert_uint_eq(t.not_forgotten, 0);
	/* and it was this header that was used */
	ck_assert_uint_gt(t.awaits, 100);
	ck_assert_uint_gt(t.stores, 100);
	ck_assert_uint_gt(t.loads, 100);
}

START_TEST(software)
{
	struct trace t;

	open_traced((struct pair_options){ .kind = CBD_COHERENCE_SOFTWARE });
	some_io(40);
	check_trace();
	t = trace_get();
	ck_assert_uint_gt(t.payload_stores, 80);
	ck_assert_uint_gt(t.payload_loads, 80);
	ck_assert_uint_eq(t.swaps, 0);		  /* no read-modify-write across hosts */
	ck_assert_uint_eq(t.landed + t.taken, 0); /* never the disk itself */
	pair_close(&p);
}
END_TEST

START_TEST(hardware)
{
	open_traced((struct pair_options){ .kind = CBD_COHERENCE_HARDWARE });
	some_io(40);
	check_trace();
	/* the disk reads and writes shared memory itself: through the hooks */
	ck_assert_uint_gt(trace_get().landed, 40);
	ck_assert_uint_gt(trace_get().taken, 40);
	pair_close(&p);
}
END_TEST

START_TEST(hardware_with_crc)
{
	open_traced((struct pair_options){ .data_crc = true });
	some_io(20);
	check_trace();
	/* the disk reads into the extent, but never writes from there */
	ck_assert_uint_ge(trace_get().landed, 20);
	ck_assert_uint_eq(trace_get().taken, 0);
	pair_close(&p);
}
END_TEST

/* New epochs, and a backend's next life. */
START_TEST(across_crashes)
{
	open_traced((struct pair_options){ .kind = CBD_COHERENCE_SOFTWARE });
	for (int i = 0; i < 5; i++) {
		some_io(5);
		pair_crash(&p);
		server_start(&p);
	}
	check_trace();
	pair_close(&p);
}
END_TEST

START_TEST(several_queues)
{
	unsigned char buf[4096];

	open_traced((struct pair_options){
		.kind = CBD_COHERENCE_SOFTWARE, .queues = 4, .handlers = 2 });
	for (unsigned i = 0; i < 200; i++) {
		unit_fill(buf, sizeof(buf), i);
		unit_ok(cbd_queue_write(cbd_blkdev_queue(p.blkdev, i % 4), buf, 4096, i * 4096, 0));
	}
	check_trace();
	pair_close(&p);
}
END_TEST

/* Several payloads are invalidated under one fence; one whose CRC is wrong is copied again,
 * and the first copy has cached it. */
START_TEST(copied_again)
{
	static unsigned char buf[8][4096];
	struct cbd_request *r[8];
	struct cbd_hchannel *hc;
	unsigned have = 0;
	char *spoilt = NULL;

	open_traced((struct pair_options){
		.kind = CBD_COHERENCE_SOFTWARE, .data_crc = true, .stepping = true, .depth = 8 });
	hc = &p.backend->channels[p.q->ch.id].hc;
	for (unsigned i = 0; i < 8; i++)
		pair_submit(&p, CBD_OP_WRITE, buf[i], i * 4096, 4096, i + 1);
	for (unsigned tag = 0; tag < 8; tag++)
		if (p.q->parts.all[tag].se.offset == 4 * 4096)
			spoilt = p.q->ch.data + p.q->parts.all[tag].se.data_offset;
	ck_assert_ptr_nonnull(spoilt);
	*spoilt ^= 1;
	/* one by one until the handler expects more, then the rest together */
	unit_wait((have += pair_fetch(&p, r + have, 8 - have)) == 7);
	hc->retries->retry_until_ns += 20000000000ull;
	unit_wait(pair_fetch(&p, r + have, 1) == 0 && hc->counted.now.events.retries > 0);
	*spoilt ^= 1;
	unit_wait((have += pair_fetch(&p, r + have, 8 - have)) == 8);
	for (unsigned i = 0; i < 8; i++)
		pair_complete(&p, r[i]);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(pair_reap(&p).result, 0);
	ck_assert_uint_eq(trace_get().undropped_payloads, 0);
	ck_assert_uint_eq(trace_get().undropped + trace_get().unfenced, 0);
	pair_close(&p);
}
END_TEST

/* Host slots, of two machines, in software mode: by waiting, not by swapping. */
START_TEST(host_slots)
{
	pair_format(&p, &(struct pair_options){ .kind = _i ? CBD_COHERENCE_SOFTWARE
							   : CBD_COHERENCE_HARDWARE });
	trace_start();
	unit_ok(cbd_host_join(p.bt, -1));
	ck_assert_uint_eq(trace_get().swaps, _i ? 0 : 1);
	pair_close(&p);
}
END_TEST

/* The watcher sees what it is there for. */
START_TEST(breaches_are_seen)
{
	struct cbd_mem a = { .software = true }, b = { .software = true };
	static _Alignas(64) char memory[1 << 16];
	char out[64];
	struct cbd_line line = { .crc = 0 };
	struct cbd_se se = { .op = CBD_OP_WRITE, .length = 4096 };
	struct cbd_ce ce = { .length = 4096 };

	trace_start();
	trace_side(&a, memory, sizeof(memory));
	trace_side(&b, memory, sizeof(memory));
	trace_rings(4096, 8192, 12288, sizeof(memory));
	cbd_line_await(&a, memory, 1, &line);
	ck_assert_uint_eq(trace_get().undropped, 1);
	cbd_line_invalidate_start(&a, memory);
	cbd_line_await(&a, memory, 1, &line);
	ck_assert_uint_eq(trace_get().unfenced, 1);
	cbd_line_invalidate_start(&a, memory);
	cbd_invalidate_done(&a);
	cbd_line_await(&a, memory, 1, &line);
	ck_assert_uint_eq(trace_get().undropped + trace_get().unfenced, 2);
	cbd_line_await(&a, memory, 1, &line); /* once only */
	ck_assert_uint_eq(trace_get().undropped, 2);
	cbd_mem_read(&a, out, memory + 12288, 64);
	ck_assert_uint_eq(trace_get().undropped_payloads, 1);
	cbd_mem_invalidate_start(&a, memory + 12288, 128);
	cbd_mem_read(&a, out, memory + 12288, 64); /* no fence */
	ck_assert_uint_eq(trace_get().undropped_payloads, 2);
	cbd_invalidate_done(&a);
	cbd_mem_read(&a, out, memory + 12288, 64);
	cbd_mem_read(&a, out, memory + 12288 + 64, 64);
	ck_assert_uint_eq(trace_get().undropped_payloads, 2);
	cbd_mem_read(&a, out, memory + 12288, 64); /* once only */
	ck_assert_uint_eq(trace_get().undropped_payloads, 3);
	cbd_line_store(&a, memory, &line);
	cbd_line_store(&a, memory, &line);
	ck_assert_uint_eq(trace_get().two_writers, 0);
	cbd_line_store(&b, memory, &line);
	ck_assert_uint_eq(trace_get().two_writers, 1);
	cbd_mem_store(&a, memory + 12288, memory, 4096);
	cbd_line_store(&a, memory + 4096, &se);
	ck_assert_uint_eq(trace_get().late_payload, 0);
	cbd_line_store(&a, memory + 4096, &se);
	ck_assert_uint_eq(trace_get().late_payload, 1);
	/* a read: its CE comes after its payload, which the other side stores */
	se.op = CBD_SE_OP_READ;
	cbd_line_store(&a, memory + 4096, &se);
	cbd_sys_landed(&b, memory + 12288, 4096);
	cbd_line_store(&b, memory + 8192, &ce);
	ck_assert_uint_eq(trace_get().late_payload, 1);
	cbd_line_store(&a, memory + 4096, &se);
	cbd_line_store(&b, memory + 8192, &ce);
	ck_assert_uint_eq(trace_get().late_payload, 2);
	/* fences: none but those that are asked for */
	se.op = CBD_SE_OP_WRITE;
	cbd_mem_store(&a, memory + 12288, memory, 4096);
	cbd_mem_store_done(&a);
	cbd_line_store_start(&a, memory + 4096, &se);
	cbd_line_store_start(&a, memory + 4160, &se); /* one batch */
	ck_assert_uint_eq(trace_get().unordered, 0);
	cbd_line_await(&a, memory + 8192, 1, &line);
	ck_assert_uint_eq(trace_get().unfinished, 1);
	cbd_mem_store(&a, memory + 12288, memory, 4096);
	cbd_line_store_start(&a, memory + 4096, &se);
	ck_assert_uint_eq(trace_get().unordered, 1);
	cbd_mem_store_done(&a);
	cbd_line_await(&a, memory + 8192, 1, &line);
	ck_assert_uint_eq(trace_get().unfinished, 1);
	cbd_line_store_start(&b, memory + 8192, &ce);
	ck_assert_uint_eq(trace_get().unordered, 1);
	cbd_line_store_start(&b, memory + 8256, &ce);
	ck_assert_uint_eq(trace_get().unordered, 2);
	cbd_mem_store_done(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("coherence-trace");
	TCase *t = tcase_create("trace");

	tcase_set_timeout(t, UNIT_TIMEOUT);
	tcase_add_test(t, breaches_are_seen);
	tcase_add_test(t, software);
	tcase_add_test(t, hardware);
	tcase_add_test(t, hardware_with_crc);
	tcase_add_test(t, across_crashes);
	tcase_add_test(t, several_queues);
	tcase_add_test(t, copied_again);
	tcase_add_loop_test(t, host_slots, 0, 2);
	suite_add_tcase(s, t);
	return unit_main(s);
}
