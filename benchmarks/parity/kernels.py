"""Kernels by themselves: compiled for a target, run there on random inputs, judged by the interpreter.

One static executable holds all kernels of a suite and a `main` that runs one of them, all its tiles last to
first or a few of them, between two files.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daypack.compiler.graph import StepGraph, numpy_dtype
from daypack.compiler.interpret import evaluate
from daypack.compiler.kernels.loops import KernelCode
from daypack.compiler.kernels.lower import compile_object
from daypack.compiler.kernels.select import schedule
from daypack.compiler.kernels.target import KernelTarget
from parity.bodies import Body

Array = np.ndarray[Any, Any]
LOOKUPS = ("gather", "scatter-add")
RUNNER = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*phase_function)(void **, void *, int32_t, int32_t, int32_t);
typedef struct {{ phase_function run; int32_t stage, tiles; }} phase;
typedef struct {{
  int input_count, output_count, argument_count, phase_count, overwrites;
  const uint64_t *bytes;
  const phase *phases;
  uint64_t scratch_bytes;
}} kernel;
{declarations}
static const kernel kernels[] = {{
{kernels}
}};

static void *aligned(uint64_t bytes) {{
  void *memory = aligned_alloc(64, (bytes + 127) / 64 * 64);
  if (memory == NULL) exit(3);
  return memset(memory, 0xff, bytes);
}}

/* runner KERNEL all|some INPUTS OUTPUTS: with `some`, the first two tiles of a phase and the last, and all
 * tiles of a phase that fills a workspace for the next. */
int main(int count, char **words) {{
  if (count != 5) return 2;
  const kernel *k = &kernels[atoi(words[1])];
  int some = strcmp(words[2], "some") == 0;
  FILE *in = fopen(words[3], "rb"), *out = fopen(words[4], "wb");
  void *arguments[1024];
  if (in == NULL || out == NULL || k->argument_count > 1024) return 2;
  for (int a = 0; a < k->argument_count; a++) {{
    int shared = a == k->input_count && k->overwrites >= 0;
    arguments[a] = shared ? arguments[k->overwrites] : aligned(k->bytes[a]);
    if (a < k->input_count && fread(arguments[a], 1, k->bytes[a], in) != k->bytes[a]) return 2;
  }}
  void *scratch = aligned(k->scratch_bytes);
  for (int p = 0; p < k->phase_count; p++) {{
    const phase *now = &k->phases[p];
    int fills = k->argument_count > k->input_count + k->output_count && p + 1 < k->phase_count;
    for (int32_t tile = now->tiles - 1; tile >= 0; tile--) {{
      if (some && !fills && tile > 1 && tile < now->tiles - 1) continue;
      memset(scratch, 0xff, k->scratch_bytes);
      now->run(arguments, scratch, now->stage, tile, tile + 1);
    }}
  }}
  for (int a = k->input_count; a < k->input_count + k->output_count; a++)
    if (fwrite(arguments[a], 1, k->bytes[a], out) != k->bytes[a]) return 2;
  return fclose(out) == 0 ? 0 : 2;
}}
"""


@dataclass(frozen=True)
class Difference:
    """One kernel against the interpreter: ‖ours − interpreter‖ / ‖interpreter‖ over what was computed.

    `largest` is the largest difference of an element by the largest element; `computed` the elements judged,
    of `elements`. A difference of integers or bools is infinite.
    """

    name: str
    schedule: str
    relative: float
    largest: float
    computed: int
    elements: int


class Suite:
    """Kernels in one executable for one target; `prefix` starts it, as an emulator does."""

    def __init__(
        self, bodies: Sequence[Body], target: KernelTarget, folder: Path, prefix: Sequence[str]
    ) -> None:
        self.bodies = list(bodies)
        self.codes = [schedule(body.kind, body.graph, target) for body in bodies]
        self._folder = folder
        self._prefix = list(prefix)
        self._executable = self._build(target)

    def _build(self, target: KernelTarget) -> Path:
        functions = {
            f"k{n}_{p}": phase.function
            for n, code in enumerate(self.codes)
            for p, phase in enumerate(code.phases)
        }
        (self._folder / "kernels.o").write_bytes(compile_object(functions, target))
        (self._folder / "runner.c").write_text(self._source())
        words = ["cc", "-target", target.triple, "-static", "-O1", "-std=c11", "-fno-sanitize=all"]
        command = [sys.executable, "-m", "ziglang", *words, "runner.c", "kernels.o", "-lm", "-o", "runner"]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the kernels' executable does not build: {done.stderr[-2000:]}")
        return self._folder / "runner"

    def _source(self) -> str:
        declarations: list[str] = []
        rows: list[str] = []
        for n, (body, code) in enumerate(zip(self.bodies, self.codes, strict=True)):
            sizes = argument_bytes(body.graph, code)
            for p in range(len(code.phases)):
                declarations.append(_trampoline(f"k{n}_{p}", len(sizes)))
            phases = ", ".join(f"{{run_k{n}_{p}, {f.stage}, {f.tiles}}}" for p, f in enumerate(code.phases))
            declarations.append(f"static const phase phases_{n}[] = {{{phases}}};")
            declarations.append(f"static const uint64_t bytes_{n}[] = {{{', '.join(map(str, sizes))}}};")
            counts = f"{len(body.graph.inputs)}, {len(body.graph.outputs)}, {len(sizes)}, {len(code.phases)}"
            over = -1 if code.overwrites is None else code.overwrites
            rows.append(f"  {{{counts}, {over}, bytes_{n}, phases_{n}, {code.scratch_bytes}}},")
        return RUNNER.format(declarations="\n".join(declarations), kernels="\n".join(rows))

    def judge(self, number: int, *, some_tiles: bool = False) -> Difference:
        """Run one kernel and compare; with `some_tiles`, what the first two tiles and the last compute."""
        graph, code = self.bodies[number].graph, self.codes[number]
        some_tiles = (
            some_tiles and code.overwrites is None
        )  # what it leaves is input, and not to be told apart
        arrays = random_inputs(graph, number)
        wanted = expected(graph, arrays)
        if any(np.isnan(w).any() for w in wanted if w.dtype.kind == "f"):
            arrays = [np.abs(a) if a.dtype.kind == "f" else a for a in arrays]
            wanted = expected(graph, arrays)
        found = self._run(number, arrays, "some" if some_tiles else "all")
        masks = [_written(f) if some_tiles else np.ones(f.shape, bool) for f in found]
        return _difference(self.bodies[number].name, code, found, wanted, masks)

    def _run(self, number: int, arrays: Sequence[Array], tiles: str) -> list[Array]:
        inputs, outputs = self._folder / "inputs", self._folder / "outputs"
        with inputs.open("wb") as file:
            for array in arrays:
                file.write(np.ascontiguousarray(array).tobytes())
        command = [*self._prefix, str(self._executable), str(number), tiles, str(inputs), str(outputs)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.bodies[number].name}: its run ended with {done.returncode}")
        raw = np.fromfile(outputs, np.uint8)
        found: list[Array] = []
        for out in self.bodies[number].graph.outputs:
            part, raw = raw[: out.value.size_bytes], raw[out.value.size_bytes :]
            found.append(part.view(numpy_dtype(out.value.dtype)).reshape(out.value.shape))
        return found


def argument_bytes(graph: StepGraph, code: KernelCode) -> tuple[int, ...]:
    """Sizes of inputs, outputs and workspaces."""
    values = [i.value for i in graph.inputs] + [o.value for o in graph.outputs]
    return (*(value.size_bytes for value in values), *code.workspace_bytes)


def _trampoline(symbol: str, count: int) -> str:
    pointers = "void *, " * count
    passed = "".join(f"a[{n}], " for n in range(count))
    return (
        f"extern void {symbol}({pointers}void *, int32_t, int32_t, int32_t);\n"
        f"static void run_{symbol}(void **a, void *s, int32_t stage, int32_t begin, int32_t end) "
        f"{{ {symbol}({passed}s, stage, begin, end); }}"
    )


def random_inputs(graph: StepGraph, seed: int) -> list[Array]:
    """Arrays for a body's inputs. Ids lie within the table they look up; other integers near the constants
    that the body compares them with; scalars are positive, as counts, norms and sums are.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    tables = [node.inputs[0].shape[0] for node in graph.nodes if node.op in LOOKUPS]
    return [_random(generator, i.value.shape, i.value.dtype, graph, tables) for i in graph.inputs]


def _random(
    generator: np.random.Generator, shape: tuple[int, ...], dtype: str, graph: StepGraph, tables: list[int]
) -> Array:
    if dtype == "bool":
        return generator.random(shape) < 0.5
    if dtype == "uint32":
        return generator.integers(0, 2**32, shape, np.uint32)
    if dtype == "int32":
        if not shape:
            return np.asarray(generator.integers(1, 9), np.int32)
        bases = np.asarray([0] if tables else [0, *_constants(graph)])
        span = min(tables) if tables else max((n for v in graph.inputs for n in v.value.shape), default=9)
        return (generator.choice(bases, shape) + generator.integers(0, span, shape)).astype(np.int32)
    normal = generator.standard_normal(shape, np.float32)
    return np.asarray(normal if shape else np.abs(normal) + np.float32(0.5), np.float32)


def _constants(graph: StepGraph) -> list[int]:
    """The integers that a body mentions."""
    found = [np.asarray(n.attrs["value"]) for n in graph.nodes if n.op == "constant"]
    return [int(v) for a in found if a.dtype.kind == "i" for v in np.unique(a)[:9] if abs(int(v)) < 2**30]


def expected(graph: StepGraph, arrays: Sequence[Array]) -> list[Array]:
    """The interpreter's outputs; values that nobody reads any more are dropped on the way."""
    env = {item.value.id: array for item, array in zip(graph.inputs, arrays, strict=True)}
    last = {v.id: n for n, node in enumerate(graph.nodes) for v in node.inputs}
    kept = {out.value.id for out in graph.outputs}
    with np.errstate(all="ignore"):
        for number, node in enumerate(graph.nodes):
            evaluate((node,), env)
            for value in node.inputs:
                if last[value.id] == number and value.id not in kept:
                    env.pop(value.id, None)
    return [env[out.value.id] for out in graph.outputs]


def _written(array: Array) -> Array:
    """Where an output is no longer the 0xff of the memory it was given."""
    raw = array.reshape(-1).view(np.uint8).reshape(-1, array.dtype.itemsize)
    return (raw != 0xFF).any(axis=1).reshape(array.shape)


def _difference(
    name: str, code: KernelCode, found: Sequence[Array], wanted: Sequence[Array], masks: Sequence[Array]
) -> Difference:
    relative = largest = 0.0
    for ours, theirs, mask in zip(found, wanted, masks, strict=True):
        a, b = ours[mask], theirs[mask]
        if a.dtype.kind != "f":
            relative = relative if np.array_equal(a, b) else float("inf")
            continue
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        gap = np.where(same, 0.0, a.astype(np.float64) - b)
        size = np.where(np.isfinite(b), b.astype(np.float64), 0.0)
        if gap.any():
            relative = max(relative, float(np.linalg.norm(gap) / (np.linalg.norm(size) or 1.0)))
            largest = max(largest, float(np.abs(gap).max() / (np.abs(size).max() or 1.0)))
    label = code.schedule or name.rsplit("_", 1)[0]
    computed = sum(int(mask.sum()) for mask in masks)
    return Difference(name, label, _finite(relative), _finite(largest), computed, sum(w.size for w in wanted))


def _finite(figure: float) -> float:
    """A NaN on one side only counts as an infinite difference."""
    return figure if figure == figure else float("inf")
