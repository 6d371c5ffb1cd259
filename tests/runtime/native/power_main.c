/* The engine on a disk that loses what was not synced. The state directory is a model in memory: what files hold and
 * what names mean, now and after a loss of power. POWER=N:SEED loses it before the Nth call that changes the disk
 * (0: at the end of the run), leaves in the real directory what survives and exits with 99.
 *
 * SEED 0: nothing survives that was not synced. Otherwise each unsynced page of 4,096 bytes does or does not, as chance
 * has it, new sizes too, and of the changes of names since the directory was synced the first few. COUNTS=1 writes the
 * number of calls to standard error. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daypack.h"

enum { NAMES = 3, MOST_FILES = 4096, MOST_CHANGES = 64, PAGE = 4096, FIRST_HANDLE = 1 << 20, LOST = 99 };
enum { DIRECTORY_HANDLE = FIRST_HANDLE - 1, PARENT_HANDLE = FIRST_HANDLE - 2 };

static const char *const NAME[NAMES] = {"state.safetensors", "state.safetensors.tmp", "swap.tmp"};

typedef struct {
  unsigned char *now;
  unsigned char *synced;
  size_t size;
  size_t synced_size;
  size_t room;
} file;

typedef struct {
  int file[NAMES]; /* what each name means, or -1 */
} names;

static const daypack_platform *real;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static file files[MOST_FILES];
static int file_count;
static names now = {{-1, -1, -1}};
static names synced = {{-1, -1, -1}};
static names changes[MOST_CHANGES]; /* since the directory was synced */
static int change_count;
static bool made;        /* the directory is there */
static bool made_synced; /* its name is in its parent, for good */
static const char *directory;
static long moment;
static long lost_at;
static unsigned seed;

static void die(const char *what) {
  (void)fprintf(stderr, "power: %s: %s\n", what, strerror(errno));
  _exit(98);
}

static bool chance(void) { return seed != 0 && (rand_r(&seed) & 64) != 0; }

static void path_of(char path[4096], int name) { (void)snprintf(path, 4096, "%s/%s", directory, NAME[name]); }

static void grow(file *one, size_t size) {
  if (size <= one->room) return;
  size_t room = (size + PAGE - 1) / PAGE * PAGE;
  one->now = realloc(one->now, room);
  one->synced = realloc(one->synced, room);
  if (one->now == NULL || one->synced == NULL) die("memory");
  memset(one->now + one->room, 0, room - one->room);
  memset(one->synced + one->room, 0, room - one->room);
  one->room = room;
}

static int new_file(void) {
  if (file_count == MOST_FILES) die("too many files");
  return file_count++;
}

/* What of a file is there after the loss. */
static void survive(const file *one, int target) {
  size_t size = chance() ? one->size : one->synced_size;
  for (size_t page = 0; page * PAGE < size; page++) {
    const unsigned char *from = (chance() ? one->now : one->synced) + page * PAGE;
    size_t count = size - page * PAGE < PAGE ? size - page * PAGE : PAGE;
    if (write(target, from, count) != (ssize_t)count) die("write");
  }
}

static void leave(void) {
  bool there = made_synced || (made && chance());
  const names *last = change_count > 0 && seed != 0 ? &changes[(unsigned)rand_r(&seed) % (unsigned)change_count] : &synced;
  if (!chance()) last = &synced;
  if (there && mkdir(directory, 0700) != 0 && errno != EEXIST) die("mkdir");
  for (int name = 0; name < NAMES; name++) {
    char path[4096];
    path_of(path, name);
    if (unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR) die("unlink");
    if (!there || last->file[name] < 0) continue;
    int target = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (target < 0) die("open");
    survive(&files[last->file[name]], target);
    if (close(target) != 0) die("close");
  }
  if (!there && rmdir(directory) != 0 && errno != ENOENT) die("rmdir");
}

/* Before each change of the disk, with the lock held. */
static void next_moment(void) {
  if (++moment != lost_at) return;
  leave();
  _exit(LOST);
}

static void note_change(void) {
  if (change_count == MOST_CHANGES) die("too many changes of names");
  changes[change_count++] = now;
}

static int name_of(const char *path) {
  size_t length = strlen(directory);
  if (strncmp(path, directory, length) != 0 || path[length] != '/') return -1;
  for (int name = 0; name < NAMES; name++)
    if (strcmp(path + length + 1, NAME[name]) == 0) return name;
  return -1;
}

static void lock_model(void) { (void)pthread_mutex_lock(&mutex); }
static int unlock_model(int result) {
  (void)pthread_mutex_unlock(&mutex);
  return result;
}

static int open_read(const char *path) {
  int name = name_of(path);
  if (name < 0) return real->open_read(path);
  lock_model();
  return unlock_model(now.file[name] < 0 ? -ENOENT : FIRST_HANDLE + now.file[name]);
}

static int open_update(const char *path) {
  int name = name_of(path);
  if (name < 0 || !made) return -ENOENT;
  lock_model();
  if (now.file[name] < 0) {
    next_moment();
    now.file[name] = new_file();
    note_change();
  }
  return unlock_model(FIRST_HANDLE + now.file[name]);
}

static int make_directory(const char *path) {
  if (strcmp(path, directory) != 0) return -EACCES;
  lock_model();
  if (!made) next_moment();
  made = true;
  return unlock_model(0);
}

static int open_directory(const char *path) {
  if (strcmp(path, directory) == 0) return DIRECTORY_HANDLE;
  return strncmp(path, directory, strlen(directory)) == 0 ? PARENT_HANDLE : -EACCES;
}

static int sync_file(int handle) {
  if (handle < PARENT_HANDLE) return real->sync(handle);
  lock_model();
  next_moment();
  if (handle == PARENT_HANDLE) {
    made_synced = made;
  } else if (handle == DIRECTORY_HANDLE) {
    synced = now;
    change_count = 0;
  } else {
    file *one = &files[handle - FIRST_HANDLE];
    if (one->room > 0) memcpy(one->synced, one->now, one->room);
    one->synced_size = one->size;
  }
  return unlock_model(0);
}

static int64_t file_bytes(int handle) {
  return handle < FIRST_HANDLE ? real->file_bytes(handle) : (int64_t)files[handle - FIRST_HANDLE].size;
}

static int64_t read_at(int handle, void *data, size_t size, uint64_t offset) {
  if (handle < FIRST_HANDLE) return real->read_at(handle, data, size, offset);
  lock_model();
  const file *one = &files[handle - FIRST_HANDLE];
  size_t left = offset < one->size ? one->size - (size_t)offset : 0;
  size_t count = size < left ? size : left;
  if (count > 0) memcpy(data, one->now + offset, count);
  (void)unlock_model(0);
  return (int64_t)count;
}

static int64_t write_at(int handle, const void *data, size_t size, uint64_t offset) {
  if (handle < FIRST_HANDLE) return -EBADF;
  lock_model();
  next_moment();
  file *one = &files[handle - FIRST_HANDLE];
  grow(one, (size_t)offset + size);
  memcpy(one->now + offset, data, size);
  if (one->size < offset + size) one->size = (size_t)offset + size;
  (void)unlock_model(0);
  return (int64_t)size;
}

static int reserve(int handle, uint64_t size) {
  if (handle < FIRST_HANDLE) return -EBADF;
  lock_model();
  next_moment();
  grow(&files[handle - FIRST_HANDLE], (size_t)size);
  files[handle - FIRST_HANDLE].size = (size_t)size;
  return unlock_model(0);
}

static int rename_file(const char *from, const char *to) {
  int source = name_of(from);
  int target = name_of(to);
  if (source < 0 || target < 0 || now.file[source] < 0) return -ENOENT;
  lock_model();
  next_moment();
  now.file[target] = now.file[source];
  now.file[source] = -1;
  note_change();
  return unlock_model(0);
}

static int exchange(const char *one, const char *other) {
  int first = name_of(one);
  int second = name_of(other);
  if (first < 0 || second < 0 || now.file[first] < 0 || now.file[second] < 0) return -ENOENT;
  lock_model();
  next_moment();
  int held = now.file[first];
  now.file[first] = now.file[second];
  now.file[second] = held;
  note_change();
  return unlock_model(0);
}

static int remove_file(const char *path) {
  int name = name_of(path);
  if (name < 0 || now.file[name] < 0) return -ENOENT;
  lock_model();
  next_moment();
  now.file[name] = -1;
  note_change();
  return unlock_model(0);
}

static int close_file(int handle) { return handle < PARENT_HANDLE ? real->close(handle) : 0; }
static int lock_nothing(int handle) { return handle < 0 ? -EBADF : 0; }
static int no_hint(int handle, uint64_t size, uint64_t offset) { return handle < 0 || size + offset == 0 ? -EINVAL : 0; }

static void load(void) {
  struct stat status;
  made = made_synced = stat(directory, &status) == 0;
  for (int name = 0; name < NAMES; name++) {
    char path[4096];
    path_of(path, name);
    int source = open(path, O_RDONLY);
    if (source < 0) continue;
    if (fstat(source, &status) != 0) die("stat");
    int number = now.file[name] = synced.file[name] = new_file();
    file *one = &files[number];
    grow(one, (size_t)status.st_size);
    one->size = one->synced_size = (size_t)status.st_size;
    if (one->size > 0 && read(source, one->now, one->size) != (ssize_t)one->size) die("read");
    if (one->size > 0) memcpy(one->synced, one->now, one->size);
    (void)close(source);
  }
}

int main(int argument_count, char **arguments) {
  const char *power = getenv("POWER");
  for (int index = 1; index + 1 < argument_count; index++)
    if (strcmp(arguments[index], "--state") == 0) directory = arguments[index + 1];
  if (directory == NULL) return 97;
  char *end = NULL;
  if (power != NULL) lost_at = strtol(power, &end, 10);
  if (power != NULL && *end == ':') seed = (unsigned)strtoul(end + 1, NULL, 10);
  load();
  real = daypack_platform_posix();
  static daypack_platform platform; /* threads that wait outlive main */
  platform = *real;
  platform.open_read = open_read;
  platform.open_update = open_update;
  platform.open_directory = open_directory;
  platform.make_directory = make_directory;
  platform.lock = lock_nothing;
  platform.file_bytes = file_bytes;
  platform.read_at = read_at;
  platform.write_at = write_at;
  platform.will_read = no_hint;
  platform.will_sync = no_hint;
  platform.reserve = reserve;
  platform.sync = sync_file;
  platform.close = close_file;
  platform.rename = rename_file;
  platform.exchange = exchange;
  platform.remove = remove_file;
  platform.confine = NULL; /* the model writes its disk to files at the end */
  int status = daypack_engine_main(argument_count, arguments, &platform);
  lock_model();
  seed = 0;
  leave();
  if (getenv("COUNTS") != NULL) (void)fprintf(stderr, "count moments %ld\n", moment);
  return unlock_model(status);
}
