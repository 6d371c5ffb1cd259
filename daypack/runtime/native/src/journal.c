/* The state that training changes: read at the start, replaced whole by one atomic rename.
 *
 * A generation is begun as a file of another name. A step that pages the state stores into it as it goes; saving
 * writes the pieces that are in memory, each at its place, and renames. A kill at any instruction leaves the last
 * committed file. Where every step writes a whole generation, two files change names: writing over the older one is
 * many times as fast as writing a new one. The swap file has no name: it is gone with the process. */
#include <errno.h>
#include <string.h>

#include "internal.h"

static const char NAME[] = "state.safetensors";

static daypack_code make_swap(daypack_engine *engine) {
  const daypack_platform *platform = engine->platform;
  daypack_paged_file *swap = &engine->files[DAYPACK_FILE_SWAP];
  uint64_t size_bytes = engine->swap_bytes;
  if (size_bytes == 0) return DAYPACK_OK;
  swap->name = "swap";
  int result = swap->file = platform->open_update(engine->swap_path);
  daypack_code code = DAYPACK_OK;
  if (result >= 0) {
    code = daypack_open_direct(engine, swap, engine->swap_path, platform->open_write_direct);
    (void)platform->remove(engine->swap_path);
    result = platform->reserve(swap->file, size_bytes);
  }
  if (result >= 0) return code;
  return daypack_fail(&engine->error, DAYPACK_STOPPED,
                      "%s: expected room for %llu bytes of swap, found: %s; free that much or give --state another",
                      engine->state_directory_path, (unsigned long long)size_bytes, strerror(-result));
}

/* So that a directory that was made now outlives a loss of power, and with it the state that is in it. */
static daypack_code sync_parent(daypack_engine *engine, char path[DAYPACK_PATH_BYTES]) {
  const daypack_platform *platform = engine->platform;
  daypack_code code = daypack_join(&engine->error, path, engine->state_directory_path, "/..", "");
  if (code != DAYPACK_OK) return code;
  int parent = platform->open_directory(path);
  if (parent == -EACCES || parent == -EPERM) return DAYPACK_OK; /* not ours to open, nor to sync */
  int result = parent < 0 ? parent : platform->sync(parent);
  if (parent >= 0) (void)platform->close(parent);
  if (result == 0) return DAYPACK_OK;
  return daypack_fail(&engine->error, DAYPACK_STOPPED, "%s: cannot write out the directory: %s; give --state another",
                      path, strerror(-result));
}

static daypack_code name_paths(daypack_engine *engine) {
  daypack_error *error = &engine->error;
  const char *path = engine->state_directory_path;
  daypack_code code = daypack_join(error, engine->state_path, path, "/", NAME);
  if (code == DAYPACK_OK) code = daypack_join(error, engine->swap_path, path, "/swap.tmp", "");
  if (code == DAYPACK_OK) code = daypack_join(error, engine->window_path, path, "/window", "");
  if (code == DAYPACK_OK) code = daypack_join(error, engine->window_temporary, path, "/window.tmp", "");
  return code;
}

/* Of two runs on one directory the later gives way. */
static daypack_code lock_directory(daypack_engine *engine) {
  if (engine->platform->lock(engine->state_directory) != -EWOULDBLOCK) return DAYPACK_OK;
  return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                      "%s: another run is using this state directory; give --state another",
                      engine->state_directory_path);
}

daypack_code daypack_open_journal_to_read(daypack_engine *engine) {
  daypack_code code = name_paths(engine);
  daypack_prepare_crc32(engine->platform);
  if (code != DAYPACK_OK || engine->options.fresh) return code;
  engine->state_directory = engine->platform->open_directory(engine->state_directory_path);
  return engine->state_directory < 0 ? DAYPACK_OK : lock_directory(engine);
}

daypack_code daypack_open_journal(daypack_engine *engine) {
  const daypack_platform *platform = engine->platform;
  daypack_error *error = &engine->error;
  const char *path = engine->state_directory_path;
  daypack_code code = name_paths(engine);
  if (code != DAYPACK_OK) return code;

  int result = platform->make_directory(path);
  if (result < 0)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "%s: cannot create the state directory: %s; give --state another",
                        path, strerror(-result));
  code = daypack_confine_to_state(engine);
  if (code != DAYPACK_OK) return code;
  engine->state_directory = platform->open_directory(path);
  if (engine->state_directory < 0)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "%s: cannot open the state directory: %s; give --state another", path,
                        strerror(-engine->state_directory));
  code = sync_parent(engine, engine->state_temporary);
  if (code == DAYPACK_OK) code = daypack_join(error, engine->state_temporary, path, "/state.safetensors.tmp", "");
  if (code == DAYPACK_OK) code = daypack_map_blocks(engine);
  if (code == DAYPACK_OK) code = lock_directory(engine);
  if (code != DAYPACK_OK) return code;
  int probe = platform->open_update(engine->state_temporary);
  if (probe < 0)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "%s: cannot write in the state directory: %s; give --state another",
                        path, strerror(-probe));
  (void)platform->close(probe);
  (void)platform->remove(engine->state_temporary);
  return make_swap(engine);
}

static daypack_code check_file(daypack_engine *engine, uint64_t file_bytes) {
  const daypack_plan *plan = &engine->plan;
  const daypack_paged_file *file = &engine->files[DAYPACK_FILE_STATE];
  const char *path = file->name;
  uint64_t header_bytes = plan->header->state_header.count;
  uint8_t chunk[512];
  if (file_bytes != plan->state_file_bytes)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected %llu bytes as this bundle's state has, "
                        "found %llu; use --fresh to start again", path, (unsigned long long)plan->state_file_bytes,
                        (unsigned long long)file_bytes);
  for (uint64_t offset = 0; offset < header_bytes; offset += sizeof chunk) {
    uint64_t size = header_bytes - offset < sizeof chunk ? header_bytes - offset : sizeof chunk;
    daypack_code code = daypack_read_exactly(engine, file->file, path, chunk, size, offset);
    if (code != DAYPACK_OK) return code;
    code = daypack_compare_header(engine, chunk, size, offset);
    if (code != DAYPACK_OK) return code;
  }
  return daypack_check_blocks(engine);
}

static daypack_code open_direct_source(daypack_engine *engine, daypack_paged_file *state) {
  char path[DAYPACK_PATH_BYTES];
  const char *directory = state->name == engine->state_path ? engine->state_directory_path : engine->options.bundle;
  if (!engine->plan.pages_state) return DAYPACK_OK;
  daypack_code code = daypack_join(&engine->error, path, directory, "/", NAME);
  return code == DAYPACK_OK ? daypack_open_direct(engine, state, path, engine->platform->open_direct) : code;
}

static daypack_code open_source(daypack_engine *engine, uint64_t *file_bytes) {
  daypack_paged_file *state = &engine->files[DAYPACK_FILE_STATE];
  state->file = engine->options.fresh && !engine->committed ? -ENOENT : engine->platform->open_read(engine->state_path);
  state->name = state->file >= 0 ? engine->state_path : NAME;
  if (state->file == -ENOENT && engine->options.evaluate && engine->options.state != NULL && !engine->options.fresh)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected a saved state, found none; train with this --state, or give --fresh for the start",
                        engine->state_path);
  if (state->file == -ENOENT) {
    daypack_code code =
        daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, NAME, &state->file, file_bytes);
    return code == DAYPACK_OK ? daypack_check_start(engine, state->file) : code;
  }
  if (state->file < 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: cannot open: %s", engine->state_path,
                        strerror(-state->file));
  int64_t size = engine->platform->file_bytes(state->file);
  if (size < 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected a readable file, found: %s",
                        engine->state_path, strerror((int)-size));
  *file_bytes = (uint64_t)size;
  return DAYPACK_OK;
}

daypack_code daypack_open_state(daypack_engine *engine) {
  uint64_t file_bytes = 0;
  daypack_code code = open_source(engine, &file_bytes);
  if (code == DAYPACK_OK) code = check_file(engine, file_bytes);
  return code == DAYPACK_OK ? open_direct_source(engine, &engine->files[DAYPACK_FILE_STATE]) : code;
}

daypack_code daypack_restore(daypack_engine *engine) {
  const daypack_plan *plan = &engine->plan;
  daypack_paged_file *file = &engine->files[DAYPACK_FILE_STATE];
  uint64_t offset = plan->header->state_header.count;
  for (uint64_t index = 0; index < plan->header->state.count; index++) {
    const daypack_plan_state *state = &plan->state[index];
    if (state->arena_offset_bytes != DAYPACK_NOT_RESIDENT) {
      daypack_code code = daypack_read_exactly(engine, file->file, file->name,
                                               engine->arena + state->arena_offset_bytes, state->size_bytes, offset);
      if (code != DAYPACK_OK) return code;
    }
    offset += state->size_bytes;
  }
  if (!plan->pages_state) daypack_close_file(engine->platform, file);
  return DAYPACK_OK;
}

static daypack_code fail_save(daypack_engine *engine, int64_t result) {
  return daypack_fail(&engine->error, DAYPACK_STOPPED,
                      "%s: cannot save the state of step %llu: %s; the state on disk is of step %llu",
                      engine->state_path, (unsigned long long)engine->step, strerror(result < 0 ? (int)-result : ENOSPC),
                      (unsigned long long)engine->saved_step);
}

static int64_t put(daypack_engine *engine, const void *data, uint64_t size_bytes, uint64_t offset_bytes) {
  daypack_range rest = {(uint8_t *)(uintptr_t)data, size_bytes, offset_bytes};
  return daypack_write_range(engine->platform, engine->files[DAYPACK_FILE_NEXT].file, &rest, &engine->written_bytes);
}

daypack_code daypack_begin_generation(daypack_engine *engine) {
  const daypack_plan *plan = &engine->plan;
  daypack_paged_file *next = &engine->files[DAYPACK_FILE_NEXT];
  next->name = engine->state_temporary;
  next->file = engine->platform->open_update(engine->state_temporary);
  if (next->file < 0) return fail_save(engine, next->file);
  engine->unfinished = true;
  int result = engine->platform->reserve(next->file, plan->state_file_bytes);
  if (result < 0) return fail_save(engine, result);
  return plan->pages_state
             ? daypack_open_direct(engine, next, engine->state_temporary, engine->platform->open_write_direct)
             : DAYPACK_OK;
}

void daypack_abandon_generation(daypack_engine *engine) {
  daypack_close_file(engine->platform, &engine->files[DAYPACK_FILE_NEXT]);
  if (engine->unfinished) (void)engine->platform->remove(engine->state_temporary);
  engine->unfinished = false;
}

/* What is in memory, and the header with the checksums of all. 1 or a negative errno, or 0 for a full disk. */
static int64_t write_resident(daypack_engine *engine) {
  const daypack_plan *plan = &engine->plan;
  uint64_t offset = plan->header->state_header.count;
  int64_t result = 1;
  for (uint64_t index = 0; result == 1 && index < plan->header->state.count; index++) {
    const daypack_plan_state *state = &plan->state[index];
    if (state->arena_offset_bytes != DAYPACK_NOT_RESIDENT) {
      const uint8_t *data = engine->arena + state->arena_offset_bytes;
      daypack_sum_range(engine, offset, data, state->size_bytes, offset);
      result = put(engine, data, state->size_bytes, offset);
    }
    offset += state->size_bytes;
  }
  if (result != 1) return result;
  daypack_write_digits(engine);
  return put(engine, plan->state_header, plan->header->state_header.count, 0);
}

/* The file becomes the state, at once and whole. */
static int commit(daypack_engine *engine) {
  const daypack_platform *platform = engine->platform;
  if (engine->plan.pages_state && platform->exchange(engine->state_temporary, engine->state_path) == 0) return 0;
  int closed = engine->plan.pages_state ? 0 : platform->close(engine->files[DAYPACK_FILE_NEXT].file);
  if (!engine->plan.pages_state) engine->files[DAYPACK_FILE_NEXT].file = -1;
  int result = closed == 0 ? platform->rename(engine->state_temporary, engine->state_path) : closed;
  if (result == 0) engine->unfinished = false;
  return result;
}

/* What was the next generation is what the next step starts from. */
static void take_over(daypack_engine *engine) {
  daypack_paged_file *state = &engine->files[DAYPACK_FILE_STATE];
  daypack_paged_file *next = &engine->files[DAYPACK_FILE_NEXT];
  if (!engine->plan.pages_state) return;
  daypack_close_file(engine->platform, state);
  *state = (daypack_paged_file){engine->state_path, next->file, next->direct, NULL};
  next->file = next->direct = -1;
}

daypack_code daypack_save(daypack_engine *engine) {
  const daypack_platform *platform = engine->platform;
  daypack_code code = engine->plan.pages_state ? DAYPACK_OK : daypack_begin_generation(engine);
  if (code != DAYPACK_OK) return code;
  int64_t result = write_resident(engine);
  if (result == 0) result = -ENOSPC;
  if (result == 1) result = platform->sync(engine->files[DAYPACK_FILE_NEXT].file);
  if (result == 0) result = commit(engine);
  if (result < 0) return fail_save(engine, result);
  take_over(engine);
  engine->committed = true;
  engine->saved_step = engine->step;
  result = platform->sync(engine->state_directory);
  return result < 0 ? fail_save(engine, result) : DAYPACK_OK;
}
