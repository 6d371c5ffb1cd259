"""What a bundle is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any


def inspect_bundle(bundle: Path) -> dict[str, Any]:
    """What a bundle is: its description, its plan in figures, its files; every hash is checked."""
    from daypack.runtime.bundle import read_bundle, verify_manifest

    verify_manifest(bundle)
    found = read_bundle(bundle)
    plan = found.plan
    return {
        "bundle": str(bundle),
        "files": [asdict(f) for f in found.files],
        "target_arch": plan.target_arch,
        "cpu_features": list(plan.cpu_features),
        "arena_bytes": plan.arena_bytes,
        "scratch_bytes": plan.scratch_bytes,
        "budget_bytes": plan.budget_bytes,
        "window": plan.window,
        "save_steps": plan.save_steps,
        "instructions": len(plan.steps),
        "inputs": [asdict(i) for i in plan.inputs],
        "trained": [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in plan.state],
        **{k: v for k, v in found.description.items() if k != "spec"},
        "spec": found.description.get("spec"),
    }
