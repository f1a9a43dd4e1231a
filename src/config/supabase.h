/* supabase.h: see supabase.c. */
#ifndef SYNCLINE_CONFIG_SUPABASE_H
#define SYNCLINE_CONFIG_SUPABASE_H

#include "config/node.h"

/* Of a replication.connections entry that need not be complete; NULL: not a Supabase database. */
const char *supabase_uri_of_source(const struct node *section, struct arena *arena);

#endif
