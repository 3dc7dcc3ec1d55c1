/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-layout.c - the format is an ABI: every field, constant and place of
 * cbd-format.h, pinned by numbers that were written down once.  A change here
 * is a change of the format's version.
 */
#include <config.h>

#include <stddef.h>

#include "unit.h"

struct field {
	const char *name;
	size_t offset, size;
	size_t is_offset, is_size;
};

#define F(s, f, at, bytes)                                                              \
	{                                                                               \
#s "." #f, at, bytes, offsetof(struct s, f), sizeof(((struct s *)0)->f) \
	}

/* clang-format off: one field a line */
static const struct field area_fields[] = {
	F(cbd_area, offset, 0, 8),
	F(cbd_area, length, 8, 8),
};

static const struct field header_fields[] = {
	F(cbd_header, magic, 0, 8),	      F(cbd_header, version, 8, 4),
	F(cbd_header, header_size, 12, 4),    F(cbd_header, compat, 16, 8),
	F(cbd_header, incompat, 24, 8),	      F(cbd_header, ro_compat, 32, 8),
	F(cbd_header, uuid, 40, 16),	      F(cbd_header, size, 56, 8),
	F(cbd_header, coherence, 64, 4),      F(cbd_header, page_size, 68, 4),
	F(cbd_header, hosts, 72, 4),	      F(cbd_header, backends, 76, 4),
	F(cbd_header, blkdevs, 80, 4),	      F(cbd_header, channels, 84, 4),
	F(cbd_header, ring_slots, 88, 4),     F(cbd_header, heartbeat_ms, 92, 4),
	F(cbd_header, dead_after, 96, 4),     F(cbd_header, flags, 100, 4),
	F(cbd_header, header_area, 104, 16),  F(cbd_header, host_area, 120, 16),
	F(cbd_header, backend_area, 136, 16), F(cbd_header, blkdev_area, 152, 16),
	F(cbd_header, channel_area, 168, 16), F(cbd_header, copy_area, 184, 16),
	F(cbd_header, channel_size, 200, 8),  F(cbd_header, created, 208, 8),
	F(cbd_header, table_entries, 216, 4), F(cbd_header, table_crc, 220, 4),
	F(cbd_header, label, 224, 64),	      F(cbd_header, reserved, 288, 3804),
	F(cbd_header, crc, 4092, 4),
};

static const struct field line_fields[] = {
	F(cbd_line, body, 0, 60),
	F(cbd_line, crc, 60, 4),
};

static const struct field claim_line_fields[] = {
	F(cbd_claim_line, generation, 0, 8), F(cbd_claim_line, owner, 8, 16),
	F(cbd_claim_line, boot_id, 24, 16),  F(cbd_claim_line, lock_dev, 40, 8),
	F(cbd_claim_line, lock_ino, 48, 8),  F(cbd_claim_line, state, 56, 4),
	F(cbd_claim_line, crc, 60, 4),
};

static const struct field host_claim_line_fields[] = {
	F(cbd_host_claim_line, token, 0, 8),
	F(cbd_host_claim_line, uuid, 8, 16),
	F(cbd_host_claim_line, reserved, 24, 36),
	F(cbd_host_claim_line, crc, 60, 4),
};

static const struct field host_line_fields[] = {
	F(cbd_host_line, uuid, 0, 16),	      F(cbd_host_line, boot_id, 16, 16),
	F(cbd_host_line, incarnation, 32, 4), F(cbd_host_line, state, 36, 4),
	F(cbd_host_line, reserved, 40, 20),   F(cbd_host_line, crc, 60, 4),
};

static const struct field beat_line_fields[] = {
	F(cbd_beat_line, counter, 0, 8),
	F(cbd_beat_line, incarnation, 8, 4),
	F(cbd_beat_line, reserved, 12, 48),
	F(cbd_beat_line, crc, 60, 4),
};

static const struct field text_line_fields[] = {
	F(cbd_text_line, text, 0, 56),
	F(cbd_text_line, reserved, 56, 4),
	F(cbd_text_line, crc, 60, 4),
};

static const struct field host_request_line_fields[] = {
	F(cbd_host_request_line, sequence, 0, 8),     F(cbd_host_request_line, request, 8, 4),
	F(cbd_host_request_line, incarnation, 12, 4), F(cbd_host_request_line, owner, 16, 16),
	F(cbd_host_request_line, argument, 32, 8),    F(cbd_host_request_line, reserved, 40, 20),
	F(cbd_host_request_line, crc, 60, 4),
};

static const struct field state_line_fields[] = {
	F(cbd_state_line, incarnation, 0, 4), F(cbd_state_line, state, 4, 2),
	F(cbd_state_line, host, 6, 2),	      F(cbd_state_line, owner, 8, 16),
	F(cbd_state_line, boot_id, 24, 16),   F(cbd_state_line, pid, 40, 4),
	F(cbd_state_line, backend, 44, 2),    F(cbd_state_line, count, 46, 2),
	F(cbd_state_line, handlers, 48, 2),   F(cbd_state_line, reserved, 50, 10),
	F(cbd_state_line, crc, 60, 4),
};

static const struct field geometry_line_fields[] = {
	F(cbd_geometry_line, size, 0, 8),	    F(cbd_geometry_line, generation, 8, 4),
	F(cbd_geometry_line, logical_block, 12, 4), F(cbd_geometry_line, physical_block, 16, 4),
	F(cbd_geometry_line, optimal_block, 20, 4), F(cbd_geometry_line, max_data, 24, 4),
	F(cbd_geometry_line, max_range, 28, 4),	    F(cbd_geometry_line, flags, 32, 4),
	F(cbd_geometry_line, reserved, 36, 24),	    F(cbd_geometry_line, crc, 60, 4),
};

static const struct field identity_line_fields[] = {
	F(cbd_identity_line, disk_id, 0, 32),  F(cbd_identity_line, disk_identity, 32, 8),
	F(cbd_identity_line, verifier, 40, 8), F(cbd_identity_line, source, 48, 8),
	F(cbd_identity_line, flags, 56, 4),    F(cbd_identity_line, crc, 60, 4),
};

static const struct field access_line_fields[] = {
	F(cbd_access_line, allow_hosts, 0, 8), F(cbd_access_line, max_blkdevs, 8, 4),
	F(cbd_access_line, features, 12, 4),   F(cbd_access_line, reserved, 16, 44),
	F(cbd_access_line, crc, 60, 4),
};

static const struct field request_line_fields[] = {
	F(cbd_request_line, incarnation, 0, 4), F(cbd_request_line, sequence, 4, 4),
	F(cbd_request_line, state, 8, 2),	F(cbd_request_line, backend, 10, 2),
	F(cbd_request_line, host, 12, 2),	F(cbd_request_line, queues, 14, 2),
	F(cbd_request_line, depth, 16, 2),	F(cbd_request_line, flags, 18, 2),
	F(cbd_request_line, features, 20, 4),	F(cbd_request_line, reserved, 24, 36),
	F(cbd_request_line, crc, 60, 4),
};

static const struct field reply_line_fields[] = {
	F(cbd_reply_line, incarnation, 0, 4),
	F(cbd_reply_line, sequence, 4, 4),
	F(cbd_reply_line, backend_incarnation, 8, 4),
	F(cbd_reply_line, state, 12, 2),
	F(cbd_reply_line, reason, 14, 2),
	F(cbd_reply_line, features, 16, 4),
	F(cbd_reply_line, channels, 20, 2),
	F(cbd_reply_line, depth, 22, 2),
	F(cbd_reply_line, channel_map, 24, 32),
	F(cbd_reply_line, reserved, 56, 4),
	F(cbd_reply_line, crc, 60, 4),
};

static const struct field doorbell_line_fields[] = {
	F(cbd_doorbell_line, count, 0, 8),
	F(cbd_doorbell_line, incarnation, 8, 4),
	F(cbd_doorbell_line, reserved, 12, 48),
	F(cbd_doorbell_line, crc, 60, 4),
};

static const struct field grant_line_fields[] = {
	F(cbd_grant_line, epoch, 0, 8),
	F(cbd_grant_line, incarnation, 8, 4),
	F(cbd_grant_line, blkdev, 12, 2),
	F(cbd_grant_line, queue, 14, 2),
	F(cbd_grant_line, ring_slots, 16, 2),
	F(cbd_grant_line, depth, 18, 2),
	F(cbd_grant_line, state, 20, 2),
	F(cbd_grant_line, reserved0, 22, 2),
	F(cbd_grant_line, data_page, 24, 4),
	F(cbd_grant_line, data_pages, 28, 4),
	F(cbd_grant_line, disk_identity, 32, 8),
	F(cbd_grant_line, verifier, 40, 8),
	F(cbd_grant_line, geometry_generation, 48, 4),
	F(cbd_grant_line, features, 52, 4),
	F(cbd_grant_line, reserved1, 56, 4),
	F(cbd_grant_line, crc, 60, 4),
};

static const struct field leave_line_fields[] = {
	F(cbd_leave_line, epoch, 0, 8),	  F(cbd_leave_line, incarnation, 8, 4),
	F(cbd_leave_line, reason, 12, 4), F(cbd_leave_line, reserved, 16, 44),
	F(cbd_leave_line, crc, 60, 4),
};

static const struct field word_line_fields[] = {
	F(cbd_word_line, word, 0, 4),
	F(cbd_word_line, reserved, 4, 60),
};

static const struct field se_fields[] = {
	F(cbd_se, position, 0, 8), F(cbd_se, epoch, 8, 8),     F(cbd_se, tid, 16, 4),
	F(cbd_se, op, 20, 2),	   F(cbd_se, flags, 22, 2),    F(cbd_se, offset, 24, 8),
	F(cbd_se, length, 32, 4),  F(cbd_se, data_crc, 36, 4), F(cbd_se, data_offset, 40, 8),
	F(cbd_se, auth, 48, 8),	   F(cbd_se, room, 56, 4),     F(cbd_se, crc, 60, 4),
};

static const struct field run_fields[] = {
	F(cbd_run, length, 0, 4),
	F(cbd_run, flags, 4, 4),
};

static const struct field ce_fields[] = {
	F(cbd_ce, count, 0, 8),	    F(cbd_ce, epoch, 8, 8), F(cbd_ce, tid, 16, 4),
	F(cbd_ce, result, 20, 4),   F(cbd_ce, aux, 24, 8),  F(cbd_ce, length, 32, 4),
	F(cbd_ce, data_crc, 36, 4), F(cbd_ce, auth, 40, 8), F(cbd_ce, reserved, 48, 12),
	F(cbd_ce, crc, 60, 4),
};

static const struct field counter_head_fields[] = {
	F(cbd_counter_head, sequence, 0, 8),
	F(cbd_counter_head, uptime_ns, 8, 8),
	F(cbd_counter_head, stored_ns, 16, 8),
	F(cbd_counter_head, slot, 24, 2),
	F(cbd_counter_head, queue, 26, 2),
	F(cbd_counter_head, digest, 28, 4),
	F(cbd_counter_head, blkdev_incarnation, 32, 4),
	F(cbd_counter_head, reserved, 36, 20),
	F(cbd_counter_head, incarnation, 56, 4),
	F(cbd_counter_head, crc, 60, 4),
};

static const struct field counter_op_line_fields[] = {
	F(cbd_counter_op_line, sequence, 0, 8), F(cbd_counter_op_line, requests, 8, 8),
	F(cbd_counter_op_line, begun, 16, 8),	F(cbd_counter_op_line, bytes, 24, 8),
	F(cbd_counter_op_line, errors, 32, 8),	F(cbd_counter_op_line, timed, 40, 8),
	F(cbd_counter_op_line, time_ns, 48, 8), F(cbd_counter_op_line, incarnation, 56, 4),
	F(cbd_counter_op_line, crc, 60, 4),
};

static const struct field counter_event_line_fields[] = {
	F(cbd_counter_event_line, sequence, 0, 8),   F(cbd_counter_event_line, bad_payloads, 8, 8),
	F(cbd_counter_event_line, resends, 16, 8),   F(cbd_counter_event_line, retries, 24, 8),
	F(cbd_counter_event_line, time_outs, 32, 8), F(cbd_counter_event_line, losses, 40, 8),
	F(cbd_counter_event_line, reserved, 48, 8),  F(cbd_counter_event_line, incarnation, 56, 4),
	F(cbd_counter_event_line, crc, 60, 4),
};

static const struct field counter_epoch_line_fields[] = {
	F(cbd_counter_epoch_line, sequence, 0, 8),   F(cbd_counter_epoch_line, epochs, 8, 8),
	F(cbd_counter_epoch_line, left, 16, 8),	     F(cbd_counter_epoch_line, silent_ns, 24, 8),
	F(cbd_counter_epoch_line, reserved, 32, 24), F(cbd_counter_epoch_line, incarnation, 56, 4),
	F(cbd_counter_epoch_line, crc, 60, 4),
};

static const struct field counter_wait_line_fields[] = {
	F(cbd_counter_wait_line, sequence, 0, 8),   F(cbd_counter_wait_line, poll_ns, 8, 8),
	F(cbd_counter_wait_line, sleep_ns, 16, 8),  F(cbd_counter_wait_line, sleeps, 24, 8),
	F(cbd_counter_wait_line, reserved, 32, 24), F(cbd_counter_wait_line, incarnation, 56, 4),
	F(cbd_counter_wait_line, crc, 60, 4),
};

static const struct field counter_latency_line_fields[] = {
	F(cbd_counter_latency_line, sequence, 0, 8),
	F(cbd_counter_latency_line, bucket, 8, 48),
	F(cbd_counter_latency_line, incarnation, 56, 4),
	F(cbd_counter_latency_line, crc, 60, 4),
};

static const struct field counter_block_fields[] = {
	F(cbd_counter_block, head, 0, 64),	   F(cbd_counter_block, events, 64, 64),
	F(cbd_counter_block, epochs, 128, 64),	   F(cbd_counter_block, waits, 192, 64),
	F(cbd_counter_block, ops, 256, 768),	   F(cbd_counter_block, latency, 1024, 1152),
	F(cbd_counter_block, reserved, 2176, 896),
};
/* clang-format on */

struct layout {
	const char *name;
	const struct field *fields;
	size_t n, size, is_size;
};

#define S(s, f, bytes)                                                   \
	{                                                                \
#s, f, sizeof(f) / sizeof(f[0]), bytes, sizeof(struct s) \
	}

static const struct layout layouts[] = {
	S(cbd_area, area_fields, 16),
	S(cbd_header, header_fields, 4096),
	S(cbd_line, line_fields, 64),
	S(cbd_claim_line, claim_line_fields, 64),
	S(cbd_host_claim_line, host_claim_line_fields, 64),
	S(cbd_host_line, host_line_fields, 64),
	S(cbd_beat_line, beat_line_fields, 64),
	S(cbd_text_line, text_line_fields, 64),
	S(cbd_host_request_line, host_request_line_fields, 64),
	S(cbd_state_line, state_line_fields, 64),
	S(cbd_geometry_line, geometry_line_fields, 64),
	S(cbd_identity_line, identity_line_fields, 64),
	S(cbd_access_line, access_line_fields, 64),
	S(cbd_request_line, request_line_fields, 64),
	S(cbd_reply_line, reply_line_fields, 64),
	S(cbd_doorbell_line, doorbell_line_fields, 64),
	S(cbd_grant_line, grant_line_fields, 64),
	S(cbd_leave_line, leave_line_fields, 64),
	S(cbd_word_line, word_line_fields, 64),
	S(cbd_se, se_fields, 64),
	S(cbd_run, run_fields, 8),
	S(cbd_ce, ce_fields, 64),
	S(cbd_counter_head, counter_head_fields, 64),
	S(cbd_counter_op_line, counter_op_line_fields, 64),
	S(cbd_counter_event_line, counter_event_line_fields, 64),
	S(cbd_counter_epoch_line, counter_epoch_line_fields, 64),
	S(cbd_counter_wait_line, counter_wait_line_fields, 64),
	S(cbd_counter_latency_line, counter_latency_line_fields, 64),
	S(cbd_counter_block, counter_block_fields, 3072),
};

/* Field after field without a gap: none is missing in the tables above. */
static void check_layout(const struct layout *l)
{
	size_t at = 0;

	ck_assert_msg(l->size == l->is_size, "%s: %zu bytes", l->name, l->is_size);
	for (size_t i = 0; i < l->n; i++) {
		const struct field *f = &l->fields[i];

		ck_assert_msg(f->offset == f->is_offset, "%s is at %zu, not at %zu", f->name,
			      f->is_offset, f->offset);
		ck_assert_msg(f->size == f->is_size, "%s has %zu bytes, not %zu", f->name,
			      f->is_size, f->size);
		ck_assert_msg(f->offset == at, "%s: a gap before", f->name);
		at += f->size;
	}
	ck_assert_msg(at == l->size, "%s: a gap at the end", l->name);
}

START_TEST(every_field)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
		check_layout(&layouts[i]);
}
END_TEST

/* What is copied as words: position and epoch are the first two of an entry,
 * the CRC is the last of every line. */
START_TEST(line_order)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		const struct layout *l = &layouts[i];
		const struct field *last = &l->fields[l->n - 1];

		if (l->size != 64 || l->fields == word_line_fields)
			continue;
		ck_assert_msg(last->offset == 60 && last->size == 4, "%s: no CRC at 60", l->name);
	}
}
END_TEST

struct constant {
	const char *name;
	uint64_t value, is;
};

#define C(c, v)                    \
	{                          \
#c, v, (uint64_t)c \
	}

static const struct constant constants[] = {
	C(CBD_FORMAT_VERSION, 1),
	C(CBD_LINE_SIZE, 64),
	C(CBD_PAGE_SIZE, 4096),
	C(CBD_LINES_PER_PAGE, 64),
	C(CBD_UNIT_SIZE, 4096),
	C(CBD_MAX_HOSTS, 64),
	C(CBD_MAX_BACKENDS, 64),
	C(CBD_MAX_BLKDEVS, 256),
	C(CBD_MAX_CHANNELS, 256),
	C(CBD_MIN_DEPTH, 1),
	C(CBD_MAX_DEPTH, 4096),
	C(CBD_MIN_CHANNEL_SIZE, 1048576),
	C(CBD_MAX_CHANNEL_SIZE, 16777216),
	C(CBD_LABEL_SIZE, 64),
	C(CBD_TEXT_SIZE, 56),
	C(CBD_NAME_LINES, 1),
	C(CBD_PATH_LINES, 4),
	C(CBD_HEADER_DATA_CRC, 1),
	C(CBD_COMPAT_KNOWN, 0),
	C(CBD_INCOMPAT_KNOWN, 0),
	C(CBD_RO_COMPAT_KNOWN, 0),
	C(CBD_GEOMETRY_ROTATIONAL, 1),
	C(CBD_GEOMETRY_READ_ONLY, 2),
	C(CBD_GEOMETRY_WRITE_THROUGH, 4),
	C(CBD_GEOMETRY_DISCARD, 8),
	C(CBD_GEOMETRY_FAST_ZERO, 16),
	C(CBD_REQUEST_READ_ONLY, 1),
	C(CBD_SE_FUA, 1),
	C(CBD_SE_MAY_TRIM, 2),
	C(CBD_SE_FAST_ZERO, 4),
	C(CBD_SE_FLAGS_KNOWN, 7),
	C(CBD_FEATURE_DATA_CRC, 1),
	C(CBD_FEATURE_BLOCK_STATUS, 2),
	C(CBD_FEATURES_KNOWN, 3),
	C(CBD_MAX_RUNS, 512),
	C(CBD_MAX_STATUS, 0x80000000),
	C(CBD_RUN_HOLE, 1),
	C(CBD_RUN_ZERO, 2),
	C(CBD_RUN_FLAGS_KNOWN, 3),
	C(CBD_COUNTED_OPS, 12),
	C(CBD_LATENCIES, 3),
	C(CBD_LATENCY_BUCKETS, 36),
	C(CBD_BUCKETS_PER_LINE, 6),
	C(CBD_LATENCY_LINES, 6),
	C(CBD_COUNTER_LINES, 48),
	C(CBD_COUNTER_RESERVED, 14),
	C(CBD_CHANNEL_COUNTERS, 16),
	C(CBD_LOCK_BASE, 0x4000000000000000ull),
	C(CBD_LOCK_JOIN, 0x4000000000003000ull),
	C(CBD_LOCK_FORMAT, 0x4000000000003001ull),
	C(CBD_MEMORY_HARDWARE, 1),
	C(CBD_MEMORY_SOFTWARE, 2),
	C(CBD_CLAIM_NONE, 0),
	C(CBD_CLAIM_RAISED, 1),
	C(CBD_CLAIM_RELEASED, 2),
	C(CBD_CLAIM_DEAD, 3),
	C(CBD_HOST_FREE, 0),
	C(CBD_HOST_IN_USE, 1),
	C(CBD_HOST_LEFT, 2),
	C(CBD_HOST_REQUEST_NONE, 0),
	C(CBD_HOST_REQUEST_TAKEOVER, 1),
	C(CBD_HOST_REQUEST_DRAIN, 2),
	C(CBD_HOST_REQUEST_CLEAR, 3),
	C(CBD_SLOT_FREE, 0),
	C(CBD_SLOT_STARTING, 1),
	C(CBD_SLOT_LIVE, 2),
	C(CBD_SLOT_DRAINING, 3),
	C(CBD_SLOT_HANDOVER, 4),
	C(CBD_SLOT_GONE, 5),
	C(CBD_SLOT_ABANDONED, 6),
	C(CBD_REQUEST_NONE, 0),
	C(CBD_REQUEST_ATTACH, 1),
	C(CBD_REQUEST_DETACH, 2),
	C(CBD_REQUEST_ABANDONED, 3),
	C(CBD_REPLY_NONE, 0),
	C(CBD_REPLY_GRANTED, 1),
	C(CBD_REPLY_REFUSED, 2),
	C(CBD_REPLY_DETACHED, 3),
	C(CBD_REFUSED_NOT, 0),
	C(CBD_REFUSED_BUSY, 1),
	C(CBD_REFUSED_HOST, 2),
	C(CBD_REFUSED_CHANNELS, 3),
	C(CBD_REFUSED_READ_ONLY, 4),
	C(CBD_REFUSED_REQUEST, 5),
	C(CBD_REFUSED_STOPPING, 6),
	C(CBD_GRANT_FREE, 0),
	C(CBD_GRANT_GRANTED, 1),
	C(CBD_GRANT_LEAVING, 2),
	C(CBD_GRANT_QUARANTINED, 3),
	C(CBD_GRANT_CLOSED, 4),
	C(CBD_LEAVE_NOT, 0),
	C(CBD_LEAVE_BAD_ENTRY, 1),
	C(CBD_LEAVE_UNKNOWN_TID, 2),
	C(CBD_LEAVE_STALLED, 3),
	C(CBD_LEAVE_BAD_RATE, 4),
	C(CBD_LEAVE_TIMEOUT, 5),
	C(CBD_SE_OP_READ, 1),
	C(CBD_SE_OP_WRITE, 2),
	C(CBD_SE_OP_FLUSH, 3),
	C(CBD_SE_OP_DISCARD, 4),
	C(CBD_SE_OP_WRITE_ZEROES, 5),
	C(CBD_SE_OP_BLOCK_STATUS, 6),
	C(CBD_RESULT_OK, 0),
	C(CBD_RESULT_IO, 1),
	C(CBD_RESULT_NOSPC, 2),
	C(CBD_RESULT_PERM, 3),
	C(CBD_RESULT_INVAL, 4),
	C(CBD_RESULT_NOTSUP, 5),
	C(CBD_RESULT_NOMEM, 6),
	C(CBD_RESULT_OVERFLOW, 7),
	C(CBD_RESULT_BADCRC, 8),
	C(CBD_RESULT_SHUTDOWN, 9),
	C(CBD_HOST_CLAIM, 0),
	C(CBD_HOST_INFO, 1),
	C(CBD_HOST_REQUESTS, 2),
	C(CBD_HOST_STATE, 0),
	C(CBD_HOST_BEAT, 1),
	C(CBD_HOST_NAME, 2),
	C(CBD_BACKEND_CLAIMS, 0),
	C(CBD_BACKEND_INFO, 1),
	C(CBD_BACKEND_COUNTERS, 2),
	C(CBD_BACKEND_REPLIES, 3),
	C(CBD_BACKEND_STATE, 0),
	C(CBD_BACKEND_BEAT, 1),
	C(CBD_BACKEND_GEOMETRY, 2),
	C(CBD_BACKEND_IDENTITY, 3),
	C(CBD_BACKEND_ACCESS, 4),
	C(CBD_BACKEND_NAME, 5),
	C(CBD_BACKEND_PATH, 6),
	C(CBD_BLKDEV_CLAIMS, 0),
	C(CBD_BLKDEV_INFO, 1),
	C(CBD_BLKDEV_COUNTERS, 2),
	C(CBD_BLKDEV_PAGES, 3),
	C(CBD_BLKDEV_STATE, 0),
	C(CBD_BLKDEV_BEAT, 1),
	C(CBD_BLKDEV_REQUEST, 2),
	C(CBD_BLKDEV_DOORBELL, 3),
	C(CBD_CHANNEL_BACKEND, 0),
	C(CBD_CHANNEL_BLKDEV, 1),
	C(CBD_CHANNEL_RINGS, 2),
	C(CBD_CHANNEL_GRANT, 0),
	C(CBD_CHANNEL_CE_BELL, 1),
	C(CBD_CHANNEL_HANDLER_SLEEPS, 2),
	C(CBD_CHANNEL_LEAVE, 0),
	C(CBD_CHANNEL_SE_BELL, 1),
	C(CBD_CHANNEL_BLKDEV_SLEEPS, 2),
	C(CBD_LOCK_HOST(3), 0x4000000000000003ull),
	C(CBD_LOCK_MEMBER(3), 0x4000000000000803ull),
	C(CBD_LOCK_BLKDEV(3), 0x4000000000001003ull),
	C(CBD_LOCK_BACKEND(3), 0x4000000000002003ull),
	C(CBD_LOCK_TAKEOVER(3), 0x4000000000002803ull),
};

START_TEST(every_constant)
{
	for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
		ck_assert_msg(constants[i].value == constants[i].is, "%s is %llu",
			      constants[i].name, (unsigned long long)constants[i].is);
	ck_assert_str_eq(CBD_MAGIC, "CBDshmem");
}
END_TEST

/* 64-bit values in memory, lowest byte first. */
START_TEST(little_endian)
{
	struct cbd_se se = { .position = 0x0807060504030201ull };
	unsigned char bytes[sizeof(se)];

	memcpy(bytes, &se, sizeof(se));
	for (unsigned i = 0; i < 8; i++)
		ck_assert_uint_eq(bytes[i], i + 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("layout");
	TCase *t = tcase_create("layout");

	tcase_add_test(t, every_field);
	tcase_add_test(t, line_order);
	tcase_add_test(t, every_constant);
	tcase_add_test(t, little_endian);
	suite_add_tcase(s, t);
	return unit_main(s);
}
