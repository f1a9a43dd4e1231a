#include "rules/compile.h"
void compile_streams(struct compiler *c, struct ynode *streams, struct ynode *with)
{
	(void)with;
	diagnostic_node(c, DIAGNOSTIC_FATAL, "unsupported-expression", streams, "streams are not supported yet");
}
void compile_stream_edition_2(struct compiler *c, struct slice name, struct ynode *key, struct ynode *node)
{
	(void)name; (void)node;
	diagnostic_node(c, DIAGNOSTIC_FATAL, "unsupported-expression", key, "streams are not supported yet");
}
