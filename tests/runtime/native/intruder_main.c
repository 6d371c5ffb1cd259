/* The engine with code inside that does not belong there. INTRUDE=WHAT@WHERE: while the plan is loaded, in the main
 * thread after the first step, or in another thread, try once to do WHAT and write to standard error how that ended.
 * INTRUDE=filter writes the filter of system calls instead of a run; INTRUDE=off runs without a sandbox. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daypack.h"
#include "sandbox_linux.h"

static const daypack_platform *real;
static const char *what;
static const char *where;
static atomic_bool done;

static long attempt(void) {
  const char *path = getenv("TARGET");
  char *const words[] = {"/bin/true", NULL};
  if (strcmp(what, "read") == 0) return open(path, O_RDONLY);
  if (strcmp(what, "write") == 0) return open(path, O_WRONLY);
  if (strcmp(what, "create") == 0) return open(path, O_WRONLY | O_CREAT, 0600);
  if (strcmp(what, "mkdir") == 0) return mkdir(path, 0700);
  if (strcmp(what, "unlink") == 0) return unlink(path);
  if (strcmp(what, "symlink") == 0) return symlink("/etc/passwd", path);
  if (strcmp(what, "chmod") == 0) return chmod(path, 0777);
  if (strcmp(what, "socket") == 0) return socket(AF_INET, SOCK_STREAM, 0);
  if (strcmp(what, "execve") == 0) return execve(words[0], words, NULL);
  if (strcmp(what, "fork") == 0) return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (strcmp(what, "ptrace") == 0) return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
  if (strcmp(what, "kill") == 0) return kill(getppid(), 0);
  if (strcmp(what, "code") == 0)
    return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1 ? -1 : 0;
  _exit(99);
}

static void intrude(const char *here) {
  if (what == NULL || where == NULL || strcmp(here, where) != 0 || atomic_exchange(&done, true)) return;
  long result = attempt();
  (void)fprintf(stderr, "intrusion: %s\n", result < 0 ? strerror(errno) : "succeeded");
}

static void *map(size_t size) {
  intrude("load");
  return real->map(size);
}

static uint64_t peak_rss_bytes(void) {
  intrude("run");
  return real->peak_rss_bytes();
}

static void *(*run_of_thread)(void *);
static atomic_bool begun;

static void *begin(void *context) {
  void *(*run)(void *) = run_of_thread;
  intrude("thread");
  atomic_store(&begun, true);
  return run(context);
}

/* Waits, so that the intrusion has happened before anything else goes on. */
static int start_thread(void *(*run)(void *), void *context, size_t stack) {
  run_of_thread = run;
  atomic_store(&begun, false);
  int result = real->start_thread(begin, context, stack);
  while (result >= 0 && !atomic_load(&begun)) (void)sched_yield();
  return result;
}

static void print_filter(void) {
  const uint8_t *bytes = daypack_seccomp_filter.instructions;
  for (size_t index = 0; index < daypack_seccomp_filter.count * 8; index++) (void)printf("%02x", bytes[index]);
  (void)printf("\n");
}

int main(int argument_count, char **arguments) {
  char *text = getenv("INTRUDE");
  real = daypack_platform_posix();
  static daypack_platform platform; /* other threads use it until the process has ended */
  platform = *real;
  if (text != NULL && strcmp(text, "filter") == 0) {
    print_filter();
    return 0;
  }
  if (text != NULL && strcmp(text, "off") == 0) platform.confine = NULL;
  what = text == NULL ? NULL : strtok(text, "@");
  where = text == NULL ? NULL : strtok(NULL, "@");
  platform.map = map;
  platform.peak_rss_bytes = peak_rss_bytes;
  platform.start_thread = start_thread;
  return daypack_engine_main(argument_count, arguments, &platform);
}
