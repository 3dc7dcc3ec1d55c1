/* SPDX-License-Identifier: BSD-3-Clause */
/* operation.c - see operation.h. */
#include <config.h>

#include "operation.h"

const char *operation_name(enum cbd_op op)
{
	switch (op) {
	case CBD_OP_READ:
		return "read";
	case CBD_OP_WRITE:
		return "write";
	case CBD_OP_FLUSH:
		return "flush";
	case CBD_OP_DISCARD:
		return "discard";
	case CBD_OP_WRITE_ZEROES:
		return "write of zeroes";
	case CBD_OP_BLOCK_STATUS:
		return "block status";
	}
	return "operation";
}
