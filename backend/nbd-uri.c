/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbd-uri.c - which disk an NBD URI names.
 *
 * Owns the part of a URI that identifies the server and its export.  How to connect is
 * libnbd's, which gets the URI as it was given: what it does not take is told there.
 * With or without TLS, under whatever user, it is the same disk, so neither counts.
 */
#include <config.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../common/log.h"
#include "nbd.h"

#define DEFAULT_PORT "10809"

enum way { WAY_TCP, WAY_UNIX, WAY_VSOCK };

static const struct {
	const char *scheme;
	enum way way;
} schemes[] = {
	{ "nbd", WAY_TCP },	   { "nbds", WAY_TCP },	       { "nbd+unix", WAY_UNIX },
	{ "nbds+unix", WAY_UNIX }, { "nbd+vsock", WAY_VSOCK }, { "nbds+vsock", WAY_VSOCK },
};

#define SCHEMES (sizeof(schemes) / sizeof(schemes[0]))

/* The index of the scheme of TEXT, or -1; *REST is what follows the colon. */
static int find_scheme(const char *text, const char **rest)
{
	size_t length = strcspn(text, ":/");

	if (text[length] != ':')
		return -1;
	*rest = text + length + 1;
	for (size_t i = 0; i < SCHEMES; i++)
		if (strlen(schemes[i].scheme) == length &&
		    strncasecmp(text, schemes[i].scheme, length) == 0)
			return (int)i;
	return -1;
}

bool disk_is_uri(const char *name)
{
	const char *rest;

	return find_scheme(name, &rest) >= 0;
}

static int hex_digit(char c)
{
	if (isdigit((unsigned char)c))
		return c - '0';
	return isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* A copy of LENGTH bytes of TEXT, with %XX decoded; NULL: that is damaged, or no memory. */
static char *decode(const char *text, size_t length)
{
	char *copy = malloc(length + 1), *to = copy;

	for (size_t i = 0; copy != NULL && i < length; i++) {
		int high, low;

		if (text[i] != '%') {
			*to++ = text[i];
			continue;
		}
		high = i + 2 < length ? hex_digit(text[i + 1]) : -1;
		low = i + 2 < length ? hex_digit(text[i + 2]) : -1;
		if (high < 0 || low < 0 || (high | low) == 0) {
			free(copy);
			return NULL;
		}
		*to++ = (char)(high << 4 | low);
		i += 2;
	}
	if (copy != NULL)
		*to = '\0';
	return copy;
}

/* The value of a parameter of the query, decoded, or NULL.  Of several the last one, as for
 * libnbd. */
static char *parameter(const char *query, const char *name)
{
	size_t length = strlen(name);
	char *value = NULL;

	while (query != NULL && *query != '\0') {
		size_t end = strcspn(query, "&;#");

		if (end > length && strncmp(query, name, length) == 0 && query[length] == '=') {
			free(value);
			value = decode(query + length + 1, end - length - 1);
		}
		query = query[end] == '&' || query[end] == ';' ? query + end + 1 : NULL;
	}
	return value;
}

struct parts {
	char *host, *port; /* TCP; the context id, vsock */
	char *export;
	char *socket;
};

static void parts_free(struct parts *p)
{
	free(p->host);
	free(p->port);
	free(p->export);
	free(p->socket);
}

/* "user@[host]:port" */
static void split_authority(const char *text, size_t length, struct parts *p)
{
	const char *end = text + length, *at = memchr(text, '@', length), *colon, *close;

	if (at != NULL)
		text = at + 1;
	close = memchr(text, ']', (size_t)(end - text));
	colon = close != NULL ? close + 1 : text;
	colon = memchr(colon, ':', (size_t)(end - colon));
	if (colon != NULL && colon + 1 < end)
		p->port = decode(colon + 1, (size_t)(end - colon - 1));
	p->host = decode(text, (size_t)((colon != NULL ? colon : end) - text));
	for (char *c = p->host; c != NULL && *c != '\0'; c++)
		*c = (char)tolower((unsigned char)*c);
}

static void split(const char *rest, struct parts *p)
{
	size_t length;
	const char *query;

	if (strncmp(rest, "//", 2) == 0) {
		rest += 2;
		length = strcspn(rest, "/?#");
		split_authority(rest, length, p);
		rest += length;
	}
	length = strcspn(rest, "?#");
	query = rest[length] == '?' ? rest + length + 1 : NULL;
	if (length > 0 && rest[0] == '/') {
		rest++;
		length--;
	}
	p->export = decode(rest, length);
	p->socket = parameter(query, "socket");
}

/* "/run//./x" is "/run/x".  Links are left alone: where they lead may change. */
static void shorten_path(char *path)
{
	char *to = path;

	for (const char *from = path; *from != '\0';) {
		if (from[0] == '/' && from[1] == '/')
			from++;
		else if (from[0] == '/' && from[1] == '.' && from[2] == '/')
			from += 2;
		else
			*to++ = *from++;
	}
	*to = '\0';
}

/* The export comes last, so a colon in it is one; a colon in the path would look like the
 * end of the path. */
static char *mask_colons(const char *path)
{
	char *text = malloc(3 * strlen(path) + 1), *to = text;

	for (; text != NULL && *path != '\0'; path++) {
		if (*path == ':' || *path == '%')
			to += sprintf(to, "%%%02x", (unsigned char)*path);
		else
			*to++ = *path;
	}
	if (text != NULL)
		*to = '\0';
	return text;
}

static char *describe_unix(const struct parts *p)
{
	char *path, *text = NULL;

	shorten_path(p->socket);
	path = mask_colons(p->socket);
	if (path == NULL || asprintf(&text, "unix:%s:%s", path, p->export) < 0)
		text = NULL;
	free(path);
	return text;
}

static char *describe(enum way way, const struct parts *p)
{
	const char *port = p->port != NULL ? p->port : DEFAULT_PORT;
	char *text = NULL;

	if (way == WAY_UNIX)
		return describe_unix(p);
	while (port[0] == '0' && port[1] != '\0')
		port++;
	if (asprintf(&text, "%s:%s:%s:%s", way == WAY_TCP ? "tcp" : "vsock", p->host, port,
		     p->export) < 0)
		return NULL;
	return text;
}

char *nbd_uri_normalise(const char *uri)
{
	struct parts p = { 0 };
	const char *rest, *why = NULL;
	char *text = NULL;
	int i = find_scheme(uri, &rest);

	if (i >= 0)
		split(rest, &p);
	if (i < 0 || p.export == NULL)
		why = "is no NBD URI";
	else if (schemes[i].way == WAY_UNIX && p.socket == NULL)
		why = "names no socket: nbd+unix:///EXPORT?socket=PATH";
	else if (schemes[i].way == WAY_UNIX && p.socket[0] != '/')
		why = "the path of the socket must be absolute";
	else if (schemes[i].way != WAY_UNIX && (p.host == NULL || p.host[0] == '\0'))
		why = "names no host";
	else
		text = describe(schemes[i].way, &p);
	parts_free(&p);
	if (text == NULL)
		log_error("%s: %s", uri, why != NULL ? why : "out of memory");
	return text;
}
