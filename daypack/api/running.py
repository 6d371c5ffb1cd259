"""A bundle runs on this machine, under an emulator or on a phone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from daypack.api.compiling import write_examples
from daypack.api.events import StepEvent, step_event
from daypack.api.saved import spec_of, steps_done
from daypack.errors import SpecError


def run_bundle(
    bundle: Path,
    *,
    data: Path | None = None,
    steps: int | None = None,
    via: str = "local",
    threads: int | None = None,
    state: Path | None = None,
    fresh: bool = False,
    direct: bool = False,
    profile: bool = False,
    public_key: Path | None = None,
    order: str | None = None,
    memory_bytes: int | None = None,
) -> Iterator[StepEvent]:
    """Run a bundle's engine and yield its steps.

    `data` is a text, JSONL, CSV or id file, read as the bundle's spec says, or a prepared `data.bin`. Without
    `steps` the run goes on to the spec's `max_steps`; a bundle compiled from Python runs once over its data.
    `direct` reads and writes flash past the system's cache, `profile` times every kernel. `order` and
    `memory_bytes` choose the plan to begin with, where the bundle has several.
    With `public_key`, a file that `daypack keygen` made, only a bundle that this key signed is run.

    Raises:
        BundleError, MissingTool, Stopped, SpecError: as the engine reports.
    """
    import tempfile

    from daypack.runtime.engine_process import EngineArguments
    from daypack.runtime.launch import launcher
    from daypack.runtime.signature import read_public_key, require_signature

    signer = None if public_key is None else read_public_key(public_key)
    if signer is not None:
        require_signature(bundle, signer)
    if steps is None:
        steps = _steps_left(bundle, state, fresh)
        if steps == 0:
            return
    with tempfile.TemporaryDirectory(prefix="daypack-") as folder:
        prepared = _prepared_data(bundle, data, Path(folder)) if data is not None else None
        arguments = EngineArguments(
            state=state,
            data=prepared,
            steps=steps,
            threads=threads,
            fresh=fresh,
            direct=direct,
            profile=profile,
            signer=signer,
            order=order,
            memory_bytes=memory_bytes,
        )
        yield from _steps(launcher(via).run(bundle, arguments), profile=profile)


def _steps(events: Iterable[Mapping[str, Any]], *, profile: bool) -> Iterator[StepEvent]:
    """The engine's steps; with a profile, each once its profile has come."""
    step: StepEvent | None = None
    for event in events:
        if event.get("event") == "step":
            step = step_event(event)
            if not profile:
                yield step
        elif event.get("event") == "profile" and step is not None:
            yield replace(step, profile={key: value for key, value in event.items() if key != "event"})


def _steps_left(bundle: Path, state: Path | None, fresh: bool) -> int | None:
    """Steps from the saved state to the spec's `max_steps`; None for a bundle without a spec."""
    from daypack.runtime.bundle import read_bundle
    from daypack.runtime.engine_process import EngineArguments

    spec = spec_of(bundle, read_bundle(bundle).description)
    if spec is None:
        return None
    wanted = spec.train.max_steps
    saved = EngineArguments(state=state).state_directory(bundle) / "state.safetensors"
    return wanted if fresh else max(0, wanted - steps_done(saved))


def _prepared_data(bundle: Path, data: Path, folder: Path) -> Path:
    """A file of the user's as records of this bundle; a prepared file is taken as it is."""
    from daypack.models.data import load_examples
    from daypack.models.task import corpus
    from daypack.runtime.bundle import read_bundle

    if _is_prepared(data):
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
