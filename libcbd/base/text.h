/* SPDX-License-Identifier: BSD-3-Clause */
/* text.h - text that other processes have written, for people. */
#ifndef CBD_TEXT_H
#define CBD_TEXT_H

/* Of text that another process has written: each character that is not printable in
 * ASCII, or a letter, digit or punctuation of UTF-8, becomes '?'.  What comes out is
 * never longer, and safe on a terminal. */
void cbd_text_make_printable(char *text);

#endif
