/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client.cc TRANSPORT BACKEND - a C++ program with the library as it is installed:
 * lists the transport, writes 1 MiB and reads it back.  Built by test-install.sh.
 */
#include <cbd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

static int check(int r, const char *what)
{
	if (r < 0) {
		std::fprintf(stderr, "client: %s: %s\n", what, cbd_errmsg());
		std::exit(EXIT_FAILURE);
	}
	return r;
}

static void count(cbd_transport *t)
{
	cbd_counters c;
	int r = cbd_counters_get(t, CBD_OBJECT_BACKEND, 0, &c, sizeof(c));

	if (r == 0)
		std::printf("%llu writes\n",
			    static_cast<unsigned long long>(c.ops[CBD_OP_WRITE].requests));
	else if (r != -ENODATA)
		check(r, "counters");
}

static void list(cbd_transport *t)
{
	cbd_transport_info transport;

	check(cbd_transport_get(t, &transport, sizeof(transport)), "info");
	check(cbd_transport_watch(t), "watch");
	for (unsigned i = 0; i < transport.backends; i++) {
		cbd_backend_info info;

		check(cbd_backend_get(t, i, &info, sizeof(info)), "list");
		if (info.liveness == CBD_ALIVE)
			std::printf("backend %u: %llu bytes\n", i,
				    static_cast<unsigned long long>(info.size));
	}
}

int main(int argc, char **argv)
{
	std::vector<char> out(1 << 20, 'c'), in(out.size());
	cbd_blkdev_options options = {};
	cbd_transport *t;
	cbd_blkdev *b;

	if (argc != 3)
		return 2;
	check(cbd_transport_open(argv[1], 0, &t), "open");
	list(t);
	count(t);
	options.backend = argv[2];
	check(cbd_blkdev_open(t, &options, sizeof(options), &b), "attach");
	check(cbd_blkdev_start(b), "start");
	cbd_queue *q = cbd_blkdev_queue(b, 0);
	check(cbd_queue_write(q, out.data(), out.size(), 4096, CBD_IO_FUA), "write");
	check(cbd_queue_read(q, in.data(), in.size(), 4096), "read");
	std::puts(in == out ? "same" : "different");
	cbd_blkdev_close(b);
	cbd_transport_close(t);
	return in == out ? EXIT_SUCCESS : EXIT_FAILURE;
}
