/* data.bin: its header, and the records of several windows. */
#include <stdlib.h>

#include "fixture.h"
#include "memory.h"

static daypack_code read_all(daypack_engine *engine) {
  daypack_code code = daypack_open_data(engine);
  for (uint64_t step = 0; code == DAYPACK_OK && step < 3; step++)
    for (uint64_t index = 0; code == DAYPACK_OK && index < engine->plan.header->steps.count; index++)
      if (engine->plan.steps[index].op == DAYPACK_OP_BATCH)
        code = daypack_read_batch(engine, step, &engine->plan.steps[index]);
  return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  daypack_engine *engine = fuzz_begin();
  fuzz_file("plan.bin", PLAN, sizeof PLAN);
  fuzz_file("weights.bin", WEIGHTS, sizeof WEIGHTS);
  fuzz_file("data.bin", data, size);
  engine->data_listed = true;
  engine->options.threads = 1;
  daypack_code code = daypack_load_plans(engine);
  if (code == DAYPACK_OK) code = daypack_choose_threads(engine);
  if (code == DAYPACK_OK) code = daypack_map_arena(engine);
  if (code != DAYPACK_OK) abort(); /* the plan is a good one */
  if (read_all(engine) == DAYPACK_OK)
    fuzz_accept();
  else
    daypack_report_error(engine->platform, &engine->error);
  fuzz_end();
  return 0;
}
