/* plan.bin: loaded, checked, and if it passes and needs no pager, run for two steps in memory of just its size. */
#include "fixture.h"
#include "memory.h"

static daypack_code run(daypack_engine *engine) {
  daypack_code code = daypack_load_plans(engine);
  if (code == DAYPACK_OK) code = daypack_open_data(engine);
  if (code == DAYPACK_OK) code = daypack_choose_threads(engine);
  if (code == DAYPACK_OK) fuzz_accept();
  if (code != DAYPACK_OK || engine->plan.transfers > 0) return code;
  code = daypack_map_arena(engine);
  if (code == DAYPACK_OK) daypack_paint_arena(engine);
  if (code == DAYPACK_OK) code = daypack_open_journal(engine);
  if (code == DAYPACK_OK) code = daypack_open_state(engine);
  if (code == DAYPACK_OK) code = daypack_start_pool(engine);
  if (code == DAYPACK_OK) code = daypack_start_pager(engine);
  if (code == DAYPACK_OK) code = daypack_run_setup(engine);
  if (code == DAYPACK_OK) code = daypack_run_steps(engine);
  return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  daypack_engine *engine = fuzz_begin();
  fuzz_file("plan.bin", data, size);
  fuzz_file("weights.bin", WEIGHTS, sizeof WEIGHTS);
  fuzz_file("data.bin", RECORDS, sizeof RECORDS);
  fuzz_file("state.safetensors", STATE, sizeof STATE);
  engine->data_listed = true;
  engine->options.steps = 2;
  engine->options.threads = 1;
  if (run(engine) != DAYPACK_OK) daypack_report_error(engine->platform, &engine->error);
  daypack_abandon_generation(engine);
  fuzz_end();
  return 0;
}
