"""Daypack: from a training step to a mobile execution plan. Re-exports only, loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daypack.api import compile, run

__version__ = "0.1.0"

__all__ = ["__version__", "compile", "run"]

_EXPORTS = {"compile": "daypack.api", "run": "daypack.api"}


def __getattr__(name: str) -> Any:
    """Load `name` from where it lives (PEP 562), so that `import daypack` costs nothing."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'daypack' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
