/* What the process gives up: new privileges, files outside a list (Landlock), system calls outside a list (seccomp).
 *
 * Each is taken where the kernel has it and reported; an emulator or an old phone may have none. All of it happens
 * before the first thread starts, so every thread inherits it and nothing has to be synchronized between them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_linux.h"

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#else
#define OWN_ARCH AUDIT_ARCH_AARCH64
#endif

/* ---- seccomp */

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
/* The low half of an argument: both architectures are little-endian. */
#define LOAD_ARGUMENT(number) LOAD(args[number])
#define END(action) BPF_STMT(BPF_RET | BPF_K, action)
#if defined(DAYPACK_SANDBOX_KILLS) /* a test: then no call that is not listed goes unnoticed */
#define REFUSE END(SECCOMP_RET_KILL_PROCESS)
#else
#define REFUSE END(SECCOMP_RET_ERRNO | EPERM)
#endif
#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), END(SECCOMP_RET_ALLOW)
#define KILL(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), END(SECCOMP_RET_KILL_PROCESS)
#define ANSWER(name, error) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), END(SECCOMP_RET_ERRNO | (error))
/* Allowed where argument `number` has none of these bits, or all of them. */
#define ALLOW_WITHOUT(name, number, bits)                                                          \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 4), LOAD_ARGUMENT(number),                    \
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1), REFUSE, END(SECCOMP_RET_ALLOW)
#define ALLOW_WITH_ALL(name, number, bits)                                                         \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 5), LOAD_ARGUMENT(number),                    \
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, bits), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, bits, 1, 0),  \
      END(SECCOMP_RET_KILL_PROCESS), END(SECCOMP_RET_ALLOW)
#define ALLOW_WITH(name, number, value)                                                            \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 4), LOAD_ARGUMENT(number),                    \
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0), REFUSE, END(SECCOMP_RET_ALLOW)

static const struct sock_filter FILTER[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0),
    END(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    /* the thread pool and the pager wait for work, and are timed; what ends a pause */
    ALLOW(eventfd2), ALLOW(futex), ALLOW(clock_gettime), ALLOW(sched_yield),
    /* paging: weights, state, swap, and hints about them */
    ALLOW(pread64), ALLOW(pwrite64), ALLOW(fadvise64), ALLOW(sync_file_range),
    /* standard input and output; small files of /proc and /sys */
    ALLOW(read), ALLOW(write), ALLOW(writev), ALLOW(readv), ALLOW(ppoll), ALLOW(fcntl),
    /* the journal: generations are made, synced, renamed, removed under a lock */
    ALLOW(openat), ALLOW(close), ALLOW(fstat), ALLOW(newfstatat), ALLOW(statx), ALLOW(lseek), ALLOW(fallocate),
    ALLOW(ftruncate), ALLOW(fsync), ALLOW(fdatasync), ALLOW(flock), ALLOW(renameat), ALLOW(renameat2), ALLOW(unlinkat),
    ALLOW(mkdirat),
    /* sensors are found by listing their folders */
    ALLOW(getdents64), ALLOW(readlinkat),
    /* memory: none of it may ever be code */
    ALLOW_WITHOUT(mmap, 2, PROT_EXEC), ALLOW_WITHOUT(mprotect, 2, PROT_EXEC), ALLOW(munmap), ALLOW(mremap), ALLOW(brk),
    ALLOW(madvise),
    /* threads, and nothing else, may be started */
    ALLOW_WITH_ALL(clone, 0, CLONE_VM | CLONE_THREAD), ANSWER(clone3, ENOSYS), ALLOW(set_robust_list),
    ALLOW(set_tid_address), ALLOW(rseq), ALLOW(membarrier), ALLOW(exit), ALLOW(exit_group), ALLOW(gettid),
    ALLOW(getpid), ALLOW_WITH(prctl, 0, PR_SET_NAME),
    /* gears: which cores, which share of them, and how long to rest */
    ALLOW(sched_getaffinity), ALLOW(sched_setaffinity), ALLOW(sched_getattr), ALLOW(sched_setattr),
    ALLOW(sched_getscheduler), ALLOW(sched_setscheduler), ALLOW(sched_getparam), ALLOW(getpriority), ALLOW(setpriority),
    ALLOW(getcpu), ALLOW(getrusage), ALLOW(clock_nanosleep), ALLOW(nanosleep), ALLOW(clock_getres),
    ALLOW(gettimeofday), ALLOW(sysinfo), ALLOW(uname),
    /* a stop signal */
    ALLOW(rt_sigaction), ALLOW(rt_sigprocmask), ALLOW(rt_sigreturn), ALLOW(sigaltstack), ALLOW(restart_syscall),
    /* a narrower sandbox inside this one */
    ALLOW(landlock_create_ruleset), ALLOW(landlock_add_rule), ALLOW(landlock_restrict_self),
#if defined(__x86_64__)
    /* the older forms of calls above, which musl prefers where an architecture has them */
    ALLOW(open), ALLOW(stat), ALLOW(lstat), ALLOW(rename), ALLOW(unlink), ALLOW(mkdir), ALLOW(poll), ALLOW(readlink),
    KILL(fork), KILL(vfork),
#endif
    /* what this engine never does and an intruder would: no answer, the process ends */
    KILL(execve), KILL(execveat), KILL(socket), KILL(socketpair), KILL(connect), KILL(bind), KILL(ptrace),
    KILL(process_vm_readv), KILL(process_vm_writev), KILL(io_uring_setup), KILL(bpf), KILL(userfaultfd),
    KILL(memfd_create), KILL(unshare), KILL(setns), KILL(mount), KILL(perf_event_open),
    REFUSE,
};

const daypack_filter daypack_seccomp_filter = {FILTER, sizeof FILTER / sizeof *FILTER};

static bool filter_system_calls(void) {
  struct sock_fprog program = {(unsigned short)daypack_seccomp_filter.count, (struct sock_filter *)(uintptr_t)FILTER};
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* ---- Landlock */

/* Every right that a version of Landlock knows is taken; a kernel refuses those it does not know. */
enum { RIGHT_TRUNCATE = 1 << 14, NET_TCP = 1 << 0 | 1 << 1, SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 1 << 0 | 1 << 1 };
static const uint64_t FILE_RIGHTS[] = {0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF};
enum { FILE_VERSIONS = sizeof FILE_RIGHTS / sizeof *FILE_RIGHTS, NET_SINCE = 4, SCOPE_SINCE = 6 };

/* struct landlock_ruleset_attr of version 6: a system's header may be older than its kernel. */
typedef struct {
  uint64_t files;
  uint64_t net;
  uint64_t scopes;
} ruleset_rights;

static int allow(int ruleset, const char *path, uint64_t rights) {
  struct stat status;
  struct landlock_path_beneath_attr rule = {.allowed_access = rights};
  rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
  if (rule.parent_fd < 0) return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
  if (fstat(rule.parent_fd, &status) == 0 && !S_ISDIR(status.st_mode))
    rule.allowed_access &= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | RIGHT_TRUNCATE;
  int result = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0 ? 0 : -errno;
  /* /proc forgets an entry that nobody holds and makes another for the same name, which no rule would know. */
  if (strncmp(path, "/proc/", 6) != 0) (void)close(rule.parent_fd);
  return result;
}

static int add_rules(int ruleset, const daypack_confinement *allowed, uint64_t handled) {
  uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
  uint64_t write = read | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                   LANDLOCK_ACCESS_FS_REMOVE_FILE | RIGHT_TRUNCATE;
  if (allowed->make) write |= LANDLOCK_ACCESS_FS_MAKE_DIR;
  int result = 0;
  for (size_t index = 0; result == 0 && index < allowed->read_count; index++)
    if (allowed->read[index] != NULL) result = allow(ruleset, allowed->read[index], read);
  if (result == 0 && allowed->write != NULL) result = allow(ruleset, allowed->write, write & handled);
  if (result == 0 && allowed->list != NULL) result = allow(ruleset, allowed->list, LANDLOCK_ACCESS_FS_READ_DIR);
  return result;
}

static bool confine_files(const daypack_confinement *allowed) {
  ruleset_rights rights = {0};
  long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return false;
  rights.files = FILE_RIGHTS[version < FILE_VERSIONS ? version : FILE_VERSIONS - 1];
  if (version >= NET_SINCE) rights.net = NET_TCP;
  if (version >= SCOPE_SINCE) rights.scopes = SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS;
  size_t size = version >= SCOPE_SINCE ? sizeof rights
                : version >= NET_SINCE ? offsetof(ruleset_rights, scopes)
                                       : offsetof(ruleset_rights, net);
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rights, size, 0);
  if (ruleset < 0) return false;
  bool done = add_rules(ruleset, allowed, rights.files) == 0 &&
              syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
  (void)close(ruleset);
  return done;
}

uint32_t daypack_confine(const daypack_confinement *allowed) {
  static uint32_t taken;
  bool first = (taken & DAYPACK_SANDBOX_NO_NEW_PRIVILEGES) == 0;
  if (first && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) taken |= DAYPACK_SANDBOX_NO_NEW_PRIVILEGES;
  bool confined = confine_files(allowed);
  taken = confined ? taken | DAYPACK_SANDBOX_LANDLOCK : taken & ~(uint32_t)DAYPACK_SANDBOX_LANDLOCK;
  if (first && filter_system_calls()) taken |= DAYPACK_SANDBOX_SECCOMP;
  return taken;
}
