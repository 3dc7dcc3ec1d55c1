/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * event-loop.c TRANSPORT BACKEND - a disk beside other things to wait for: writes each
 * line of standard input to the next block of a disk, in an event loop on libev.
 *
 * libev tells when there is input, and when the queue has something to reap.  What a
 * callback for the queue does is always the same: poll until nothing is there, and arm
 * (libcbd(3), "Event loops").
 *
 * cc event-loop.c $(pkg-config --cflags --libs cbd) -lev	(libev-dev)
 */
#include <cbd.h>

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 512
#define MOST 64 /* lines under way */

struct program {
	struct cbd_queue *q;
	ev_io input, answers;
	char line[BLOCK]; /* what has been read of the next one */
	size_t length;
	uint64_t next, size; /* bytes of the disk */
	unsigned inside, written;
	bool ended;
};

static int check(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "event-loop: %s: %s\n", what, cbd_errmsg());
		exit(EXIT_FAILURE);
	}
	return r;
}

/* --------------------------------------------------------------- the disk */

static void write_line(struct program *p)
{
	struct cbd_io io = { .op = CBD_OP_WRITE, .offset = p->next, .length = BLOCK };
	char *copy = calloc(1, BLOCK); /* stays as it is until the write is complete */

	if (!copy || p->next + BLOCK > p->size) {
		fprintf(stderr, "event-loop: no room for this line\n");
		exit(EXIT_FAILURE);
	}
	memcpy(copy, p->line, p->length);
	io.buf = io.cookie = copy;
	check(cbd_queue_submit(p->q, &io, 1), "write");
	p->next += BLOCK;
	p->length = 0;
	p->inside++;
}

static void end_if_done(struct program *p, struct ev_loop *loop)
{
	if (p->ended && p->inside == 0)
		ev_break(loop, EVBREAK_ALL);
}

static void reap(struct program *p)
{
	struct cbd_completion done[16];
	int n;

	while ((n = check(cbd_queue_poll(p->q, done, 0, 16, 0), "poll")) > 0) {
		for (int i = 0; i < n; i++) {
			if (done[i].result < 0) {
				fprintf(stderr, "event-loop: write: %s\n", done[i].message);
				exit(EXIT_FAILURE);
			}
			free(done[i].cookie);
		}
		p->inside -= (unsigned)n;
		p->written += (unsigned)n;
	}
}

static void on_answers(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct program *p = watcher->data;

	(void)events;
	do
		reap(p);
	while (check(cbd_queue_arm(p->q), "arm") > 0);
	if (p->inside < MOST && !p->ended)
		ev_io_start(loop, &p->input);
	end_if_done(p, loop);
}

/* -------------------------------------------------------------- the input */

static void take_input(struct program *p, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (p->length < BLOCK)
			p->line[p->length++] = text[i];
		if (text[i] == '\n')
			write_line(p);
	}
}

static void on_input(struct ev_loop *loop, ev_io *watcher, int events)
{
	struct program *p = watcher->data;
	char text[64];
	ssize_t n = read(STDIN_FILENO, text, sizeof(text));

	(void)events;
	if (n > 0)
		take_input(p, text, (size_t)n);
	else
		p->ended = true;
	/* what was submitted here needs no arm: nothing has polled since the last one */
	if (p->ended || p->inside >= MOST)
		ev_io_stop(loop, watcher);
	end_if_done(p, loop);
}

int main(int argc, char **argv)
{
	static struct program p;
	struct cbd_blkdev_options options = { 0 };
	struct cbd_blkdev_geometry geometry;
	struct ev_loop *loop = ev_default_loop(EVFLAG_AUTO);
	struct cbd_transport *t;
	struct cbd_blkdev *b;

	if (argc != 3 || !loop) {
		fprintf(stderr, "usage: event-loop TRANSPORT BACKEND\n");
		return 2;
	}
	options.backend = argv[2];
	check(cbd_transport_open(argv[1], 0, &t), "open");
	check(cbd_blkdev_open(t, &options, sizeof(options), &b), "attach");
	check(cbd_blkdev_start(b), "start");
	cbd_blkdev_geometry(b, &geometry, sizeof(geometry));
	p.size = geometry.size;
	p.q = cbd_blkdev_queue(b, 0);

	ev_io_init(&p.input, on_input, STDIN_FILENO, EV_READ);
	ev_io_init(&p.answers, on_answers, check(cbd_queue_fd(p.q), "descriptor"), EV_READ);
	p.input.data = p.answers.data = &p;
	ev_io_start(loop, &p.input);
	ev_io_start(loop, &p.answers);
	ev_feed_event(loop, &p.answers, EV_READ); /* it arms for the first time */
	ev_run(loop, 0);

	check(cbd_queue_flush(p.q), "flush");
	printf("%u lines\n", p.written);
	cbd_blkdev_close(b);
	cbd_transport_close(t);
	return EXIT_SUCCESS;
}
