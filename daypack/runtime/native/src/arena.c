/* The memory of a run: checked arithmetic, the number of threads that the budget allows, one mapping, and with
 * --audit-arena a count of what of it was used. */
#include <string.h>

#include "internal.h"

/* What a run uses besides the arena, scratch, the plan and the executable: the 1 MB read buffer, libc, stacks.
 * daypack/runtime/budget.py has the same figures for the planner; a test measures that they suffice. */
enum { BASE_BYTES = 1600000, THREAD_BYTES = 64 * 1024 };

bool daypack_fits(uint64_t offset_bytes, uint64_t size_bytes, uint64_t limit_bytes) {
  return offset_bytes <= limit_bytes && size_bytes <= limit_bytes - offset_bytes;
}

bool daypack_add(uint64_t *sum, uint64_t term) { return !__builtin_add_overflow(*sum, term, sum); }

bool daypack_align(uint64_t *value, uint64_t alignment) {
  return daypack_add(value, (alignment - *value % alignment) % alignment);
}

/* Bytes of a run with this many threads, the pager's and this arena: false if the sum leaves 64 bits. The tables have
 * room for the largest plan. */
static bool footprint(const daypack_engine *engine, uint64_t threads, uint64_t arena_bytes, uint64_t *total) {
  uint64_t each = engine->scratch_stride_bytes;
  if (!daypack_add(&each, THREAD_BYTES) || __builtin_mul_overflow(each, threads, &each)) return false;
  *total = BASE_BYTES + THREAD_BYTES;
  return daypack_add(total, each) && daypack_add(total, arena_bytes) &&
         daypack_add(total, engine->largest_plan_bytes) && daypack_add(total, engine->engine_bytes) &&
         daypack_add(total, engine->policy_bytes);
}

/* The first plan that a run of so many threads would not keep within its budget, or their count. */
static uint32_t first_beyond(const daypack_engine *engine, uint64_t threads, uint64_t *budget, uint64_t *total) {
  for (uint32_t index = 0; index < engine->plan_count; index++) {
    uint64_t arena_bytes = 0;
    *budget = daypack_plan_budget(index, &arena_bytes);
    if (!footprint(engine, threads, arena_bytes, total) || *total > *budget) return index;
  }
  return engine->plan_count;
}

static bool within_budgets(const daypack_engine *engine, uint64_t threads, uint64_t *budget) {
  uint64_t total = 0;
  return first_beyond(engine, threads, budget, &total) == engine->plan_count;
}

daypack_code daypack_choose_threads(daypack_engine *engine) {
  const daypack_plan_header *header = engine->plan.header;
  uint32_t asked = engine->options.threads;
  uint32_t threads = asked != 0 ? asked : engine->platform->cpu_count();
  engine->scratch_stride_bytes = header->scratch_bytes;
  if (threads < 1) threads = 1;
  if (threads > DAYPACK_MAX_THREADS) threads = DAYPACK_MAX_THREADS;
  uint64_t budget = 0;
  uint64_t total = 0;
  bool aligned = daypack_align(&engine->scratch_stride_bytes, DAYPACK_ALIGNMENT_BYTES);
  uint32_t beyond = first_beyond(engine, 1, &budget, &total);
  if (!aligned || beyond < engine->plan_count)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected a run of one thread within the budget of %llu bytes, found %llu",
                        engine->options.evaluate ? engine->plan_name : daypack_plan_name(beyond).text,
                        (unsigned long long)budget, (unsigned long long)total);
  uint32_t most = threads;
  while (!within_budgets(engine, most, &budget)) most--;
  if (most < threads) (void)within_budgets(engine, most + 1, &budget); /* whose budget it is, for the message */
  if (asked != 0 && most < asked)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "--threads: expected at most %u, which is what the plan's budget of %llu bytes allows, found %u",
                        most, (unsigned long long)budget, asked);
  engine->threads = most;
  return DAYPACK_OK;
}

uint64_t daypack_room_bytes(const daypack_engine *engine) {
  uint64_t arena_bytes = 0;
  uint64_t total = 0;
  uint64_t budget = daypack_plan_budget(engine->plan_index, &arena_bytes);
  if (!footprint(engine, 1, 0, &total)) return 0;
  return budget == UINT64_MAX ? budget : budget > total ? budget - total : 0;
}

daypack_code daypack_map_arena(daypack_engine *engine) {
  uint64_t size_bytes = engine->largest_arena_bytes;
  uint64_t scratch_bytes = engine->scratch_stride_bytes * engine->threads; /* within_budgets made sure of it */
  bool good = daypack_align(&size_bytes, DAYPACK_ALIGNMENT_BYTES);
  uint64_t scratch_offset_bytes = size_bytes;
  good = good && daypack_add(&size_bytes, scratch_bytes) && size_bytes <= SIZE_MAX / 2;
  void *memory = good ? engine->platform->map((size_t)size_bytes) : NULL;
  if (memory == NULL)
    return daypack_fail(&engine->error, DAYPACK_MISSING, "memory: expected %llu bytes for the arena, found less",
                        (unsigned long long)size_bytes);
  engine->arena = memory;
  engine->scratch = engine->arena + scratch_offset_bytes;
  return DAYPACK_OK;
}

void daypack_release_arena(const daypack_engine *engine, uint64_t from_bytes, uint64_t to_bytes) {
  uint64_t from = from_bytes + (DAYPACK_PAGE_BYTES - from_bytes % DAYPACK_PAGE_BYTES) % DAYPACK_PAGE_BYTES;
  uint64_t to = to_bytes - to_bytes % DAYPACK_PAGE_BYTES;
  if (from < to) engine->platform->release(engine->arena + from, (size_t)(to - from));
}

/* Each word of the paint is another one, so that painted bytes moved elsewhere are a change too. As floats many are
 * NaN or huge: a plan whose results depend on what nothing has written then gives other results. */
static uint64_t paint(uint64_t word) { return (word + 1) * UINT64_C(0x9E3779B97F4A7C15); }

static void paint_block(uint8_t block[DAYPACK_ALIGNMENT_BYTES], uint64_t number) {
  uint64_t words[DAYPACK_ALIGNMENT_BYTES / sizeof(uint64_t)];
  const uint64_t count = sizeof words / sizeof *words;
  for (uint64_t index = 0; index < count; index++) words[index] = paint(number * count + index);
  memcpy(block, words, sizeof words);
}

/* Bytes of an aligned block of the arena: fewer than its size only in the last. */
static size_t block_bytes(const daypack_engine *engine, uint64_t number) {
  uint64_t rest = engine->plan.header->arena_bytes - number * DAYPACK_ALIGNMENT_BYTES;
  return rest < DAYPACK_ALIGNMENT_BYTES ? (size_t)rest : DAYPACK_ALIGNMENT_BYTES;
}

static uint64_t block_count(const daypack_engine *engine) {
  uint64_t size_bytes = engine->plan.header->arena_bytes;
  return size_bytes / DAYPACK_ALIGNMENT_BYTES + (size_bytes % DAYPACK_ALIGNMENT_BYTES != 0);
}

void daypack_paint_arena(daypack_engine *engine) {
  uint8_t block[DAYPACK_ALIGNMENT_BYTES];
  for (uint64_t number = 0; number < block_count(engine); number++) {
    paint_block(block, number);
    memcpy(engine->arena + number * DAYPACK_ALIGNMENT_BYTES, block, block_bytes(engine, number));
  }
}

daypack_arena_audit daypack_audit_arena(const daypack_engine *engine) {
  daypack_arena_audit found = {0, 0};
  uint8_t block[DAYPACK_ALIGNMENT_BYTES];
  for (uint64_t number = 0; number < block_count(engine); number++) {
    uint64_t offset_bytes = number * DAYPACK_ALIGNMENT_BYTES;
    size_t size_bytes = block_bytes(engine, number);
    paint_block(block, number);
    if (memcmp(engine->arena + offset_bytes, block, size_bytes) == 0) continue;
    found.touched_bytes += size_bytes;
    found.top_bytes = offset_bytes + size_bytes;
  }
  return found;
}
