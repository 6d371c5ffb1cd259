"""Users of Flax and optax run under JAX's own settings: libraries promote types inside."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import jax
import pytest


@pytest.fixture(autouse=True)
def standard_promotion() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def example(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import an example as `python examples/NAME.py` does: its folder comes first on the path."""
    monkeypatch.syspath_prepend(str(repository / "examples"))
    before = set(sys.modules)

    yield import_module
    for name in set(sys.modules) - before:
        if (file := getattr(sys.modules[name], "__file__", None)) and "examples" in Path(file).parts:
            del sys.modules[name]
