"""A device's thermal network as the simulator solves it: three nodes, diagonalized.

Processor and battery each pass heat to the skin, the skin to the air: C dT/dt = -G T + p + g T_air. G is
symmetric, so C^-1/2 G C^-1/2 has real eigenvalues and the network is a sum of exponentials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.devices import Profile
from daypack.runtime.gears import needed

CPU, SKIN, BATTERY = range(3)
ISOLATED = 1.0
"""Heat capacity and conductance of a battery that is not there; it receives no heat."""


@dataclass(frozen=True, slots=True)
class HeatModel:
    """Node temperatures are `modes @ z`; dz/dt = -decay z + from_watts @ p + from_air T_air."""

    decay_per_s: NDArray[np.float64]
    modes: NDArray[np.float64]
    from_watts: NDArray[np.float64]
    from_air: NDArray[np.float64]
    conductance: NDArray[np.float64]  #: W/K, node x node
    capacity: NDArray[np.float64]  #: J/K
    to_air: NDArray[np.float64]  #: W/K

    @property
    def skin_k_per_w(self) -> float:
        """How much warmer the skin becomes in the end for a watt in the processor."""
        return float(np.linalg.inv(self.conductance)[SKIN, CPU])

    def overshoot_k_per_w(self) -> float:
        """At most how much the skin still warms after a stop, for each watt of lasting load before it.

        The processor is then warmer than the skin by the watts times the resistance between them; the rise is
        that of a skin at the temperature of the air, which loses least meanwhile.
        """
        begin = np.zeros(3)
        begin[CPU] = 1.0
        z: Any = np.linalg.solve(self.modes, begin)
        times = np.arange(0.0, 600.0, 1.0)
        skin = (self.modes[SKIN] * z) @ np.exp(-np.outer(self.decay_per_s, times))
        return float(skin.max() / -self.conductance[CPU, SKIN])


def heat_model(profile: Profile) -> HeatModel:
    """The network of a profile. Raises `SpecError` for a missing figure; a board may lack the battery's
    two.
    """
    net = profile.thermal_network
    capacities = np.array(
        [
            needed(profile, "thermal_network.cpu_heat_capacity_j_per_k", net.cpu_heat_capacity_j_per_k),
            needed(profile, "thermal_network.skin_heat_capacity_j_per_k", net.skin_heat_capacity_j_per_k),
            net.battery_heat_capacity_j_per_k.value if net.battery_heat_capacity_j_per_k else ISOLATED,
        ]
    )
    times = np.array(
        [
            needed(profile, "thermal_network.cpu_time_constant_s", net.cpu_time_constant_s),
            needed(profile, "thermal_network.skin_time_constant_s", net.skin_time_constant_s),
            net.battery_time_constant_s.value if net.battery_time_constant_s else ISOLATED,
        ]
    )
    cpu, air, battery = capacities / times
    conductance = np.array(
        [[cpu, -cpu, 0.0], [-cpu, cpu + battery + air, -battery], [0.0, -battery, battery]]
    )
    root = np.sqrt(capacities)
    decay, vectors = np.linalg.eigh(conductance / np.outer(root, root))
    modes = vectors / root[:, None]
    from_watts = vectors.T / root[None, :]
    to_air = np.array([0.0, air, 0.0])
    return HeatModel(decay, modes, from_watts, from_watts @ to_air, conductance, capacities, to_air)
