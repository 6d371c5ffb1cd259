#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FILES = 16, MOST_MAPS = 16, SINK = 1000, STANDARD_OUTPUT = 1 };
static const size_t MOST_BYTES = 32u << 20;
static const uint64_t MOST_POLLS = 3000; /* of a stop: bounds what one input may cost */

static struct {
  const char *name;
  const uint8_t *data;
  size_t size;
} files[MOST_FILES];
static size_t file_count;
static void *maps[MOST_MAPS];
static size_t map_count;
static uint64_t polls;
static unsigned long accepted;
static struct {
  const uint8_t *next;
  size_t left, piece;
  void (*woken)(void);
} input;
static unsigned long told_lines, stops;

static uint64_t now_ns(void) { return polls; }
static uint32_t cpu_count(void) { return 1; }
static bool has_feature(uint32_t feature) { return feature % 2 == 0; }
static bool stop_requested(void) { return ++polls > MOST_POLLS; }
static uint64_t no_bytes(void) { return 0; }

static int open_read(const char *path) {
  const char *slash = strrchr(path, '/');
  const char *name = slash == NULL ? path : slash + 1;
  for (size_t index = 0; index < file_count; index++)
    if (strcmp(files[index].name, name) == 0) return (int)index;
  return -ENOENT;
}

static int open_nothing(const char *path) { return path[0] == '\0' ? -ENOENT : -EINVAL; }
static int open_sink(const char *path) { return path[0] == '\0' ? -ENOENT : SINK; }
static int done(const char *path) { return path[0] == '\0' ? -ENOENT : 0; }
static int done_file(int file) { return file < 0 ? -EBADF : 0; }
static int done_names(const char *from, const char *to) { return from[0] == '\0' || to[0] == '\0' ? -ENOENT : 0; }
static int no_names(const char *from, const char *to) { return from[0] == '\0' || to[0] == '\0' ? -ENOENT : -EINVAL; }
static int done_range(int file, uint64_t size, uint64_t offset) { return file < 0 || size + offset < size ? -EINVAL : 0; }
static int reserve(int file, uint64_t size) { return file < 0 || size > INT64_MAX ? -ENOSPC : 0; }

static int64_t file_bytes(int file) {
  return file >= 0 && (size_t)file < file_count ? (int64_t)files[file].size : -EBADF;
}

static int64_t read_at(int file, void *data, size_t size, uint64_t offset) {
  if (file < 0 || (size_t)file >= file_count) return -EBADF;
  size_t left = offset < files[file].size ? files[file].size - (size_t)offset : 0;
  size_t count = size < left ? size : left;
  if (count > 0) memcpy(data, files[file].data + offset, count);
  return (int64_t)count;
}

/* Reads what is written, so that bytes from outside are noticed. */
static int64_t written(const void *data, size_t size) {
  const volatile uint8_t *bytes = data;
  for (size_t index = 0; index < size; index++) (void)bytes[index];
  return (int64_t)size;
}

/* Nothing that is told has a control character but at its end. */
static int64_t told(const uint8_t *text, size_t size) {
  for (size_t index = 0; index < size; index++) {
    if (text[index] < 0x20 && (text[index] != '\n' || index + 1 < size)) abort();
    told_lines += text[index] == '\n';
  }
  return (int64_t)size;
}
static int64_t write_some(int file, const void *data, size_t size) {
  return file < 0 ? -EBADF : file == STANDARD_OUTPUT ? told(data, size) : written(data, size);
}
static int64_t write_at(int file, const void *data, size_t size, uint64_t offset) {
  return file < 0 || offset > INT64_MAX ? -EBADF : written(data, size);
}

static void *map(size_t size) {
  if (size > MOST_BYTES || map_count == MOST_MAPS) return NULL;
  return maps[map_count++] = calloc(1, size);
}

static void release(void *memory, size_t size) { memset(memory, 0, size); }

/* Where there is standard input, its reader runs to the end of it at once; there are no other threads. */
static int start_thread(void *(*run)(void *), void *context, size_t stack) {
  if (input.woken == NULL || stack == 0) return -EAGAIN;
  (void)run(context);
  return 0;
}

static int64_t read_input(void *data, size_t size) {
  size_t count = input.left < input.piece ? input.left : input.piece;
  if (count > size) count = size;
  memcpy(data, input.next, count);
  input.next += count;
  input.left -= count;
  return (int64_t)count;
}

static void wake(void) { input.woken(); }
static void request_stop(void) { stops++; }
static uint64_t wall_ns(void) { return UINT64_C(1700000000000000000) + polls; }
static void sleep_ns(uint64_t time_ns) { polls += time_ns > 0; }
static int place(const daypack_placement *where) { return where == NULL ? -EINVAL : 0; }
static int list(const char *directory, void (*each)(void *context, const char *name), void *context) {
  return directory == NULL || each == NULL || context == NULL ? -EINVAL : -ENOENT;
}

static const daypack_platform platform = {
    .boot_ns = now_ns,
    .wall_ns = wall_ns,
    .sleep_ns = sleep_ns,
    .wake = wake,
    .request_stop = request_stop,
    .place = place,
    .read_input = read_input,
    .list = list,
    .now_ns = now_ns,
    .cpu_count = cpu_count,
    .has_feature = has_feature,
    .stop_requested = stop_requested,
    .peak_rss_bytes = no_bytes,
    .rss_bytes = no_bytes,
    .open_read = open_read,
    .open_plain = open_read,
    .open_direct = open_nothing,
    .open_update = open_sink,
    .open_write_direct = open_nothing,
    .open_directory = open_sink,
    .make_directory = done,
    .lock = done_file,
    .file_bytes = file_bytes,
    .read_at = read_at,
    .will_read = done_range,
    .reserve = reserve,
    .write = write_some,
    .write_at = write_at,
    .will_sync = done_range,
    .sync = done_file,
    .close = done_file,
    .rename = done_names,
    .exchange = no_names,
    .remove = done,
    .map = map,
    .release = release,
    .start_thread = start_thread,
};

daypack_engine *fuzz_begin(void) {
  static daypack_engine engine;
  static char bundle[] = "bundle";
  memset(&engine, 0, sizeof engine);
  engine.platform = &platform;
  engine.options.bundle = bundle;
  engine.options.state = "state";
  engine.options.sensors = "";
  engine.listed_plans = 1;
  engine.governor = daypack_new_governor();
  for (size_t index = 0; index < DAYPACK_FILE_COUNT; index++) engine.files[index].file = engine.files[index].direct = -1;
  file_count = 0;
  polls = 0;
  memset(&input, 0, sizeof input);
  told_lines = stops = 0;
  if (daypack_enter_sandbox(&engine) != DAYPACK_OK) abort();
  return &engine;
}

void fuzz_file(const char *name, const void *data, size_t size) {
  if (file_count == MOST_FILES) abort();
  files[file_count].name = name;
  files[file_count].data = data;
  files[file_count++].size = size;
}

void fuzz_input(const void *data, size_t size, size_t piece, void (*woken)(void)) {
  input.next = data;
  input.left = size;
  input.piece = piece;
  input.woken = woken;
}

unsigned long fuzz_told(void) { return told_lines; }
unsigned long fuzz_stops(void) { return stops; }

void fuzz_accept(void) { accepted++; }
unsigned long fuzz_accepted(void) { return accepted; }

void fuzz_end(void) {
  while (map_count > 0) free(maps[--map_count]);
}
