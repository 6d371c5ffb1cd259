"""A step's problem from shapes alone."""

from __future__ import annotations

import json
import resource
from pathlib import Path

from daypack import api
from daypack.planners.exchange import read_problem
from daypack.spec import parse_spec

SPEC = """
[model]
family = "gpt2"
[model.config]
n_layer = 2
n_head = 2
n_embd = {width}
vocab_size = 4096
n_positions = 128
[train]
method = "full"
learning_rate = 1e-4
max_steps = 2
batch = 2
gradient_accumulation_steps = {window}
sequence = 16
[device]
profile = "pixel8"
"""


def dumped(folder: Path, width: int, window: int) -> Path:
    file = folder / "problem.json"
    spec = parse_spec(SPEC.format(width=width, window=window), base=folder, where="spec")
    nodes = api.dump_problem(spec, file)
    assert nodes == len(json.loads(file.read_text())["nodes"])
    return file


def test_the_weights_of_a_model_need_not_exist(tmp_path: Path) -> None:
    """Two layers of width 32,768 have 103 GB of weights: no array of them can have been made."""
    problem = read_problem(dumped(tmp_path, 32768, 1)).problem
    weights = [n for n in problem.nodes if n.name.startswith("transformer.") and problem.is_source(n.id)]
    assert sum(node.size_bytes for node in weights) > 100e9
    assert 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 10e9


def test_a_window_is_in_it(tmp_path: Path) -> None:
    one, two = (len(read_problem(dumped(tmp_path, 64, window)).problem.nodes) for window in (1, 2))
    assert two > 1.3 * one
