/* data.bin: fixed-size records, one a micro-batch, checked as they are read. FORMAT.md has the bytes. */
#include <string.h>

#include "internal.h"

typedef struct {
  uint8_t magic[8];
  uint32_t version;
  uint32_t input_count;
  uint64_t record_bytes;
  uint64_t record_count;
  uint8_t zero[32];
} data_header;

static_assert(sizeof(data_header) == 64, "data.bin header");

static const char *data_name(const daypack_engine *engine) {
  return engine->options.data == NULL ? "data.bin" : engine->options.data;
}

static daypack_code check_header(daypack_engine *engine, const data_header *header, uint64_t file_bytes) {
  static const uint8_t magic[8] = "DPDATA1";
  static const uint8_t zero[32];
  const daypack_plan *plan = &engine->plan;
  const char *name = data_name(engine);
  if (memcmp(header->magic, magic, sizeof magic) != 0 || memcmp(header->zero, zero, sizeof zero) != 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected the header of a data file, found other bytes",
                        name);
  if (header->version != 1)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected version 1, found %u; write it again", name,
                        header->version);
  if (header->input_count != plan->header->inputs.count || header->record_bytes != plan->record_bytes)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected records of %llu inputs and %llu bytes as this bundle reads, found %u and %llu", name,
                        (unsigned long long)plan->header->inputs.count, (unsigned long long)plan->record_bytes,
                        header->input_count, (unsigned long long)header->record_bytes);
  uint64_t size = 0;
  if (header->record_count == 0 || __builtin_mul_overflow(header->record_count, header->record_bytes, &size) ||
      !daypack_add(&size, sizeof *header) || size != file_bytes)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected one record or more and no part of one, found %llu bytes for %llu records", name,
                        (unsigned long long)file_bytes, (unsigned long long)header->record_count);
  return DAYPACK_OK;
}

daypack_code daypack_open_data(daypack_engine *engine) {
  data_header header;
  uint64_t file_bytes = 0;
  const char *directory = engine->options.data == NULL ? engine->options.bundle : NULL;
  if (directory != NULL && !engine->data_listed)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "data: expected data.bin in the bundle or --data FILE, found neither");
  daypack_code code =
      daypack_open(engine, DAYPACK_BAD_INPUT, directory, data_name(engine), &engine->data.file, &file_bytes);
  if (code != DAYPACK_OK) return code;
  if (file_bytes < sizeof header)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected at least 64 bytes, found %llu",
                        data_name(engine), (unsigned long long)file_bytes);
  code = daypack_read_exactly(engine, engine->data.file, data_name(engine), &header, sizeof header, 0);
  if (code != DAYPACK_OK) return code;
  engine->data.record_count = header.record_count;
  return check_header(engine, &header, file_bytes);
}

static daypack_code check_values(daypack_engine *engine, const daypack_plan_input *input, uint64_t record,
                                 const int32_t *values) {
  uint64_t count = input->size_bytes / sizeof *values;
  for (uint64_t position = 0; position < count; position++) {
    int32_t value = values[position];
    if (value >= 0 && value < (int32_t)input->bound) continue;
    if (input->has_ignore && value == input->ignore) continue;
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "%s: record %llu, input %.*s, position %llu: expected a value from 0 to %u, found %d",
                        data_name(engine), (unsigned long long)record, (int)input->name_bytes,
                        engine->plan.strings + input->name_offset, (unsigned long long)position, input->bound - 1,
                        value);
  }
  return DAYPACK_OK;
}

daypack_code daypack_read_record(daypack_engine *engine, uint64_t step, const daypack_plan_instruction *instruction) {
  const daypack_plan *plan = &engine->plan;
  const uint64_t *offsets = plan->operands + instruction->source;
  uint64_t record = (step * plan->header->window + instruction->index) % engine->data.record_count;
  uint64_t position = sizeof(data_header) + record * plan->record_bytes;
  for (uint64_t index = 0; index < plan->header->inputs.count; index++) {
    const daypack_plan_input *input = &plan->inputs[index];
    uint8_t *values = engine->arena + offsets[index];
    daypack_code code =
        daypack_read_exactly(engine, engine->data.file, data_name(engine), values, input->size_bytes, position);
    if (code == DAYPACK_OK && input->bound > 0) code = check_values(engine, input, record, (const void *)values);
    if (code != DAYPACK_OK) return code;
    position += input->size_bytes;
    position += (DAYPACK_ALIGNMENT_BYTES - position % DAYPACK_ALIGNMENT_BYTES) % DAYPACK_ALIGNMENT_BYTES;
  }
  return DAYPACK_OK;
}
