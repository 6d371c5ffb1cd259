/* The window that is under way, kept on disk at the places that the plan names, so that a run that is stopped does not
 * begin it again.
 *
 * It is written as the window passes such a place, not when a stop comes: a stop has 50 ms and finds the arena in the
 * middle of a shard. Nothing is synced. What a killed process wrote the system has; what a loss of power leaves of it is
 * told by the checksums, and then the window begins again, as it does when the file is of another state, plan or data.
 * The examples read so far are read once more for that: what they were is a checksum in the file. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum { WINDOW_VERSION = 1, NOTE_BYTES = 256 };
static const uint8_t MAGIC[8] = "DPWINDW";

/* FORMAT.md has the table. */
typedef struct {
  uint8_t magic[8];
  uint32_t version;
  uint32_t header_sum; /* CRC-32 of the header with 0 here */
  uint8_t plan[DAYPACK_DIGEST_BYTES];
  uint64_t step; /* completed */
  uint64_t position;
  uint64_t data_bytes;
  uint32_t data_sum;
  uint32_t state_sum;   /* of the digits of the state that the window began from */
  uint32_t batches_sum; /* of the micro-batches read */
  uint32_t zero;
} window_header;

static_assert(sizeof(window_header) == 88, "the header of a window");

static const uint64_t *operands_of(const daypack_engine *engine, const daypack_plan_instruction *instruction) {
  return engine->plan.operands + instruction->source;
}

static uint64_t bytes_of(const daypack_engine *engine, const daypack_plan_instruction *instruction) {
  const uint64_t *operand = operands_of(engine, instruction);
  uint64_t sum = 0; /* ranges of the arena that do not overlap */
  for (uint64_t index = 0; index < instruction->index; index++) sum += operand[2 * index + 1];
  return sum;
}

static uint32_t sum_of_header(window_header header) {
  header.header_sum = 0;
  return daypack_crc32(&header, sizeof header);
}

/* What a window that stops at this place says of itself, its data's checksum aside. */
static window_header describe(const daypack_engine *engine, uint64_t step,
                              const daypack_plan_instruction *instruction) {
  const daypack_plan *plan = &engine->plan;
  window_header header = {.version = WINDOW_VERSION, .step = step};
  memcpy(header.magic, MAGIC, sizeof MAGIC);
  memcpy(header.plan, plan->digest, sizeof header.plan);
  header.position = (uint64_t)(instruction - plan->steps);
  header.data_bytes = bytes_of(engine, instruction);
  header.state_sum = daypack_crc32(plan->digits, plan->digit_count);
  header.batches_sum = engine->batches_sum;
  return header;
}

/* ---- keeping ---- */

/* False where a stop was requested meanwhile. */
static bool sum_ranges(const daypack_engine *engine, const daypack_plan_instruction *instruction, uint32_t *sum) {
  const uint64_t *operand = operands_of(engine, instruction);
  for (uint64_t index = 0; index < instruction->index; index++, operand += 2)
    for (uint64_t done = 0; done < operand[1]; done += DAYPACK_IO_BYTES) {
      uint64_t rest = operand[1] - done;
      if (engine->platform->stop_requested()) return false;
      *sum = daypack_crc32_raw(*sum, engine->arena + operand[0] + done,
                               rest < DAYPACK_IO_BYTES ? rest : DAYPACK_IO_BYTES);
    }
  return true;
}

/* 1, a negative errno, or 0 for a full disk; -EINTR where a stop was requested meanwhile. */
static int64_t write_ranges(daypack_engine *engine, int file, const daypack_plan_instruction *instruction) {
  const uint64_t *operand = operands_of(engine, instruction);
  uint64_t offset = sizeof(window_header);
  int64_t result = 1;
  for (uint64_t index = 0; index < instruction->index; index++, operand += 2)
    for (uint64_t done = 0; result == 1 && done < operand[1]; done += DAYPACK_IO_BYTES) {
      uint64_t rest = operand[1] - done;
      daypack_range piece = {engine->arena + operand[0] + done, rest < DAYPACK_IO_BYTES ? rest : DAYPACK_IO_BYTES,
                             offset};
      offset += piece.size_bytes;
      if (engine->platform->stop_requested()) return -EINTR;
      result = daypack_write_range(engine->platform, file, &piece, &engine->written_bytes);
    }
  return result;
}

static int64_t write_window(daypack_engine *engine, int file, window_header *header,
                            const daypack_plan_instruction *instruction) {
  uint32_t sum = 0;
  if (!sum_ranges(engine, instruction, &sum)) return -EINTR;
  header->data_sum = sum;
  header->header_sum = sum_of_header(*header);
  daypack_range front = {(uint8_t *)header, sizeof *header, 0};
  int64_t result = daypack_write_range(engine->platform, file, &front, &engine->written_bytes);
  return result == 1 ? write_ranges(engine, file, instruction) : result;
}

static daypack_code say_not_kept(daypack_engine *engine, int64_t result) {
  char text[NOTE_BYTES];
  if (engine->keeping_failed) return DAYPACK_OK;
  engine->keeping_failed = true;
  (void)snprintf(text, sizeof text, "a window cannot be kept: %s; a stop begins it again",
                 strerror(result < 0 ? (int)-result : ENOSPC));
  return daypack_report_note(engine, text);
}

daypack_code daypack_keep_window(daypack_engine *engine, uint64_t step, const daypack_plan_instruction *instruction) {
  const daypack_platform *platform = engine->platform;
  if (engine->saved_step != step) return DAYPACK_OK; /* what it began from is not on disk */
  window_header header = describe(engine, step, instruction);
  (void)platform->remove(engine->window_temporary);
  int file = platform->open_update(engine->window_temporary);
  if (file < 0) return say_not_kept(engine, file);
  int64_t result = write_window(engine, file, &header, instruction);
  int done = platform->close(file);
  if (result == 1 && done == 0) done = platform->rename(engine->window_temporary, engine->window_path);
  if (result == 1 && done == 0) {
    atomic_store(&engine->kept, true);
    return DAYPACK_OK;
  }
  (void)platform->remove(engine->window_temporary);
  if (result == -EINTR) return DAYPACK_OK;
  return say_not_kept(engine, result == 1 ? done : result);
}

void daypack_forget_window(daypack_engine *engine) {
  atomic_store(&engine->kept, false);
  if (engine->plan.suspends > 0) (void)engine->platform->remove(engine->window_path);
}

/* ---- going on ---- */

static int64_t read_at(daypack_engine *engine, int file, void *data, uint64_t size_bytes, uint64_t offset_bytes) {
  daypack_range rest = {data, size_bytes, offset_bytes};
  return daypack_read_range(engine->platform, file, &rest, &engine->read_bytes);
}

static bool data_is_whole(daypack_engine *engine, int file, const window_header *header) {
  uint32_t sum = 0;
  for (uint64_t done = 0; done < header->data_bytes; done += DAYPACK_IO_BYTES) {
    uint64_t rest = header->data_bytes - done;
    uint64_t size = rest < DAYPACK_IO_BYTES ? rest : DAYPACK_IO_BYTES;
    if (read_at(engine, file, daypack_io_buffer, size, sizeof *header + done) != 1) return false;
    sum = daypack_crc32_raw(sum, daypack_io_buffer, size);
  }
  return sum == header->data_sum;
}

/* Why the file cannot be gone on with, as far as it says itself; NULL if it can, "" if it is of a step that is over. */
static const char *fault_of(daypack_engine *engine, int file, window_header *header) {
  const daypack_plan *plan = &engine->plan;
  int64_t file_bytes = engine->platform->file_bytes(file);
  if (file_bytes < (int64_t)sizeof *header || read_at(engine, file, header, sizeof *header, 0) != 1)
    return "it is cut short";
  if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0 || header->version != WINDOW_VERSION || header->zero != 0 ||
      header->header_sum != sum_of_header(*header))
    return "its header is damaged";
  if (header->step < daypack_clock_step(engine)) return "";
  if (header->step != daypack_clock_step(engine) ||
      header->state_sum != daypack_crc32(plan->digits, plan->digit_count))
    return "it began from another state";
  if (memcmp(header->plan, plan->digest, sizeof header->plan) != 0) return "it is of another plan";
  if (header->position >= plan->header->steps.count || plan->steps[header->position].op != DAYPACK_OP_SUSPEND ||
      header->data_bytes != bytes_of(engine, &plan->steps[header->position]))
    return "its place is none of the plan's";
  if ((uint64_t)file_bytes != sizeof *header + header->data_bytes) return "it is cut short";
  return data_is_whole(engine, file, header) ? NULL : "its data are damaged";
}

/* The batches before the place, for their checksum; nothing else is in their places in the arena yet. */
static daypack_code read_batches(daypack_engine *engine, const window_header *header, uint64_t *count) {
  daypack_code code = DAYPACK_OK;
  engine->batches_sum = 0;
  for (uint64_t index = 0; code == DAYPACK_OK && index < header->position; index++) {
    if (engine->plan.steps[index].op != DAYPACK_OP_BATCH) continue;
    code = daypack_read_batch(engine, header->step, &engine->plan.steps[index]);
    (*count)++;
  }
  return code;
}

/* What was fetched as it was fetched, then what was kept. */
static daypack_code restore(daypack_engine *engine, int file, const window_header *header) {
  const daypack_plan *plan = &engine->plan;
  const daypack_plan_instruction *at = &plan->steps[header->position];
  const uint64_t *operand = operands_of(engine, at);
  const uint64_t *fetches = operand + 2 * (uint64_t)at->index;
  uint64_t offset = sizeof *header;
  daypack_code code = DAYPACK_OK;
  for (uint64_t index = 0; code == DAYPACK_OK && index < at->size_bytes; index++) {
    const daypack_plan_instruction *fetch = &plan->steps[fetches[index]];
    code = daypack_read_now(engine, fetch->index, engine->arena + fetch->arena_offset_bytes, fetch->size_bytes,
                            fetch->source);
  }
  for (uint64_t index = 0; code == DAYPACK_OK && index < at->index; index++, operand += 2) {
    code = daypack_read_exactly(engine, file, engine->window_path, engine->arena + operand[0], operand[1], offset);
    offset += operand[1];
  }
  return code;
}

static daypack_code begin_again(daypack_engine *engine, const char *why) {
  char text[NOTE_BYTES];
  engine->batches_sum = 0;
  (void)engine->platform->remove(engine->window_path);
  if (*why == '\0') return DAYPACK_OK;
  (void)snprintf(text, sizeof text, "the window that was under way begins again: %s", why);
  return daypack_report_note(engine, text);
}

static daypack_code take_up(daypack_engine *engine, int file) {
  window_header header;
  uint64_t micro_batches = 0;
  const char *why = fault_of(engine, file, &header);
  if (why != NULL) return begin_again(engine, why);
  daypack_code code = read_batches(engine, &header, &micro_batches);
  if (code == DAYPACK_OK && engine->batches_sum != header.batches_sum)
    return begin_again(engine, "its examples are others");
  if (code == DAYPACK_OK) code = restore(engine, file, &header);
  if (code != DAYPACK_OK) return code;
  engine->resume_at = header.position + 1;
  atomic_store(&engine->kept, true);
  return daypack_report_resumed(engine, micro_batches);
}

daypack_code daypack_take_up_window(daypack_engine *engine) {
  const daypack_platform *platform = engine->platform;
  if (engine->options.fresh || engine->plan.suspends == 0) {
    (void)platform->remove(engine->window_path);
    return DAYPACK_OK;
  }
  int file = platform->open_plain(engine->window_path);
  if (file == -ENOENT) return DAYPACK_OK;
  if (file < 0) return begin_again(engine, file == -ELOOP ? "it is a link" : strerror(-file));
  daypack_code code = take_up(engine, file);
  (void)platform->close(file);
  return code;
}
