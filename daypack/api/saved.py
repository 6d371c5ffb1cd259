# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The state that a run saved, and the spec of its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daypack.spec import TrainSpec

NOT_PARAMETERS = ("mutable/", "opt/", "clock/")  #: how the names of what else is in a saved state begin


def spec_of(bundle: Path, description: Mapping[str, Any]) -> TrainSpec | None:
    """The spec a bundle was made from; None for one that was compiled from Python."""
    from daypack.spec import parse_spec

    text = description.get("spec")
    return parse_spec(text, base=bundle, where=f"{bundle}/bundle.json") if isinstance(text, str) else None


def saved_state(bundle: Path, state: Path | None) -> Path:
    """The file in which a run of the bundle saves: in `state`, else beside the bundle."""
    from daypack.runtime.engine_process import EngineArguments
    from daypack.runtime.state_file import NAME

    return EngineArguments(state=state).state_directory(bundle) / NAME


def steps_done(saved: Path) -> int:
    """The clock of a saved state; 0 where there is none, or none that can be read (the engine says why)."""
    from safetensors import SafetensorError, safe_open

    if not saved.exists():
        return 0
    try:
        with safe_open(saved, "np") as file:
            return int(file.get_tensor("clock/step"))
    except SafetensorError:
        return 0
