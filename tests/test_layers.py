"""The layers of the house plan hold, the root links point where they should, and start-up stays light."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINKS = ("compiler", "runtime", "planners", "models")


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_layers", ROOT / "tools" / "check_layers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_layers"] = module
    spec.loader.exec_module(module)
    return module


layers = load_tool()


def write(folder: Path, name: str, text: str) -> None:
    path = folder / "daypack" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_package_keeps_its_layers() -> None:
    assert layers.check(ROOT / "daypack") == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("models/a.py", "import daypack.compiler.trace", "daypack.models imports daypack.compiler"),
        ("models/a.py", "from daypack import compiler", "daypack.models imports daypack.compiler"),
        ("models/a.py", "from ..planners import problem", "daypack.models imports daypack.planners"),
        ("models/a.py", "from .. import runtime", "daypack.models imports daypack.runtime"),
        ("compiler/a.py", "def f():\n    from daypack.models import gpt2", "daypack.compiler imports"),
        (
            "runtime/a.py",
            "from daypack.planners.plan import Plan",
            "daypack.runtime imports daypack.planners",
        ),
        ("planners/a.py", "from daypack.spec import TrainSpec", "daypack.planners imports daypack.spec"),
        ("planners/a.py", "import jax.numpy as jnp", "daypack.planners.a imports jax"),
        ("runtime/a.py", "import tvm", "daypack.runtime.a imports tvm"),
        ("compiler/trace.py", "from tvm import te", "only daypack.compiler.kernels may"),
        ("devices/a.py", "from daypack.spec import TrainSpec", "it may import errors"),
        ("errors.py", "import daypack.spec", "daypack.errors imports daypack.spec"),
        ("runtime/a.py", "import pickle", "only nothing may"),
        ("novelty/a.py", "from daypack import errors", "daypack.novelty is not in the table of layers"),
    ],
)
def test_a_forbidden_import_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    write(tmp_path, name, text)
    found = layers.check(tmp_path / "daypack")
    assert len(found) == 1
    assert message in found[0]
    assert f"{name}:" in found[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("compiler/a.py", "from daypack.planners.problem import Problem\nfrom daypack.runtime import bundle"),
        ("compiler/a.py", "from .kernels import build\nfrom ..errors import TraceError"),
        ("compiler/kernels/gemm.py", "import tvm\nfrom tvm import te"),
        ("models/a.py", "import jax\nfrom daypack.spec import TrainSpec\nfrom daypack.operators import norm"),
        ("cli.py", "def f():\n    from daypack import api"),
        ("api.py", "from daypack.models import gpt2\nfrom daypack.compiler import pipeline"),
    ],
)
def test_an_allowed_import_passes(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, name, text)
    assert layers.check(tmp_path / "daypack") == []


def test_the_command_reports_and_fails(tmp_path: Path) -> None:
    write(tmp_path, "runtime/a.py", "import jax")
    command = [sys.executable, str(ROOT / "tools" / "check_layers.py"), str(tmp_path / "daypack")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "daypack.runtime.a imports jax" in done.stdout


@pytest.mark.parametrize("module", ["daypack", "daypack.cli", "daypack.spec", "daypack.devices"])
def test_a_light_module_loads_neither_jax_nor_tvm(module: str) -> None:
    heavy = ("jax", "flax", "optax", "tvm", "numpy", "networkx", "safetensors", "torch")
    code = f"import sys, {module}; print(','.join(name for name in {heavy!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_face_names_what_it_lacks() -> None:
    import daypack

    with pytest.raises(AttributeError, match="module 'daypack' has no attribute 'simulat'; it has"):
        _ = daypack.simulat  # type: ignore[attr-defined]
    assert set(daypack.__all__) <= set(dir(daypack))


@pytest.mark.parametrize("name", LINKS)
def test_a_root_link_points_into_the_package(name: str) -> None:
    link = ROOT / name
    assert link.is_symlink()
    assert link.readlink() == Path("daypack") / name
    assert link.is_dir()


def test_the_root_links_are_no_packages(tmp_path: Path) -> None:
    code = f"import importlib.util as u; print([n for n in {LINKS!r} if u.find_spec(n)])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
