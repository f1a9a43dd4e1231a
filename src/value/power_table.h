/* power_table.h: 10^k as g * 2^(floor(log2(10^k)) - 127), g rounded up to 128 bits. Generated. Internal. */
#ifndef SYNCLINE_VALUE_POWER_TABLE_H
#define SYNCLINE_VALUE_POWER_TABLE_H

#include <stdint.h>

#define POWER_FIRST (-292)
#define POWER_LAST 324

struct power_of_ten {
	uint64_t high, low;
};

extern const struct power_of_ten powers_of_ten[POWER_LAST - POWER_FIRST + 1];

#endif
