"""The layers of the memory chart: what each byte in memory is for."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from daypack.compiler.graph import Role
from daypack.compiler.schedule_file import ENGINE, SMALL_RESULTS, Part, ScheduleFile


class Layer(StrEnum):
    """From the bottom of the stack to its top; the text is what people read."""

    ENGINE = "engine"
    SMALL_RESULTS = "small results"
    CONSTANTS = "constants"
    FROZEN = "frozen weights"
    PARAMETERS = "parameters"
    ADAPTERS = "adapters"
    MOMENTS = "moments and counters"
    GRADIENTS = "gradients"
    BATCH = "batch"
    ACTIVATIONS = "activations"
    WORKSPACES = "workspaces"


_OF_ROLE: Mapping[str, Layer] = {
    Role.TRAINABLE: Layer.PARAMETERS,
    Role.FROZEN: Layer.FROZEN,
    Role.FLASH: Layer.FROZEN,
    Role.STATE: Layer.MOMENTS,
    Role.CLOCK: Layer.MOMENTS,
    Role.BATCH: Layer.BATCH,
    Role.GRADIENT: Layer.GRADIENTS,
    Role.CONSTANT: Layer.CONSTANTS,
    Role.ACTIVATION: Layer.ACTIVATIONS,
}
_OF_FIXED = {ENGINE: Layer.ENGINE, SMALL_RESULTS: Layer.SMALL_RESULTS}


def layer_of(part: Part, *, adapters: bool) -> Layer:
    """The layer of an array; `adapters`: what is trained are adapters."""
    layer = _OF_ROLE.get(part.role, Layer.ACTIVATIONS)
    return Layer.ADAPTERS if adapters and layer is Layer.PARAMETERS else layer


def shares(schedule: ScheduleFile, node: int, *, adapters: bool) -> dict[Layer, int]:
    """A node's bytes by layer; together exactly its size. What no array accounts for goes with the first."""
    size = schedule.problem.nodes[node].size_bytes
    found: dict[Layer, int] = {}
    left = size
    for part in schedule.parts[node]:
        taken = min(left, part.size_bytes)
        layer = layer_of(part, adapters=adapters)
        found[layer] = found.get(layer, 0) + taken
        left -= taken
    if left:
        first = next(iter(found), Layer.ACTIVATIONS)
        found[first] = found.get(first, 0) + left
    return {layer: size for layer, size in found.items() if size}


def fixed_shares(schedule: ScheduleFile) -> dict[Layer, int]:
    """The fixed bytes by layer."""
    found: dict[Layer, int] = {}
    for name, size in schedule.fixed:
        layer = _OF_FIXED.get(name, Layer.ENGINE)
        found[layer] = found.get(layer, 0) + size
    found[Layer.ENGINE] = found.get(Layer.ENGINE, 0) + schedule.problem.fixed_bytes - sum(found.values())
    return {layer: size for layer, size in found.items() if size}
