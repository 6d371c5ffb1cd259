"""The order of examples: a permutation for every epoch, the same in the engine as here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daypack.errors import SpecError
from daypack.runtime.data_file import Arrangement, read_data, write_data
from daypack.runtime.plan_file import BatchInput
from daypack.runtime.shuffle import permuted


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 257, 4096, 5000])
def test_every_epoch_is_a_permutation(count: int) -> None:
    orders = [permuted(np.arange(count), count, seed, epoch).tolist() for seed in (0, 7) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    if count >= 16:
        assert len({tuple(order) for order in orders}) == 4


def test_places_are_equally_likely() -> None:
    """Over 4,000 seeds each of 8 examples is at each place about 500 times; 6 deviations are 126."""
    seen = np.zeros((8, 8), np.int64)
    for seed in range(4000):
        seen[np.arange(8), permuted(np.arange(8), 8, seed, 0).astype(np.int64)] += 1
    assert abs(seen - 500).max() < 126


def test_places_of_many_examples_need_no_table() -> None:
    count = 10**15
    found = permuted(np.array([0, 1, count - 1]), count, 3, 2**40)
    assert len(set(found.tolist())) == 3 and int(found.max()) < count


def test_an_epoch_takes_every_example_once_and_the_next_goes_on() -> None:
    arrangement = Arrangement(micro_batch=4, seed=5)
    taken = [row for number in range(5) for row in arrangement.examples(number, 10)]
    assert sorted(taken[:10]) == sorted(taken[10:]) == list(range(10)) and taken[:10] != taken[10:]
    assert Arrangement(micro_batch=4).examples(2, 10) == [8, 9, 0, 1]


def test_micro_batches_of_examples_are_read_back(tmp_path: Path) -> None:
    inputs = (BatchInput("ids", "I32", 2 * 12), BatchInput("weight", "F32", 2 * 4))
    made = [{"ids": np.arange(3, dtype=np.int32) + n, "weight": np.array(n, np.float32)} for n in range(5)]
    path, arrangement = tmp_path / "data.bin", Arrangement(2, seed=1)
    assert write_data(path, inputs, made, arrangement) == 5
    for number, batch in enumerate(read_data(path, inputs, 8)):
        rows = arrangement.examples(number, 5)
        assert batch["ids"].tolist() == [row + place for row in rows for place in range(3)]
        assert batch["weight"].tolist() == rows
    assert len(list(read_data(path, inputs))) == 3
    with pytest.raises(SpecError, match="expected input 'ids' of 24 bytes to divide into 5 examples"):
        write_data(path, inputs, made, Arrangement(5))


@pytest.mark.parametrize("seed", [None, 3])
def test_the_engine_takes_them_in_the_same_order(
    make_case: Callable[..., Any], example: Any, seed: int | None
) -> None:
    """Three epochs of 29 examples, two a step, in two runs: the second goes on in the middle of an epoch."""
    case, made, arrangement = make_case(), example.records(29), Arrangement(1, seed)
    write_data(case.bundle / "data.bin", example.INPUTS, made, arrangement)
    case.set_file("data.bin", (case.bundle / "data.bin").read_bytes())
    ordered = [made[arrangement.examples(number, 29)[0]] for number in range(3 * 29)]
    reference = example.Reference()
    expected = [reference.run(ordered)[0] for _ in range(43)]
    runs = case.run("--steps", "20"), case.run("--steps", "23")
    found = [np.float32(event["loss"]) for run in runs for event in run.steps]
    assert found == expected
