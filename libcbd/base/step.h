/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * step.h - named places of the state machines, where a test stops or kills the
 * process.  They exist only in builds with --enable-debug.
 *
 * CBD_TEST_STEP=NAME:ACTION[:COUNT] in the environment: at the COUNT-th time
 * (default 1) that the process reaches step NAME it gets SIGKILL (kill) or SIGSTOP
 * (stop).
 */
#ifndef CBD_STEP_H
#define CBD_STEP_H

#ifdef CBD_TEST_HOOKS
void cbd_step(const char *name);
#else
#define cbd_step(name) ((void)0)
#endif

#endif
