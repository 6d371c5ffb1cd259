/* The engine's C interface: exit codes, the kernel ABI, the tables an engine is linked with, and the platform.
 *
 * Sizes and offsets are bytes, times are nanoseconds, intervals are half-open. Nothing here allocates. */
#ifndef DAYPACK_H
#define DAYPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DAYPACK_MUST_CHECK __attribute__((warn_unused_result))
#define DAYPACK_PRINTF(text, first) __attribute__((format(printf, text, first)))

/* What a run ends with: also the exit status (daypack/errors.py has the same numbers). */
typedef enum {
  DAYPACK_OK = 0,
  DAYPACK_BAD_INPUT = 2,
  DAYPACK_BAD_BUNDLE = 4,
  DAYPACK_MISSING = 5,
  DAYPACK_STOPPED = 6,
} daypack_code;

/* Kernel ABI: compute tiles [begin, end) of one phase. `arguments` point into the arena, one an operand.
 * `scratch` belongs to the calling thread. Which thread computes a tile never changes its result. */
typedef void (*daypack_phase_function)(void *const *arguments, void *scratch, int32_t stage, int32_t begin,
                                       int32_t end);

typedef struct {
  daypack_phase_function run;
  int32_t stage;
  int32_t tiles;
} daypack_linked_phase;

typedef struct {
  uint32_t phase_count;
  uint32_t argument_count;
} daypack_linked_kernel;

/* What this executable was linked with. build.py generates it; the loader insists that the plan says the same,
 * so a plan cannot make a kernel run outside the tiles and sizes it was compiled for. */
typedef struct {
  uint32_t arch;
  uint8_t kernel_id[32];
  uint64_t scratch_bytes;
  uint32_t kernel_count;
  uint32_t phase_count;
  uint32_t argument_count;
  const daypack_linked_kernel *kernels;
  const daypack_linked_phase *phases;
  const uint64_t *argument_bytes;
} daypack_linked_kernels;

extern const daypack_linked_kernels daypack_linked;

/* What a process may open from now on. */
typedef struct {
  const char *const *read; /* files, and folders with all that is in them; NULL: none; those not there are passed over */
  size_t read_count;
  const char *write; /* a folder whose files may also be made, written, renamed and removed, or NULL */
  bool make;         /* folders may be made in it too */
  const char *list;  /* a folder that may be opened itself, to list or to sync it, not the files in it; or NULL */
} daypack_confinement;

/* What confining achieved. */
enum {
  DAYPACK_SANDBOX_NO_NEW_PRIVILEGES = 1,
  DAYPACK_SANDBOX_LANDLOCK = 2, /* no other file can be opened */
  DAYPACK_SANDBOX_SECCOMP = 4,  /* no other system call can be made */
};

/* What the system says of itself; NAN where it says nothing that can be believed. */
typedef struct {
  double battery; /* charge left, share of capacity */
  double battery_celsius;
  double battery_w; /* what it gives; negative while it is charged */
  double skin_celsius;
  double ambient_celsius;
  double memory_mb;       /* that this process could have, what it has included */
  double memory_pressure; /* share of the last ten seconds in which some task waited for memory */
  double charging;        /* 0 or 1, as is the next */
  double screen;
} daypack_sensed;

/* Where a thread runs. */
typedef struct {
  int32_t gear;   /* which it belongs to; for stand-ins */
  uint64_t cpus;  /* bit i: processor i; 0: any */
  uint32_t clamp; /* highest utilization that the kernel's governor should see, of 1024 */
} daypack_placement;

/* The machine, behind one table, so that a test can stand in for it. Functions that return int or int64_t
 * give a negative errno on failure. */
typedef struct {
  uint64_t (*now_ns)(void);
  uint64_t (*boot_ns)(void); /* as now_ns, and runs on while the machine is suspended */
  uint64_t (*wall_ns)(void); /* since 1970, UTC; may step */
  void (*sleep_ns)(uint64_t time_ns); /* shorter when woken */
  void (*wake)(void);
  uint32_t (*cpu_count)(void);
  bool (*has_feature)(uint32_t feature);
  bool (*stop_requested)(void);
  void (*request_stop)(void);
  uint64_t (*peak_rss_bytes)(void);
  uint64_t (*rss_bytes)(void); /* resident now */

  int (*open_read)(const char *path);
  int (*open_plain)(const char *path); /* -ELOOP for a link; does not wait for a pipe's other end */
  int (*open_direct)(const char *path); /* past the system's cache: read_at then takes pages only */
  int (*open_update)(const char *path); /* to write and to read; created with mode 0600, kept where it exists */
  int (*open_write_direct)(const char *path); /* an existing file, past the system's cache: pages only */
  int (*open_directory)(const char *path);
  int (*make_directory)(const char *path); /* mode 0700; 0 also when it exists */
  int (*lock)(int file);                   /* -EWOULDBLOCK when another process holds it */
  int64_t (*file_bytes)(int file);
  int64_t (*read_at)(int file, void *data, size_t size_bytes, uint64_t offset_bytes);
  int (*will_read)(int file, uint64_t size_bytes, uint64_t offset_bytes); /* a hint: fetch it meanwhile */
  int (*reserve)(int file, uint64_t size_bytes); /* make it this large, with room on its disk where one can ask */
  int64_t (*write)(int file, const void *data, size_t size_bytes);
  int64_t (*write_at)(int file, const void *data, size_t size_bytes, uint64_t offset_bytes);
  int (*will_sync)(int file, uint64_t size_bytes, uint64_t offset_bytes); /* a hint: begin to write it out */
  int (*sync)(int file);
  int (*close)(int file);
  int (*rename)(const char *from, const char *to);
  int (*exchange)(const char *one, const char *other); /* both names at once; not every file system can */
  int (*remove)(const char *path);

  void *(*map)(size_t size_bytes); /* zeroed, page aligned; NULL when the machine has no more */
  void (*release)(void *memory, size_t size_bytes); /* whole pages are the system's again, and zero when next used */
  /* Give up what the engine does not need; again: only what is in both lists. DAYPACK_SANDBOX_... bits. May be NULL:
   * a test's platform that opens files of its own. Before the first thread. */
  uint32_t (*confine)(const daypack_confinement *allowed);
  int (*start_thread)(void *(*run)(void *), void *context, size_t stack_bytes);
  int (*place)(const daypack_placement *place); /* the calling thread; fails where clocks cannot be capped */

  int64_t (*read_input)(void *data, size_t size_bytes); /* standard input; waits for it; 0 at its end */
  /* `each` is given every name in a directory. */
  int (*list)(const char *directory, void (*each)(void *context, const char *name), void *context);
  void (*sense)(daypack_sensed *sensed); /* NULL: the files that sensors.c knows */
} daypack_platform;

/* This machine. Installs the handlers for SIGINT and SIGTERM that `stop_requested` reports. */
const daypack_platform *daypack_platform_posix(void);

/* Run the engine with a command line; returns the exit status. */
int daypack_engine_main(int argument_count, char **arguments, const daypack_platform *platform);

#endif
