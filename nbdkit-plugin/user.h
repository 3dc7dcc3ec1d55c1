/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * user.h - the user and group that nbdkit is going to become (its options -u and -g),
 * and whether they may use the transport.
 *
 * nbdkit changes its user after it has bound its socket and gone into the background:
 * what fails then leaves a socket behind and is seen by nobody.  So it is tried before.
 */
#ifndef CBD_PLUGIN_USER_H
#define CBD_PLUGIN_USER_H

/*
 * Before the fork, in the only thread.  0, also where nbdkit keeps its user, or where the
 * options are wrong, which is nbdkit's to tell; -1 after nbdkit_error().
 */
int user_check(const char *path);

#endif
