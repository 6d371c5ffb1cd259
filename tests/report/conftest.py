"""A plan small enough to check by hand, a bundle of a real model, and a browser.

The plan by hand: a weight `w` on flash (100 bytes), a batch `x` (10), `a` = f(x, w) (50), `b` = g(a) (60,
with a workspace of 20), `c` = h(b, w) (30), `d` = k(c, a) (10). `w` is read twice and `a` computed twice.
Fixed: 5. Reading 100 bytes takes a second.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from parity.specs import LORA, gpt2, write_ids

from daypack import api
from daypack.compiler import planning
from daypack.compiler.schedule_file import ENGINE, Note, Part, ScheduleFile
from daypack.planners.evict import evict
from daypack.planners.plan import Instruction, Op, Plan
from daypack.planners.problem import Node, NodeKind, Paging, Problem
from daypack.planners.schedule import complete
from daypack.report.record import Record
from daypack.report.timeline import timeline

SOURCE = NodeKind.SOURCE
W, X, A, B, C, D = range(6)
PROBLEM = Problem(
    (
        Node(W, "w", 0.0, 100, kind=SOURCE),
        Node(X, "x", 0.0, 10, kind=SOURCE),
        Node(A, "a", 1.0, 50, inputs=(X, W)),
        Node(B, "b", 2.0, 60, 20, inputs=(A,)),
        Node(C, "c", 1.0, 30, inputs=(B, W)),
        Node(D, "d", 1.0, 10, inputs=(C, A)),
    ),
    keep=frozenset({W, D}),
    fixed_bytes=5,
    paging=Paging(100.0, 50.0, 0, frozenset({W})),
)
LOADS = (
    Instruction(Op.PAGE_IN, W),
    Instruction(Op.COMPUTE, A),
    Instruction(Op.COMPUTE, B),
    Instruction(Op.PAGE_IN, W),
    Instruction(Op.COMPUTE, C),
    Instruction(Op.COMPUTE, A),
    Instruction(Op.COMPUTE, D),
)


def plan_of(problem: Problem, loads: tuple[Instruction, ...]) -> Plan:
    done = complete(problem, loads)
    return Plan(done.sequence, done.peak_bytes, done.cost, 0.0, False, 0.0, "by hand")


def schedule_by_hand() -> ScheduleFile:
    names = ("h.0.weight", "ids/0", "", "", "", "sum/grad/h.0.weight")
    roles = ("frozen", "batch", "activation", "activation", "activation", "gradient")
    line = "model.py:7 (layer)"
    parts = tuple(
        (Part(name, role, node.size_bytes, f"uint8[{node.size_bytes}]", "" if node.id < A else line),)
        for name, role, node in zip(names, roles, PROBLEM.nodes, strict=True)
    )
    notes = tuple(
        Note("", None, "") if node.id < A else Note("elementwise", int(node.id == D), line)
        for node in PROBLEM.nodes
    )
    plan = plan_of(PROBLEM, LOADS)
    return ScheduleFile(
        PROBLEM, plan, parts, notes, ((ENGINE, 3), ("small results", 2)), (7, len(plan.sequence)), 1, 208
    )


@pytest.fixture
def schedule() -> ScheduleFile:
    return schedule_by_hand()


@pytest.fixture
def record(schedule: ScheduleFile) -> Record:
    predicted = {"step_seconds": 8.0, "step_joules": None, "flash_read_bytes": 200, "flash_written_bytes": 0}
    time = timeline(schedule.problem, schedule.plan)
    return Record("by-hand", schedule, time, 210, "pixel8", predicted, False)


TINY = {"n_layer": 2, "n_embd": 192, "n_head": 4, "vocab_size": 1003, "n_positions": 64}
BUDGET_BYTES = 8_400_000
"""Little enough for the tiny model that it recomputes or reads weights again."""


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters of a small GPT-2, two micro-steps, planned within a budget that is tight."""
    folder = tmp_path_factory.mktemp("report")
    ids = write_ids(folder / "ids.jsonl", 1003, 4_000)
    spec = gpt2(ids, TINY, LORA, batch=4, micro_batch=2, sequence=32)
    with pytest.MonkeyPatch.context() as patch:  # any plan will do, the best one takes longer
        patch.setattr(planning, "auto", evict)
        return api.compile_spec(spec, out=folder / "tiny.bundle", memory_bytes=BUDGET_BYTES).bundle


Browse = Callable[..., dict[str, Any]]

_EARLY = """<script>
window.problems = [];
window.addEventListener("error", (event) => window.problems.push(String(event.message)));
window.addEventListener("securitypolicyviolation", (event) => window.problems.push(event.violatedDirective));
for (const name of ["error", "warn"]) console[name] = (...all) => window.problems.push(all.join(" "));
</script>"""
_LATE = """<script type="module">
const probe = (() => { SCRIPT })();
const made = document.createElement("pre");
made.id = "probe";
made.textContent = JSON.stringify({ problems: window.problems, ...probe });
document.body.append(made);
</script>"""


@pytest.fixture
def browse(tmp_path: Path) -> Browse:
    """Load a page in headless Chromium, run a script in it, give what the script returned.

    A machine without Chromium skips; the build server never does.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("the build server has no chromium; .ci/run installs it")
        pytest.skip("no browser: install Debian's package chromium")

    def run(html: str, script: str, *, width: int = 1280, dark: bool = False) -> dict[str, Any]:
        page = html.replace("<style>", _EARLY + "<style>", 1)
        page = page.replace("</body>", _LATE.replace("SCRIPT", script) + "</body>", 1)
        file = tmp_path / "probed.html"
        file.write_text(page, encoding="utf-8")
        command = [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            file.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        _, found, rest = done.stdout.partition('<pre id="probe">')
        assert found, f"the script did not end: {done.stdout[-500:]} {done.stderr[-500:]}"
        text = rest.partition("</pre>")[0]
        for code, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
            text = text.replace(code, character)
        result: dict[str, Any] = json.loads(text)
        return result

    return run
