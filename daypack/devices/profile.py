"""What a hardware profile holds; this page defines every quantity and its unit.

Units are in the names: `_bytes`, `_hz`, `_w` (watts), `_j` (joules), `_s` (seconds), `_celsius`. A
figure that nobody knows is absent (`None`), never invented; who needs it sweeps it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum

PRODUCTS_SHARE = 0.85
"""Of the peak, what matrix products reach: assumed where a profile has no measured rate."""


class FigureKind(StrEnum):
    """Where a figure comes from, so that a guess is never shown as a measurement."""

    MEASURED = "measured"  #: somebody measured it on the device
    STATED = "stated"  #: a maker's data sheet, manual or configuration file says so
    DERIVED = "derived"  #: computed from measured or stated figures
    ASSUMED = "assumed"  #: a plausible value, taken where none is published
    EMULATED = "emulated"  #: measured under an emulator: it says nothing of the device


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its origin; `low` and `high` bound what it may be where nobody knows it better."""

    value: float
    source: str
    kind: FigureKind
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What one busy core draws at one clock."""

    clock_hz: float
    power_w: Figure


@dataclass(frozen=True, slots=True)
class Reached:
    """What float32 matrix products reach on some cores of a cluster.

    `clamp` is the utilization of 1024 that the kernel's governor was told of at most: 1024 is no cap.
    """

    threads: int
    clamp: int
    flops_per_s: Figure


@dataclass(frozen=True, slots=True)
class Cluster:
    """Cores of one kind. Caches are those that one core sees; a shared one is counted whole.

    `products` is empty where nobody measured (`daypack calibrate` does).
    """

    name: str
    core: str
    cores: int
    clock_hz: Figure  #: the highest clock
    flop_per_cycle: Figure  #: float32, one core, a fused multiply-add counts as two
    l1d_bytes: Figure
    l2_bytes: Figure
    points: tuple[OperatingPoint, ...] = ()
    products: tuple[Reached, ...] = ()

    @property
    def flops_per_s(self) -> float:
        """Of all its cores at the highest clock: the peak, or that of which the measured rate of products is
        `PRODUCTS_SHARE`.
        """
        for reached in self.products:
            if (reached.threads, reached.clamp) == (self.cores, 1024):
                return reached.flops_per_s.value / PRODUCTS_SHARE
        return self.cores * self.peak_flops_per_s

    @property
    def peak_flops_per_s(self) -> float:
        """Of one core at the highest clock."""
        return self.clock_hz.value * self.flop_per_cycle.value

    def energy_j_per_flop(self, point: OperatingPoint) -> float:
        """At full use of the vector units; a real kernel needs more."""
        return point.power_w.value / (point.clock_hz * self.flop_per_cycle.value)


@dataclass(frozen=True, slots=True)
class Memory:
    """DRAM, all cores together."""

    bytes_per_s: Figure | None = None
    energy_j_per_byte: Figure | None = None


@dataclass(frozen=True, slots=True)
class Kernels:
    """What compiled kernels reach on all cores together; absent figures are derived from the peak."""

    products_flops_per_s: Figure | None = None  #: large matrix products in float32
    rows_flops_per_s: Figure | None = None  #: norms and softmax
    elements_flops_per_s: Figure | None = (
        None  #: element-wise operations and sums, without waiting for memory
    )
    half_products_flops_per_s: Figure | None = None  #: matrix products of float16 arrays
    call_s: Figure | None = None  #: what the call of a kernel takes at least


@dataclass(frozen=True, slots=True)
class PageCache:
    """Sequential transfers of at least 512 KB to and from the system's cache in memory."""

    read_bytes_per_s: Figure | None = None
    write_bytes_per_s: Figure | None = None


@dataclass(frozen=True, slots=True)
class Flash:
    """Sequential transfers of at least 512 KB."""

    read_bytes_per_s: Figure | None = None
    write_bytes_per_s: Figure | None = None
    read_energy_j_per_byte: Figure | None = None
    write_energy_j_per_byte: Figure | None = None
    endurance_bytes: Figure | None = None  #: what may be written before it wears out


@dataclass(frozen=True, slots=True)
class Power:
    """What is drawn beside the cores, memory and flash."""

    uncore_w: Figure | None = None  #: interconnect, controllers and rails while any core computes
    awake_w: Figure | None = None  #: the system kept from suspending, screen off, nothing computed


@dataclass(frozen=True, slots=True)
class Battery:
    """A cell pack as a source with one internal resistance; absent on what hangs on the mains."""

    capacity_j: Figure | None = None
    voltage_v: Figure | None = None
    resistance_ohm: Figure | None = None
    charge_efficiency: Figure | None = None  #: stored / taken from the charger; the rest heats the battery


@dataclass(frozen=True, slots=True)
class ThermalNetwork:
    """Three heat capacities in a star: processor and battery each against the skin, the skin against the air.

    A time constant is the node's heat capacity times the resistance of its one path outwards. A board
    without battery has two nodes.
    """

    cpu_time_constant_s: Figure | None = None
    cpu_heat_capacity_j_per_k: Figure | None = None
    skin_time_constant_s: Figure | None = None
    skin_heat_capacity_j_per_k: Figure | None = None
    battery_time_constant_s: Figure | None = None
    battery_heat_capacity_j_per_k: Figure | None = None


@dataclass(frozen=True, slots=True)
class Thermal:
    """What the device's own governor does, and what is left under lasting load."""

    control_celsius: Figure | None = None  #: skin temperature at which the CPU is held back
    sustainable_power_w: Figure | None = None
    max_power_w: Figure | None = None
    passive_period_s: Figure | None = None
    sustained_fraction: Figure | None = None  #: throughput after minutes of full load / at the start
    hysteresis_k: Figure | None = None  #: how far below `control_celsius` clocks are given back
    moderate_celsius: Figure | None = None  #: the vendor's skin thresholds, by Android's names
    severe_celsius: Figure | None = None
    critical_celsius: Figure | None = None
    emergency_celsius: Figure | None = None
    shutdown_celsius: Figure | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """One device. Kernels are tiled and scheduled for the `design` cluster and run on every core.

    `llvm_features` are LLVM's names with a sign (`+neon`, `-sve`); `cpu_features` are LLVM's names, unsigned:
    those that the engine checks before it runs a kernel.
    """

    name: str
    title: str
    arch: str  #: "x86_64" or "aarch64"
    llvm_cpu: str
    llvm_features: tuple[str, ...]
    cpu_features: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    design: str  #: name of a cluster
    clusters: tuple[Cluster, ...]  #: fastest first
    memory: Memory = Memory()
    flash: Flash = Flash()
    thermal: Thermal = Thermal()
    power: Power = Power()
    battery: Battery = Battery()
    thermal_network: ThermalNetwork = ThermalNetwork()
    kernels: Kernels = Kernels()
    page_cache: PageCache = PageCache()

    @property
    def is_emulated(self) -> bool:
        """Whether a figure was measured under an emulator, so that no time that follows from it means
        anything.
        """
        return any(figure.kind is FigureKind.EMULATED for figure in figures_of(self))

    @property
    def prediction(self) -> str:
        """The `source` of what is computed from the profile's figures."""
        return "modelled of emulated figures" if self.is_emulated else "modelled"

    @property
    def llvm_triple(self) -> str:
        """The C library is musl: the engine is one static executable."""
        return f"{self.arch}-linux-musl"

    @property
    def half_arithmetic(self) -> bool:
        """Whether every core computes in float16, at twice the float32 operations of a cycle."""
        return self.arch == "aarch64" and "fullfp16" in self.cpu_features

    @property
    def design_cluster(self) -> Cluster:
        """The cluster that kernels are made for."""
        return next(cluster for cluster in self.clusters if cluster.name == self.design)

    @property
    def l1d_bytes(self) -> int:
        """Of the design cluster, as are the next two."""
        return int(self.design_cluster.l1d_bytes.value)

    @property
    def l2_bytes(self) -> int:
        return int(self.design_cluster.l2_bytes.value)

    @property
    def peak_flops_per_s(self) -> float:
        """Of one core."""
        return self.design_cluster.peak_flops_per_s

    @property
    def cores(self) -> int:
        """Of all clusters together."""
        return sum(cluster.cores for cluster in self.clusters)

    @property
    def total_flops_per_s(self) -> float:
        """Of all cores at their highest clocks: an upper bound that heat does not let last."""
        return sum(cluster.flops_per_s for cluster in self.clusters)

    @property
    def memory_bytes_per_s(self) -> float | None:
        return None if self.memory.bytes_per_s is None else self.memory.bytes_per_s.value


def figures_of(part: object) -> Iterator[Figure]:
    """Every figure of a profile or of a part of it."""
    if isinstance(part, Figure):
        yield part
    elif isinstance(part, tuple):
        for item in part:  # pyright: ignore[reportUnknownVariableType]
            yield from figures_of(item)  # pyright: ignore[reportUnknownArgumentType]
    elif is_dataclass(part):
        for field in fields(part):
            yield from figures_of(getattr(part, field.name))
