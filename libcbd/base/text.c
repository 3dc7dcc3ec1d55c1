/* SPDX-License-Identifier: BSD-3-Clause */
/* text.c - see text.h. */
#include <config.h>

#include <locale.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <wctype.h>

#include "base/text.h"

/* Length of the valid UTF-8 sequence at S (RFC 3629); 0: none. */
static size_t utf8_length(const unsigned char *s)
{
	size_t n = *s < 0x80		     ? 1
		   : *s >= 0xc2 && *s < 0xe0 ? 2
		   : *s >= 0xe0 && *s < 0xf0 ? 3
		   : *s >= 0xf0 && *s < 0xf5 ? 4
					     : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* The character of a valid sequence of N bytes. */
static uint32_t utf8_decode(const unsigned char *s, size_t n)
{
	uint32_t c = n == 1 ? *s : *s & (0x7fu >> n);

	for (size_t i = 1; i < n; i++)
		c = c << 6 | (s[i] & 0x3fu);
	return c;
}

/* Characters that are not seen but change how others are: separators of lines, directions
 * of writing, joiners, tags and the like (category Cf of Unicode, Zl, Zp), and private ones.
 * The C library takes most of them for punctuation. */
static bool is_format(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {
		{ 0x80, 0xa0 },	      { 0xad, 0xad },	    { 0x34f, 0x34f },
		{ 0x600, 0x605 },     { 0x61c, 0x61c },	    { 0x6dd, 0x6dd },
		{ 0x70f, 0x70f },     { 0x890, 0x891 },	    { 0x8e2, 0x8e2 },
		{ 0x115f, 0x1160 },   { 0x17b4, 0x17b5 },   { 0x180b, 0x180f },
		{ 0x200b, 0x200f },   { 0x2028, 0x202f },   { 0x205f, 0x206f },
		{ 0x3164, 0x3164 },   { 0xd800, 0xf8ff },   { 0xfe00, 0xfe0f },
		{ 0xfeff, 0xfeff },   { 0xffa0, 0xffa0 },   { 0xfff0, 0xfffb },
		{ 0x110bd, 0x110bd }, { 0x110cd, 0x110cd }, { 0x13430, 0x1345f },
		{ 0x1bca0, 0x1bcaf }, { 0x1d173, 0x1d17a }, { 0xe0000, 0x10ffff },
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	return false;
}

static locale_t utf8_locale;

static void open_locale(void)
{
	utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
}

/* ASCII, and letters, digits and punctuation of other scripts. */
static bool is_printable(uint32_t c)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (c < 0x80)
		return c >= 0x20 && c != 0x7f;
	pthread_once(&once, open_locale);
	return utf8_locale && !is_format(c) &&
	       (iswalnum_l((wint_t)c, utf8_locale) || iswpunct_l((wint_t)c, utf8_locale));
}

void cbd_text_make_printable(char *text)
{
	char *to = text;

	for (size_t n; *text; text += n) {
		n = utf8_length((unsigned char *)text);
		if (n == 0 || !is_printable(utf8_decode((unsigned char *)text, n))) {
			*to++ = '?';
			n = n ? n : 1;
			continue;
		}
		memmove(to, text, n);
		to += n;
	}
	*to = 0;
}
