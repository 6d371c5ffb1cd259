/* MANIFEST and SIGNATURE: the first byte says how long the signature is (0: none is required), the manifest follows. Of a
 * bundle that is taken the weights are read, which checks their blocks. */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "memory.h"

static daypack_code read_start(daypack_engine *engine) {
  int file = -1;
  uint64_t size_bytes = 0;
  daypack_code code = daypack_open(engine, DAYPACK_BAD_BUNDLE, "bundle", "state.safetensors", &file, &size_bytes);
  return code == DAYPACK_OK ? daypack_check_start(engine, file) : code;
}

/* A part of a block, then all of it; with `whole` the other way round. */
static daypack_code read_weights(daypack_engine *engine, bool whole) {
  static uint8_t bytes[sizeof WEIGHTS];
  daypack_code code = daypack_open_weights(engine);
  for (int round = 0; code == DAYPACK_OK && round < 2; round++) {
    uint64_t from = whole == (round == 0) ? 0 : 100;
    code = daypack_read_now(engine, DAYPACK_FILE_WEIGHTS, bytes, sizeof WEIGHTS - 2 * from, from);
    if (code == DAYPACK_OK && memcmp(bytes, WEIGHTS + from, (size_t)(sizeof WEIGHTS - 2 * from)) != 0) abort();
  }
  return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const EMPTY[] = {"bundle.json", "engine", "plan.bin", "tokenizer.dpt"};
  if (size == 0) return 0;
  size_t signature = data[0] < size - 1 ? data[0] : size - 1;
  daypack_engine *engine = fuzz_begin();
  if (signature > 0) {
    fuzz_file("SIGNATURE", data + 1, signature);
    engine->options.require_signature = true;
    memcpy(engine->options.signer, SIGNER, sizeof SIGNER);
  }
  fuzz_file("MANIFEST", data + 1 + signature, size - 1 - signature);
  for (size_t index = 0; index < sizeof EMPTY / sizeof *EMPTY; index++) fuzz_file(EMPTY[index], data, 0);
  fuzz_file("state.safetensors", "start", 5);
  fuzz_file("data.bin", "abc", 3);
  fuzz_file("weights.bin", WEIGHTS, sizeof WEIGHTS);
  fuzz_file("blocks.bin", BLOCKS, sizeof BLOCKS);
  engine->options.verify_only = size % 4 == 0;
  daypack_code code = daypack_verify_manifest(engine);
  if (code == DAYPACK_OK) code = read_start(engine);
  if (code == DAYPACK_OK) code = read_weights(engine, size % 3 == 0);
  if (code == DAYPACK_OK)
    fuzz_accept();
  else
    daypack_report_error(engine->platform, &engine->error);
  fuzz_end();
  return 0;
}
