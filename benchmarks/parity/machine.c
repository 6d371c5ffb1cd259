/* What this machine can do at most: bytes a second of memory, fused multiply-adds a second of its cores.
 *
 * machine THREADS: prints {"bytes_per_s": B, "flops_per_s": F}. Memory: the triad a = b + s c over arrays far
 * larger than a cache, three arrays counted, the best of eleven passes. Arithmetic: twelve accumulators of 16
 * float32 each in registers, the best of five.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ELEMENTS (16u << 20)
#define ROUNDS 10000000
#define MOST_THREADS 64
typedef float vector __attribute__((vector_size(64)));

static float *a, *b, *c;
static int threads;
static volatile float sink;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void *triad(void *number) {
  size_t part = ELEMENTS / (size_t)threads, begin = part * (size_t)number;
  for (size_t i = begin; i < begin + part; i++) a[i] = b[i] + 0.5f * c[i];
  return NULL;
}

static void *multiply(void *number) {
  vector x = {0}, s[12] = {{0}};
  x += 1.0f + 1e-7f * (float)(size_t)number;
  for (int n = 0; n < 12; n++) s[n] = x * (float)n;
  vector y = x * 1e-3f;
  for (int i = 0; i < ROUNDS; i++)
    for (int n = 0; n < 12; n++) s[n] = s[n] * y + x;
  for (int n = 0; n < 12; n++) sink += s[n][0];
  return NULL;
}

static double seconds_of(void *(*work)(void *)) {
  pthread_t other[MOST_THREADS];
  double began = now();
  for (int n = 1; n < threads; n++)
    if (pthread_create(&other[n], NULL, work, (void *)(size_t)n) != 0) exit(3);
  work(NULL);
  for (int n = 1; n < threads; n++) pthread_join(other[n], NULL);
  return now() - began;
}

static double best_of(int tries, void *(*work)(void *)) {
  double best = seconds_of(work);
  for (int n = 1; n < tries; n++) {
    double seconds = seconds_of(work);
    if (seconds < best) best = seconds;
  }
  return best;
}

int main(int count, char **words) {
  threads = count == 2 ? atoi(words[1]) : 0;
  if (threads < 1 || threads > MOST_THREADS) return 2;
  a = malloc(4ul * ELEMENTS), b = malloc(4ul * ELEMENTS), c = malloc(4ul * ELEMENTS);
  if (a == NULL || b == NULL || c == NULL) return 3;
  for (size_t i = 0; i < ELEMENTS; i++) a[i] = 0.0f, b[i] = 1.0f, c[i] = 2.0f;
  double memory = best_of(11, triad), arithmetic = best_of(5, multiply);
  printf("{\"bytes_per_s\": %.6e, \"flops_per_s\": %.6e}\n", 12.0 * ELEMENTS / memory,
         2.0 * 16 * 12 * ROUNDS * (double)threads / arithmetic);
  return 0;
}
