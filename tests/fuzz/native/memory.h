/* A machine without files or threads for the harnesses: names and bytes in memory, a heap that ASan watches. */
#ifndef DAYPACK_FUZZ_MEMORY_H
#define DAYPACK_FUZZ_MEMORY_H

#include "internal.h"

/* libFuzzer's entry; replay.c calls it too. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An engine as a command line leaves it, with no file yet and nothing mapped. */
daypack_engine *fuzz_begin(void);
/* From now on a file of this name is in every directory; the bytes stay the caller's. */
void fuzz_file(const char *name, const void *data, size_t size);
/* Standard input holds these bytes and comes in pieces of `piece`. The thread that reads it runs in the caller;
 * `woken` stands for the run that it wakes. */
void fuzz_input(const void *data, size_t size, size_t piece, void (*woken)(void));
/* Lines written to standard output, and stops requested, since fuzz_begin. */
unsigned long fuzz_told(void);
unsigned long fuzz_stops(void);
/* The reader took the input; replay.c tells how many were taken. */
void fuzz_accept(void);
unsigned long fuzz_accepted(void);
/* Everything that was mapped is freed: a use after this is found. */
void fuzz_end(void);

#endif
