/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * features.h - the features (CBD_FEATURE_*) that this side offers its peers.
 */
#ifndef CBD_FEATURES_H
#define CBD_FEATURES_H

#include <cbd-format.h>

/*
 * All that this version knows; in builds with --enable-debug only those of the mask
 * CBD_TEST_FEATURES in the environment, if that is set: a peer of an earlier version.
 */
#ifdef CBD_TEST_HOOKS
uint32_t cbd_features_known(void);
#else
static inline uint32_t cbd_features_known(void)
{
	return CBD_FEATURES_KNOWN;
}
#endif

#endif
