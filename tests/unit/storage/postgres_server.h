/* postgres_server.h: the server of PG_URI, for tests that make a database of their own there. */
#ifndef TESTS_STORAGE_POSTGRES_SERVER_H
#define TESTS_STORAGE_POSTGRES_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include <libpq-fe.h>

/* NULL: the database that PG_URI names. */
static PGconn *connect_to(const char *database)
{
	const char *keywords[] = {"dbname", "dbname", NULL}, *values[] = {getenv("PG_URI"), database, NULL};
	PGconn *pg = PQconnectdbParams(keywords, values, 1);
	if (PQstatus(pg) != CONNECTION_OK)
		fail_msg("%s", PQerrorMessage(pg));
	return pg;
}

#endif
