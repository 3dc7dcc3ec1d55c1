/* SPDX-License-Identifier: BSD-3-Clause */
/* A backend with an id, a number of handlers or a name that the transport has not. */
#include <stdint.h>
#include <string.h>

#include <limits.h>

#include "errors.h"

static struct cbd_transport *t;
static struct cbd_backend *b;

static int open_with(const struct cbd_backend_options *o)
{
	return cbd_backend_open(t, o, sizeof(*o), &b);
}

static void refuse(struct cbd_backend_options o, const char *text)
{
	if (!o.handlers)
		o.handlers = 1;
	fails(open_with(&o), EINVAL, text);
}

static void ids(void)
{
	/* one beyond the end, far away, and those that are negative as an int */
	for (unsigned id = 2; id != 0; id = id < 1u << 30    ? id * 1000 + 1
					    : id == UINT_MAX ? 0
							     : UINT_MAX)
		refuse((struct cbd_backend_options){ .id = id }, "the transport has 0..1");
}

static void numbers(void)
{
	char name[100];

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	refuse((struct cbd_backend_options){ .handlers = 3 },
	       "handlers: 3 is more than the 2 channels");
	refuse((struct cbd_backend_options){ .handlers = UINT_MAX }, "handlers: ");
	refuse((struct cbd_backend_options){ .max_blkdevs = 5 }, "max_blkdevs: 5");
	refuse((struct cbd_backend_options){ .name = name }, "name: longer than");
	refuse((struct cbd_backend_options){ .poll = 3 }, "poll: 3");
	refuse((struct cbd_backend_options){ .fenced_hosts = 1u << 4 },
	       "the transport has hosts 0..3");
}

int main(void)
{
	struct cbd_takeover *takeover;
	struct cbd_backend_options o = { .handlers = 1 };

	errors_start();
	t = errors_open(errors_format(), 0);
	ids();
	numbers();
	fails(cbd_takeover_begin(t, 2, 0, &takeover), EINVAL, "the transport has 0..1");
	fails(cbd_takeover_begin(t, UINT_MAX, 0, &takeover), EINVAL, "the transport has 0..1");

	/* refused, it has taken nothing */
	o.id = 1;
	works(open_with(&o));
	holds(cbd_backend_handler(b, 1) == NULL);
	holds(cbd_backend_handler(b, UINT_MAX) == NULL);
	cbd_backend_close(b);
	cbd_transport_close(t);
	return 0;
}
