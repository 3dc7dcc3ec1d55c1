/* SPDX-License-Identifier: BSD-3-Clause */
/* bytes.c - see bytes.h. */
#include <config.h>

#include <string.h>
#include <sys/random.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "base/clock.h"

bool cbd_is_zero(const void *p, size_t len)
{
	const char *c = p;

	return len == 0 || (*c == 0 && memcmp(c, c + 1, len - 1) == 0);
}

void cbd_random(void *p, size_t len)
{
	/* getrandom(2) never returns less than asked for up to 256 bytes; where it
	 * fails (an old kernel, a seccomp filter) the clock seeds a generator */
	if (getrandom(p, len, 0) != (ssize_t)len) {
		uint64_t x = cbd_now_ns() * 0x9e3779b97f4a7c15ull;

		for (size_t i = 0; i < len; i++, x = x * 6364136223846793005ull + 1)
			((uint8_t *)p)[i] = x >> 56;
	}
}
