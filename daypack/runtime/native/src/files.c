/* Paths, and whole reads and writes over the platform's partial ones. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

_Alignas(DAYPACK_PAGE_BYTES) uint8_t daypack_io_buffer[DAYPACK_IO_BYTES];
static pthread_mutex_t buffer_mutex = PTHREAD_MUTEX_INITIALIZER;

void daypack_take_buffer(void) { (void)pthread_mutex_lock(&buffer_mutex); }
void daypack_return_buffer(void) { (void)pthread_mutex_unlock(&buffer_mutex); }

daypack_code daypack_join(daypack_error *error, char path[DAYPACK_PATH_BYTES], const char *first,
                          const char *between, const char *second) {
  int length = snprintf(path, DAYPACK_PATH_BYTES, "%s%s%s", first, between, second);
  if (length < 0 || length >= DAYPACK_PATH_BYTES)
    return daypack_fail(error, DAYPACK_BAD_INPUT, "path too long: expected less than %d bytes, found %d: %.64s...",
                        DAYPACK_PATH_BYTES, length, first);
  return DAYPACK_OK;
}

daypack_code daypack_open(daypack_engine *engine, daypack_code code, const char *directory, const char *name,
                          int *file, uint64_t *size_bytes) {
  char path[DAYPACK_PATH_BYTES];
  const daypack_platform *platform = engine->platform;
  daypack_code joined = directory == NULL ? daypack_join(&engine->error, path, name, "", "")
                                          : daypack_join(&engine->error, path, directory, "/", name);
  if (joined != DAYPACK_OK) return joined;
  *file = directory == NULL ? platform->open_read(path) : platform->open_plain(path);
  return daypack_check_opened(engine, code, path, *file, size_bytes);
}

daypack_code daypack_check_opened(daypack_engine *engine, daypack_code code, const char *path, int file,
                                  uint64_t *size_bytes) {
  if (file == -ELOOP)
    return daypack_fail(&engine->error, code,
                        "%s: expected a file, found a link; copy the bundle with what its links point to", path);
  if (file < 0) return daypack_fail(&engine->error, code, "%s: cannot open: %s", path, strerror(-file));
  int64_t size = engine->platform->file_bytes(file);
  if (size < 0) {
    (void)engine->platform->close(file);
    return daypack_fail(&engine->error, code, "%s: expected a readable file, found: %s", path, strerror((int)-size));
  }
  *size_bytes = (uint64_t)size;
  return DAYPACK_OK;
}

daypack_code daypack_fail_read(daypack_error *error, bool underway, const char *name, const daypack_range *rest,
                               int64_t result) {
  if (result == DAYPACK_ALTERED)
    return daypack_fail(error, DAYPACK_BAD_BUNDLE,
                        "%s: block %llu, which begins at byte %llu: expected its SHA-256 in blocks.bin, found another; "
                        "copy the bundle again",
                        name, (unsigned long long)(rest->offset_bytes / DAYPACK_BLOCK_BYTES),
                        (unsigned long long)(rest->offset_bytes / DAYPACK_BLOCK_BYTES * DAYPACK_BLOCK_BYTES));
  return daypack_fail(error, underway ? DAYPACK_STOPPED : DAYPACK_BAD_BUNDLE, "%s: cannot read %llu bytes at %llu: %s",
                      name, (unsigned long long)rest->size_bytes, (unsigned long long)rest->offset_bytes,
                      result < 0 ? strerror((int)-result) : "the file ends there");
}

static void advance(daypack_range *rest, int64_t done, uint64_t *count) {
  rest->data += done;
  rest->offset_bytes += (uint64_t)done;
  rest->size_bytes -= (uint64_t)done;
  *count += (uint64_t)done;
}

int64_t daypack_read_range(const daypack_platform *platform, int file, daypack_range *rest, uint64_t *count) {
  while (rest->size_bytes > 0) {
    int64_t done = platform->read_at(file, rest->data, (size_t)rest->size_bytes, rest->offset_bytes);
    if (done == -EINTR) continue;
    if (done <= 0) return done;
    advance(rest, done, count);
  }
  return 1;
}

int64_t daypack_write_range(const daypack_platform *platform, int file, daypack_range *rest, uint64_t *count) {
  while (rest->size_bytes > 0) {
    int64_t done = platform->write_at(file, rest->data, (size_t)rest->size_bytes, rest->offset_bytes);
    if (done == -EINTR) continue;
    if (done <= 0) return done;
    advance(rest, done, count);
  }
  return 1;
}

daypack_code daypack_read_exactly(daypack_engine *engine, int file, const char *name, void *data,
                                  uint64_t size_bytes, uint64_t offset_bytes) {
  daypack_range rest = {data, size_bytes, offset_bytes};
  int64_t result = daypack_read_range(engine->platform, file, &rest, &engine->read_bytes);
  return result == 1 ? DAYPACK_OK : daypack_fail_read(&engine->error, engine->underway, name, &rest, result);
}

int daypack_write_all(const daypack_platform *platform, int file, const void *data, uint64_t size_bytes) {
  const uint8_t *next = data;
  while (size_bytes > 0) {
    int64_t count = platform->write(file, next, (size_t)size_bytes);
    if (count == -EINTR) continue;
    if (count <= 0) return count < 0 ? (int)count : -ENOSPC;
    next += count;
    size_bytes -= (uint64_t)count;
  }
  return 0;
}
