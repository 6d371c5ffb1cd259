"""Fused nodes → compiled kernels. The only folder that knows TVM."""

import importlib
import sys
from types import ModuleType
from typing import cast


def _load_tvm() -> None:
    """Import TVM without torch, which it would load where it is installed, and which nothing here needs."""
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    if "torch" in modules:
        importlib.import_module("tvm")
        return
    modules["torch"] = None  # an import of it fails, which TVM expects
    try:
        importlib.import_module("tvm")
    finally:
        del modules["torch"]


_load_tvm()
