"""What a run learns from instead of the bundle's data: a file here or on a phone. The engine makes examples
of it, or this machine where the engine cannot.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from daypack.api.compiling import write_examples
from daypack.api.saved import spec_of
from daypack.errors import SpecError

ON_DEVICE = "device:"
"""How the path of a file begins that is on the phone already."""


def path_on_device(bundle: Path, data: Path, via: str) -> Path | None:
    """The path on the phone of data that are there; None for a file of this machine."""
    if not str(data).startswith(ON_DEVICE):
        return None
    path = Path(str(data).removeprefix(ON_DEVICE))
    if via != "adb":
        raise SpecError(f"--data: {data} is a file of a phone; use --via adb")
    if not path.is_absolute():
        raise SpecError(f"--data: expected a whole path behind {ON_DEVICE}, found {str(path)!r}")
    if not _engine_reads(bundle, path):
        raise SpecError(
            f"--data: the engine of {bundle} cannot read {path}: it has no tables of its tokenizer "
            "(bundle.json says why), or the file is a .npy array; give it a file of this machine"
        )
    return path


def _engine_reads(bundle: Path, data: Path) -> bool:
    """Whether the bundle's engine makes examples of a raw file."""
    from daypack.runtime import corpus_file, tokenizer_file

    tabled = (bundle / tokenizer_file.NAME).is_file() or not (bundle / "tokenizer.json").exists()
    return data.suffix.lower() != ".npy" and (bundle / corpus_file.NAME).is_file() and tabled


def data_for_engine(bundle: Path, data: Path, folder: Path) -> Path:
    """A file of the user's as it is, or as records of this bundle, if the engine cannot make them itself."""
    from daypack.models.data import load_examples
    from daypack.models.task import corpus
    from daypack.runtime.bundle import read_bundle

    if _is_prepared(data) or (data.is_file() and _engine_reads(bundle, data)):
        return data
    found = read_bundle(bundle)
    spec = spec_of(bundle, found.description)
    if spec is None:
        raise SpecError(
            f"{data}: this bundle was compiled from Python; give it records that daypack.run prepares"
        )
    source = corpus(spec, data)
    if (bundle / "tokenizer.json").exists():
        source = replace(source, tokenizer=bundle / "tokenizer.json")
    ids = next(i for i in found.plan.inputs if i.name == "ids")
    path = folder / "data.bin"
    write_examples(path, found.plan, load_examples(source, ids.bound, spec.train.sequence), spec)
    return path


def _is_prepared(data: Path) -> bool:
    if not data.is_file():
        return False
    with data.open("rb") as file:
        return file.read(8) == b"DPDATA1\0"
