"""The fuzzers' seeds, and every input that once failed, under AddressSanitizer and UBSan.

`make fuzz` looks for others: python benchmarks/fuzz.py --seconds 60.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from survival.fuzz_seeds import write_seeds
from survival.fuzzing import HARNESSES, REGRESSIONS, build_harness, replay

#: Random changes of each seed that are replayed beside it.
CHANGES = 40
#: Good seeds: a reader that refuses them all is not reached.
ACCEPTED = {
    "plan": 3,
    "state": 4,
    "data": 1,
    "policy": 3,
    "command": 3,
    "manifest": 2,
    "raw": 7,
    "tokenizer": 6,
}


@pytest.fixture(autouse=True)
def gcc() -> None:
    if shutil.which("gcc") is None and os.environ.get("CI") != "true":
        pytest.skip("no gcc here, whose sanitizers this needs")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the harnesses are built: what they share once."""
    return tmp_path_factory.mktemp("harnesses")


@pytest.mark.parametrize("harness", HARNESSES)
def test_seeds_and_what_once_failed(harness: str, built: Path, tmp_path: Path) -> None:
    program = build_harness(harness, built)
    inputs = write_seeds(harness, tmp_path / "seeds")
    rng = random.Random(harness)
    for seed in list(inputs):
        original = seed.read_bytes()
        for number in range(CHANGES):
            changed = bytearray(original)
            for _ in range(rng.randrange(1, 5)):
                changed[rng.randrange(len(changed))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
            path = seed.with_name(f"{seed.name}-{number}")
            path.write_bytes(changed)
            inputs.append(path)
    inputs += sorted((REGRESSIONS / harness).glob("*"))
    done = replay(program, inputs)
    assert done.returncode == 0, done.stderr[-4000:]
    found = re.fullmatch(r"(\d+) inputs, (\d+) accepted\n", done.stdout)
    assert found and int(found[1]) == len(inputs)
    assert int(found[2]) >= ACCEPTED[harness], done.stdout


def test_flipped_bits_of_a_state(built: Path, tmp_path: Path) -> None:
    """Some, with its checksums and with checksums made to fit; `make proof` flips every bit."""
    program = build_harness("state", built)
    seed = write_seeds("state", tmp_path / "seeds")[0].read_bytes()
    rng = random.Random(2)
    paths: list[Path] = []
    for number in range(400):
        first = number % 4
        flipped = bytearray(bytes([first]) + seed[1:])
        bit = rng.randrange(8, 8 * 1500) if number % 2 else rng.randrange(8, 8 * len(seed))
        flipped[bit // 8] ^= 1 << bit % 8
        path = tmp_path / f"flip-{number}"
        path.write_bytes(flipped)
        paths.append(path)
    done = replay(program, paths)
    assert done.returncode == 0, done.stderr[-4000:]
