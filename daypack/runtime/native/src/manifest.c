/* MANIFEST: every file of the bundle with its size and SHA-256. All sizes and the small files are checked before
 * anything is used, blocks of large files when they are first read, and the bundle's own state now if there can be no
 * other, else when a run begins from it; with --verify-only all at once.
 *
 * The file itself is untrusted: strict lines, plain sorted names, nothing that could leave the directory. */
#include <string.h>

#include "internal.h"

static const char FIRST_LINE[] = "daypack-bundle 1\n";
static const char *const REQUIRED[] = {"bundle.json", "engine", "plan.bin", "state.safetensors", "weights.bin"};
enum { REQUIRED_COUNT = sizeof REQUIRED / sizeof REQUIRED[0], NAME_BYTES = 128 };

typedef struct {
  uint8_t digest[DAYPACK_DIGEST_BYTES];
  uint64_t size_bytes;
  char name[NAME_BYTES];
} entry;

static char text[DAYPACK_MANIFEST_BYTES];

static bool is_name_character(char character) {
  return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
         (character >= '0' && character <= '9') || character == '.' || character == '_' || character == '-';
}

static bool parse_digest(const char **cursor, uint8_t digest[DAYPACK_DIGEST_BYTES]) {
  const char *next = daypack_parse_hex(*cursor, digest, DAYPACK_DIGEST_BYTES);
  if (next == NULL) return false;
  *cursor = next + 1;
  return *next == ' ';
}

static bool parse_size(const char **cursor, uint64_t *size_bytes) {
  const char *first = *cursor;
  uint64_t value = 0;
  for (; **cursor >= '0' && **cursor <= '9'; (*cursor)++) {
    if (value > UINT64_MAX / 16) return false;
    value = value * 10 + (uint64_t)(**cursor - '0');
  }
  *size_bytes = value;
  bool canonical = *cursor != first && (*first != '0' || *cursor == first + 1);
  return *(*cursor)++ == ' ' && canonical;
}

static bool is_reserved(const char *name) { return strcmp(name, "MANIFEST") == 0 || strcmp(name, "SIGNATURE") == 0; }

static bool parse_name(const char **cursor, char name[NAME_BYTES]) {
  size_t length = 0;
  while (is_name_character(**cursor) && length < NAME_BYTES - 1) name[length++] = *(*cursor)++;
  name[length] = '\0';
  return length > 0 && *(*cursor)++ == '\n' && name[0] != '.' && !is_reserved(name);
}

/* The text ends with '\0', which no parser steps over: each stops at the first character it does not know. */
static bool parse_entry(const char **cursor, entry *found) {
  return parse_digest(cursor, found->digest) && parse_size(cursor, &found->size_bytes) &&
         parse_name(cursor, found->name);
}

/* N of plan-N.bin, 0 of plan.bin, or -1. */
static int plan_number(const char *name) {
  if (strcmp(name, "plan.bin") == 0) return 0;
  if (strncmp(name, "plan-", 5) != 0 || name[5] < '1' || name[5] > '9') return -1;
  int number = name[5] - '0';
  const char *rest = name + 6;
  if (*rest >= '0' && *rest <= '9') number = number * 10 + *rest++ - '0';
  return strcmp(rest, ".bin") == 0 && number < (int)DAYPACK_MAX_PLANS ? number : -1;
}

static daypack_code hash_file(daypack_engine *engine, int file, const char *name, uint64_t size_bytes,
                              uint8_t digest[DAYPACK_DIGEST_BYTES]) {
  const daypack_sha256_functions *sha256 = daypack_choose_sha256(engine->platform);
  daypack_sha256 state;
  sha256->init(&state);
  for (uint64_t offset = 0; offset < size_bytes;) {
    uint64_t rest = size_bytes - offset;
    uint64_t size = rest < DAYPACK_IO_BYTES ? rest : DAYPACK_IO_BYTES;
    if (engine->platform->stop_requested())
      return daypack_fail(&engine->error, DAYPACK_STOPPED, "stopped by a signal while the bundle was checked");
    daypack_code code = daypack_read_exactly(engine, file, name, daypack_io_buffer, size, offset);
    if (code != DAYPACK_OK) return code;
    sha256->update(&state, daypack_io_buffer, (size_t)size);
    offset += size;
  }
  sha256->final(&state, digest);
  return DAYPACK_OK;
}

static daypack_code compare(daypack_error *error, const char *name, const uint8_t listed[DAYPACK_DIGEST_BYTES],
                            const uint8_t digest[DAYPACK_DIGEST_BYTES]) {
  char expected[2 * DAYPACK_DIGEST_BYTES + 1];
  char found[2 * DAYPACK_DIGEST_BYTES + 1];
  if (memcmp(digest, listed, DAYPACK_DIGEST_BYTES) == 0) return DAYPACK_OK;
  daypack_to_hex(listed, DAYPACK_DIGEST_BYTES, expected);
  daypack_to_hex(digest, DAYPACK_DIGEST_BYTES, found);
  return daypack_fail(error, DAYPACK_BAD_BUNDLE,
                      "%s: expected SHA-256 %s as MANIFEST says, found %s; copy the bundle again", name, expected, found);
}

static daypack_code check_size(daypack_error *error, const char *name, uint64_t listed_bytes, uint64_t size_bytes) {
  if (size_bytes == listed_bytes) return DAYPACK_OK;
  return daypack_fail(error, DAYPACK_BAD_BUNDLE, "%s: expected %llu bytes as MANIFEST says, found %llu; copy the bundle again",
                      name, (unsigned long long)listed_bytes, (unsigned long long)size_bytes);
}

/* Whether a file's bytes are checked when they are first read; where, is kept. */
static bool is_checked_later(daypack_engine *engine, const entry *listed) {
  if (engine->options.verify_only) return false;
  if (strcmp(listed->name, "state.safetensors") == 0) {
    engine->start_bytes = listed->size_bytes;
    memcpy(engine->start_digest, listed->digest, sizeof engine->start_digest);
    engine->start_checked = engine->options.fresh || engine->state_missing;
    return !engine->start_checked;
  }
  if (!engine->tree_listed) return false;
  daypack_tree_place *place = strcmp(listed->name, "weights.bin") == 0 ? &engine->weights_tree
                              : strcmp(listed->name, "data.bin") == 0  ? &engine->data_tree
                                                                       : NULL;
  if (place != NULL) place->file_bytes = listed->size_bytes;
  return place != NULL;
}

static daypack_code check_opened(daypack_engine *engine, int file, const entry *listed, uint64_t size_bytes) {
  uint8_t digest[DAYPACK_DIGEST_BYTES];
  daypack_code code = check_size(&engine->error, listed->name, listed->size_bytes, size_bytes);
  if (code != DAYPACK_OK || is_checked_later(engine, listed)) return code;
  code = strcmp(listed->name, "blocks.bin") == 0 ? daypack_open_tree(engine, file, size_bytes, digest)
                                                 : hash_file(engine, file, listed->name, size_bytes, digest);
  return code == DAYPACK_OK ? compare(&engine->error, listed->name, listed->digest, digest) : code;
}

static daypack_code check_file(daypack_engine *engine, const entry *listed) {
  int file = -1;
  uint64_t size_bytes = 0;
  daypack_code code =
      daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, listed->name, &file, &size_bytes);
  if (code != DAYPACK_OK) return code;
  code = check_opened(engine, file, listed, size_bytes);
  engine->tree_listed = engine->tree_listed || strcmp(listed->name, "blocks.bin") == 0;
  if (code != DAYPACK_OK || strcmp(listed->name, "blocks.bin") != 0) (void)engine->platform->close(file);
  return code;
}

daypack_code daypack_check_start(daypack_engine *engine, int file) {
  uint8_t digest[DAYPACK_DIGEST_BYTES];
  if (engine->start_checked || engine->start_bytes == 0) return DAYPACK_OK;
  daypack_code code = hash_file(engine, file, "state.safetensors", engine->start_bytes, digest);
  if (code == DAYPACK_OK) code = compare(&engine->error, "state.safetensors", engine->start_digest, digest);
  engine->start_checked = code == DAYPACK_OK;
  return code;
}

static daypack_code read_text(daypack_engine *engine) {
  int file = -1;
  uint64_t size_bytes = 0;
  daypack_code code =
      daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, "MANIFEST", &file, &size_bytes);
  if (code != DAYPACK_OK) return code;
  if (size_bytes >= sizeof text)
    code = daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "MANIFEST: expected less than %zu bytes, found %llu",
                        sizeof text, (unsigned long long)size_bytes);
  if (code == DAYPACK_OK) code = daypack_read_exactly(engine, file, "MANIFEST", text, size_bytes, 0);
  (void)engine->platform->close(file);
  if (code != DAYPACK_OK) return code;
  text[size_bytes] = '\0';
  if (strlen(text) != size_bytes || strncmp(text, FIRST_LINE, sizeof FIRST_LINE - 1) != 0)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "MANIFEST: expected the first line 'daypack-bundle 1', found another: not a bundle, or one of "
                        "another version");
  return daypack_check_signature(engine, text, (size_t)size_bytes);
}

daypack_code daypack_verify_manifest(daypack_engine *engine) {
  daypack_code code = read_text(engine);
  if (code != DAYPACK_OK) return code;
  const char *cursor = text + sizeof FIRST_LINE - 1;
  entry previous = {.name = ""};
  entry listed;
  size_t required = 0;
  while (*cursor != '\0') {
    if (!parse_entry(&cursor, &listed) || strcmp(previous.name, listed.name) >= 0)
      return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                          "MANIFEST: line %u: expected '<sha256> <size> <name>' with plain names in ascending order, "
                          "found another line",
                          engine->listed_files + 2);
    code = check_file(engine, &listed);
    if (code != DAYPACK_OK) return code;
    if (required < REQUIRED_COUNT && strcmp(listed.name, REQUIRED[required]) == 0) required++;
    if (strcmp(listed.name, "engine") == 0) engine->engine_bytes = listed.size_bytes;
    int plan = plan_number(listed.name);
    if (plan >= 0) engine->listed_plans |= 1u << plan;
    if (strcmp(listed.name, "data.bin") == 0) engine->data_listed = true;
    if (strcmp(listed.name, "eval.bin") == 0) engine->evaluation_listed = true;
    if (strcmp(listed.name, "policy.bin") == 0) {
      engine->policy_listed = true;
      engine->policy_bytes = listed.size_bytes;
    }
    if (strcmp(listed.name, "tokenizer.dpt") == 0) {
      engine->tokenizer_listed = true;
      memcpy(engine->tokenizer_digest, listed.digest, sizeof listed.digest);
    }
    if (strcmp(listed.name, "corpus.bin") == 0) {
      engine->corpus_listed = true;
      memcpy(engine->corpus_digest, listed.digest, sizeof listed.digest);
    }
    engine->listed_files++;
    previous = listed;
  }
  if (required < REQUIRED_COUNT)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE, "MANIFEST: expected an entry for %s, found none",
                        REQUIRED[required]);
  return engine->tree_listed && !engine->options.verify_only ? daypack_place_tree(engine) : DAYPACK_OK;
}
