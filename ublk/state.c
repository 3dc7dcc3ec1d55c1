/* SPDX-License-Identifier: BSD-3-Clause */
/* state.c - see state.h. */
#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../common/log.h"
#include "state.h"

bool state_name_is_good(const char *text)
{
	size_t length = strlen(text);

	if (length == 0 || length >= STATE_NAME_SIZE || !isalnum((unsigned char)text[0]))
		return false;
	for (const char *c = text; *c != '\0'; c++)
		if (!isalnum((unsigned char)*c) && strchr("._+-", *c) == NULL)
			return false;
	return true;
}

/* ------------------------------------------------------------------ files */

static const char *choose_folder(char path[PATH_MAX])
{
	const char *chosen = getenv("CBD_UBLK_RUN"), *own = getenv("XDG_RUNTIME_DIR");

	if (chosen != NULL && chosen[0] == '/')
		return chosen;
	if (geteuid() == 0 || own == NULL || own[0] != '/')
		return "/run/cbd-ublk";
	snprintf(path, PATH_MAX, "%s/cbd-ublk", own);
	return path;
}

const char *state_folder(void)
{
	static char path[PATH_MAX];
	static const char *folder;

	if (folder != NULL)
		return folder;
	folder = choose_folder(path);
	if (mkdir(folder, 0755) == 0 || errno == EEXIST)
		return folder;
	log_error("%s: %s", folder, strerror(errno));
	folder = NULL;
	return NULL;
}

/* False after a message. */
static bool path_of(char path[PATH_MAX], const char *name, const char *suffix)
{
	const char *folder = state_folder();

	if (folder == NULL)
		return false;
	snprintf(path, PATH_MAX, "%s/%s.%s", folder, name, suffix);
	return true;
}

/* A file that was removed meanwhile is another one's next time. */
static bool is_named(int fd, const char *path)
{
	struct stat open_one, named;

	return fstat(fd, &open_one) == 0 && stat(path, &named) == 0 &&
	       open_one.st_dev == named.st_dev && open_one.st_ino == named.st_ino;
}

int state_lock(const char *name)
{
	char path[PATH_MAX];
	int fd, error;

	if (!path_of(path, name, "lock"))
		return -1;
	for (;;) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
		if (fd < 0) {
			log_error("%s: %s", path, strerror(errno));
			return -1;
		}
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			error = errno;
			close(fd);
			if (error == EWOULDBLOCK)
				return -EWOULDBLOCK;
			log_error("%s: %s", path, strerror(error));
			return -1;
		}
		if (is_named(fd, path))
			return fd;
		close(fd);
	}
}

bool state_is_served(const char *name)
{
	char path[PATH_MAX];
	bool served;
	int fd;

	if (!path_of(path, name, "lock"))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	served = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	close(fd);
	return served;
}

void state_remove(const char *name)
{
	char path[PATH_MAX];

	if (path_of(path, name, "json") && unlink(path) < 0 && errno != ENOENT)
		log_error("%s: %s", path, strerror(errno));
	if (path_of(path, name, "new")) /* of a process that died over it */
		unlink(path);
	if (path_of(path, name, "lock"))
		unlink(path);
}

/* ----------------------------------------------------------------- content */

static void add_hex(struct json_object *o, const char *key, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	json_object_object_add(o, key, json_object_new_string(text));
}

static void add_number(struct json_object *o, const char *key, int64_t value)
{
	json_object_object_add(o, key, json_object_new_int64(value));
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

static const char *const polls[] = {
	[CBD_POLL_ADAPTIVE] = "adaptive",
	[CBD_POLL_BUSY] = "busy",
	[CBD_POLL_SLEEP] = "sleep",
};

struct json_object *state_json(const struct state *s)
{
	struct json_object *o = json_object_new_object();
	char device[32];

	snprintf(device, sizeof(device), "/dev/ublkb%u", s->number);
	add_text(o, "name", s->name);
	add_text(o, "device", device);
	add_number(o, "pid", s->pid);
	add_text(o, "transport", s->transport);
	add_text(o, "backend", s->backend);
	add_number(o, "blkdev", s->blkdev);
	add_number(o, "queues", s->queues);
	add_number(o, "depth", s->depth);
	add_text(o, "poll", polls[s->poll]);
	add_number(o, "timeout_s", s->timeout_s);
	add_bool(o, "read_only", s->read_only);
	add_bool(o, "unprivileged", s->unprivileged);
	return o;
}

static struct json_object *to_json(const struct state *s)
{
	struct json_object *o = state_json(s);
	char uuid[33];

	for (unsigned i = 0; i < 16; i++)
		snprintf(uuid + 2 * i, 3, "%02x", s->transport_uuid[i]);
	add_number(o, "number", s->number);
	add_hex(o, "cookie", s->cookie);
	add_number(o, "host_id", s->host_id);
	add_text(o, "transport_uuid", uuid);
	add_number(o, "incarnation", s->incarnation);
	add_hex(o, "disk_identity", s->disk_identity);
	add_hex(o, "verifier", s->verifier);
	return o;
}

/* What is missing or of another kind makes the file useless: GOOD becomes false. */
struct reader {
	struct json_object *o;
	bool good;
};

static struct json_object *member(struct reader *r, const char *key, enum json_type type)
{
	struct json_object *value;

	if (json_object_object_get_ex(r->o, key, &value) && json_object_is_type(value, type))
		return value;
	r->good = false;
	return NULL;
}

static int64_t get_number(struct reader *r, const char *key, int64_t min, int64_t max)
{
	struct json_object *value = member(r, key, json_type_int);
	int64_t n = value != NULL ? json_object_get_int64(value) : min;

	if (n < min || n > max) {
		r->good = false;
		return min;
	}
	return n;
}

static const char *get_text(struct reader *r, const char *key)
{
	struct json_object *value = member(r, key, json_type_string);

	return value != NULL ? json_object_get_string(value) : "";
}

static uint64_t get_hex(struct reader *r, const char *key)
{
	return strtoull(get_text(r, key), NULL, 16);
}

static bool get_bool(struct reader *r, const char *key)
{
	struct json_object *value = member(r, key, json_type_boolean);

	return value != NULL && json_object_get_boolean(value);
}

static void copy_text(struct reader *r, const char *key, char *to, size_t size)
{
	const char *text = get_text(r, key);

	if (strlen(text) >= size)
		r->good = false;
	else
		strcpy(to, text);
}

static void get_uuid(struct reader *r, uint8_t uuid[16])
{
	const char *text = get_text(r, "transport_uuid");

	for (unsigned i = 0; i < 16; i++)
		if (sscanf(text + 2 * i, "%2hhx", &uuid[i]) != 1) {
			r->good = false;
			return;
		}
}

static bool from_json(struct json_object *o, struct state *s)
{
	struct reader r = { .o = o, .good = true };

	*s = (struct state){
		.number = (unsigned)get_number(&r, "number", 0, INT_MAX),
		.cookie = get_hex(&r, "cookie"),
		.pid = (pid_t)get_number(&r, "pid", 0, INT_MAX),
		.queues = (unsigned)get_number(&r, "queues", 1, UINT16_MAX),
		.depth = (unsigned)get_number(&r, "depth", 1, UINT16_MAX),
		.host_id = (int)get_number(&r, "host_id", -1, INT_MAX),
		.timeout_s = (unsigned)get_number(&r, "timeout_s", 0, INT_MAX),
		.read_only = get_bool(&r, "read_only"),
		.unprivileged = get_bool(&r, "unprivileged"),
		.blkdev = (unsigned)get_number(&r, "blkdev", 0, INT_MAX),
		.incarnation = (unsigned)get_number(&r, "incarnation", 0, UINT32_MAX),
		.disk_identity = get_hex(&r, "disk_identity"),
		.verifier = get_hex(&r, "verifier"),
	};
	copy_text(&r, "name", s->name, sizeof(s->name));
	copy_text(&r, "transport", s->transport, sizeof(s->transport));
	copy_text(&r, "backend", s->backend, sizeof(s->backend));
	if (cbd_poll_parse(get_text(&r, "poll"), &s->poll) < 0)
		r.good = false;
	/* a short text has a byte that is no digit at its end */
	if (strlen(get_text(&r, "transport_uuid")) == 32)
		get_uuid(&r, s->transport_uuid);
	else
		r.good = false;
	return r.good;
}

int state_write(const struct state *s)
{
	char path[PATH_MAX], fresh[PATH_MAX];
	struct json_object *o;
	int r;

	if (!path_of(path, s->name, "json") || !path_of(fresh, s->name, "new"))
		return -1;
	o = to_json(s);
	r = json_object_to_file_ext(fresh, o,
				    JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	json_object_put(o);
	if (r < 0 || rename(fresh, path) < 0) {
		log_error("%s: %s", path, strerror(errno));
		return -1;
	}
	return 0;
}

int state_read(const char *name, struct state *s)
{
	char path[PATH_MAX];
	struct json_object *o;
	bool good;

	if (!path_of(path, name, "json"))
		return -1;
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 1;
	o = json_object_from_file(path);
	good = o != NULL && from_json(o, s) && strcmp(s->name, name) == 0;
	json_object_put(o);
	if (good)
		return 0;
	log_error("%s: cannot be read, or was not written by cbd-ublk", path);
	return -1;
}

static int is_state(const struct dirent *entry)
{
	size_t length = strlen(entry->d_name);

	return length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0;
}

int state_each(void (*fn)(void *opaque, const struct state *s), void *opaque)
{
	const char *folder = state_folder();
	struct dirent **entries;
	struct state s;
	int n, r = 0;

	if (folder == NULL)
		return -1;
	n = scandir(folder, &entries, is_state, alphasort);
	if (n < 0) {
		log_error("%s: %s", folder, strerror(errno));
		return -1;
	}
	for (int i = 0; i < n; i++) {
		int found;

		entries[i]->d_name[strlen(entries[i]->d_name) - 5] = '\0';
		found = state_read(entries[i]->d_name, &s);
		if (found == 0)
			fn(opaque, &s);
		else if (found < 0)
			r = -1;
		free(entries[i]);
	}
	free(entries);
	return r;
}
