# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
"""TIR functions → one ELF object for a target, without TVM's packed calling convention (ADR 0002)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

from daypack.compiler.kernels.target import KernelTarget

_PASSES = (
    tirx.transform.StmtSimplify(),
    tirx.transform.FlattenBuffer(),
    tirx.transform.VectorizeLoop(True),
    tirx.transform.StorageRewrite(),
    tirx.transform.UnrollLoop(),
    tirx.transform.StmtSimplify(),
    tirx.transform.RemoveNoOp(),
    tirx.transform.LowerIntrin(),
)
"""TVM's own lowering without its host ABI, thread launch and assertions: a kernel is a plain C function."""


def llvm_target(target: KernelTarget) -> Any:
    """TVM's description of the target."""
    config: dict[str, Any] = {"kind": "llvm", "mtriple": target.triple, "mcpu": target.cpu}
    if target.features:
        config["mattr"] = list(target.features)
    return tvm.target.Target(config)


def fingerprint(function: Any) -> str:
    """A hash of a scheduled function's structure, the same in every process."""
    return f"{tvm_ffi.structural_hash(function):x}"


def lowered(functions: Mapping[str, Any], target: KernelTarget) -> Any:
    """An LLVM module of the functions by symbol; `inspect_source('asm')` shows the code."""
    llvm = llvm_target(target)
    module = tvm.IRModule(
        {name: f.with_attr("global_symbol", name).with_attr("target", llvm) for name, f in functions.items()}
    )
    with tvm.transform.PassContext(opt_level=3):
        module = tvm.ir.transform.Sequential(list(_PASSES))(module)
        return tvm.get_global_func("target.build.llvm")(module, llvm)


def compile_object(functions: Mapping[str, Any], target: KernelTarget) -> bytes:
    """The ELF object that defines each function under its symbol."""
    module = lowered(functions, target)
    with _unnamed_file() as path:
        module.write_to_file(path, "o")
        return Path(path).read_bytes()


@contextmanager
def _unnamed_file() -> Generator[str]:
    """A path to write to, in memory where the system can: LLVM ends the process when a disk is full."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("kernels.o"), "rb") as file:
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield str(Path(folder) / "kernels.o")
