/* Rows of a matrix on flash, by the ids in the arena. */
#include "internal.h"

/* The most that is hinted ahead: enough to hide the latency, too little to push others out of memory. */
enum { AHEAD_BYTES = 32 << 20 };

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

/* Scattered small reads, one after the other, each wait for the flash; hinted, they are fetched together. */
static void hint_rows(const daypack_engine *engine, const daypack_plan_rows *rows, const int32_t *ids,
                      uint64_t row_bytes) {
  for (uint64_t first = 0, count = 0; first < rows->ids_count && first * row_bytes < AHEAD_BYTES; first += count) {
    count = run_length(rows, ids, first);
    (void)engine->platform->will_read(engine->files[DAYPACK_FILE_WEIGHTS].file, count * row_bytes,
                                      rows->file_offset_bytes + row_of(rows, ids[first]) * row_bytes);
  }
}

daypack_code daypack_page_rows(daypack_engine *engine, const daypack_plan_instruction *instruction) {
  const daypack_plan_rows *rows = daypack_rows_of(&engine->plan, instruction);
  const int32_t *ids = (const void *)(engine->arena + rows->ids_offset_bytes);
  uint8_t *result = engine->arena + instruction->arena_offset_bytes;
  uint64_t row_bytes = instruction->size_bytes;
  if (engine->options.direct) { /* there is one buffer for pages, and the pager may be using it */
    daypack_code code = daypack_wait_transfers(engine, engine->posted_transfers);
    if (code != DAYPACK_OK) return code;
  } else {
    hint_rows(engine, rows, ids, row_bytes);
  }
  for (uint64_t first = 0, count = 0; first < rows->ids_count; first += count) {
    count = run_length(rows, ids, first);
    daypack_code code =
        daypack_read_now(engine, DAYPACK_FILE_WEIGHTS, result + first * row_bytes, count * row_bytes,
                         rows->file_offset_bytes + row_of(rows, ids[first]) * row_bytes);
    if (code != DAYPACK_OK) return code;
  }
  return DAYPACK_OK;
}
