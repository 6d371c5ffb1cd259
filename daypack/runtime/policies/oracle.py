"""The offline oracle: the fewest joules that any policy could do the same work for, knowing the whole
recording.

A linear program in HiGHS. Slots end at whole minutes and where the recording changes, so that within one
the owner's load, the charger and the air are constant. Variables: the share of each slot spent in each
gear, the battery at every slot's end, the mean and the final temperature of every node beside what they
would be without the job.

Why its optimum is a lower bound: whatever a policy does within the limits, its shares, its battery and its
temperatures satisfy every constraint, so they are a feasible point of no lower objective.

- A gear that is slower than another and draws more is left out: the other one does the same in less time.
- Energy is linear in the shares. Losses in the battery are those of each gear against the slot's own load.
- Battery: charge is at most what the slot's balance gives (it may be given away, as a full battery does).
  Nothing runs where even without the job it is below the reserve, and from one charging to the next the job
  takes at most what was above it.
- Heat balances exactly over a slot: C (T_end - T_begin) = -G T_mean h + heat. How T_mean follows from the
order
  within the slot is left open, but for the fastest that a node can cool. The skin's mean and end stay under
  the limit. In a slot in which the owner alone passes the limit nothing is required; in one that lies above
  it as a whole nothing is run.
- The governor, rests, tables and whole steps only take away from what is allowed here.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daypack.errors import SpecError
from daypack.runtime.heat import BATTERY, CPU, SKIN
from daypack.runtime.limits import UNLIMITED, Limits
from daypack.runtime.policies.setting import Setting
from daypack.runtime.recording import DAY_S, Recording, Row
from daypack.runtime.simulator import OWNER_CPU_SHARE, Job

SLOT_S = 60.0
KILO = 1000.0
"""Energies are kJ inside the program, so that its numbers are of one size."""
WITHIN_K = 0.05
"""How far below its two ends the owner's skin temperature may dip within a slot."""
_OPTIMAL, _INFEASIBLE = 0, 2
_METHODS: tuple[tuple[str, dict[str, bool]], ...] = (
    ("highs", {}),
    ("highs-ds", {"presolve": False}),
    ("highs-ipm", {}),
)
"""The next one is asked where HiGHS gives up on a program at the edge of what is feasible."""


class OracleInfeasible(SpecError):
    """No policy can do the work by the deadline within the limits."""


@dataclass(frozen=True, slots=True)
class Bound:
    """`joules`: no policy needs less. `shares[slot, n]` of a slot that begins at `slots_s[slot]`:
    `gears[n]`.
    """

    joules: float
    slots_s: NDArray[np.float64]
    gears: tuple[int, ...]
    shares: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Slot:
    begin_s: float
    length_s: float
    row: Row


def oracle(setting: Setting, recording: Recording, job: Job, *, limited: bool = True) -> Bound:
    """The lower bound for a job; `limited` says whether the setting's limits hold.

    Raises:
        OracleInfeasible: the work cannot be done by the deadline.
    """
    limits = setting.limits if limited else UNLIMITED
    slots = _slots(recording, job)
    program = _Program(setting, job, limits, slots, _owner(setting, recording, job, slots))
    return program.solve()


def fastest_finish_s(setting: Setting, recording: Recording, job: Job, *, most_s: float) -> float:
    """The least time from the start in which the work can be done within the limits, to ten minutes.

    A lower bound in the same sense. Raises `OracleInfeasible` if it takes longer than `most_s`.
    """
    least = job.steps * setting.costs[setting.fastest].seconds
    low, high = least, most_s
    oracle(setting, recording, Job(job.steps, job.start_s, job.start_s + high, job.battery))
    while high - low > 600.0:
        middle = (low + high) / 2
        try:
            oracle(setting, recording, Job(job.steps, job.start_s, job.start_s + middle, job.battery))
            high = middle
        except OracleInfeasible:
            low = middle
    return high


def _slots(recording: Recording, job: Job) -> list[_Slot]:
    end = min(job.deadline_s, recording.end_s)
    grid = np.arange(math.floor(job.start_s / SLOT_S) + 1, math.ceil(end / SLOT_S)) * SLOT_S
    changes = [row.t_s for row in recording.rows if job.start_s < row.t_s < end]
    times = sorted({job.start_s, end, *map(float, grid), *changes})
    starts = np.array([row.t_s for row in recording.rows])
    return [
        _Slot(begin, stop - begin, recording.rows[int(np.searchsorted(starts, begin, "right")) - 1])
        for begin, stop in zip(times, times[1:], strict=False)
    ]


@dataclass(frozen=True, slots=True)
class _Owner:
    """Without the job, at the slots' ends (one more than slots): temperatures of all nodes and charge."""

    skin: NDArray[np.float64]
    stored_j: NDArray[np.float64]


def _owner(setting: Setting, recording: Recording, job: Job, slots: list[_Slot]) -> _Owner:
    """The simulator's own closed form, with nothing but the owner, from the beginning of the recording."""
    heat, cells = setting.heat, setting.profile.battery
    capacity = cells.capacity_j.value if cells.capacity_j else math.inf
    stored = capacity * job.battery if cells.capacity_j else math.inf
    z = heat.from_air * recording.rows[0].ambient_c / heat.decay_per_s
    before = _slots(recording, Job(1, 0.0, job.start_s, job.battery)) if job.start_s > 0 else []
    skin: list[float] = []
    charge: list[float] = []
    for slot in [*before, *slots]:
        if slot.begin_s >= job.start_s - 1e-9:
            skin.append(float(heat.modes[SKIN] @ z))
            charge.append(stored)
        left = slot.length_s
        while left > 1e-9:
            watts, rate = _load(setting, slot.row, 0.0, full=stored >= capacity)
            step = left
            if cells.capacity_j and rate > 0 and stored < capacity:
                step = min(step, (capacity - stored) / rate)
            step = max(step, 1e-9)
            settled = (heat.from_watts @ watts + heat.from_air * slot.row.ambient_c) / heat.decay_per_s
            z = settled + (z - settled) * np.exp(-heat.decay_per_s * step)
            stored = min(max(stored + rate * step, 0.0), capacity) if cells.capacity_j else stored
            left -= step
    skin.append(float(heat.modes[SKIN] @ z))
    charge.append(stored)
    return _Owner(np.array(skin), np.array(charge))


def _load(setting: Setting, row: Row, watts: float, *, full: bool) -> tuple[NDArray[np.float64], float]:
    """Heat into the nodes and the rate of the charge, when the job draws `watts`."""
    cells = setting.profile.battery
    net = row.foreground_w + watts - (row.charge_w if row.charging else 0.0)
    lost = _loss_w(setting, net)
    efficiency = cells.charge_efficiency.value if cells.charge_efficiency else 1.0
    surplus = 0.0 if full else max(-net, 0.0)
    heat = np.zeros(3)
    heat[CPU] = OWNER_CPU_SHARE * row.foreground_w + watts
    heat[SKIN] = (1 - OWNER_CPU_SHARE) * row.foreground_w
    if cells.capacity_j:
        heat[BATTERY] = lost + (1 - efficiency) * surplus
    return heat, efficiency * surplus - max(net, 0.0) - lost


def _loss_w(setting: Setting, drawn_w: float) -> float:
    cells = setting.profile.battery
    if cells.capacity_j is None or cells.resistance_ohm is None or cells.voltage_v is None or drawn_w <= 0:
        return 0.0
    return cells.resistance_ohm.value * (drawn_w / cells.voltage_v.value) ** 2


def _undominated(setting: Setting) -> tuple[int, ...]:
    kept: list[int] = []
    least = math.inf
    for gear in sorted(range(len(setting.gears)), key=lambda g: (setting.costs[g].seconds, setting.watts(g))):
        if setting.watts(gear) < least:
            kept.append(gear)
            least = setting.watts(gear)
    return tuple(kept)


class _Program:
    """The linear program: rows and bounds are collected sparsely, then solved."""

    def __init__(self, setting: Setting, job: Job, limits: Limits, slots: list[_Slot], owner: _Owner) -> None:
        self.setting, self.job, self.limits, self.slots, self.owner = setting, job, limits, slots, owner
        self.gears = _undominated(setting)
        self.has_battery = setting.profile.battery.capacity_j is not None
        self.heats = math.isfinite(limits.skin_celsius)
        self.cooled = self._most_cooled()
        count = len(slots)
        self.share0 = 0
        self.stored0 = count * len(self.gears)
        self.mean0 = self.stored0 + (count if self.has_battery else 0)
        self.end0 = self.mean0 + (3 * count if self.heats else 0)
        self.size = self.end0 + (3 * count if self.heats else 0)
        self.cost = np.zeros(self.size)
        self.low = np.zeros(self.size)
        self.high = np.full(self.size, math.inf)
        self.upper: list[tuple[dict[int, float], float]] = []
        self.equal: list[tuple[dict[int, float], float]] = []

    def solve(self) -> Bound:
        for place, slot in enumerate(self.slots):
            self._shares(place, slot)
            if self.has_battery:
                self._battery(place, slot)
            if self.heats:
                self._heat(place, slot)
        if self.has_battery:
            self._stretches()
        self._work()
        self._daily()
        answer = self._highs()
        if answer.status == _INFEASIBLE:
            raise OracleInfeasible(
                f"oracle: {self.job.steps} steps cannot be done in "
                f"{self.job.deadline_s - self.job.start_s:.0f} s on {self.setting.profile.name} "
                "within the limits; give more time or fewer steps"
            )
        if answer.status != _OPTIMAL:
            raise SpecError(f"oracle: HiGHS stopped with: {answer.message}")
        shares = np.asarray(answer.x)[: self.stored0].reshape(len(self.slots), len(self.gears))
        begins = np.array([slot.begin_s for slot in self.slots])
        return Bound(float(answer.fun) * KILO, begins, self.gears, shares)

    def _variable(self, place: int, gear: int) -> int:
        return place * len(self.gears) + gear

    def _drawn(self, gear: int, slot: _Slot) -> float:
        """Watts that a gear adds in a slot, without losses."""
        awake = 0.0 if slot.row.screen else self.setting.awake_w
        return self.setting.costs[gear].watts + awake

    def _lost(self, gear: int, slot: _Slot) -> float:
        """Watts that it adds to the losses in the battery."""
        net = slot.row.foreground_w - (slot.row.charge_w if slot.row.charging else 0.0)
        return _loss_w(self.setting, net + self._drawn(gear, slot)) - _loss_w(self.setting, net)

    def _shares(self, place: int, slot: _Slot) -> None:
        allowed = self._allowed(place, slot)
        for n, gear in enumerate(self.gears):
            variable = self._variable(place, n)
            self.cost[variable] = slot.length_s / KILO * (self._drawn(gear, slot) + self._lost(gear, slot))
            self.high[variable] = 1.0 if allowed else 0.0
        self.upper.append(({self._variable(place, n): 1.0 for n in range(len(self.gears))}, 1.0))

    def _allowed(self, place: int, slot: _Slot) -> bool:
        limits, row = self.limits, slot.row
        memory_mb = 0.0 if limits is UNLIMITED else self.setting.workload.peak_bytes / 1e6
        hours = [(t % DAY_S) / 3600 for t in (slot.begin_s, slot.begin_s + slot.length_s - 1e-6)]
        too_hot = min(self.owner.skin[place : place + 2]) > limits.skin_celsius + WITHIN_K
        return not (
            row.mem_available_mb < memory_mb
            or (limits.only_charging and not row.charging)
            or (limits.only_screen_off and row.screen)
            or all(map(limits.is_quiet, hours))
            or too_hot
            or max(self.owner.stored_j[place : place + 2]) < self._reserve_j()
        )

    def _battery(self, place: int, slot: _Slot) -> None:
        """stored_end <= stored_begin + owner's balance - what the gears draw, above the reserve; in kJ."""
        setting, row = self.setting, slot.row
        stored = self.stored0 + place
        figure = setting.profile.battery.capacity_j
        capacity = (figure.value if figure else math.inf) / KILO
        self.high[stored] = capacity
        _, idle_w = _load(setting, row, 0.0, full=False)
        stored_kj = float(self.owner.stored_j[0]) / KILO
        length_ks = slot.length_s / KILO
        balance = {stored: 1.0}
        right = length_ks * idle_w
        for n, gear in enumerate(self.gears):
            _, with_w = _load(setting, row, self._drawn(gear, slot), full=False)
            balance[self._variable(place, n)] = length_ks * (idle_w - with_w)
        begin: dict[int, float] = {}
        if place:
            balance[stored - 1] = -1.0
            begin = {stored - 1: 1.0}
        else:
            right += stored_kj
        # The owner alone may empty it: what is then missing is not the job's, so the balance is only a bound.
        self.upper.append((balance, right + self._emptied(place, slot, idle_w) / KILO))
        gain = max(idle_w, 0.0) * length_ks
        reserve = self.limits.reserve * capacity
        row_of = {self._variable(place, n): reserve for n in range(len(self.gears))}
        for key in begin:
            row_of[key] = -1.0
        self.upper.append((row_of, gain + (0.0 if place else stored_kj)))

    def _stretches(self) -> None:
        """While nothing charges, the gears draw at most what lies above the reserve at the beginning."""
        draining = [_load(self.setting, slot.row, 0.0, full=False)[1] <= 0 for slot in self.slots]
        row: dict[int, float] = {}
        room = 0.0
        for place in range(len(self.slots)):
            if not draining[place]:
                continue
            if not row:
                room = float(self.owner.stored_j[place]) - self._reserve_j()
            for n in range(len(self.gears)):
                variable = self._variable(place, n)
                row[variable] = float(self.cost[variable])
            if place + 1 == len(self.slots) or not draining[place + 1]:
                self.upper.append((row, max(room, 0.0) / KILO))
                row = {}

    def _reserve_j(self) -> float:
        figure = self.setting.profile.battery.capacity_j
        return self.limits.reserve * figure.value if figure else 0.0

    def _emptied(self, place: int, slot: _Slot, idle_w: float) -> float:
        """What the owner would draw from an empty battery: the charge stays at zero instead."""
        return max(0.0, -idle_w) * slot.length_s if self._could_be_empty(place, slot) else 0.0

    def _could_be_empty(self, place: int, slot: _Slot) -> bool:
        most = max(self._drawn(g, slot) + self._lost(g, slot) for g in self.gears)
        return bool(
            self.owner.stored_j[place] - (slot.begin_s - self.job.start_s + slot.length_s) * most <= 0
        )

    def _heat(self, place: int, slot: _Slot) -> None:
        """For what the job adds: C (end - begin) / h + G mean = heat, node by node."""
        heat = self.setting.heat
        for node in range(3):
            end = self.end0 + 3 * place + node
            row = {end: heat.capacity[node] / slot.length_s}
            if place:
                row[end - 3] = -heat.capacity[node] / slot.length_s
            for other in range(3):
                if heat.conductance[node, other]:
                    row[self.mean0 + 3 * place + other] = heat.conductance[node, other]
            for n, gear in enumerate(self.gears):
                watts = self._heating(gear, slot)[node]
                if watts:
                    row[self._variable(place, n)] = -watts
            self.equal.append((row, 0.0))
            mean = self.mean0 + 3 * place + node
            self.low[[end, mean]] = -math.inf
            self._cooling(node, mean, end - 3 if place else None, slot.length_s)
        room = self.limits.skin_celsius - max(self.owner.skin[place : place + 2])
        lowest = self.limits.skin_celsius - min(self.owner.skin[place : place + 2])
        if room > 0:
            self.high[self.mean0 + 3 * place + SKIN] = lowest + WITHIN_K
            self.high[self.end0 + 3 * place + SKIN] = self.limits.skin_celsius - self.owner.skin[place + 1]

    def _cooling(self, node: int, mean: int, begin: int | None, length_s: float) -> None:
        """mean + d >= k (begin + d): a node cools no faster than by its own conductance.

        `d = G^-1 q` is the most by which the job can cool a node, where it takes up to `q` from the heat of
        charging. Beside it temperatures are not negative and every inflow is positive, so they decay at
        most exponentially.
        """
        heat = self.setting.heat
        rate = heat.conductance[node, node] / heat.capacity[node] * length_s
        kept = -math.expm1(-rate) / rate
        row = {mean: -1.0}
        if begin is not None:
            row[begin] = kept
        self.upper.append((row, (1 - kept) * float(self.cooled[node])))

    def _most_cooled(self) -> NDArray[np.float64]:
        taken = np.zeros(3)
        taken[BATTERY] = max(
            (-self._heating(gear, slot)[BATTERY] for slot in self.slots for gear in self.gears), default=0.0
        )
        solved: Any = np.linalg.solve(self.setting.heat.conductance, np.maximum(taken, 0.0))
        return solved

    def _heating(self, gear: int, slot: _Slot) -> tuple[float, float, float]:
        """Watts into processor, skin and battery; charging less warms the battery less."""
        drawn = self._drawn(gear, slot)
        with_heat, _ = _load(self.setting, slot.row, drawn, full=False)
        without, _ = _load(self.setting, slot.row, 0.0, full=False)
        return drawn, 0.0, float(with_heat[BATTERY] - without[BATTERY])

    def _work(self) -> None:
        row = {
            self._variable(place, n): -slot.length_s / self.setting.costs[gear].seconds / self.job.steps
            for place, slot in enumerate(self.slots)
            for n, gear in enumerate(self.gears)
        }
        self.upper.append((row, -1.0))

    def _daily(self) -> None:
        """Joules a day; a policy stops within a slot of the limit, so a slot of the fastest gear is
        forgiven.
        """
        if not math.isfinite(self.limits.joules_per_day):
            return
        slack = SLOT_S * self.setting.watts(self.setting.everything) * 1.2
        for day in {int(slot.begin_s // DAY_S) for slot in self.slots}:
            row = {
                self._variable(place, n): float(self.cost[self._variable(place, n)])
                for place, slot in enumerate(self.slots)
                if int(slot.begin_s // DAY_S) == day
                for n in range(len(self.gears))
            }
            self.upper.append((row, (self.limits.joules_per_day + slack) / KILO))

    def _highs(self) -> Any:
        linprog: Any = importlib.import_module("scipy.optimize").linprog
        left, right = _sparse(self.upper, self.size)
        equal, target = _sparse(self.equal, self.size)
        answer: Any = None
        for method, options in _METHODS:
            answer = linprog(
                self.cost,
                A_ub=left,
                b_ub=right,
                A_eq=equal if self.equal else None,
                b_eq=target if self.equal else None,
                bounds=np.column_stack([self.low, self.high]),
                method=method,
                options=options,
            )
            if answer.status in (_OPTIMAL, _INFEASIBLE):
                break
        return answer


def _sparse(rows: list[tuple[dict[int, float], float]], size: int) -> tuple[Any, NDArray[np.float64]]:
    lengths = [len(row) for row, _ in rows]
    pointer = np.concatenate([[0], np.cumsum(lengths)]) if rows else np.zeros(1)
    columns = np.fromiter((key for row, _ in rows for key in row), np.int64, sum(lengths))
    values = np.fromiter((value for row, _ in rows for value in row.values()), np.float64, sum(lengths))
    make: Any = importlib.import_module("scipy.sparse").csr_array
    return make((values, columns, pointer), shape=(len(rows), size)), np.array([right for _, right in rows])
