"""The host is described from what Linux tells, and only by levels that the machine meets."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from daypack.devices import FigureKind, load_profile
from daypack.devices.host import LEVELS, best_level, cpu_flags, detect_host, read_caches
from daypack.errors import MissingTool

V3_FLAGS = "sse2 pni ssse3 sse4_1 sse4_2 popcnt movbe bmi1 bmi2 abm fma f16c avx avx2"
V4_FLAGS = f"{V3_FLAGS} avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize(
    ("machine", "flags", "llvm_cpu", "vector_bits", "vector_registers"),
    [
        ("x86_64", V4_FLAGS, "x86-64-v4", 512, 32),
        ("AMD64", V3_FLAGS, "x86-64-v3", 256, 16),
        ("x86_64", V4_FLAGS.replace("avx512dq", ""), "x86-64-v3", 256, 16),
        ("x86_64", V3_FLAGS.replace("fma", ""), "x86-64", 128, 16),
        ("aarch64", "fp asimd evtstrm", "generic", 128, 32),
        ("arm64", "fp asimd asimddp", "generic", 128, 32),
    ],
)
def test_the_widest_level_that_the_machine_has(
    machine: str, flags: str, llvm_cpu: str, vector_bits: int, vector_registers: int
) -> None:
    level = best_level(machine, frozenset(flags.split()))
    assert (level.llvm_cpu, level.vector_bits, level.vector_registers) == (
        llvm_cpu,
        vector_bits,
        vector_registers,
    )


def test_an_unknown_machine_is_an_error() -> None:
    with pytest.raises(
        MissingTool, match="this machine is riscv64 and Daypack makes code for aarch64, x86_64"
    ):
        best_level("riscv64", frozenset())


@pytest.mark.parametrize("key", ["flags\t\t", "Features\t"])
def test_flags_are_those_of_the_first_core(key: str) -> None:
    text = f"processor\t: 0\n{key}: fp asimd\n\nprocessor\t: 1\n{key}: other\n"
    assert cpu_flags(text) == {"fp", "asimd"}


def test_data_caches_are_read_and_instruction_caches_are_not(tmp_path: Path) -> None:
    for index, (level, kind, size) in enumerate(
        [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(f"{level}\n")
        (folder / "type").write_text(f"{kind}\n")
        (folder / "size").write_text(f"{size}\n")
    caches = read_caches(tmp_path)
    assert (caches.l1d_bytes, caches.l2_bytes) == (48 * 1024, 1024 * 1024)


def test_what_linux_does_not_tell_is_marked_as_assumed(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("Features\t: fp asimd\n")
    cluster = detect_host("aarch64", cpuinfo, tmp_path).clusters[0]
    kinds = {
        cluster.clock_hz.kind,
        cluster.l1d_bytes.kind,
        cluster.l2_bytes.kind,
        cluster.flop_per_cycle.kind,
    }
    assert kinds == {FigureKind.ASSUMED}
    assert cluster.l1d_bytes.source == "the system does not tell"


def test_what_linux_tells_is_used(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name\t: Some CPU\ncpu MHz\t\t: 3100.5\nflags\t\t: {V3_FLAGS}\n")
    profile = detect_host("x86_64", cpuinfo, tmp_path)
    assert profile.title == "this machine: Some CPU"
    assert profile.clusters[0].clock_hz.value == pytest.approx(3.1005e9)
    assert profile.clusters[0].clock_hz.kind is FigureKind.MEASURED


def test_this_machine_is_described() -> None:
    profile = load_profile("host")
    assert profile.arch == platform.machine()
    assert profile.llvm_cpu in {level.llvm_cpu for level in LEVELS}
    assert profile.cores >= 1
