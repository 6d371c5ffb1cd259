/* This machine: Linux on a host, under an emulator, on a phone. With sandbox_linux.c the only file that makes
 * system calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"
#include "sandbox_linux.h"

static _Atomic(bool) stop;
static int wakened = -1; /* an eventfd: what is written to it ends a sleep */
static cpu_set_t allowed_at_start;

/* A signal handler calls it too. */
static void wake(void) {
  const uint64_t one = 1;
  ssize_t done = wakened < 0 ? 0 : write(wakened, &one, sizeof one);
  (void)done; /* full: it is awake already */
}

static void request_stop(void) {
  atomic_store(&stop, true);
  wake();
}

static void on_signal(int signal_number) {
  (void)signal_number;
  int before = errno;
  request_stop();
  errno = before;
}

static bool stop_requested(void) { return atomic_load_explicit(&stop, memory_order_relaxed); }

static uint64_t clock_ns(clockid_t clock) {
  struct timespec time = {0, 0};
  (void)clock_gettime(clock, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
static uint64_t boot_ns(void) { return clock_ns(CLOCK_BOOTTIME); }
static uint64_t wall_ns(void) { return clock_ns(CLOCK_REALTIME); }

/* Rounded up to milliseconds. */
static void sleep_ns(uint64_t time_ns) {
  struct pollfd awaited = {wakened, POLLIN, 0};
  const uint64_t most_ms = 3600000;
  uint64_t time_ms = time_ns / 1000000 + (time_ns % 1000000 != 0);
  int found = poll(&awaited, 1, (int)(time_ms < most_ms ? time_ms : most_ms));
  uint64_t times;
  if (found > 0 && read(wakened, &times, sizeof times) < 0) return; /* another one took it */
}

static uint32_t cpu_count(void) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  return (uint32_t)CPU_COUNT(&allowed);
}

/* VmHWM of /proc/self/status, in kB there; 0 when the system does not tell. */
static uint64_t peak_rss_bytes(void) {
  char text[4096];
  int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t size = read(file, text, sizeof text - 1);
  (void)close(file);
  text[size < 0 ? 0 : size] = '\0';
  const char *found = strstr(text, "VmHWM:");
  unsigned long long kilobytes = 0;
  if (found == NULL || sscanf(found, "VmHWM: %llu", &kilobytes) != 1) return 0;
  return kilobytes * 1024;
}

/* The second number of /proc/self/statm, in pages; 0 when the system does not tell. */
static uint64_t rss_bytes(void) {
  char text[256];
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t size = read(file, text, sizeof text - 1);
  (void)close(file);
  text[size < 0 ? 0 : size] = '\0';
  unsigned long long pages = 0;
  return sscanf(text, "%*u %llu", &pages) == 1 ? pages * (unsigned long long)sysconf(_SC_PAGESIZE) : 0;
}

static int result_of(int result) { return result < 0 ? -errno : result; }

static int open_read(const char *path) { return result_of(open(path, O_RDONLY | O_CLOEXEC)); }

/* Without O_NONBLOCK the opening of a pipe would wait for its other end. */
static int open_plain(const char *path) {
  return result_of(open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
}

static int open_direct(const char *path) { return result_of(open(path, O_RDONLY | O_DIRECT | O_CLOEXEC)); }

static int open_update(const char *path) {
  return result_of(open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
}

static int open_write_direct(const char *path) {
  return result_of(open(path, O_RDWR | O_DIRECT | O_CLOEXEC | O_NOFOLLOW));
}

static int open_directory(const char *path) { return result_of(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }

static int make_directory(const char *path) {
  int result = result_of(mkdir(path, 0700));
  return result == -EEXIST ? 0 : result;
}

static int lock(int file) { return result_of(flock(file, LOCK_EX | LOCK_NB)); }

static int64_t file_bytes(int file) {
  struct stat status;
  if (fstat(file, &status) != 0) return -errno;
  return S_ISREG(status.st_mode) ? (int64_t)status.st_size : S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
}

static int64_t read_at(int file, void *data, size_t size_bytes, uint64_t offset_bytes) {
  ssize_t count = pread(file, data, size_bytes, (off_t)offset_bytes);
  return count < 0 ? -errno : count;
}

/* The kernel fetches at most its read-ahead window for one call (128 KB unless set), so each piece is one call. */
static int will_read(int file, uint64_t size_bytes, uint64_t offset_bytes) {
  const uint64_t piece_bytes = 128 * 1024;
  for (uint64_t done = 0; done < size_bytes; done += piece_bytes) {
    uint64_t size = size_bytes - done < piece_bytes ? size_bytes - done : piece_bytes;
    int result = posix_fadvise(file, (off_t)(offset_bytes + done), (off_t)size, POSIX_FADV_WILLNEED);
    if (result != 0) return -result;
  }
  return 0;
}

static int64_t write_some(int file, const void *data, size_t size_bytes) {
  ssize_t count = write(file, data, size_bytes);
  return count < 0 ? -errno : count;
}

/* File systems that cannot reserve fail later, at the write that finds the disk full. */
static int reserve(int file, uint64_t size_bytes) {
  int result;
  do {
    result = size_bytes == 0 ? 0 : posix_fallocate(file, 0, (off_t)size_bytes);
  } while (result == EINTR);
  if (result != 0 && result != EOPNOTSUPP && result != EINVAL && result != ENOSYS && result != ENODEV) return -result;
  return result_of(ftruncate(file, (off_t)size_bytes));
}

static int64_t write_at(int file, const void *data, size_t size_bytes, uint64_t offset_bytes) {
  ssize_t count = pwrite(file, data, size_bytes, (off_t)offset_bytes);
  return count < 0 ? -errno : count;
}

static int will_sync(int file, uint64_t size_bytes, uint64_t offset_bytes) {
  return result_of(sync_file_range(file, (off_t)offset_bytes, (off_t)size_bytes, SYNC_FILE_RANGE_WRITE));
}

/* Some file systems cannot sync a directory and say EINVAL; the rename is then as durable as it gets. */
static int sync_file(int file) {
  int result = result_of(fsync(file));
  return result == -EINVAL ? 0 : result;
}

static int close_file(int file) { return result_of(close(file)); }
static int rename_file(const char *from, const char *to) { return result_of(rename(from, to)); }
static int exchange(const char *one, const char *other) {
  const unsigned swap_names = 2; /* RENAME_EXCHANGE */
  return result_of((int)syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, swap_names));
}
static int remove_file(const char *path) { return result_of(unlink(path)); }

static void *map(size_t size_bytes) {
  void *memory = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

static void release(void *memory, size_t size_bytes) { (void)madvise(memory, size_bytes, MADV_DONTNEED); }

static int start_thread(void *(*run)(void *), void *context, size_t stack_bytes) {
  pthread_t thread;
  pthread_attr_t attributes;
  int result = pthread_attr_init(&attributes);
  if (result == 0) result = pthread_attr_setstacksize(&attributes, stack_bytes);
  if (result == 0) result = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (result == 0) result = pthread_create(&thread, &attributes, run, context);
  return -result;
}

/* A sanitizer opens files, maps memory and starts threads of its own, at any time. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED 0
#endif

/* Of the calling thread: its processors, and how much of them the kernel's governor should think it uses. Lowering
 * one's own clamp needs no privilege where the kernel has it (Documentation/scheduler/sched-util-clamp.rst). */
static int place(const daypack_placement *wanted) {
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
  } attributes = {.size = 56, .flags = 0x08 | 0x10 | 0x40, .util_max = wanted->clamp}; /* keep all but util_max */
  cpu_set_t cpus = allowed_at_start;
  if (wanted->cpus != 0) {
    CPU_ZERO(&cpus);
    for (size_t cpu = 0; cpu < 64; cpu++)
      if ((wanted->cpus >> cpu & 1) != 0 && CPU_ISSET(cpu, &allowed_at_start)) CPU_SET(cpu, &cpus);
    if (CPU_COUNT(&cpus) == 0) cpus = allowed_at_start;
  }
  (void)sched_setaffinity(0, sizeof cpus, &cpus);
  return result_of((int)syscall(SYS_sched_setattr, 0, &attributes, 0));
}

static int64_t read_input(void *data, size_t size_bytes) {
  ssize_t count;
  do {
    count = read(STDIN_FILENO, data, size_bytes);
  } while (count < 0 && errno == EINTR);
  return count < 0 ? -errno : count;
}

static int list(const char *path, void (*each)(void *context, const char *name), void *context) {
  union {
    char bytes[2048];
    struct dirent aligned;
  } buffer;
  int directory = open_directory(path);
  if (directory < 0) return directory;
  long size;
  while ((size = syscall(SYS_getdents64, directory, buffer.bytes, sizeof buffer.bytes)) > 0)
    for (long offset = 0; offset < size;) {
      const struct dirent *entry = (const void *)(buffer.bytes + offset);
      if (entry->d_name[0] != '.') each(context, entry->d_name);
      offset += entry->d_reclen;
    }
  int result = size < 0 ? -errno : 0;
  (void)close(directory);
  return result;
}

static const daypack_platform platform = {
    .now_ns = now_ns,
    .boot_ns = boot_ns,
    .wall_ns = wall_ns,
    .sleep_ns = sleep_ns,
    .wake = wake,
    .cpu_count = cpu_count,
    .has_feature = daypack_cpu_has_feature,
    .stop_requested = stop_requested,
    .request_stop = request_stop,
    .peak_rss_bytes = peak_rss_bytes,
    .rss_bytes = rss_bytes,
    .open_read = open_read,
    .open_plain = open_plain,
    .open_direct = open_direct,
    .open_update = open_update,
    .open_write_direct = open_write_direct,
    .open_directory = open_directory,
    .make_directory = make_directory,
    .lock = lock,
    .file_bytes = file_bytes,
    .read_at = read_at,
    .will_read = will_read,
    .reserve = reserve,
    .write = write_some,
    .write_at = write_at,
    .will_sync = will_sync,
    .sync = sync_file,
    .close = close_file,
    .rename = rename_file,
    .exchange = exchange,
    .remove = remove_file,
    .map = map,
    .release = release,
    .confine = SANITIZED ? NULL : daypack_confine,
    .start_thread = start_thread,
    .place = place,
    .read_input = read_input,
    .list = list,
};

const daypack_platform *daypack_platform_posix(void) {
  wakened = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (sched_getaffinity(0, sizeof allowed_at_start, &allowed_at_start) != 0)
    memset(&allowed_at_start, 0xff, sizeof allowed_at_start);
  struct sigaction action = {.sa_handler = on_signal};
  (void)sigaction(SIGINT, &action, NULL);
  (void)sigaction(SIGTERM, &action, NULL);
  /* A closed pipe and a file size limit are then errors of write, with their messages. */
  action.sa_handler = SIG_IGN;
  (void)sigaction(SIGPIPE, &action, NULL);
  (void)sigaction(SIGXFSZ, &action, NULL);
  return &platform;
}
