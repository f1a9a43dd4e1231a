/* storage_folder.h: the folder of the embedded store as it looks from outside, without opening the store. */
#ifndef SYNCLINE_CLI_STORAGE_FOLDER_H
#define SYNCLINE_CLI_STORAGE_FOLDER_H

#include "base/error.h"
#include "config/config.h"

enum folder_state {
	FOLDER_ABSENT, /* will be made by the first start */
	FOLDER_FREE,
	FOLDER_IN_USE, /* a service runs on it */
	FOLDER_BAD,
};

/* Can the folder be made, or read and written, and who holds its lock? FOLDER_BAD: *err says why. *pid: of the holder, 0 if unknown. */
enum folder_state storage_folder_state(const struct config *config, long *pid, uint64_t *free_bytes, struct error *err);

#endif
