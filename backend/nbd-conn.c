/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nbd-conn.c - one connection to an NBD server, made and asked without a handler.
 *
 * Owns the handles of libnbd: how one is made, what its server can do, waiting for an
 * answer with a bound. Which connections there are at a time is nbd-server.c's.
 */
#include <config.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "nbd.h"

#define LOOK_MS 100
#define KEEPALIVE_S 10
#define SILENT_MS 30000u /* what was sent and is not acknowledged: the connection is lost */

uint64_t nbd_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t nbd_after_ms(unsigned ms)
{
	return nbd_now_ns() + ms * 1000000ull;
}

/* Why a connection of this thread has ended: libnbd forgets it at the next call. */
static _Thread_local char ended[128];

/* Without the name of the function of libnbd, which is of no use to people. */
static const char *text_of(const char *text)
{
	const char *rest = strncmp(text, "nbd_", 4) == 0 ? strstr(text, ": ") : NULL;

	return rest != NULL ? rest + 2 : text;
}

static void note_end(int result)
{
	const char *text = result < 0 ? nbd_get_error() : NULL;

	if (text != NULL)
		snprintf(ended, sizeof(ended), "%s", text_of(text));
}

const char *nbd_last_error(void)
{
	const char *text = nbd_get_error();

	if (text != NULL)
		return text_of(text);
	return ended[0] != '\0' ? ended : "the server has closed it";
}

/* What its socket has to say; waits MS at most.  False: nothing. */
static bool serve_socket(struct nbd_handle *h, int ms)
{
	unsigned direction = nbd_aio_get_direction(h);
	struct pollfd fd = { .fd = nbd_aio_get_fd(h) };
	const short gone = POLLERR | POLLHUP | POLLNVAL;

	if (direction & LIBNBD_AIO_DIRECTION_READ)
		fd.events |= POLLIN;
	if (direction & LIBNBD_AIO_DIRECTION_WRITE)
		fd.events |= POLLOUT;
	if (poll(&fd, 1, ms) <= 0)
		return false;
	if ((direction & LIBNBD_AIO_DIRECTION_READ) && (fd.revents & (POLLIN | gone)))
		note_end(nbd_aio_notify_read(h));
	else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) && (fd.revents & (POLLOUT | gone)))
		note_end(nbd_aio_notify_write(h));
	else
		return false;
	return true;
}

bool nbd_is_over(struct nbd_handle *h)
{
	return nbd_aio_is_dead(h) > 0 || nbd_aio_is_closed(h) > 0;
}

static bool told_to_stop(struct nbd *n)
{
	bool stop;

	pthread_mutex_lock(&n->lock);
	stop = n->stop || n->cancel;
	pthread_mutex_unlock(&n->lock);
	return stop;
}

/* Until the handle is ready, or command COOKIE is answered.  0; 1: the answer is an error;
 * -1: there is none.  With ERROR. */
int nbd_await(struct nbd *n, struct nbd_handle *h, int64_t cookie, uint64_t until_ns, char *error,
	      size_t size)
{
	for (;;) {
		int done = cookie > 0 ? nbd_aio_command_completed(h, (uint64_t)cookie)
				      : nbd_aio_is_ready(h);

		if (done > 0)
			return 0;
		if (done < 0 || nbd_is_over(h)) {
			snprintf(error, size, "%s", nbd_last_error());
			return nbd_is_over(h) ? -1 : 1;
		}
		if (nbd_now_ns() >= until_ns || told_to_stop(n)) {
			snprintf(error, size, "no answer in %u s", NBD_ANSWER_MS / 1000);
			return -1;
		}
		serve_socket(h, LOOK_MS);
	}
}

/*
 * A server that is cut off is noticed, and at the end of this process the kernel drops
 * what was not sent yet and tells the server that the connection is over: nothing of it
 * arrives later.
 */
static void set_socket_options(struct nbd_handle *h)
{
	static const struct linger drop = { .l_onoff = 1 };
	int fd = nbd_aio_get_fd(h), domain = 0, on = 1, idle = KEEPALIVE_S;
	unsigned silent = SILENT_MS;
	socklen_t size = sizeof(domain);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
	    (domain != AF_INET && domain != AF_INET6))
		return;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &drop, sizeof(drop));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent, sizeof(silent));
}

static uint32_t block_size(struct nbd_handle *h, int which, uint32_t otherwise)
{
	int64_t size = nbd_get_block_size(h, which);

	return size > 0 && size <= UINT32_MAX ? (uint32_t)size : otherwise;
}

void nbd_ask_abilities(struct nbd_handle *h, struct nbd_abilities *can)
{
	int64_t size = nbd_get_size(h);

	*can = (struct nbd_abilities){
		.size = size > 0 ? (uint64_t)size : 0,
		.block = block_size(h, LIBNBD_SIZE_MINIMUM, NBD_ASSUMED_BLOCK),
		.preferred = block_size(h, LIBNBD_SIZE_PREFERRED, 4096),
		.largest = block_size(h, LIBNBD_SIZE_MAXIMUM, NBD_MAX_REQUEST),
		.read_only = nbd_is_read_only(h) > 0,
		.rotational = nbd_is_rotational(h) > 0,
		.flush = nbd_can_flush(h) > 0,
		.fua = nbd_can_fua(h) > 0,
		.trim = nbd_can_trim(h) > 0,
		.zero = nbd_can_zero(h) > 0,
		.fast_zero = nbd_can_fast_zero(h) > 0,
		.multi_conn = nbd_can_multi_conn(h) > 0,
		.block_status = nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0,
	};
	if (can->largest > NBD_MAX_REQUEST)
		can->largest = NBD_MAX_REQUEST;
	if (can->block == 0 || (can->block & (can->block - 1)) != 0)
		can->block = NBD_ASSUMED_BLOCK;
	can->largest -= can->largest % can->block;
	if (can->largest == 0)
		can->largest = can->block;
}

/* The server's memory may have had something else there: the reply tells of all bytes, or
 * libnbd clears them (pread_initialize, which is its default). */
struct nbd_handle *nbd_connect(struct nbd *n, uint64_t until_ns, char *error, size_t size)
{
	struct nbd_handle *h = nbd_create();

	if (h == NULL || nbd_set_uri_allow_local_file(h, true) < 0 ||
	    nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
	    nbd_aio_connect_uri(h, n->disk->name) < 0) {
		snprintf(error, size, "%s", nbd_last_error());
		nbd_close(h);
		return NULL;
	}
	if (nbd_await(n, h, 0, until_ns, error, size) != 0) {
		nbd_close(h);
		return NULL;
	}
	set_socket_options(h);
	return h;
}

/* In order: the server need not take it for a client that has died. */
void nbd_leave(struct nbd_handle *h)
{
	static const struct linger send = { .l_onoff = 0 };

	if (h == NULL)
		return;
	if (!nbd_is_over(h)) {
		setsockopt(nbd_aio_get_fd(h), SOL_SOCKET, SO_LINGER, &send, sizeof(send));
		nbd_aio_disconnect(h, 0);
	}
	nbd_close(h);
}

void nbd_drive(struct nbd_conn *c)
{
	/* an end, whatever the server sends */
	for (unsigned i = 0; i < 64 && c->handle != NULL && !nbd_is_over(c->handle); i++)
		if (!serve_socket(c->handle, 0))
			return;
}

bool nbd_is_broken(const struct nbd_conn *c)
{
	return c->handle != NULL && nbd_is_over(c->handle);
}
