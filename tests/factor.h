/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * factor.h - how much longer than an idle machine this one may need: every bound of a
 * test is multiplied by it.  tests/factor.sh is the same for scripts, and says more.
 */
#ifndef CBD_TEST_FACTOR_H
#define CBD_TEST_FACTOR_H

#include <stdlib.h>
#include <unistd.h>

static inline unsigned test_factor(void)
{
	const char *given = getenv("CBD_TEST_FACTOR");
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	double load[2];

	if (given)
		return (unsigned)strtoul(given, NULL, 10);
	if (cpus < 1 || getloadavg(load, 2) != 2)
		return 4;
	return 4 + (unsigned)((load[0] > load[1] ? load[0] : load[1]) / (double)cpus);
}

#endif
