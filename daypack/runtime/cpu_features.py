"""Processor features a plan may ask for, by LLVM's names, with the numbers that `plan.bin` uses.

The engine knows how to check each of these and no other. Numbers are append-only: FORMAT.md promises them.
`neon` and `sse2` are part of the base architecture and are accepted so that a device profile may list them.
"""

from __future__ import annotations

X86_64: dict[str, int] = {
    name: number
    for number, name in enumerate(
        (
            "sse2",
            "sse3",
            "ssse3",
            "sse4.1",
            "sse4.2",
            "popcnt",
            "movbe",
            "bmi",
            "bmi2",
            "lzcnt",
            "sse4a",
            "fma",
            "f16c",
            "avx",
            "avx2",
            "avx512f",
            "avx512bw",
            "avx512cd",
            "avx512dq",
            "avx512vl",
            "avx512ifma",
            "avx512vbmi",
            "avx512vnni",
            "avx512bf16",
            "avx512fp16",
            "avxvnni",
            "sha",
        ),
        start=1,
    )
}

AARCH64: dict[str, int] = {
    name: number
    for number, name in enumerate(
        (
            "neon",
            "crc",
            "lse",
            "rdm",
            "rcpc",
            "fullfp16",
            "dotprod",
            "fp16fml",
            "i8mm",
            "bf16",
            "sve",
            "sve2",
            "sha2",
        ),
        start=1001,
    )
}

#: architecture -> feature name -> number
FEATURES: dict[str, dict[str, int]] = {"x86_64": X86_64, "aarch64": AARCH64}

#: architecture -> number in the plan's header
ARCH_NUMBER: dict[str, int] = {"x86_64": 1, "aarch64": 2}
