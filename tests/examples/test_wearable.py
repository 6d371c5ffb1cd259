"""The personal case, quick: later days are answered better after learning from earlier ones, by a margin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

Load = Callable[[str], ModuleType]


def test_what_is_learnt_of_some_weeks_answers_questions_about_later_ones(
    example: Load, tmp_path: Path
) -> None:
    wearable = example("wearable")
    result = wearable.main(wearable.QUICK, tmp_path)
    before, after = result.questions
    assert (before.step, after.step) == (0, wearable.QUICK.personal_steps)
    assert before.questions == after.questions == 21 * wearable.QUICK.held_out_weeks
    assert after.accuracy > before.accuracy + 0.15
    assert after.accuracy_by_length > before.accuracy_by_length + 0.15
    assert result.answers[1].perplexity < result.answers[0].perplexity


def test_days_are_those_of_their_seed(example: Load, tmp_path: Path) -> None:
    days = example("wearable_days")
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        days.write_personal(folder, 3, 2, seed=2)
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
    asked = list(days.questions(days.person(np.random.default_rng(4)), 2, np.random.default_rng(5)))
    assert len(asked) == 42 and {len(one.options) for one in asked} == {4}
    assert asked[0].prompt.startswith("Monday. ") and asked[0].completion in [
        f" {o}" for o in asked[0].options
    ]
