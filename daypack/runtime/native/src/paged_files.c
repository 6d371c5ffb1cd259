/* The files that instructions read and write, through the system's cache or, with --direct, past it.
 *
 * --direct is for measurements of cold storage. It goes through the buffer that the bundle was checked with, so it
 * takes no more memory, and it fetches whole pages, which the count of bytes read includes. A block of the hash tree of
 * which a part is wanted is read through the cache, once. Of what is written, whole
 * pages go past the cache and the ends of a range that share a page with others do not. */
#include <errno.h>
#include <string.h>

#include "internal.h"

static const char NAME[] = "weights.bin";

/* The last page of a file is short, so a whole number of pages is asked for and fewer may come. */
static int64_t read_pages(const daypack_platform *platform, int file, uint64_t size_bytes, uint64_t offset_bytes) {
  uint64_t wanted = size_bytes + (DAYPACK_PAGE_BYTES - size_bytes % DAYPACK_PAGE_BYTES) % DAYPACK_PAGE_BYTES;
  int64_t count;
  do {
    count = platform->read_at(file, daypack_io_buffer, (size_t)wanted, offset_bytes);
  } while (count == -EINTR);
  return count;
}

/* A file system may refuse to open, or only to read. */
daypack_code daypack_open_direct(daypack_engine *engine, daypack_paged_file *file, const char *path,
                                 int (*open)(const char *path)) {
  if (!engine->options.direct) return DAYPACK_OK;
  int64_t result = file->direct = open(path);
  if (result >= 0) result = read_pages(engine->platform, file->direct, 1, 0);
  if (result < 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "--direct: expected a file system that reads past its cache, found: %s: %s; leave out --direct "
                        "or copy the bundle elsewhere",
                        path, strerror((int)-result));
  return DAYPACK_OK;
}

void daypack_close_file(const daypack_platform *platform, daypack_paged_file *file) {
  if (file->file >= 0) (void)platform->close(file->file);
  if (file->direct >= 0) (void)platform->close(file->direct);
  file->file = file->direct = -1;
}

daypack_code daypack_open_weights(daypack_engine *engine) {
  char path[DAYPACK_PATH_BYTES];
  daypack_paged_file *weights = &engine->files[DAYPACK_FILE_WEIGHTS];
  weights->name = NAME;
  weights->tree = engine->weights_tree.file_bytes > 0 ? &engine->weights_tree : NULL;
  daypack_code code = daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, NAME, &weights->file,
                                   &engine->weights_bytes);
  if (code == DAYPACK_OK) code = daypack_join(&engine->error, path, engine->options.bundle, "/", NAME);
  return code == DAYPACK_OK ? daypack_open_direct(engine, weights, path, engine->platform->open_direct) : code;
}

static void advance(daypack_range *rest, uint64_t size_bytes) {
  rest->data += size_bytes;
  rest->offset_bytes += size_bytes;
  rest->size_bytes -= size_bytes;
}

static int64_t read_direct(const daypack_platform *platform, int file, daypack_range *rest, uint64_t *read_bytes) {
  while (rest->size_bytes > 0) {
    uint64_t before = rest->offset_bytes % DAYPACK_PAGE_BYTES;
    uint64_t room = DAYPACK_IO_BYTES - before;
    uint64_t size = rest->size_bytes < room ? rest->size_bytes : room;
    daypack_take_buffer();
    int64_t count = read_pages(platform, file, before + size, rest->offset_bytes - before);
    if (count >= 0 && (uint64_t)count < before + size) size = (uint64_t)count > before ? (uint64_t)count - before : 0;
    if (count >= 0) memcpy(rest->data, daypack_io_buffer + before, (size_t)size);
    daypack_return_buffer();
    if (count < 0) return count;
    if (size == 0) return 0;
    *read_bytes += (uint64_t)count;
    advance(rest, size);
  }
  return 1;
}

int64_t daypack_read_unchecked(const daypack_platform *platform, const daypack_paged_file *file, daypack_range *rest,
                               uint64_t *count) {
  return file->direct >= 0 ? read_direct(platform, file->direct, rest, count)
                           : daypack_read_range(platform, file->file, rest, count);
}

/* As many bytes of the front of `rest`. */
static int64_t read_front(const daypack_platform *platform, const daypack_paged_file *file, daypack_range *rest,
                          uint64_t size_bytes, uint64_t *count) {
  daypack_range front = {rest->data, size_bytes, rest->offset_bytes};
  int64_t result = daypack_read_unchecked(platform, file, &front, count);
  advance(rest, size_bytes - front.size_bytes);
  return result;
}

int64_t daypack_read_paged(const daypack_platform *platform, const daypack_paged_file *file, daypack_range *rest,
                           uint64_t *count) {
  if (file->tree == NULL) return daypack_read_unchecked(platform, file, rest, count);
  if (!daypack_fits(rest->offset_bytes, rest->size_bytes, file->tree->file_bytes)) return 0;
  int64_t result = 1;
  while (result == 1 && rest->size_bytes > 0) {
    uint64_t size = daypack_checked_bytes(file->tree, rest);
    result = size > 0 ? read_front(platform, file, rest, size, count) : daypack_read_block(platform, file, rest, count);
  }
  return result;
}

/* The whole pages at the front of `rest`, as far as the buffer goes. */
static int64_t write_pages(const daypack_platform *platform, int file, daypack_range *rest, uint64_t *count) {
  uint64_t size = rest->size_bytes < DAYPACK_IO_BYTES ? rest->size_bytes : DAYPACK_IO_BYTES;
  size -= size % DAYPACK_PAGE_BYTES;
  daypack_take_buffer();
  memcpy(daypack_io_buffer, rest->data, (size_t)size);
  daypack_range pages = {daypack_io_buffer, size, rest->offset_bytes};
  int64_t result = daypack_write_range(platform, file, &pages, count);
  daypack_return_buffer();
  if (result == 1) advance(rest, size);
  return result;
}

int64_t daypack_write_paged(const daypack_platform *platform, const daypack_paged_file *file, daypack_range *rest,
                            uint64_t *count) {
  int64_t result = 1;
  while (result == 1 && file->direct >= 0 && rest->size_bytes > 0) {
    uint64_t to_page = (DAYPACK_PAGE_BYTES - rest->offset_bytes % DAYPACK_PAGE_BYTES) % DAYPACK_PAGE_BYTES;
    if (to_page == 0 && rest->size_bytes >= DAYPACK_PAGE_BYTES) {
      result = write_pages(platform, file->direct, rest, count);
      continue;
    }
    uint64_t size = to_page > 0 && to_page < rest->size_bytes ? to_page : rest->size_bytes;
    daypack_range end = {rest->data, size, rest->offset_bytes};
    result = daypack_write_range(platform, file->file, &end, count);
    if (result == 1) advance(rest, size);
  }
  return result == 1 ? daypack_write_range(platform, file->file, rest, count) : result;
}

daypack_code daypack_read_now(daypack_engine *engine, uint32_t file, void *data, uint64_t size_bytes,
                              uint64_t offset_bytes) {
  daypack_range rest = {data, size_bytes, offset_bytes};
  const daypack_paged_file *from = &engine->files[file];
  uint64_t before = engine->read_bytes;
  int64_t result = daypack_read_paged(engine->platform, from, &rest, &engine->read_bytes);
  if (file == DAYPACK_FILE_WEIGHTS) engine->weights_read_bytes += engine->read_bytes - before;
  return result == 1 ? DAYPACK_OK : daypack_fail_read(&engine->error, engine->underway, from->name, &rest, result);
}
