/*
 * load.h: the stages of config_load, for the layer itself and its tests.
 */
#ifndef SYNCLINE_CONFIG_LOAD_H
#define SYNCLINE_CONFIG_LOAD_H

#include "config/config.h"
#include "config/findings.h"
#include "config/node.h"

enum config_stage { CONFIG_FIND, CONFIG_PARSE, CONFIG_DECODE, CONFIG_RESOLVE };

/* What one load works on. */
struct config_load {
	struct config *config;
	const struct config_arguments *arguments;
	struct findings findings;
	enum config_stage stage; /* where it is, or where it failed */
	const char *directory;   /* of the config file, absolute; NULL: from base64 or the fallback file */
	struct error *err;
};

/* Steps 1 to 3 of configuration 3: find, parse, decode, resolve, without the connection sections. NULL: *stage says where. */
struct config *config_read(const struct config_arguments *arguments, enum config_stage *stage, struct error *err);
/* Step 6: the source's and the storage's connection. */
bool config_resolve_connections(struct config *c, struct error *err);

/* find.c. NULL with *err filled, or with findings when a document was found and could not be read. */
const struct node *find_document(struct config_load *l);
/* Source 1 of 1.4; p == NULL: none. */
struct slice find_sync_config_base64(struct config_load *l);

/* decode.c: the tree, which passed schema_check, into the struct. */
bool decode_config(struct config_load *l, const struct node *root);

/* connection.c: configuration 2.3 and 2.4. path is that of the section, for messages. */
bool resolve_postgres(struct config *c, const struct node *section, const char *path, struct config_postgres *out,
                      struct error *err);
bool resolve_mongodb(struct config *c, const struct node *section, struct config_mongodb *out, struct error *err);

/* An error about the node at hand: "FILE:LINE:COL: text"; always false. */
bool config_error_at(const struct config *c, const struct node *n, struct error *err, const char *code, const char *format, ...)
        __attribute__((format(printf, 5, 6)));

/* Reading nodes whose type the schema has checked. */
const char *node_text(const struct node *n, const char *otherwise);
bool node_flag(const struct node *n, bool otherwise);
double node_number(const struct node *n, double otherwise);
int node_int(const struct node *n, int otherwise);
void node_strings(const struct node *n, struct arena *arena, struct config_string_list *out);

/* Path joined to a directory and tidied of "." and ".."; an absolute path stays. In the arena. */
const char *path_resolve(struct arena *arena, const char *directory, const char *path);
const char *path_directory(struct arena *arena, const char *path);

#endif
