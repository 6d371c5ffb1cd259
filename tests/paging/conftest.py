"""Compilations that page everything they may, whatever the planner would do."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import pytest

from daypack.compiler import planning
from daypack.compiler.project import project
from daypack.errors import MissingTool
from daypack.planners.plan import Plan, PlanOptions
from daypack.planners.problem import Problem
from daypack.runtime.launch import find_emulator
from tests.paging.plans import least_memory, page_all

#: Every array but scalars may be paged.
PAGE_BYTES = 128


@pytest.fixture(scope="session")
def emulator() -> str:
    """qemu's user mode for aarch64; a machine without it skips, but the build server never does."""
    try:
        return find_emulator()
    except MissingTool as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(error.message)


@pytest.fixture
def paging(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """(share, spread=False) -> from now on plans take the least memory that paging needs and this share of
    the rest; transfers stay where they are used unless they may spread.
    """

    def begin(share: float, *, spread: bool = False) -> None:
        def planner(problem: Problem, memory_bytes: int, options: PlanOptions) -> Plan:
            least = least_memory(problem)
            most = page_all(problem, memory_bytes, options).peak_bytes
            return page_all(problem, round(least + share * (most - least)))

        monkeypatch.setattr(planning, "project", functools.partial(project, page_bytes=PAGE_BYTES))
        monkeypatch.setattr(planning, "auto", planner)
        monkeypatch.setattr(planning, "SPREAD", 1.0 if spread else 0.0)

    return begin
