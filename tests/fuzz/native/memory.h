/* A machine without files or threads for the harnesses: names and bytes in memory, a heap that ASan watches. */
#ifndef DAYPACK_FUZZ_MEMORY_H
#define DAYPACK_FUZZ_MEMORY_H

#include "internal.h"

/* Whether this engine follows a policy. */
#define DAYPACK_FUZZ_GOVERNED __has_include("governor.h")

/* libFuzzer's entry; replay.c calls it too. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An engine as a command line leaves it, with no file yet and nothing mapped. */
daypack_engine *fuzz_begin(void);
/* From now on a file of this name is in every directory; the bytes stay the caller's. */
void fuzz_file(const char *name, const void *data, size_t size);
/* The reader took the input; replay.c tells how many were taken. */
void fuzz_accept(void);
unsigned long fuzz_accepted(void);
/* Everything that was mapped is freed: a use after this is found. */
void fuzz_end(void);

#endif
