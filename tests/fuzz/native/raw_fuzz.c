/* corpus.bin and a file of raw data: a uint16 says how long the former is. Every id and label that comes out must be
 * one, and lie in an example that was begun. */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "memory.h"
#include "raw.h"

enum { MOST_SEQUENCE = 512, VOCABULARY = 256, WORKSPACE = 1 << 15 };

typedef struct {
  const uint8_t *text;
  size_t size;
} bytes_of;

static const daypack_examples *made;

static daypack_code read_raw(void *context, void *bytes, uint64_t size_bytes, uint64_t offset_bytes) {
  const bytes_of *of = context;
  if (offset_bytes > of->size || size_bytes > of->size - offset_bytes) abort();
  memcpy(bytes, of->text + offset_bytes, (size_t)size_bytes);
  return DAYPACK_OK;
}

static daypack_code write_example(void *context, const void *bytes, uint64_t size_bytes, uint64_t offset_bytes) {
  (void)context;
  const int32_t *values = bytes;
  if (offset_bytes % sizeof *values != 0 || size_bytes % sizeof *values != 0) abort();
  if (offset_bytes + size_bytes > (made->examples + 1) * made->example_bytes) abort();
  for (uint64_t index = 0; index < size_bytes / sizeof *values; index++)
    if ((values[index] < 0 && values[index] != DAYPACK_NO_LABEL) || values[index] >= MOST_SEQUENCE) abort();
  return DAYPACK_OK;
}

static daypack_code encode(const daypack_corpus *corpus, bytes_of *of, daypack_error *error) {
  static daypack_examples examples;
  static daypack_encoder encoder;
  uint32_t sequence = corpus->header->sequence;
  uint64_t share = (4ull * sequence + 63) / 64 * 64;
  daypack_raw raw = {.read = read_raw, .context = of, .error = error, .name = "file", .size_bytes = of->size};
  daypack_raw beside = raw;
  raw.buffer = malloc(DAYPACK_RAW_BYTES);
  beside.buffer = malloc(DAYPACK_RAW_BYTES);
  memset(&examples, 0, sizeof examples);
  memset(&encoder, 0, sizeof encoder);
  examples.write = write_example;
  examples.sequence = sequence;
  examples.packing = corpus->header->packing == 1;
  examples.example_bytes = share * (examples.packing ? 3 : 2);
  for (int index = 0; index < 3; index++) examples.places[index] = (uint64_t)index * share;
  examples.ids = malloc(4 * sequence);
  examples.labels = malloc(4 * sequence);
  examples.starts = malloc(4 * sequence);
  examples.example = malloc((size_t)examples.example_bytes);
  encoder.corpus = corpus;
  encoder.raw = &raw;
  encoder.beside = &beside;
  encoder.examples = made = &examples;
  encoder.vocabulary = VOCABULARY;
  static daypack_tokenizer tokenizer;
  void *workspace = malloc(WORKSPACE);
  if (corpus->header->tokenizer == DAYPACK_TOKENIZER_FILE) {
    memset(&tokenizer, 0, sizeof tokenizer);
    if (daypack_load_tokenizer(&tokenizer, error, TOKENIZER, sizeof TOKENIZER, workspace, WORKSPACE) != DAYPACK_OK)
      abort();
    encoder.tokenizer = &tokenizer;
    encoder.vocabulary = tokenizer.header->vocabulary;
  }
  uint32_t kind = corpus->header->kind == DAYPACK_BY_NAME ? daypack_kind_of_name("a.jsonl") : corpus->header->kind;
  daypack_code code = daypack_encode(&encoder, kind);
  free(workspace);
  free(raw.buffer);
  free(beside.buffer);
  free(examples.ids);
  free(examples.labels);
  free(examples.starts);
  free(examples.example);
  return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static daypack_error error;
  uint16_t corpus_bytes = 0;
  daypack_corpus corpus;
  if (size < sizeof corpus_bytes) return 0;
  memcpy(&corpus_bytes, data, sizeof corpus_bytes);
  data += sizeof corpus_bytes;
  size -= sizeof corpus_bytes;
  if (corpus_bytes > size) corpus_bytes = (uint16_t)size;
  void *bytes = malloc(corpus_bytes); /* aligned, and ASan knows its end */
  if (bytes == NULL) return 0;
  memcpy(bytes, data, corpus_bytes);
  bytes_of of = {data + corpus_bytes, size - corpus_bytes};
  daypack_code code = daypack_load_corpus(&corpus, &error, bytes, corpus_bytes);
  if (code == DAYPACK_OK && corpus.header->sequence <= MOST_SEQUENCE &&
      encode(&corpus, &of, &error) == DAYPACK_OK)
    fuzz_accept();
  free(bytes);
  return 0;
}
