/* SIGNATURE: whose word the manifest is. Read only where the command line asks for a signer.
 *
 * The file names its key, so that a refusal can say whose signature it found; only the key of the command line
 * decides. */
#include <errno.h>
#include <string.h>

#include "internal.h"

static const char BEGINNING[] = "daypack-signature 1\ned25519 ";
enum {
  SIGNATURE_BYTES = 64,
  BEGINNING_BYTES = sizeof BEGINNING - 1,
  TEXT_BYTES = BEGINNING_BYTES + 2 * DAYPACK_KEY_BYTES + 1 + 2 * SIGNATURE_BYTES + 1,
};

typedef struct {
  uint8_t key[DAYPACK_KEY_BYTES];
  uint8_t signature[SIGNATURE_BYTES];
} signed_by;

extern bool daypack_ed25519_verify(const uint8_t key[DAYPACK_KEY_BYTES], const uint8_t signature[SIGNATURE_BYTES],
                                   const uint8_t *data, size_t size_bytes);

static bool parse(const char text[TEXT_BYTES + 1], signed_by *found) {
  if (memcmp(text, BEGINNING, BEGINNING_BYTES) != 0) return false;
  const char *cursor = daypack_parse_hex(text + BEGINNING_BYTES, found->key, DAYPACK_KEY_BYTES);
  if (cursor == NULL || *cursor++ != ' ') return false;
  cursor = daypack_parse_hex(cursor, found->signature, SIGNATURE_BYTES);
  return cursor != NULL && *cursor == '\n';
}

static daypack_code read_signature(daypack_engine *engine, const char *key, signed_by *found) {
  char path[DAYPACK_PATH_BYTES];
  char text[TEXT_BYTES + 1] = "";
  uint64_t size_bytes = 0;
  daypack_code code = daypack_join(&engine->error, path, engine->options.bundle, "/", "SIGNATURE");
  if (code != DAYPACK_OK) return code;
  int file = engine->platform->open_plain(path);
  if (file == -ENOENT)
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "SIGNATURE: expected a signature of the bundle by the key %s, found none; get the bundle from who "
                        "holds that key, or sign it with `daypack sign`",
                        key);
  code = daypack_check_opened(engine, DAYPACK_BAD_BUNDLE, path, file, &size_bytes);
  if (code != DAYPACK_OK) return code;
  if (size_bytes == TEXT_BYTES) code = daypack_read_exactly(engine, file, "SIGNATURE", text, TEXT_BYTES, 0);
  (void)engine->platform->close(file);
  if (code == DAYPACK_OK && !parse(text, found))
    code = daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "SIGNATURE: expected 'daypack-signature 1' and a line 'ed25519 <public key> <signature>', found "
                        "other bytes; sign the bundle again");
  return code;
}

daypack_code daypack_check_signature(daypack_engine *engine, const char *text, size_t size_bytes) {
  char expected[2 * DAYPACK_KEY_BYTES + 1];
  char other[2 * DAYPACK_KEY_BYTES + 1];
  const uint8_t *key = engine->options.signer;
  signed_by found;
  if (!engine->options.require_signature) return DAYPACK_OK;
  daypack_to_hex(key, DAYPACK_KEY_BYTES, expected);
  daypack_code code = read_signature(engine, expected, &found);
  if (code != DAYPACK_OK) return code;
  if (memcmp(found.key, key, DAYPACK_KEY_BYTES) != 0) {
    daypack_to_hex(found.key, DAYPACK_KEY_BYTES, other);
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "SIGNATURE: expected a signature by the key %s, found one by %s; get the bundle from who holds "
                        "the first, or require the other",
                        expected, other);
  }
  if (!daypack_ed25519_verify(key, found.signature, (const uint8_t *)text, size_bytes))
    return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                        "SIGNATURE: expected the signature of this MANIFEST by the key %s, found another: one of the two "
                        "files was changed after signing; copy the bundle again",
                        expected);
  return DAYPACK_OK;
}
