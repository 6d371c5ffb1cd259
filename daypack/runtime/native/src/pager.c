/* Bytes of a file into the arena. The file is read, not mapped, so that the arena is all there is in memory. */
#include "internal.h"

daypack_code daypack_page_in(daypack_engine *engine, const daypack_plan_instruction *instruction) {
  bool weights = instruction->index == DAYPACK_FILE_WEIGHTS;
  return daypack_read_exactly(engine, weights ? engine->weights_file : engine->state_file,
                              weights ? "weights.bin" : engine->state_name,
                              engine->arena + instruction->arena_offset_bytes, instruction->size_bytes,
                              instruction->source);
}
