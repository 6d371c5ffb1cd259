"""The one door to numba: inner loops are Python functions over arrays, compiled on first use and cached."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile for this machine; the same bits as the Python source, without its overflow checks."""
    return cast(Function, numba.njit(cache=True)(function))
