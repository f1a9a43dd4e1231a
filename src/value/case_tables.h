/* case_tables.h: the generated tables behind upper() and lower(); all sorted by code point. ASCII is not in the mappings. Internal. */
#ifndef SYNCLINE_VALUE_CASE_TABLES_H
#define SYNCLINE_VALUE_CASE_TABLES_H

#include <stddef.h>
#include <stdint.h>

/* Every step-th code point from first to last maps to itself plus delta. */
struct case_range {
	uint32_t first, last, step;
	int32_t delta;
};

/* Maps to two or three code points; 0 ends. */
struct case_special {
	uint32_t code;
	uint32_t to[3];
};

struct case_property {
	uint32_t first, last;
};

extern const struct case_range case_upper_ranges[], case_lower_ranges[];
extern const struct case_special case_upper_specials[], case_lower_specials[];
extern const struct case_property case_cased[], case_ignorable[];
extern const size_t case_upper_ranges_count, case_lower_ranges_count, case_upper_specials_count, case_lower_specials_count,
        case_cased_count, case_ignorable_count;

#endif
