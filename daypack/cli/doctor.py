"""What is installed, what is missing, and what each is for. Nothing heavy is imported to find out."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from daypack.devices import Profile, figures_of, load_profile
from daypack.errors import DaypackError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to have: `found` is its version, path or name, None where it is missing."""

    name: str
    found: str | None
    needed_for: str
    remedy: str
    required: bool = False


def examine(target: str | None = None) -> list[Check]:
    """Every check, the required ones first; with a `target`, also of its profile."""
    device = [] if target is None else [_profile(load_profile(target))]
    return [_python(), _processor(), *device, *_packages(), *_tools(), *_bench()]


def _profile(profile: Profile) -> Check:
    """How many figures of each kind; those that an emulator gave are none of the device."""
    kinds = Counter(figure.kind.value for figure in figures_of(profile))
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    remedy = f"run daypack calibrate {profile.name} on the device"
    if profile.is_emulated:
        remedy += ", not under an emulator"
        return Check("profile", None, f"times on {profile.name}: {counts}", remedy)
    return Check("profile", f"{profile.name}: {counts}", "predictions and plans", remedy)


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Check("python", version, "everything", "install Python 3.11 or newer", required=True)


def _processor() -> Check:
    try:
        profile = load_profile("host")
        found = f"{profile.arch}, {profile.llvm_cpu}, {profile.cores} cores"
    except DaypackError:
        found = None
    return Check("processor", found, "running bundles on this machine", "use --via adb with a phone")


def _packages() -> list[Check]:
    wanted = (
        ("jax", "tracing the training step"),
        ("flax", "models"),
        ("optax", "optimizers"),
        ("apache-tvm", "compiling kernels"),
        ("ziglang", "building the engine"),
        ("safetensors", "checkpoints and state"),
        ("cryptography", "signatures of bundles"),
        ("tokenizers", "text data with a tokenizer.json"),
    )
    return [
        Check(name, _version(name), needed_for, f"pip install {name}", required=True)
        for name, needed_for in wanted
    ]


def _tools() -> list[Check]:
    emulator = _first_of(shutil.which, "qemu-aarch64-static", "qemu-aarch64")
    browser = _first_of(shutil.which, "chromium", "chromium-browser", "google-chrome")
    return [
        Check(
            "qemu-aarch64",
            emulator,
            "run --via emulated",
            "apt-get install qemu-user-static (Debian, Ubuntu)",
        ),
        Check("adb", shutil.which("adb"), "run --via adb", "install Android's platform-tools"),
        Check("chromium", browser, "looking at reports in tests", "apt-get install chromium"),
    ]


def _bench() -> list[Check]:
    return [
        Check(name, _version(name), "benchmarks and golden arrays", "pip install 'daypack[bench]'")
        for name in ("torch", "transformers", "peft")
    ]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _first_of(find: Callable[[str], str | None], *names: str) -> str | None:
    return next((found for name in names if (found := find(name)) is not None), None)
