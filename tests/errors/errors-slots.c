/* SPDX-License-Identifier: BSD-3-Clause */
/* Slots that the transport has not: read, joined, cleared. */
#include <limits.h>

#include "errors.h"

static struct cbd_transport *t;

static const unsigned far_away[] = { 64, 256, 65536, 1u << 31, UINT_MAX };

static void get(unsigned hosts, unsigned backends, unsigned blkdevs, unsigned channels)
{
	struct cbd_host_info host;
	struct cbd_backend_info backend;
	struct cbd_blkdev_info blkdev;
	struct cbd_channel_info channel;

	fails(cbd_host_get(t, hosts, &host, sizeof(host)), EINVAL, "the transport has 0..3");
	fails(cbd_backend_get(t, backends, &backend, sizeof(backend)), EINVAL,
	      "the transport has 0..1");
	fails(cbd_blkdev_get(t, blkdevs, &blkdev, sizeof(blkdev)), EINVAL,
	      "the transport has 0..3");
	fails(cbd_channel_get(t, backends, 0, &channel, sizeof(channel)), EINVAL,
	      "the transport has 0..1");
	fails(cbd_channel_get(t, 0, channels, &channel, sizeof(channel)), EINVAL,
	      "the transport has 0..1");
}

static void clear(unsigned hosts, unsigned backends, unsigned blkdevs)
{
	struct cbd_clear_options o = { .hosts_gone = 0 };

	fails(cbd_clear(t, CBD_OBJECT_HOST, hosts, &o, sizeof(o)), EINVAL,
	      "the transport has 0..3");
	fails(cbd_clear(t, CBD_OBJECT_BACKEND, backends, &o, sizeof(o)), EINVAL,
	      "the transport has 0..1");
	fails(cbd_clear(t, CBD_OBJECT_BLKDEV, blkdevs, &o, sizeof(o)), EINVAL,
	      "the transport has 0..3");
	fails(cbd_clear(t, (enum cbd_object)3, 0, &o, sizeof(o)), EINVAL, "cannot clear that");
	o.hosts_gone = 1u << 4;
	fails(cbd_clear(t, CBD_OBJECT_BACKEND, 0, &o, sizeof(o)), EINVAL,
	      "the transport has hosts 0..3");
}

int main(void)
{
	struct cbd_clear_options o = { .hosts_gone = 0 };

	errors_start();
	t = errors_open(errors_format(), 0);
	get(4, 2, 4, 2);
	clear(4, 2, 4);
	for (size_t i = 0; i < sizeof(far_away) / sizeof(far_away[0]); i++) {
		get(far_away[i], far_away[i], far_away[i], far_away[i]);
		clear(far_away[i], far_away[i], far_away[i]);
	}
	fails(cbd_clear(t, CBD_OBJECT_HOST, 0, &o, sizeof(o)), ENOENT, "is not in use");
	fails(cbd_transport_join_as(t, 4), EINVAL, "the transport has 0..3");
	fails(cbd_transport_join_as(t, INT_MAX), EINVAL, "the transport has 0..3");
	holds(works(cbd_transport_join_as(t, 2)) == 2);
	fails(cbd_transport_join_as(t, 1), EINVAL, "joined as host 2 already");
	cbd_transport_close(t);
	return 0;
}
