/* The readers of raw data alone: CORPUS TABLES FILE OUT VOCABULARY WORKSPACE_BYTES; TABLES may be "-". OUT gets the
 * examples as a data.bin has them behind its header. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "raw.h"
#include "read_whole.h"

static daypack_code read_raw(void *context, void *bytes, uint64_t size_bytes, uint64_t offset_bytes) {
  FILE *file = context;
  if (fseek(file, (long)offset_bytes, SEEK_SET) != 0 || fread(bytes, 1, size_bytes, file) != size_bytes) exit(70);
  return DAYPACK_OK;
}

static daypack_code write_example(void *context, const void *bytes, uint64_t size_bytes, uint64_t offset_bytes) {
  FILE *file = context;
  if (fseek(file, (long)offset_bytes, SEEK_SET) != 0 || fwrite(bytes, 1, size_bytes, file) != size_bytes) exit(70);
  return DAYPACK_OK;
}

int main(int count, char **arguments) {
  static daypack_error error;
  static daypack_tokenizer tokenizer;
  static daypack_examples examples;
  static daypack_encoder encoder;
  static uint8_t buffers[2][DAYPACK_RAW_BYTES];
  daypack_corpus corpus;
  size_t size = 0;
  size_t table_bytes = 0;
  if (count != 7) return 64;
  const void *bytes = read_whole(arguments[1], &size);
  daypack_code code = daypack_load_corpus(&corpus, &error, bytes, size);
  size_t workspace_bytes = strtoul(arguments[6], NULL, 10);
  if (code == DAYPACK_OK && strcmp(arguments[2], "-") != 0) {
    const void *tables = read_whole(arguments[2], &table_bytes);
    code = daypack_load_tokenizer(&tokenizer, &error, tables, table_bytes, malloc(workspace_bytes), workspace_bytes);
    encoder.tokenizer = &tokenizer;
  }
  FILE *file = fopen(arguments[3], "rb");
  FILE *out = fopen(arguments[4], "wb");
  if (file == NULL || out == NULL || fseek(file, 0, SEEK_END) != 0) return 70;
  daypack_raw raw = {.read = read_raw, .context = file, .error = &error, .name = "FILE",
                     .size_bytes = (uint64_t)ftell(file), .buffer = buffers[0]};
  daypack_raw beside = raw;
  beside.buffer = buffers[1];
  if (code == DAYPACK_OK) {
    uint32_t sequence = examples.sequence = corpus.header->sequence;
    examples.write = write_example;
    examples.context = out;
    examples.packing = corpus.header->packing == 1;
    uint64_t share = (4ull * sequence + 63) / 64 * 64;
    for (int index = 0; index < 3; index++) examples.places[index] = (uint64_t)index * share;
    examples.example_bytes = share * (examples.packing ? 3 : 2);
    examples.ids = calloc(sequence, 4);
    examples.labels = calloc(sequence, 4);
    examples.starts = calloc(sequence, 4);
    examples.example = calloc(1, examples.example_bytes);
    encoder.corpus = &corpus;
    encoder.raw = &raw;
    encoder.beside = &beside;
    encoder.examples = &examples;
    encoder.vocabulary = (uint32_t)strtoul(arguments[5], NULL, 10);
    uint32_t kind = corpus.header->kind;
    code = daypack_encode(&encoder, kind == DAYPACK_BY_NAME ? daypack_kind_of_name(arguments[3]) : kind);
  }
  if (fclose(out) != 0) return 70;
  if (code != DAYPACK_OK) (void)fprintf(stderr, "%s\n", error.message);
  return (int)code;
}
