/* What the engine's parts know of each other. One process runs one engine; nothing is allocated after load. */
#ifndef DAYPACK_INTERNAL_H
#define DAYPACK_INTERNAL_H

#include <assert.h>
#include <stdatomic.h>

#include "commands.h"
#include "daypack.h"
#include "daypack_plan.h"
#include "governor.h"

enum {
  DAYPACK_PATH_BYTES = 4096,
  DAYPACK_MESSAGE_BYTES = 1024,
  DAYPACK_IO_BYTES = 1 << 20,
  DAYPACK_PAGE_BYTES = 4096,
  DAYPACK_FILE_COUNT = 4, /* of enum DAYPACK_FILE_... */
  DAYPACK_BLOCK_BYTES = DAYPACK_IO_BYTES, /* of the state's data for each checksum */
  DAYPACK_POLICY_WORDS = 8,
  DAYPACK_LINE_BYTES = 8192,
  DAYPACK_PLAN_NAME_BYTES = 24,
  DAYPACK_MANIFEST_BYTES = 1 << 16,
  DAYPACK_STACK_BYTES = 256 * 1024,
  DAYPACK_DIGEST_BYTES = 32,
  DAYPACK_KEY_BYTES = 32,
  DAYPACK_ROWS_OPERANDS = sizeof(daypack_plan_rows) / sizeof(uint64_t),
};

typedef struct {
  daypack_code code;
  char message[DAYPACK_MESSAGE_BYTES];
} daypack_error;

/* Records the failure and returns its code, so that a caller can write `return daypack_fail(...)`. */
daypack_code daypack_fail(daypack_error *error, daypack_code code, const char *format, ...) DAYPACK_PRINTF(3, 4);

typedef struct {
  char *bundle; /* without trailing slashes */
  const char *state; /* NULL: BUNDLE.state */
  const char *data;  /* NULL: BUNDLE/data.bin */
  const char *tokenize; /* instead of a run: the ids of this text */
  uint64_t steps;    /* 0: one pass over the data */
  uint32_t threads;  /* 0: one a processor, as many as the budget allows */
  bool fresh;
  bool verify_only;
  bool profile;
  bool direct;      /* weights past the system's cache, for measurements */
  bool audit_arena; /* count at the end what of the arena was used */
  bool require_signature;
  uint8_t signer[DAYPACK_KEY_BYTES]; /* the Ed25519 key whose signature is required */
  uint32_t order;        /* one more than the order's number; 0: the first plan's */
  uint64_t memory_bytes; /* of the plan to begin with, at most; 0: the largest */
  bool rotate;           /* each window in the next order */
  uint64_t squeeze;      /* act as if the system took memory back after so many shards; 0: never */
  uint64_t relax;        /* and returned it after so many windows; 0: never */
  bool evaluate;    /* eval.bin over the data, and nothing written */
  uint64_t choices; /* with evaluate: rows of a question, the right one first; 0: rows by themselves */
  bool commands;    /* as JSON lines on standard input */
  bool decisions;   /* tell every one, not only those that change something */
  const char *sensors; /* the root of /sys and /proc; "" is the system's own */
  int32_t utc_offset_s; /* of the owner's clock */
  uint64_t cpus;        /* bit i: threads may run on processor i; 0: on any */
  uint32_t clamp;       /* highest utilization that the kernel's governor should see, of 1024; 0: no cap */
} daypack_options;

/* plan.bin, or eval.bin, as loaded; every pointer is into `daypack_tables.plan_bytes` and has been checked. */
typedef struct {
  const daypack_plan_header *header;
  const uint32_t *features;
  const daypack_plan_kernel *kernels;
  const uint64_t *arguments;
  const daypack_plan_phase *phases;
  const uint64_t *operands;
  const daypack_plan_instruction *setup;
  const daypack_plan_instruction *steps;
  const daypack_plan_input *inputs;
  const daypack_plan_state *state;
  const uint8_t *state_header;
  char *header_text; /* the same bytes: its digits are those of the state that was read or written last */
  char *digits;      /* in it: words of the policy and checksums */
  uint64_t digit_count;
  uint64_t block_count;
  uint64_t part_count; /* a part: what of one record of the state lies in one block */
  const char *strings;
  uint64_t record_bytes;
  uint64_t state_file_bytes;
  uint64_t swap_bytes;
  uint64_t transfers; /* fetches and stores of a step */
  uint64_t suspends;  /* places at which a step is kept */
  bool stores_next;   /* a step stores into the next generation */
  uint8_t digest[DAYPACK_DIGEST_BYTES]; /* SHA-256 of its file, where it has suspends */
  bool pages_state;   /* a step reads or writes the state's file */
} daypack_plan;

typedef struct {
  uint64_t calls;
  uint64_t elapsed_ns;
} daypack_kernel_time;

/* data.bin's own. */
enum { DAYPACK_DATA_VERSION = 2, DAYPACK_SOURCE_BYTES = 12 };

typedef struct {
  uint8_t magic[8];
  uint32_t version;
  uint32_t input_count;
  uint64_t example_bytes;
  uint64_t example_count;
  uint32_t micro_batch; /* examples in one */
  uint32_t shuffle;     /* 1: every epoch in an order of its own */
  uint32_t seed;
  uint32_t zero;
  uint8_t source[DAYPACK_SOURCE_BYTES]; /* of what the engine made the file; zero where the host made it */
  uint32_t examples_crc32;              /* the same: of all behind the header */
} daypack_data_header;

static_assert(sizeof(daypack_data_header) == 64, "data.bin header");

typedef struct {
  int file;
  daypack_data_header header;
  bool raw;           /* the file that --data names, before it is tokenized */
  uint64_t raw_bytes; /* its size */
  char path[DAYPACK_PATH_BYTES]; /* of the run's own tokens, or empty */
} daypack_data;

/* Where the blocks of a file are in the hash tree. */
typedef struct {
  uint64_t first;
  uint64_t file_bytes; /* that were listed; 0: the file was checked whole */
} daypack_tree_place;

/* One of the files that instructions name. `direct` is the same file past the system's cache, or -1. */
typedef struct {
  const char *name; /* for messages */
  int file;
  int direct;
  const daypack_tree_place *tree; /* NULL: what is read is not checked against the tree */
} daypack_paged_file;

typedef struct daypack_pool daypack_pool;

typedef struct {
  const daypack_platform *platform;
  daypack_options options;
  daypack_error error;

  daypack_plan plan; /* the one that runs */
  char plan_name[DAYPACK_PLAN_NAME_BYTES];
  uint32_t plan_index;
  uint32_t plan_count;
  uint32_t listed_plans;        /* bit n: plan-n.bin is listed; bit 0 is plan.bin */
  uint64_t largest_arena_bytes; /* of all plans */
  uint64_t largest_plan_bytes;  /* of their files */
  uint64_t swap_bytes;          /* the most that any plan stores there */
  uint64_t largest_part_count;  /* of the records of any plan */
  bool has_transfers;           /* of any plan */
  uint8_t *tables;              /* memory for the tables of one plan, as large as the largest */
  uint64_t tables_bytes;
  void **call_arguments;             /* as many as the kernel with the most arguments needs */
  daypack_kernel_time *kernel_times; /* one a kernel */
  uint64_t *shard_ns;                /* with --profile: of each shard of the step */
  uint64_t io_ns;                    /* with --profile: in instructions that read files or wait for them */
  uint64_t read_bytes;               /* from and to files since the step began; transfers when they are waited for */
  uint64_t weights_read_bytes;       /* of them, from the weights */
  uint64_t written_bytes;
  uint64_t posted_transfers; /* of this step */
  uint64_t micro_batches;    /* that this run has read in this step */
  uint32_t batches_sum;      /* raw CRC-32 of those of the step so far, where the plan has suspends */
  uint64_t resume_at;        /* the instruction with which the next step begins: not 0 where a kept one goes on */
  _Atomic(bool) kept;        /* a run that begins now goes on within this step */
  bool keeping_failed;       /* said once */
  uint64_t transfer_ns; /* that the pager's thread was busy */
  uint64_t store_ns;    /* of it, with stores */
  uint64_t save_ns;     /* from the end of a step's instructions to its generation on disk */

  uint8_t *arena;
  uint8_t *scratch; /* one piece a thread */
  uint64_t scratch_stride_bytes;
  uint32_t threads;
  daypack_pool *pool;
  daypack_governor *governor;

  daypack_paged_file files[DAYPACK_FILE_COUNT]; /* the state: during setup only, unless the plan pages it */
  uint64_t weights_bytes;
  daypack_tree_place data_tree;
  daypack_tree_place weights_tree;
  bool tree_listed;
  bool start_checked; /* the bundle's own state, against its hash */
  uint64_t start_bytes;
  uint8_t start_digest[DAYPACK_DIGEST_BYTES];
  daypack_data data;
  uint64_t engine_bytes;
  bool data_listed;
  bool tokenizer_listed;
  bool corpus_listed;
  uint8_t tokenizer_digest[DAYPACK_DIGEST_BYTES]; /* of the files, as MANIFEST has them; zero: not listed */
  uint8_t corpus_digest[DAYPACK_DIGEST_BYTES];
  bool evaluation_listed;
  bool policy_listed;
  uint64_t policy_bytes;
  uint32_t listed_files;
  uint32_t sandbox;   /* DAYPACK_SANDBOX_... bits */
  bool state_missing; /* the state's directory, and the sandbox still lets it be made */

  int state_directory;
  uint32_t policy_words[DAYPACK_POLICY_WORDS]; /* what a policy keeps from one run to the next; saved with the state */
  uint32_t *parts; /* raw CRC-32 of each part, of the generation that is being written */
  bool unfinished; /* a file of the next generation, or of one that is over, has its temporary name */
  bool committed; /* this run has saved a state: it goes on from that, with --fresh too */
  bool interrupted; /* memory is wanted back: the window is to be discarded */
  bool underway; /* a step has begun: failures are STOPPED from here on */
  uint64_t step; /* that is being computed or saved: completed steps when it is done */
  uint64_t saved_step;
  char state_path[DAYPACK_PATH_BYTES];
  char state_temporary[DAYPACK_PATH_BYTES];
  char swap_path[DAYPACK_PATH_BYTES];
  char window_path[DAYPACK_PATH_BYTES];
  char window_temporary[DAYPACK_PATH_BYTES];
  char state_directory_path[DAYPACK_PATH_BYTES];
} daypack_engine;

/* options.c */
DAYPACK_MUST_CHECK daypack_code daypack_parse_options(daypack_options *options, daypack_error *error, int count,
                                                      char **arguments);

/* files.c: paths, whole reads and writes over the platform's partial ones */
DAYPACK_MUST_CHECK daypack_code daypack_join(daypack_error *error, char path[DAYPACK_PATH_BYTES], const char *first,
                                             const char *between, const char *second);
/* `directory` may be NULL: then `name` is the whole path, else the file must be no link. A failure has the given
 * code. */
DAYPACK_MUST_CHECK daypack_code daypack_open(daypack_engine *engine, daypack_code code, const char *directory,
                                             const char *name, int *file, uint64_t *size_bytes);
/* What opening gave, a file or a negative errno: its size, or the failure; the file is closed then. */
DAYPACK_MUST_CHECK daypack_code daypack_check_opened(daypack_engine *engine, daypack_code code, const char *path,
                                                     int file, uint64_t *size_bytes);
DAYPACK_MUST_CHECK daypack_code daypack_read_exactly(daypack_engine *engine, int file, const char *name, void *data,
                                                     uint64_t size_bytes, uint64_t offset_bytes);
/* 0 or a negative errno. To standard output and error. */
DAYPACK_MUST_CHECK int daypack_write_all(const daypack_platform *platform, int file, const void *data,
                                         uint64_t size_bytes);

/* Bytes of a file and where they are in memory; what is done is taken off its front. */
typedef struct {
  uint8_t *data;
  uint64_t size_bytes;
  uint64_t offset_bytes;
} daypack_range;

/* What reading gives where a block has another hash than the tree: no errno. */
enum { DAYPACK_ALTERED = -5000 };

/* 1 when all is read or written, 0 when the file (or the room for it) ends, or a negative errno; adds to `count`. */
DAYPACK_MUST_CHECK int64_t daypack_read_range(const daypack_platform *platform, int file, daypack_range *rest,
                                              uint64_t *count);
DAYPACK_MUST_CHECK int64_t daypack_write_range(const daypack_platform *platform, int file, daypack_range *rest,
                                               uint64_t *count);
/* The failure of such a read. */
DAYPACK_MUST_CHECK daypack_code daypack_fail_read(daypack_error *error, bool underway, const char *name,
                                                  const daypack_range *rest, int64_t result);
/* For files that are read in pieces, one at a time. Before the pager starts it is the caller's, then of who takes it. */
extern uint8_t daypack_io_buffer[DAYPACK_IO_BYTES];
void daypack_take_buffer(void);
void daypack_return_buffer(void);

/* confine.c: the sandbox */
/* Before any file is opened: the bundle, the data, a list of /proc and /sys; written only the state's directory, or
 * what it is in while there is none; the latter is synced later too. Sets state_directory_path. */
DAYPACK_MUST_CHECK daypack_code daypack_enter_sandbox(daypack_engine *engine);
/* The state's directory is there. */
DAYPACK_MUST_CHECK daypack_code daypack_confine_to_state(daypack_engine *engine);

/* hex.c: lower-case digits */
/* `count` bytes from the front of `text`; what is behind them, or NULL where there are not as many digits. */
const char *daypack_parse_hex(const char *text, uint8_t *bytes, size_t count);
/* `text` has room for 2 * count + 1 characters. */
void daypack_to_hex(const uint8_t *bytes, size_t count, char *text);

/* signature.c: of the manifest's text, where the command line requires one */
DAYPACK_MUST_CHECK daypack_code daypack_check_signature(daypack_engine *engine, const char *text, size_t size_bytes);

/* manifest.c */
DAYPACK_MUST_CHECK daypack_code daypack_verify_manifest(daypack_engine *engine);
/* The bundle's own state, opened as `file`, against the manifest: a run that goes on from another never reads it. */
DAYPACK_MUST_CHECK daypack_code daypack_check_start(daypack_engine *engine, int file);

/* tree.c: the blocks of large files */
/* blocks.bin, which stays open, and the hash of all of it. */
DAYPACK_MUST_CHECK daypack_code daypack_open_tree(daypack_engine *engine, int file, uint64_t size_bytes,
                                                  uint8_t digest[DAYPACK_DIGEST_BYTES]);
/* Whether the tree has as many blocks as the listed files. */
DAYPACK_MUST_CHECK daypack_code daypack_place_tree(daypack_engine *engine);
/* How many bytes from the front of `rest` are of blocks that were checked; the range lies within the listed size. */
uint64_t daypack_checked_bytes(const daypack_tree_place *place, const daypack_range *rest);
/* What `rest` begins with of a block that was not: 1, DAYPACK_ALTERED, or as daypack_read_range. */
DAYPACK_MUST_CHECK int64_t daypack_read_block(const daypack_platform *platform, const daypack_paged_file *file,
                                              daypack_range *rest, uint64_t *count);

/* sha256.c: SHA-256 of Zig's std.crypto, the form this processor runs */
typedef struct {
  _Alignas(16) uint8_t opaque[256];
} daypack_sha256;

typedef struct {
  void (*init)(daypack_sha256 *state);
  void (*update)(daypack_sha256 *state, const uint8_t *data, size_t size_bytes);
  void (*final)(daypack_sha256 *state, uint8_t digest[32]);
} daypack_sha256_functions;

const daypack_sha256_functions *daypack_choose_sha256(const daypack_platform *platform);

/* loader.c, checks.c: the plan that `plan_name` names, over the one loaded before */
DAYPACK_MUST_CHECK daypack_code daypack_load_plan(daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_code daypack_check_plan(daypack_engine *engine);

/* features.c */
DAYPACK_MUST_CHECK daypack_code daypack_check_features(daypack_engine *engine);
bool daypack_cpu_has_feature(uint32_t feature);

/* plans.c */
/* Check every plan and load the one to begin with. */
DAYPACK_MUST_CHECK daypack_code daypack_load_plans(daypack_engine *engine);
typedef struct {
  char text[DAYPACK_PLAN_NAME_BYTES];
} daypack_name;

/* The file of a plan of the bundle. */
daypack_name daypack_plan_name(uint32_t index);
/* The budget of a plan (UINT64_MAX: none) and its arena. */
uint64_t daypack_plan_budget(uint32_t index, uint64_t *arena_bytes);
uint64_t daypack_least_budget(const daypack_engine *engine);
/* From the next window on, in this order (DAYPACK_ORDER_...) where the budget in force has it. False: no plan has it. */
bool daypack_choose_order(const daypack_engine *engine, uint32_t order);
/* The system wants memory back (0: it may be had again). At the next instruction the window is discarded if it runs
 * under a larger budget; a larger one returns between windows. False: no plan is as small, the smallest is taken.
 * Both may be called by any thread. */
bool daypack_limit_memory(const daypack_engine *engine, uint64_t limit_bytes);
/* By the readings of memory: on in a smaller plan than the one that runs, or as large as was asked for again. */
void daypack_press_memory(const daypack_engine *engine, bool pressed);
/* The budget of the plan that would run without that. */
uint64_t daypack_unpressed_budget(const daypack_engine *engine);
/* Whether the window under way has to be discarded for memory. */
bool daypack_must_give_back(const daypack_engine *engine);
void daypack_end_shard(const daypack_engine *engine);
/* Between two windows, or with `discard` instead of the rest of one: change to the plan that is wanted. */
DAYPACK_MUST_CHECK daypack_code daypack_follow_wishes(daypack_engine *engine, bool discard);

/* arena.c */
bool daypack_fits(uint64_t offset_bytes, uint64_t size_bytes, uint64_t limit_bytes);
bool daypack_add(uint64_t *sum, uint64_t term);
bool daypack_align(uint64_t *value, uint64_t alignment);
DAYPACK_MUST_CHECK daypack_code daypack_choose_threads(daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_code daypack_map_arena(daypack_engine *engine);
/* What may be in memory before the run begins, beside tables, executable and one thread; UINT64_MAX: anything. */
uint64_t daypack_room_bytes(const daypack_engine *engine);
/* Whole pages of the arena [from, to) go back to the system; they read as zero when they are used again. */
void daypack_release_arena(const daypack_engine *engine, uint64_t from_bytes, uint64_t to_bytes);

/* Of the arena in aligned blocks: bytes of those that were written since it was painted, and where the last ends. */
typedef struct {
  uint64_t touched_bytes;
  uint64_t top_bytes;
} daypack_arena_audit;

/* Makes every page of the arena resident. */
void daypack_paint_arena(daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_arena_audit daypack_audit_arena(const daypack_engine *engine);

/* paged_files.c */
DAYPACK_MUST_CHECK daypack_code daypack_open_weights(daypack_engine *engine);
/* The same file at `path` past the system's cache, where --direct asks for it. */
DAYPACK_MUST_CHECK daypack_code daypack_open_direct(daypack_engine *engine, daypack_paged_file *file, const char *path,
                                                    int (*open)(const char *path));
void daypack_close_file(const daypack_platform *platform, daypack_paged_file *file);
/* As daypack_read_range and daypack_write_range, past the cache where the file has `direct`. Where it has a tree, each
 * block is checked at its first read (DAYPACK_ALTERED); `count` leaves out what is read of a block for its check alone.
 * `daypack_read_unchecked` does not look at the tree. */
DAYPACK_MUST_CHECK int64_t daypack_read_unchecked(const daypack_platform *platform, const daypack_paged_file *file,
                                                  daypack_range *rest, uint64_t *count);
DAYPACK_MUST_CHECK int64_t daypack_read_paged(const daypack_platform *platform, const daypack_paged_file *file,
                                              daypack_range *rest, uint64_t *count);
DAYPACK_MUST_CHECK int64_t daypack_write_paged(const daypack_platform *platform, const daypack_paged_file *file,
                                               daypack_range *rest, uint64_t *count);
/* Read in the caller's thread. */
DAYPACK_MUST_CHECK daypack_code daypack_read_now(daypack_engine *engine, uint32_t file, void *data,
                                                 uint64_t size_bytes, uint64_t offset_bytes);

/* rows.c */
/* The operands of a rows instruction: one record. */
const daypack_plan_rows *daypack_rows_of(const daypack_plan *plan, const daypack_plan_instruction *instruction);
DAYPACK_MUST_CHECK daypack_code daypack_page_rows(daypack_engine *engine, const daypack_plan_instruction *instruction);

/* pager.c: the thread that does the transfers of a step, one after another */
DAYPACK_MUST_CHECK daypack_code daypack_start_pager(daypack_engine *engine);
/* A step begins with instruction number `index`, before which are so many transfers. The pager must be idle. */
void daypack_begin_transfers(uint64_t index, uint64_t transfers);
/* Instruction number `index` of the step may begin, and every one before it. */
void daypack_post_transfer(uint64_t index);
/* Wait until the first `transfers` of the step are done, or one has failed. */
DAYPACK_MUST_CHECK daypack_code daypack_wait_transfers(daypack_engine *engine, uint64_t transfers);
/* Drop the transfers of the step that are not done, waiting for the piece under way; the error of one that failed. */
DAYPACK_MUST_CHECK daypack_code daypack_cancel_transfers(daypack_engine *engine);
/* Begin no other transfer; return when none is under way. */
void daypack_stop_pager(void);

/* data.c */
/* data.bin, or the file that --data names; a raw one is only opened. */
DAYPACK_MUST_CHECK daypack_code daypack_open_data(daypack_engine *engine);
/* The CRC-32 of a data file of this many bytes, but for its header; false when it cannot be read. */
DAYPACK_MUST_CHECK bool daypack_examples_crc32(daypack_engine *engine, int file, uint64_t file_bytes, uint32_t *crc32);
/* Whether the run's own tokens are there, whole, undamaged, and of this source. */
DAYPACK_MUST_CHECK bool daypack_data_is_of(daypack_engine *engine, const uint8_t source[DAYPACK_SOURCE_BYTES]);
DAYPACK_MUST_CHECK daypack_code daypack_open_tokens(daypack_engine *engine);
/* The examples of a batch instruction into the arena; `step` is the clock before the step. */
DAYPACK_MUST_CHECK daypack_code daypack_read_batch(daypack_engine *engine, uint64_t step,
                                                   const daypack_plan_instruction *instruction);
/* Steps that take every example at least once. */
DAYPACK_MUST_CHECK uint64_t daypack_steps_of_pass(const daypack_engine *engine);
/* Place `place` < `count` in the order of an epoch. */
DAYPACK_MUST_CHECK uint64_t daypack_permute(uint64_t place, uint64_t count, uint64_t seed, uint64_t epoch);

/* token_file.c: of raw data the run's own data file, in the state directory; the journal must be open */
DAYPACK_MUST_CHECK daypack_code daypack_prepare_data(daypack_engine *engine);

/* tokenize_file.c: the ids of the text that --tokenize names, as events */
DAYPACK_MUST_CHECK daypack_code daypack_tokenize_file(daypack_engine *engine);

/* crc32.c */
void daypack_prepare_crc32(const daypack_platform *platform);
uint32_t daypack_crc32(const void *data, uint64_t size_bytes);
/* Without the inversions at both ends: 0 begins a sum that can be appended. */
DAYPACK_MUST_CHECK uint32_t daypack_crc32_raw(uint32_t sum, const void *data, uint64_t size_bytes);
/* The sum of bytes and those behind them, of which there are `second_bytes`. */
DAYPACK_MUST_CHECK uint32_t daypack_crc32_append(uint32_t first, uint32_t second_raw, uint64_t second_bytes);

/* blocks.c: checksums of the state */
/* Where the digits are in the state's header, how many; false where it has none. */
DAYPACK_MUST_CHECK bool daypack_find_digits(daypack_plan *plan);
/* A range of the state's file that is one of its records. */
DAYPACK_MUST_CHECK bool daypack_is_record(const daypack_plan *plan, uint64_t offset_bytes, uint64_t size_bytes);
DAYPACK_MUST_CHECK daypack_code daypack_map_blocks(daypack_engine *engine);
/* Bytes of the record at `record_offset_bytes` of the next generation, in the order in which they lie in it. */
void daypack_sum_range(const daypack_engine *engine, uint64_t record_offset_bytes, const uint8_t *data,
                       uint64_t size_bytes, uint64_t offset_bytes);
/* The sums of all ranges and the policy's words, into the header. */
void daypack_write_digits(daypack_engine *engine);
/* Bytes of the state's header against the plan's; keeps their digits. */
DAYPACK_MUST_CHECK daypack_code daypack_compare_header(daypack_engine *engine, const uint8_t *bytes,
                                                       uint64_t size_bytes, uint64_t offset_bytes);
/* The state's data against those digits. */
DAYPACK_MUST_CHECK daypack_code daypack_check_blocks(daypack_engine *engine);

/* journal.c */
DAYPACK_MUST_CHECK daypack_code daypack_open_journal(daypack_engine *engine);
/* For an evaluation: the paths, and no run beside it. Nothing is made. */
DAYPACK_MUST_CHECK daypack_code daypack_open_journal_to_read(daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_code daypack_open_state(daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_code daypack_restore(daypack_engine *engine);
/* The file of the next generation, so that a step can store into it. */
DAYPACK_MUST_CHECK daypack_code daypack_begin_generation(daypack_engine *engine);
/* Remove what is not the state: a generation that was begun, or the one before the last. */
void daypack_abandon_generation(daypack_engine *engine);
/* Make the state of engine->step the one on disk. */
DAYPACK_MUST_CHECK daypack_code daypack_save(daypack_engine *engine);

/* suspend.c: the window that is under way, kept at places that the plan names */
/* Keep it at a suspend instruction; `step` is the clock before the step. Not being able to is no failure. */
DAYPACK_MUST_CHECK daypack_code daypack_keep_window(daypack_engine *engine, uint64_t step,
                                                    const daypack_plan_instruction *instruction);
/* Go on with the one that is on disk, if it is of this state, plan and data: sets resume_at. Else it is removed. */
DAYPACK_MUST_CHECK daypack_code daypack_take_up_window(daypack_engine *engine);
/* The state on disk has what was kept. */
void daypack_forget_window(daypack_engine *engine);

/* threads.c */
DAYPACK_MUST_CHECK daypack_code daypack_start_pool(daypack_engine *engine);
/* False when a stop was requested before every tile was computed. */
DAYPACK_MUST_CHECK bool daypack_run_phase(daypack_pool *pool, const daypack_linked_phase *phase,
                                          void *const *arguments);

/* How many threads compute, the caller first, and where each runs; false where clocks cannot be capped. */
bool daypack_place_pool(daypack_pool *pool, const daypack_placement *places, uint32_t threads);
uint32_t daypack_pool_threads(const daypack_pool *pool);

/* policy.c */
DAYPACK_MUST_CHECK daypack_code daypack_load_policy(daypack_engine *engine, daypack_policy *policy);

/* governor.c */
daypack_governor *daypack_new_governor(void);
DAYPACK_MUST_CHECK daypack_code daypack_start_governor(daypack_engine *engine);
/* `shard`: the number of the first that runs. */
void daypack_begin_governed_step(daypack_engine *engine, uint64_t shard);
/* Obey, decide, and wait for as long as nothing may run. */
DAYPACK_MUST_CHECK daypack_code daypack_between_shards(daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_code daypack_shard_is_done(daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_code daypack_end_governed_step(daypack_engine *engine, bool last);
/* Seconds since the midnight before the start, by the owner's clock; never back. */
double daypack_governor_now_s(daypack_engine *engine);
double daypack_gear_watts(const daypack_governor *governor, int32_t gear);

/* pressure.c */
/* Once a second: whether the system wants memory back, or has enough again. */
DAYPACK_MUST_CHECK daypack_code daypack_watch_memory(daypack_engine *engine);

/* gears.c */
void daypack_find_clusters(daypack_engine *engine, daypack_governor *governor);
void daypack_shift(daypack_engine *engine, int32_t gear);

/* Every thread to where --cpus and --clamp say, for measurements. */
DAYPACK_MUST_CHECK daypack_code daypack_pin(daypack_engine *engine);

/* account.c */
void daypack_open_account(daypack_engine *engine);
void daypack_save_account(daypack_engine *engine);

/* sensors.c */
extern const char *const daypack_sensor_paths[];
bool daypack_sensor_number(const daypack_platform *platform, const char *root, const char *path, double *value);
double daypack_degrees(double raw, double per_degree);
/* Of memory alone: pressure, and what this process could have. */
void daypack_sense_memory(const daypack_platform *platform, const char *root, daypack_sensed *sensed);
void daypack_sense_linux(const daypack_platform *platform, const char *root, daypack_sensed *sensed);

/* belief.c */
/* Read, and make what is believed of it. */
void daypack_sense(daypack_engine *engine, double at_s);
void daypack_believe(daypack_governor *governor, const daypack_sensed *sensed, double at_s);
/* The job has drawn so much since the last time. */
void daypack_heat(daypack_governor *governor, double watts, double seconds);

/* commands.c */
DAYPACK_MUST_CHECK daypack_code daypack_start_commands(daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_code daypack_obey_commands(daypack_engine *engine);
bool daypack_stopped_by_command(void);

/* executor.c */
DAYPACK_MUST_CHECK daypack_code daypack_run_setup(daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_code daypack_run_steps(daypack_engine *engine);
/* The plan's steps, all transfers done. `number` counts windows: it says which records are read. */
DAYPACK_MUST_CHECK daypack_code daypack_run_window(daypack_engine *engine, uint64_t number);
/* Completed steps of the state in memory. */
uint32_t daypack_clock_step(const daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_code daypack_fail_stopped(daypack_error *error, const daypack_engine *engine);

/* evaluate.c */
typedef struct {
  uint64_t rows; /* with labels; of a question only the right option's */
  uint64_t labels;
  double log_likelihood;
  uint64_t questions;
  uint64_t right;           /* by the sum over an option's labels */
  uint64_t right_by_length; /* by that sum over their number */
} daypack_evaluation;

DAYPACK_MUST_CHECK daypack_code daypack_run_evaluation(daypack_engine *engine);

/* telemetry.c */
typedef struct {
  bool discarded;     /* the window under way */
  uint64_t begin_ns;  /* of the change */
  uint64_t wait_ns;   /* from the wish for less memory until it was given back; 0 otherwise */
  uint64_t rss_bytes; /* then */
} daypack_change;
DAYPACK_MUST_CHECK daypack_code daypack_report_start(daypack_engine *engine, uint32_t step);
DAYPACK_MUST_CHECK daypack_code daypack_report_plan(daypack_engine *engine, const daypack_change *change);
DAYPACK_MUST_CHECK daypack_code daypack_report_step(daypack_engine *engine, uint32_t step, float loss, float weight,
                                                    uint64_t elapsed_ns);
/* A step goes on that an earlier run has begun and read so many micro-batches of. */
DAYPACK_MUST_CHECK daypack_code daypack_report_resumed(daypack_engine *engine, uint64_t micro_batches);
DAYPACK_MUST_CHECK daypack_code daypack_report_profile(daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_code daypack_report_end(daypack_engine *engine, uint64_t steps);
DAYPACK_MUST_CHECK daypack_code daypack_report_rows(daypack_engine *engine, uint64_t batch, const float *log_likelihood,
                                                    const float *labels, uint32_t rows);
DAYPACK_MUST_CHECK daypack_code daypack_report_evaluated(daypack_engine *engine, const daypack_evaluation *found,
                                                         uint64_t elapsed_ns);
DAYPACK_MUST_CHECK daypack_code daypack_report_verified(daypack_engine *engine);
DAYPACK_MUST_CHECK daypack_code daypack_report_ids(daypack_engine *engine, const uint32_t *ids, uint32_t count);
/* `tokens` were made, or those of an earlier run are used. */
DAYPACK_MUST_CHECK daypack_code daypack_report_prepared(daypack_engine *engine, bool reused, uint64_t tokens,
                                                        uint64_t elapsed_ns);
DAYPACK_MUST_CHECK daypack_code daypack_report_tokenized(daypack_engine *engine, uint64_t tokens, uint64_t memory_bytes);
/* Parts of a line of their own for other files: text, a quoted string, its end. */
void daypack_line(const char *format, ...) DAYPACK_PRINTF(1, 2);
void daypack_line_text(const char *text);
DAYPACK_MUST_CHECK daypack_code daypack_line_send(daypack_engine *engine);

/* report_governor.c */
DAYPACK_MUST_CHECK daypack_code daypack_report_decision(daypack_engine *engine, double at_s);
DAYPACK_MUST_CHECK daypack_code daypack_report_note(daypack_engine *engine, const char *text);
DAYPACK_MUST_CHECK daypack_code daypack_report_refused(daypack_engine *engine, const daypack_command *command,
                                                       const char *why);
DAYPACK_MUST_CHECK daypack_code daypack_report_done(daypack_engine *engine, const daypack_command *command,
                                                    const char *name);
DAYPACK_MUST_CHECK daypack_code daypack_report_status(daypack_engine *engine, const daypack_command *command);
void daypack_report_error(const daypack_platform *platform, const daypack_error *error);

#endif
