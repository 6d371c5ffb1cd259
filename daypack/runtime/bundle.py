"""Bundle <-> disk: an immutable directory whose MANIFEST names every file with its size and SHA-256.

Every mismatch is a BundleError that names the file, what was expected and what was found.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from daypack.errors import BundleError, SpecError
from daypack.runtime.hash_tree import check_tree, write_tree
from daypack.runtime.plan_file import Fetch, FileKind, PlanFile, Read
from daypack.runtime.plan_format import read_plan
from daypack.runtime.plan_records import MAX_PLANS
from daypack.runtime.state_file import check_state

MANIFEST = "MANIFEST"
SIGNATURE = "SIGNATURE"
PLAN = "plan.bin"
EVALUATION = "eval.bin"
FIRST_LINE = "daypack-bundle 1"
REQUIRED = ("bundle.json", "engine", "plan.bin", "state.safetensors", "weights.bin")

_LINE = re.compile(r"([0-9a-f]{64}) (0|[1-9][0-9]{0,18}) ([A-Za-z0-9_-][A-Za-z0-9._-]{0,126})")
_PLAN = re.compile(r"plan-[1-9][0-9]?\.bin")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One line of the MANIFEST."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as read: where it is, what is in it, its plans, `bundle.json` as it stands, its evaluation.

    `plan` is the first, with which a run begins unless it is told otherwise.
    """

    path: Path
    files: tuple[FileEntry, ...]
    plans: tuple[PlanFile, ...]
    description: dict[str, Any]
    evaluation: PlanFile | None = None

    @property
    def plan(self) -> PlanFile:
        return self.plans[0]


@contextmanager
def new_bundle(out: Path) -> Generator[Path]:
    """Give a fresh directory to fill; at the end write its MANIFEST and move it to `out` in one rename.

    When the body or the disk fails, nothing of it remains and an older bundle at `out` is untouched. A bundle
    at `out` is replaced; anything else there is a SpecError.
    """
    out = out.absolute()
    _refuse_to_replace(out)
    try:
        staging = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.partial-"))
    except OSError as error:
        raise SpecError(
            f"{out}: cannot write a bundle there: {error.strerror}; give another --out"
        ) from error
    try:
        yield staging
        write_manifest(staging)
        _move_into_place(staging, out)
    except OSError as error:
        raise SpecError(f"{out}: cannot write the bundle: {_reason(error, staging)}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_manifest(directory: Path) -> tuple[FileEntry, ...]:
    """Write blocks.bin where it is needed, and MANIFEST for every other file of the directory; return its
    entries, sorted by name.
    """
    write_tree(directory)
    entries: list[FileEntry] = []
    for path in sorted(directory.iterdir(), key=lambda path: path.name):
        if path.name in (MANIFEST, SIGNATURE):
            continue
        entry = FileEntry(path.name, path.stat().st_size, sha256_of(path))
        if _LINE.fullmatch(_format(entry)) is None:
            raise BundleError(f"{path}: expected a plain file name for a bundle (A-Z a-z 0-9 . _ -)")
        entries.append(entry)
    text = "".join(f"{line}\n" for line in (FIRST_LINE, *map(_format, entries)))
    (directory / MANIFEST).write_text(text)
    return tuple(entries)


def read_manifest(directory: Path) -> tuple[FileEntry, ...]:
    """Parse MANIFEST strictly and insist that the directory has exactly its files, in their sizes."""
    path = directory / MANIFEST
    if not path.exists():
        raise BundleError(f"{path}: expected the manifest of a bundle, found none")
    try:
        lines = read_plain(path).decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: expected the manifest of a bundle, found none: {error}") from error
    if lines[0] != FIRST_LINE or lines[-1] != "":
        raise BundleError(f"{path}: expected the first line {FIRST_LINE!r}, found {lines[0][:80]!r}")
    entries = [_parse(path, number, line) for number, line in enumerate(lines[1:-1], start=2)]
    names = [entry.name for entry in entries]
    if names != sorted(set(names)) or {MANIFEST, SIGNATURE} & set(names):
        raise BundleError(f"{path}: expected distinct names in ascending order, found {names}")
    for name in REQUIRED:
        if name not in names:
            raise BundleError(f"{path}: expected an entry for {name}, found none")
    for entry in entries:
        _check_size(directory, entry)
    extra = sorted({child.name for child in directory.iterdir()} - set(names) - {MANIFEST, SIGNATURE})
    if extra:
        raise BundleError(
            f"{directory}: expected only the files that MANIFEST lists, found also {', '.join(extra)}"
        )
    return tuple(entries)


def read_plain(path: Path) -> bytes:
    """The bytes of a file of a bundle that is no link and no device."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise BundleError(f"{path}: expected a readable file, found: {error.strerror}") from error


def check_hashes(directory: Path, entries: Sequence[FileEntry]) -> None:
    """Insist that these files have the SHA-256 their entries say."""
    for entry in entries:
        found = sha256_of(directory / entry.name)
        if found != entry.sha256:
            raise BundleError(
                f"{directory / entry.name}: expected SHA-256 {entry.sha256} as MANIFEST says, found {found}; "
                "copy the bundle again"
            )


def verify_manifest(directory: Path) -> tuple[FileEntry, ...]:
    """`read_manifest`, the hash of every file, and of every block that blocks.bin has one for."""
    entries = read_manifest(directory)
    check_hashes(directory, entries)
    check_tree(directory)
    return entries


def read_bundle(directory: Path) -> Bundle:
    """Read a bundle and check all of it: hashes, the plan, that weights and state have the sizes the plan
    reads.
    """
    files = verify_manifest(directory)
    plans = read_bundle_plans(directory, plan_names(files))
    check_state(directory / "state.safetensors", plans[0].state, plans[0].state_id)
    for plan in plans:
        _check_weights(directory / "weights.bin", plan)
    evaluation = None
    if any(entry.name == EVALUATION for entry in files):
        evaluation = read_bundle_plan(directory, EVALUATION)
        _check_evaluation(directory / EVALUATION, plans[0], evaluation)
        _check_weights(directory / "weights.bin", evaluation)
    return Bundle(directory, files, plans, _read_description(directory / "bundle.json"), evaluation)


def plan_name(number: int) -> str:
    """The file of a bundle's plan, counted from 0."""
    return f"plan-{number}.bin" if number else PLAN


def plan_names(entries: Sequence[FileEntry]) -> tuple[str, ...]:
    """The files of a bundle's plans, the first of which is plan.bin."""
    listed = {entry.name for entry in entries if _PLAN.fullmatch(entry.name)} | {PLAN}
    names = tuple(plan_name(number) for number in range(min(len(listed), MAX_PLANS)))
    if set(names) != listed:
        raise BundleError(
            f"{MANIFEST}: expected plan-1.bin, plan-2.bin and so on without a gap, "
            f"at most {MAX_PLANS} plans, found {', '.join(sorted(listed))}"
        )
    return names


def read_bundle_plans(directory: Path, names: Sequence[str]) -> tuple[PlanFile, ...]:
    """These plans of a bundle; all must have the window, the inputs and the state of the first."""
    plans = tuple(read_bundle_plan(directory, name) for name in names)
    for name, plan in zip(names, plans, strict=True):
        if _shared(plan) != _shared(plans[0]):
            raise BundleError(
                f"{directory / name}: expected the window, the inputs and the state of {PLAN}, found others: "
                "not a plan of this bundle"
            )
    return plans


def _shared(plan: PlanFile) -> tuple[object, ...]:
    state = [(tensor.name, tensor.dtype, tensor.shape) for tensor in plan.state]
    return plan.window, plan.inputs, state, plan.state_id


def read_bundle_plan(directory: Path, name: str = PLAN) -> PlanFile:
    """A plan of a bundle, or its evaluation; errors name the file."""
    path = directory / name
    try:
        return read_plan(path.read_bytes())
    except BundleError as error:
        raise BundleError(f"{path}: {error.message.removeprefix('plan: ')}") from None


def sha256_of(path: Path) -> str:
    """Hash a file in pieces of 1 MB."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise BundleError(f"{path}: expected a readable file, found: {error.strerror}") from error
    return digest.hexdigest()


def _reason(error: OSError, staging: Path) -> str:
    """What the system said, and of which file where that is none of the bundle's own (a temporary one)."""
    named = str(error.filename or "")
    elsewhere = f" ({named})" if named and not named.startswith(str(staging)) else ""
    return f"{error.strerror or error}{elsewhere}"


def _refuse_to_replace(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise SpecError(
            f"{out}: expected a new name or a bundle to replace, found a file; give another --out"
        )
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise SpecError(
            f"{out}: expected a new name or a bundle to replace, found another directory; give another --out"
        )


def _move_into_place(staging: Path, out: Path) -> None:
    old = staging.with_name(staging.name + ".old")
    if out.exists():
        out.rename(old)
    try:
        staging.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _format(entry: FileEntry) -> str:
    return f"{entry.sha256} {entry.size_bytes} {entry.name}"


def _parse(path: Path, number: int, line: str) -> FileEntry:
    match = _LINE.fullmatch(line)
    if match is None:
        raise BundleError(f"{path}: line {number}: expected '<sha256> <size> <name>', found {line[:80]!r}")
    return FileEntry(match[3], int(match[2]), match[1])


def _check_size(directory: Path, entry: FileEntry) -> None:
    path = directory / entry.name
    try:
        status = path.lstat()
    except OSError:
        raise BundleError(
            f"{path}: expected the file that MANIFEST lists, found none; copy the bundle again"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a link" if stat.S_ISLNK(status.st_mode) else "something else"
        raise BundleError(
            f"{path}: expected a file, found {kind}; copy the bundle with what its links point to"
        )
    found = status.st_size
    if found != entry.size_bytes:
        raise BundleError(
            f"{path}: expected {entry.size_bytes} bytes as MANIFEST says, found {found}; "
            "copy the bundle again"
        )


def _check_evaluation(path: Path, plan: PlanFile, evaluation: PlanFile) -> None:
    """An evaluation is of the same kernels and reads the same state."""
    found = [(tensor.name, tensor.dtype, tensor.shape) for tensor in evaluation.state]
    same_state = found == [(tensor.name, tensor.dtype, tensor.shape) for tensor in plan.state]
    same_kernels = (evaluation.kernel_id, evaluation.kernels) == (plan.kernel_id, plan.kernels)
    if plan.rows or not evaluation.rows or evaluation.state_id != plan.state_id:
        raise BundleError(f"{path}: expected the evaluation of what plan.bin trains, found another plan")
    if not (same_state and same_kernels):
        raise BundleError(f"{path}: expected the kernels and the state of plan.bin, found others")


def _check_weights(path: Path, plan: PlanFile) -> None:
    ends = [
        instruction.file_offset_bytes + instruction.size_bytes
        for instruction in (*plan.setup, *plan.steps)
        if isinstance(instruction, Read | Fetch) and instruction.file is FileKind.WEIGHTS
    ]
    needed, found = max(ends, default=0), path.stat().st_size
    if found < needed:
        raise BundleError(f"{path}: expected at least {needed} bytes, which the plan reads, found {found}")


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise BundleError(f"{path}: expected JSON, found bytes that are not: {error}") from None
    if not isinstance(description, dict):
        raise BundleError(f"{path}: expected a JSON object, found {type(description).__name__}")
    return cast("dict[str, Any]", description)
