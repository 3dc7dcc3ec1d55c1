/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faults.h - the kinds of faults: how each is injected, and how often.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include "results.h"

/* When its pause is over. */
enum fault_end {
	FAULT_ENDS_ANSWERED, /* inject() returns after the first answer */
	FAULT_ENDS_SETTLED,  /* when all that was in flight is answered */
	FAULT_ENDS_ITSELF,   /* inject() tells */
};

struct fault {
	const char *name;
	void (*inject)(void);
	unsigned weight;
	enum fault_end end;
	bool hosts;    /* with --hosts alone */
	bool in_parts; /* the pause's parts are of interest */
	struct result result;
};

/* Of those that --only names; exits when there is none. */
void faults_select(void);

/* At random, by weight. */
struct fault *faults_choose(void);

/* Inject it; returns when the client has an answer again. */
void faults_inject(struct fault *f);

/* When all that was in flight is answered. */
void faults_settled(struct fault *f);

/* Of this round. */
uint64_t faults_pause_ns(void);

/* What is under way, for messages. */
void faults_name(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *faults_text(void);

/* Of every kind. */
void faults_show(void);

#endif
