/* SPDX-License-Identifier: BSD-3-Clause */
/* device.c - see device.h. */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "../common/log.h"
#include "device.h"
#include "params.h"

/* The driver keeps a word for us.  Its high half says whose it is. */
#define COOKIE_MARK (0x6362642du) /* "cbd-" */

#define RECOVERY_MS 30000 /* until the kernel has done with the process before */
#define MAX_NUMBER (1 << 20)
#define VERIFIER_TRIES 100 /* its line is being stored, or damaged until the next beat */

static const char *name_of(const struct device *d)
{
	return d->state.name;
}

/* An error of the driver. */
static int driver_failed(const struct device *d, const char *what, int error)
{
	log_error("%s: /dev/ublkb%u: %s: %s", name_of(d), d->state.number, what, strerror(-error));
	return -1;
}

static int command(struct device *d, enum driver_command c, uint64_t argument)
{
	return d->driver->ops->command(d->driver, d->state.number, c, argument);
}

bool device_exists(struct driver *d, const struct state *s, struct ublksrv_ctrl_dev_info *info)
{
	return d->ops->info(d, s->number, info) >= 0 && info->ublksrv_flags == s->cookie;
}

bool device_stays(const struct device *d)
{
	return d->common.info.flags & UBLK_F_USER_RECOVERY_REISSUE;
}

/* ------------------------------------------------------------------ queues */

static int open_node(struct device *d)
{
	int r = d->driver->ops->open(d->driver, d->state.number);

	return r < 0 ? driver_failed(d, "cannot be served", r) : 0;
}

/* Of the queues' threads.  A verifier that cannot be read is none that is known to be the
 * same. */
static bool has_lost(const struct queue_device *common)
{
	struct device *d = (struct device *)((uintptr_t)common - offsetof(struct device, common));
	uint64_t verifier;

	for (unsigned i = 0; i < VERIFIER_TRIES; i++) {
		if (attach_verifier(&d->attachment, &verifier) == 0)
			return verifier != d->recovered;
		usleep(1000);
	}
	return true;
}

static int start_queues(struct device *d)
{
	d->common.name = d->state.name;
	d->common.driver = d->driver;
	d->common.blkdev = d->attachment.blkdev;
	d->common.poll = d->state.poll;
	d->common.ledger = &d->ledger;
	d->common.has_lost = has_lost;
	d->common.ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	d->queues = calloc(d->state.queues, sizeof(struct queue *));
	if (d->common.ended < 0 || d->queues == NULL)
		return driver_failed(d, "queues", -ENOMEM);
	for (unsigned i = 0; i < d->state.queues; i++) {
		d->queues[i] = queue_start(&d->common, i);
		if (d->queues[i] == NULL)
			return -1;
		d->running++;
	}
	return 0;
}

/* How many have ended, of those that were started; it waits for MS for one more. */
static unsigned count_ended(const struct device *d, unsigned known, int ms)
{
	struct pollfd ended = { .fd = d->common.ended, .events = POLLIN };
	eventfd_t one;

	while (known < d->running && poll(&ended, 1, ms) > 0 &&
	       eventfd_read(d->common.ended, &one) == 0) {
		known++;
		ms = 0;
	}
	return known;
}

bool device_has_ended(const struct device *d)
{
	struct pollfd ended = { .fd = d->common.ended, .events = POLLIN };

	return poll(&ended, 1, 0) > 0;
}

bool device_is_stopped(const struct device *d)
{
	struct ublksrv_ctrl_dev_info info;

	return !device_exists(d->driver, &d->state, &info) || info.state == UBLK_S_DEV_DEAD;
}

static void join_queues(struct device *d)
{
	for (unsigned i = 0; i < d->running; i++)
		queue_join(d->queues[i]);
}

/* After join_queues(). */
static void free_queues(struct device *d)
{
	/* before the memory of requests that were abandoned */
	attach_close(&d->attachment);
	for (unsigned i = 0; i < d->running; i++)
		queue_free(d->queues[i]);
	free(d->queues);
	d->queues = NULL;
	d->running = 0;
	if (d->common.ended > 0)
		close(d->common.ended);
	d->common.ended = -1;
	d->driver->ops->release(d->driver);
}

/* --------------------------------------------------------------------- add */

static uint64_t new_cookie(void)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), 0) < 0)
		random = (uint32_t)getpid();
	return (uint64_t)COOKIE_MARK << 32 | random;
}

static uint64_t wanted_flags(const struct device *d)
{
	return UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE |
	       (d->driver->ops->features(d->driver) & UBLK_F_UPDATE_SIZE) |
	       (d->state.unprivileged ? UBLK_F_UNPRIVILEGED_DEV : 0);
}

static int check_features(const struct device *d)
{
	uint64_t features = d->driver->ops->features(d->driver);

	if (d->state.unprivileged && !(features & UBLK_F_UNPRIVILEGED_DEV)) {
		log_error("%s: --unprivileged: this kernel's driver has no such devices; Linux 6.5 "
			  "and later have",
			  name_of(d));
		return -1;
	}
	return 0;
}

/*
 * The state file comes before the device: so a device that is in the kernel has a file,
 * whenever this process dies.  A file without a device is of no harm.
 */
static int try_number(struct device *d, unsigned number)
{
	struct ublksrv_ctrl_dev_info info = {
		.dev_id = number,
		.nr_hw_queues = (uint16_t)d->state.queues,
		.queue_depth = (uint16_t)d->state.depth,
		.max_io_buf_bytes = MAX_IO,
		.ublksrv_pid = getpid(),
		.flags = wanted_flags(d),
		.ublksrv_flags = d->state.cookie,
	};
	int r;

	d->state.number = number;
	if (state_write(&d->state) < 0)
		return -EIO;
	r = d->driver->ops->add(d->driver, &info);
	if (r < 0)
		return r;
	d->made = true;
	d->common.info = info;
	return 0;
}

static bool number_is_taken(unsigned number)
{
	char node[32];

	snprintf(node, sizeof(node), "/dev/ublkc%u", number);
	return access(node, F_OK) == 0;
}

static int make(struct device *d, int number)
{
	unsigned n = number < 0 ? 0 : (unsigned)number;
	int r = -EEXIST;

	d->state.cookie = new_cookie();
	if (number >= 0)
		r = try_number(d, n);
	for (; number < 0 && r == -EEXIST && n < MAX_NUMBER; n++)
		if (!number_is_taken(n))
			r = try_number(d, n);
	if (r == -EEXIST)
		return driver_failed(d, "there is one already", r);
	if (r < 0)
		return driver_failed(d, "cannot be added", r);
	if (d->common.info.nr_hw_queues != d->state.queues ||
	    d->common.info.queue_depth != d->state.depth) {
		log_warning("%s: the kernel makes %u queue%s of depth %u: no more of them than it "
			    "has CPUs",
			    name_of(d), d->common.info.nr_hw_queues,
			    d->common.info.nr_hw_queues == 1 ? "" : "s",
			    d->common.info.queue_depth);
		d->state.queues = d->common.info.nr_hw_queues;
		d->state.depth = d->common.info.queue_depth;
		if (state_write(&d->state) < 0)
			return -1;
	}
	if (!device_stays(d))
		log_warning("%s: the kernel does not keep this device when its process is gone: "
			    "%s",
			    name_of(d),
			    d->state.unprivileged ? "it is unprivileged"
						  : "Linux 6.1 and later do");
	return 0;
}

static int set_params(struct device *d)
{
	struct ublk_params params;
	int r;

	params_fill(&params, &d->attachment.geometry);
	d->sectors = params.basic.dev_sectors;
	r = d->driver->ops->set_params(d->driver, d->state.number, &params);
	return r < 0 ? driver_failed(d, "the kernel refuses the disk's parameters", r) : 0;
}

static int check_disk(struct device *d, const struct ublk_params *params)
{
	const char *why = params_refuse(&d->attachment.geometry, params);

	if (why == NULL)
		return 0;
	log_error("%s: backend %s: %s", name_of(d), d->state.backend, why);
	return -1;
}

static int begin(struct device *d, enum driver_command how)
{
	int r;

	if (start_queues(d) < 0)
		return -1;
	r = command(d, how, (uint64_t)getpid());
	return r < 0 ? driver_failed(d, "cannot be started", r) : 0;
}

int device_add(struct device *d, int number, unsigned wait_s)
{
	if (check_features(d) < 0 || attach_open(&d->attachment, &d->state) < 0 ||
	    attach_to(&d->attachment, &d->state, wait_s) < 0 || check_disk(d, NULL) < 0 ||
	    attach_describe(&d->attachment, &d->state, &d->verifier) < 0)
		return -1;
	d->state.verifier = d->verifier;
	if (make(d, number) < 0 || open_node(d) < 0 || set_params(d) < 0)
		return -1;
	return begin(d, DRIVER_START);
}

/* ----------------------------------------------------------------- recovery */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/*
 * The process before is gone, as the lock of the name tells.  The kernel closes what it
 * had open a moment later; until then the driver answers EBUSY.
 */
static int begin_recovery(struct device *d)
{
	const uint64_t until = now_ms() + RECOVERY_MS;
	int r;

	while ((r = command(d, DRIVER_BEGIN_RECOVERY, 0)) == -EBUSY && now_ms() < until)
		usleep(1000);
	if (r < 0)
		return driver_failed(d, "cannot be recovered", r);
	return 0;
}

static int find_device(struct device *d)
{
	if (!device_exists(d->driver, &d->state, &d->common.info)) {
		log_error("%s: /dev/ublkb%u: the kernel has no such device any more", name_of(d),
			  d->state.number);
		return -1;
	}
	if (!device_stays(d)) {
		log_error("%s: /dev/ublkb%u: the kernel does not keep this device when its process "
			  "is gone; 'cbd-ublk del %s' removes what is left",
			  name_of(d), d->state.number, name_of(d));
		return -1;
	}
	d->state.queues = d->common.info.nr_hw_queues;
	d->state.depth = d->common.info.queue_depth;
	return 0;
}

/* The file gets the new slot before the first request may come; and what the old slot
 * had is drained by now. */
static int take_over(struct device *d)
{
	const struct state before = d->state;

	if (attach_describe(&d->attachment, &d->state, &d->verifier) < 0)
		return -1;
	if (d->state.disk_identity != before.disk_identity) {
		log_error("%s: backend %s serves another disk than when the device was added",
			  name_of(d), d->state.backend);
		return -1;
	}
	d->recovered = d->verifier;
	atomic_store(&d->ledger.inherited, !d->attachment.geometry.write_through);
	if (d->verifier != before.verifier && !d->attachment.geometry.write_through) {
		log_warning("%s: the disk may have lost what was written and not flushed; the next "
			    "flush fails",
			    name_of(d));
		ledger_verifier_seen(&d->ledger);
		atomic_store(&d->ledger.lost, true);
	}
	return state_write(&d->state);
}

static int check_params(struct device *d)
{
	struct ublk_params params;
	int r = d->driver->ops->get_params(d->driver, d->state.number, &params);

	if (r < 0)
		return driver_failed(d, "parameters", r);
	d->sectors = params.basic.dev_sectors;
	return check_disk(d, &params);
}

int device_recover(struct device *d, unsigned wait_s)
{
	if (find_device(d) < 0 || attach_open(&d->attachment, &d->state) < 0 ||
	    attach_await_death(&d->attachment, &d->state) < 0 ||
	    attach_to(&d->attachment, &d->state, wait_s) < 0 || check_params(d) < 0 ||
	    take_over(d) < 0 || begin_recovery(d) < 0 || open_node(d) < 0)
		return -1;
	return begin(d, DRIVER_END_RECOVERY);
}

/* --------------------------------------------------------------- while it runs */

static void follow_size(struct device *d)
{
	struct cbd_blkdev_geometry g;
	uint64_t sectors;
	int r = -EOPNOTSUPP;

	cbd_blkdev_geometry(d->attachment.blkdev, &g, sizeof(g));
	sectors = params_sectors(&g);
	if (sectors <= d->sectors || g.size == d->told_size)
		return;
	d->told_size = g.size;
	if (d->driver->ops->features(d->driver) & UBLK_F_UPDATE_SIZE)
		r = command(d, DRIVER_UPDATE_SIZE, sectors);
	if (r >= 0) {
		d->sectors = sectors;
		log_info("%s: has %" PRIu64 " bytes now", name_of(d), g.size);
	} else if (r == -EOPNOTSUPP) {
		log_warning("%s: the disk has %" PRIu64 " bytes now. This kernel cannot change "
			    "the size of /dev/ublkb%u, Linux 6.16 and later can: remove the "
			    "device and add it again",
			    name_of(d), g.size, d->state.number);
	} else {
		driver_failed(d, "its size cannot be changed", r);
	}
}

static void follow_verifier(struct device *d)
{
	uint64_t verifier;

	if (attach_verifier(&d->attachment, &verifier) == 0 && verifier != d->verifier) {
		d->verifier = verifier;
		ledger_verifier_seen(&d->ledger);
	}
	if (d->verifier == d->state.verifier || !ledger_is_settled(&d->ledger))
		return;
	d->state.verifier = d->verifier;
	state_write(&d->state);
}

void device_look(struct device *d)
{
	follow_size(d);
	follow_verifier(d);
}

bool device_is_in_use(unsigned number)
{
	char node[32];
	int fd;

	snprintf(node, sizeof(node), "/dev/ublkb%u", number);
	fd = open(node, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd < 0 && errno == EBUSY;
}

/* ------------------------------------------------------------------------ end */

void device_leave(struct device *d, unsigned ms)
{
	const uint64_t until = now_ms() + ms;
	unsigned ended = 0;

	for (unsigned i = 0; i < d->running; i++)
		queue_leave(d->queues[i], false);
	while ((ended = count_ended(d, ended, 10)) < d->running && now_ms() < until)
		;
	for (unsigned i = 0; i < d->running; i++)
		queue_leave(d->queues[i], true);
	join_queues(d);
	free_queues(d);
	d->made = false;
}

/* The queues give the requests back that wait for a backend which is gone. */
static int stop(struct device *d)
{
	int r;

	if (d->attachment.blkdev != NULL)
		cbd_blkdev_stop_waiting(d->attachment.blkdev);
	r = command(d, DRIVER_STOP, 0);
	d->stuck = r < 0;
	if (d->stuck)
		return driver_failed(d, "cannot be stopped", r);
	join_queues(d);
	return 0;
}

int device_remove(struct device *d)
{
	int r;

	if (stop(d) < 0)
		return -1;
	free_queues(d);
	r = command(d, DRIVER_DELETE, 0);
	d->made = false;
	state_remove(d->state.name);
	return r < 0 ? driver_failed(d, "cannot be deleted", r) : 0;
}

int device_remove_orphan(struct driver *driver, const struct state *s)
{
	struct device d = { .driver = driver, .state = *s, .common.ended = -1 };
	struct ublksrv_ctrl_dev_info info;
	int r;

	if (device_exists(driver, s, &info)) {
		r = command(&d, DRIVER_STOP, 0);
		if (r < 0)
			return driver_failed(&d, "cannot be stopped", r);
		r = command(&d, DRIVER_DELETE, 0);
		if (r < 0)
			return driver_failed(&d, "cannot be deleted", r);
	}
	state_remove(s->name);
	return 0;
}

void device_close(struct device *d)
{
	if (d->stuck || (d->made && device_remove(d) < 0))
		return;
	if (d->queues != NULL)
		device_leave(d, 0);
	attach_close(&d->attachment);
}
