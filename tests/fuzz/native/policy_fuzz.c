/* policy.bin: loaded, and if it can be used, asked at observations, times and deadlines of every kind. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

static const double VALUES[] = {0.0, 0.5, 1.0, 37.5, 1e9, 1e19, 1e300, -1.0, -1e-20, NAN, INFINITY, -INFINITY};
enum { VALUE_COUNT = sizeof VALUES / sizeof *VALUES };

static void decide(const daypack_policy *policy, const daypack_job_terms *terms, double now_s, const double *seen,
                   daypack_consultation *last) {
  (void)daypack_consult(&policy->table, terms, now_s, seen, last);
  if (last->decision.gear < DAYPACK_PAUSE || last->decision.gear >= (int32_t)policy->table.gear_count ||
      last->decision.state >= policy->table.state_count || last->decision.reason >= DAYPACK_REASONS)
    abort();
}

static void ask(const daypack_policy *policy) {
  const daypack_policy_header *header = policy->header;
  daypack_job_terms terms = {header->steps, header->fastest_s, header->deadline_s, header->period_s};
  daypack_consultation last = {0};
  double seen[DAYPACK_OBSERVABLES];
  for (size_t round = 0; round < 3 * VALUE_COUNT; round++) {
    double value = VALUES[round % VALUE_COUNT];
    for (size_t index = 0; index < DAYPACK_OBSERVABLES; index++)
      seen[index] = round < VALUE_COUNT ? value : VALUES[round * (index + 1) % VALUE_COUNT];
    decide(policy, &terms, (double)round * 600.0, seen, &last);
    daypack_moment moment = {.now_s = (double)round * 7919.0, .steps_left = header->steps, .day_s = 3600.0};
    daypack_readings readings = {value, value, value, value, round & 1, round >> 1 & 1};
    if (round >= 2 * VALUE_COUNT) moment.now_s = value;
    daypack_observe(&policy->table, &terms, &moment, &readings, seen);
    decide(policy, &terms, moment.now_s, seen, &last);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static daypack_policy policy;
  daypack_engine *engine = fuzz_begin();
  memset(&policy, 0, sizeof policy);
  fuzz_file("policy.bin", data, size);
  engine->policy_listed = true;
  if (daypack_load_policy(engine, &policy) != DAYPACK_OK) abort(); /* a policy that is none ends no run */
  ask(&policy);
  if (policy.usable) fuzz_accept();
  fuzz_end();
  return 0;
}
