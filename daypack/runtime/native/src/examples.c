/* Tokens as examples: windows of one stream here, packed rows in packing.c. Only one window or part is in memory. */
#include <string.h>

#include "raw.h"

/* A whole window: it is written if it has a label. */
static daypack_code write_window(daypack_examples *examples) {
  uint64_t size_bytes = examples->sequence * sizeof(int32_t);
  examples->windows++;
  if (!examples->labelled) return DAYPACK_OK;
  memset(examples->example, 0, (size_t)examples->example_bytes);
  memcpy(examples->example + examples->places[0], examples->ids, (size_t)size_bytes);
  memcpy(examples->example + examples->places[1], examples->labels, (size_t)size_bytes);
  daypack_code code = examples->write(examples->context, examples->example, examples->example_bytes,
                                      examples->examples * examples->example_bytes);
  examples->examples++;
  return code;
}

static daypack_code flush(daypack_examples *examples) {
  daypack_code code = examples->packing ? daypack_pack_part(examples) : write_window(examples);
  examples->count = 0;
  examples->labelled = false;
  return code;
}

/* The label of a place is the token after it, so a window is whole when there is one more token. */
daypack_code daypack_add_token(daypack_examples *examples, int32_t id, bool learnt) {
  daypack_code code = DAYPACK_OK;
  examples->tokens++;
  if (examples->within && learnt) {
    examples->labels[examples->count - 1] = id;
    examples->labelled = true;
  }
  examples->within = true;
  if (examples->count == examples->sequence) code = flush(examples);
  examples->ids[examples->count] = id;
  examples->labels[examples->count++] = DAYPACK_NO_LABEL;
  return code;
}

daypack_code daypack_end_tokens(daypack_examples *examples) {
  examples->within = false;
  return examples->packing && examples->count > 0 ? flush(examples) : DAYPACK_OK;
}
