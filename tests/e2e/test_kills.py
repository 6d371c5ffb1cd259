"""Fifty SIGKILLs at random moments, each after some progress: nothing that was saved is lost, and the end is
the same bytes. `make proof` has a thousand (benchmarks/survival).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from survival import subjects
from survival.kills import kill

KILLS = 25


@pytest.mark.parametrize("name", ["lora, every third window saved", "paged full fine-tuning"])
def test_a_training_that_is_killed_again_and_again(name: str, tmp_path: Path) -> None:
    if name.startswith("lora"):
        subject = subjects.lora(tmp_path, subjects.TINY, save_steps=3)
    else:
        subject = subjects.paged(tmp_path, subjects.TINY)
    found = kill(subject, tmp_path, KILLS, seed=7)
    print(name, found)
    assert found.kills == KILLS and found.steps > KILLS
    assert found.identical and found.left == ()
    assert 0 <= found.lost <= subject.save_steps == (3 if name.startswith("lora") else 1)
