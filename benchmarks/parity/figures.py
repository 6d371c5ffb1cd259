"""Figures with their limits, and the dated files they are kept in."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "apache-tvm", "ziglang", "numpy")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured or modelled figure; `limit` is the most it may be, None where it is only told."""

    section: str
    name: str
    value: float
    unit: str
    limit: float | None = None
    source: str = "measured"

    @property
    def kept(self) -> bool:
        return self.limit is None or self.value <= self.limit

    def cells(self) -> tuple[str, str, str, str, str, str]:
        verdict = "" if self.limit is None else ("yes" if self.kept else "**no**")
        limit = "" if self.limit is None else shown(self.limit, self.unit)
        return self.section, self.name, shown(self.value, self.unit), limit, verdict, self.source


def shown(value: float, unit: str) -> str:
    """A number for people."""
    match unit:
        case "bytes":
            return f"{value / 1e6:.1f} MB"
        case "s":
            return f"{value:.3g} s"
        case "count":
            return f"{value:.0f}"
        case "ratio":
            return f"{value:.2f}"
        case _:
            return f"{value:.2e} {unit}".strip()


def machine() -> dict[str, Any]:
    """What the figures were made on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def commit(repository: Path) -> str:
    """The commit, with a plus sign where files differ from it."""
    head = _git(repository, "rev-parse", "--short=12", "HEAD")
    return head + ("+" if _git(repository, "status", "--porcelain", "--untracked-files=no") else "")


def _git(repository: Path, *words: str) -> str:
    command = ["git", "-C", str(repository), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def keep(
    folder: Path,
    title: str,
    command: str,
    figures: Sequence[Figure],
    details: dict[str, Any],
    repository: Path,
) -> Path:
    """Write FOLDER/DATE-TITLE.md and .json; the path of the first. An earlier one of the day is replaced.

    `details["tables"]`, if there are any, are tables of Markdown by name: they follow the figures.
    """
    now = datetime.datetime.now(datetime.UTC)
    head = {
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(repository),
        "command": command,
        "machine": machine(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y-%m-%d}-{title}.md"
    record = {**head, "figures": [asdict(f) for f in figures], "details": details}
    path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    path.write_text(_markdown(title, head, figures, details.get("tables", {})))
    return path


def _markdown(
    title: str, head: dict[str, Any], figures: Sequence[Figure], tables: dict[str, list[str]]
) -> str:
    where = head["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items())
    lines = [
        f"# {title}",
        "",
        f"{head['date']}, commit {head['commit']}, `{head['command']}`",
        "",
        f"{where['cpu']}, {where['cores']} cores, {where['memory_bytes'] / 1e9:.1f} GB, {where['system']}; "
        f"Python {where['python']}, {packages}",
        "",
        *table(figures),
    ]
    for name, rows in tables.items():
        lines += ["", f"## {name}", "", *rows]
    return "\n".join(lines) + "\n"


def table(figures: Sequence[Figure]) -> list[str]:
    """The figures as rows of Markdown."""
    rows = [("section", "figure", "value", "limit", "kept", "source"), ("---",) * 6]
    rows += [figure.cells() for figure in figures]
    return [f"| {' | '.join(row)} |" for row in rows]
