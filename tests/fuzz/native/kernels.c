/* The example's kernels (tests/runtime/native/kernels.c) as the fuzzer needs them: each writes all that the plan's
 * checks said it may, so that a range outside the arena is found, and takes no time. */
#include <stdint.h>
#include <string.h>

enum { ARRAY = 4 * 4096 };

void accumulate(void *ids, void *scale, void *total, void *weight, void *scratch, int32_t stage, int32_t begin,
                int32_t end) {
  (void)stage, (void)begin, (void)end;
  memset(ids, 0, 128);
  memset(scale, 0, 4);
  memset(total, 0, 4);
  memcpy(weight, "\0\0\200\77", 4);
  memset(scratch, 0, 256);
}
void saxpy(void *a, void *x, void *y, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  (void)scratch, (void)stage, (void)begin, (void)end;
  memset(a, 0, 4);
  memset(x, 0, ARRAY);
  memset(y, 0, ARRAY);
}
void normalize_sum(void *y, void *partial, void *out, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  (void)scratch, (void)stage, (void)begin, (void)end;
  memset(y, 0, ARRAY);
  memset(partial, 0, 256);
  memset(out, 0, ARRAY);
}
void normalize_scale(void *y, void *partial, void *out, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  normalize_sum(y, partial, out, scratch, stage, begin, end);
}
void finish(void *total, void *weight, void *loss, void *clock, void *scratch, int32_t stage, int32_t begin,
            int32_t end) {
  (void)scratch, (void)stage, (void)begin, (void)end;
  uint32_t step;
  memset(total, 0, 4);
  memset(weight, 0, 4);
  memset(loss, 0, 4);
  memcpy(&step, clock, sizeof step);
  step++;
  memcpy(clock, &step, sizeof step);
}
void slow(void *x, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  (void)scratch, (void)stage, (void)begin, (void)end;
  memset(x, 0, 256);
}
