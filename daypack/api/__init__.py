"""What the command line and `import daypack` call: specs and user code put together with compiler and
runtime.
"""

from daypack.api.compiling import (
    FULL_SAVE_STEPS,
    CompileResult,
    Predicted,
    compile_options,
    compile_spec,
    dump_problem,
    train_steps,
)
from daypack.api.evaluating import Evaluated, evaluate_bundle
from daypack.api.events import StepEvent, step_event
from daypack.api.inspecting import inspect_bundle
from daypack.api.own_step import TrainResult, compile, run
from daypack.api.running import run_bundle
from daypack.api.taking_home import Exported, export_adapter, merge_bundle

__all__ = [
    "FULL_SAVE_STEPS",
    "CompileResult",
    "Evaluated",
    "Exported",
    "Predicted",
    "StepEvent",
    "TrainResult",
    "compile",
    "compile_options",
    "compile_spec",
    "dump_problem",
    "evaluate_bundle",
    "export_adapter",
    "inspect_bundle",
    "merge_bundle",
    "run",
    "run_bundle",
    "step_event",
    "train_steps",
]
