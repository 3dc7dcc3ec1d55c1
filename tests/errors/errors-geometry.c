/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk whose geometry is impossible: blocks that are no powers of two or of no size,
 * a size that is no number of blocks; and one that is published twice. */
#include <stdint.h>

#include "errors.h"

static struct cbd_backend *b;

static const struct cbd_disk_geometry good = {
	.size = 1u << 20,
	.logical_block = 512,
	.physical_block = 4096,
	.optimal_block = 4096,
};

static void blocks(void)
{
	static const uint32_t bad[] = { 1, 256, 513, 3 * 512, 4095, 3u << 30, UINT32_MAX };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct cbd_disk_geometry g = good;

		g.logical_block = bad[i];
		fails(cbd_backend_publish(b, &g, sizeof(g)), EINVAL, "logical block");
		g = good;
		g.physical_block = bad[i];
		fails(cbd_backend_publish(b, &g, sizeof(g)), EINVAL, "physical block");
		g = good;
		g.optimal_block = bad[i];
		fails(cbd_backend_publish(b, &g, sizeof(g)), EINVAL, "optimal block");
	}
}

static void sizes(void)
{
	static const uint64_t bad[] = { 0, 511, 513, (1u << 20) - 1, UINT64_MAX, 1ull << 63 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct cbd_disk_geometry g = good;

		g.size = bad[i];
		fails(cbd_backend_publish(b, &g, sizeof(g)), EINVAL, "disk size");
	}
}

int main(void)
{
	struct cbd_backend_options o = { .handlers = 1 };
	struct cbd_disk_geometry g = good;
	struct cbd_transport *t;

	errors_start();
	t = errors_open(errors_format(), 0);
	works(cbd_backend_open(t, &o, sizeof(o), &b));
	blocks();
	sizes();
	g.verifier = 1;
	fails(cbd_backend_publish(b, &g, sizeof(g)), EINVAL, "verifier");
	fails(cbd_backend_publish(b, NULL, 0), EINVAL, "disk size 0");

	works(cbd_backend_publish(b, &good, sizeof(good)));
	fails(cbd_backend_publish(b, &good, sizeof(good)), EINVAL, "published already");
	works(cbd_backend_tick(b));
	cbd_backend_close(b);
	cbd_transport_close(t);
	return 0;
}
