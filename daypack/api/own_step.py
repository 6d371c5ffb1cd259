# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""A user's own step in plain Flax and optax: compiled, and trained on batches of arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from daypack.api.compiling import CompileResult, compile_result, named_orders
from daypack.api.events import StepEvent
from daypack.api.running import run_bundle
from daypack.api.saved import NOT_PARAMETERS, saved_state, steps_done
from daypack.errors import BundleError, SpecError


def compile(
    model: Any,
    loss: Callable[..., Any],
    optimizer: Any,
    batch: Mapping[str, Any],
    *,
    out: str | Path,
    device: str = "host",
    memory: int | str | Sequence[int | str] | None = None,
    window: int = 1,
    seed: int = 0,
    save_steps: int = 50,
    orders: Literal["auto", "all"] | Sequence[str] = "auto",
) -> CompileResult:
    """Compile a user's own training step; docs/your-own-model.md says what model, loss and batch may be.

    `device` names a profile, `memory` is a budget such as "40MB" or a number of bytes, or several, `window`
    the number of micro-batches that `batch` is cut into. The state is saved every `save_steps` updates and
    after each run. `orders`: which plans the bundle has, as `[budget] orders` of a spec.

    Raises:
        SpecError, TraceError: model, loss, optimizer or batch cannot be used.
        BudgetInfeasible: no plan fits the memory.
    """
    from daypack.compiler.pipeline import compile_step
    from daypack.compiler.planning import Options
    from daypack.devices import load_profile
    from daypack.spec import parse_size
    from daypack.user_step import user_step

    several = [memory] if isinstance(memory, int | str) else memory or []
    sizes = sorted({parse_size(m) if isinstance(m, str) else m for m in several}, reverse=True)
    if save_steps < 1:
        raise SpecError(f"save_steps: expected a whole number of at least 1, found {save_steps}")
    made = user_step(model, loss, optimizer, batch, window=window, seed=seed)
    compiled = compile_step(
        made.step,
        load_profile(device),
        read=made.arrays.__getitem__,
        mutable=made.mutable,
        out=Path(out),
        options=Options(
            memory_bytes=sizes[0] if sizes else None,
            smaller_bytes=tuple(sizes[1:]),
            save_steps=save_steps,
            orders=None if orders == "auto" else named_orders(orders),
        ),
        description={"names": json.dumps(sorted(made.arrays))},
    )
    return compile_result(compiled)


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves: its steps, and every array of the saved state by name.

    In `state`, a parameter has its own path, what the loss changes stands under `mutable/`, the optimizer's
    state under `opt/`, and `clock/step` counts the updates.
    """

    steps: tuple[StepEvent, ...]
    state: Mapping[str, Any]

    @property
    def losses(self) -> list[float]:
        return [step.loss for step in self.steps]

    @property
    def params(self) -> dict[str, Any]:
        """The trained arrays alone, by path."""
        return {name: array for name, array in self.state.items() if not name.startswith(NOT_PARAMETERS)}

    def update(self, model: Any) -> Any:
        """The model that was compiled, trained: an NNX module is changed in place and returned, any other
        (Linen variables, a pytree of arrays) is returned as a new one.

        Raises:
            SpecError: it is another model.
        """
        from daypack.user_step import updated

        return updated(model, self.state)


def run(
    bundle: CompileResult | str | Path,
    batches: Iterable[Mapping[str, Any]],
    *,
    steps: int | None = None,
    threads: int | None = None,
    state: str | Path | None = None,
    fresh: bool = False,
    via: str = "local",
    direct: bool = False,
    profile: bool = False,
) -> TrainResult:
    """Train a bundle on whole batches (dicts of arrays as given to `compile`); one step a batch unless
    `steps` says.

    A batch is cut into the window's micro-batches along its first dimension. Training goes on from the state
    that the last run saved beside the bundle (or in the directory `state`); `fresh` starts over. `direct` and
    `profile` are for measurements, as in `run_bundle`.

    Raises:
        SpecError: no batch, or one that is not like the one given to `compile`.
        BundleError, MissingTool, Stopped: as the engine reports.
    """
    import tempfile

    from safetensors.numpy import load_file

    from daypack.runtime.bundle import read_bundle_plan
    from daypack.runtime.data_file import write_data

    path = bundle.bundle if isinstance(bundle, CompileResult) else Path(bundle)
    plan = read_bundle_plan(path)
    saved = saved_state(path, None if state is None else Path(state))
    done = 0 if fresh else steps_done(saved)
    given = list(batches)
    with tempfile.TemporaryDirectory(prefix="daypack-") as folder:
        data = Path(folder) / "data.bin"
        write_data(data, plan.inputs, _records(given, plan.window, done))
        wanted = steps if steps is not None else len(given)
        events = tuple(
            run_bundle(
                path,
                data=data,
                steps=wanted,
                via=via,
                threads=threads,
                state=saved.parent,
                fresh=fresh,
                direct=direct,
                profile=profile,
            )
        )
    if not saved.exists():
        raise BundleError(f"{saved}: the run saved no state")
    return TrainResult(events, load_file(saved))


def _records(batches: Sequence[Any], window: int, done: int) -> Iterator[dict[str, Any]]:
    """The micro-batches in the order of the file, where step s reads batch s modulo their number.

    The first batch is for the first step of this run, which has `done` steps behind it.
    """
    from daypack.user_step import batch_arrays, micro_batches

    for place in range(len(batches)):
        number = (place - done) % len(batches)
        where = f"batch {number}"
        yield from micro_batches(batch_arrays(batches[number], where), window, where)
