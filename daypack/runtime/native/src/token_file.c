/* --data with a raw file: its tokens, made once, as a data file of the run's own in the state directory.
 *
 * It is made before the arena is used, in memory that is the system's again when the first step begins, and is the same
 * to the byte as the data.bin that the host makes of the same file, but for `source`, which says of what it was made. A
 * run that finds one of the same source takes it. */
#include <stdio.h>
#include <string.h>

#include "raw.h"

enum { LEAST_WORKSPACE_BYTES = 2 << 20 };

/* Where everything lies in the memory of the job. */
typedef struct {
  uint8_t *memory;
  uint64_t memory_bytes;
  uint8_t *corpus;
  uint8_t *buffers[2];
  uint8_t *row; /* ids, labels, starts, and an example */
  uint8_t *tables;
  uint8_t *workspace;
  uint64_t workspace_bytes;
} places;

typedef struct {
  daypack_engine *engine;
  int raw_file;
  int file;
  uint64_t table_bytes;
  places at;
  daypack_corpus corpus;
  daypack_raw raw, beside;
  daypack_examples examples;
  daypack_encoder encoder;
  daypack_data_header header;
} job;

/* ---- the file's bytes, in and out */

static daypack_code check_stop(daypack_engine *engine) {
  if (!engine->platform->stop_requested()) return DAYPACK_OK;
  return daypack_fail(&engine->error, DAYPACK_STOPPED, "stopped by a signal while the data were tokenized; run again");
}

static daypack_code read_raw(void *context, void *bytes, uint64_t size_bytes, uint64_t offset_bytes) {
  job *of = context;
  daypack_code code = check_stop(of->engine);
  if (code != DAYPACK_OK) return code;
  return daypack_read_exactly(of->engine, of->raw_file, of->engine->options.data, bytes, size_bytes, offset_bytes);
}

static daypack_code put(job *of, const void *bytes, uint64_t size_bytes, uint64_t offset_bytes) {
  daypack_engine *engine = of->engine;
  daypack_range rest = {(uint8_t *)(uintptr_t)bytes, size_bytes, offset_bytes};
  int64_t result = daypack_write_range(engine->platform, of->file, &rest, &engine->written_bytes);
  if (result == 1) return DAYPACK_OK;
  return daypack_fail(&engine->error, DAYPACK_STOPPED,
                      "%s: cannot write the tokens of the data: %s; free room and run again",
                      engine->state_directory_path, result < 0 ? strerror((int)-result) : "the disk is full");
}

static daypack_code put_example(void *context, const void *bytes, uint64_t size_bytes, uint64_t offset_bytes) {
  return put(context, bytes, size_bytes, sizeof(daypack_data_header) + offset_bytes);
}

/* ---- what is known before the first token */

/* Of the file's bytes, of how they are read and of what makes ids of them. */
static daypack_code hash_source(job *of, uint32_t kind) {
  daypack_engine *engine = of->engine;
  const daypack_sha256_functions *sha256 = daypack_choose_sha256(engine->platform);
  const uint64_t sizes[] = {of->raw.size_bytes, kind};
  daypack_sha256 state;
  uint8_t digest[DAYPACK_DIGEST_BYTES];
  sha256->init(&state);
  sha256->update(&state, (const void *)sizes, sizeof sizes);
  sha256->update(&state, engine->corpus_digest, sizeof engine->corpus_digest);
  sha256->update(&state, engine->tokenizer_digest, sizeof engine->tokenizer_digest);
  for (uint64_t offset = 0; offset < of->raw.size_bytes;) {
    uint64_t rest = of->raw.size_bytes - offset;
    uint64_t size = rest < DAYPACK_IO_BYTES ? rest : DAYPACK_IO_BYTES;
    daypack_code code = read_raw(of, daypack_io_buffer, size, offset);
    if (code != DAYPACK_OK) return code;
    sha256->update(&state, daypack_io_buffer, (size_t)size);
    offset += size;
  }
  sha256->final(&state, digest);
  memcpy(of->header.source, digest, sizeof of->header.source);
  return DAYPACK_OK;
}

static bool is_named(const char *wanted, const char *name, uint64_t size_bytes) {
  return strlen(wanted) == size_bytes && memcmp(wanted, name, size_bytes) == 0;
}

/* The plan's inputs as places in an example; false when they are not those of a language model. */
static bool find_inputs(const daypack_plan *plan, daypack_examples *examples, const daypack_corpus_header *header,
                        daypack_data_header *data, uint32_t *vocabulary) {
  static const char *const names[] = {"ids", "labels", "segments"};
  uint64_t share_bytes = header->sequence * sizeof(int32_t);
  uint32_t found = 0;
  for (uint64_t index = 0; index < plan->header->inputs.count; index++) {
    const daypack_plan_input *input = &plan->inputs[index];
    const char *name = plan->strings + input->name_offset;
    uint32_t which = 0;
    while (which < 3 && !is_named(names[which], name, input->name_bytes)) which++;
    if (which == 3 || input->dtype != DAYPACK_DTYPE_I32 || input->size_bytes % share_bytes != 0) return false;
    if (which == 0) {
      *vocabulary = input->bound;
      data->micro_batch = (uint32_t)(input->size_bytes / share_bytes);
    }
    found |= 1u << which;
    examples->places[which] = examples->example_bytes;
    examples->example_bytes += share_bytes;
    if (!daypack_align(&examples->example_bytes, DAYPACK_ALIGNMENT_BYTES)) return false;
  }
  return found == (header->packing == 1 ? 7u : 3u) && *vocabulary > 0;
}

static daypack_code read_corpus(job *of) {
  static uint64_t words[DAYPACK_CORPUS_BYTES / sizeof(uint64_t)];
  uint8_t *bytes = (uint8_t *)words;
  daypack_engine *engine = of->engine;
  int file = -1;
  uint64_t size_bytes = 0;
  daypack_code code =
      daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, "corpus.bin", &file, &size_bytes);
  if (code != DAYPACK_OK) return code;
  uint64_t most = size_bytes < DAYPACK_CORPUS_BYTES ? size_bytes : DAYPACK_CORPUS_BYTES;
  code = daypack_read_exactly(engine, file, "corpus.bin", bytes, most, 0);
  (void)engine->platform->close(file);
  return code == DAYPACK_OK ? daypack_load_corpus(&of->corpus, &engine->error, bytes, size_bytes) : code;
}

static daypack_code describe(job *of) {
  const daypack_plan *plan = &of->engine->plan;
  const daypack_corpus_header *header = of->corpus.header;
  static const uint8_t magic[8] = "DPDATA1";
  memcpy(of->header.magic, magic, sizeof magic);
  of->header.version = DAYPACK_DATA_VERSION;
  of->header.input_count = (uint32_t)plan->header->inputs.count;
  of->header.shuffle = header->shuffle;
  of->header.seed = header->shuffle ? header->seed : 0;
  of->examples.packing = header->packing == 1;
  of->examples.sequence = header->sequence;
  if (!find_inputs(plan, &of->examples, header, &of->header, &of->encoder.vocabulary))
    return daypack_fail(&of->engine->error, DAYPACK_BAD_BUNDLE,
                        "corpus.bin: expected examples of %u tokens for the inputs of %s, found others; compile the "
                        "bundle again",
                        header->sequence, of->engine->plan_name);
  of->header.example_bytes = of->examples.example_bytes;
  return DAYPACK_OK;
}

/* ---- memory */

static uint8_t *take(places *at, uint64_t *used, uint64_t size_bytes) {
  uint8_t *taken = at->memory + *used;
  *used += size_bytes + (DAYPACK_ALIGNMENT_BYTES - size_bytes % DAYPACK_ALIGNMENT_BYTES) % DAYPACK_ALIGNMENT_BYTES;
  return taken;
}

/* As much as the arena, which is not in use yet, or as is needed; never beyond the budget. */
static daypack_code map_memory(job *of) {
  daypack_engine *engine = of->engine;
  places *at = &of->at;
  const uint64_t row_bytes = 3 * of->examples.sequence * sizeof(int32_t);
  uint64_t needed = 2 * DAYPACK_RAW_BYTES + LEAST_WORKSPACE_BYTES + 8 * DAYPACK_ALIGNMENT_BYTES;
  uint64_t room = daypack_room_bytes(engine);
  bool good = daypack_add(&needed, row_bytes) && daypack_add(&needed, of->examples.example_bytes) &&
              daypack_add(&needed, of->table_bytes) && needed <= room;
  at->memory_bytes = needed < engine->plan.header->arena_bytes ? engine->plan.header->arena_bytes : needed;
  if (good && at->memory_bytes <= SIZE_MAX / 2) at->memory = engine->platform->map((size_t)at->memory_bytes);
  if (at->memory == NULL)
    return daypack_fail(&engine->error, DAYPACK_MISSING,
                        "memory: expected %llu bytes to tokenize the data in, found less; compile for a larger budget",
                        (unsigned long long)needed);
  uint64_t used = 0;
  at->buffers[0] = take(at, &used, DAYPACK_RAW_BYTES);
  at->buffers[1] = take(at, &used, DAYPACK_RAW_BYTES);
  at->row = take(at, &used, row_bytes);
  of->examples.example = take(at, &used, of->examples.example_bytes);
  at->tables = take(at, &used, of->table_bytes);
  at->workspace = at->memory + used;
  at->workspace_bytes = at->memory_bytes - used;
  of->examples.ids = (void *)at->row;
  of->examples.labels = of->examples.ids + of->examples.sequence;
  of->examples.starts = of->examples.labels + of->examples.sequence;
  of->raw.buffer = at->buffers[0];
  of->beside.buffer = at->buffers[1];
  return DAYPACK_OK;
}

/* ---- the tokenizer */

static daypack_code open_tables(job *of, int *file) {
  daypack_engine *engine = of->engine;
  if (of->corpus.header->tokenizer != DAYPACK_TOKENIZER_FILE || !engine->tokenizer_listed) return DAYPACK_OK;
  return daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, "tokenizer.dpt", file, &of->table_bytes);
}

static daypack_code load_tables(job *of, int file) {
  static daypack_tokenizer tokenizer;
  daypack_engine *engine = of->engine;
  daypack_code code = daypack_read_exactly(engine, file, "tokenizer.dpt", of->at.tables, of->table_bytes, 0);
  if (code == DAYPACK_OK)
    code = daypack_load_tokenizer(&tokenizer, &engine->error, of->at.tables, of->table_bytes, of->at.workspace,
                                  of->at.workspace_bytes);
  of->encoder.tokenizer = &tokenizer;
  return code;
}

/* ---- the tokens' file */

static daypack_code encode_all(job *of, uint32_t kind) {
  daypack_code code = daypack_encode(&of->encoder, kind);
  if (code != DAYPACK_OK) return code;
  uint64_t file_bytes = sizeof of->header + of->examples.examples * of->header.example_bytes;
  of->header.example_count = of->examples.examples;
  if (!daypack_examples_crc32(of->engine, of->file, file_bytes, &of->header.examples_crc32))
    return daypack_fail(&of->engine->error, DAYPACK_STOPPED,
                        "%s: cannot read back the tokens of the data; run again", of->engine->state_directory_path);
  return put(of, &of->header, sizeof of->header, 0);
}

static daypack_code make_tokens(job *of, uint32_t kind) {
  daypack_engine *engine = of->engine;
  const daypack_platform *platform = engine->platform;
  char temporary[DAYPACK_PATH_BYTES];
  daypack_code code = daypack_join(&engine->error, temporary, engine->data.path, ".tmp", "");
  if (code != DAYPACK_OK) return code;
  int result = of->file = platform->open_update(temporary);
  if (result >= 0) result = platform->reserve(of->file, 0); /* one that a kill left */
  if (result == 0) code = encode_all(of, kind);
  if (result == 0 && code == DAYPACK_OK) result = platform->sync(of->file);
  if (of->file >= 0) (void)platform->close(of->file);
  if (result == 0 && code == DAYPACK_OK) result = platform->rename(temporary, engine->data.path);
  if (result == 0 && code == DAYPACK_OK) result = platform->sync(engine->state_directory);
  if (result != 0 || code != DAYPACK_OK) (void)platform->remove(temporary);
  if (code != DAYPACK_OK || result == 0) return code;
  return daypack_fail(&engine->error, DAYPACK_STOPPED,
                      "%s: cannot keep the tokens of the data: %s; free room and run again",
                      engine->state_directory_path, strerror(-result));
}

static daypack_code prepare(job *of, bool *reused) {
  daypack_engine *engine = of->engine;
  uint32_t kind = 0;
  int tables = -1;
  daypack_code code = read_corpus(of);
  if (code == DAYPACK_OK) code = describe(of);
  if (code != DAYPACK_OK) return code;
  kind = of->corpus.header->kind;
  if (kind == DAYPACK_BY_NAME) kind = daypack_kind_of_name(engine->options.data);
  code = hash_source(of, kind);
  *reused = code == DAYPACK_OK && daypack_data_is_of(engine, of->header.source);
  if (code != DAYPACK_OK || *reused) return code;
  code = open_tables(of, &tables);
  if (code == DAYPACK_OK) code = map_memory(of);
  if (code == DAYPACK_OK && tables >= 0) code = load_tables(of, tables);
  if (tables >= 0) (void)engine->platform->close(tables);
  if (code == DAYPACK_OK) code = make_tokens(of, kind);
  of->at.memory_bytes += DAYPACK_PAGE_BYTES - 1;
  of->at.memory_bytes -= of->at.memory_bytes % DAYPACK_PAGE_BYTES;
  if (of->at.memory != NULL) engine->platform->release(of->at.memory, (size_t)of->at.memory_bytes);
  return code;
}

daypack_code daypack_prepare_data(daypack_engine *engine) {
  static job of;
  bool reused = false;
  if (!engine->data.raw) return DAYPACK_OK;
  uint64_t begin_ns = engine->platform->now_ns();
  daypack_code code =
      daypack_join(&engine->error, engine->data.path, engine->state_directory_path, "/", "tokens.bin");
  of = (job){.engine = engine, .raw_file = engine->data.file, .file = -1};
  of.raw = of.beside = (daypack_raw){.read = read_raw, .context = &of, .error = &engine->error,
                                     .name = engine->options.data, .size_bytes = engine->data.raw_bytes};
  of.examples.write = put_example;
  of.examples.context = &of;
  of.encoder = (daypack_encoder){
      .corpus = &of.corpus, .raw = &of.raw, .beside = &of.beside, .examples = &of.examples};
  if (code == DAYPACK_OK) code = prepare(&of, &reused);
  (void)engine->platform->close(engine->data.file);
  engine->data.raw = false;
  if (code == DAYPACK_OK) code = daypack_open_tokens(engine);
  if (code != DAYPACK_OK) return code;
  return daypack_report_prepared(engine, reused, of.examples.tokens, engine->platform->now_ns() - begin_ns);
}
