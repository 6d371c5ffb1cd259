/* Every record of the plan against the sizes, counts and kernels it may refer to. Nothing in it is trusted:
 * after this no offset can leave the arena, no index a table, and no kernel runs but as it was linked. */
#include <string.h>

#include "internal.h"

/* Refuse with the place, what was expected and what was found, unless `good`. */
#define EXPECT(good, place, expected, found)                                                                \
  do {                                                                                                      \
    if (!(good)) return refuse(engine, (place), (expected), (unsigned long long)(found));                   \
  } while (0)

typedef struct {
  const char *table;
  uint64_t index;
  const char *field;
} place;

static daypack_code refuse(daypack_engine *engine, place at, const char *expected, unsigned long long found) {
  return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: %s[%llu].%s: expected %s, found %llu", engine->plan_name,
                      at.table, (unsigned long long)at.index, at.field, expected, found);
}

/* Even an empty range needs a first byte inside, so that its address is one. */
static bool in_arena(const daypack_engine *engine, uint64_t offset_bytes, uint64_t size_bytes, uint64_t alignment) {
  uint64_t limit = engine->plan.header->arena_bytes;
  return offset_bytes % alignment == 0 && offset_bytes < limit && daypack_fits(offset_bytes, size_bytes, limit);
}

static bool in_strings(const daypack_engine *engine, uint32_t offset, uint32_t size_bytes) {
  return daypack_fits(offset, size_bytes, engine->plan.header->strings.count);
}

static daypack_code check_header(daypack_engine *engine) {
  const daypack_plan_header *header = engine->plan.header;
  const daypack_linked_kernels *linked = &daypack_linked;
#define AT(field) ((place){"header", 0, field})
  EXPECT(header->target_arch == DAYPACK_ARCH_X86_64 || header->target_arch == DAYPACK_ARCH_AARCH64, AT("target_arch"),
         "1 (x86_64) or 2 (aarch64)", header->target_arch);
  EXPECT(header->order < sizeof DAYPACK_ORDER_NAMES / sizeof *DAYPACK_ORDER_NAMES, AT("order"), "a known order",
         header->order);
  EXPECT(header->reserved == 0, AT("reserved"), "0", header->reserved);
  EXPECT(engine->options.evaluate || header->rows == 0, AT("rows"), "0 in a training", header->rows);
  EXPECT(!engine->options.evaluate || (header->rows >= 1 && header->rows <= INT32_MAX), AT("rows"),
         "1 or more in an evaluation", header->rows);
  EXPECT(header->rows == 0 || (header->window == 1 && header->save_steps == 1), AT("window"),
         "1 in an evaluation, as save_steps", header->window);
  EXPECT(header->window >= 1 && header->window <= INT32_MAX, AT("window"), "1 or more", header->window);
  EXPECT(header->save_steps >= 1 && header->save_steps <= INT32_MAX, AT("save_steps"), "1 or more",
         header->save_steps);
  EXPECT(header->arena_bytes >= DAYPACK_ALIGNMENT_BYTES, AT("arena_bytes"), "64 or more", header->arena_bytes);
  EXPECT(header->budget_bytes == 0 || header->arena_bytes <= header->budget_bytes, AT("arena_bytes"),
         "at most budget_bytes", header->arena_bytes);
  uint64_t results_bytes = header->rows == 0 ? 4 : 4 * (uint64_t)header->rows;
  EXPECT(in_arena(engine, header->loss_offset_bytes, results_bytes, 4), AT("loss_offset_bytes"),
         "4 bytes in the arena, a row", header->loss_offset_bytes);
  EXPECT(in_arena(engine, header->weight_offset_bytes, results_bytes, 4), AT("weight_offset_bytes"),
         "4 bytes in the arena, a row", header->weight_offset_bytes);
  EXPECT(in_arena(engine, header->step_offset_bytes, 4, 4), AT("step_offset_bytes"), "4 bytes in the arena",
         header->step_offset_bytes);
  EXPECT(header->scratch_bytes == linked->scratch_bytes, AT("scratch_bytes"), "what the engine was linked with",
         header->scratch_bytes);
  EXPECT(header->kernels.count == linked->kernel_count, AT("kernels"), "what the engine was linked with",
         header->kernels.count);
  EXPECT(header->phases.count == linked->phase_count, AT("phases"), "what the engine was linked with",
         header->phases.count);
  EXPECT(header->arguments.count == linked->argument_count, AT("arguments"), "what the engine was linked with",
         header->arguments.count);
  if (memcmp(header->kernel_id, linked->kernel_id, sizeof header->kernel_id) != 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected the kernel_id of this engine's kernels, found another: plan and engine are "
                        "not of the same bundle",
                        engine->plan_name);
  return DAYPACK_OK;
#undef AT
}

static daypack_code check_kernel(daypack_engine *engine, uint64_t index, uint64_t *phases, uint64_t *arguments) {
  const daypack_plan_kernel *kernel = &engine->plan.kernels[index];
  const daypack_linked_kernel *linked = &daypack_linked.kernels[index];
#define AT(field) ((place){"kernels", index, field})
  EXPECT(in_strings(engine, kernel->name_offset, kernel->name_bytes), AT("name"), "a range of strings",
         kernel->name_offset);
  EXPECT(kernel->first_phase == *phases, AT("first_phase"), "the next phase", kernel->first_phase);
  EXPECT(kernel->first_argument == *arguments, AT("first_argument"), "the next argument", kernel->first_argument);
  EXPECT(kernel->phase_count == linked->phase_count, AT("phase_count"), "what the engine was linked with",
         kernel->phase_count);
  EXPECT(kernel->argument_count == linked->argument_count, AT("argument_count"), "what the engine was linked with",
         kernel->argument_count);
  *phases += kernel->phase_count;
  *arguments += kernel->argument_count;
  return DAYPACK_OK;
#undef AT
}

/* The linked tables agree with one another (build.py made them together), so equal counts bound every index. */
static daypack_code check_kernels(daypack_engine *engine) {
  const daypack_plan *plan = &engine->plan;
  uint64_t phases = 0;
  uint64_t arguments = 0;
  for (uint64_t index = 0; index < plan->header->kernels.count; index++) {
    daypack_code code = check_kernel(engine, index, &phases, &arguments);
    if (code != DAYPACK_OK) return code;
  }
  for (uint64_t index = 0; index < plan->header->phases.count; index++) {
    const daypack_plan_phase *phase = &plan->phases[index];
    const daypack_linked_phase *linked = &daypack_linked.phases[index];
    EXPECT(in_strings(engine, phase->symbol_offset, phase->symbol_bytes), ((place){"phases", index, "symbol"}),
           "a range of strings", phase->symbol_offset);
    EXPECT(phase->stage == linked->stage, ((place){"phases", index, "stage"}), "what the engine was linked with",
           phase->stage);
    EXPECT(phase->tiles == linked->tiles, ((place){"phases", index, "tiles"}), "what the engine was linked with",
           phase->tiles);
  }
  for (uint64_t index = 0; index < plan->header->arguments.count; index++)
    EXPECT(plan->arguments[index] == daypack_linked.argument_bytes[index], ((place){"arguments", index, "size_bytes"}),
           "what the engine was linked with", plan->arguments[index]);
  return DAYPACK_OK;
}

static daypack_code check_input(daypack_engine *engine, uint64_t index) {
  const daypack_plan_input *input = &engine->plan.inputs[index];
  const uint64_t dtypes = sizeof DAYPACK_DTYPE_BYTES / sizeof *DAYPACK_DTYPE_BYTES;
#define AT(field) ((place){"inputs", index, field})
  EXPECT(in_strings(engine, input->name_offset, input->name_bytes), AT("name"), "a range of strings",
         input->name_offset);
  EXPECT(input->dtype < dtypes, AT("dtype"), "a known dtype", input->dtype);
  EXPECT(input->size_bytes % DAYPACK_DTYPE_BYTES[input->dtype] == 0, AT("size_bytes"), "whole elements",
         input->size_bytes);
  EXPECT(input->bound <= INT32_MAX, AT("bound"), "less than 2^31", input->bound);
  EXPECT(input->bound == 0 || input->dtype == DAYPACK_DTYPE_I32, AT("bound"), "0 unless the dtype is I32",
         input->bound);
  EXPECT(input->has_ignore <= 1, AT("has_ignore"), "0 or 1", input->has_ignore);
  EXPECT(input->has_ignore == 1 || input->ignore == 0, AT("ignore"), "0 when there is none", input->ignore);
  EXPECT(daypack_add(&engine->plan.record_bytes, input->size_bytes) &&
             daypack_align(&engine->plan.record_bytes, DAYPACK_ALIGNMENT_BYTES),
         AT("size_bytes"), "a record below 2^64 bytes", input->size_bytes);
  return DAYPACK_OK;
#undef AT
}

static daypack_code check_state(daypack_engine *engine) {
  daypack_plan *plan = &engine->plan;
  uint64_t header_bytes = plan->header->state_header.count;
  uint64_t json_bytes = 0;
  if (header_bytes >= sizeof json_bytes) memcpy(&json_bytes, plan->state_header, sizeof json_bytes);
  EXPECT(header_bytes >= sizeof json_bytes && json_bytes == header_bytes - sizeof json_bytes,
         ((place){"state_header", 0, "size"}), "its own size in its first 8 bytes", json_bytes);
  plan->state_file_bytes = header_bytes;
  for (uint64_t index = 0; index < plan->header->state.count; index++) {
    const daypack_plan_state *state = &plan->state[index];
    EXPECT(state->arena_offset_bytes == DAYPACK_NOT_RESIDENT ||
               in_arena(engine, state->arena_offset_bytes, state->size_bytes, DAYPACK_ALIGNMENT_BYTES),
           ((place){"state", index, "arena_offset_bytes"}), "an aligned range of the arena",
           state->arena_offset_bytes);
    EXPECT(state->size_bytes > 0, ((place){"state", index, "size_bytes"}), "1 or more", state->size_bytes);
    EXPECT(daypack_add(&plan->state_file_bytes, state->size_bytes), ((place){"state", index, "size_bytes"}),
           "a file below 2^64 bytes", state->size_bytes);
  }
  EXPECT(daypack_find_digits(plan), ((place){"state_header", 0, "journal"}), "zeros for the state's checksums",
         plan->digit_count);
  return DAYPACK_OK;
}

/* Every operand belongs to one instruction, in order. */
static daypack_code take_operands(daypack_engine *engine, place at, uint64_t source, uint64_t count,
                                  uint64_t *operands) {
  EXPECT(source == *operands, at, "the next operand", source);
  EXPECT(daypack_fits(source, count, engine->plan.header->operands.count), at, "operands in their table", source);
  *operands += count;
  return DAYPACK_OK;
}

static daypack_code check_operands(daypack_engine *engine, place at, const uint64_t *sizes, uint64_t count,
                                   uint64_t stride, uint64_t source, uint64_t *operands) {
  daypack_code code = take_operands(engine, at, source, count, operands);
  if (code != DAYPACK_OK) return code;
  for (uint64_t index = 0; index < count; index++) {
    uint64_t size_bytes = *(const uint64_t *)(const void *)((const uint8_t *)sizes + index * stride);
    EXPECT(in_arena(engine, engine->plan.operands[source + index], size_bytes, DAYPACK_ALIGNMENT_BYTES),
           ((place){"operands", source + index, "offset_bytes"}), "an aligned range of the arena",
           engine->plan.operands[source + index]);
  }
  return DAYPACK_OK;
}

static daypack_code check_read(daypack_engine *engine, place at, const daypack_plan_instruction *instruction,
                               bool in_setup) {
  uint64_t limit = instruction->index == DAYPACK_FILE_WEIGHTS ? engine->weights_bytes : engine->plan.state_file_bytes;
  EXPECT(instruction->index == DAYPACK_FILE_WEIGHTS || (instruction->index == DAYPACK_FILE_STATE && in_setup), at,
         "file 0 (weights), or in setup 1 (state)", instruction->index);
  EXPECT(daypack_fits(instruction->source, instruction->size_bytes, limit), at, "a range of the file",
         instruction->source);
  EXPECT(in_arena(engine, instruction->arena_offset_bytes, instruction->size_bytes, DAYPACK_ALIGNMENT_BYTES), at,
         "an aligned range of the arena", instruction->arena_offset_bytes);
  return DAYPACK_OK;
}

/* The swap is as large as what is stored in it. */
static void measure_swap(daypack_plan *plan) {
  for (uint64_t index = 0; index < plan->header->steps.count; index++) {
    const daypack_plan_instruction *next = &plan->steps[index];
    uint64_t end = next->source;
    if (next->op == DAYPACK_OP_STORE && next->index == DAYPACK_FILE_SWAP && daypack_add(&end, next->size_bytes) &&
        end > plan->swap_bytes)
      plan->swap_bytes = end;
  }
}

static daypack_code check_transfer(daypack_engine *engine, place at, const daypack_plan_instruction *instruction,
                                   bool in_setup) {
  daypack_plan *plan = &engine->plan;
  bool store = instruction->op == DAYPACK_OP_STORE;
  bool state = instruction->index == DAYPACK_FILE_STATE || instruction->index == DAYPACK_FILE_NEXT;
  uint64_t first = state ? plan->header->state_header.count : 0;
  uint64_t limit = state                                         ? plan->state_file_bytes
                   : instruction->index == DAYPACK_FILE_WEIGHTS ? engine->weights_bytes
                                                                 : plan->swap_bytes;
#define AT(field) ((place){at.table, at.index, field})
  EXPECT(!in_setup, at, "no fetch, store or wait in setup", instruction->op);
  EXPECT(instruction->index < DAYPACK_FILE_COUNT, AT("index"), "file 0 to 3", instruction->index);
  EXPECT(!store || plan->header->rows == 0, at, "no store in an evaluation", instruction->op);
  EXPECT(!store || instruction->index == DAYPACK_FILE_NEXT || instruction->index == DAYPACK_FILE_SWAP, AT("index"),
         "a store in file 2 (next) or 3 (swap)", instruction->index);
  EXPECT(!state || plan->header->save_steps == 1, AT("index"), "file 0 or 3 unless save_steps is 1",
         instruction->index);
  EXPECT(instruction->source >= first && daypack_fits(instruction->source, instruction->size_bytes, limit) &&
             limit <= INT64_MAX,
         AT("source"), "a range of the file's data", instruction->source);
  EXPECT(instruction->size_bytes > 0, AT("size_bytes"), "1 or more", instruction->size_bytes);
  EXPECT(!store || !state || daypack_is_record(plan, instruction->source, instruction->size_bytes), AT("source"),
         "one whole record of the state", instruction->source);
  EXPECT(in_arena(engine, instruction->arena_offset_bytes, instruction->size_bytes, DAYPACK_ALIGNMENT_BYTES),
         AT("arena_offset_bytes"), "an aligned range of the arena", instruction->arena_offset_bytes);
  plan->transfers++;
  plan->stores_next = plan->stores_next || (store && instruction->index == DAYPACK_FILE_NEXT);
  plan->pages_state = plan->pages_state || state;
  return DAYPACK_OK;
#undef AT
}

static bool is_stored(const daypack_plan *plan, uint64_t offset_bytes, uint64_t size_bytes) {
  for (uint64_t index = 0; index < plan->header->steps.count; index++) {
    const daypack_plan_instruction *next = &plan->steps[index];
    if (next->op == DAYPACK_OP_STORE && next->index == DAYPACK_FILE_NEXT && next->source == offset_bytes &&
        next->size_bytes == size_bytes)
      return true;
  }
  return false;
}

/* What is not in memory when a step ends, the step has stored. */
static daypack_code check_stored(daypack_engine *engine) {
  const daypack_plan *plan = &engine->plan;
  uint64_t offset_bytes = plan->header->state_header.count;
  if (plan->header->rows > 0) return DAYPACK_OK; /* an evaluation changes nothing */
  for (uint64_t index = 0; index < plan->header->state.count; index++) {
    const daypack_plan_state *state = &plan->state[index];
    EXPECT(state->arena_offset_bytes != DAYPACK_NOT_RESIDENT || is_stored(plan, offset_bytes, state->size_bytes),
           ((place){"state", index, "record"}), "a store of what is not in memory", offset_bytes);
    offset_bytes += state->size_bytes;
  }
  return DAYPACK_OK;
}

static daypack_code check_rows(daypack_engine *engine, place at, const daypack_plan_instruction *instruction,
                               bool in_setup, uint64_t *operands) {
  uint64_t ids_bytes = 0;
  uint64_t matrix_bytes = 0;
  uint64_t result_bytes = 0;
  EXPECT(!in_setup, at, "no rows in setup", instruction->op);
  EXPECT(instruction->index == DAYPACK_FILE_WEIGHTS, at, "rows of file 0 (weights)", instruction->index);
  daypack_code code = take_operands(engine, at, instruction->source, DAYPACK_ROWS_OPERANDS, operands);
  if (code != DAYPACK_OK) return code;
  const daypack_plan_rows *rows = daypack_rows_of(&engine->plan, instruction);
#define AT(field) ((place){at.table, at.index, field})
  EXPECT(instruction->size_bytes > 0 && instruction->size_bytes % 4 == 0, AT("size_bytes"),
         "a positive multiple of 4", instruction->size_bytes);
  EXPECT(rows->row_count > 0, AT("row_count"), "1 or more", rows->row_count);
  EXPECT(rows->ids_count > 0, AT("ids_count"), "1 or more", rows->ids_count);
  EXPECT(!__builtin_mul_overflow(rows->row_count, instruction->size_bytes, &matrix_bytes) &&
             daypack_fits(rows->file_offset_bytes, matrix_bytes, engine->weights_bytes),
         AT("file_offset_bytes"), "a matrix in the file", rows->file_offset_bytes);
  EXPECT(!__builtin_mul_overflow(rows->ids_count, sizeof(int32_t), &ids_bytes) &&
             in_arena(engine, rows->ids_offset_bytes, ids_bytes, DAYPACK_ALIGNMENT_BYTES),
         AT("ids_offset_bytes"), "an aligned range of the arena", rows->ids_offset_bytes);
  EXPECT(!__builtin_mul_overflow(rows->ids_count, instruction->size_bytes, &result_bytes) &&
             in_arena(engine, instruction->arena_offset_bytes, result_bytes, DAYPACK_ALIGNMENT_BYTES),
         AT("arena_offset_bytes"), "room for the rows in the arena", instruction->arena_offset_bytes);
  EXPECT(instruction->arena_offset_bytes >= rows->ids_offset_bytes + ids_bytes ||
             rows->ids_offset_bytes >= instruction->arena_offset_bytes + result_bytes,
         AT("arena_offset_bytes"), "rows that do not overlap their ids", instruction->arena_offset_bytes);
  return DAYPACK_OK;
#undef AT
}

/* Ranges ascend and do not overlap; what is fetched again was fetched before. */
static daypack_code check_suspend(daypack_engine *engine, place at, const daypack_plan_instruction *instruction,
                                  bool in_setup, uint64_t *operands) {
  daypack_plan *plan = &engine->plan;
  uint64_t ranges = instruction->index;
  uint64_t fetches = instruction->size_bytes;
#define AT(field) ((place){at.table, at.index, field})
  EXPECT(!in_setup && plan->header->rows == 0, at, "no suspend in setup or in an evaluation", instruction->op);
  EXPECT(instruction->arena_offset_bytes == 0, at, "zero in the unused fields", instruction->arena_offset_bytes);
  EXPECT(ranges > 0, AT("index"), "a range or more", ranges);
  EXPECT(fetches <= plan->transfers, AT("size_bytes"), "a number of fetches that are before it", fetches);
  EXPECT(!plan->stores_next, at, "a suspend before the first store in file 2 (next)", instruction->op);
  daypack_code code = take_operands(engine, at, instruction->source, 2 * ranges + fetches, operands);
  if (code != DAYPACK_OK) return code;
  const uint64_t *operand = plan->operands + instruction->source;
  uint64_t end = 0;
  for (uint64_t index = 0; index < ranges; index++, operand += 2) {
    EXPECT(operand[0] >= end && operand[1] > 0 && in_arena(engine, operand[0], operand[1], DAYPACK_ALIGNMENT_BYTES),
           AT("ranges"), "aligned ranges of the arena, ascending and apart", operand[0]);
    end = operand[0] + operand[1];
  }
  for (uint64_t index = 0; index < fetches; index++, operand++) {
    const daypack_plan_instruction *fetch = &plan->steps[*operand < at.index ? *operand : at.index];
    EXPECT(*operand < at.index && (index == 0 || *operand > operand[-1]) && fetch->op == DAYPACK_OP_FETCH &&
               (fetch->index == DAYPACK_FILE_WEIGHTS || fetch->index == DAYPACK_FILE_STATE),
           AT("fetches"), "earlier fetches of file 0 or 1, ascending", *operand);
  }
  plan->suspends++;
  return DAYPACK_OK;
#undef AT
}

static daypack_code check_instruction(daypack_engine *engine, place at, const daypack_plan_instruction *instruction,
                                      bool in_setup, uint64_t *operands) {
  const daypack_plan *plan = &engine->plan;
  const daypack_plan_header *header = plan->header;
  bool no_range = instruction->arena_offset_bytes == 0 && instruction->size_bytes == 0;
  switch (instruction->op) {
    case DAYPACK_OP_CALL:
      EXPECT(instruction->index < header->kernels.count, at, "a kernel of the plan", instruction->index);
      EXPECT(no_range, at, "zero in the unused fields", instruction->size_bytes);
      const daypack_plan_kernel *kernel = &plan->kernels[instruction->index];
      return check_operands(engine, at, plan->arguments + kernel->first_argument, kernel->argument_count,
                            sizeof(uint64_t), instruction->source, operands);
    case DAYPACK_OP_READ:
      return check_read(engine, at, instruction, in_setup);
    case DAYPACK_OP_BATCH:
      EXPECT(!in_setup, at, "no batch in setup", instruction->op);
      EXPECT(instruction->index < header->window, at, "a micro-batch of the window", instruction->index);
      EXPECT(no_range, at, "zero in the unused fields", instruction->size_bytes);
      return check_operands(engine, at, &plan->inputs->size_bytes, header->inputs.count, sizeof *plan->inputs,
                            instruction->source, operands);
    case DAYPACK_OP_ZERO:
      EXPECT(instruction->index == 0 && instruction->source == 0, at, "zero in the unused fields",
             instruction->index);
      EXPECT(in_arena(engine, instruction->arena_offset_bytes, instruction->size_bytes, DAYPACK_ALIGNMENT_BYTES), at,
             "an aligned range of the arena", instruction->arena_offset_bytes);
      return DAYPACK_OK;
    case DAYPACK_OP_END_SHARD:
      EXPECT(no_range && instruction->index == 0 && instruction->source == 0, at, "zero in the unused fields",
             instruction->index);
      return DAYPACK_OK;
    case DAYPACK_OP_ROWS:
      return check_rows(engine, at, instruction, in_setup, operands);
    case DAYPACK_OP_FETCH:
    case DAYPACK_OP_STORE:
      return check_transfer(engine, at, instruction, in_setup);
    case DAYPACK_OP_WAIT:
      EXPECT(!in_setup, at, "no fetch, store or wait in setup", instruction->op);
      EXPECT(no_range && instruction->index == 0, at, "zero in the unused fields", instruction->index);
      EXPECT(instruction->source >= 1 && instruction->source <= plan->transfers, at,
             "a number of transfers that are before it", instruction->source);
      return DAYPACK_OK;
    case DAYPACK_OP_SUSPEND:
      return check_suspend(engine, at, instruction, in_setup, operands);
    default:
      return refuse(engine, at, "an instruction 1 to 10", instruction->op);
  }
}

static daypack_code check_instructions(daypack_engine *engine) {
  const daypack_plan *plan = &engine->plan;
  uint64_t operands = 0;
  measure_swap(&engine->plan);
  for (uint64_t index = 0; index < plan->header->setup.count; index++) {
    daypack_code code =
        check_instruction(engine, (place){"setup", index, "record"}, &plan->setup[index], true, &operands);
    if (code != DAYPACK_OK) return code;
  }
  for (uint64_t index = 0; index < plan->header->steps.count; index++) {
    daypack_code code =
        check_instruction(engine, (place){"steps", index, "record"}, &plan->steps[index], false, &operands);
    if (code != DAYPACK_OK) return code;
  }
  EXPECT(operands == plan->header->operands.count, ((place){"operands", operands, "record"}),
         "every operand to belong to an instruction", plan->header->operands.count);
  return DAYPACK_OK;
}

daypack_code daypack_check_plan(daypack_engine *engine) {
  /* Before anything of the kernels is compared: a plan for another machine should say so. */
  daypack_code code = daypack_check_features(engine);
  if (code == DAYPACK_OK) code = check_header(engine);
  if (code == DAYPACK_OK) code = check_kernels(engine);
  for (uint64_t index = 0; code == DAYPACK_OK && index < engine->plan.header->inputs.count; index++)
    code = check_input(engine, index);
  if (code == DAYPACK_OK) code = check_state(engine);
  if (code == DAYPACK_OK) code = check_instructions(engine);
  if (code == DAYPACK_OK) code = check_stored(engine);
  return code;
}
