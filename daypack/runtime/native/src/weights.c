/* weights.bin: read straight to where its bytes belong, or with --direct in whole pages past the system's cache.
 *
 * --direct is for measurements of cold storage. It goes through the buffer that the bundle was checked with, so it
 * takes no more memory, and it fetches whole pages, which the count of bytes read includes. */
#include <errno.h>
#include <string.h>

#include "internal.h"

static const char NAME[] = "weights.bin";

/* The last page of a file is short, so a whole number of pages is asked for and fewer may come. */
static int64_t read_pages(daypack_engine *engine, uint64_t size_bytes, uint64_t offset_bytes) {
  uint64_t wanted = size_bytes + (DAYPACK_PAGE_BYTES - size_bytes % DAYPACK_PAGE_BYTES) % DAYPACK_PAGE_BYTES;
  int64_t count;
  do {
    count = engine->platform->read_at(engine->weights_file, daypack_io_buffer, (size_t)wanted, offset_bytes);
  } while (count == -EINTR);
  return count;
}

/* A file system may refuse to open, or only to read. */
static daypack_code reopen(daypack_engine *engine) {
  char path[DAYPACK_PATH_BYTES];
  daypack_code code = daypack_join(&engine->error, path, engine->options.bundle, "/", NAME);
  if (code != DAYPACK_OK) return code;
  (void)engine->platform->close(engine->weights_file);
  int64_t result = engine->weights_file = engine->platform->open_direct(path);
  if (result >= 0 && engine->weights_bytes > 0) result = read_pages(engine, 1, 0);
  if (result < 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "--direct: expected a file system that reads past its cache, found: %s: %s; leave out --direct "
                        "or copy the bundle elsewhere",
                        path, strerror((int)-result));
  return DAYPACK_OK;
}

daypack_code daypack_open_weights(daypack_engine *engine) {
  daypack_code code = daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, NAME, &engine->weights_file,
                                   &engine->weights_bytes);
  return code == DAYPACK_OK && engine->options.direct ? reopen(engine) : code;
}

static daypack_code read_direct(daypack_engine *engine, uint8_t *next, uint64_t size_bytes, uint64_t offset_bytes) {
  while (size_bytes > 0) {
    uint64_t before = offset_bytes % DAYPACK_PAGE_BYTES;
    uint64_t room = DAYPACK_IO_BYTES - before;
    uint64_t size = size_bytes < room ? size_bytes : room;
    int64_t count = read_pages(engine, before + size, offset_bytes - before);
    if (count < 0 || (uint64_t)count <= before)
      return daypack_fail_read(engine, NAME, size_bytes, offset_bytes, count);
    if ((uint64_t)count - before < size) size = (uint64_t)count - before;
    memcpy(next, daypack_io_buffer + before, (size_t)size);
    engine->read_bytes += (uint64_t)count;
    next += size;
    offset_bytes += size;
    size_bytes -= size;
  }
  return DAYPACK_OK;
}

daypack_code daypack_read_weights(daypack_engine *engine, void *data, uint64_t size_bytes, uint64_t offset_bytes) {
  if (engine->options.direct) return read_direct(engine, data, size_bytes, offset_bytes);
  return daypack_read_exactly(engine, engine->weights_file, NAME, data, size_bytes, offset_bytes);
}
