"""The comparator finds what it is there to find."""

from __future__ import annotations

import numpy as np
import pytest
from parity.compare import compare, relative_losses
from parity.reference import Trained

BIAS = "transformer.h.0.attn.c_attn.bias"


def trained(losses: tuple[float, ...], **arrays: list[float]) -> Trained:
    named = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    return Trained(losses, (), named)


START = {"w": np.asarray([1.0, 1.0], np.float32)}


def test_the_change_since_the_start_is_what_counts() -> None:
    figures = compare(START, trained((2.0,), w=[1.5, 1.0]), trained((2.5,), w=[1.25, 1.0]))
    assert figures.worst_array.relative == 1.0
    assert figures.losses == (pytest.approx(0.2),)
    assert figures.unchanged == ()


def test_an_array_that_did_not_change_is_named() -> None:
    figures = compare(START, trained((2.0,), w=[1.0, 1.0]), trained((2.0,), w=[1.0, 1.0]))
    assert figures.unchanged == ("w",)
    assert figures.line().endswith("unchanged: w")


def test_a_change_that_the_reference_does_not_make_is_infinite() -> None:
    figures = compare(START, trained((2.0,), w=[1.5, 1.0]), trained((2.0,), w=[1.0, 1.0]))
    assert figures.worst_array.relative == float("inf")


def test_key_biases_are_compared_absolutely() -> None:
    start = {BIAS: np.zeros(6, np.float32)}
    ours = Trained((1.0,), (), {BIAS: np.asarray([1, 1, 5, 5, 1, 1], np.float32)})
    theirs = Trained((1.0,), (), {BIAS: np.asarray([1, 1, -3, 2, 1, 1], np.float32)})
    figures = compare(start, ours, theirs)
    assert figures.worst_array.relative == 0.0
    assert [(z.part, z.difference, z.reference) for z in figures.zero] == [("keys [2, 4)", 8.0, 3.0)]


def test_runs_of_different_lengths_are_not_compared() -> None:
    with pytest.raises(ValueError, match="expected as many losses as the reference's 2, found 1"):
        relative_losses([1.0], [1.0, 2.0])
