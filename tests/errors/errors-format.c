/* SPDX-License-Identifier: BSD-3-Clause */
/* A geometry that no transport can have; what was there before is still there. */
#include <string.h>
#include <sys/mman.h>

#include "errors.h"

static const char *path;

static void refuse(struct cbd_format_options o, int error, const char *text)
{
	if (!o.size)
		o.size = 8u << 20;
	o.force = 2;
	if (!o.backends)
		o.backends = 1;
	if (!o.channels)
		o.channels = 2;
	fails(cbd_format(path, &o, sizeof(o)), error, text);
}

static void numbers(void)
{
	static const uint32_t odd[] = { 3, 5, 24, 127, 1000, 1u << 31, UINT32_MAX };

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		refuse((struct cbd_format_options){ .depth = odd[i] }, EINVAL, "depth: ");
	refuse((struct cbd_format_options){ .hosts = 65 }, EINVAL, "hosts: 65 is not in 1..64");
	refuse((struct cbd_format_options){ .backends = 65 }, EINVAL, "backends: 65");
	refuse((struct cbd_format_options){ .blkdevs = 257 }, EINVAL, "blkdevs: 257");
	refuse((struct cbd_format_options){ .channels = 257 }, EINVAL, "channels: 257");
	refuse((struct cbd_format_options){ .channels = UINT32_MAX }, EINVAL, "channels: ");
	refuse((struct cbd_format_options){ .heartbeat_ms = 60001 }, EINVAL, "heartbeat: 60001");
	refuse((struct cbd_format_options){ .dead_after = 1 }, EINVAL, "dead-after: 1");
	refuse((struct cbd_format_options){ .dead_after = 1001 }, EINVAL, "dead-after: 1001");
	refuse((struct cbd_format_options){ .coherence = 3 }, EINVAL, "coherence 3");
}

static void sizes(void)
{
	static const uint32_t bad[] = { 1, 4095, 4096, (1u << 20) + 1, UINT32_MAX };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse((struct cbd_format_options){ .channel_size = bad[i] }, EINVAL,
		       "channel-size: ");
	refuse((struct cbd_format_options){ .size = 1 }, ENOSPC, "too small");
	refuse((struct cbd_format_options){ .size = 1u << 20 }, ENOSPC, "too small");
}

int main(void)
{
	struct cbd_format_options o = { .size = 8u << 20 };
	struct cbd_transport_info before, after;
	struct cbd_transport *t;
	char label[65];

	errors_start();
	path = errors_format();
	t = errors_open(path, CBD_TRANSPORT_READ_ONLY);
	works(cbd_transport_get(t, &before, sizeof(before)));
	cbd_transport_close(t);

	numbers();
	sizes();
	memset(label, 'x', sizeof(label) - 1);
	label[sizeof(label) - 1] = 0;
	refuse((struct cbd_format_options){ .label = label }, EINVAL, "label: longer than 63");
	fails(cbd_format(path, &o, sizeof(o)), EEXIST, "is a cbd transport already");
	fails(cbd_format("/", &o, sizeof(o)), EISDIR, "/");
	fails(cbd_format("", &o, sizeof(o)), ENOENT, "No such file");
	fails(cbd_format("/dev/null", &o, sizeof(o)), ENODEV, "not a devdax one");
	fails(cbd_transport_open(path, 2, &t), EINVAL, "flags");
	fails(cbd_transport_open("", 0, &t), ENOENT, "No such file");
	fails(cbd_transport_open(errors_file(0), 0, &t), ENOMEDIUM, "too small");

	t = errors_open(path, 0);
	works(cbd_transport_get(t, &after, sizeof(after)));
	holds(memcmp(&before, &after, sizeof(before)) == 0);
	cbd_transport_close(t);
	return 0;
}
