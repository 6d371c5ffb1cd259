/* MANIFEST and SIGNATURE: the first byte says how long the signature is (0: none is required), the manifest follows. */
#include <string.h>

#include "fixture.h"
#include "memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const EMPTY[] = {"bundle.json", "engine", "plan.bin", "state.safetensors", "tokenizer.dpt"};
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
  fuzz_file("data.bin", "abc", 3);
  fuzz_file("weights.bin", WEIGHTS, sizeof WEIGHTS);
  if (daypack_verify_manifest(engine) == DAYPACK_OK)
    fuzz_accept();
  else
    daypack_report_error(engine->platform, &engine->error);
  fuzz_end();
  return 0;
}
