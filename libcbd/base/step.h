/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * step.h - numbered places of the state machines, where a test stops or kills
 * the process.  Only in builds with --enable-debug; nothing otherwise.
 *
 * CBD_TEST_STEP=NAME:ACTION[:COUNT] in the environment: at the COUNT-th time
 * (1) that the process reaches step NAME it gets SIGKILL (kill) or SIGSTOP
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
