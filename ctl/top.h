/* SPDX-License-Identifier: BSD-3-Clause */
/* top.h - what the files of cbdctl top share. */
#ifndef CBD_CTL_TOP_H
#define CBD_CTL_TOP_H

#include "sample.h"

struct top {
	const char *path;
	struct cbd_transport *t;
	unsigned interval_s;
	enum sort_key sort;
	bool once, json;
};

/* top-text.c: the heading, and a row, of up to TOP_LINE bytes. */
#define TOP_LINE 512
void top_heading(char line[TOP_LINE]);
void top_line(const struct top *top, const struct row *r, char line[TOP_LINE]);

/* One line of JSON; an exit status. */
int top_print_json(const struct top *top, const struct rows *rows);

/* top-screen.c: live, until the user ends it; an exit status. */
int top_screen(struct top *top);

#endif
