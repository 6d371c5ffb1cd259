/* Bytes of a file into the arena. The file is read, not mapped, so that the arena is all there is in memory. */
#include "internal.h"

daypack_code daypack_page_in(daypack_engine *engine, const daypack_plan_instruction *instruction) {
  bool weights = instruction->index == DAYPACK_FILE_WEIGHTS;
  return daypack_read_exactly(engine, weights ? engine->weights_file : engine->state_file,
                              weights ? "weights.bin" : engine->state_name,
                              engine->arena + instruction->arena_offset_bytes, instruction->size_bytes,
                              instruction->source);
}

const daypack_plan_rows *daypack_rows_of(const daypack_plan *plan, const daypack_plan_instruction *instruction) {
  return (const void *)(plan->operands + instruction->source);
}

static uint64_t row_of(const daypack_plan_rows *rows, int32_t id) {
  uint64_t row = id < 0 ? 0 : (uint64_t)id;
  return row < rows->row_count ? row : rows->row_count - 1;
}

/* How many ids from `first` on name rows that follow one another in the file: one read will do. */
static uint64_t run_length(const daypack_plan_rows *rows, const int32_t *ids, uint64_t first) {
  uint64_t count = 1;
  while (first + count < rows->ids_count && row_of(rows, ids[first + count]) == row_of(rows, ids[first]) + count)
    count++;
  return count;
}

daypack_code daypack_page_rows(daypack_engine *engine, const daypack_plan_instruction *instruction) {
  const daypack_plan_rows *rows = daypack_rows_of(&engine->plan, instruction);
  const int32_t *ids = (const void *)(engine->arena + rows->ids_offset_bytes);
  uint8_t *result = engine->arena + instruction->arena_offset_bytes;
  uint64_t row_bytes = instruction->size_bytes;
  for (uint64_t first = 0; first < rows->ids_count;) {
    uint64_t count = run_length(rows, ids, first);
    daypack_code code =
        daypack_read_exactly(engine, engine->weights_file, "weights.bin", result + first * row_bytes, count * row_bytes,
                             rows->file_offset_bytes + row_of(rows, ids[first]) * row_bytes);
    if (code != DAYPACK_OK) return code;
    first += count;
  }
  return DAYPACK_OK;
}
