/* Kernels by hand, in the engine's kernel ABI: one step of a made-up training that numpy can repeat exactly.
 * Every sum has a fixed order, so any split of the tiles over threads gives the same bits. */
#include <math.h>
#include <stdint.h>

enum { TILE = 64, TILES = 64, IDS = 32, SUM_STAGE = 3, SCALE_STAGE = 7 };

/* total += scale[0] * sum of the ids that are labels; weight += how many there are. One tile. */
void accumulate(void *ids, void *scale, void *total, void *weight, void *scratch, int32_t stage, int32_t begin,
                int32_t end) {
  (void)scratch, (void)stage, (void)begin, (void)end;
  for (int i = 0; i < IDS; i++) {
    int32_t id = ((int32_t *)ids)[i];
    if (id == -100) continue;
    *(float *)total += *(float *)scale * (float)id;
    *(float *)weight += 1.0F;
  }
}

/* y += a * x */
void saxpy(void *a, void *x, void *y, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  (void)scratch, (void)stage;
  for (int i = begin * TILE; i < end * TILE; i++) ((float *)y)[i] += *(float *)a * ((float *)x)[i];
}

/* Phase 1 of normalize: partial[t] = sum of tile t, through the thread's own scratch. */
void normalize_sum(void *y, void *partial, void *out, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  (void)out;
  float *copy = scratch;
  for (int tile = begin; tile < end; tile++) {
    float sum = 0.0F;
    for (int i = 0; i < TILE; i++) copy[i] = ((float *)y)[tile * TILE + i];
    for (int i = 0; i < TILE; i++) sum += copy[i];
    ((float *)partial)[tile] = stage == SUM_STAGE ? sum : -1.0F;
  }
}

/* Phase 2: out = y * stage / (1 + total), which needs every tile of phase 1. */
void normalize_scale(void *y, void *partial, void *out, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  (void)scratch;
  float total = 1.0F;
  for (int tile = 0; tile < TILES; tile++) total += ((float *)partial)[tile];
  for (int i = begin * TILE; i < end * TILE; i++) ((float *)out)[i] = ((float *)y)[i] * (float)stage / total;
}

/* loss = total / weight; the clock advances. */
void finish(void *total, void *weight, void *loss, void *clock, void *scratch, int32_t stage, int32_t begin,
            int32_t end) {
  (void)scratch, (void)stage, (void)begin, (void)end;
  *(float *)loss = *(float *)total / *(float *)weight;
  ++*(uint32_t *)clock;
}

/* About a millisecond a tile: something to stop. The result is `x` itself, through libm. */
void slow(void *x, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  (void)scratch, (void)stage;
  for (int tile = begin; tile < end; tile++)
    for (int i = 0; i < 20000; i++) ((volatile float *)x)[tile % TILE] = fabsf(tanhf((float)i) * 0.0F);
}

/* One shard of a simulated device, where the engine is linked with one. */
extern void daypack_test_spend(void) __attribute__((weak));

void spend(void *x, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  (void)x, (void)scratch, (void)stage, (void)begin, (void)end;
  if (daypack_test_spend) daypack_test_spend();
}
