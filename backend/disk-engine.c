/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * disk-engine.c - the list of disk engines, and which one "auto" is.
 */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "disk.h"
#include "../common/log.h"

/* In the order of preference. */
static const struct disk_engine *const engines[] = { &disk_uring, &disk_psync, &disk_mmap,
						     &disk_nbd };

#define ENGINES (sizeof(engines) / sizeof(engines[0]))

static int engine_probe(const struct disk_engine *engine)
{
	return engine->probe == NULL ? 0 : engine->probe();
}

static const struct disk_engine *engine_auto(void)
{
	for (size_t i = 0; i < ENGINES; i++) {
		int err = engine_probe(engines[i]);

		if (err == 0)
			return engines[i];
		log_info("engine %s: not available: %s", engines[i]->name, strerror(-err));
	}
	return NULL;
}

/* On a disk that is memory the engine mmap copies instead of calling the kernel: several
 * times as many requests. */
const struct disk_engine *disk_engine_best(const struct disk *d, const struct disk_engine *engine)
{
	int err = disk_is_memory(d) ? disk_map_error(d) : -ENOTSUP;

	if (d->nbd != NULL)
		return &disk_nbd;
	if (err < 0 && err != -ENOTSUP)
		log_info("engine mmap: %s cannot be mapped: %s; engine %s serves it", d->name,
			 strerror(-err), engine->name);
	return err == 0 ? &disk_mmap : engine;
}

int disk_engine_check(const struct disk *d, const struct disk_engine *engine)
{
	if (d->nbd != NULL && engine != &disk_nbd)
		log_error("engine %s: %s: an NBD URI is served by the engine nbd", engine->name,
			  d->name);
	else if (d->devdax && engine != &disk_mmap)
		log_error("engine %s: %s: a devdax device is served by the engine mmap",
			  engine->name, d->name);
	else
		return engine->check == NULL ? 0 : engine->check(d);
	return -1;
}

const struct disk_engine *disk_engine_find(const char *name)
{
	if (strcmp(name, "auto") == 0)
		return engine_auto();
	for (size_t i = 0; i < ENGINES; i++) {
		int err;

		if (strcmp(name, engines[i]->name) != 0)
			continue;
		err = engine_probe(engines[i]);
		if (err == 0)
			return engines[i];
		log_error("engine %s: not available: %s", name, strerror(-err));
		return NULL;
	}
	log_error("engine %s: there is no such engine", name);
	return NULL;
}
