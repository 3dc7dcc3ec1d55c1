/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * liar.c - the program: liar [-s SEED] [-d DISK] MODE TRANSPORT BACKEND.
 *
 * Lies until it is killed.  Says "ready" on stdout when it has begun.  "liar -l client"
 * and "liar -l backend" list the modes of each side.  The modes are in liar-client.c
 * and liar-backend.c.
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "liar.h"

/* splitmix64 */
uint64_t liar_random(struct liar *l)
{
	uint64_t x = l->random += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

uint64_t liar_below(struct liar *l, uint64_t n)
{
	return liar_random(l) % n;
}

void liar_check(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "liar: %s: %s\n", what, cbd_errmsg());
	exit(1);
}

static const struct liar_mode *find(const struct liar_mode *m, const char *name)
{
	for (; m->name; m++)
		if (strcmp(m->name, name) == 0)
			return m;
	return NULL;
}

static int list(const char *side)
{
	const struct liar_mode *m = strcmp(side, "client") == 0 ? liar_client_modes
								: liar_backend_modes;

	for (; m->name; m++)
		printf("%s %s\n", m->name, m->large ? "large" : "small");
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: liar [-s SEED] [-d DISK] MODE TRANSPORT BACKEND\n"
			"       liar -l client|backend\n");
	return 2;
}

static void run(struct liar *l, const char *name, const char *disk)
{
	const struct liar_mode *client = find(liar_client_modes, name);
	const struct liar_mode *mode = client ? client : find(liar_backend_modes, name);

	if (!mode)
		exit(usage());
	if (client && !liar_attach(l, client))
		liar_check(-1, "attach");
	if (!client && !disk)
		exit(usage());
	if (!client)
		liar_serve(l, disk);
	printf("ready\n");
	fflush(stdout);
	for (;; l->lies++)
		mode->step(l);
}

int main(int argc, char **argv)
{
	static struct liar l = { .disk = -1 };
	const char *disk = NULL;
	int option;

	l.random = (uint64_t)time(NULL);
	while ((option = getopt(argc, argv, "d:l:s:")) != -1) {
		if (option == 'l')
			return list(optarg);
		else if (option == 's')
			l.random = strtoull(optarg, NULL, 0);
		else if (option == 'd')
			disk = optarg;
		else
			return usage();
	}
	if (argc - optind != 3)
		return usage();
	l.target = argv[optind + 2];
	liar_check(cbd_transport_open(argv[optind + 1], 0, &l.t), "open");
	run(&l, argv[optind], disk);
}
