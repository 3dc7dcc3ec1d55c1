/* SPDX-License-Identifier: BSD-3-Clause */
/* small.c - see small.h. */
#include <config.h>

#include <fcntl.h>
#include <unistd.h>

#include "base/crc.h"
#include "small.h"

const struct cbd_format_options small_options = {
	.size = SMALL_SIZE,
	.hosts = 4,
	.backends = 2,
	.blkdevs = 4,
	.channels = 2,
	.depth = 16,
	.heartbeat_ms = 20,
	.dead_after = 3,
};

char small_path[UNIT_PATH];

void small_seal(struct cbd_header *header)
{
	header->crc = cbd_crc32c(0, header, 4092);
}

void small_make(void)
{
	unit_path(small_path);
	unit_ok(cbd_format(small_path, &small_options, sizeof(small_options)));
}

void small_read(uint64_t offset, void *buf, size_t size)
{
	int fd = open(small_path, O_RDONLY);

	ck_assert_int_eq(pread(fd, buf, size, (off_t)offset), size);
	close(fd);
}

void small_write(uint64_t offset, const void *buf, size_t size)
{
	int fd = open(small_path, O_WRONLY);

	ck_assert_int_eq(pwrite(fd, buf, size, (off_t)offset), size);
	close(fd);
}

void small_flip(uint64_t offset)
{
	unsigned char byte;

	small_read(offset, &byte, 1);
	byte ^= 1;
	small_write(offset, &byte, 1);
}

void small_opens(bool damaged)
{
	struct cbd_transport *t;
	struct cbd_header first;

	small_read(SMALL_SIZE - 8192, &first, sizeof(first));
	unit_ok(cbd_transport_open(small_path, 0, &t));
	ck_assert_int_eq(t->damaged, damaged);
	if (damaged)
		ck_assert_mem_eq(&t->header, &first, sizeof(first));
	cbd_transport_close(t);
}

void small_open_fails(int error)
{
	struct cbd_transport *t = NULL;

	unit_fails(cbd_transport_open(small_path, 0, &t), error);
	unit_fails(cbd_transport_open(small_path, CBD_TRANSPORT_READ_ONLY, &t), error);
	ck_assert_ptr_null(t);
	ck_assert_msg(strncmp(cbd_errmsg(), small_path, strlen(small_path)) == 0, "%s",
		      cbd_errmsg());
}
