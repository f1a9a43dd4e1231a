/* statements.h: the texts of the statements that readers and the watcher prepare. */
#ifndef SYNCLINE_STORAGE_POSTGRES_STATEMENTS_H
#define SYNCLINE_STORAGE_POSTGRES_STATEMENTS_H

#include "storage/postgres/connection.h"

const char *pg_statement_text(enum pg_statement statement);

#endif
