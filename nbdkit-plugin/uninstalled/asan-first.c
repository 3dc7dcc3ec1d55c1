/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * asan-first.c - starts AddressSanitizer before anything else, in an nbdkit that
 * was built without it.
 *
 * Its runtime starts at the first malloc().  In Debian 12's nbdkit that is one
 * of the constructor of libp11-kit, inside newlocale(), with glibc's locale lock
 * taken; and as it starts, the runtime asks for a symbol that is not there, and
 * dlerror() takes the same lock to translate the message, fails, and gives it
 * back: after that the lock is broken, and the freelocale() of libp11-kit's
 * destructor waits for ever, once a message with %m has been printed.  The
 * loader calls the constructor of a library with DF_1_INITFIRST before all
 * others.
 */
#include <stdlib.h>

__attribute__((constructor)) static void start_first(void)
{
	void *volatile p = malloc(1);

	free(p);
}
