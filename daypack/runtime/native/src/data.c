/* data.bin: examples, and the order in which micro-batches take them; checked as they are read. FORMAT.md has the
 * bytes and the law of the order. */
#include <string.h>

#include "internal.h"

static const uint8_t MAGIC[8] = "DPDATA1";

static const char *data_name(const daypack_engine *engine) {
  if (engine->data.path[0] != '\0') return engine->data.path;
  return engine->options.data == NULL ? "data.bin" : engine->options.data;
}

/* What one example has of an input. */
static uint64_t share_bytes(const daypack_plan_input *input, uint32_t micro_batch) {
  return input->size_bytes / micro_batch;
}

/* Bytes of an example of this plan's inputs; 0 when they do not divide into the micro-batch. */
static uint64_t example_bytes(const daypack_plan *plan, uint32_t micro_batch) {
  uint64_t sum = 0;
  for (uint64_t index = 0; micro_batch > 0 && index < plan->header->inputs.count; index++) {
    const daypack_plan_input *input = &plan->inputs[index];
    if (input->size_bytes % micro_batch != 0 ||
        share_bytes(input, micro_batch) % DAYPACK_DTYPE_BYTES[input->dtype] != 0)
      return 0;
    sum += share_bytes(input, micro_batch); /* checks.c: a whole record is below 2^64 bytes */
    (void)daypack_align(&sum, DAYPACK_ALIGNMENT_BYTES);
  }
  return sum;
}

/* Bytes of the bundle's own file are checked against its hash tree. */
static daypack_code read_data(daypack_engine *engine, void *values, uint64_t size_bytes, uint64_t offset_bytes) {
  bool own = engine->options.data == NULL && engine->data.path[0] == '\0' && engine->data_tree.file_bytes > 0;
  daypack_paged_file from = {data_name(engine), engine->data.file, -1, own ? &engine->data_tree : NULL};
  daypack_range rest = {values, size_bytes, offset_bytes};
  int64_t result = daypack_read_paged(engine->platform, &from, &rest, &engine->read_bytes);
  return result == 1 ? DAYPACK_OK : daypack_fail_read(&engine->error, engine->underway, from.name, &rest, result);
}

static daypack_code check_header(daypack_engine *engine, const daypack_data_header *header, uint64_t file_bytes) {
  const daypack_plan *plan = &engine->plan;
  const char *name = data_name(engine);
  if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0 || header->shuffle > 1 || header->zero != 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected the header of a data file, found other bytes",
                        name);
  if (header->version != DAYPACK_DATA_VERSION)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected version %u, found %u; write it again", name,
                        DAYPACK_DATA_VERSION, header->version);
  uint64_t expected_bytes = example_bytes(plan, header->micro_batch);
  if (header->input_count != plan->header->inputs.count || expected_bytes == 0 ||
      header->example_bytes != expected_bytes)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected examples of %llu inputs and, %u in a micro-batch, %llu bytes as this bundle "
                        "reads, found %u and %llu",
                        name, (unsigned long long)plan->header->inputs.count, header->micro_batch,
                        (unsigned long long)expected_bytes, header->input_count,
                        (unsigned long long)header->example_bytes);
  uint64_t size = 0;
  if (header->example_count == 0 || __builtin_mul_overflow(header->example_count, header->example_bytes, &size) ||
      !daypack_add(&size, sizeof *header) || size != file_bytes)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected one example or more and no part of one, found %llu bytes for %llu examples", name,
                        (unsigned long long)file_bytes, (unsigned long long)header->example_count);
  return DAYPACK_OK;
}

static daypack_code read_header(daypack_engine *engine, uint64_t file_bytes) {
  daypack_data_header header = {0};
  if (file_bytes < sizeof header)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected at least 64 bytes, found %llu",
                        data_name(engine), (unsigned long long)file_bytes);
  daypack_code code = read_data(engine, &header, sizeof header, 0);
  if (code != DAYPACK_OK) return code;
  code = check_header(engine, &header, file_bytes);
  engine->data.header = header;
  return code;
}

/* A file that is no data file is raw data. */
static daypack_code find_raw(daypack_engine *engine, uint64_t file_bytes) {
  uint8_t magic[sizeof MAGIC] = {0};
  uint64_t size_bytes = file_bytes < sizeof magic ? file_bytes : sizeof magic;
  if (file_bytes == 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT, "%s: the file is empty", engine->options.data);
  daypack_code code =
      daypack_read_exactly(engine, engine->data.file, engine->options.data, magic, size_bytes, 0);
  engine->data.raw = memcmp(magic, MAGIC, sizeof MAGIC) != 0;
  engine->data.raw_bytes = file_bytes;
  return code;
}

daypack_code daypack_open_data(daypack_engine *engine) {
  uint64_t file_bytes = 0;
  const char *directory = engine->options.data == NULL ? engine->options.bundle : NULL;
  if (directory != NULL && !engine->data_listed)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "data: expected data.bin in the bundle or --data FILE, found neither");
  daypack_code code =
      daypack_open(engine, DAYPACK_BAD_INPUT, directory, data_name(engine), &engine->data.file, &file_bytes);
  if (code == DAYPACK_OK && directory == NULL && engine->corpus_listed && !engine->options.evaluate)
    code = find_raw(engine, file_bytes);
  return code == DAYPACK_OK && !engine->data.raw ? read_header(engine, file_bytes) : code;
}

daypack_code daypack_open_tokens(daypack_engine *engine) {
  uint64_t file_bytes = 0;
  daypack_code code =
      daypack_open(engine, DAYPACK_BAD_BUNDLE, NULL, engine->data.path, &engine->data.file, &file_bytes);
  return code == DAYPACK_OK ? read_header(engine, file_bytes) : code;
}

bool daypack_examples_crc32(daypack_engine *engine, int file, uint64_t file_bytes, uint32_t *crc32) {
  uint32_t sum = UINT32_MAX;
  for (uint64_t offset = sizeof(daypack_data_header); offset < file_bytes;) {
    uint64_t rest = file_bytes - offset;
    daypack_range part = {daypack_io_buffer, rest < DAYPACK_IO_BYTES ? rest : DAYPACK_IO_BYTES, offset};
    offset += part.size_bytes;
    const uint64_t size_bytes = part.size_bytes;
    if (daypack_read_range(engine->platform, file, &part, &engine->read_bytes) != 1) return false;
    sum = daypack_crc32_raw(sum, daypack_io_buffer, size_bytes);
  }
  *crc32 = ~sum;
  return true;
}

bool daypack_data_is_of(daypack_engine *engine, const uint8_t source[DAYPACK_SOURCE_BYTES]) {
  daypack_data_header header = {0};
  daypack_range rest = {(uint8_t *)&header, sizeof header, 0};
  int file = engine->platform->open_plain(engine->data.path);
  if (file < 0) return false;
  int64_t size = engine->platform->file_bytes(file);
  uint32_t crc32 = 0;
  bool good = size > 0 && daypack_read_range(engine->platform, file, &rest, &engine->read_bytes) == 1 &&
              check_header(engine, &header, (uint64_t)size) == DAYPACK_OK &&
              memcmp(header.source, source, DAYPACK_SOURCE_BYTES) == 0 &&
              daypack_examples_crc32(engine, file, (uint64_t)size, &crc32) && crc32 == header.examples_crc32;
  (void)engine->platform->close(file);
  memset(&engine->error, 0, sizeof engine->error); /* what is not good is made again */
  return good;
}

/* The finalizer of splitmix64 (Steele et al. 2014). */
static uint64_t mix(uint64_t word) {
  word = (word ^ word >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  word = (word ^ word >> 27) * UINT64_C(0x94D049BB133111EB);
  return word ^ word >> 31;
}

/* A Feistel network over the least even number of bits that holds every place, walked until it falls within the
 * count: a permutation of [0, count) without a table. */
uint64_t daypack_permute(uint64_t place, uint64_t count, uint64_t seed, uint64_t epoch) {
  const uint64_t golden = UINT64_C(0x9E3779B97F4A7C15);
  enum { ROUNDS = 6 };
  uint32_t half = 1;
  while (half < 32 && (count - 1) >> (2 * half) != 0) half++;
  uint64_t mask = (UINT64_C(1) << half) - 1;
  uint64_t start = mix(seed + golden * (epoch + 1));
  do {
    uint64_t left = place >> half;
    uint64_t right = place & mask;
    for (uint64_t round = 1; round <= ROUNDS; round++) {
      uint64_t next = left ^ (mix(right ^ mix(start + golden * round)) & mask);
      left = right;
      right = next;
    }
    place = left << half | right;
  } while (place >= count);
  return place;
}

/* The example that is number `place` of a training. */
static uint64_t example_at(const daypack_data_header *header, uint64_t place) {
  uint64_t epoch = place / header->example_count;
  place %= header->example_count;
  return header->shuffle ? daypack_permute(place, header->example_count, header->seed, epoch) : place;
}

static daypack_code check_values(daypack_engine *engine, const daypack_plan_input *input, uint64_t example,
                                 const int32_t *values, uint64_t count) {
  for (uint64_t position = 0; position < count; position++) {
    int32_t value = values[position];
    if (value >= 0 && value < (int32_t)input->bound) continue;
    if (input->has_ignore && value == input->ignore) continue;
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "%s: example %llu, input %.*s, position %llu: expected a value from 0 to %u, found %d",
                        data_name(engine), (unsigned long long)example, (int)input->name_bytes,
                        engine->plan.strings + input->name_offset, (unsigned long long)position, input->bound - 1,
                        value);
  }
  return DAYPACK_OK;
}

/* One example into its place of a micro-batch. */
static daypack_code read_example(daypack_engine *engine, uint64_t example, uint64_t number, const uint64_t *offsets) {
  const daypack_data *data = &engine->data;
  uint64_t position = sizeof(daypack_data_header) + example * data->header.example_bytes;
  for (uint64_t index = 0; index < engine->plan.header->inputs.count; index++) {
    const daypack_plan_input *input = &engine->plan.inputs[index];
    uint64_t size_bytes = share_bytes(input, data->header.micro_batch);
    uint8_t *values = engine->arena + offsets[index] + number * size_bytes;
    daypack_code code = read_data(engine, values, size_bytes, position);
    if (code == DAYPACK_OK && input->bound > 0)
      code = check_values(engine, input, example, (const void *)values, size_bytes / sizeof(int32_t));
    if (code != DAYPACK_OK) return code;
    position += size_bytes;
    (void)daypack_align(&position, DAYPACK_ALIGNMENT_BYTES);
  }
  return DAYPACK_OK;
}

daypack_code daypack_read_batch(daypack_engine *engine, uint64_t step, const daypack_plan_instruction *instruction) {
  const daypack_data_header *header = &engine->data.header;
  const uint64_t *offsets = engine->plan.operands + instruction->source;
  uint64_t first = (step * engine->plan.header->window + instruction->index) * header->micro_batch;
  for (uint32_t number = 0; number < header->micro_batch; number++) {
    daypack_code code = read_example(engine, example_at(header, first + number), number, offsets);
    if (code != DAYPACK_OK) return code;
  }
  for (uint64_t index = 0; engine->plan.suspends > 0 && index < engine->plan.header->inputs.count; index++)
    engine->batches_sum = daypack_crc32_raw(engine->batches_sum, engine->arena + offsets[index],
                                            engine->plan.inputs[index].size_bytes);
  return DAYPACK_OK;
}

uint64_t daypack_steps_of_pass(const daypack_engine *engine) {
  uint64_t batch = (uint64_t)engine->plan.header->window * engine->data.header.micro_batch;
  uint64_t examples = engine->data.header.example_count;
  return examples / batch + (examples % batch != 0);
}
