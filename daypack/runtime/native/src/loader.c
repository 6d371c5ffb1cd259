/* plan.bin, or eval.bin of the same form, into the table memory: the header and the places of its sections. checks.c then checks the records.
 *
 * One allocation holds the file's bytes and the two small tables that running needs. */
#include <string.h>

#include "internal.h"

static daypack_code refuse_header(daypack_engine *engine, const daypack_plan_header *header, uint64_t file_bytes) {
  static const uint8_t magic[8] = DAYPACK_PLAN_MAGIC;
  if (memcmp(header->magic, magic, sizeof magic) != 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected a plan's magic bytes, found others",
                        engine->plan_name);
  if (header->version_major != DAYPACK_PLAN_VERSION_MAJOR)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected version %u, found %u.%u; compile the bundle again",
                        engine->plan_name, DAYPACK_PLAN_VERSION_MAJOR, header->version_major, header->version_minor);
  if (header->file_bytes != file_bytes)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected %llu bytes, found %llu",
                        engine->plan_name, (unsigned long long)header->file_bytes, (unsigned long long)file_bytes);
  return DAYPACK_OK;
}

/* Each section begins at the next aligned offset after the one before; nothing else is in the file. */
static daypack_code check_sections(daypack_engine *engine, const daypack_plan_header *header,
                                   daypack_plan_section sections[DAYPACK_SECTION_COUNT]) {
  uint64_t position = sizeof *header;
  memcpy(sections, (const uint8_t *)header + offsetof(daypack_plan_header, features),
         DAYPACK_SECTION_COUNT * sizeof *sections);
  for (size_t index = 0; index < DAYPACK_SECTION_COUNT; index++) {
    uint64_t size_bytes = 0;
    const daypack_plan_section *section = &sections[index];
    if (!daypack_align(&position, DAYPACK_ALIGNMENT_BYTES) || section->offset_bytes != position ||
        section->count > UINT32_MAX ||
        __builtin_mul_overflow(section->count, DAYPACK_SECTION_ELEMENT_BYTES[index], &size_bytes) ||
        !daypack_fits(position, size_bytes, header->file_bytes))
      return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                          "%s: section %s: expected to begin at %llu and to fit in the file, found %llu records "
                          "at %llu",
                          engine->plan_name, DAYPACK_SECTION_NAMES[index], (unsigned long long)position,
                          (unsigned long long)section->count, (unsigned long long)section->offset_bytes);
    position += size_bytes;
  }
  if (position != header->file_bytes)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected the last section to end at %llu, "
                        "found %llu", engine->plan_name, (unsigned long long)header->file_bytes,
                        (unsigned long long)position);
  return DAYPACK_OK;
}

static daypack_code check_padding(daypack_engine *engine, const uint8_t *bytes,
                                  const daypack_plan_section sections[DAYPACK_SECTION_COUNT]) {
  uint64_t position = sizeof(daypack_plan_header);
  for (size_t index = 0; index < DAYPACK_SECTION_COUNT; index++) {
    for (; position < sections[index].offset_bytes; position++)
      if (bytes[position] != 0)
        return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected zero at %llu, found %u",
                            engine->plan_name, (unsigned long long)position, bytes[position]);
    position += sections[index].count * DAYPACK_SECTION_ELEMENT_BYTES[index];
  }
  return DAYPACK_OK;
}

static void point(daypack_engine *engine, uint8_t *bytes) {
  daypack_plan *plan = &engine->plan;
  const daypack_plan_header *header = (const void *)bytes;
  plan->header = header;
  plan->features = (const void *)(bytes + header->features.offset_bytes);
  plan->kernels = (const void *)(bytes + header->kernels.offset_bytes);
  plan->arguments = (const void *)(bytes + header->arguments.offset_bytes);
  plan->phases = (const void *)(bytes + header->phases.offset_bytes);
  plan->operands = (const void *)(bytes + header->operands.offset_bytes);
  plan->setup = (const void *)(bytes + header->setup.offset_bytes);
  plan->steps = (const void *)(bytes + header->steps.offset_bytes);
  plan->inputs = (const void *)(bytes + header->inputs.offset_bytes);
  plan->state = (const void *)(bytes + header->state.offset_bytes);
  plan->state_header = bytes + header->state_header.offset_bytes;
  plan->header_text = (char *)bytes + header->state_header.offset_bytes;
  plan->strings = (const void *)(bytes + header->strings.offset_bytes);
}

/* Room for the largest plan so far, after it the small tables that running needs. The sizes of two are the linked
 * kernels', which every plan must have; with --profile there is one of shards, of which no plan has more than
 * instructions. A larger plan takes new memory; this happens before the first step only. */
static uint8_t *map_tables(daypack_engine *engine, const daypack_plan_header *header) {
  uint64_t file_bytes = header->file_bytes;
  if (engine->tables != NULL && file_bytes <= engine->tables_bytes) return engine->tables;
  uint64_t times_bytes = daypack_linked.kernel_count * sizeof(daypack_kernel_time);
  uint64_t arguments_bytes = ((uint64_t)daypack_linked.argument_count + 1) * sizeof(void *);
  if (!daypack_align(&file_bytes, DAYPACK_ALIGNMENT_BYTES)) return NULL;
  uint64_t shards_bytes =
      engine->options.profile ? file_bytes / sizeof(daypack_plan_instruction) * sizeof *engine->shard_ns : 0;
  uint8_t *bytes = engine->platform->map((size_t)(file_bytes + times_bytes + arguments_bytes + shards_bytes));
  if (bytes == NULL) {
    (void)daypack_fail(&engine->error, DAYPACK_MISSING, "memory: expected %llu bytes for the plan's tables, found less",
                       (unsigned long long)(file_bytes + times_bytes + arguments_bytes + shards_bytes));
    return NULL;
  }
  if (engine->tables != NULL) engine->platform->release(engine->tables, (size_t)engine->tables_bytes);
  engine->tables = bytes;
  engine->tables_bytes = file_bytes;
  engine->kernel_times = (void *)(bytes + file_bytes);
  engine->call_arguments = (void *)(bytes + file_bytes + times_bytes);
  engine->shard_ns = (void *)(bytes + file_bytes + times_bytes + arguments_bytes);
  return bytes;
}

static daypack_code load(daypack_engine *engine, int file, uint64_t file_bytes) {
  daypack_plan_header header = {0};
  daypack_plan_section sections[DAYPACK_SECTION_COUNT];
  if (file_bytes < sizeof header)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected at least %zu bytes, found %llu",
                        engine->plan_name, sizeof header, (unsigned long long)file_bytes);
  daypack_code code = daypack_read_exactly(engine, file, engine->plan_name, &header, sizeof header, 0);
  if (code == DAYPACK_OK) code = refuse_header(engine, &header, file_bytes);
  if (code == DAYPACK_OK) code = check_sections(engine, &header, sections);
  if (code != DAYPACK_OK) return code;
  uint8_t *bytes = map_tables(engine, &header);
  if (bytes == NULL) return engine->error.code;
  code = daypack_read_exactly(engine, file, engine->plan_name, bytes + sizeof header, file_bytes - sizeof header,
                              sizeof header);
  if (code != DAYPACK_OK) return code;
  memcpy(bytes, &header, sizeof header);
  code = check_padding(engine, bytes, sections);
  if (code == DAYPACK_OK) point(engine, bytes);
  return code;
}

/* Before anything of the tables changes, as the digits of the state's header do. */
static void hash_plan(daypack_engine *engine) {
  const daypack_sha256_functions *sha256 = daypack_choose_sha256(engine->platform);
  daypack_sha256 state;
  if (engine->plan.suspends == 0) return;
  sha256->init(&state);
  sha256->update(&state, engine->tables, (size_t)engine->plan.header->file_bytes);
  sha256->final(&state, engine->plan.digest);
}

daypack_code daypack_load_plan(daypack_engine *engine) {
  int file = -1;
  uint64_t file_bytes = 0;
  daypack_code code = engine->weights_bytes == 0 && engine->files[DAYPACK_FILE_WEIGHTS].file < 0
                          ? daypack_open_weights(engine)
                          : DAYPACK_OK;
  if (code != DAYPACK_OK) return code;
  code = daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, engine->plan_name, &file, &file_bytes);
  if (code != DAYPACK_OK) return code;
  code = load(engine, file, file_bytes);
  (void)engine->platform->close(file);
  if (code == DAYPACK_OK) code = daypack_check_plan(engine);
  if (code == DAYPACK_OK) hash_plan(engine);
  return code;
}
