/* tokenizer.dpt and a text: a uint32 says how long the tables are, the text follows. Ids must be of the vocabulary. */
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "tokenizer.h"

typedef struct {
  const uint8_t *text;
  size_t left;
  uint32_t vocabulary;
} job;

static daypack_code read_text(void *context, uint8_t *bytes, uint32_t size, uint32_t *count) {
  job *of = context;
  *count = of->left < 7 ? (uint32_t)of->left : 7;
  if (*count > size) *count = size;
  memcpy(bytes, of->text, *count);
  of->text += *count;
  of->left -= *count;
  return DAYPACK_OK;
}

static daypack_code write_ids(void *context, const uint32_t *ids, uint32_t count) {
  const job *of = context;
  for (uint32_t index = 0; index < count; index++)
    if (ids[index] >= of->vocabulary) abort();
  return DAYPACK_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static daypack_tokenizer tokenizer;
  static daypack_error error;
  uint32_t table_bytes = 0;
  enum { WORKSPACE = 1 << 15, MOST_TEXT = 4096 };
  if (size < sizeof table_bytes) return 0;
  memcpy(&table_bytes, data, sizeof table_bytes);
  data += sizeof table_bytes;
  size -= sizeof table_bytes;
  if (table_bytes > size) table_bytes = (uint32_t)size;
  size_t left = size - table_bytes < MOST_TEXT ? size - table_bytes : MOST_TEXT;
  void *tables = malloc(table_bytes); /* aligned, and ASan knows its end */
  void *workspace = malloc(WORKSPACE);
  memset(&tokenizer, 0, sizeof tokenizer);
  if (tables != NULL && workspace != NULL) {
    memcpy(tables, data, table_bytes);
    daypack_code code = daypack_load_tokenizer(&tokenizer, &error, tables, table_bytes, workspace, WORKSPACE);
    job of = {data + table_bytes, left, code == DAYPACK_OK ? tokenizer.header->vocabulary : 0};
    if (code == DAYPACK_OK) code = daypack_tokenize(&tokenizer, "text", read_text, write_ids, &of);
    if (code == DAYPACK_OK) fuzz_accept();
  }
  free(workspace);
  free(tables);
  return 0;
}
