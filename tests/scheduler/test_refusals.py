"""What else can fail: the compiler of the simulator, the solver, a field that C does not have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from daypack.errors import DaypackError, MissingTool, SpecError
from daypack.runtime import simulator_library
from daypack.runtime.c_simulator import CJob, fill
from daypack.runtime.policies import oracle as oracle_module
from daypack.runtime.simulator import Job
from tests.scheduler.conftest import MakeDay, MakeSetting


def test_a_compiler_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingTool, match="the C code of the simulator cannot be built: .*c99999"):
        replace(simulator_library.LIBRARY, flags=("-std=c99999",)).load()
    assert [path for path in (tmp_path / "daypack").rglob("*") if path.is_file()] == []


def test_a_solver_that_gives_up_is_said(
    monkeypatch: pytest.MonkeyPatch, make_setting: MakeSetting, make_day: MakeDay
) -> None:
    monkeypatch.setattr(oracle_module, "_METHODS", (("highs-ds", {"maxiter": 0, "presolve": False}),))
    with pytest.raises(SpecError, match="oracle: HiGHS stopped with: "):
        oracle_module.oracle(make_setting(), make_day(), Job(100, 0.0, 7200.0))


def test_a_field_that_c_does_not_have_is_said() -> None:
    with pytest.raises(DaypackError, match="simulator: CJob has no field stepz"):
        fill(CJob(), keep=[], stepz=1)
