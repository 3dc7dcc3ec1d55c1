/* SPDX-License-Identifier: BSD-3-Clause */
/* foreign.c - see foreign.h. */
#include <config.h>

#include <blkid/blkid.h>
#include <errno.h>

#include "error.h"
#include "foreign.h"

static const char *name_of(blkid_probe probe)
{
	const char *name;

	if (blkid_probe_lookup_value(probe, "TYPE", &name, NULL) == 0 ||
	    blkid_probe_lookup_value(probe, "PTTYPE", &name, NULL) == 0)
		return name;
	return "unknown";
}

/* What cannot be probed is as good as not recognized: format finds out itself
 * when it cannot read the file. */
int cbd_foreign_check(const char *path, int fd)
{
	blkid_probe probe = blkid_new_probe();
	int r = 0;

	if (!probe)
		return cbd_error(ENOMEM, "%s: %m", path);
	if (blkid_probe_set_device(probe, fd, 0, 0) == 0) {
		blkid_probe_enable_superblocks(probe, 1);
		blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE);
		blkid_probe_enable_partitions(probe, 1);
		switch (blkid_do_safeprobe(probe)) {
		case 0:
			r = cbd_error(EEXIST, "%s: holds data (%s); --force formats it", path,
				      name_of(probe));
			break;
		case -2:
			r = cbd_error(EEXIST,
				      "%s: holds data (of several kinds); --force formats it",
				      path);
			break;
		default:
			break;
		}
	}
	blkid_free_probe(probe);
	return r;
}
