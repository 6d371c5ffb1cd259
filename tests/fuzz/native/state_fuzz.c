/* state.safetensors of the example, in memory or paged by the first byte's lowest bit. With the next bit the checksums
 * are made to fit first, so that what is behind them is reached. A state that loads is saved again. */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "memory.h"

static void put(char *digits, uint32_t word) {
  for (int index = 7; index >= 0; index--, word >>= 4) digits[index] = "0123456789abcdef"[word & 15];
}

/* One block: the example's state is small. */
static void fit(const daypack_plan *plan, uint8_t *state, size_t size) {
  size_t header = (size_t)plan->header->state_header.count;
  char *digits = (char *)state + (plan->digits - plan->header_text);
  if (size <= header) return;
  put(digits + plan->digit_count - 16, daypack_crc32(state + header, size - header));
  put(digits + plan->digit_count - 8, daypack_crc32(digits, plan->digit_count - 8));
}

static daypack_code load(daypack_engine *engine, uint8_t *state, size_t size, bool fits) {
  daypack_code code = daypack_load_plans(engine);
  if (code == DAYPACK_OK) code = daypack_choose_threads(engine);
  if (code == DAYPACK_OK) code = daypack_map_arena(engine);
  if (code == DAYPACK_OK) code = daypack_open_journal(engine);
  if (code != DAYPACK_OK) abort(); /* the plan is a good one */
  if (fits) fit(&engine->plan, state, size);
  fuzz_file("state.safetensors", state, size);
  code = daypack_open_state(engine);
  if (code == DAYPACK_OK) code = daypack_run_setup(engine);
  return code == DAYPACK_OK && !engine->plan.pages_state ? daypack_save(engine) : code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  daypack_engine *engine = fuzz_begin();
  uint8_t *state = malloc(size);
  if (state == NULL) return 0;
  memcpy(state, data + 1, size - 1);
  bool paged = (data[0] & 1) != 0;
  fuzz_file("plan.bin", paged ? PAGED_PLAN : PLAN, paged ? sizeof PAGED_PLAN : sizeof PLAN);
  fuzz_file("weights.bin", WEIGHTS, sizeof WEIGHTS);
  engine->options.threads = 1;
  if (load(engine, state, size - 1, (data[0] & 2) != 0) == DAYPACK_OK)
    fuzz_accept();
  else
    daypack_report_error(engine->platform, &engine->error);
  fuzz_end();
  free(state);
  return 0;
}
