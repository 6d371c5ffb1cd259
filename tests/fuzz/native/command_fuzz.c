/* Standard input of a run: the first byte says in what pieces it comes, and whether there is a policy; lines follow.
 * Every line that is not empty is answered by one line, or stops the run. */
#include <stdlib.h>

#include "fixture.h"
#include "memory.h"

static daypack_engine *running;

static void obey(void) {
  if (daypack_obey_commands(running) != DAYPACK_OK) abort();
}

static unsigned long lines_of(const uint8_t *text, size_t size) {
  unsigned long count = 0;
  size_t length = 0;
  for (size_t index = 0; index < size; index++) {
    if (text[index] == '\n') count += length > 0;
    length = text[index] == '\n' ? 0 : length + 1;
  }
  return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  daypack_engine *engine = running = fuzz_begin();
  fuzz_file("plan.bin", PLAN, sizeof PLAN);
  fuzz_file("weights.bin", WEIGHTS, sizeof WEIGHTS);
  fuzz_file("policy.bin", POLICY, sizeof POLICY);
  engine->policy_listed = (data[0] & 1) != 0;
  engine->options.commands = true;
  engine->options.threads = 1;
  daypack_code code = daypack_load_plans(engine);
  if (code == DAYPACK_OK) code = daypack_load_policy(engine, &engine->governor->policy);
  if (code == DAYPACK_OK) code = daypack_start_governor(engine);
  if (code != DAYPACK_OK) abort(); /* plan and policy are good ones */
  unsigned long before = fuzz_told();
  fuzz_input(data + 1, size - 1, (size_t)(data[0] >> 1) + 1, obey);
  if (daypack_start_commands(engine) != DAYPACK_OK) abort();
  if (fuzz_told() - before + fuzz_stops() != lines_of(data + 1, size - 1)) abort();
  if (engine->governor->held) fuzz_accept();
  fuzz_end();
  return 0;
}
