/* The engine's tokenizer alone: TABLES STRINGS WORKSPACE_BYTES. STRINGS holds, for each string, its size (uint32) and
 * its bytes; standard output gets for each its number of ids and the ids. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"
#include "read_whole.h"

typedef struct {
  const uint8_t *text;
  uint32_t left;
  uint32_t count;
  uint32_t *ids;
} job;

static daypack_code read_text(void *context, uint8_t *bytes, uint32_t size_bytes, uint32_t *count) {
  job *of = context;
  /* Few at a time, so that every boundary falls between reads. */
  *count = of->left < 7 ? of->left : 7;
  if (*count > size_bytes) *count = size_bytes;
  memcpy(bytes, of->text, *count);
  of->text += *count;
  of->left -= *count;
  return DAYPACK_OK;
}

static daypack_code write_ids(void *context, const uint32_t *ids, uint32_t count) {
  job *of = context;
  memcpy(of->ids + of->count, ids, count * sizeof *ids);
  of->count += count;
  return DAYPACK_OK;
}

int main(int count, char **arguments) {
  static daypack_tokenizer tokenizer;
  static daypack_error error;
  size_t table_bytes = 0;
  size_t bytes = 0;
  if (count != 4) return 64;
  void *tables = read_whole(arguments[1], &table_bytes);
  const uint8_t *strings = read_whole(arguments[2], &bytes);
  size_t workspace_bytes = strtoul(arguments[3], NULL, 10);
  void *workspace = malloc(workspace_bytes);
  uint32_t *ids = malloc((bytes + 1) * sizeof *ids);
  if (workspace == NULL || ids == NULL) return 70;
  daypack_code code = daypack_load_tokenizer(&tokenizer, &error, tables, table_bytes, workspace, workspace_bytes);
  for (const uint8_t *end = strings + bytes; code == DAYPACK_OK && strings < end;) {
    uint32_t size = 0;
    memcpy(&size, strings, sizeof size);
    job of = {strings + sizeof size, size, 0, ids};
    code = daypack_tokenize(&tokenizer, "text", read_text, write_ids, &of);
    strings += sizeof size + size;
    if (code == DAYPACK_OK) {
      (void)fwrite(&of.count, sizeof of.count, 1, stdout);
      (void)fwrite(ids, sizeof *ids, of.count, stdout);
    }
  }
  if (code != DAYPACK_OK) (void)fprintf(stderr, "%s\n", error.message);
  return (int)code;
}
