/*
 * error.h: errors as values.
 *
 * A fallible function answers bool and takes a struct error that it fills when it answers false. The code is the service's
 * (PSYNC_S....; see the specification of the layer concerned). The message is for the operator and goes to the log once, at
 * the top; a client sees the code and the safe text that belongs to it, never the message of an internal failure.
 */
#ifndef SYNCLINE_BASE_ERROR_H
#define SYNCLINE_BASE_ERROR_H

#include <stdbool.h>

struct error {
	const char *code; /* static text such as "PSYNC_S2101", or "" when the error has no code of its own */
	char message[1024];
	char detail[512]; /* for the log alone, beside a message that clients see; mostly empty */
};

/* Fills *e (which may be NULL) and answers false, so that "return error_set(...)" works. */
bool error_set(struct error *e, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Adds a detail to an error that was set. Answers false. */
bool error_detail(struct error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts text in front of the message: "while reading x: ...". Answers false. */
bool error_prefix(struct error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
