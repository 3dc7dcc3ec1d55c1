/* SPDX-License-Identifier: BSD-3-Clause */
/* ublk-driver.c - see ublk-driver.h. */
#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ublk-driver.h"
#include "unit.h"

/* As CHECK(), which is not for a process that check has not made. */
#define CHECK(condition)                                             \
	do {                                                         \
		if (!(condition)) {                                  \
			fprintf(stderr, "failed: %s\n", #condition); \
			abort();                                     \
		}                                                    \
	} while (0)

struct sim_driver {
	struct driver base;
	struct sim *sim;
};

struct sim_server_queue {
	struct driver_queue base;
	struct sim *sim;
	struct sim_queue *queue;
	void *buffers[SIM_DEPTH]; /* the server's */
	unsigned results;	  /* since the last turn */
	_Atomic bool woken;
};

/* A server that is killed may have it. */
static void lock(struct sim *s)
{
	int r = pthread_mutex_lock(&s->lock);

	if (r == EOWNERDEAD)
		r = pthread_mutex_consistent(&s->lock);
	CHECK(r == 0);
}

static void unlock(struct sim *s)
{
	pthread_mutex_unlock(&s->lock);
}

/* With the lock, which others get meanwhile. */
static void await_change(struct sim *s, uint64_t since_ns)
{
	CHECK(unit_may_wait(since_ns));
	unlock(s);
	cbd_sleep_us(100);
	lock(s);
}

static void wake_all(struct sim *s)
{
	for (unsigned q = 0; q < SIM_QUEUES; q++)
		eventfd_write(s->queues[q].wake, 1);
}

/* ------------------------------------------------------------------ device */

static unsigned depth_of(const struct sim *s)
{
	return s->info.queue_depth;
}

static bool all_fetched(const struct sim *s)
{
	for (unsigned q = 0; q < s->info.nr_hw_queues; q++)
		for (unsigned t = 0; t < depth_of(s); t++)
			if (!s->queues[q].tags[t].fetched && !s->queues[q].tags[t].taken)
				return false;
	return true;
}

static bool any_requested(const struct sim *s)
{
	for (unsigned q = 0; q < s->info.nr_hw_queues; q++)
		for (unsigned t = 0; t < depth_of(s); t++)
			if (s->queues[q].tags[t].requested)
				return true;
	return false;
}

static struct sim *of(struct driver *d)
{
	return ((struct sim_driver *)d)->sim;
}

static uint64_t sim_features(struct driver *d)
{
	return of(d)->features;
}

static int sim_add(struct driver *d, struct ublksrv_ctrl_dev_info *info)
{
	struct sim *s = of(d);
	int r = -EEXIST;

	lock(s);
	if (!s->exists) {
		if (info->nr_hw_queues > SIM_QUEUES)
			info->nr_hw_queues = SIM_QUEUES;
		if (info->queue_depth > SIM_DEPTH)
			info->queue_depth = SIM_DEPTH;
		info->state = UBLK_S_DEV_DEAD;
		s->info = *info;
		s->exists = true;
		s->stopped = false;
		r = 0;
	}
	unlock(s);
	return r;
}

static int sim_info(struct driver *d, unsigned number, struct ublksrv_ctrl_dev_info *info)
{
	struct sim *s = of(d);
	bool found;

	lock(s);
	found = s->exists && s->info.dev_id == number;
	*info = s->info;
	unlock(s);
	return found ? 0 : -ENODEV;
}

static int sim_set_params(struct driver *d, unsigned number, const struct ublk_params *params)
{
	(void)number;
	of(d)->params = *params;
	return 0;
}

static int sim_get_params(struct driver *d, unsigned number, struct ublk_params *params)
{
	(void)number;
	*params = of(d)->params;
	return 0;
}

/* The kernel waits for the server's threads. */
static int begin_service(struct sim *s)
{
	const uint64_t since = cbd_now_ns();

	while (!all_fetched(s))
		await_change(s, since);
	s->info.state = UBLK_S_DEV_LIVE;
	wake_all(s);
	return 0;
}

static int stop_device(struct sim *s)
{
	const uint64_t since = cbd_now_ns();

	if (s->info.state == UBLK_S_DEV_QUIESCED) {
		for (unsigned q = 0; q < SIM_QUEUES; q++)
			for (unsigned t = 0; t < SIM_DEPTH; t++)
				s->queues[q].tags[t].requested = false;
	}
	while (any_requested(s))
		await_change(s, since);
	s->stopped = true;
	s->info.state = UBLK_S_DEV_DEAD;
	wake_all(s);
	return 0;
}

static int execute_command(struct sim *s, enum driver_command command, uint64_t argument)
{
	switch (command) {
	case DRIVER_START:
	case DRIVER_END_RECOVERY:
		return begin_service(s);
	case DRIVER_STOP:
		return stop_device(s);
	case DRIVER_DELETE:
		s->exists = false;
		return s->open ? -EBUSY : 0;
	case DRIVER_BEGIN_RECOVERY:
		return s->open || s->info.state != UBLK_S_DEV_QUIESCED ? -EBUSY : 0;
	case DRIVER_UPDATE_SIZE:
		s->sectors = argument;
		return 0;
	}
	return -EOPNOTSUPP;
}

static int sim_command(struct driver *d, unsigned number, enum driver_command command,
		       uint64_t argument)
{
	struct sim *s = of(d);
	int r;

	lock(s);
	r = !s->exists || s->info.dev_id != number ? -ENODEV
						   : execute_command(s, command, argument);
	unlock(s);
	return r;
}

static int sim_open(struct driver *d, unsigned number)
{
	struct sim *s = of(d);
	int r;

	(void)number;
	lock(s);
	r = s->open ? -EBUSY : 0;
	s->open = true;
	unlock(s);
	return r;
}

/* With the lock: no process serves the device any more. */
static void forget_server(struct sim *s)
{
	s->open = false;
	for (unsigned q = 0; q < SIM_QUEUES; q++)
		for (unsigned t = 0; t < SIM_DEPTH; t++)
			s->queues[q].tags[t].fetched = s->queues[q].tags[t].taken = false;
	if (s->info.state == UBLK_S_DEV_LIVE)
		s->info.state = UBLK_S_DEV_QUIESCED;
}

static void sim_release(struct driver *d)
{
	struct sim *s = of(d);

	lock(s);
	forget_server(s);
	unlock(s);
}

/* ------------------------------------------------------------------- queue */

static struct sim_server_queue *of_queue(struct driver_queue *q)
{
	return (struct sim_server_queue *)q;
}

static const struct ublksrv_io_desc *sim_request(struct driver_queue *q, unsigned tag)
{
	return &of_queue(q)->queue->tags[tag].desc;
}

static void sim_fetch(struct driver_queue *q, unsigned tag, void *buf)
{
	struct sim_server_queue *k = of_queue(q);

	lock(k->sim);
	k->buffers[tag] = buf;
	CHECK(!k->queue->tags[tag].fetched && !k->queue->tags[tag].taken);
	k->queue->tags[tag].fetched = true;
	unlock(k->sim);
}

static void sim_commit(struct driver_queue *q, unsigned tag, void *buf, int result)
{
	struct sim_server_queue *k = of_queue(q);
	struct sim_tag *t = &k->queue->tags[tag];

	lock(k->sim);
	CHECK(t->taken && t->requested && !t->fetched);
	if ((t->desc.op_flags & 0xff) == UBLK_IO_OP_READ && result > 0)
		memcpy(t->data, buf, (size_t)result);
	t->result = result;
	t->requested = t->taken = false;
	t->fetched = true;
	k->results++;
	unlock(k->sim);
}

/* With the lock. */
static int collect(struct sim_server_queue *k, uint16_t *tags, unsigned max)
{
	unsigned n = 0;

	if (k->sim->stopped)
		return -ENODEV;
	if (k->sim->info.state != UBLK_S_DEV_LIVE)
		return 0;
	for (unsigned i = 0; i < SIM_DEPTH && n < max; i++) {
		struct sim_tag *t = &k->queue->tags[i];

		if (!t->fetched || !t->requested)
			continue;
		t->fetched = false;
		t->taken = true;
		t->given++;
		if ((t->desc.op_flags & 0xff) == UBLK_IO_OP_WRITE)
			memcpy(k->buffers[i], t->data, t->desc.nr_sectors * 512u);
		tags[n++] = (uint16_t)i;
	}
	return (int)n;
}

/* Until a descriptor is readable or the bell has rung, which is looked at each millisecond.
 * True: it was what tells of answers. */
static bool sim_sleep(struct sim *s, struct pollfd *fds, const struct driver_wait *wait)
{
	int ms = wait->bell != NULL ? 1 : -1;

	while (poll(fds, wait->fd >= 0 ? 2 : 1, ms) == 0)
		if (__atomic_load_n(wait->bell, __ATOMIC_ACQUIRE) != wait->value) {
			s->by_bell++;
			return true;
		}
	if (!(fds[1].revents & POLLIN))
		return false;
	s->by_fd++;
	return true;
}

static int sim_turn(struct driver_queue *q, const struct driver_wait *wait, uint16_t *tags,
		    unsigned max)
{
	struct sim_server_queue *k = of_queue(q);
	struct pollfd fds[] = {
		{ .fd = k->queue->wake, .events = POLLIN },
		{ .fd = wait != NULL ? wait->fd : -1, .events = POLLIN },
	};
	bool ended = wait == NULL;
	eventfd_t value;
	int n;

	k->sim->with_results += wait != NULL && k->results > 0;
	k->results = 0;
	for (;;) {
		lock(k->sim);
		n = collect(k, tags, max);
		unlock(k->sim);
		if (n != 0 || ended || atomic_exchange(&k->woken, false))
			return n;
		ended = sim_sleep(k->sim, fds, wait);
		eventfd_read(k->queue->wake, &value);
	}
}

static void sim_wake(struct driver_queue *q)
{
	atomic_store(&of_queue(q)->woken, true);
	eventfd_write(of_queue(q)->queue->wake, 1);
}

static void sim_queue_close(struct driver_queue *q)
{
	free(q);
}

static const struct driver_queue_ops queue_ops = {
	.request = sim_request,
	.fetch = sim_fetch,
	.commit = sim_commit,
	.turn = sim_turn,
	.wake = sim_wake,
	.close = sim_queue_close,
};

static int sim_queue_open(struct driver *d, const struct ublksrv_ctrl_dev_info *info,
			  unsigned index, struct driver_queue **q)
{
	struct sim_server_queue *k = calloc(1, sizeof(*k));

	CHECK(k != NULL);
	CHECK(info->queue_depth == of(d)->info.queue_depth);
	k->base.ops = &queue_ops;
	k->sim = of(d);
	k->base.takes_bells = !k->sim->deaf;
	k->queue = &k->sim->queues[index];
	*q = &k->base;
	return 0;
}

static void sim_close(struct driver *d)
{
	free(d);
}

static const struct driver_ops driver_ops = {
	.features = sim_features,
	.add = sim_add,
	.info = sim_info,
	.set_params = sim_set_params,
	.get_params = sim_get_params,
	.command = sim_command,
	.open = sim_open,
	.queue_open = sim_queue_open,
	.release = sim_release,
	.close = sim_close,
};

struct driver *sim_driver(struct sim *s)
{
	struct sim_driver *d = calloc(1, sizeof(*d));

	CHECK(d != NULL);
	d->base.ops = &driver_ops;
	d->sim = s;
	return &d->base;
}

/* ------------------------------------------------------------ the other side */

static void init_lock(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(mutex, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

struct sim *sim_new(void)
{
	struct sim *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			     -1, 0);

	CHECK(s != MAP_FAILED);
	init_lock(&s->lock);
	for (unsigned q = 0; q < SIM_QUEUES; q++) {
		s->queues[q].wake = eventfd(0, EFD_NONBLOCK);
		CHECK(s->queues[q].wake >= 0);
	}
	s->features = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;
	return s;
}

void sim_free(struct sim *s)
{
	for (unsigned q = 0; q < SIM_QUEUES; q++)
		close(s->queues[q].wake);
	munmap(s, sizeof(*s));
}

static unsigned free_tag(struct sim *s, struct sim_queue *q)
{
	const uint64_t since = cbd_now_ns();

	for (;;) {
		for (unsigned t = 0; t < depth_of(s); t++)
			if (!q->tags[t].requested)
				return t;
		await_change(s, since);
	}
}

unsigned sim_submit(struct sim *s, unsigned queue, unsigned op_flags, uint64_t offset,
		    uint32_t length, const void *data)
{
	struct sim_queue *q = &s->queues[queue];
	unsigned tag;

	CHECK(data == NULL || length <= SIM_DATA);
	lock(s);
	tag = free_tag(s, q);
	q->tags[tag].desc = (struct ublksrv_io_desc){
		.op_flags = op_flags,
		.start_sector = offset / 512,
		.nr_sectors = length / 512,
	};
	q->tags[tag].requested = true;
	q->tags[tag].given = 0;
	if (data != NULL)
		memcpy(q->tags[tag].data, data, length);
	unlock(s);
	eventfd_write(q->wake, 1);
	return tag;
}

int sim_wait(struct sim *s, unsigned queue, unsigned tag, void *data)
{
	struct sim_tag *t = &s->queues[queue].tags[tag];
	const uint64_t since = cbd_now_ns();
	int result;

	lock(s);
	while (t->requested)
		await_change(s, since);
	result = t->result;
	if (data != NULL && result > 0)
		memcpy(data, t->data, (size_t)result);
	unlock(s);
	return result;
}

int sim_execute(struct sim *s, unsigned queue, unsigned op_flags, uint64_t offset, uint32_t length,
		void *data)
{
	bool writes = (op_flags & 0xff) == UBLK_IO_OP_WRITE;
	unsigned tag = sim_submit(s, queue, op_flags, offset, length, writes ? data : NULL);

	return sim_wait(s, queue, tag, writes ? NULL : data);
}

bool sim_is_open(struct sim *s, unsigned queue, unsigned tag)
{
	bool open;

	lock(s);
	open = s->queues[queue].tags[tag].requested;
	unlock(s);
	return open;
}

unsigned sim_given(struct sim *s, unsigned queue, unsigned tag)
{
	unsigned given;

	lock(s);
	given = s->queues[queue].tags[tag].given;
	unlock(s);
	return given;
}

void sim_server_died(struct sim *s)
{
	lock(s);
	forget_server(s);
	unlock(s);
}

unsigned sim_state(struct sim *s)
{
	unsigned state;

	lock(s);
	state = s->info.state;
	unlock(s);
	return state;
}
