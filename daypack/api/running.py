"""A bundle runs on this machine, under an emulator or on a phone."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from daypack.api.events import StepEvent, step_event
from daypack.api.given_data import data_for_engine, path_on_device
from daypack.api.saved import saved_state, spec_of, steps_done
from daypack.errors import DaypackError


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

    `data` is a text, JSONL, CSV or id file, read as the bundle's spec says, or a prepared `data.bin`. The
    engine tokenizes it, where it runs; this machine does where the engine cannot: a .npy array, or a
    tokenizer that is refused (bundle.json says why). With `via` "adb" it may be a file that is on the phone,
    `device:/sdcard/notes.txt`. Without `steps` the run goes on to the spec's `max_steps`; a bundle compiled
    from Python runs once over its data.
    `direct` reads and writes flash past the system's cache, `profile` times every kernel. `order` and
    `memory_bytes` choose the plan to begin with, where the bundle has several.
    With `public_key`, a file that `daypack keygen` made, only a bundle that this key signed is run.

    Raises:
        BundleError, MissingTool, Stopped, SpecError: as the engine reports.
    """
    import tempfile

    from daypack.runtime.engine_process import EngineArguments
    from daypack.runtime.launch import launcher
    from daypack.runtime.signature import required_signer

    signer = required_signer(bundle, public_key)
    if steps is None:
        steps = _steps_left(bundle, state, fresh)
        if steps == 0:
            return
    on_device = None if data is None else path_on_device(bundle, data, via)
    with tempfile.TemporaryDirectory(prefix="daypack-") as folder:
        given = on_device
        if data is not None and on_device is None:
            given = data_for_engine(bundle, data, Path(folder))
        arguments = EngineArguments(
            state=state,
            data=given,
            data_on_device=on_device is not None,
            steps=steps,
            threads=threads,
            fresh=fresh,
            direct=direct,
            profile=profile,
            signer=signer,
            order=order,
            memory_bytes=memory_bytes,
        )
        with _no_empty_folder(arguments.state_directory(bundle)):
            yield from _steps(launcher(via).run(bundle, arguments), profile=profile)


@contextmanager
def _no_empty_folder(state: Path) -> Generator[None]:
    """A run that fails before it saved anything leaves no state directory that was not there."""
    there = state.exists()
    try:
        yield
    except DaypackError:
        if not there:
            with suppress(OSError):  # it has files, or was never made
                state.rmdir()
        raise


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

    spec = spec_of(bundle, read_bundle(bundle).description)
    if spec is None:
        return None
    wanted = spec.train.max_steps
    return wanted if fresh else max(0, wanted - steps_done(saved_state(bundle, state)))
