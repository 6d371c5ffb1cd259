"""Compares every family with `transformers` and `peft` live: the cases of make.py, computed now by both.

    python tools/goldens/peers.py

prints, a case, the relative error (2-norm) of logits and loss and the worst of all gradients; exits with 1
where one is above the tolerance of tests/models/test_goldens.py. Needs the `bench` extra.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from make import CASES, make

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "models"))

from test_goldens import TOLERANCE, compute, relative


def compare(name: str) -> tuple[float, float, float, str]:
    """Relative errors of one case: logits, loss, the worst gradient, and that gradient's name."""
    reference = make(name, CASES[name])
    logits, loss, gradients, _ = compute(reference)
    expected = {key.removeprefix("grad/"): value for key, value in reference.items() if "grad/" in key}
    if set(gradients) != set(expected):
        raise ValueError(f"{name}: trained on one side only: {sorted(set(gradients) ^ set(expected))}")
    errors = {key: relative(*_without_zeros(key, gradients[key], expected[key])) for key in expected}
    worst = max(errors, key=lambda key: float(np.nan_to_num(errors[key], nan=np.inf)))
    logits_error, loss_error = relative(logits, reference["logits"]), relative(loss, reference["loss"])
    return logits_error, loss_error, errors[worst], worst


def _without_zeros(name: str, found: object, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without GPT-2's key biases, whose gradient is zero but for rounding."""
    array = np.asarray(found)
    if not name.endswith("c_attn.bias"):
        return array, expected
    keys = np.s_[array.size // 3 : 2 * array.size // 3]
    return np.delete(array, keys), np.delete(expected, keys)


def main() -> int:
    failed: list[str] = []
    print(f"{'case':34} {'logits':>8} {'loss':>8} {'gradient':>8}  the worst gradient")
    for name in CASES:
        logits, loss, gradient, worst = compare(name)
        print(f"{name:34} {logits:8.1e} {loss:8.1e} {gradient:8.1e}  {worst}", flush=True)
        if not all(error <= TOLERANCE for error in (logits, loss, gradient)):
            failed.append(name)
    if failed:
        print(f"above {TOLERANCE:g}: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
