"""Who runs the cases of a study: a pool of processes on this machine, or a Dask cluster.

Results come in the order of the cases whoever ran them, and are the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from typing import Any

from daypack.errors import MissingTool
from daypack.runtime.study import Case, Result, run_row

CONNECT_S = 10
"""How long a cluster may take to answer."""


def run_study(
    cases: Sequence[Case],
    *,
    workers: int | None = None,
    cluster: str | None = None,
    on_done: Callable[[int], None] | None = None,
) -> tuple[Result, ...]:
    """Run every case; `on_done` hears how many are finished.

    `cluster` is the address of a Dask scheduler (`tcp://host:8786`) whose workers have Daypack and the files
    that the cases name; without it, `workers` processes (one a core) run here. Raises `MissingTool` where
    `distributed` is not installed or nobody answers at the address.
    """
    rows: list[Result] = []
    for row in _on_cluster(cases, cluster) if cluster else _in_processes(cases, workers):
        rows.append(row)
        if on_done:
            on_done(len(rows))
    return tuple(rows)


def _in_processes(cases: Sequence[Case], workers: int | None) -> Iterator[Result]:
    count = min(workers or len(os.sched_getaffinity(0)), len(cases))
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run_row, cases)


def _on_cluster(cases: Sequence[Case], address: str) -> Iterator[Result]:
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise MissingTool(
            "--cluster needs the package distributed, found none; pip install 'daypack[cluster]'"
        ) from error
    try:
        client = distributed.Client(address, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise MissingTool(
            f"--cluster {address}: no Dask scheduler answers ({error}); takes an address such as "
            "tcp://host:8786 where `dask scheduler` runs"
        ) from error
    with client:
        for future in client.map(run_row, cases, pure=False):
            yield future.result()
