/* The state that training changes: read at the start, replaced whole by one atomic rename.
 *
 * A kill at any instruction leaves the last committed file; the unfinished one has another name. */
#include <errno.h>
#include <string.h>

#include "internal.h"

static const char NAME[] = "state.safetensors";

daypack_code daypack_open_journal(daypack_engine *engine) {
  const daypack_platform *platform = engine->platform;
  const char *given = engine->options.state;
  daypack_error *error = &engine->error;
  char *path = engine->state_directory_path;
  daypack_code code = given != NULL ? daypack_join(error, path, given, "", "")
                                    : daypack_join(error, path, engine->options.bundle, "", ".state");
  if (code == DAYPACK_OK) code = daypack_join(error, engine->state_path, path, "/", NAME);
  if (code == DAYPACK_OK) code = daypack_join(error, engine->state_temporary, path, "/state.safetensors.tmp", "");
  if (code != DAYPACK_OK) return code;

  int result = platform->make_directory(path);
  if (result < 0)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "%s: cannot create the state directory: %s; give --state another",
                        path, strerror(-result));
  engine->state_directory = platform->open_directory(path);
  if (engine->state_directory < 0)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "%s: cannot open the state directory: %s; give --state another", path,
                        strerror(-engine->state_directory));
  if (platform->lock(engine->state_directory) == -EWOULDBLOCK)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "%s: another run is using this state directory; give --state another",
                        path);
  int probe = platform->open_write(engine->state_temporary);
  if (probe < 0)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "%s: cannot write in the state directory: %s; give --state another",
                        path, strerror(-probe));
  (void)platform->close(probe);
  (void)platform->remove(engine->state_temporary);
  return DAYPACK_OK;
}

static daypack_code check_file(daypack_engine *engine, uint64_t file_bytes) {
  const daypack_plan *plan = &engine->plan;
  const char *path = engine->state_name;
  uint64_t header_bytes = plan->header->state_header.count;
  uint8_t chunk[512];
  if (file_bytes != plan->state_file_bytes)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected %llu bytes as this bundle's state has, "
                        "found %llu; use --fresh to start again", path, (unsigned long long)plan->state_file_bytes,
                        (unsigned long long)file_bytes);
  for (uint64_t offset = 0; offset < header_bytes; offset += sizeof chunk) {
    uint64_t size = header_bytes - offset < sizeof chunk ? header_bytes - offset : sizeof chunk;
    daypack_code code = daypack_read_exactly(engine, engine->state_file, path, chunk, size, offset);
    if (code != DAYPACK_OK) return code;
    if (memcmp(chunk, plan->state_header + offset, (size_t)size) != 0)
      return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                          "%s: expected the tensors of this bundle's state, found another header; use --fresh to start "
                          "again",
                          path);
  }
  return DAYPACK_OK;
}

static daypack_code open_source(daypack_engine *engine, uint64_t *file_bytes) {
  engine->state_file = engine->options.fresh ? -ENOENT : engine->platform->open_read(engine->state_path);
  engine->state_name = engine->state_file >= 0 ? engine->state_path : NAME;
  if (engine->state_file == -ENOENT)
    return daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, NAME, &engine->state_file, file_bytes);
  if (engine->state_file < 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: cannot open: %s", engine->state_path,
                        strerror(-engine->state_file));
  int64_t size = engine->platform->file_bytes(engine->state_file);
  if (size < 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "%s: expected a readable file, found: %s",
                        engine->state_path, strerror((int)-size));
  *file_bytes = (uint64_t)size;
  return DAYPACK_OK;
}

daypack_code daypack_open_state(daypack_engine *engine) {
  uint64_t file_bytes = 0;
  daypack_code code = open_source(engine, &file_bytes);
  return code == DAYPACK_OK ? check_file(engine, file_bytes) : code;
}

daypack_code daypack_restore(daypack_engine *engine) {
  const daypack_plan *plan = &engine->plan;
  uint64_t offset = plan->header->state_header.count;
  for (uint64_t index = 0; index < plan->header->state.count; index++) {
    const daypack_plan_state *state = &plan->state[index];
    daypack_code code = daypack_read_exactly(engine, engine->state_file, engine->state_name,
                                             engine->arena + state->arena_offset_bytes, state->size_bytes, offset);
    if (code != DAYPACK_OK) return code;
    offset += state->size_bytes;
  }
  (void)engine->platform->close(engine->state_file);
  return DAYPACK_OK;
}

static int put(daypack_engine *engine, int file, const void *data, uint64_t size_bytes) {
  int result = daypack_write_all(engine->platform, file, data, size_bytes);
  if (result == 0) engine->written_bytes += size_bytes;
  return result;
}

static int write_file(daypack_engine *engine, int file) {
  const daypack_plan *plan = &engine->plan;
  int result = put(engine, file, plan->state_header, plan->header->state_header.count);
  for (uint64_t index = 0; result == 0 && index < plan->header->state.count; index++)
    result = put(engine, file, engine->arena + plan->state[index].arena_offset_bytes, plan->state[index].size_bytes);
  return result == 0 ? engine->platform->sync(file) : result;
}

static int commit(daypack_engine *engine, uint64_t step) {
  const daypack_platform *platform = engine->platform;
  int file = platform->open_write(engine->state_temporary);
  if (file < 0) return file;
  int result = write_file(engine, file);
  int closed = platform->close(file);
  if (result == 0) result = closed;
  if (result == 0) result = platform->rename(engine->state_temporary, engine->state_path);
  if (result < 0) {
    (void)platform->remove(engine->state_temporary);
    return result;
  }
  engine->saved_step = step;
  return platform->sync(engine->state_directory);
}

daypack_code daypack_save(daypack_engine *engine, uint64_t step) {
  int result = commit(engine, step);
  if (result < 0)
    return daypack_fail(&engine->error, DAYPACK_STOPPED,
                        "%s: cannot save the state of step %llu: %s; the state on disk is of step %llu", engine->state_path,
                        (unsigned long long)step, strerror(-result), (unsigned long long)engine->saved_step);
  return DAYPACK_OK;
}
