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

/* Bytes of a run with this many threads and the pager's: false if the sum leaves 64 bits. */
static bool footprint(const daypack_engine *engine, uint64_t threads, uint64_t *total) {
  uint64_t each = engine->scratch_stride_bytes;
  if (!daypack_add(&each, THREAD_BYTES) || __builtin_mul_overflow(each, threads, &each)) return false;
  *total = BASE_BYTES + THREAD_BYTES;
  return daypack_add(total, each) && daypack_add(total, engine->plan.header->arena_bytes) &&
         daypack_add(total, engine->plan.header->file_bytes) && daypack_add(total, engine->engine_bytes);
}

static bool within_budget(const daypack_engine *engine, uint64_t threads) {
  uint64_t total = 0;
  uint64_t budget = engine->plan.header->budget_bytes;
  return footprint(engine, threads, &total) && (budget == 0 || total <= budget);
}

daypack_code daypack_choose_threads(daypack_engine *engine) {
  const daypack_plan_header *header = engine->plan.header;
  uint32_t asked = engine->options.threads;
  uint32_t threads = asked != 0 ? asked : engine->platform->cpu_count();
  engine->scratch_stride_bytes = header->scratch_bytes;
  if (threads < 1) threads = 1;
  if (threads > DAYPACK_MAX_THREADS) threads = DAYPACK_MAX_THREADS;
  if (!daypack_align(&engine->scratch_stride_bytes, DAYPACK_ALIGNMENT_BYTES) || !within_budget(engine, 1)) {
    uint64_t total = 0;
    (void)footprint(engine, 1, &total);
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "plan.bin: expected a run of one thread within the budget of %llu bytes, found %llu",
                        (unsigned long long)header->budget_bytes, (unsigned long long)total);
  }
  uint32_t most = threads;
  while (!within_budget(engine, most)) most--;
  if (asked != 0 && most < asked)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "--threads: expected at most %u, which is what the plan's budget of %llu bytes allows, found %u",
                        most, (unsigned long long)header->budget_bytes, asked);
  engine->threads = most;
  return DAYPACK_OK;
}

daypack_code daypack_map_arena(daypack_engine *engine) {
  uint64_t size_bytes = engine->plan.header->arena_bytes;
  uint64_t scratch_bytes = engine->scratch_stride_bytes * engine->threads; /* within_budget made sure of it */
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
