/* SPDX-License-Identifier: BSD-3-Clause */
/* sized.c - see sized.h; and that the numbers of cbd.h are those of cbd-format.h. */
#include <config.h>

#include <cbd-format.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/sized.h"

/* These go from one to the other without translation. */
#define SAME(a, b) _Static_assert((unsigned)(a) == (unsigned)(b), #a " is " #b)

SAME(CBD_COHERENCE_HARDWARE, CBD_MEMORY_HARDWARE);
SAME(CBD_COHERENCE_SOFTWARE, CBD_MEMORY_SOFTWARE);
SAME(CBD_OP_READ, CBD_SE_OP_READ);
SAME(CBD_OP_WRITE, CBD_SE_OP_WRITE);
SAME(CBD_OP_FLUSH, CBD_SE_OP_FLUSH);
SAME(CBD_OP_DISCARD, CBD_SE_OP_DISCARD);
SAME(CBD_OP_WRITE_ZEROES, CBD_SE_OP_WRITE_ZEROES);
SAME(CBD_OP_BLOCK_STATUS, CBD_SE_OP_BLOCK_STATUS);
SAME(CBD_BLOCK_HOLE, CBD_RUN_HOLE);
SAME(CBD_BLOCK_ZERO, CBD_RUN_ZERO);
SAME(CBD_IO_FUA, CBD_SE_FUA);
SAME(CBD_IO_MAY_TRIM, CBD_SE_MAY_TRIM);
SAME(CBD_IO_FAST_ZERO, CBD_SE_FAST_ZERO);
SAME(CBD_STATE_FREE, CBD_SLOT_FREE);
SAME(CBD_STATE_STARTING, CBD_SLOT_STARTING);
SAME(CBD_STATE_LIVE, CBD_SLOT_LIVE);
SAME(CBD_STATE_DRAINING, CBD_SLOT_DRAINING);
SAME(CBD_STATE_HANDOVER, CBD_SLOT_HANDOVER);
SAME(CBD_STATE_GONE, CBD_SLOT_GONE);
SAME(CBD_STATE_ABANDONED, CBD_SLOT_ABANDONED);
SAME(CBD_CHANNEL_STATE_FREE, CBD_GRANT_FREE);
SAME(CBD_CHANNEL_STATE_GRANTED, CBD_GRANT_GRANTED);
SAME(CBD_CHANNEL_STATE_LEAVING, CBD_GRANT_LEAVING);
SAME(CBD_CHANNEL_STATE_QUARANTINED, CBD_GRANT_QUARANTINED);
SAME(CBD_CHANNEL_STATE_CLOSED, CBD_GRANT_CLOSED);
SAME(CBD_LATENCY_READ, 0); /* the order of the format */
SAME(CBD_LATENCY_WRITE, 1);
SAME(CBD_LATENCY_OTHER, CBD_LATENCIES - 1);
_Static_assert(CBD_NAME_SIZE > CBD_NAME_LINES * CBD_TEXT_SIZE, "a name has room");
_Static_assert(CBD_PATH_SIZE > CBD_PATH_LINES * CBD_TEXT_SIZE, "a path has room");
_Static_assert(sizeof(((struct cbd_transport_info *)0)->label) == CBD_LABEL_SIZE,
	       "a label has room");

static bool is_zero(const char *p, size_t length)
{
	return length == 0 || (*p == 0 && memcmp(p, p + 1, length - 1) == 0);
}

int cbd_sized_get(void *to, size_t known, const void *from, size_t size, const char *name)
{
	size_t common = !from ? 0 : size < known ? size : known;

	if (from && size > known && !is_zero((const char *)from + known, size - known))
		return cbd_error(
			E2BIG, "struct %s: asks for what this version of libcbd (%s) does not know",
			name, CBD_VERSION_STRING);
	memset(to, 0, known);
	if (common)
		memcpy(to, from, common);
	return 0;
}

void cbd_sized_put(void *to, size_t size, const void *from, size_t known)
{
	size_t common = size < known ? size : known;

	memcpy(to, from, common);
	memset((char *)to + common, 0, size - common);
}

int cbd_reserved_error(const char *name)
{
	return cbd_error(EINVAL, "struct %s: a reserved member is not zero", name);
}

int cbd_reserved_check(const void *p, size_t length, const char *name)
{
	return is_zero(p, length) ? 0 : cbd_reserved_error(name);
}
