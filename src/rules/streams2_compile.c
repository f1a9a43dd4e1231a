#include "rules/compile.h"
void compile_stream_edition_2(struct compiler *c, struct slice name, struct ynode *key, struct ynode *node)
{
	(void)name; (void)node;
	diagnostic_node(c, DIAGNOSTIC_FATAL, "unsupported-expression", key, "streams of edition 2 are not supported yet");
}
