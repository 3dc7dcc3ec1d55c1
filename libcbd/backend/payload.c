/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * payload.c - see payload.h.
 *
 * Owns the private memory of channels and the copies between it and the data areas.
 * The offsets were validated by handler.c.  A blkdev that keeps the rules names an
 * extent in one SE at a time; one that does not makes its own requests use the same
 * bytes, in private memory as in the data area, and harms nobody else.
 */
#include <config.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/payload.h"
#include "base/error.h"
#include "base/step.h"
#include "memory/fault.h"
#include "ring/copy.h"

#define PIECE 2048u	   /* 32 lines: some more than a CPU awaits at a time */
#define AROUND (16u << 10) /* writes from here on need not come into the cache */

/* Does the disk write a private copy?  With payload CRC what was checked and what it
 * gets must be the same bytes. */
static bool writes_copy(const struct cbd_hchannel *hc)
{
	return hc->data_crc || hc->ch.t->mem.software;
}

/*
 * Does the disk read into private memory?  In hardware mode it reads into the extent, and
 * the CRC is taken there: until the CE is stored the backend is the only writer.  (From
 * disk memory cbd_request_store() copies, and takes the CRC of each piece on the way.)
 * In software mode that would save nothing (the lines have to be fetched, read again
 * and written back, where a copy goes around the cache).
 */
static bool reads_copy(const struct cbd_hchannel *hc)
{
	return hc->ch.t->mem.software;
}

static size_t private_size(const struct cbd_hchannel *hc)
{
	return CBD_HOT_BYTES + hc->ch.data_size;
}

int cbd_payload_prepare(struct cbd_hchannel *hc)
{
	void *area;

	if ((!writes_copy(hc) && !hc->block_status) || hc->private)
		return 0;
	area = mmap(NULL, private_size(hc), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return cbd_error(ENOMEM, "channel %u: private memory of %zu bytes: %m", hc->ch.id,
				 private_size(hc));
	madvise(area, private_size(hc), MADV_DONTDUMP);
	hc->private = area;
	return 0;
}

void cbd_payload_free(struct cbd_hchannel *hc)
{
	if (hc->private)
		munmap(hc->private, private_size(hc));
	hc->private = NULL;
}

/* A place in the hot part is kept until the request ends, also when its payload is copied
 * again.  LENGTH: bytes of its extent. */
static char *private_of(struct cbd_hrequest *r, uint32_t length)
{
	struct cbd_hchannel *hc = r->hc;
	uint32_t size = (length + CBD_PAGE_SIZE - 1) / CBD_PAGE_SIZE * CBD_PAGE_SIZE;

	if (!r->hot && size <= CBD_HOT_BYTES - hc->hot_used) {
		r->hot = hc->private + hc->hot_used;
		hc->hot_used += size;
		hc->hot_users++;
	}
	return r->hot ? r->hot : hc->private + CBD_HOT_BYTES + r->se.data_offset;
}

void cbd_payload_put(struct cbd_hrequest *r)
{
	if (!r->hot)
		return;
	r->hot = NULL;
	if (--r->hc->hot_users == 0)
		r->hc->hot_used = 0;
}

static int bring_private(struct cbd_hrequest *r)
{
	struct cbd_hchannel *hc = r->hc;
	const struct cbd_mem *m = &hc->ch.t->mem;
	const char *from = hc->ch.data + r->se.data_offset;
	uint32_t crc = hc->ch.se_seed;
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	if (!r->invalidated)
		cbd_mem_invalidate(m, from, r->se.length);
	cbd_copy_out(m, r->pub.buf, from, r->se.length, hc->data_crc ? &crc : NULL);
	cbd_fault_end(&f);
	r->invalidated = false; /* the copy has cached it */
	return !hc->data_crc || crc == r->se.data_crc ? 0 : -EAGAIN;
}

int cbd_payload_bring(struct cbd_hrequest *r)
{
	struct cbd_hchannel *hc = r->hc;

	r->pub.buf = NULL;
	r->pub.shared = false;
	r->delivered = false;
	r->n_runs = r->told = 0;
	r->told_all = r->se.op != CBD_SE_OP_BLOCK_STATUS;
	if (r->se.op == CBD_SE_OP_BLOCK_STATUS)
		r->runs = (struct cbd_run *)(void *)private_of(r, r->se.room);
	if (r->se.op != CBD_SE_OP_READ && r->se.op != CBD_SE_OP_WRITE)
		return 0;
	if (r->se.op == CBD_SE_OP_WRITE ? writes_copy(hc) : reads_copy(hc)) {
		r->pub.buf = private_of(r, r->se.length);
		return r->se.op == CBD_SE_OP_WRITE ? bring_private(r) : 0;
	}
	r->pub.buf = hc->ch.data + r->se.data_offset;
	r->pub.shared = true;
	return r->se.op == CBD_SE_OP_WRITE
		       ? cbd_fault_take(&hc->ch.t->mem, r->pub.buf, r->se.length)
		       : 0;
}

/* The disk has read into the extent. */
static int deliver_in_place(struct cbd_hrequest *r, uint32_t *crc)
{
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	if (crc)
		*crc = cbd_channel_payload_crc(*crc, r->pub.buf, r->se.length);
	cbd_sys_landed(&r->hc->ch.t->mem, r->pub.buf, r->se.length);
	cbd_fault_end(&f);
	return 0;
}

static int deliver_copy(struct cbd_hrequest *r, const void *from, uint32_t *crc)
{
	struct cbd_hchannel *hc = r->hc;
	struct cbd_fault f;

	cbd_step("io-deliver");
	if (!CBD_FAULT_TRY(&f))
		return -EIO;
	cbd_copy_in(&hc->ch.t->mem, hc->ch.data + r->se.data_offset, from, cbd_payload_length(r),
		    crc);
	cbd_fault_end(&f);
	return 0;
}

uint32_t cbd_payload_length(const struct cbd_hrequest *r)
{
	if (r->se.op == CBD_SE_OP_BLOCK_STATUS)
		return r->n_runs * (uint32_t)sizeof(r->runs[0]);
	return r->se.op == CBD_SE_OP_READ ? r->se.length : 0;
}

int cbd_payload_deliver(struct cbd_hrequest *r, uint32_t *crc)
{
	bool has_crc = r->hc->data_crc;

	if (r->delivered) {
		*crc = r->crc;
		return 0;
	}
	*crc = has_crc ? r->hc->ch.ce_seed : 0;
	if (r->se.op == CBD_SE_OP_BLOCK_STATUS)
		return deliver_copy(r, r->runs, has_crc ? crc : NULL);
	return r->pub.shared ? deliver_in_place(r, has_crc ? crc : NULL)
			     : deliver_copy(r, r->pub.buf, has_crc ? crc : NULL);
}

/*
 * Disk memory to the extent in one pass, through a private piece in the first-level
 * cache: of each piece the CRC is taken and the same bytes are stored, whatever another
 * handler does to the disk, or a process that was given up to the extent, meanwhile.
 */
static int store_pieces(struct cbd_hrequest *r, const char *from)
{
	struct cbd_hchannel *hc = r->hc;
	char *to = hc->ch.data + r->se.data_offset;
	char piece[PIECE] __attribute__((aligned(64)));
	uint32_t crc = hc->ch.ce_seed;
	struct cbd_fault f;

	if (!CBD_FAULT_TRY(&f))
		return -EFAULT;
	for (uint32_t at = 0, n; at < r->se.length; at += n) {
		n = r->se.length - at < PIECE ? r->se.length - at : PIECE;
		cbd_mem_copy(piece, from + at, n);
		cbd_mem_fetch(&hc->ch.t->mem, from + at + n,
			      r->se.length - at - n < PIECE ? r->se.length - at - n : PIECE);
		cbd_copy_in(&hc->ch.t->mem, to + at, piece, n, &crc);
	}
	cbd_fault_end(&f);
	r->crc = crc;
	r->delivered = true;
	return 0;
}

/* Where buf lies in shared memory cbd_payload_bring() has invalidated it before a
 * WRITE, and cbd_payload_deliver() writes it back after a READ. */
int cbd_request_store(const struct cbd_request *r, const void *from)
{
	if (((const struct cbd_hrequest *)r)->hc->data_crc)
		return store_pieces((struct cbd_hrequest *)r, from);
	return cbd_fault_copy(r->buf, from, r->length) < 0 ? -EFAULT : 0;
}

int cbd_request_load(const struct cbd_request *r, void *to)
{
	int err = r->length < AROUND ? cbd_fault_copy(to, r->buf, r->length)
				     : cbd_fault_copy_around(to, r->buf, r->length);

	return err < 0 ? -EFAULT : 0;
}

int cbd_request_persist(const struct cbd_request *r, void *to)
{
	return cbd_fault_persist(to, r->buf, r->length) < 0 ? -EFAULT : 0;
}
