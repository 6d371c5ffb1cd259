"""A small training by hand: C kernels, its plan, its bundle, and the same step in numpy.

The worked example of the runtime's tests. Two micro-batches a step; `y += a * x` twice, `out` is `y`
normalized in two phases, the loss is the mean of the labelled ids times `scale`. Engines are built once a
session.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daypack.runtime import build, plan_format
from daypack.runtime.bundle import new_bundle, write_manifest
from daypack.runtime.corpus_file import corpus_bytes
from daypack.runtime.data_file import write_data
from daypack.runtime.launch import find_emulator
from daypack.runtime.plan_file import (
    Batch,
    BatchInput,
    Call,
    EndShard,
    Fetch,
    FileKind,
    Kernel,
    Phase,
    PlanFile,
    Read,
    Rows,
    StateTensor,
    Store,
    Wait,
    Zero,
)
from daypack.runtime.state_file import state_layout, write_state

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from survival.sanitized import sanitized_engine

NATIVE = Path(__file__).parent / "native"
HOST = {"x86_64": "x86_64", "aarch64": "aarch64"}[platform.machine()]
TRIPLES = {arch: triple for triple, arch in build.ARCH_OF_TRIPLE.items()}
COUNT = 4096
SCRATCH_BYTES = 256

# Arena: name -> (offset, size).
SIZES = {
    "y": 4 * COUNT,
    "out": 4 * COUNT,
    "x": 4 * COUNT,
    "partial": 256,
    "a": 64,
    "ids": 128,
    "scale": 64,
    "total": 64,
    "weight": 64,
    "loss": 64,
    "clock": 64,
}
ARENA: dict[str, int] = {}
ARENA_BYTES = 0
for _name, _size in SIZES.items():
    ARENA[_name] = ARENA_BYTES
    ARENA_BYTES += _size

KERNELS = (
    Kernel("accumulate", 4, (Phase("accumulate", 0, 1),), (128, 4, 4, 4)),
    Kernel("saxpy", 3, (Phase("saxpy", 0, 64),), (4, 4 * COUNT, 4 * COUNT)),
    Kernel(
        "normalize",
        3,
        (Phase("normalize_sum", 3, 64), Phase("normalize_scale", 7, 64)),
        (4 * COUNT, 256, 4 * COUNT),
    ),
    Kernel("finish", 4, (Phase("finish", 0, 1),), (4, 4, 4, 4)),
    Kernel("slow", 1, (Phase("slow", 0, 1 << 20),), (256,)),
)
#: Those of an engine on a simulated device.
VIRTUAL_KERNELS = (*KERNELS, Kernel("spend", 1, (Phase("spend", 0, 1),), (256,)))
INPUTS = (BatchInput("ids", "I32", 128, bound=100, ignore=-100), BatchInput("scale", "F32", 4))
STATE = (
    StateTensor("y", "F32", (64, 64), ARENA["y"]),
    StateTensor("opt/out", "F32", (COUNT,), ARENA["out"]),
    StateTensor("clock/step", "U32", (), ARENA["clock"]),
)


def call(kernel: int, *names: str) -> Call:
    return Call(kernel, tuple(ARENA[name] for name in names))


def rows_instruction(ids: str, into: str) -> Rows:
    """32 rows of 128 floats, of the 32 that are at the start of the weights."""
    return Rows(FileKind.WEIGHTS, 0, 4 * COUNT // 32, 32, ARENA[ids], 32, ARENA[into])


def example_plan(arch: str = HOST, kernel_id: bytes = bytes(32)) -> PlanFile:
    micro_steps = [
        instruction
        for micro in range(2)
        for instruction in (
            Batch(micro, (ARENA["ids"], ARENA["scale"])),
            call(0, "ids", "scale", "total", "weight"),
            call(1, "a", "x", "y"),
            EndShard(),
        )
    ]
    return PlanFile(
        target_arch=arch,
        cpu_features=(),
        arena_bytes=ARENA_BYTES,
        scratch_bytes=SCRATCH_BYTES,
        budget_bytes=6_000_000,
        window=2,
        save_steps=1,
        kernels=KERNELS,
        setup=(
            Read(FileKind.WEIGHTS, 0, ARENA["x"], SIZES["x"]),
            Read(FileKind.WEIGHTS, SIZES["x"], ARENA["a"], 64),
        ),
        steps=(
            Zero(ARENA["total"], 64),
            Zero(ARENA["weight"], 64),
            *micro_steps,
            call(2, "y", "partial", "out"),
            call(3, "total", "weight", "loss", "clock"),
        ),
        inputs=INPUTS,
        state=STATE,
        loss_offset_bytes=ARENA["loss"],
        weight_offset_bytes=ARENA["weight"],
        step_offset_bytes=ARENA["clock"],
        kernel_id=kernel_id,
    )


def paged_plan() -> dict[str, Any]:
    """What changes of the example when nothing large stays: `x` is fetched from the weights, `y` comes from
    the state, goes to the swap between the micro-steps and to the next generation after them; so does
    `out`, which is read back once.
    """
    state = (
        replace(STATE[0], arena_offset_bytes=None),
        replace(STATE[1], arena_offset_bytes=None),
        STATE[2],
    )
    layout = state_layout(state)
    y, out, x = ARENA["y"], ARENA["out"], ARENA["x"]
    y_file, out_file, _ = layout.offsets_bytes
    size = 4 * COUNT
    return {
        "state": state,
        "setup": (Read(FileKind.WEIGHTS, SIZES["x"], ARENA["a"], 64),),
        "steps": (
            Zero(ARENA["total"], 64),
            Zero(ARENA["weight"], 64),
            Fetch(FileKind.STATE, y_file, y, size),
            Fetch(FileKind.WEIGHTS, 0, x, size),
            Batch(0, (ARENA["ids"], ARENA["scale"])),
            call(0, "ids", "scale", "total", "weight"),
            Wait(2),
            call(1, "a", "x", "y"),
            Store(FileKind.SWAP, 4096, y, size),
            Batch(1, (ARENA["ids"], ARENA["scale"])),
            call(0, "ids", "scale", "total", "weight"),
            Wait(3),
            Zero(y, size),
            Zero(x, size),
            Fetch(FileKind.WEIGHTS, 0, x, size),
            Fetch(FileKind.SWAP, 4096, y, size),
            Wait(5),
            call(1, "a", "x", "y"),
            Store(FileKind.NEXT, y_file, y, size),
            call(2, "y", "partial", "out"),
            Store(FileKind.NEXT, out_file, out, size),
            Wait(7),
            Zero(out, size),
            Fetch(FileKind.NEXT, out_file, out, size),
            Wait(8),
            Store(FileKind.NEXT, out_file, out, size),
            call(3, "total", "weight", "loss", "clock"),
            EndShard(),
        ),
    }


def language_plan() -> dict[str, Any]:
    """What changes of the example when it reads the inputs of a language model, 32 tokens an example."""
    plan = example_plan()
    batch = (ARENA["ids"], ARENA["partial"])
    steps = tuple(replace(i, offsets=batch) if isinstance(i, Batch) else i for i in plan.steps)
    inputs = (
        BatchInput("ids", "I32", 128, bound=256),
        BatchInput("labels", "I32", 128, bound=256, ignore=-100),
    )
    return {"inputs": inputs, "steps": steps}


def corpus(**changes: Any) -> bytes:
    """A corpus.bin for that plan."""
    settings: dict[str, Any] = {"kind": "", "tokenizer": 1, "packing": False, "seed": 5, "sequence": 32}
    return corpus_bytes(**{**settings, **changes})


def evaluation_plan(plan: PlanFile, **changes: Any) -> PlanFile:
    """Of the training's kernels: a record is one row, its sum for a log-likelihood."""
    changed = {
        "window": 1,
        "save_steps": 1,
        "rows": 1,
        "setup": (),
        "steps": (
            Zero(ARENA["total"], 64),
            Zero(ARENA["weight"], 64),
            Batch(0, (ARENA["ids"], ARENA["scale"])),
            call(0, "ids", "scale", "total", "weight"),
            EndShard(),
        ),
        "state": (
            replace(plan.state[0], arena_offset_bytes=None),
            replace(plan.state[1], arena_offset_bytes=None),
            plan.state[2],
        ),
        "loss_offset_bytes": ARENA["total"],
        "weight_offset_bytes": ARENA["weight"],
    }
    return replace(plan, **{**changed, **changes})


def weights() -> tuple[np.ndarray, np.float32]:
    return np.linspace(-1, 2, COUNT, dtype=np.float32), np.float32(0.37)


def records(count: int = 5) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(7)
    made: list[dict[str, np.ndarray]] = []
    for number in range(count):
        ids = rng.integers(0, 100, 32).astype(np.int32)
        ids[: number + 1] = -100
        made.append({"ids": ids, "scale": np.array([1 + number / 3], np.float32)})
    return made


def sequential_sum(values: np.ndarray, start: float = 0.0) -> np.float32:
    return np.add.accumulate(np.concatenate([[np.float32(start)], values]).astype(np.float32))[-1]


@dataclass
class Reference:
    """The same training in numpy, every sum in the kernels' order."""

    y: np.ndarray = field(default_factory=lambda: np.zeros(COUNT, np.float32))
    out: np.ndarray = field(default_factory=lambda: np.zeros(COUNT, np.float32))
    step: int = 0

    def run(self, data: list[dict[str, np.ndarray]]) -> tuple[np.float32, int]:
        """One step: (loss, tokens)."""
        x, a = weights()
        total, weight = np.float32(0), 0
        for micro in range(2):
            record = data[(2 * self.step + micro) % len(data)]
            labels = record["ids"][record["ids"] != -100]
            total = sequential_sum(record["scale"] * labels.astype(np.float32), total)
            weight += len(labels)
            self.y = self.y + a * x
        sums = np.array([sequential_sum(tile) for tile in self.y.reshape(64, 64)], np.float32)
        self.out = self.y * np.float32(7) / sequential_sum(sums, 1.0)
        self.step += 1
        return total / np.float32(weight), weight


@dataclass
class Run:
    """What a run of the engine gave."""

    status: int
    events: list[dict[str, Any]]
    stderr: str

    @property
    def error(self) -> dict[str, Any]:
        assert self.events and self.events[-1]["event"] == "error", (self.events, self.stderr)
        return self.events[-1]

    @property
    def message(self) -> str:
        return self.error["message"]

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == "step"]


@dataclass
class Case:
    """A bundle under test: change a part, run it."""

    bundle: Path
    plan: PlanFile
    emulator: tuple[str, ...] = ()

    @property
    def state(self) -> Path:
        return self.bundle.with_name(self.bundle.name + ".state") / "state.safetensors"

    def set_plan(self, **changes: Any) -> None:
        """Write the example's plan with these fields changed, and the manifest for it."""
        self.plan = replace(self.plan, **changes)
        self.set_file("plan.bin", plan_format.write_plan(self.plan))

    def set_evaluation(self, **changes: Any) -> None:
        """Write an evaluation of the example with these fields changed, and the manifest for it."""
        self.set_file("eval.bin", plan_format.write_plan(evaluation_plan(self.plan, **changes)))

    def set_rows(self, *rows: tuple[float, int]) -> None:
        """Data of these (sum, labels), one a record."""
        made: list[dict[str, np.ndarray]] = []
        for total, labels in rows:
            ids = np.full(32, -100, np.int32)
            ids[:labels] = 1
            made.append({"ids": ids, "scale": np.array([total / max(labels, 1)], np.float32)})
        write_data(self.bundle / "data.bin", INPUTS, made)
        write_manifest(self.bundle)

    def set_file(self, name: str, data: bytes) -> None:
        (self.bundle / name).write_bytes(data)
        write_manifest(self.bundle)

    def set_corpus(self, **changes: Any) -> None:
        self.set_file("corpus.bin", corpus(**changes))

    def set_policy(self, policy: bytes) -> None:
        self.set_file("policy.bin", policy)

    def command(self, *arguments: str) -> list[str]:
        return [*self.emulator, str(self.bundle / "engine"), "--bundle", str(self.bundle), *arguments]

    def run(self, *arguments: str, env: dict[str, str] | None = None, **options: Any) -> Run:
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            timeout=60,
            check=False,
            env=None if env is None else {**os.environ, **env},
            **options,
        )
        events = [json.loads(line) for line in done.stdout.decode().splitlines()]
        return Run(done.returncode, events, done.stderr.decode())


@pytest.fixture(scope="session")
def kernel_objects(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """arch -> the object file of kernels.c."""
    directory = tmp_path_factory.mktemp("kernels")

    def compile_for(arch: str) -> bytes:
        out = directory / f"{arch}.o"
        if not out.exists():
            flags = ["-target", TRIPLES[arch], "-O1", "-ffp-contract=off", "-fno-sanitize=all"]
            words = ["-m", "ziglang", "cc", *flags, "-c", str(NATIVE / "kernels.c"), "-o", str(out)]
            subprocess.run([sys.executable, *words], check=True, cwd=directory)
        return out.read_bytes()

    return compile_for


@pytest.fixture(scope="session")
def engines(
    kernel_objects: Callable[[str], bytes], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., build.BuiltEngine]:
    """(arch, variant) -> an engine with the example's kernels. Variants: plain, faulty platform, a platform
    that loses power, UBSan in trap mode; and with gcc's sanitizers.
    """
    directory = tmp_path_factory.mktemp("engines")
    built: dict[tuple[str, str], build.BuiltEngine] = {}
    variants: dict[str, dict[str, Any]] = {
        "plain": {},
        "faulty": {"main": NATIVE / "fault_main.c"},
        "power": {"main": NATIVE / "power_main.c"},
        "intruder": {"main": NATIVE / "intruder_main.c"},
        "strict": {"extra_flags": ("-DDAYPACK_SANDBOX_KILLS",)},
        "virtual": {
            "main": NATIVE / "virtual_main.c",
            "extra_flags": (f"-I{build.NATIVE / 'simulator'}", "-ffp-contract=off"),
        },
        "trapping": {"extra_flags": ("-fsanitize=undefined", "-fsanitize-trap=undefined")},
    }

    def sanitized(sanitizer: str, main: Path, kernel_object: bytes, out: Path) -> build.BuiltEngine:
        if shutil.which("gcc") is None and os.environ.get("CI") != "true":
            pytest.skip("no gcc here, whose sanitizers this needs")
        path = sanitized_engine(
            sanitizer,
            triple=TRIPLES[HOST],
            kernel_object=kernel_object,
            kernels=KERNELS,
            scratch_bytes=SCRATCH_BYTES,
            out=out,
            main=main,
        )
        return build.BuiltEngine(path, path.stat().st_size, hashlib.sha256(kernel_object).digest())

    def engine(arch: str = HOST, variant: str = "plain") -> build.BuiltEngine:
        name, _, sanitizer = variant.partition(", ")
        if sanitizer and (arch, variant) not in built:
            main = variants[name].get("main", build.MAIN)
            out = directory / variant.replace(", ", "-")
            built[arch, variant] = sanitized(sanitizer, main, kernel_objects(arch), out)
        if (arch, variant) not in built:
            built[arch, variant] = build.build_engine(
                triple=TRIPLES[arch],
                kernel_object=kernel_objects(arch),
                kernels=VIRTUAL_KERNELS if variant == "virtual" else KERNELS,
                scratch_bytes=SCRATCH_BYTES,
                out=directory / f"{arch}-{variant}",
                **variants[variant],
            )
        return built[arch, variant]

    return engine


def emulator_or_skip() -> str:
    try:
        return find_emulator()
    except Exception as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no emulator for aarch64 here: {error}")


@pytest.fixture
def make_case(engines: Callable[..., build.BuiltEngine], tmp_path: Path) -> Callable[..., Case]:
    """(arch, variant, plan changes) -> a complete bundle with data, ready to run."""

    def make(arch: str = HOST, variant: str = "plain", name: str = "example", **changes: Any) -> Case:
        emulator = () if arch == HOST else (emulator_or_skip(),)
        engine = engines(arch, variant)
        bundle = tmp_path / name
        if variant == "virtual":
            changes["kernels"] = VIRTUAL_KERNELS
        plan = replace(example_plan(arch, engine.kernel_id), **changes)
        x, a = weights()
        arrays = {
            "y": np.zeros((64, 64), np.float32),
            "opt/out": np.zeros(COUNT, np.float32),
            "clock/step": np.zeros((), np.uint32),
        }
        with new_bundle(bundle) as staging:
            shutil.copy(engine.path, staging / "engine")
            (staging / "plan.bin").write_bytes(plan_format.write_plan(plan))
            (staging / "weights.bin").write_bytes(x.tobytes() + np.full(16, a, np.float32).tobytes())
            (staging / "bundle.json").write_text('{"made_by": "tests"}\n')
            write_state(staging / "state.safetensors", plan.state, arrays)
            write_data(staging / "data.bin", INPUTS, records())
        return Case(bundle, plan, emulator)

    return make


@pytest.fixture
def case(make_case: Callable[..., Case]) -> Case:
    return make_case()


@pytest.fixture(scope="session")
def example() -> Any:
    """This module: the example's tables, for tests that need their names."""
    return sys.modules[__name__]
