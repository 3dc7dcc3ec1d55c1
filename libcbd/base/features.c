/* SPDX-License-Identifier: BSD-3-Clause */
/* features.c - see features.h. */
#include <config.h>

#include "base/features.h"

#ifdef CBD_TEST_HOOKS

#include <stdlib.h>

uint32_t cbd_features_known(void)
{
	const char *mask = getenv("CBD_TEST_FEATURES");

	return mask ? CBD_FEATURES_KNOWN & (uint32_t)strtoul(mask, NULL, 0) : CBD_FEATURES_KNOWN;
}

#endif
