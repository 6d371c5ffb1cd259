/* CRC-32 (reflected polynomial 0xEDB88320, the one of zlib and of the processor's own instruction on aarch64).
 *
 * "Raw" is without the inversions at both ends: such sums are linear, so those of neighbours can be joined without
 * their bytes. Where the processor multiplies polynomials (x86-64), 64 bytes at a time are folded into the next (Gopal
 * et al., "Fast CRC computation for generic polynomials using PCLMULQDQ instruction", 2009). Else 16 bytes at a time
 * by tables (Kounavis and Berry, "A systematic approach to building high performance software-based CRC generators",
 * 2005). */
#include <string.h>

#include "internal.h"

#if defined(__aarch64__)
#include <arm_acle.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

enum { POLYNOMIAL_BITS = 32, SLICES = 16 };
static const uint32_t POLYNOMIAL = 0xEDB88320;

static uint32_t tables[SLICES][256];
static uint32_t byte_powers[64]; /* x to the power 8 * 2^index, modulo the polynomial */
static bool by_instruction;

/* a * b modulo the polynomial; bit 31 is the coefficient of 1. */
static uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (int bit = 0; bit < POLYNOMIAL_BITS; bit++) {
    if ((a & (UINT32_C(1) << 31)) != 0) product ^= b;
    a <<= 1;
    b = (b >> 1) ^ ((b & 1) != 0 ? POLYNOMIAL : 0);
  }
  return product;
}

void daypack_prepare_crc32(const daypack_platform *platform) {
#if defined(__aarch64__)
  by_instruction = platform->has_feature(DAYPACK_FEATURE_AARCH64_CRC);
#elif defined(__x86_64__)
  unsigned a, b, c, d;
  by_instruction = platform->has_feature(DAYPACK_FEATURE_X86_64_SSE4_1) && __get_cpuid(1, &a, &b, &c, &d) != 0 &&
                   (c & bit_PCLMUL) != 0;
#endif
  for (uint32_t value = 0; value < 256; value++) {
    uint32_t sum = value;
    for (int bit = 0; bit < 8; bit++) sum = (sum >> 1) ^ ((sum & 1) != 0 ? POLYNOMIAL : 0);
    tables[0][value] = sum;
  }
  for (uint32_t value = 0; value < 256; value++)
    for (int slice = 1; slice < SLICES; slice++) {
      uint32_t before = tables[slice - 1][value];
      tables[slice][value] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  byte_powers[0] = UINT32_C(1) << (31 - 8);
  for (int index = 1; index < 64; index++) byte_powers[index] = multiply(byte_powers[index - 1], byte_powers[index - 1]);
}

static uint32_t by_tables(uint32_t sum, const uint8_t *data, uint64_t size_bytes) {
  for (; size_bytes >= SLICES; data += SLICES, size_bytes -= SLICES) {
    uint32_t words[SLICES / 4];
    memcpy(words, data, sizeof words);
    words[0] ^= sum;
    sum = 0;
    for (int word = 0; word < SLICES / 4; word++)
      for (int byte = 0; byte < 4; byte++)
        sum ^= tables[SLICES - 1 - 4 * word - byte][(words[word] >> (8 * byte)) & 0xFF];
  }
  for (; size_bytes > 0; size_bytes--) sum = (sum >> 8) ^ tables[0][(sum ^ *data++) & 0xFF];
  return sum;
}

#if defined(__aarch64__)
__attribute__((target("crc"))) static uint32_t with_instruction(uint32_t sum, const uint8_t *data,
                                                                uint64_t size_bytes) {
  for (; size_bytes >= sizeof(uint64_t); data += sizeof(uint64_t), size_bytes -= sizeof(uint64_t)) {
    uint64_t word;
    memcpy(&word, data, sizeof word);
    sum = __crc32d(sum, word);
  }
  for (; size_bytes > 0; size_bytes--) sum = __crc32b(sum, *data++);
  return sum;
}
#elif defined(__x86_64__)
enum { LANES = 4, LANE_BYTES = sizeof(__m128i) };

/* 128 bits times x to a power, modulo the polynomial, plus what stands there. */
__attribute__((target("sse4.1,pclmul"))) static __m128i fold(__m128i bits, __m128i powers, __m128i there) {
  __m128i low = _mm_clmulepi64_si128(bits, powers, 0x00);
  __m128i high = _mm_clmulepi64_si128(bits, powers, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

__attribute__((target("sse4.1,pclmul"))) static uint32_t with_instruction(uint32_t sum, const uint8_t *data,
                                                                          uint64_t size_bytes) {
  const __m128i over_four = _mm_set_epi64x(0x1C6E41596, 0x154442BD4); /* x^480 and x^544, reflected */
  const __m128i over_one = _mm_set_epi64x(0x0CCAA009E, 0x1751997D0);  /* x^96 and x^160 */
  __m128i lanes[LANES];
  uint8_t rest[LANE_BYTES];
  if (size_bytes < LANES * LANE_BYTES) return by_tables(sum, data, size_bytes);
  for (int lane = 0; lane < LANES; lane++) lanes[lane] = _mm_loadu_si128((const __m128i *)(const void *)data + lane);
  lanes[0] = _mm_xor_si128(lanes[0], _mm_cvtsi32_si128((int)sum));
  for (;;) {
    data += LANES * LANE_BYTES;
    size_bytes -= LANES * LANE_BYTES;
    if (size_bytes < LANES * LANE_BYTES) break;
    for (int lane = 0; lane < LANES; lane++)
      lanes[lane] = fold(lanes[lane], over_four, _mm_loadu_si128((const __m128i *)(const void *)data + lane));
  }
  for (int lane = 1; lane < LANES; lane++) lanes[lane] = fold(lanes[lane - 1], over_one, lanes[lane]);
  _mm_storeu_si128((__m128i *)(void *)rest, lanes[LANES - 1]);
  return by_tables(by_tables(0, rest, sizeof rest), data, size_bytes);
}
#endif

uint32_t daypack_crc32_raw(uint32_t sum, const void *data, uint64_t size_bytes) {
  if (by_instruction) return with_instruction(sum, data, size_bytes);
  return by_tables(sum, data, size_bytes);
}

uint32_t daypack_crc32_append(uint32_t first, uint32_t second_raw, uint64_t second_bytes) {
  for (int index = 0; second_bytes > 0; index++, second_bytes >>= 1)
    if ((second_bytes & 1) != 0) first = multiply(first, byte_powers[index]);
  return first ^ second_raw;
}

uint32_t daypack_crc32(const void *data, uint64_t size_bytes) {
  return ~daypack_crc32_raw(UINT32_MAX, data, size_bytes);
}
