"""C sources and a kernel object -> one static engine executable for a target.

The engine's own code is compiled once a target and kept in a cache whose key is the hash of the sources, of
this file and of the compiler's version; a build then compiles only the trampolines to its kernels and links.
`engine_ahead` compiles it, and the C library, while the caller does something else.
Zig brings compiler, libc and linker, so any host builds for any target.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daypack.errors import DaypackError, MissingTool
from daypack.runtime.commands import Commands
from daypack.runtime.cpu_features import ARCH_NUMBER
from daypack.runtime.plan_file import Kernel

NATIVE = Path(__file__).parent / "native"
MAIN = NATIVE / "src" / "main.c"

#: target triple -> architecture as plans name it
ARCH_OF_TRIPLE = {"x86_64-linux-musl": "x86_64", "aarch64-linux-musl": "aarch64"}

#: The two builds of shim.zig; see src/sha256.c. That of signatures runs once and has one.
_SHIM_CPUS = {
    "x86_64-linux-musl": {"plain": "baseline", "accelerated": "baseline+sha+avx2+ssse3+sse4_1"},
    "aarch64-linux-musl": {"plain": "baseline", "accelerated": "baseline+sha2"},
}

_SHIM_FLAGS = ("-fstrip", "-fsingle-threaded")

_C_FLAGS = (
    "-std=c11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
    "-Wshadow",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-sanitize=all",
    f"-I{NATIVE / 'include'}",
    f"-I{NATIVE / 'src'}",
)
_LINK_FLAGS = ("-static", "-O2", "-s", "-Wl,--gc-sections")


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """The executable, its size, and the identity of its kernels that the plan must carry
    (`PlanFile.kernel_id`).
    """

    path: Path
    size_bytes: int
    kernel_id: bytes


def build_engine(
    *,
    triple: str,
    kernel_object: bytes,
    kernels: Sequence[Kernel],
    scratch_bytes: int,
    out: Path,
    main: Path = MAIN,
    extra_flags: Sequence[str] = (),
) -> BuiltEngine:
    """Link the engine with `kernel_object` into the executable `out`.

    `kernels` and `scratch_bytes` are those of the plan, in its order: the engine keeps them and refuses a
    plan that says otherwise. Each phase's symbol is a function of the object, `void SYMBOL(void *a0, ...,
    void *a{n-1}, void *scratch, int32_t stage, int32_t begin, int32_t end)` with n the kernel's `arg_count`.
    `main` and `extra_flags` are for tests, which replace the platform or add sanitizers. Raises MissingTool
    without ziglang, DaypackError when compiling or linking fails.
    """
    if triple not in ARCH_OF_TRIPLE:
        raise DaypackError(f"engine: expected a target of {', '.join(ARCH_OF_TRIPLE)}, found {triple!r}")
    objects = engine_objects(triple, main, tuple(extra_flags))
    kernel_id = hashlib.sha256(kernel_object).digest()
    with tempfile.TemporaryDirectory(prefix="daypack-") as scratch_directory:
        directory = Path(scratch_directory)
        (directory / "kernels.o").write_bytes(kernel_object)
        (directory / "linked.c").write_text(linked_source(triple, kernels, scratch_bytes, kernel_id))
        cc = ("cc", "-target", triple)
        run = Commands()
        _zig(run, directory, *cc, *_C_FLAGS, *extra_flags, "-c", "linked.c", "-o", "linked.o")
        inputs = ["linked.o", "kernels.o", *map(str, objects), "-lm"]
        _zig(run, directory, *cc, *_LINK_FLAGS, *extra_flags, *inputs, "-o", "engine")
        partial = out.with_name(out.name + ".partial")
        partial.write_bytes((directory / "engine").read_bytes())
        partial.chmod(0o755)
        partial.replace(out)
    return BuiltEngine(out, out.stat().st_size, kernel_id)


def engine_sources() -> list[Path]:
    """The engine's C files but for the one with its `main`, which tests replace."""
    return [path for path in sorted((NATIVE / "src").glob("*.c")) if path != MAIN]


@contextmanager
def engine_ahead(triple: str) -> Generator[Callable[[], None]]:
    """Compile the engine's own code, where it is not kept from before, while the body runs.

    The body calls what it is given before it builds an engine: that waits, and raises as `build_engine` does.
    A body that ends without it stops the compilation.
    """
    run = Commands()
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(engine_objects, triple, MAIN, (), run) if triple in ARCH_OF_TRIPLE else None

        def ready() -> None:
            if made is not None:
                made.result()

        try:
            yield ready
        finally:
            run.stop()


def linked_source(triple: str, kernels: Sequence[Kernel], scratch_bytes: int, kernel_id: bytes) -> str:
    """The C file that ties kernels to the engine: one trampoline a symbol and the table `daypack_linked`."""
    arity = _arity_of_symbols(kernels)
    phases = [phase for kernel in kernels for phase in kernel.phases]
    sizes = [size for kernel in kernels for size in kernel.arg_bytes or (0,) * kernel.arg_count]
    phase_rows = [f"{{run_{phase.symbol}, {phase.stage}, {phase.tiles}}}" for phase in phases]
    kernel_rows = [f"{{{len(kernel.phases)}u, {kernel.arg_count}u}}" for kernel in kernels]
    return "\n".join(
        [
            '#include "daypack.h"',
            *(_trampoline(symbol, count) for symbol, count in arity.items()),
            _table("daypack_linked_phase", "phases", phase_rows),
            _table("daypack_linked_kernel", "kernels", kernel_rows),
            _table("uint64_t", "argument_bytes", [f"{size}u" for size in sizes]),
            "const daypack_linked_kernels daypack_linked = {",
            f"  .arch = {ARCH_NUMBER[ARCH_OF_TRIPLE[triple]]}u,",
            f"  .kernel_id = {{{', '.join(map(str, kernel_id))}}},",
            f"  .scratch_bytes = {scratch_bytes}u,",
            f"  .kernel_count = {len(kernels)}u,",
            f"  .phase_count = {len(phases)}u,",
            f"  .argument_count = {len(sizes)}u,",
            "  .kernels = kernels,",
            "  .phases = phases,",
            "  .argument_bytes = argument_bytes,",
            "};\n",
        ]
    )


def _arity_of_symbols(kernels: Sequence[Kernel]) -> dict[str, int]:
    arity: dict[str, int] = {}
    for kernel in kernels:
        for phase in kernel.phases:
            if not phase.symbol.isidentifier() or not phase.symbol.isascii():
                raise DaypackError(
                    f"kernel {kernel.name!r}: expected a C name for a symbol, found {phase.symbol!r}"
                )
            known = arity.setdefault(phase.symbol, kernel.arg_count)
            if known != kernel.arg_count:
                raise DaypackError(
                    f"kernel {kernel.name!r}: symbol {phase.symbol} takes {known} arguments in another "
                    f"kernel, {kernel.arg_count} here"
                )
    return arity


def _trampoline(symbol: str, arg_count: int) -> str:
    parameters = "void *, " * arg_count
    arguments = "".join(f"a[{index}], " for index in range(arg_count))
    unused = "  (void)a;\n" if arg_count == 0 else ""
    return (
        f"extern void {symbol}({parameters}void *, int32_t, int32_t, int32_t);\n"
        f"static void run_{symbol}(void *const *a, void *scratch, int32_t stage, int32_t begin, "
        "int32_t end) {\n"
        f"{unused}  {symbol}({arguments}scratch, stage, begin, end);\n}}"
    )


def _table(element: str, name: str, rows: Sequence[str]) -> str:
    """A C array; C has no empty ones, so without rows it has one unused zero."""
    body = ",\n".join(f"  {row}" for row in rows) or "  {0}"
    return (
        f"static const {element} {name}[] = {{\n{body},\n}};"
        if rows
        else f"static const {element} {name}[1];"
    )


def engine_objects(
    triple: str, main: Path, extra_flags: tuple[str, ...] = (), run: Commands | None = None
) -> list[Path]:
    """The objects of `main`, the engine's own code and its hashes, compiled at the first call with them."""
    sources = [main, *engine_sources()]
    directory = _cache_root() / _cache_key(triple, sources, extra_flags)
    if not directory.exists():
        _compile_engine(directory, triple, sources, extra_flags, run or Commands())
    return sorted(directory.glob("*.o"))


def _compile_engine(
    directory: Path, triple: str, sources: Sequence[Path], extra_flags: tuple[str, ...], run: Commands
) -> None:
    """The objects, and by an empty program the C library, which zig compiles at a target's first link."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="compiling-") as parent:
        building = Path(parent) / "objects"
        building.mkdir()
        (Path(parent) / "empty.c").write_text("int main(void) { return 0; }\n")
        cc, files = ("cc", "-target", triple), map(str, sources)
        commands: list[tuple[str, ...]] = [
            (*cc, *_LINK_FLAGS, "../empty.c", "-lm", "-o", "../empty"),
            (*cc, *_C_FLAGS, *extra_flags, "-c", *files, "-o", "engine.o"),
        ]
        for name, cpu in _SHIM_CPUS[triple].items():
            shim = (*_SHIM_FLAGS, "-OReleaseFast", "-target", triple, f"-mcpu={cpu}")
            commands.append(("build-obj", str(NATIVE / "shim.zig"), *shim, f"-femit-bin=sha256_{name}.o"))
        shim = (*_SHIM_FLAGS, "-OReleaseSmall", "-target", triple, "-mcpu=baseline")
        commands.append(
            ("build-obj", str(NATIVE / "shim_signature.zig"), *shim, "-femit-bin=signature_shim.o")
        )
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            try:
                for done in as_completed([pool.submit(_zig, run, building, *each) for each in commands]):
                    done.result()
            except BaseException:
                run.stop()
                raise
        try:
            building.rename(directory)
        except OSError:
            if not directory.exists():  # another build was faster: its objects are the same
                raise


def _cache_root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "daypack" / "engine"


def _cache_key(triple: str, sources: Sequence[Path], extra_flags: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    headers = sorted((NATIVE / "include").glob("*.h")) + sorted((NATIVE / "src").glob("*.h"))
    for path in [Path(__file__), *headers, *sources, *sorted(NATIVE.glob("*.zig"))]:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    digest.update(repr((triple, extra_flags, _zig_version())).encode())
    return digest.hexdigest()[:32]


def _zig_version() -> str:
    _require_zig()
    return importlib.metadata.version("ziglang")


def _require_zig() -> None:
    if importlib.util.find_spec("ziglang") is None:
        raise MissingTool(
            "ziglang: expected the Python package that compiles the engine, found none; "
            f"install it with `{sys.executable} -m pip install ziglang`"
        )


def _zig(run: Commands, directory: Path, *arguments: str) -> None:
    _require_zig()
    code, said = run.run([sys.executable, "-m", "ziglang", *arguments], directory)
    if code != 0:
        raise MissingTool(f"engine: `zig {' '.join(arguments[:3])} ...` failed:\n{said.strip()[-4000:]}")
