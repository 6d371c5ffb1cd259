/* The plans of a bundle: plan.bin, plan-1.bin, ... All compute the same bits of the same state, in other orders or
 * within other budgets. One is loaded at a time, over the last; all are checked before the first step.
 *
 * Between two windows another plan takes over: the state is committed, and the new plan begins from it as a run that
 * resumes does, so that a change can differ in no bit from a resume. Where the system takes memory back, this happens
 * before the next instruction: the unfinished window is discarded, and the memory given back before anything is read. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

#define NO_LIMIT UINT64_MAX
#define CHEAPEST UINT32_MAX /* the order of the first plan of a budget, where the compiler puts the cheapest */

typedef struct {
  uint32_t order;
  uint64_t budget_bytes; /* NO_LIMIT: none */
  uint64_t arena_bytes;
} summary;

/* What is asked for; any thread may ask. */
static struct {
  _Atomic(uint32_t) order;
  _Atomic(uint64_t) limit_bytes;
  _Atomic(uint64_t) pressed_bytes; /* the same by the system's own readings */
  _Atomic(uint64_t) since_ns;
} wanted = {.order = CHEAPEST, .limit_bytes = NO_LIMIT, .pressed_bytes = NO_LIMIT};

static summary plans[DAYPACK_MAX_PLANS];
static uint8_t shared[32]; /* hash of what every plan of the bundle must say alike */
static uint64_t shards;    /* with --squeeze: since the memory was last returned */
static uint64_t windows;   /* with --relax: since it was last taken */

uint64_t daypack_plan_budget(uint32_t index, uint64_t *arena_bytes) {
  *arena_bytes = plans[index].arena_bytes;
  return plans[index].budget_bytes;
}

bool daypack_choose_order(const daypack_engine *engine, uint32_t order) {
  bool found = false;
  for (uint32_t index = 0; index < engine->plan_count; index++) found = found || plans[index].order == order;
  if (found) atomic_store(&wanted.order, order);
  return found;
}

bool daypack_limit_memory(const daypack_engine *engine, uint64_t limit_bytes) {
  bool found = false;
  if (limit_bytes == 0) limit_bytes = NO_LIMIT;
  for (uint32_t index = 0; index < engine->plan_count; index++)
    found = found || plans[index].budget_bytes <= limit_bytes;
  atomic_store(&wanted.since_ns, engine->platform->now_ns());
  atomic_store(&wanted.limit_bytes, limit_bytes);
  return found;
}

/* The least of both wishes. */
static uint64_t limit_in_force(void) {
  uint64_t limit = atomic_load_explicit(&wanted.limit_bytes, memory_order_relaxed);
  uint64_t pressed = atomic_load_explicit(&wanted.pressed_bytes, memory_order_relaxed);
  return limit < pressed ? limit : pressed;
}

void daypack_press_memory(const daypack_engine *engine, bool pressed) {
  uint64_t budget = plans[engine->plan_index].budget_bytes;
  atomic_store(&wanted.since_ns, engine->platform->now_ns());
  atomic_store(&wanted.pressed_bytes, pressed ? budget - 1 : NO_LIMIT);
}

uint64_t daypack_unpressed_budget(const daypack_engine *engine) {
  uint64_t limit = atomic_load_explicit(&wanted.limit_bytes, memory_order_relaxed);
  uint64_t budget = 0;
  for (uint32_t index = 0; index < engine->plan_count; index++)
    if (plans[index].budget_bytes <= limit && plans[index].budget_bytes > budget) budget = plans[index].budget_bytes;
  return budget;
}

uint64_t daypack_least_budget(const daypack_engine *engine) {
  uint64_t least = NO_LIMIT;
  for (uint32_t index = 0; index < engine->plan_count; index++)
    if (plans[index].budget_bytes < least) least = plans[index].budget_bytes;
  return least == NO_LIMIT ? 0 : least;
}

/* The largest budget within the limit, else the least there is; of its plans the one of the wanted order, else the
 * first. */
static uint32_t wanted_plan(const daypack_engine *engine) {
  uint64_t limit = limit_in_force();
  uint32_t order = atomic_load_explicit(&wanted.order, memory_order_relaxed);
  uint64_t budget = 0;
  for (uint32_t index = 0; index < engine->plan_count; index++)
    if (plans[index].budget_bytes <= limit && plans[index].budget_bytes > budget) budget = plans[index].budget_bytes;
  if (budget == 0) budget = daypack_least_budget(engine);
  uint32_t first = engine->plan_count;
  for (uint32_t index = 0; index < engine->plan_count; index++) {
    if (plans[index].budget_bytes != budget) continue;
    if (plans[index].order == order) return index;
    if (first == engine->plan_count) first = index;
  }
  return first < engine->plan_count ? first : engine->plan_index;
}

bool daypack_must_give_back(const daypack_engine *engine) {
  uint64_t limit = limit_in_force();
  if (engine->plan_count == 1 || plans[engine->plan_index].budget_bytes <= limit) return false;
  return plans[wanted_plan(engine)].budget_bytes < plans[engine->plan_index].budget_bytes;
}

/* ---- loading ---- */

daypack_name daypack_plan_name(uint32_t index) {
  daypack_name name;
  (void)snprintf(name.text, sizeof name.text, index == 0 ? "plan.bin" : "plan-%u.bin", index);
  return name;
}

static daypack_code load(daypack_engine *engine, uint32_t index) {
  memcpy(engine->plan_name, daypack_plan_name(index).text, sizeof engine->plan_name);
  memset(&engine->plan, 0, sizeof engine->plan);
  engine->plan_index = index;
  return daypack_load_plan(engine);
}

/* Names lie elsewhere in each plan's strings and are for messages only. */
static void hash_shared(const daypack_engine *engine, uint8_t digest[32]) {
  const daypack_sha256_functions *sha256 = daypack_choose_sha256(engine->platform);
  const daypack_plan *plan = &engine->plan;
  daypack_sha256 state;
  sha256->init(&state);
  sha256->update(&state, (const void *)&plan->header->window, sizeof plan->header->window);
  for (uint64_t index = 0; index < plan->header->inputs.count; index++) {
    daypack_plan_input input = plan->inputs[index];
    input.name_offset = input.name_bytes = 0;
    sha256->update(&state, (const void *)&input, sizeof input);
  }
  sha256->update(&state, plan->state_header, (size_t)plan->header->state_header.count);
  sha256->final(&state, digest);
}

static daypack_code summarize(daypack_engine *engine, uint32_t index) {
  const daypack_plan_header *header = engine->plan.header;
  uint8_t found[32];
  hash_shared(engine, found);
  if (index == 0) memcpy(shared, found, sizeof shared);
  if (memcmp(shared, found, sizeof shared) != 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected the window, the inputs and the state of plan.bin, found others: not a plan of this "
                        "bundle",
                        engine->plan_name);
  plans[index] = (summary){header->order, header->budget_bytes == 0 ? NO_LIMIT : header->budget_bytes,
                           header->arena_bytes};
  if (header->arena_bytes > engine->largest_arena_bytes) engine->largest_arena_bytes = header->arena_bytes;
  if (header->file_bytes > engine->largest_plan_bytes) engine->largest_plan_bytes = header->file_bytes;
  if (engine->plan.part_count > engine->largest_part_count) engine->largest_part_count = engine->plan.part_count;
  if (engine->plan.swap_bytes > engine->swap_bytes) engine->swap_bytes = engine->plan.swap_bytes;
  engine->has_transfers = engine->has_transfers || engine->plan.transfers > 0;
  return DAYPACK_OK;
}

static daypack_code check_names(daypack_engine *engine) {
  while (engine->listed_plans >> engine->plan_count & 1) engine->plan_count++;
  if (engine->listed_plans >> engine->plan_count == 0) return DAYPACK_OK;
  return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                      "MANIFEST: expected plan-1.bin, plan-2.bin and so on without a gap, found none with the number %u",
                      engine->plan_count);
}

static daypack_code apply_options(daypack_engine *engine) {
  const daypack_options *options = &engine->options;
  if (options->order != 0 && !daypack_choose_order(engine, options->order - 1))
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT, "--order: expected an order of this bundle, found '%s'",
                        DAYPACK_ORDER_NAMES[options->order - 1]);
  if (options->memory_bytes != 0 && !daypack_limit_memory(engine, options->memory_bytes))
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "--memory: expected at least %llu bytes, the least budget of this bundle's plans, found %llu",
                        (unsigned long long)daypack_least_budget(engine), (unsigned long long)options->memory_bytes);
  return DAYPACK_OK;
}

/* The only plan of its run. */
static daypack_code load_evaluation(daypack_engine *engine) {
  static const char name[] = "eval.bin";
  if (!engine->evaluation_listed)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "--evaluate: expected eval.bin in the bundle, found none; bundle.json says why");
  memcpy(engine->plan_name, name, sizeof name);
  engine->plan_count = 1;
  daypack_code code = daypack_load_plan(engine);
  return code == DAYPACK_OK ? summarize(engine, 0) : code;
}

daypack_code daypack_load_plans(daypack_engine *engine) {
  if (engine->options.evaluate) return load_evaluation(engine);
  daypack_code code = check_names(engine);
  for (uint32_t index = 0; code == DAYPACK_OK && index < engine->plan_count; index++) {
    code = load(engine, index);
    if (code == DAYPACK_OK) code = summarize(engine, index);
  }
  if (code == DAYPACK_OK) code = apply_options(engine);
  if (code != DAYPACK_OK || wanted_plan(engine) == engine->plan_index) return code;
  return load(engine, wanted_plan(engine));
}

/* ---- changing ---- */

/* Nothing of the old plan is under way any more, and what the new one does not need is the system's again. */
static daypack_code leave_plan(daypack_engine *engine, uint32_t next) {
  daypack_code code = daypack_cancel_transfers(engine);
  if (code != DAYPACK_OK) return code;
  daypack_abandon_generation(engine);
  daypack_close_file(engine->platform, &engine->files[DAYPACK_FILE_STATE]);
  daypack_release_arena(engine, plans[next].arena_bytes, plans[engine->plan_index].arena_bytes);
  return DAYPACK_OK;
}

/* A policy's limit on free memory is of the first plan; a plan within less needs no more than its budget. */
static void limit_policy(daypack_engine *engine) {
  daypack_policy *policy = &engine->governor->policy;
  double budget_mb = (double)plans[engine->plan_index].budget_bytes / 1e6;
  if (!policy->given) return;
  double whole_mb = policy->header->memory_mb;
  policy->table.limits.memory_mb = budget_mb < whole_mb ? budget_mb : whole_mb;
  engine->governor->observed = false;
}

static daypack_code change_plan(daypack_engine *engine, uint32_t next, bool discard) {
  daypack_change change = {.discarded = discard, .begin_ns = engine->platform->now_ns()};
  uint64_t asked_ns = atomic_load(&wanted.since_ns);
  bool less = plans[next].budget_bytes < plans[engine->plan_index].budget_bytes;
  engine->read_bytes = engine->written_bytes = 0;
  daypack_code code = DAYPACK_OK;
  if (!discard && engine->saved_step != engine->step) code = daypack_save(engine);
  if (code == DAYPACK_OK) code = leave_plan(engine, next);
  if (code != DAYPACK_OK) return code;
  change.rss_bytes = engine->platform->rss_bytes();
  change.wait_ns = less && asked_ns != 0 ? engine->platform->now_ns() - asked_ns : 0;
  code = load(engine, next);
  if (code == DAYPACK_OK) limit_policy(engine);
  if (code == DAYPACK_OK) code = daypack_open_state(engine);
  if (code == DAYPACK_OK) code = daypack_run_setup(engine);
  return code == DAYPACK_OK ? daypack_report_plan(engine, &change) : code;
}

/* --relax: the memory comes back after so many windows. --rotate: every window in another order. */
static void between_windows(daypack_engine *engine) {
  bool small = plans[engine->plan_index].budget_bytes == daypack_least_budget(engine);
  if (small && engine->options.relax != 0 && ++windows >= engine->options.relax) {
    (void)daypack_limit_memory(engine, engine->options.memory_bytes);
    shards = windows = 0;
  }
  for (uint32_t turn = 1; engine->options.rotate && turn <= engine->plan_count; turn++) {
    uint32_t next = (engine->plan_index + turn) % engine->plan_count;
    if (plans[next].budget_bytes != plans[engine->plan_index].budget_bytes) continue;
    (void)daypack_choose_order(engine, plans[next].order);
    return;
  }
}

void daypack_end_shard(const daypack_engine *engine) {
  if (engine->options.squeeze != 0 && ++shards == engine->options.squeeze)
    (void)daypack_limit_memory(engine, daypack_least_budget(engine));
}

daypack_code daypack_follow_wishes(daypack_engine *engine, bool discard) {
  if (engine->plan_count == 1) return DAYPACK_OK;
  if (!discard && engine->underway) between_windows(engine);
  uint32_t next = wanted_plan(engine);
  return next == engine->plan_index ? DAYPACK_OK : change_plan(engine, next, discard);
}
