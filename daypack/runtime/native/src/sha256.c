/* Which of shim.zig's two builds of SHA-256 to use: the one on the processor's own instructions is about seven
 * times as fast (1,045 against 149 MB/s on one x86-64 host), and a bundle's weights are hashed at every start. */
#include "internal.h"

extern void daypack_sha256_init_plain(daypack_sha256 *state);
extern void daypack_sha256_update_plain(daypack_sha256 *state, const uint8_t *data, size_t size_bytes);
extern void daypack_sha256_final_plain(daypack_sha256 *state, uint8_t digest[32]);
extern void daypack_sha256_init_accelerated(daypack_sha256 *state);
extern void daypack_sha256_update_accelerated(daypack_sha256 *state, const uint8_t *data, size_t size_bytes);
extern void daypack_sha256_final_accelerated(daypack_sha256 *state, uint8_t digest[32]);

static const daypack_sha256_functions PLAIN = {daypack_sha256_init_plain, daypack_sha256_update_plain,
                                               daypack_sha256_final_plain};
static const daypack_sha256_functions ACCELERATED = {
    daypack_sha256_init_accelerated, daypack_sha256_update_accelerated, daypack_sha256_final_accelerated};

const daypack_sha256_functions *daypack_choose_sha256(const daypack_platform *platform) {
#if defined(__x86_64__)
  bool accelerated =
      platform->has_feature(DAYPACK_FEATURE_X86_64_SHA) && platform->has_feature(DAYPACK_FEATURE_X86_64_AVX2);
#else
  bool accelerated = platform->has_feature(DAYPACK_FEATURE_AARCH64_SHA2);
#endif
  return accelerated ? &ACCELERATED : &PLAIN;
}
