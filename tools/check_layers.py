"""Check who imports whom inside the `daypack` package against the table of the house plan.

Usage: `python tools/check_layers.py daypack`. Prints one line a broken rule, `path:line: message`, and
exits 1 if there is any. Reads the sources (`ast`), imports nothing; imports inside functions and under
`TYPE_CHECKING` count too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "daypack"
EVERYONE_MAY = frozenset({"errors", "__init__"})

# A part is a folder or a module of the package. It may import itself, `EVERYONE_MAY`, and what stands here.
ALLOWED: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "__init__": frozenset({"api"}),
    "devices": frozenset(),
    "c_library": frozenset(),
    "spec": frozenset({"devices"}),
    "operators": frozenset(),
    "models": frozenset({"operators", "spec"}),
    "planners": frozenset({"devices", "c_library"}),
    "runtime": frozenset({"devices", "c_library"}),
    "compiler": frozenset({"planners", "runtime", "devices"}),
    "user_step": frozenset({"compiler"}),
}
MAY_IMPORT_ALL = frozenset({"cli", "__main__", "report", "api", "tuner", "calibration"})

# External packages that only some parts may import: package -> parts, a part may be a folder in a folder.
CONFINED: dict[str, tuple[str, ...]] = {
    "tvm": ("compiler.kernels",),
    "jax": ("operators", "models", "compiler", "user_step", "api", "calibration"),
    "jaxlib": (),
    "flax": ("models", "user_step", "api"),
    "optax": ("models", "user_step", "api", "calibration"),
    "typer": ("cli",),
    "distributed": ("runtime",),
    "torch": (),
    "transformers": (),
    "pickle": (),
}


@dataclass(frozen=True)
class Import:
    """One imported module: its dotted name and the line that asks for it."""

    module: str
    line: int


def part_of(module: str) -> str:
    """`daypack.compiler.kernels.gemm` -> `compiler`; `daypack` -> `__init__`."""
    return (module.split(".") + ["__init__"])[1]


def module_name(path: Path, package_dir: Path) -> str:
    """The dotted name of a source file below `package_dir`."""
    parts = path.relative_to(package_dir.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, module: str) -> Iterator[Import]:
    """Every import statement of a file, relative ones made absolute."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            for alias in node.names:
                yield Import(f"{base}.{alias.name}", node.lineno)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if node.level == 0:
        return node.module or ""
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, node.module] if node.module else above)


def complaint(module: str, imported: str) -> str | None:
    """Why `module` may not import `imported`, or None if it may."""
    top = imported.split(".")[0]
    if top == PACKAGE:
        return _inside(part_of(module), imported)
    if top in CONFINED and not _is_within(module, CONFINED[top]):
        homes = ", ".join(f"{PACKAGE}.{home}" for home in CONFINED[top]) or "nothing"
        return f"{module} imports {top}; only {homes} may"
    return None


def _inside(part: str, imported: str) -> str | None:
    target = part_of(imported)
    known = ALLOWED.keys() | MAY_IMPORT_ALL
    if part not in known:
        return f"{PACKAGE}.{part} is not in the table of layers (tools/check_layers.py): add a line for it"
    if part in MAY_IMPORT_ALL or target in EVERYONE_MAY | ALLOWED[part] | {part} or target not in known:
        return None
    allowed = ", ".join(sorted(ALLOWED[part] | {"errors"}))
    return f"{PACKAGE}.{part} imports {PACKAGE}.{target}; it may import {allowed}"


def _is_within(module: str, homes: tuple[str, ...]) -> bool:
    inner = module.removeprefix(f"{PACKAGE}.")
    return any(inner == home or inner.startswith(f"{home}.") for home in homes)


def check(package_dir: Path) -> list[str]:
    """Every broken rule below `package_dir`, one line each, in the order of files and lines."""
    found: list[str] = []
    for path in sorted(package_dir.rglob("*.py")):
        module = module_name(path, package_dir)
        for entry in sorted(imports_of(path, module), key=lambda entry: entry.line):
            message = complaint(module, entry.module)
            if message is not None:
                found.append(f"{path}:{entry.line}: {message}")
    return list(dict.fromkeys(found))


def main(arguments: list[str]) -> int:
    """Check the package folders named on the command line."""
    broken = [line for folder in arguments for line in check(Path(folder))]
    print("\n".join(broken) if broken else "layers: every import is allowed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [PACKAGE]))
