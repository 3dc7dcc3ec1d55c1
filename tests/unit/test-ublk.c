/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test-ublk.c - cbd-ublk without its driver: requests, and a device that outlives the
 * process that serves it.  The driver is simulated (ublk-driver.h), the backend is the
 * test's own.
 */
#include <config.h>

#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../ublk/device.h"
#include "../../ublk/params.h"
#include "../../ublk/pause.h"
#include "ublk-driver.h"
#include "unit.h"

#define BLOCK 4096u

static struct pair p;
static struct sim *s;
static struct device d;
static unsigned char data[SIM_DATA], back[SIM_DATA];

/* --------------------------------------------------------------- a device */

static struct state new_state(unsigned queues)
{
	struct state state = {
		.name = "disk",
		.backend = "disk",
		.queues = queues,
		.depth = SIM_DEPTH,
		.host_id = -1,
	};

	ck_assert_uint_lt(strlen(p.path), sizeof(state.transport));
	strcpy(state.transport, p.path);
	return state;
}

static void set_run_folder(void)
{
	char path[UNIT_PATH];

	unit_path(path);
	setenv("CBD_UBLK_RUN", dirname(path), 1);
}

static struct device new_device(const struct state *state)
{
	return (struct device){ .driver = sim_driver(s), .state = *state, .common.ended = -1 };
}

static void open_all(const struct pair_options *o)
{
	set_run_folder();
	pair_format(&p, o);
	pair_publish(&p);
	s = sim_new();
}

static void open_device(const struct pair_options *o, unsigned queues)
{
	struct state state;

	open_all(o);
	state = new_state(queues);
	d = new_device(&state);
	ck_assert_int_eq(device_add(&d, 0, 0), 0);
}

static void close_all(void)
{
	sim_free(s);
	pair_close(&p);
}

static void close_device(void)
{
	ck_assert_int_eq(device_remove(&d), 0);
	ck_assert(!s->exists);
	device_close(&d);
	d.driver->ops->close(d.driver);
	close_all();
}

static int execute(unsigned op_flags, uint64_t offset, uint32_t length, void *buf)
{
	return sim_execute(s, 0, op_flags, offset, length, buf);
}

/* ---------------------------------------------------------------- requests */

START_TEST(operations)
{
	struct pair_options o = way(_i);
	const unsigned char *disk;

	open_device(&o, 1);
	disk = unit_disk_data(&p.disk);
	unit_fill(data, sizeof(data), 7);
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE, BLOCK, sizeof(data), data), sizeof(data));
	ck_assert_mem_eq(unit_disk_data(&p.disk) + BLOCK, data, sizeof(data));
	ck_assert_int_eq(execute(UBLK_IO_OP_READ, BLOCK, sizeof(back), back), sizeof(back));
	ck_assert_mem_eq(back, data, sizeof(data));
	ck_assert_uint_eq(unit_disk_flags(&p.disk, CBD_OP_WRITE), 0);
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE | UBLK_IO_F_FUA, 0, 512, data), 512);
	ck_assert_uint_eq(unit_disk_flags(&p.disk, CBD_OP_WRITE), CBD_IO_FUA);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), 0);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_FLUSH), 1);
	ck_assert_int_eq(execute(UBLK_IO_OP_DISCARD, BLOCK, BLOCK, NULL), 0);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_DISCARD), 1);
	ck_assert_uint_eq(disk[BLOCK], 0);
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE_ZEROES, 2 * BLOCK, BLOCK, NULL), 0);
	ck_assert_uint_eq(unit_disk_flags(&p.disk, CBD_OP_WRITE_ZEROES), CBD_IO_MAY_TRIM);
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_NOUNMAP, 3 * BLOCK, BLOCK,
				 NULL),
			 0);
	ck_assert_uint_eq(unit_disk_flags(&p.disk, CBD_OP_WRITE_ZEROES), 0);
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE_SAME, 0, BLOCK, NULL), -EOPNOTSUPP);
	/* no payload of the process may be read beyond a tag's buffer */
	ck_assert_int_eq(execute(UBLK_IO_OP_READ, 0, MAX_IO + 512, NULL), -EIO);
	ck_assert_int_eq(execute(UBLK_IO_OP_READ, 1u << 20, 512, NULL), -EIO);
	close_device();
}
END_TEST

/* What the kernel hears of a disk that fails. */
START_TEST(errors)
{
	static const struct {
		int disk, kernel;
	} cases[] = { { EIO, -EIO },
		      { ENOSPC, -ENOSPC },
		      { EOPNOTSUPP, -EOPNOTSUPP },
		      { EPERM, -EIO },
		      { EINVAL, -EIO } };

	open_device(&(struct pair_options){ .disk_size = 1u << 20 }, 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unit_disk_fail(&p.disk, CBD_OP_DISCARD, cases[i].disk);
		ck_assert_int_eq(execute(UBLK_IO_OP_DISCARD, 0, BLOCK, NULL), cases[i].kernel);
	}
	unit_disk_fail(&p.disk, CBD_OP_READ, EIO);
	ck_assert_int_eq(execute(UBLK_IO_OP_READ, 0, BLOCK, back), -EIO);
	close_device();
}
END_TEST

/* A disk that can make no zeroes is written zeroes, all of them and no others. */
START_TEST(zeroes_by_writes)
{
	const uint32_t length = 2 * MAX_IO + BLOCK;
	const unsigned char *disk;
	unsigned char *was;

	open_device(&(struct pair_options){ .disk_size = 4u << 20 }, 1);
	was = new_buffer(p.disk.size, 1);
	unit_disk_fail(&p.disk, CBD_OP_WRITE_ZEROES, EOPNOTSUPP);
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_FUA, BLOCK, length, NULL), 0);
	ck_assert_uint_eq(unit_disk_flags(&p.disk, CBD_OP_WRITE), CBD_IO_FUA);
	disk = unit_disk_data(&p.disk);
	for (uint32_t i = 0; i < length; i++)
		ck_assert_uint_eq(disk[BLOCK + i], 0);
	ck_assert_mem_eq(disk, was, BLOCK);
	ck_assert_mem_eq(disk + BLOCK + length, was + BLOCK + length, p.disk.size - BLOCK - length);
	free(was);
	close_device();
}
END_TEST

/* One thread of the block device's users: a part of the disk, against a shadow. */
struct user {
	pthread_t thread;
	unsigned index, count;
	unsigned char shadow[SIM_DATA], buf[SIM_DATA];
};

static void use_once(struct user *u, uint64_t *random)
{
	const uint64_t start = u->index * (uint64_t)SIM_DATA;
	uint32_t at = unit_random(random) % 120 * 512, n = (1 + unit_random(random) % 8) * 512;

	switch (unit_random(random) % 4) {
	case 0:
		ck_assert_int_eq(sim_execute(s, u->index, UBLK_IO_OP_READ, start + at, n, u->buf),
				 (int)n);
		ck_assert_mem_eq(u->buf, u->shadow + at, n);
		break;
	case 1:
		memset(u->shadow + at, 0, n);
		ck_assert_int_eq(sim_execute(s, u->index, UBLK_IO_OP_WRITE_ZEROES, start + at, n,
					     NULL),
				 0);
		break;
	default:
		unit_fill(u->buf, n, unit_random(random));
		memcpy(u->shadow + at, u->buf, n);
		ck_assert_int_eq(sim_execute(s, u->index, UBLK_IO_OP_WRITE, start + at, n, u->buf),
				 (int)n);
	}
}

static void *use(void *opaque)
{
	struct user *u = opaque;
	uint64_t random = u->index + 1;

	for (unsigned i = 0; i < u->count; i++)
		use_once(u, &random);
	return NULL;
}

/* The disk is looked at before anybody writes to it: its lock tells tools that know each
 * side of the memory by another mapping. */
static void use_all(struct user *users, unsigned n, unsigned count)
{
	for (unsigned i = 0; i < n; i++) {
		users[i].index = i;
		users[i].count = count;
		memcpy(users[i].shadow, p.disk.data + i * SIM_DATA, SIM_DATA);
	}
	unit_disk_data(&p.disk);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
}

static void end_use(struct user *users, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		pthread_join(users[i].thread, NULL);
		ck_assert_mem_eq(unit_disk_data(&p.disk) + i * SIM_DATA, users[i].shadow, SIM_DATA);
	}
}

START_TEST(queues)
{
	static struct user users[SIM_QUEUES];
	struct pair_options o = way(_i);

	o.queues = SIM_QUEUES;
	open_device(&o, SIM_QUEUES);
	use_all(users, SIM_QUEUES, unit_share(80));
	end_use(users, SIM_QUEUES);
	close_device();
}
END_TEST

/* ------------------------------------------------------------ what is told */

START_TEST(parameters)
{
	struct cbd_blkdev_geometry g = {
		.size = (1u << 20) + 512,
		.logical_block = 4096,
		.physical_block = 4096,
		.optimal_block = 65536,
		.rotational = true,
	};
	struct ublk_params params;

	params_fill(&params, &g);
	ck_assert_uint_eq(params.basic.dev_sectors, 2048); /* whole blocks */
	ck_assert_uint_eq(params.basic.logical_bs_shift, 12);
	ck_assert_uint_eq(params.basic.io_opt_shift, 16);
	ck_assert_uint_eq(params.basic.attrs,
			  UBLK_ATTR_ROTATIONAL | UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA);
	ck_assert_uint_eq(params.discard.max_discard_sectors, 0);
	ck_assert_uint_gt(params.discard.max_write_zeroes_sectors, 0);
	ck_assert_ptr_null(params_refuse(&g, &params));
	g.size = 1u << 20;
	ck_assert_ptr_null(params_refuse(&g, &params));
	g.size = 4096;
	ck_assert_ptr_nonnull(params_refuse(&g, &params)); /* smaller */
	g.size = 2u << 20;
	g.read_only = true;
	ck_assert_ptr_nonnull(params_refuse(&g, &params));
	g.write_through = true;
	g.rotational = false;
	params_fill(&params, &g);
	ck_assert_uint_eq(params.basic.attrs, UBLK_ATTR_READ_ONLY);
	ck_assert_uint_eq(params.types, UBLK_PARAM_TYPE_BASIC);
	g.write_through = false;
	ck_assert_ptr_nonnull(params_refuse(&g, &params)); /* the kernel would not flush */
	g.logical_block = 8192;
	ck_assert_ptr_nonnull(params_refuse(&g, NULL));
}
END_TEST

START_TEST(grows)
{
	open_device(&(struct pair_options){ .disk_size = 1u << 20 }, 1);
	s->features |= _i ? UBLK_F_UPDATE_SIZE : 0;
	p.disk.data = realloc(p.disk.data, 2u << 20);
	p.disk.size = 2u << 20;
	server_stop(&p);
	unit_ok(cbd_backend_resize(p.backend, p.disk.size));
	server_start(&p);
	if (_i) {
		unit_wait((device_look(&d), s->sectors == 4096));
	} else {
		unit_wait((device_look(&d), d.told_size == p.disk.size));
		ck_assert_uint_eq(s->sectors, 0);
	}
	close_device();
}
END_TEST

/* A second process does not get the name; its file is as it was written. */
START_TEST(files)
{
	struct state state, read;
	char path[UNIT_PATH + 32];
	int lock;
	FILE *f;

	set_run_folder();
	state = new_state(3);
	strcpy(state.transport, "/dev/shm/\"a\" b");
	memset(state.transport_uuid, 0xa7, 16);
	state.cookie = 0xfedcba9876543210;
	state.verifier = UINT64_MAX;
	state.poll = CBD_POLL_SLEEP;
	state.unprivileged = true;
	ck_assert_int_eq(state_read("disk", &read), 1);
	ck_assert_int_eq(state_write(&state), 0);
	ck_assert_int_eq(state_read("disk", &read), 0);
	ck_assert_mem_eq(read.transport_uuid, state.transport_uuid, 16);
	ck_assert_str_eq(read.transport, state.transport);
	ck_assert_uint_eq(read.cookie, state.cookie);
	ck_assert_uint_eq(read.verifier, state.verifier);
	ck_assert_int_eq(read.poll, state.poll);
	ck_assert(read.unprivileged && !read.read_only);
	lock = state_lock("disk");
	ck_assert_int_ge(lock, 0);
	ck_assert_int_eq(state_lock("disk"), -EWOULDBLOCK);
	ck_assert(state_is_served("disk"));
	close(lock);
	ck_assert(!state_is_served("disk"));
	snprintf(path, sizeof(path), "%s/disk.json", state_folder());
	f = fopen(path, "w");
	fputs("{ \"name\": \"disk\", \"queues\": \"many\" }", f);
	fclose(f);
	ck_assert_int_eq(state_read("disk", &read), -1);
	state_remove("disk");
	ck_assert_int_eq(state_read("disk", &read), 1);
	ck_assert(state_name_is_good("a.B_1+-") && !state_name_is_good("../x") &&
		  !state_name_is_good("") && !state_name_is_good(".x"));
}
END_TEST

static void write_and_read(unsigned i)
{
	unit_fill(data, BLOCK, i);
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE, i % 4 * BLOCK, BLOCK, data), BLOCK);
	usleep(i % 5 * 50);
	ck_assert_int_eq(execute(UBLK_IO_OP_READ, i % 4 * BLOCK, BLOCK, back), BLOCK);
	ck_assert_mem_eq(back, data, BLOCK);
}

/* Every way to sleep was seen that this kernel has. */
static bool has_slept(void)
{
	return (s->deaf ? s->by_fd : s->by_bell) > 0 && s->with_results > 0;
}

/* The queue sleeps before each request and before each answer, on kernels that wait for bells
 * and on those that do not. */
START_TEST(sleeps)
{
	struct pair_options o = way(_i / 2);
	uint64_t since = cbd_now_ns();
	struct state state;

	open_all(&o);
	s->deaf = _i % 2;
	state = new_state(1);
	state.poll = CBD_POLL_SLEEP;
	d = new_device(&state);
	ck_assert_int_eq(device_add(&d, 0, 0), 0);
	for (unsigned i = 0; i < 50 || !has_slept(); i++) {
		write_and_read(i);
		ck_assert(unit_may_wait(since));
	}
	ck_assert(!s->deaf || s->by_bell == 0);
	close_device();
}
END_TEST

START_TEST(policy)
{
	struct pause w;

	pause_init(&w, CBD_POLL_SLEEP);
	unit_wait(!pause_stay_awake(&w));
	pause_init(&w, CBD_POLL_ADAPTIVE);
	unit_wait(!pause_stay_awake(&w));
	ck_assert(pause_stay_awake(&w) || w.one_cpu); /* a new wait */
	pause_hit(&w);
	/* to stay awake is in vain after a long sleep */
	ck_assert(!pause_is_in_vain(&w));
	pause_falls_asleep(&w);
	usleep(1000);
	pause_wakes_up(&w);
	ck_assert(pause_is_in_vain(&w));
	pause_init(&w, CBD_POLL_BUSY);
	pause_falls_asleep(&w);
	usleep(1000);
	pause_wakes_up(&w);
	ck_assert(!pause_is_in_vain(&w));
	for (unsigned i = 0; i < 1000; i++)
		ck_assert(pause_stay_awake(&w));
}
END_TEST

/* -------------------------------------------- a device without its process */

/*
 * The processes that serve and are killed are children of one that has a single thread: a
 * child of the test, which has threads, might find locks that nobody gives back.
 */
struct spawn {
	enum { SPAWN_ADD, SPAWN_RECOVER, SPAWN_WAIT } what;
	struct state state; /* to add */
	pid_t pid;	    /* to wait for */
};

static int to_spawner, from_spawner;
static pid_t server;

/* Until it is killed.  Nothing of check may be used here. */
static void serve_for_ever(const struct spawn *job)
{
	struct state state = job->state;
	struct device own;

	if (job->what == SPAWN_RECOVER && state_read("disk", &state) != 0)
		_exit(2);
	own = new_device(&state);
	if ((job->what == SPAWN_RECOVER ? device_recover(&own, 0) : device_add(&own, 0, 0)) < 0)
		_exit(1);
	for (;;) {
		device_look(&own);
		usleep(5000);
	}
}

static void run_spawner(int in, int out)
{
	struct spawn job;
	int answer = 0;

	while (read(in, &job, sizeof(job)) == sizeof(job)) {
		if (job.what == SPAWN_WAIT)
			waitpid(job.pid, &answer, 0);
		else if ((answer = fork()) == 0)
			serve_for_ever(&job);
		if (write(out, &answer, sizeof(answer)) != sizeof(answer))
			break;
	}
	_exit(0);
}

static void open_spawner(void)
{
	int there[2], back_again[2];
	pid_t pid;

	ck_assert_int_eq(pipe(there), 0);
	ck_assert_int_eq(pipe(back_again), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		close(there[1]);
		close(back_again[0]);
		run_spawner(there[0], back_again[1]);
	}
	close(there[0]);
	close(back_again[1]);
	to_spawner = there[1];
	from_spawner = back_again[0];
}

static int ask_spawner(const struct spawn *job)
{
	int answer;

	ck_assert_int_eq(write(to_spawner, job, sizeof(*job)), sizeof(*job));
	ck_assert_int_eq(read(from_spawner, &answer, sizeof(answer)), sizeof(answer));
	return answer;
}

static pid_t spawn_server(bool recovers)
{
	const struct spawn job = { .what = recovers ? SPAWN_RECOVER : SPAWN_ADD,
				   .state = new_state(p.o.queues) };

	return ask_spawner(&job);
}

static int status_of(pid_t pid)
{
	const struct spawn job = { .what = SPAWN_WAIT, .pid = pid };

	return ask_spawner(&job);
}

static void begin_in_child(bool recovers)
{
	server = spawn_server(recovers);
	unit_wait(sim_state(s) == UBLK_S_DEV_LIVE);
}

static void kill_child(void)
{
	ck_assert_int_eq(kill(server, SIGKILL), 0);
	ck_assert(WIFSIGNALED(status_of(server)));
	sim_server_died(s);
}

static int child_fails(void)
{
	int status = status_of(spawn_server(true));

	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* In front of the test's first thread. */
static void open_all_and_spawner(const struct pair_options *o)
{
	set_run_folder();
	pair_format(&p, o);
	s = sim_new();
	open_spawner();
	pair_publish(&p);
}

/* Users go on while the process is killed again and again; no request fails. */
START_TEST(killed)
{
	static struct user users[SIM_QUEUES];
	struct pair_options o = way(_i);

	o.queues = SIM_QUEUES;
	o.channels = SIM_QUEUES;
	open_all_and_spawner(&o);
	begin_in_child(false);
	use_all(users, SIM_QUEUES, unit_share(60));
	for (unsigned i = 0; i < 4; i++) {
		usleep(10000);
		kill_child();
		begin_in_child(true);
	}
	end_use(users, SIM_QUEUES);
	kill_child();
	close_all();
}
END_TEST

/* For so long nothing may come to the backend. */
static void nothing_comes(void)
{
	struct cbd_request *r[1];

	for (unsigned i = 0; i < 100; i++) {
		ck_assert_uint_eq(pair_fetch(&p, r, 1), 0);
		usleep(2000);
	}
	ck_assert_uint_eq(sim_state(s), UBLK_S_DEV_QUIESCED);
}

/*
 * The backend has fetched a write of a process that comes to its end.  The next process gets
 * the write again, but submits nothing before the old process is dead, though the backend
 * takes a second blkdev meanwhile, and before the backend has executed the first write:
 * otherwise that could land on top of what comes after the second.
 */
START_TEST(old_write_first)
{
	struct pair_options o = { .max_blkdevs = 4 };
	struct cbd_request *old[1];
	pid_t first;
	unsigned tag;

	open_all_and_spawner(&o);
	begin_in_child(false);
	server_stop(&p);
	memset(data, 'a', BLOCK);
	tag = sim_submit(s, 0, UBLK_IO_OP_WRITE, 0, BLOCK, data);
	pair_fetch_all(&p, old, 1);
	first = server;
	ck_assert_int_eq(kill(first, SIGSTOP), 0);
	sim_server_died(s);
	server = spawn_server(true);
	nothing_comes();
	ck_assert_int_eq(kill(first, SIGKILL), 0);
	status_of(first);
	nothing_comes();
	ck_assert_uint_eq(sim_given(s, 0, tag), 1);
	pair_complete(&p, old[0]);
	server_start(&p);
	ck_assert_int_eq(sim_wait(s, 0, tag, NULL), BLOCK);
	ck_assert_uint_eq(sim_given(s, 0, tag), 2);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_WRITE), 2);
	kill_child();
	close_all();
}
END_TEST

/* Backend and server end together. */
START_TEST(both_killed)
{
	struct pair_options o = { .ring_slots = 16 };
	struct cbd_request *r[1];
	unsigned tag;

	open_all_and_spawner(&o);
	begin_in_child(false);
	server_stop(&p);
	unit_fill(data, BLOCK, 3);
	tag = sim_submit(s, 0, UBLK_IO_OP_WRITE, 0, BLOCK, data);
	pair_fetch_all(&p, r, 1);
	kill_child();
	pair_crash(&p);
	server_start(&p);
	begin_in_child(true);
	ck_assert_int_eq(sim_wait(s, 0, tag, NULL), BLOCK);
	ck_assert_mem_eq(unit_disk_data(&p.disk), data, BLOCK);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), 0);
	kill_child();
	close_all();
}
END_TEST

/* What was taken is answered, what comes then is the next process's. */
START_TEST(left_and_recovered)
{
	struct state state;
	unsigned tag;

	open_device(&(struct pair_options){ .ring_slots = 16 }, 1);
	unit_fill(data, BLOCK, 5);
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE, 0, BLOCK, data), BLOCK);
	device_leave(&d, 1000);
	device_close(&d);
	ck_assert_uint_eq(sim_state(s), UBLK_S_DEV_QUIESCED);
	tag = sim_submit(s, 0, UBLK_IO_OP_READ, 0, BLOCK, NULL);
	ck_assert_int_eq(state_read("disk", &state), 0);
	d.driver->ops->close(d.driver);
	d = new_device(&state);
	ck_assert_int_eq(device_recover(&d, 0), 0);
	ck_assert_int_eq(sim_wait(s, 0, tag, back), BLOCK);
	ck_assert_mem_eq(back, data, BLOCK);
	d.made = true;
	close_device();
}
END_TEST

/* A request that the backend does not answer is not waited for: the kernel keeps it. */
START_TEST(left_without_answer)
{
	struct cbd_request *r[1];
	struct state state;
	unsigned tag;

	open_device(&(struct pair_options){ .dead_after = 4 }, 1);
	server_stop(&p);
	tag = sim_submit(s, 0, UBLK_IO_OP_READ, 0, BLOCK, NULL);
	pair_fetch_all(&p, r, 1);
	device_leave(&d, 20);
	device_close(&d);
	ck_assert(sim_is_open(s, 0, tag));
	pair_complete(&p, r[0]);
	server_start(&p);
	ck_assert_int_eq(state_read("disk", &state), 0);
	d.driver->ops->close(d.driver);
	d = new_device(&state);
	ck_assert_int_eq(device_recover(&d, 0), 0);
	ck_assert_int_eq(sim_wait(s, 0, tag, back), BLOCK);
	close_device();
}
END_TEST

/* --------------------------------------------------------- losses and disks */

static void reboot_backend(uint64_t verifier)
{
	p.geometry.verifier = verifier;
	pair_crash(&p);
	server_start(&p);
}

static uint64_t recorded_verifier(void)
{
	struct state state;

	ck_assert_int_eq(state_read("disk", &state), 0);
	return state.verifier;
}

/*
 * The backend's host boots again while no process serves the device: what was acknowledged
 * before may be lost, and the next process knows it by the file alone.
 */
START_TEST(lost_between_processes)
{
	uint64_t first;

	open_all_and_spawner(&(struct pair_options){ .ring_slots = 16 });
	begin_in_child(false);
	first = recorded_verifier();
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE, 0, BLOCK, data), BLOCK);
	kill_child();
	reboot_backend(0x90000);
	begin_in_child(true);
	ck_assert_int_eq(execute(UBLK_IO_OP_READ, 0, BLOCK, back), BLOCK);
	/* a process that dies before it has told leaves it to the next one */
	kill_child();
	begin_in_child(true);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), -EIO);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), 0);
	unit_wait(recorded_verifier() != first);
	kill_child();
	begin_in_child(true);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), 0);
	kill_child();
	close_all();
}
END_TEST

/* It boots again after a recovery, before the first flush: the process that serves the device
 * has written nothing itself. */
START_TEST(lost_after_recovery)
{
	uint64_t first;

	open_all_and_spawner(&(struct pair_options){ .ring_slots = 16 });
	begin_in_child(false);
	first = recorded_verifier();
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE, 0, BLOCK, data), BLOCK);
	kill_child();
	begin_in_child(true);
	reboot_backend(0x90000);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), -EIO);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), 0);
	/* one that dies before it has recorded that tells of it once more */
	unit_wait(recorded_verifier() != first);
	kill_child();
	begin_in_child(true);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), 0);
	reboot_backend(0xa0000);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), 0); /* all was flushed */
	kill_child();
	close_all();
}
END_TEST

/* It boots again while a process serves the device: that one tells.  With nothing
 * unflushed there is nothing to tell, then or later. */
START_TEST(lost_under_a_process)
{
	uint64_t first, second;

	open_all_and_spawner(&(struct pair_options){ .ring_slots = 16 });
	begin_in_child(false);
	first = recorded_verifier();
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE, 0, BLOCK, data), BLOCK);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), 0);
	reboot_backend(0x90000);
	unit_wait(recorded_verifier() != first);
	second = recorded_verifier();
	ck_assert_int_eq(execute(UBLK_IO_OP_WRITE, 0, BLOCK, data), BLOCK);
	reboot_backend(0xa0000);
	/* with an unflushed write the file names the old one until a flush was answered */
	ck_assert_int_eq(execute(UBLK_IO_OP_READ, 0, BLOCK, back), BLOCK);
	ck_assert_uint_eq(recorded_verifier(), second);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), -EIO);
	unit_wait(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL) == 0 && recorded_verifier() != second);
	kill_child();
	begin_in_child(true);
	ck_assert_int_eq(execute(UBLK_IO_OP_FLUSH, 0, 0, NULL), 0);
	kill_child();
	close_all();
}
END_TEST

START_TEST(ledger)
{
	struct ledger l = { 0 };
	struct ledger_flush before, after;

	ck_assert(ledger_is_settled(&l));
	ledger_write_begins(&l);
	ledger_write_ends(&l);
	before = ledger_flush_begins(&l);
	ledger_verifier_seen(&l);
	ck_assert(!ledger_is_settled(&l));
	ledger_flush_told(&l, &before); /* it came before */
	ck_assert(!ledger_is_settled(&l));
	after = ledger_flush_begins(&l);
	ledger_flush_told(&l, &after); /* it has failed, and that was told */
	ck_assert(ledger_is_settled(&l));
	ledger_verifier_seen(&l);
	ck_assert(!ledger_is_settled(&l));
	after = ledger_flush_begins(&l);
	ledger_write_begins(&l);
	ledger_flush_succeeds(&l, &after);
	ck_assert(!ledger_is_settled(&l)); /* a write is under way */
	ledger_write_ends(&l);
	ck_assert(!ledger_is_settled(&l)); /* and is not covered */
	after = ledger_flush_begins(&l);
	ledger_flush_succeeds(&l, &after);
	ck_assert(ledger_is_settled(&l));
	atomic_store(&l.lost, true);
	ck_assert(!ledger_is_settled(&l));
	ck_assert(ledger_take_loss(&l) && !ledger_take_loss(&l));
}
END_TEST

/* The device goes on waiting for its own disk. */
START_TEST(another_disk)
{
	unsigned tag;

	open_all_and_spawner(&(struct pair_options){ .ring_slots = 16 });
	begin_in_child(false);
	kill_child();
	tag = sim_submit(s, 0, UBLK_IO_OP_WRITE, 0, BLOCK, data);
	strcpy((char *)p.geometry.disk_id, "another disk");
	reboot_backend(0x70000);
	ck_assert_int_eq(child_fails(), 1);
	ck_assert_uint_eq(sim_state(s), UBLK_S_DEV_QUIESCED);
	ck_assert_uint_eq(unit_disk_ops(&p.disk, CBD_OP_WRITE), 0);
	memset(p.geometry.disk_id, 0, sizeof(p.geometry.disk_id));
	strcpy((char *)p.geometry.disk_id, "a disk");
	p.geometry.read_only = true;
	reboot_backend(0x70000);
	ck_assert_int_eq(child_fails(), 1);
	p.geometry.read_only = false;
	reboot_backend(0x70000);
	begin_in_child(true);
	ck_assert_int_eq(sim_wait(s, 0, tag, NULL), BLOCK);
	kill_child();
	close_all();
}
END_TEST

/* ---------------------------------------------------------------------- end */

/* Requests wait for a backend that is gone; who removes the device does not. */
START_TEST(removed_without_backend)
{
	unsigned tag;

	open_device(&(struct pair_options){ .dead_after = 4 }, 1);
	server_stop(&p);
	tag = sim_submit(s, 0, UBLK_IO_OP_READ, 0, BLOCK, NULL);
	unit_wait(sim_given(s, 0, tag) == 1);
	ck_assert_int_eq(device_remove(&d), 0);
	ck_assert(!sim_is_open(s, 0, tag));
	ck_assert_int_eq(sim_wait(s, 0, tag, NULL), -EIO);
	device_close(&d);
	d.driver->ops->close(d.driver);
	close_all();
}
END_TEST

/* Another program stops the device. */
START_TEST(stopped_by_another)
{
	struct driver *other;

	open_device(&(struct pair_options){ .ring_slots = 16 }, 1);
	ck_assert(!device_has_ended(&d));
	other = sim_driver(s);
	ck_assert_int_eq(other->ops->command(other, 0, DRIVER_STOP, 0), 0);
	other->ops->close(other);
	unit_wait(device_has_ended(&d));
	close_device();
}
END_TEST

/* What has failed leaves no device. */
START_TEST(fails_without_trace)
{
	struct state state;

	open_all(&(struct pair_options){ .ring_slots = 16 });
	state = new_state(1);
	strcpy(state.backend, "none");
	d = new_device(&state);
	ck_assert_int_eq(device_add(&d, 0, 0), -1);
	device_close(&d);
	ck_assert(!s->exists);
	d.state = new_state(1);
	d.state.unprivileged = true; /* the driver has no such devices */
	ck_assert_int_eq(device_add(&d, 0, 0), -1);
	device_close(&d);
	d.state = new_state(1);
	s->open = true; /* another process has the node */
	ck_assert_int_eq(device_add(&d, 0, 0), -1);
	device_close(&d);
	ck_assert(!s->exists);
	ck_assert_int_eq(state_read("disk", &state), 1);
	d.driver->ops->close(d.driver);
	close_all();
}
END_TEST

static Suite *suite(void)
{
	Suite *suite = suite_create("ublk");
	TCase *c = tcase_create("ublk");

	tcase_set_timeout(c, UNIT_TIMEOUT);
	tcase_add_loop_test(c, operations, 0, WAYS);
	tcase_add_test(c, errors);
	tcase_add_test(c, zeroes_by_writes);
	tcase_add_loop_test(c, queues, 0, WAYS);
	tcase_add_test(c, parameters);
	tcase_add_loop_test(c, grows, 0, 2);
	tcase_add_test(c, files);
	tcase_add_test(c, policy);
	tcase_add_loop_test(c, sleeps, 0, 2 * WAYS);
	tcase_add_loop_test(c, killed, 0, WAYS);
	tcase_add_test(c, old_write_first);
	tcase_add_test(c, both_killed);
	tcase_add_test(c, left_and_recovered);
	tcase_add_test(c, left_without_answer);
	tcase_add_test(c, lost_between_processes);
	tcase_add_test(c, lost_after_recovery);
	tcase_add_test(c, lost_under_a_process);
	tcase_add_test(c, ledger);
	tcase_add_test(c, another_disk);
	tcase_add_test(c, removed_without_backend);
	tcase_add_test(c, stopped_by_another);
	tcase_add_test(c, fails_without_trace);
	suite_add_tcase(suite, c);
	return suite;
}

int main(void)
{
	return unit_main(suite());
}
