"""Bad input through the command line: exit code, a message that says where, no traceback, nothing left."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from daypack.cli import main
from daypack.devices import load_profile
from daypack.models.registry import by_name
from daypack.runtime.bundle import write_manifest
from daypack.runtime.cpu_features import X86_64
from daypack.runtime.data_file import HEADER

CONFIG: dict[str, Any] = {
    "model_type": "gpt2",
    "n_layer": 1,
    "n_embd": 16,
    "n_head": 2,
    "vocab_size": 300,
    "n_positions": 32,
}
TRAIN = {"method": "lora", "learning_rate": 1e-3, "batch": 2, "sequence": 16, "max_steps": 2, "dropout": 0.0}
WORDS = "the quick brown fox jumps over the lazy dog and then it sleeps for the rest of the day; " * 20
"""More than one window of 16 bytes, all of them ids below 300."""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


class Command:
    """`daypack` in this process, where an exception that is no message fails the test by itself."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> Outcome:
        self._capsys.readouterr()
        code = main([str(word) for word in words])
        printed = self._capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    def refuses(self, code: int, *words: object, saying: str) -> str:
        """The message of a command that must fail with this code: after the progress, and no traceback."""
        outcome = self(*words)
        assert outcome.code == code, outcome
        progress, _, message = outcome.err.partition("error: ")
        assert "Traceback" not in outcome.err
        assert all(line.startswith("compile: ") for line in progress.splitlines()), outcome
        assert saying in message, outcome
        return message


@pytest.fixture
def daypack(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


class Case:
    """A folder with a checkpoint, a text and a spec, each of which a test may spoil."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = folder / "checkpoint"
        self.weights = self.checkpoint / "model.safetensors"
        self.text = folder / "text.txt"
        self.spec = folder / "train.toml"
        self.out = folder / "made" / "out.bundle"
        self.out.parent.mkdir()
        self.checkpoint.mkdir()
        (self.checkpoint / "config.json").write_text(json.dumps(CONFIG))
        save_file(initial_arrays(), self.weights)
        self.text.write_text(WORDS)
        self.write_spec()

    def write_spec(self, data: str = 'path = "text.txt"\ntokenizer = "bytes"', **train: Any) -> None:
        settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in {**TRAIN, **train}.items())
        text = f'[model]\ncheckpoint = "checkpoint"\n[train]\n{settings}\n[data]\n{data}\n'
        self.spec.write_text(text)

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return load_file(self.weights)

    def left(self) -> list[str]:
        """What is in the folder that the bundle was to be made in."""
        return sorted(path.name for path in self.out.parent.iterdir())


def initial_arrays() -> dict[str, np.ndarray[Any, Any]]:
    """Small random weights under the published names of GPT-2's own checkpoint."""
    from daypack.models.config_fields import ConfigReader
    from daypack.models.sources import RandomSource
    from daypack.models.structure import structure_of

    family = by_name("gpt2", "the test")
    config = family.parse_config(ConfigReader(CONFIG, "the test"))
    source = RandomSource(structure_of(lambda: family.build(config)).parameters, 0)
    return {name: source.read(name) for name in source.names()}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that runs on data of ids; nobody changes it."""
    case = Case(tmp_path_factory.mktemp("good"))
    (case.folder / "ids.jsonl").write_text(json.dumps({"ids": list(WORDS.encode())}))
    case.write_spec(data='path = "ids.jsonl"\nkind = "ids"')
    assert main(["compile", str(case.spec), "--out", str(case.out), "--json"]) == 0
    return case.out


@pytest.fixture
def bundle(good: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(good, tmp_path / "spoiled.bundle"))


def refused(daypack: Command, case: Case, saying: str, code: int = 2) -> str:
    """`compile` refuses the case and leaves nothing."""
    message = daypack.refuses(code, "compile", case.spec, "--out", case.out, saying=saying)
    assert case.left() == []
    return message


def test_the_case_compiles_and_runs_when_nothing_is_spoiled(daypack: Command, bundle: Path) -> None:
    outcome = daypack("run", bundle, "--steps", 2, "--json")
    assert outcome.code == 0, outcome
    losses = [json.loads(line)["loss"] for line in outcome.out.splitlines()]
    assert losses[0] == pytest.approx(np.log(300), rel=0.05) and losses[1] < losses[0]


# The checkpoint.


@pytest.mark.parametrize("keep", [0, 5, 200, -1], ids=["empty", "length", "header", "last byte"])
def test_truncated_safetensors(daypack: Command, case: Case, keep: int) -> None:
    raw = case.weights.read_bytes()
    case.weights.write_bytes(raw[:keep])
    refused(daypack, case, "model.safetensors")


def test_safetensors_of_the_wrong_dtype(daypack: Command, case: Case) -> None:
    arrays = case.arrays()
    name = "transformer.wpe.weight"
    save_file({**arrays, name: arrays[name].astype(np.int32)}, case.weights)
    message = refused(daypack, case, name)
    assert "I32" in message and "F32" in message


def test_missing_shard(daypack: Command, case: Case) -> None:
    arrays = case.arrays()
    case.weights.unlink()
    names = sorted(arrays)
    shards = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    places = {name: shard for shard, members in shards.items() for name in members}
    index = case.checkpoint / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    first, second = shards
    save_file({name: arrays[name] for name in shards[first]}, case.checkpoint / first)
    refused(daypack, case, second)
    save_file({name: arrays[name] for name in shards[second]}, case.checkpoint / second)
    assert daypack("compile", case.spec, "--out", case.out).code == 0


def test_a_config_of_an_unsupported_family(daypack: Command, case: Case) -> None:
    (case.checkpoint / "config.json").write_text(json.dumps({**CONFIG, "model_type": "mamba"}))
    message = refused(daypack, case, "mamba")
    assert "gpt2" in message


@pytest.mark.parametrize(("method", "value"), [("lora", np.nan), ("full", -np.inf)])
def test_weights_that_are_no_numbers(daypack: Command, case: Case, method: str, value: float) -> None:
    arrays = case.arrays()
    arrays["transformer.h.0.mlp.c_fc.weight"][3, 5] = value
    save_file(arrays, case.weights)
    case.write_spec(method=method)
    message = refused(daypack, case, "transformer.h.0.mlp.c_fc.weight")
    assert "1 values that are not finite, the first at [3, 5]" in message


# The data.


def test_a_token_id_outside_the_vocabulary_when_compiling(daypack: Command, case: Case) -> None:
    np.save(case.folder / "ids.npy", np.asarray([*range(299), 300] * 2, np.int64))
    case.write_spec(data='path = "ids.npy"\nkind = "ids"')
    refused(daypack, case, "token id 300 at position 299 is outside")


def test_a_token_id_outside_the_vocabulary_when_running(
    daypack: Command, bundle: Path, tmp_path: Path
) -> None:
    lines = [json.dumps({"ids": ids}) for ids in (list(range(40)), [1, 2, -1, *range(40)])]
    data = tmp_path / "ids.jsonl"
    data.write_text("\n".join(lines))
    daypack.refuses(2, "run", bundle, "--data", data, saying=f"{data}: line 2: token id -1 at position 2")
    assert not bundle.with_name("spoiled.bundle.state").exists()


def test_a_token_id_outside_the_vocabulary_in_prepared_data(
    daypack: Command, bundle: Path, tmp_path: Path
) -> None:
    """The engine looks at every id that it reads, whoever prepared it."""
    raw = bytearray((bundle / "data.bin").read_bytes())
    size_bytes = int(np.frombuffer(raw, HEADER, 1)["example_bytes"][0])
    for example in range(HEADER.itemsize, len(raw), size_bytes):  # one of them comes first
        raw[example + 4 * 3 : example + 4 * 4] = np.int32(300).tobytes()
    (tmp_path / "data.bin").write_bytes(raw)
    message = daypack.refuses(
        2, "run", bundle, "--data", tmp_path / "data.bin", "--steps", 1, saying="expected a value"
    )
    assert "300" in message


def test_text_shorter_than_one_window(daypack: Command, case: Case, bundle: Path, tmp_path: Path) -> None:
    case.text.write_text("too short.")
    refused(daypack, case, f"{case.text}: 10 tokens; one window needs 17")
    data = tmp_path / "ids.jsonl"
    data.write_text(json.dumps({"ids": list(range(16))}))
    daypack.refuses(2, "run", bundle, "--data", data, saying=f"{data}: 16 tokens; one window needs 17")
    assert not bundle.with_name("spoiled.bundle.state").exists()


# The bundle.

FILES = (
    "MANIFEST",
    "bundle.json",
    "corpus.bin",
    "data.bin",
    "engine",
    "eval.bin",
    "plan.bin",
    "schedule.json",
    "state.safetensors",
    "weights.bin",
)


@pytest.mark.parametrize("command", ["run", "inspect"])
@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_in_any_file(daypack: Command, bundle: Path, name: str, command: str) -> None:
    assert {path.name for path in bundle.iterdir()} == set(FILES)
    path = bundle / name
    raw = path.read_bytes()
    for position in {0, len(raw) // 2, len(raw) - 1}:
        spoiled = bytearray(raw)
        spoiled[position] ^= 0x20
        path.write_bytes(spoiled)
        words = ["--steps", "1"] if command == "run" else []
        daypack.refuses(4, command, bundle, *words, saying=name if name != "MANIFEST" else str(bundle))
        assert not bundle.with_name("spoiled.bundle.state").exists()


def test_a_bundle_of_another_version(daypack: Command, bundle: Path) -> None:
    manifest = bundle / "MANIFEST"
    manifest.write_text(manifest.read_text().replace("daypack-bundle 1\n", "daypack-bundle 2\n"))
    for command in ("run", "inspect"):
        daypack.refuses(4, command, bundle, saying="daypack-bundle 2")


def test_a_plan_of_another_version(daypack: Command, bundle: Path) -> None:
    plan = bundle / "plan.bin"
    raw = bytearray(plan.read_bytes())
    major = next(n for n in range(4, 16) if raw[n])  # the first number behind the magic is the version
    raw[major] = 99
    plan.write_bytes(raw)
    write_manifest(bundle)
    for command in ("run", "inspect"):
        message = daypack.refuses(4, command, bundle, saying="plan.bin")
        assert "version" in message


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the list of features is that of x86-64")
def test_a_processor_feature_that_this_machine_lacks(daypack: Command, case: Case) -> None:
    here = load_profile("host")
    missing = next(name for name in ("sse4a", "avx512fp16", "avx512bf16", "avxvnni") if name not in flags())
    assert missing in X86_64
    profile = case.folder / "other.toml"
    profile.write_text(
        f"""title = "another machine"
arch = "x86_64"
llvm_cpu = "{here.llvm_cpu}"
llvm_features = {json.dumps(list(here.llvm_features))}
cpu_features = {json.dumps([*here.cpu_features, missing])}
vector_bits = {here.vector_bits}
vector_registers = {here.vector_registers}
design = "all"
[[cluster]]
name = "all"
core = "another"
cores = 2
clock_hz = {{ value = 2e9, source = "the test", kind = "stated" }}
flop_per_cycle = {{ value = 16, source = "the test", kind = "stated" }}
l1d_bytes = {{ value = 32768, source = "the test", kind = "stated" }}
l2_bytes = {{ value = 524288, source = "the test", kind = "stated" }}
"""
    )
    assert daypack("compile", case.spec, "--out", case.out, "--target", profile).code == 0
    daypack.refuses(5, "run", case.out, "--steps", 1, saying=missing)
    assert case.left() == ["out.bundle"]


def flags() -> set[str]:
    """The processor's features as the kernel lists them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    words = next(line for line in lines if line.startswith("flags")).split()
    return {word.replace("avx512_", "avx512").replace("avx_", "avx") for word in words}


def test_an_emulated_processor_that_lacks_a_feature(case: Case, daypack: Command, emulator: str) -> None:
    from daypack.errors import MissingTool
    from daypack.runtime.launch import Emulated, EngineArguments

    assert daypack("compile", case.spec, "--out", case.out, "--target", "cortex-a76").code == 0
    with pytest.raises(MissingTool, match="lse|rdm|rcpc|fullfp16|dotprod"):
        list(Emulated(cpu="cortex-a53").run(case.out, EngineArguments(steps=1)))
    daypack.refuses(5, "run", case.out, "--steps", 1, saying="--via emulated")


# The disk.


def test_an_output_folder_that_cannot_be(daypack: Command, case: Case) -> None:
    (case.folder / "file").write_text("")
    for out in (case.folder / "file" / "b", case.folder / "missing" / "b", Path("/proc/daypack.bundle")):
        daypack.refuses(2, "compile", case.spec, "--out", out, saying=str(out))
    occupied = case.folder / "occupied"
    occupied.mkdir()
    (occupied / "notes").write_text("mine")
    for out in (occupied, case.folder / "file"):
        daypack.refuses(2, "compile", case.spec, "--out", out, saying="give another --out")
    assert (occupied / "notes").read_text() == "mine"
    assert case.left() == []


class Filesystem:
    """A small file system of its own, mounted for a command; where that is not allowed, there is none."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()

    def run(
        self, options: str, *words: object, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`daypack` with a file system at `place`; `ls` of it follows on stderr behind a line of dashes."""
        script = (
            f"mount -t tmpfs -o {options.removeprefix('ro,')} daypack {self.place} || exit 99; "
            + (f"mount -o remount,ro {self.place} || exit 99; " if options.startswith("ro,") else "")
            + f'"$@"; code=$?; echo ---- >&2; ls -A {self.place} >&2; umount {self.place}; exit $code'
        )
        ways = [["unshare", "-m"], ["unshare", "-r", "-m"]]
        for way in ways:
            command = [*way, "sh", "-c", script, "sh", sys.executable, "-m", "daypack", *map(str, words)]
            every = {**os.environ, **(environment or {})}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=every)
            if "----\n" in done.stderr:
                return done
        pytest.skip("no file system can be mounted here")


@pytest.fixture
def filesystem(tmp_path: Path) -> Iterator[Filesystem]:
    yield Filesystem(tmp_path / "mounted")


def said(done: subprocess.CompletedProcess[str]) -> tuple[str, list[str]]:
    """(what daypack said, what lies in the file system)."""
    message, _, listing = done.stderr.partition("----\n")
    assert "Traceback" not in message
    return message, listing.split()


def test_a_read_only_output_folder(case: Case, filesystem: Filesystem) -> None:
    out = filesystem.place / "b"
    done = filesystem.run("ro,size=1m", "compile", case.spec, "--out", out)
    message, listing = said(done)
    assert (done.returncode, listing) == (2, []), done
    assert f"error: {out}: cannot write a bundle there: Read-only file system" in message


def test_a_read_only_state_folder(bundle: Path, filesystem: Filesystem) -> None:
    done = filesystem.run("ro,size=1m", "run", bundle, "--steps", 1, "--state", filesystem.place / "s")
    message, listing = said(done)
    assert (done.returncode, listing) == (2, []), done
    assert "cannot create the state directory: Read-only file system; give --state another" in message


@pytest.mark.parametrize("room", [0, 1], ids=["before the engine", "after the engine"])
def test_a_full_disk_when_compiling(case: Case, good: Path, filesystem: Filesystem, room: int) -> None:
    size = 16_384 + room * (good / "engine").stat().st_size
    done = filesystem.run(f"size={size}", "compile", case.spec, "--out", filesystem.place / "b")
    message, listing = said(done)
    assert (done.returncode, listing) == (2, []), done
    assert "No space left on device" in message and str(filesystem.place / "b") in message


def test_a_full_disk_when_running(bundle: Path, filesystem: Filesystem) -> None:
    """There is room for one state but not for the next beside it: the first one stays."""
    size = (bundle / "state.safetensors").stat().st_size * 3 // 2
    done = filesystem.run(f"size={size}", "run", bundle, "--steps", 2, "--state", filesystem.place / "s")
    message, listing = said(done)
    assert (done.returncode, listing) == (6, ["s"]), done
    assert "state.safetensors: cannot save the state of step 2: No space left on device" in message
    assert "the state on disk is of step 1" in message


def test_a_full_temporary_disk(case: Case, filesystem: Filesystem) -> None:
    """The compiler's own temporary files do not fit: it says which file, and the bundle's folder is clean."""
    place = filesystem.place
    done = filesystem.run(
        "size=40k", "compile", case.spec, "--out", case.out, environment={"TMPDIR": str(place)}
    )
    message, listing = said(done)
    assert (done.returncode, listing, case.left()) == (2, [], []), done
    assert f"error: {case.out}: cannot write the bundle: No space left on device" in message


# The budget.


def test_a_budget_that_nothing_fits(daypack: Command, case: Case) -> None:
    message = refused_budget(daypack, case)
    assert "every plan needs at least" in message and "forced by" in message
    outcome = daypack("compile", case.spec, "--out", case.out, "--memory", "100KB", "--json")
    assert (outcome.code, outcome.err, case.left()) == (3, "", [])
    found = json.loads(outcome.out)
    assert found["error"] == "budget-infeasible"
    assert 100_000 < found["bound_bytes"] <= found["smallest_feasible_bytes"]
    assert found["forced_by"] and all(value["name"] for value in found["forced_by"])


def refused_budget(daypack: Command, case: Case) -> str:
    message = daypack.refuses(
        3, "compile", case.spec, "--out", case.out, "--memory", "100KB", saying="budget of 100000 bytes"
    )
    assert case.left() == []
    return message


def test_the_smallest_budget_it_names_does(daypack: Command, case: Case) -> None:
    outcome = daypack("compile", case.spec, "--out", case.out, "--memory", "100KB", "--json")
    smallest = json.loads(outcome.out)["smallest_feasible_bytes"]
    again = daypack("compile", case.spec, "--out", case.out, "--memory", f"{smallest}B", "--json")
    assert again.code == 0, again
    run = daypack("run", case.out, "--steps", 1, "--json")
    assert run.code == 0, run
    assert json.loads(run.out.splitlines()[0])["peak_rss_bytes"] <= smallest


def test_messages_come_without_a_traceback_in_a_process_of_their_own(case: Case) -> None:
    case.weights.write_bytes(case.weights.read_bytes()[:100])
    command = [sys.executable, "-m", "daypack", "compile", str(case.spec), "--out", str(case.out)]
    environment = {**os.environ, "PYTHONFAULTHANDLER": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "error: " in done.stderr and "Traceback" not in done.stderr and "model.safetensors" in done.stderr
