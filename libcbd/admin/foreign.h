/* SPDX-License-Identifier: BSD-3-Clause */
/* foreign.h - does a file hold what another program would miss? */
#ifndef CBD_FOREIGN_H
#define CBD_FOREIGN_H

/*
 * Whether the file FD holds what libblkid recognizes (a file system, a partition
 * table, swap space, a volume of LVM, RAID or LUKS) or the image of a virtual disk
 * (qcow2, VHDX and the like).  0, or -EEXIST with a message
 * that names it.  Bytes that nobody recognizes are no obstacle.
 */
int cbd_foreign_check(const char *path, int fd);

#endif
