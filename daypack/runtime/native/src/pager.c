/* The pager: one thread that does the transfers of a step (fetches and stores) in the order of the instructions.
 *
 * The step's list is its queue. The executor says how far the pager may go and, at a wait instruction, how many
 * transfers must be done; the pager walks the list behind it and passes over what is no transfer. So nothing is
 * allocated, and a plan's waits are all that orders transfers and kernels. Files are read, not mapped, so that the
 * arena is all there is in memory. A range goes in pieces, between which a stop is seen. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "internal.h"

enum {
  PIECE_BYTES = 4 << 20,
  AHEAD_BYTES = 32 << 20, /* hinted ahead: enough to hide the latency, too little to push others out of memory */
};

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t work;     /* the pager waits for transfers it may begin */
  pthread_cond_t progress; /* the executor waits for transfers that must be done */
  const daypack_engine *engine;
  uint64_t cursor; /* the next instruction that the pager looks at */
  uint64_t limit;  /* the first that it may not begin */
  uint64_t done;   /* transfers since the step began */
  bool busy;
  bool cancel; /* what is under way is not wanted any more */
  bool quit;
  daypack_error error; /* of the transfer that failed; no other begins then */
  daypack_error found; /* the same, of the pager's thread alone */
  uint64_t read_bytes; /* since the executor last asked */
  uint64_t weights_bytes; /* of them */
  uint64_t written_bytes;
  uint64_t busy_ns;
  uint64_t store_ns; /* of it, with stores */
} pager = {.mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .progress = PTHREAD_COND_INITIALIZER};

static void lock(void) { (void)pthread_mutex_lock(&pager.mutex); }
static void unlock(void) { (void)pthread_mutex_unlock(&pager.mutex); }

static bool must_stop(void) {
  lock();
  bool stop = pager.quit;
  unlock();
  return stop || pager.engine->platform->stop_requested();
}

static bool is_cancelled(void) {
  lock();
  bool cancel = pager.cancel;
  unlock();
  return cancel;
}

static daypack_code fail_write(const daypack_paged_file *file, const daypack_range *rest, int64_t result) {
  return daypack_fail(&pager.found, DAYPACK_STOPPED,
                      "%s: cannot write %llu bytes at %llu: %s; the state on disk is of step %llu", file->name,
                      (unsigned long long)rest->size_bytes, (unsigned long long)rest->offset_bytes,
                      strerror(result < 0 ? (int)-result : ENOSPC), (unsigned long long)pager.engine->saved_step);
}

static daypack_code move_piece(const daypack_plan_instruction *instruction, daypack_range *piece) {
  const daypack_platform *platform = pager.engine->platform;
  const daypack_paged_file *file = &pager.engine->files[instruction->index];
  uint64_t offset_bytes = piece->offset_bytes;
  uint64_t size_bytes = piece->size_bytes;
  uint64_t count = 0;
  bool fetch = instruction->op == DAYPACK_OP_FETCH;
  if (!fetch && instruction->index == DAYPACK_FILE_NEXT)
    daypack_sum_range(pager.engine, instruction->source, piece->data, size_bytes, offset_bytes);
  int64_t result = fetch ? daypack_read_paged(platform, file, piece, &count)
                         : daypack_write_paged(platform, file, piece, &count);
  if (!fetch && instruction->index == DAYPACK_FILE_NEXT) (void)platform->will_sync(file->file, size_bytes, offset_bytes);
  lock();
  *(fetch ? &pager.read_bytes : &pager.written_bytes) += count;
  if (instruction->index == DAYPACK_FILE_WEIGHTS) pager.weights_bytes += count;
  unlock();
  if (result == 1) return DAYPACK_OK;
  return fetch ? daypack_fail_read(&pager.found, true, file->name, piece, result) : fail_write(file, piece, result);
}

static daypack_code transfer(const daypack_plan_instruction *instruction) {
  uint8_t *data = pager.engine->arena + instruction->arena_offset_bytes;
  for (uint64_t done = 0; done < instruction->size_bytes; done += PIECE_BYTES) {
    uint64_t rest = instruction->size_bytes - done;
    daypack_range piece = {data + done, rest < PIECE_BYTES ? rest : PIECE_BYTES, instruction->source + done};
    if (must_stop()) return daypack_fail_stopped(&pager.found, pager.engine);
    if (is_cancelled()) return DAYPACK_OK;
    daypack_code code = move_piece(instruction, &piece);
    if (code != DAYPACK_OK) return code;
  }
  return DAYPACK_OK;
}

/* What will be fetched next is hinted to the system, which reads it into its own cache while kernels run. */
static void hint_next(uint64_t index) {
  const daypack_engine *engine = pager.engine;
  const daypack_plan_instruction *list = engine->plan.steps;
  uint64_t end = engine->plan.header->steps.count;
  while (index < end && list[index].op != DAYPACK_OP_FETCH) index++;
  if (index == end || engine->options.direct) return;
  if (list[index].index != DAYPACK_FILE_WEIGHTS && list[index].index != DAYPACK_FILE_STATE) return;
  uint64_t size_bytes = list[index].size_bytes < AHEAD_BYTES ? list[index].size_bytes : AHEAD_BYTES;
  (void)engine->platform->will_read(engine->files[list[index].index].file, size_bytes, list[index].source);
}

/* With the lock: the next transfer that may begin, or NULL. */
static const daypack_plan_instruction *next_transfer(void) {
  const daypack_plan_instruction *list = pager.engine->plan.steps;
  while (pager.cursor < pager.limit && pager.error.code == DAYPACK_OK && !pager.quit) {
    const daypack_plan_instruction *next = &list[pager.cursor++];
    if (next->op == DAYPACK_OP_FETCH || next->op == DAYPACK_OP_STORE) return next;
  }
  return NULL;
}

static void *run_pager(void *context) {
  (void)context;
  lock();
  for (;;) {
    const daypack_plan_instruction *next;
    while ((next = next_transfer()) == NULL) (void)pthread_cond_wait(&pager.work, &pager.mutex);
    uint64_t cursor = pager.cursor;
    pager.busy = true;
    unlock();
    uint64_t begin_ns = pager.engine->platform->now_ns();
    daypack_code code = transfer(next);
    uint64_t elapsed_ns = pager.engine->platform->now_ns() - begin_ns;
    lock();
    pager.busy_ns += elapsed_ns;
    if (next->op == DAYPACK_OP_STORE) pager.store_ns += elapsed_ns;
    pager.done += code == DAYPACK_OK;
    if (code != DAYPACK_OK) pager.error = pager.found;
    (void)pthread_cond_signal(&pager.progress);
    if (code == DAYPACK_OK && next->op == DAYPACK_OP_FETCH) {
      unlock();
      hint_next(cursor); /* finds nothing behind a step's last transfer, so files are never hinted while they change */
      lock();
    }
    pager.busy = false; /* from here on the plan may be another */
    (void)pthread_cond_signal(&pager.progress);
  }
  return NULL;
}

daypack_code daypack_start_pager(daypack_engine *engine) {
  pager.engine = engine;
  if (!engine->has_transfers) return DAYPACK_OK;
  if (engine->platform->start_thread(run_pager, NULL, DAYPACK_STACK_BYTES) < 0)
    return daypack_fail(&engine->error, DAYPACK_MISSING, "threads: expected one more for the pager, the system gave none");
  return DAYPACK_OK;
}

void daypack_begin_transfers(uint64_t index, uint64_t transfers) {
  lock();
  pager.cursor = pager.limit = index;
  pager.done = transfers;
  unlock();
}

void daypack_post_transfer(uint64_t index) {
  lock();
  pager.limit = index + 1;
  (void)pthread_cond_signal(&pager.work);
  unlock();
}

daypack_code daypack_wait_transfers(daypack_engine *engine, uint64_t transfers) {
  lock();
  while (pager.done < transfers && pager.error.code == DAYPACK_OK)
    (void)pthread_cond_wait(&pager.progress, &pager.mutex);
  daypack_code code = pager.error.code;
  if (code != DAYPACK_OK) engine->error = pager.error;
  engine->read_bytes += pager.read_bytes;
  engine->weights_read_bytes += pager.weights_bytes;
  engine->written_bytes += pager.written_bytes;
  engine->transfer_ns += pager.busy_ns;
  engine->store_ns += pager.store_ns;
  pager.read_bytes = pager.weights_bytes = pager.written_bytes = pager.busy_ns = pager.store_ns = 0;
  unlock();
  return code;
}

daypack_code daypack_cancel_transfers(daypack_engine *engine) {
  lock();
  pager.cancel = true;
  pager.limit = pager.cursor;
  while (pager.busy) (void)pthread_cond_wait(&pager.progress, &pager.mutex);
  daypack_code code = pager.error.code;
  if (code != DAYPACK_OK) engine->error = pager.error;
  pager.read_bytes = pager.weights_bytes = pager.written_bytes = pager.busy_ns = pager.store_ns = 0;
  pager.cancel = false;
  unlock();
  return code;
}

void daypack_stop_pager(void) {
  lock();
  pager.quit = true;
  while (pager.busy) (void)pthread_cond_wait(&pager.progress, &pager.mutex);
  unlock();
}
