/* SPDX-License-Identifier: BSD-3-Clause */
/* number.c - see number.h. */
#include <config.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"

static const char digits[] = "0123456789";

bool number_parse(const char *text, size_t length, uint64_t *value)
{
	if (length == 0 || strspn(text, digits) < length)
		return false;
	/* ends at the first byte that is no digit, ULLONG_MAX when too large */
	*value = strtoull(text, NULL, 10);
	return text[length] == '\0' || !isdigit((unsigned char)text[length]);
}

/* The power of two that a suffix stands for; -1: it is none. */
static int suffix_shift(const char *suffix)
{
	static const char letters[] = "KMGT";
	const char *letter;

	if (*suffix == '\0')
		return 0;
	letter = strchr(letters, toupper((unsigned char)*suffix));
	if (letter == NULL ||
	    (suffix[1] != '\0' && (*suffix != *letter || strcmp(suffix + 1, "iB") != 0)))
		return -1;
	return 10 * (int)(letter - letters + 1);
}

bool size_parse(const char *text, uint64_t *bytes)
{
	size_t length = strspn(text, digits);
	int shift = suffix_shift(text + length);
	uint64_t value;

	if (shift < 0 || !number_parse(text, length, &value))
		return false;
	*bytes = value > UINT64_MAX >> shift ? UINT64_MAX : value << shift;
	return true;
}
