"""Kernels on this machine by threads that take tiles as the engine's do, and the machine's own peak."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from daypack.compiler.kernels.loops import KernelCode
from daypack.compiler.kernels.lower import compile_object
from daypack.compiler.kernels.target import KernelTarget

Array = np.ndarray[Any, Any]
LANES, CHAINS = 16, 20
TEAM = """
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stddef.h>

enum { MOST = 64 };
typedef void (*phase_function)(void **, void *, int32_t, int32_t, int32_t);
static struct { phase_function run; void **arguments; int32_t stage, tiles; } now;
static void *scratches[MOST];
static atomic_int next_tile, generation, busy;
static int threads = 1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t called = PTHREAD_COND_INITIALIZER;

static void take(void *scratch) {
  for (int32_t t; (t = atomic_fetch_add(&next_tile, 1)) < now.tiles;)
    now.run(now.arguments, scratch, now.stage, t, t + 1);
}

static void *work(void *scratch) {
  for (int seen = 0;; seen++) {
    for (int n = 0; n < 4000 && atomic_load(&generation) == seen; n++) {}
    pthread_mutex_lock(&lock);
    while (atomic_load(&generation) == seen) pthread_cond_wait(&called, &lock);
    pthread_mutex_unlock(&lock);
    take(scratch);
    atomic_fetch_sub(&busy, 1);
  }
  return NULL;
}

int team(int count, void **memory) {
  if (count > MOST) return 1;
  threads = count;
  for (int n = 0; n < count; n++) {
    pthread_t thread;
    scratches[n] = memory[n];
    if (n > 0 && pthread_create(&thread, NULL, work, memory[n]) != 0) return 1;
  }
  return 0;
}

void all_tiles(phase_function run, void **arguments, int32_t stage, int32_t tiles) {
  now.run = run, now.arguments = arguments, now.stage = stage, now.tiles = tiles;
  atomic_store(&next_tile, 0);
  atomic_store(&busy, threads - 1);
  pthread_mutex_lock(&lock);
  atomic_fetch_add(&generation, 1);
  pthread_cond_broadcast(&called);
  pthread_mutex_unlock(&lock);
  take(scratches[0]);
  while (atomic_load(&busy) > 0) {}
}

#pragma clang fp contract(fast)
typedef float vector __attribute__((vector_size(4 * LANES)));
void multiply_add(void **arguments, void *scratch, int32_t stage, int32_t begin, int32_t end) {
  vector c[CHAINS] = {0}, a = *(vector *)arguments[0];
  (void)scratch, (void)begin, (void)end;
  for (int32_t n = 0; n < stage; n++) {
    _Pragma("clang loop unroll(full)") for (int i = 0; i < CHAINS; i++) c[i] = c[i] * a + a;
  }
  vector sum = {0};
  for (int i = 0; i < CHAINS; i++) sum += c[i];
  if (sum[0] == 1.25f) *(vector *)arguments[0] = sum;
}
"""


class Team:
    """Kernels compiled for this machine into one library, and `threads` threads that run them."""

    def __init__(
        self, codes: Sequence[KernelCode], arguments: int, target: KernelTarget, threads: int, folder: Path
    ) -> None:
        functions = {
            f"k{n}_{p}": phase.function for n, code in enumerate(codes) for p, phase in enumerate(code.phases)
        }
        (folder / "kernels.o").write_bytes(compile_object(functions, target))
        counts = {
            f"k{n}_{p}": arguments + len(code.workspace_bytes)
            for n, code in enumerate(codes)
            for p, _ in enumerate(code.phases)
        }
        bridges = [trampoline(symbol, count) for symbol, count in counts.items()]
        (folder / "team.c").write_text(TEAM + "\n".join(bridges))
        sizes = [f"-DLANES={LANES}", f"-DCHAINS={CHAINS}"]
        words = ["cc", "-shared", "-fPIC", "-O2", "-mcpu=native", "-fno-sanitize=all", *sizes]
        command = [sys.executable, "-m", "ziglang", *words, "team.c", "kernels.o", "-o", "team.so"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the team does not build: {done.stderr[-2000:]}")
        self._library = ctypes.CDLL(str(folder / "team.so"))
        self._codes, self._threads = list(codes), threads
        most = max(code.scratch_bytes for code in codes)
        self._scratch = [aligned(most // 4 + 16) for _ in range(threads)]
        places = (ctypes.c_void_p * threads)(*(a.ctypes.data for a in self._scratch))
        if self._library.team(threads, places):
            raise RuntimeError(f"{threads} threads do not start")

    def call(self, number: int, arrays: Sequence[Array]) -> Any:
        """A function that runs kernel `number` on its inputs, outputs and workspaces."""
        code = self._codes[number]
        pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
        steps = [
            (getattr(self._library, f"run_k{number}_{p}"), pointers, phase.stage, phase.tiles)
            for p, phase in enumerate(code.phases)
        ]

        def run() -> None:
            for step in steps:
                self._library.all_tiles(*step)

        return run

    def peak(self) -> tuple[Any, float]:
        """A function of multiply-adds in registers on every thread, and its floating point operations."""
        turns, tiles = 2_000, 4 * self._threads
        memory = aligned(LANES)
        memory[:] = 0.5
        pointers = (ctypes.c_void_p * 1)(memory.ctypes.data)
        step = (self._library.multiply_add, pointers, turns, tiles)
        return lambda: (self._library.all_tiles(*step), memory)[0], 2.0 * LANES * CHAINS * turns * tiles


def aligned(elements: int) -> Array:
    """Zeros of float32 at a 64-byte boundary."""
    raw = np.zeros(elements + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + elements]


def trampoline(symbol: str, count: int) -> str:
    """C that calls a kernel of `count` pointers with an array of them."""
    passed = "".join(f"a[{n}], " for n in range(count))
    return (
        f"extern void {symbol}({'void *, ' * count}void *, int32_t, int32_t, int32_t);\n"
        f"void run_{symbol}(void **a, void *s, int32_t stage, int32_t begin, int32_t end) "
        f"{{ {symbol}({passed}s, stage, begin, end); }}"
    )
