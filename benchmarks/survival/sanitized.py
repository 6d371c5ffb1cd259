"""Engines and harnesses built with a host compiler's sanitizers; the product's own build has none."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from daypack.runtime import build
from daypack.runtime.plan_file import Kernel

FLAGS = ("-std=c11", "-g", "-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-no-pie")
SANITIZERS = {"asan": "address,undefined", "tsan": "thread"}


def shims(triple: str) -> list[Path]:
    """The objects that come from Zig: hashes and signatures."""
    objects = build.engine_objects(triple, build.MAIN)
    return [path for path in objects if path.name.startswith("sha256_") or "shim" in path.name]


def sanitized_engine(
    sanitizer: str,
    *,
    triple: str,
    kernel_object: bytes,
    kernels: Sequence[Kernel],
    scratch_bytes: int,
    out: Path,
    main: Path = build.MAIN,
) -> Path:
    """As `build_engine`, for this machine, with gcc and `address,undefined` ("asan") or `thread` ("tsan")."""
    folder = out.with_name(out.name + ".parts")
    folder.mkdir(parents=True, exist_ok=True)
    kernel_id = build.hashlib.sha256(kernel_object).digest()
    (folder / "kernels.o").write_bytes(kernel_object)
    (folder / "linked.c").write_text(build.linked_source(triple, kernels, scratch_bytes, kernel_id))
    compile_c(
        "gcc",
        [f"-fsanitize={SANITIZERS[sanitizer]}", *FLAGS],
        [main, *build.engine_sources(), folder / "linked.c", folder / "kernels.o", *shims(triple)],
        out,
    )
    return out


def compile_objects(compiler: str, flags: Sequence[str], sources: Sequence[Path], folder: Path) -> list[Path]:
    """The object of each source in `folder`, compiled at the first call with it."""
    if not folder.exists():
        folder.mkdir(parents=True)
        include = [f"-I{build.NATIVE / name}" for name in ("include", "src")]
        words = [compiler, *flags, *include, "-c", *map(str, sources)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode != 0:
            raise RuntimeError(f"{compiler}: ended with {done.returncode}: {done.stderr[-3000:]}")
    return sorted(folder.glob("*.o"))


def compile_c(compiler: str, flags: Sequence[str], inputs: Sequence[Path], out: Path) -> None:
    """One command; what the compiler says is in the error."""
    include = [f"-I{build.NATIVE / folder}" for folder in ("include", "src")]
    words = [compiler, *flags, *include, *map(str, inputs), "-lm", "-lpthread", "-o", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{compiler}: ended with {done.returncode}: {done.stderr[-3000:]}")
