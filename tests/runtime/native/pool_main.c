/* The thread pool alone: many short phases of two sizes in turn. Each tile must be computed once, within its phase. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { MOST_TILES = 64 };

const daypack_linked_kernels daypack_linked;

static _Atomic(int32_t) tiles_now;
static _Atomic(int32_t) computed[MOST_TILES];
static _Atomic(int32_t) outside;

static void run(void *const *arguments, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  (void)arguments, (void)scratch;
  if (stage != atomic_load(&tiles_now) || end > stage) {
    atomic_fetch_add(&outside, 1);
    return;
  }
  for (int32_t tile = begin; tile < end; tile++) atomic_fetch_add(&computed[tile], 1);
}

int main(int count, char **arguments) {
  static daypack_engine engine;
  static const int32_t SIZES[] = {2, MOST_TILES, 3, 7};
  if (count != 3) return 64;
  long phases = strtol(arguments[1], NULL, 10);
  engine.platform = daypack_platform_posix();
  engine.threads = (uint32_t)strtoul(arguments[2], NULL, 10);
  if (daypack_start_pool(&engine) != DAYPACK_OK) return 70;
  for (long number = 0; number < phases; number++) {
    int32_t tiles = SIZES[number % 4];
    daypack_linked_phase phase = {run, tiles, tiles};
    for (int32_t tile = 0; tile < tiles; tile++) atomic_store(&computed[tile], 0);
    atomic_store(&tiles_now, tiles);
    if (!daypack_run_phase(engine.pool, &phase, NULL)) return 71;
    for (int32_t tile = 0; tile < tiles; tile++)
      if (atomic_load(&computed[tile]) != 1 || atomic_load(&outside) != 0) {
        (void)printf("phase %ld of %d tiles: tile %d computed %d times, %d outside\n", number, tiles, tile,
                     atomic_load(&computed[tile]), atomic_load(&outside));
        return 1;
      }
  }
  (void)printf("%ld phases\n", phases);
  return 0;
}
