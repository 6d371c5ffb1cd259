/* MANIFEST: every file of the bundle with its size and SHA-256, all of them checked before anything is used.
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

static daypack_code hash_file(daypack_engine *engine, int file, const entry *listed, uint8_t digest[DAYPACK_DIGEST_BYTES]) {
  const daypack_sha256_functions *sha256 = daypack_choose_sha256(engine->platform);
  daypack_sha256 state;
  sha256->init(&state);
  for (uint64_t offset = 0; offset < listed->size_bytes;) {
    uint64_t rest = listed->size_bytes - offset;
    uint64_t size = rest < DAYPACK_IO_BYTES ? rest : DAYPACK_IO_BYTES;
    if (engine->platform->stop_requested())
      return daypack_fail(&engine->error, DAYPACK_STOPPED, "stopped by a signal while the bundle was checked");
    daypack_code code = daypack_read_exactly(engine, file, listed->name, daypack_io_buffer, size, offset);
    if (code != DAYPACK_OK) return code;
    sha256->update(&state, daypack_io_buffer, (size_t)size);
    offset += size;
  }
  sha256->final(&state, digest);
  return DAYPACK_OK;
}

static daypack_code check_file(daypack_engine *engine, const entry *listed) {
  int file = -1;
  uint64_t size_bytes = 0;
  uint8_t digest[DAYPACK_DIGEST_BYTES];
  daypack_code code =
      daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, listed->name, &file, &size_bytes);
  if (code != DAYPACK_OK) return code;
  if (size_bytes != listed->size_bytes) {
    (void)engine->platform->close(file);
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected %llu bytes as MANIFEST says, found %llu; copy the bundle again", listed->name,
                        (unsigned long long)listed->size_bytes, (unsigned long long)size_bytes);
  }
  code = hash_file(engine, file, listed, digest);
  (void)engine->platform->close(file);
  if (code != DAYPACK_OK) return code;
  if (memcmp(digest, listed->digest, DAYPACK_DIGEST_BYTES) != 0) {
    char expected[2 * DAYPACK_DIGEST_BYTES + 1];
    char found[2 * DAYPACK_DIGEST_BYTES + 1];
    daypack_to_hex(listed->digest, DAYPACK_DIGEST_BYTES, expected);
    daypack_to_hex(digest, DAYPACK_DIGEST_BYTES, found);
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "%s: expected SHA-256 %s as MANIFEST says, found %s; copy the bundle again", listed->name,
                        expected, found);
  }
  return DAYPACK_OK;
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
  return DAYPACK_OK;
}
