/* The thread pool: all threads, the caller among them, take tiles of the phase until none are left.
 *
 * One atomic word, the ticket, holds the phase's generation (high half) and its next tile (low half). A thread
 * claims tiles by compare-and-swap on the whole word; and the phase is over only when `done` has counted every claimed
 * tile, so what a claimer read of the phase stays true while it works. Before the next phase is written, the ticket
 * is closed: a generation of its own that has no tiles. So a late thread that reads a part of the next phase, and
 * takes tiles beyond its own for free, finds another ticket than the one it would claim by. Which thread computes a
 * tile does not change its result. */
#include <pthread.h>
#include <stdatomic.h>

#include "internal.h"

enum { SPINS = 4000, CHUNKS_PER_THREAD = 8, MAX_CHUNK = 16 };
#define CLOSED UINT32_MAX /* no phase has as many tiles */

struct daypack_pool {
  _Alignas(64) _Atomic(uint64_t) ticket;
  _Alignas(64) _Atomic(uint64_t) done;
  _Alignas(64) const daypack_platform *platform;
  uint32_t threads;          /* that were started, the caller among them */
  _Atomic(uint32_t) active;  /* that compute; the others sleep */
  uint8_t *scratch;
  uint64_t scratch_stride_bytes;

  /* The phase; written before the ticket is published, constant until it is done. */
  _Atomic(daypack_phase_function) run;
  _Atomic(void *const *) arguments;
  _Atomic(int32_t) stage;
  _Atomic(uint32_t) tiles;

  pthread_mutex_t mutex;
  pthread_cond_t work;     /* workers wait for the next generation */
  pthread_cond_t finished; /* the caller waits for the last tiles */
  pthread_cond_t enabled;  /* inactive workers wait to be active */
  _Atomic(uint32_t) sleepers;
  _Atomic(bool) caller_sleeps;

  _Atomic(uint32_t) placing; /* counts changes of `places`, which the mutex guards */
  daypack_placement places[DAYPACK_MAX_THREADS];
  _Atomic(bool) clocks_refused;
};

typedef struct {
  daypack_pool *pool;
  uint32_t index;
  uint32_t placed; /* the last change that it followed */
} worker;

static daypack_pool the_pool = {
    .mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .finished = PTHREAD_COND_INITIALIZER,
    .enabled = PTHREAD_COND_INITIALIZER};
static worker workers[DAYPACK_MAX_THREADS];

static uint32_t generation_of(uint64_t ticket) { return (uint32_t)(ticket >> 32); }
static uint32_t tile_of(uint64_t ticket) { return (uint32_t)ticket; }

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("yield");
#endif
}

/* The share of the rest that still leaves every thread several claims, so that slow cores do not hold up the end. */
static uint32_t chunk_of(const daypack_pool *pool, uint32_t rest) {
  uint32_t chunk = rest / (CHUNKS_PER_THREAD * atomic_load_explicit(&pool->active, memory_order_relaxed));
  if (chunk < 1) return 1;
  return chunk < MAX_CHUNK ? chunk : MAX_CHUNK;
}

static void count_done(daypack_pool *pool, uint32_t tiles, uint32_t count) {
  uint64_t done = atomic_fetch_add(&pool->done, count) + count;
  if (done < tiles || !atomic_load(&pool->caller_sleeps)) return;
  (void)pthread_mutex_lock(&pool->mutex);
  (void)pthread_cond_signal(&pool->finished);
  (void)pthread_mutex_unlock(&pool->mutex);
}

/* Take tiles of `generation` until none are left or a stop is requested. */
static void take_tiles(daypack_pool *pool, uint32_t generation, uint32_t index) {
  void *scratch = pool->scratch + index * pool->scratch_stride_bytes;
  uint64_t ticket = atomic_load(&pool->ticket);
  while (generation_of(ticket) == generation && !pool->platform->stop_requested()) {
    daypack_phase_function run = atomic_load_explicit(&pool->run, memory_order_acquire);
    void *const *arguments = atomic_load_explicit(&pool->arguments, memory_order_acquire);
    int32_t stage = atomic_load_explicit(&pool->stage, memory_order_acquire);
    uint32_t tiles = atomic_load_explicit(&pool->tiles, memory_order_acquire);
    uint32_t begin = tile_of(ticket);
    if (begin >= tiles) return;
    uint32_t count = chunk_of(pool, tiles - begin);
    if (!atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket + count)) continue;
    run(arguments, scratch, stage, (int32_t)begin, (int32_t)(begin + count));
    count_done(pool, tiles, count);
    ticket = atomic_load(&pool->ticket);
  }
}

static uint32_t wait_for_work(daypack_pool *pool, uint32_t seen) {
  for (int spin = 0; spin < SPINS; spin++) {
    uint32_t generation = generation_of(atomic_load(&pool->ticket));
    if (generation != seen) return generation;
    relax();
  }
  (void)pthread_mutex_lock(&pool->mutex);
  (void)atomic_fetch_add(&pool->sleepers, 1);
  while (generation_of(atomic_load(&pool->ticket)) == seen) (void)pthread_cond_wait(&pool->work, &pool->mutex);
  (void)atomic_fetch_sub(&pool->sleepers, 1);
  (void)pthread_mutex_unlock(&pool->mutex);
  return generation_of(atomic_load(&pool->ticket));
}

/* Move the calling thread to where it belongs, if that has changed. */
static void follow(daypack_pool *pool, uint32_t index, uint32_t *placed) {
  uint32_t change = atomic_load_explicit(&pool->placing, memory_order_relaxed);
  if (change == *placed) return;
  (void)pthread_mutex_lock(&pool->mutex);
  daypack_placement place = pool->places[index];
  *placed = atomic_load(&pool->placing);
  (void)pthread_mutex_unlock(&pool->mutex);
  if (pool->platform->place(&place) < 0) atomic_store(&pool->clocks_refused, true);
}

static bool is_active(daypack_pool *pool, const worker *self) { return self->index < atomic_load(&pool->active); }

static void wait_to_be_active(daypack_pool *pool, const worker *self) {
  (void)pthread_mutex_lock(&pool->mutex);
  while (!is_active(pool, self)) (void)pthread_cond_wait(&pool->enabled, &pool->mutex);
  (void)pthread_mutex_unlock(&pool->mutex);
}

static void *work(void *context) {
  worker *self = context;
  daypack_pool *pool = self->pool;
  for (uint32_t seen = 0;;) {
    if (!is_active(pool, self)) wait_to_be_active(pool, self);
    seen = wait_for_work(pool, seen);
    if (!is_active(pool, self)) continue;
    follow(pool, self->index, &self->placed);
    take_tiles(pool, seen, self->index);
  }
  return NULL;
}

/* Released after the closed ticket, and read with acquire: who sees any of it, sees that the ticket was closed. */
static void publish(daypack_pool *pool, const daypack_linked_phase *phase, void *const *arguments,
                    uint32_t generation) {
  atomic_store(&pool->ticket, (uint64_t)(generation - 1) << 32 | CLOSED);
  atomic_store_explicit(&pool->run, phase->run, memory_order_release);
  atomic_store_explicit(&pool->arguments, arguments, memory_order_release);
  atomic_store_explicit(&pool->stage, phase->stage, memory_order_release);
  atomic_store_explicit(&pool->tiles, (uint32_t)phase->tiles, memory_order_release);
  atomic_store_explicit(&pool->done, 0, memory_order_release);
  atomic_store(&pool->ticket, (uint64_t)generation << 32);
  if (atomic_load(&pool->sleepers) == 0) return;
  (void)pthread_mutex_lock(&pool->mutex);
  (void)pthread_cond_broadcast(&pool->work);
  (void)pthread_mutex_unlock(&pool->mutex);
}

static void wait_until_done(daypack_pool *pool, uint32_t tiles) {
  for (int spin = 0; spin < SPINS; spin++) {
    if (atomic_load(&pool->done) >= tiles) return;
    relax();
  }
  (void)pthread_mutex_lock(&pool->mutex);
  atomic_store(&pool->caller_sleeps, true);
  while (atomic_load(&pool->done) < tiles) (void)pthread_cond_wait(&pool->finished, &pool->mutex);
  atomic_store(&pool->caller_sleeps, false);
  (void)pthread_mutex_unlock(&pool->mutex);
}

/* After a stop: claim every tile that is left and count it as done, so that only running tiles are waited for. */
static uint32_t drop_rest(daypack_pool *pool, uint32_t tiles) {
  uint64_t ticket = atomic_load(&pool->ticket);
  while (tile_of(ticket) < tiles)
    if (atomic_compare_exchange_weak(&pool->ticket, &ticket, ticket - tile_of(ticket) + tiles)) {
      uint32_t dropped = tiles - tile_of(ticket);
      (void)atomic_fetch_add(&pool->done, dropped);
      return dropped;
    }
  return 0;
}

/* One thread, or one tile: no one else needs to know. */
static bool run_alone(daypack_pool *pool, const daypack_linked_phase *phase, void *const *arguments) {
  for (int32_t begin = 0; begin < phase->tiles;) {
    int32_t rest = phase->tiles - begin;
    int32_t end = begin + (rest < MAX_CHUNK ? rest : MAX_CHUNK);
    if (pool->platform->stop_requested()) return false;
    phase->run(arguments, pool->scratch, phase->stage, begin, end);
    begin = end;
  }
  return true;
}

bool daypack_run_phase(daypack_pool *pool, const daypack_linked_phase *phase, void *const *arguments) {
  if (atomic_load_explicit(&pool->active, memory_order_relaxed) == 1 || phase->tiles <= 1) return run_alone(pool, phase, arguments);
  uint32_t tiles = (uint32_t)phase->tiles;
  uint32_t generation = generation_of(atomic_load(&pool->ticket)) + 2;
  publish(pool, phase, arguments, generation);
  take_tiles(pool, generation, 0);
  uint32_t dropped = drop_rest(pool, tiles);
  wait_until_done(pool, tiles);
  return dropped == 0;
}

daypack_code daypack_start_pool(daypack_engine *engine) {
  daypack_pool *pool = &the_pool;
  pool->platform = engine->platform;
  pool->threads = engine->threads;
  atomic_store(&pool->active, engine->threads);
  pool->scratch = engine->scratch;
  pool->scratch_stride_bytes = engine->scratch_stride_bytes;
  engine->pool = pool;
  for (uint32_t index = 1; index < engine->threads; index++) {
    workers[index] = (worker){pool, index, 0};
    if (engine->platform->start_thread(work, &workers[index], DAYPACK_STACK_BYTES) < 0)
      return daypack_fail(&engine->error, DAYPACK_MISSING, "threads: expected %u threads, the system gave %u; use fewer",
                          engine->threads, index);
  }
  return DAYPACK_OK;
}

/* No phase is under way: the caller is who runs them. */
bool daypack_place_pool(daypack_pool *pool, const daypack_placement *places, uint32_t threads) {
  (void)pthread_mutex_lock(&pool->mutex);
  for (uint32_t index = 0; index < threads; index++) pool->places[index] = places[index];
  (void)atomic_fetch_add(&pool->placing, 1);
  atomic_store(&pool->active, threads);
  (void)pthread_cond_broadcast(&pool->enabled);
  (void)pthread_mutex_unlock(&pool->mutex);
  follow(pool, 0, &workers[0].placed);
  return !atomic_load(&pool->clocks_refused);
}

uint32_t daypack_pool_threads(const daypack_pool *pool) { return atomic_load(&((daypack_pool *)(uintptr_t)pool)->active); }
