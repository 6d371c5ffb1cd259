/* Does this processor have what the kernels were compiled for? Asked before any kernel runs, because the answer
 * otherwise is an illegal instruction. Also asks whether the operating system saves the wide registers. */
#include "internal.h"

#if defined(__x86_64__)

#include <cpuid.h>

enum { EAX, EBX, ECX, EDX };

typedef struct {
  uint32_t feature;
  uint32_t leaf, subleaf;
  uint8_t register_index, bit;
  uint32_t saved; /* XCR0 bits the operating system must have set */
} cpu_bit;

enum { XMM = 0x2, YMM = 0x6, ZMM = 0xe6, NONE = 0 };

/* Intel SDM vol. 2A "CPUID", AMD APM vol. 3 appendix E; vol. 1 chapter 13 for XCR0. */
static const cpu_bit BITS[] = {
    {DAYPACK_FEATURE_X86_64_SSE2, 1, 0, EDX, 26, NONE},
    {DAYPACK_FEATURE_X86_64_SSE3, 1, 0, ECX, 0, NONE},
    {DAYPACK_FEATURE_X86_64_SSSE3, 1, 0, ECX, 9, NONE},
    {DAYPACK_FEATURE_X86_64_SSE4_1, 1, 0, ECX, 19, NONE},
    {DAYPACK_FEATURE_X86_64_SSE4_2, 1, 0, ECX, 20, NONE},
    {DAYPACK_FEATURE_X86_64_POPCNT, 1, 0, ECX, 23, NONE},
    {DAYPACK_FEATURE_X86_64_MOVBE, 1, 0, ECX, 22, NONE},
    {DAYPACK_FEATURE_X86_64_BMI, 7, 0, EBX, 3, NONE},
    {DAYPACK_FEATURE_X86_64_BMI2, 7, 0, EBX, 8, NONE},
    {DAYPACK_FEATURE_X86_64_LZCNT, 0x80000001u, 0, ECX, 5, NONE},
    {DAYPACK_FEATURE_X86_64_SSE4A, 0x80000001u, 0, ECX, 6, NONE},
    {DAYPACK_FEATURE_X86_64_FMA, 1, 0, ECX, 12, YMM},
    {DAYPACK_FEATURE_X86_64_F16C, 1, 0, ECX, 29, YMM},
    {DAYPACK_FEATURE_X86_64_AVX, 1, 0, ECX, 28, YMM},
    {DAYPACK_FEATURE_X86_64_AVX2, 7, 0, EBX, 5, YMM},
    {DAYPACK_FEATURE_X86_64_AVX512F, 7, 0, EBX, 16, ZMM},
    {DAYPACK_FEATURE_X86_64_AVX512BW, 7, 0, EBX, 30, ZMM},
    {DAYPACK_FEATURE_X86_64_AVX512CD, 7, 0, EBX, 28, ZMM},
    {DAYPACK_FEATURE_X86_64_AVX512DQ, 7, 0, EBX, 17, ZMM},
    {DAYPACK_FEATURE_X86_64_AVX512VL, 7, 0, EBX, 31, ZMM},
    {DAYPACK_FEATURE_X86_64_AVX512IFMA, 7, 0, EBX, 21, ZMM},
    {DAYPACK_FEATURE_X86_64_AVX512VBMI, 7, 0, ECX, 1, ZMM},
    {DAYPACK_FEATURE_X86_64_AVX512VNNI, 7, 0, ECX, 11, ZMM},
    {DAYPACK_FEATURE_X86_64_AVX512BF16, 7, 1, EAX, 5, ZMM},
    {DAYPACK_FEATURE_X86_64_AVX512FP16, 7, 0, EDX, 23, ZMM},
    {DAYPACK_FEATURE_X86_64_AVXVNNI, 7, 1, EAX, 4, YMM},
    {DAYPACK_FEATURE_X86_64_SHA, 7, 0, EBX, 29, NONE},
};

static uint32_t saved_registers(void) {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & (1u << 27)) == 0) return 0; /* OSXSAVE */
  __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return eax;
}

bool daypack_cpu_has_feature(uint32_t feature) {
  for (size_t index = 0; index < sizeof BITS / sizeof *BITS; index++) {
    const cpu_bit *bit = &BITS[index];
    uint32_t registers[4] = {0};
    if (bit->feature != feature) continue;
    if (!__get_cpuid_count(bit->leaf, bit->subleaf, &registers[EAX], &registers[EBX], &registers[ECX],
                           &registers[EDX]))
      return false;
    bool present = (registers[bit->register_index] >> bit->bit & 1) != 0;
    return present && (bit->saved == NONE || (saved_registers() & bit->saved) == bit->saved);
  }
  return false;
}

enum { THIS_ARCH = DAYPACK_ARCH_X86_64 };

#elif defined(__aarch64__)

#include <sys/auxv.h>

typedef struct {
  uint32_t feature;
  uint8_t second; /* AT_HWCAP2 rather than AT_HWCAP */
  uint8_t bit;
} cpu_bit;

/* Linux Documentation/arch/arm64/elf_hwcaps.rst; bits from arch/arm64/include/uapi/asm/hwcap.h. */
static const cpu_bit BITS[] = {
    {DAYPACK_FEATURE_AARCH64_NEON, 0, 1},     {DAYPACK_FEATURE_AARCH64_CRC, 0, 7},
    {DAYPACK_FEATURE_AARCH64_LSE, 0, 8},      {DAYPACK_FEATURE_AARCH64_RDM, 0, 12},
    {DAYPACK_FEATURE_AARCH64_RCPC, 0, 15},    {DAYPACK_FEATURE_AARCH64_FULLFP16, 0, 10},
    {DAYPACK_FEATURE_AARCH64_DOTPROD, 0, 20}, {DAYPACK_FEATURE_AARCH64_FP16FML, 0, 23},
    {DAYPACK_FEATURE_AARCH64_I8MM, 1, 13},    {DAYPACK_FEATURE_AARCH64_BF16, 1, 14},
    {DAYPACK_FEATURE_AARCH64_SVE, 0, 22},     {DAYPACK_FEATURE_AARCH64_SVE2, 1, 1},
    {DAYPACK_FEATURE_AARCH64_SHA2, 0, 6},
};

bool daypack_cpu_has_feature(uint32_t feature) {
  for (size_t index = 0; index < sizeof BITS / sizeof *BITS; index++)
    if (BITS[index].feature == feature)
      return (getauxval(BITS[index].second ? AT_HWCAP2 : AT_HWCAP) >> BITS[index].bit & 1) != 0;
  return false;
}

enum { THIS_ARCH = DAYPACK_ARCH_AARCH64 };

#else
#error "the engine knows x86_64 and aarch64"
#endif

static const char *feature_name(uint32_t feature) {
  for (size_t index = 0; index < sizeof DAYPACK_FEATURE_NAMES / sizeof *DAYPACK_FEATURE_NAMES; index++)
    if (DAYPACK_FEATURE_NAMES[index].number == feature) return DAYPACK_FEATURE_NAMES[index].name;
  return NULL;
}

static const char *arch_name(uint32_t arch) { return arch == DAYPACK_ARCH_X86_64 ? "x86_64" : "aarch64"; }

daypack_code daypack_check_features(daypack_engine *engine) {
  const daypack_plan_header *header = engine->plan.header;
  bool known = header->target_arch == DAYPACK_ARCH_X86_64 || header->target_arch == DAYPACK_ARCH_AARCH64;
  if (known && header->target_arch != THIS_ARCH)
    return daypack_fail(&engine->error, DAYPACK_MISSING, "processor: the plan is for %s, this engine runs on %s",
                        arch_name(header->target_arch), arch_name(THIS_ARCH));
  for (uint64_t index = 0; index < header->features.count; index++) {
    uint32_t feature = engine->plan.features[index];
    const char *name = feature_name(feature);
    if (name == NULL)
      return daypack_fail(&engine->error, DAYPACK_BAD_BUNDLE,
                          "%s: features[%llu]: expected a feature this engine can check, found number %u",
                          engine->plan_name, (unsigned long long)index, feature);
    if (!engine->platform->has_feature(feature))
      return daypack_fail(&engine->error, DAYPACK_MISSING,
                          "processor: the plan's kernels need the feature %s, which this processor or its operating "
                          "system lacks; compile for this device's profile",
                          name);
  }
  return DAYPACK_OK;
}
