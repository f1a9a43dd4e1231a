/* real.h: doubles in and out of decimal text, exactly. Pure; does not depend on the locale for well-formed input. */
#ifndef SYNCLINE_VALUE_REAL_H
#define SYNCLINE_VALUE_REAL_H

#include "value/value.h"

/* Reads [+-]digits[.digits][(e|E)[+-]digits], with digits on at least one side of the point: the caller has checked the form. The
 * result is correctly rounded; too big gives infinity. */
double real_parse(struct slice s);

/* A whole real as digits without exponent ("%.0f"), whatever its size; -0 is 0. */
void buf_whole_real(struct buf *out, double r);

/* Is r whole (and finite)? */
bool real_is_whole(double r);

/* Fits int64 when rounded toward minus infinity. */
static inline bool real_fits_i64(double r)
{
	return r >= -9223372036854775808.0 && r < 9223372036854775808.0;
}

#endif
