/* --tokenize: the ids of a text, in the memory that a run has for its arena. */
#include "tokenizer.h"

enum { LEAST_WORKSPACE_BYTES = 2 << 20 };

typedef struct {
  daypack_engine *engine;
  int file;
  uint64_t file_bytes;
  uint64_t offset_bytes;
  uint64_t tokens;
} job;

static daypack_code read_text(void *context, uint8_t *bytes, uint32_t size_bytes, uint32_t *count) {
  job *of = context;
  uint64_t left = of->file_bytes - of->offset_bytes;
  if (of->engine->platform->stop_requested())
    return daypack_fail(&of->engine->error, DAYPACK_STOPPED, "stopped by a signal while a text was tokenized");
  *count = left < size_bytes ? (uint32_t)left : size_bytes;
  of->offset_bytes += *count;
  return daypack_read_exactly(of->engine, of->file, of->engine->options.tokenize, bytes, *count,
                              of->offset_bytes - *count);
}

static daypack_code write_ids(void *context, const uint32_t *ids, uint32_t count) {
  job *of = context;
  of->tokens += count;
  return daypack_report_ids(of->engine, ids, count);
}

/* Tables at the front of the memory, the workspace behind them. */
static daypack_code load(daypack_engine *engine, daypack_tokenizer *tokenizer, uint64_t *memory_bytes) {
  int file = -1;
  uint64_t table_bytes = 0;
  const daypack_plan_header *header = engine->plan.header;
  if (!engine->tokenizer_listed)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "--tokenize: expected tokenizer.dpt in the bundle, found none; bundle.json says why");
  daypack_code code =
      daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, "tokenizer.dpt", &file, &table_bytes);
  if (code != DAYPACK_OK) return code;
  uint64_t front_bytes = table_bytes;
  bool good = daypack_align(&front_bytes, DAYPACK_ALIGNMENT_BYTES);
  *memory_bytes = front_bytes;
  good = good && daypack_add(memory_bytes, LEAST_WORKSPACE_BYTES);
  if (good && (header->budget_bytes == 0 || *memory_bytes <= header->budget_bytes)) {
    if (*memory_bytes < header->arena_bytes) *memory_bytes = header->arena_bytes;
  } else {
    good = false;
  }
  uint8_t *memory = good && *memory_bytes <= SIZE_MAX / 2 ? engine->platform->map((size_t)*memory_bytes) : NULL;
  code = memory == NULL ? daypack_fail(&engine->error, DAYPACK_MISSING,
                                       "memory: expected %llu bytes for the tokenizer, found less; compile for a "
                                       "larger budget",
                                       (unsigned long long)*memory_bytes)
                        : daypack_read_exactly(engine, file, "tokenizer.dpt", memory, table_bytes, 0);
  (void)engine->platform->close(file);
  if (code != DAYPACK_OK) return code;
  return daypack_load_tokenizer(tokenizer, &engine->error, memory, table_bytes, memory + front_bytes,
                                *memory_bytes - front_bytes);
}

daypack_code daypack_tokenize_file(daypack_engine *engine) {
  static daypack_tokenizer tokenizer;
  const char *name = engine->options.tokenize;
  uint64_t memory_bytes = 0;
  job of = {.engine = engine, .file = -1};
  daypack_code code = load(engine, &tokenizer, &memory_bytes);
  if (code == DAYPACK_OK) code = daypack_open(engine, DAYPACK_BAD_INPUT, NULL, name, &of.file, &of.file_bytes);
  if (code != DAYPACK_OK) return code;
  code = daypack_tokenize(&tokenizer, name, read_text, write_ids, &of);
  (void)engine->platform->close(of.file);
  return code == DAYPACK_OK ? daypack_report_tokenized(engine, of.tokens, memory_bytes) : code;
}
