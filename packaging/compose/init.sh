#!/bin/sh
# Run once by the database's image, when it makes the cluster: two tables, the role of the service, the publication.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$SYNCLINE_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<-'SQL'
	CREATE TABLE lists (id text PRIMARY KEY, owner_id text NOT NULL, name text NOT NULL);
	CREATE TABLE todos (id text PRIMARY KEY, list_id text NOT NULL REFERENCES lists ON DELETE CASCADE, title text NOT NULL, done boolean NOT NULL DEFAULT false);
	INSERT INTO lists VALUES ('l1', 'alice', 'Groceries'), ('l2', 'bob', 'Work');
	INSERT INTO todos VALUES ('t1', 'l1', 'Milk'), ('t2', 'l1', 'Bread'), ('t3', 'l2', 'Report');

	CREATE ROLE syncline LOGIN REPLICATION BYPASSRLS PASSWORD :'password';
	GRANT USAGE ON SCHEMA public TO syncline;
	GRANT SELECT ON ALL TABLES IN SCHEMA public TO syncline;
	ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO syncline;
	CREATE PUBLICATION powersync FOR ALL TABLES;
SQL
