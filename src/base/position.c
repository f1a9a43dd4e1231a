/* position.c: text forms of log sequence numbers. */
#include "base/position.h"

#include <inttypes.h>
#include <stdio.h>

void lsn_format(uint64_t lsn, char out[LSN_TEXT_SIZE])
{
	snprintf(out, LSN_TEXT_SIZE, "%08" PRIX32 "/%08" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
}

bool lsn_parse(struct slice text, uint64_t *out)
{
	uint64_t half[2] = {0, 0};
	int which = 0, digits = 0;
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		int d = c >= '0' && c <= '9'   ? c - '0'
		        : c >= 'A' && c <= 'F' ? c - 'A' + 10
		        : c >= 'a' && c <= 'f' ? c - 'a' + 10
		                               : -1;
		if (c == '/' && which == 0 && digits > 0) {
			which = 1;
			digits = 0;
		} else if (d < 0 || ++digits > 8) {
			return false;
		} else {
			half[which] = half[which] << 4 | (unsigned)d;
		}
	}
	if (which != 1 || digits == 0)
		return false;
	*out = half[0] << 32 | half[1];
	return true;
}
