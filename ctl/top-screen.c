/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * top-screen.c - cbdctl top on a terminal: draws, and obeys keys.
 *
 * Heartbeats are watched by a thread, which a screen cannot wait for; this one reads
 * samples and draws.
 */
#include <config.h>

#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <curses.h>

#include "../common/thread.h"
#include "top.h"

/* ------------------------------------------------------------------- watch */

static void *watch(void *arg)
{
	struct top *top = arg;
	struct timespec second = { .tv_sec = 1 };

	/* without an end: the process ends with it */
	for (;;)
		if (cbd_transport_watch(top->t) < 0)
			nanosleep(&second, NULL);
	return NULL;
}

/* Heartbeats are watched again and again, for the rest of the process. */
static bool start_watch(struct top *top)
{
	pthread_t thread;
	int error = thread_create(&thread, watch, top);

	if (error < 0)
		complain("watching heartbeats: %s", strerror(-error));
	return error == 0;
}

/* -------------------------------------------------------------------- draw */

struct screen {
	struct top *top;
	struct sample *now, *before;
	struct rows rows;
	bool channels;
	unsigned first; /* row at the top */
};

static unsigned shown(const struct screen *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->rows.n; i++)
		n += s->channels || s->rows.row[i].kind != ROW_CHANNEL;
	return n;
}

static void draw_line(int y, const char *line, int attributes)
{
	if (y >= LINES)
		return;
	attron(attributes);
	mvaddnstr(y, 0, line, -1);
	attroff(attributes);
}

static void draw_head(const struct screen *s)
{
	char line[TOP_LINE], time_text[16], size[SHORT];
	time_t now = time(NULL);
	struct tm tm;

	if (!localtime_r(&now, &tm) || strftime(time_text, sizeof time_text, "%H:%M:%S", &tm) == 0)
		time_text[0] = '\0';
	snprintf(line, sizeof line, "%.200s  %s  %s  every %u s, by %s", s->top->path,
		 short_bytes((double)s->now->info.size, size), time_text, s->top->interval_s,
		 sort_key_name(s->top->sort));
	draw_line(0, line, A_BOLD);
	snprintf(line, sizeof line, "%u of %u hosts alive   q: end  s: sort  c: channels",
		 s->now->hosts_alive, s->now->hosts_used);
	draw_line(1, line, A_NORMAL);
	top_heading(line);
	draw_line(3, line, A_REVERSE);
}

static int attributes_of(const struct row *r)
{
	return r->owner.liveness == CBD_SUSPECT || r->owner.liveness == CBD_DEAD ? A_BOLD
										 : A_NORMAL;
}

static void draw(struct screen *s)
{
	unsigned n = shown(s), skip;
	char line[TOP_LINE];
	int y = 4;

	if (s->first >= n)
		s->first = n > 0 ? n - 1 : 0;
	skip = s->first;
	erase();
	draw_head(s);
	for (unsigned i = 0; i < s->rows.n && y < LINES; i++) {
		const struct row *r = &s->rows.row[i];

		if (r->kind == ROW_CHANNEL && !s->channels)
			continue;
		if (skip > 0) {
			skip--;
			continue;
		}
		top_line(s->top, r, line);
		draw_line(y++, line, attributes_of(r));
	}
	if (n == 0)
		draw_line(4, "no backend and no blkdev", A_NORMAL);
	refresh();
}

/* The last sample becomes the one before. */
static bool look(struct screen *s)
{
	struct sample *now = sample_take(s->top->t, false, false);

	if (!now)
		return false;
	free(s->rows.row);
	sample_free(s->before);
	s->before = s->now;
	s->now = now;
	s->rows.row = NULL;
	if (!rows_make(&s->rows, s->now, s->before, false))
		return false;
	rows_sort(&s->rows, s->top->sort);
	return true;
}

/* False: the user ends it. */
static bool obey(struct screen *s, int key)
{
	switch (key) {
	case 'q':
	case 'Q':
		return false;
	case 's':
		s->top->sort = (s->top->sort + 1) % SORTS;
		rows_sort(&s->rows, s->top->sort);
		break;
	case 'c':
		s->channels = !s->channels;
		break;
	case KEY_UP:
		s->first -= s->first > 0;
		break;
	case KEY_DOWN:
		s->first++;
		break;
	case KEY_PPAGE:
		s->first = s->first > 10 ? s->first - 10 : 0;
		break;
	case KEY_NPAGE:
		s->first += 10;
		break;
	default:
		break;
	}
	return true;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Then getch() returns at once, again and again. */
static bool terminal_is_gone(void)
{
	struct pollfd fd = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLHUP | POLLERR | POLLNVAL));
}

/* False: a sample could not be taken, which was told, or the terminal is gone. */
static bool run(struct screen *s)
{
	bool ended = false;

	while (!ended) {
		uint64_t due = now_ms() + s->top->interval_s * 1000ull, now;

		if (!look(s))
			return false;
		draw(s);
		while (!ended && (now = now_ms()) < due) {
			int key;

			timeout((int)(due - now));
			key = getch();
			if (key == ERR && terminal_is_gone())
				return false;
			if (key == ERR)
				continue; /* the time is over, or a signal came */
			ended = !obey(s, key);
			draw(s);
		}
	}
	return true;
}

/* newterm() is content with less, and then what is drawn is one long line. */
static bool can_move_cursor(void)
{
	const char *sequence = tigetstr("cup");

	return sequence && sequence != (const char *)-1;
}

int top_screen(struct top *top)
{
	struct screen s = { .top = top, .channels = true };
	SCREEN *terminal;
	bool good;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		complain("top: not on a terminal; --once and --json need none");
		return EXIT_FAILURE;
	}
	setlocale(LC_CTYPE, "");
	if (!start_watch(top))
		return EXIT_FAILURE;
	terminal = newterm(NULL, stdout, stdin);
	if (terminal && !can_move_cursor()) {
		endwin();
		delscreen(terminal);
		terminal = NULL;
	}
	if (!terminal) {
		complain("top: this terminal (TERM=%s) cannot be used; --once and --json need none",
			 getenv("TERM") ? getenv("TERM") : "");
		return EXIT_FAILURE;
	}
	set_term(terminal);
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	good = run(&s);
	endwin();
	delscreen(terminal);
	free(s.rows.row);
	sample_free(s.before);
	sample_free(s.now);
	/* the transport stays: the other thread watches it */
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
