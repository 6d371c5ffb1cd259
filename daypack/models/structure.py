# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

"""A Flax module seen as a flat dictionary of published names, and back.

The module's attribute paths are the published names (PEFT puts `base_model.model.` before an adapter's), so
the way from one to the other is a renaming: no array is reshaped or copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flax import nnx

from daypack.models.parameters import ParameterSpec

ADAPTER_PREFIX = "base_model.model."
_ADAPTER_PARTS = ("lora_A", "lora_B")


@dataclass(frozen=True)
class Structure:
    """A module without its arrays: `parameters` in the module's order, and `bind` to give it arrays."""

    parameters: Mapping[str, ParameterSpec]
    _graph: Any
    _variables: Mapping[str, tuple[tuple[Any, ...], Any]]

    def bind(self, arrays: Mapping[str, Any]) -> Any:
        """The module with `arrays` (every name of `parameters`, in published layout) as its parameters."""
        flat = [(path, variable.replace(arrays[name])) for name, (path, variable) in self._variables.items()]
        return nnx.merge(self._graph, nnx.from_flat_state(flat))


def structure_of(build: Callable[[], Any]) -> Structure:
    """The structure of the module that `build` makes; nothing is allocated."""
    graph, state = nnx.split(nnx.eval_shape(build))
    variables = {_published(path): (path, variable) for path, variable in nnx.to_flat_state(state)}
    parameters = {
        name: ParameterSpec(tuple(variable.shape), str(variable.dtype), variable.initial, variable.input_axis)
        for name, (_, variable) in variables.items()
    }
    return Structure(parameters, graph, variables)


def is_adapter(name: str) -> bool:
    """Whether a published name belongs to an adapter."""
    return name.startswith(ADAPTER_PREFIX)


def _published(path: tuple[Any, ...]) -> str:
    name = ".".join(str(part) for part in path)
    return ADAPTER_PREFIX + name if any(part in path for part in _ADAPTER_PARTS) else name
