/* Kernels on the engine's own thread pool (threads.c), and multiply-adds in registers on the same threads.
 *
 * LANES and CHAINS are given: float32 elements of a vector, independent accumulators. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>

#include "internal.h"

static bool never(void) { return false; }

static int start(void *(*run)(void *), void *context, size_t stack_bytes) {
  pthread_t thread;
  (void)stack_bytes;
  return pthread_create(&thread, NULL, run, context) == 0 ? 0 : -1;
}

static const daypack_platform platform = {.stop_requested = never, .start_thread = start};
static daypack_engine engine = {.platform = &platform};

daypack_code daypack_fail(daypack_error *error, daypack_code code, const char *format, ...) {
  (void)format;
  error->code = code;
  return code;
}

int team(uint32_t threads, uint8_t *scratch, uint64_t scratch_stride_bytes) {
  engine.threads = threads;
  engine.scratch = scratch;
  engine.scratch_stride_bytes = scratch_stride_bytes;
  return daypack_start_pool(&engine);
}

void all_tiles(daypack_phase_function run, void *const *arguments, int32_t stage, int32_t tiles) {
  daypack_linked_phase phase = {run, stage, tiles};
  (void)daypack_run_phase(engine.pool, &phase, arguments);
}

#pragma clang fp contract(fast)
typedef float vector __attribute__((vector_size(4 * LANES)));

/* `stage` turns of CHAINS multiply-adds a tile. */
void multiply_add(void *const *arguments, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  vector *memory = arguments[0], c[CHAINS] = {0}, a = *memory;
  (void)scratch;
  for (int32_t tile = begin; tile < end; tile++)
    for (int32_t n = 0; n < stage; n++) {
      _Pragma("clang loop unroll(full)") for (int i = 0; i < CHAINS; i++) c[i] = c[i] * a + a;
    }
  vector sum = {0};
  for (int i = 0; i < CHAINS; i++) sum += c[i];
  if (sum[0] == 1.25f) *memory = sum;
}
