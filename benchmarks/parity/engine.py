"""Our side: a bundle run to its end, and what it left."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load_file

from daypack import api
from parity.reference import Trained


def run_engine(
    bundle: Path,
    steps: int,
    *,
    threads: int | None = None,
    via: str = "local",
    state: Path | None = None,
    fresh: bool = True,
) -> Trained:
    """Run `steps` updates and read the state they leave."""
    events = list(api.run_bundle(bundle, steps=steps, threads=threads, via=via, state=state, fresh=fresh))
    saved = load_file(state_file(bundle, state))
    return Trained(tuple(e.loss for e in events), tuple(e.seconds for e in events), saved)


def state_file(bundle: Path, state: Path | None = None) -> Path:
    """Where a run leaves its state."""
    return (state or bundle.with_name(bundle.name + ".state")) / "state.safetensors"
