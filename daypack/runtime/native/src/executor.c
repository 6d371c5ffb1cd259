/* The instruction loop. Everything it indexes was checked by checks.c; nothing here allocates. */
#include <math.h>
#include <string.h>

#include "internal.h"

daypack_code daypack_fail_stopped(daypack_error *error, const daypack_engine *engine) {
  const char *by = daypack_stopped_by_command() ? "command" : "signal";
  if (!engine->underway) return daypack_fail(error, DAYPACK_STOPPED, "stopped by a %s before the first step", by);
  unsigned long long step = engine->saved_step;
  if (atomic_load(&engine->kept))
    return daypack_fail(error, DAYPACK_STOPPED,
                        "stopped by a %s; the next run goes on within the unfinished step, the state on disk is of "
                        "step %llu",
                        by, step);
  return daypack_fail(error, DAYPACK_STOPPED,
                      "stopped by a %s; the unfinished step is dropped, the state on disk is of step %llu", by, step);
}

static daypack_code run_call(daypack_engine *engine, const daypack_plan_instruction *instruction) {
  const daypack_plan_kernel *kernel = &engine->plan.kernels[instruction->index];
  const uint64_t *operands = engine->plan.operands + instruction->source;
  for (uint32_t index = 0; index < kernel->argument_count; index++)
    engine->call_arguments[index] = engine->arena + operands[index];
  for (uint32_t index = 0; index < kernel->phase_count; index++) {
    const daypack_linked_phase *phase = &daypack_linked.phases[kernel->first_phase + index];
    if (!daypack_run_phase(engine->pool, phase, engine->call_arguments))
      return daypack_fail_stopped(&engine->error, engine);
  }
  return DAYPACK_OK;
}

/* `step` is the clock before the step. */
static daypack_code run_one(daypack_engine *engine, uint64_t step, const daypack_plan_instruction *instruction) {
  switch (instruction->op) {
    case DAYPACK_OP_CALL:
      return run_call(engine, instruction);
    case DAYPACK_OP_READ:
      return daypack_read_now(engine, instruction->index, engine->arena + instruction->arena_offset_bytes,
                              instruction->size_bytes, instruction->source);
    case DAYPACK_OP_FETCH:
    case DAYPACK_OP_STORE:
      engine->posted_transfers++;
      daypack_post_transfer((uint64_t)(instruction - engine->plan.steps));
      return DAYPACK_OK;
    case DAYPACK_OP_WAIT:
      return daypack_wait_transfers(engine, instruction->source);
    case DAYPACK_OP_ROWS:
      return daypack_page_rows(engine, instruction);
    case DAYPACK_OP_BATCH:
      engine->micro_batches++;
      return daypack_read_batch(engine, step, instruction);
    case DAYPACK_OP_ZERO:
      memset(engine->arena + instruction->arena_offset_bytes, 0, (size_t)instruction->size_bytes);
      return DAYPACK_OK;
    case DAYPACK_OP_SUSPEND:
      return daypack_keep_window(engine, step, instruction);
    default: /* END_SHARD */
      daypack_end_shard(engine);
      return DAYPACK_OK;
  }
}

static daypack_code run_timed(daypack_engine *engine, uint64_t step, const daypack_plan_instruction *instruction) {
  uint64_t begin_ns = engine->platform->now_ns();
  daypack_code code = run_one(engine, step, instruction);
  uint64_t elapsed_ns = engine->platform->now_ns() - begin_ns;
  if (instruction->op == DAYPACK_OP_CALL) {
    engine->kernel_times[instruction->index].calls++;
    engine->kernel_times[instruction->index].elapsed_ns += elapsed_ns;
  }
  if (instruction->op == DAYPACK_OP_READ || instruction->op == DAYPACK_OP_ROWS ||
      instruction->op == DAYPACK_OP_BATCH || instruction->op == DAYPACK_OP_WAIT)
    engine->io_ns += elapsed_ns;
  return code;
}

static bool is_of_step(const daypack_engine *engine, const daypack_plan_instruction *instruction) {
  return instruction >= engine->plan.steps && instruction < engine->plan.steps + engine->plan.header->steps.count;
}

static daypack_code run_list(daypack_engine *engine, uint64_t step, const daypack_plan_instruction *list,
                             uint64_t count) {
  const daypack_plan_instruction *end = list + count;
  for (const daypack_plan_instruction *next = list; next < end; next++) {
    if (engine->platform->stop_requested()) return daypack_fail_stopped(&engine->error, engine);
    daypack_code code = daypack_obey_commands(engine);
    engine->interrupted = is_of_step(engine, next) && daypack_must_give_back(engine);
    if (code == DAYPACK_OK && engine->interrupted) return DAYPACK_OK;
    if (code == DAYPACK_OK)
      code = engine->options.profile ? run_timed(engine, step, next) : run_one(engine, step, next);
    if (code != DAYPACK_OK) return code;
  }
  return DAYPACK_OK;
}

/* How many instructions of the step so far are of this kind, or of that. */
static uint64_t passed(const daypack_engine *engine, uint32_t op, uint32_t other) {
  uint64_t count = 0;
  for (uint64_t index = 0; index < engine->resume_at; index++)
    count += engine->plan.steps[index].op == op || engine->plan.steps[index].op == other;
  return count;
}

/* The shards of a step, each after what the governor says. */
static daypack_code run_shards(daypack_engine *engine, uint64_t step) {
  const daypack_plan_instruction *all = engine->plan.steps + engine->plan.header->steps.count;
  const daypack_plan_instruction *begin = engine->plan.steps + engine->resume_at;
  daypack_code code = DAYPACK_OK;
  engine->interrupted = false;
  uint64_t shard = passed(engine, DAYPACK_OP_END_SHARD, DAYPACK_OP_END_SHARD);
  daypack_begin_governed_step(engine, shard);
  for (; code == DAYPACK_OK && begin < all && !engine->interrupted; shard++) {
    const daypack_plan_instruction *end = begin;
    while (end < all && end->op != DAYPACK_OP_END_SHARD) end++;
    end += end < all;
    code = daypack_between_shards(engine);
    uint64_t begin_ns = engine->platform->now_ns();
    if (code == DAYPACK_OK && !engine->interrupted) code = run_list(engine, step, begin, (uint64_t)(end - begin));
    if (engine->options.profile) engine->shard_ns[shard] = engine->platform->now_ns() - begin_ns;
    if (code == DAYPACK_OK && !engine->interrupted) code = daypack_shard_is_done(engine);
    begin = end;
  }
  return code;
}

uint32_t daypack_clock_step(const daypack_engine *engine) {
  uint32_t step;
  memcpy(&step, engine->arena + engine->plan.header->step_offset_bytes, sizeof step);
  return step;
}

static float scalar(const daypack_engine *engine, uint64_t offset_bytes) {
  float value;
  memcpy(&value, engine->arena + offset_bytes, sizeof value);
  return value;
}

daypack_code daypack_run_setup(daypack_engine *engine) {
  daypack_code code = run_list(engine, 0, engine->plan.setup, engine->plan.header->setup.count);
  if (code == DAYPACK_OK) code = daypack_restore(engine);
  engine->saved_step = daypack_clock_step(engine);
  return code;
}

daypack_code daypack_run_window(daypack_engine *engine, uint64_t number) {
  engine->posted_transfers = passed(engine, DAYPACK_OP_FETCH, DAYPACK_OP_STORE);
  daypack_begin_transfers(engine->resume_at, engine->posted_transfers);
  if (engine->resume_at == 0) engine->batches_sum = 0;
  daypack_code code = run_shards(engine, number);
  engine->resume_at = 0;
  if (code != DAYPACK_OK || engine->interrupted) return code;
  return daypack_wait_transfers(engine, engine->posted_transfers);
}

/* The state is saved before the step is told, so that the event can say what that wrote. A step that is interrupted
 * leaves an arena without meaning. */
static daypack_code run_step(daypack_engine *engine, bool last) {
  const daypack_plan_header *header = engine->plan.header;
  uint32_t before = daypack_clock_step(engine);
  engine->io_ns = engine->transfer_ns = engine->store_ns = engine->read_bytes = engine->written_bytes = 0;
  engine->weights_read_bytes = engine->micro_batches = 0;
  engine->step = (uint64_t)before + 1;
  uint64_t begin_ns = engine->platform->now_ns();
  daypack_code code = engine->plan.pages_state ? daypack_begin_generation(engine) : DAYPACK_OK;
  if (code == DAYPACK_OK) code = daypack_run_window(engine, before);
  if (code != DAYPACK_OK || engine->interrupted) return code;
  uint64_t passed_ns = engine->platform->now_ns() - begin_ns;
  uint64_t elapsed_ns = passed_ns - engine->governor->paused_ns;
  uint32_t after = daypack_clock_step(engine);
  float loss = scalar(engine, header->loss_offset_bytes);
  float weight = scalar(engine, header->weight_offset_bytes);
  if (after != before + 1)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected a step to advance the clock from %u to %u, found %u", engine->plan_name, before,
                        before + 1, after);
  if (!isfinite(loss) && weight == 0.0f)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "step %u: no label in its examples; give each step one or more; the state on disk is of step "
                        "%llu",
                        after, (unsigned long long)engine->saved_step);
  if (!isfinite(loss))
    return daypack_fail(&engine->error, DAYPACK_STOPPED,
                        "step %u: expected a finite loss, found %g; the state on disk is of step %llu", after,
                        isnan(loss) ? (double)NAN : (double)loss, (unsigned long long)engine->saved_step);
  if (last || after % header->save_steps == 0) code = daypack_save(engine);
  if (code == DAYPACK_OK && engine->saved_step == after) daypack_forget_window(engine);
  engine->save_ns = engine->platform->now_ns() - begin_ns - passed_ns;
  if (code == DAYPACK_OK) code = daypack_report_step(engine, after, loss, weight, elapsed_ns);
  if (code == DAYPACK_OK && engine->options.profile) code = daypack_report_profile(engine);
  if (code == DAYPACK_OK) code = daypack_end_governed_step(engine, last);
  return code;
}

daypack_code daypack_run_steps(daypack_engine *engine) {
  uint64_t steps = engine->options.steps != 0 ? engine->options.steps : daypack_steps_of_pass(engine);
  uint64_t last = daypack_clock_step(engine) + steps;
  daypack_code code = daypack_report_start(engine, daypack_clock_step(engine));
  engine->underway = true;
  if (code == DAYPACK_OK) code = daypack_take_up_window(engine);
  while (code == DAYPACK_OK && daypack_clock_step(engine) < last) {
    code = run_step(engine, daypack_clock_step(engine) + UINT64_C(1) == last);
    if (code == DAYPACK_OK && (engine->interrupted || daypack_clock_step(engine) < last))
      code = daypack_follow_wishes(engine, engine->interrupted);
  }
  return code == DAYPACK_OK ? daypack_report_end(engine, steps) : code;
}
