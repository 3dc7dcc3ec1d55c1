/* SPDX-License-Identifier: BSD-3-Clause */
/* lines.c - see lines.h. */
#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc.h"
#include "base/error.h"
#include "base/text.h"
#include "memory/fault.h"
#include "transport/lines.h"

static uint32_t line_crc(uint32_t seed, uint64_t offset, const struct cbd_line *line)
{
	return cbd_crc32c(cbd_crc32c(seed, &offset, sizeof(offset)), line->body,
			  sizeof(line->body));
}

void cbd_line_seal(uint32_t seed, uint64_t offset, struct cbd_line *line)
{
	line->crc = line_crc(seed, offset, line);
}

static uint64_t offset_of(const struct cbd_transport *t, const void *line)
{
	return (const char *)line - t->base;
}

static bool line_load(const struct cbd_transport *t, const void *line, void *copy)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return false;
	cbd_line_load(&t->mem, line, copy);
	cbd_fault_end(&f);
	return true;
}

int cbd_line_get(const struct cbd_transport *t, const void *line, void *copy)
{
	struct cbd_line *l = copy;

	/* A line that is just being stored is whole a moment later. */
	for (int tries = 0; tries < 16; tries++) {
		if (!line_load(t, line, copy))
			return cbd_error(EIO, "%s: the memory at offset %llu is poisoned or gone",
					 t->path, (unsigned long long)offset_of(t, line));
		if (l->crc == line_crc(t->seed, offset_of(t, line), l) ||
		    cbd_is_zero(copy, CBD_LINE_SIZE))
			return 0;
		cbd_relax();
	}
	return cbd_error(EBADMSG, "%s: the line at offset %llu is damaged", t->path,
			 (unsigned long long)offset_of(t, line));
}

static int line_store(const struct cbd_transport *t, void *line, const void *copy)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return cbd_error(EIO, "%s: the memory at offset %llu is poisoned or gone", t->path,
				 (unsigned long long)offset_of(t, line));
	cbd_line_store(&t->mem, line, copy);
	cbd_fault_end(&f);
	return 0;
}

int cbd_line_put(const struct cbd_transport *t, void *line, void *copy)
{
	cbd_line_seal(t->seed, offset_of(t, line), copy);
	return line_store(t, line, copy);
}

int cbd_line_wipe(const struct cbd_transport *t, void *line)
{
	static const struct cbd_line zero;

	return line_store(t, line, &zero);
}

int cbd_line_differs(const struct cbd_transport *t, const void *line, void *copy)
{
	struct cbd_line now;
	int r = cbd_line_get(t, line, &now);

	cbd_line_seal(t->seed, offset_of(t, line), copy);
	if (r == -EIO)
		return r;
	return r < 0 || memcmp(&now, copy, sizeof(now)) != 0;
}

int cbd_line_assert(const struct cbd_transport *t, void *line, void *copy)
{
	int r = cbd_line_differs(t, line, copy);

	return r > 0 ? cbd_line_put(t, line, copy) : r;
}

int cbd_text_each(const struct cbd_transport *t, char *line, unsigned count, const char *text,
		  cbd_line_fn *store)
{
	size_t left = strlen(text);
	int r = 0;

	for (unsigned i = 0; i < count && r == 0; i++) {
		struct cbd_text_line l = { .reserved = 0 };
		size_t n = left < sizeof(l.text) ? left : sizeof(l.text);

		memcpy(l.text, text, n);
		text += n;
		left -= n;
		r = store(t, line + i * CBD_LINE_SIZE, &l);
	}
	return r;
}

int cbd_text_put(const struct cbd_transport *t, char *line, unsigned count, const char *text)
{
	return cbd_text_each(t, line, count, text, cbd_line_put);
}

int cbd_text_assert(const struct cbd_transport *t, char *line, unsigned count, const char *text)
{
	return cbd_text_each(t, line, count, text, cbd_line_assert);
}

void cbd_text_get(const struct cbd_transport *t, const char *line, unsigned count, char *text)
{
	struct cbd_text_line l;

	for (unsigned i = 0; i < count; i++) {
		if (cbd_line_get(t, line + i * CBD_LINE_SIZE, &l) < 0)
			memset(l.text, 0, sizeof(l.text));
		memcpy(text + i * sizeof(l.text), l.text, sizeof(l.text));
	}
	text[count * CBD_TEXT_SIZE] = 0;
	cbd_text_make_printable(text);
}
