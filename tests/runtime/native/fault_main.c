/* The engine with a platform that fails on request. FAULT=NAME:N makes the Nth call of a platform function fail
 * (0: every call; N+: the Nth and all after it); COUNTS=1 writes how often each was called to standard error.
 * KIND says how reads and writes fail: error (the default), eio, end (0 bytes), one (1 byte), again (EINTR).
 * SLOW=N: each of them, and each sync, takes N microseconds. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daypack.h"

static const daypack_platform *real;
static const char *fault_kind;
static long slow_us;
static const char *fault_name;
static long fault_number;
static int fault_rest;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

typedef struct {
  const char *name;
  long calls;
} counter;

static counter counters[] = {
    {"has_feature", 0}, {"stop_requested", 0}, {"open_read", 0}, {"open_update", 0},
    {"open_directory", 0}, {"make_directory", 0}, {"lock", 0}, {"file_bytes", 0},
    {"read_at", 0}, {"will_read", 0}, {"write", 0}, {"sync", 0},
    {"close", 0}, {"rename", 0}, {"remove", 0}, {"map", 0},
    {"start_thread", 0}, {"peak_rss_bytes", 0}, {"open_direct", 0}, {"print", 0},
    {"reserve", 0}, {"will_sync", 0}, {"open_write_direct", 0}, {"exchange", 0},
};

static int fails(const char *name) {
  int result = 0;
  (void)pthread_mutex_lock(&mutex);
  for (size_t index = 0; index < sizeof counters / sizeof *counters; index++) {
    if (strcmp(counters[index].name, name) != 0) continue;
    long call = ++counters[index].calls;
    result = fault_name != NULL && strncmp(fault_name, name, strlen(name)) == 0 && fault_name[strlen(name)] == ':' &&
             (fault_number == 0 || call == fault_number || (fault_rest && call > fault_number));
  }
  (void)pthread_mutex_unlock(&mutex);
  return result;
}

static void be_slow(void) {
  if (slow_us > 0) (void)nanosleep(&(struct timespec){.tv_nsec = slow_us * 1000}, NULL);
}

/* What a read or a write that fails gives; 1: do one byte. */
static int64_t failure(int error) {
  if (fault_kind == NULL) return error;
  if (strcmp(fault_kind, "eio") == 0) return -EIO;
  if (strcmp(fault_kind, "end") == 0) return 0;
  if (strcmp(fault_kind, "again") == 0) return -EINTR;
  return strcmp(fault_kind, "one") == 0 ? 1 : error;
}

static bool has_feature(uint32_t feature) { return !fails("has_feature") && real->has_feature(feature); }
static bool stop_requested(void) { return fails("stop_requested") || real->stop_requested(); }
static uint64_t peak_rss_bytes(void) { return fails("peak_rss_bytes") ? 0 : real->peak_rss_bytes(); }
static int open_read(const char *path) { return fails("open_read") ? -EIO : real->open_read(path); }
static int open_plain(const char *path) { return fails("open_read") ? -EIO : real->open_plain(path); }
static int open_direct(const char *path) { return fails("open_direct") ? -EINVAL : real->open_direct(path); }
static int open_update(const char *path) { return fails("open_update") ? -EROFS : real->open_update(path); }
static int open_write_direct(const char *path) {
  return fails("open_write_direct") ? -EINVAL : real->open_write_direct(path);
}
static int reserve(int file, uint64_t size) { return fails("reserve") ? -ENOSPC : real->reserve(file, size); }
static int open_directory(const char *path) { return fails("open_directory") ? -EACCES : real->open_directory(path); }
static int make_directory(const char *path) { return fails("make_directory") ? -EROFS : real->make_directory(path); }
static int lock(int file) { return fails("lock") ? -EWOULDBLOCK : real->lock(file); }
static int64_t file_bytes(int file) { return fails("file_bytes") ? -EIO : real->file_bytes(file); }
static int64_t read_at(int file, void *data, size_t size, uint64_t offset) {
  be_slow();
  if (fails("read_at")) {
    int64_t result = failure(-EIO);
    return result == 1 ? real->read_at(file, data, 1, offset) : result;
  }
  return real->read_at(file, data, size > 7 ? size / 2 : size, offset); /* always partial */
}
static int will_read(int file, uint64_t size, uint64_t offset) {
  return fails("will_read") ? -EINVAL : real->will_read(file, size, offset);
}
static int64_t write_some(int file, const void *data, size_t size) {
  if (fails("print")) { /* standard output and error */
    int64_t result = failure(-ENOSPC);
    return result == 1 ? real->write(file, data, 1) : result;
  }
  return real->write(file, data, size > 4096 ? 4096 : size);
}
static int64_t write_at(int file, const void *data, size_t size, uint64_t offset) {
  be_slow();
  if (fails("write")) {
    int64_t result = failure(-ENOSPC);
    return result == 1 ? real->write_at(file, data, 1, offset) : result;
  }
  return real->write_at(file, data, size > 4096 ? 4096 : size, offset); /* partial; whole pages where it must */
}
static int will_sync(int file, uint64_t size, uint64_t offset) {
  return fails("will_sync") ? -EINVAL : real->will_sync(file, size, offset);
}
static int sync_file(int file) {
  be_slow();
  return fails("sync") ? -EIO : real->sync(file);
}
static int close_file(int file) {
  int result = real->close(file);
  return fails("close") ? -EIO : result;
}
static int rename_file(const char *from, const char *to) { return fails("rename") ? -EACCES : real->rename(from, to); }
static int exchange(const char *one, const char *other) {
  return fails("exchange") ? -EINVAL : real->exchange(one, other);
}
static int remove_file(const char *path) { return fails("remove") ? -EACCES : real->remove(path); }
static void *map(size_t size) { return fails("map") ? NULL : real->map(size); }
static int start_thread(void *(*run)(void *), void *context, size_t stack) {
  return fails("start_thread") ? -EAGAIN : real->start_thread(run, context, stack);
}

int main(int argument_count, char **arguments) {
  real = daypack_platform_posix();
  fault_name = getenv("FAULT");
  fault_kind = getenv("KIND");
  if (getenv("SLOW") != NULL) slow_us = strtol(getenv("SLOW"), NULL, 10);
  if (fault_name != NULL) {
    const char *number = strchr(fault_name, ':');
    if (number == NULL) return 99;
    char *end = NULL;
    fault_number = strtol(number + 1, &end, 10);
    fault_rest = *end == '+';
  }
  static daypack_platform platform; /* threads that wait outlive main */
  platform = *real;
  platform.has_feature = has_feature;
  platform.stop_requested = stop_requested;
  platform.peak_rss_bytes = peak_rss_bytes;
  platform.open_read = open_read;
  platform.open_plain = open_plain;
  platform.open_direct = open_direct;
  platform.open_update = open_update;
  platform.open_write_direct = open_write_direct;
  platform.reserve = reserve;
  platform.write_at = write_at;
  platform.will_sync = will_sync;
  platform.open_directory = open_directory;
  platform.make_directory = make_directory;
  platform.lock = lock;
  platform.file_bytes = file_bytes;
  platform.read_at = read_at;
  platform.will_read = will_read;
  platform.write = write_some;
  platform.sync = sync_file;
  platform.close = close_file;
  platform.rename = rename_file;
  platform.exchange = exchange;
  platform.remove = remove_file;
  platform.map = map;
  platform.start_thread = start_thread;
  int status = daypack_engine_main(argument_count, arguments, &platform);
  if (getenv("COUNTS") != NULL)
    for (size_t index = 0; index < sizeof counters / sizeof *counters; index++)
      (void)fprintf(stderr, "count %s %ld\n", counters[index].name, counters[index].calls);
  return status;
}
