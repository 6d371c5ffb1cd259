"""Compiled kernels are reused only for what they were made from, and only when whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from daypack.compiler.kernels import build
from daypack.compiler.kernels.build import KernelTable
from daypack.compiler.kernels.cache import KernelCache, default_folder, key_of
from daypack.compiler.kernels.target import KernelTarget
from tests.compiler.cases import random
from tests.compiler.graphs import fused
from tests.compiler.harness import HOST

KEY, OTHER = key_of(["a", "bc"]), key_of(["ab", "c"])


def _doubled_tanh(x: Any) -> Any:
    return jnp.tanh(x) * 2.0


def _table(columns: int = 9, target: KernelTarget = HOST) -> KernelTable:
    table = KernelTable(target)
    for node in fused(_doubled_tanh, random(4, columns)).nodes:
        table.number_of(node)
    return table


@pytest.fixture
def cache(tmp_path: Path) -> KernelCache:
    return KernelCache(tmp_path / "cache")


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each object that is really compiled."""
    made: list[int] = []
    compile_object = build.compile_object

    def counted(functions: dict[str, object], target: KernelTarget) -> bytes:
        made.append(len(functions))
        return compile_object(functions, target)

    monkeypatch.setattr(build, "compile_object", counted)
    return made


def test_the_same_kernels_are_compiled_once(cache: KernelCache, compilations: list[int]) -> None:
    first, second = _table().object_code(cache), _table().object_code(cache)
    assert first == second == _table().object_code()
    assert len(compilations) == 2  # the first, and the one without a cache


def test_other_sizes_and_other_processors_are_other_kernels(
    cache: KernelCache, compilations: list[int]
) -> None:
    for table in (
        _table(),
        _table(columns=10),
        _table(target=replace(HOST, vector_bits=128)),
        _table(target=replace(HOST, l2_bytes=HOST.l2_bytes // 2)),
        _table(target=replace(HOST, cpu="generic")),
    ):
        table.object_code(cache)
    assert len(compilations) == 5
    assert len(list(cache.folder.iterdir())) == 5


def test_a_key_is_the_same_in_every_process_and_depends_on_where_parts_end() -> None:
    assert KEY != OTHER
    script = "from tests.compiler.test_kernel_cache import _table; print(_table().cache_key())"
    said = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1] != ""


def _flip(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


def _cut(raw: bytes) -> bytes:
    return raw[:-1]


def _cut_in_the_hash(raw: bytes) -> bytes:
    return raw[:10]


@pytest.mark.parametrize("damage", [_flip, _cut, _cut_in_the_hash])
def test_a_damaged_entry_is_removed(damage: Callable[[bytes], bytes], cache: KernelCache) -> None:
    cache.put(KEY, b"code")
    (entry,) = cache.folder.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    assert cache.get(KEY) is None
    assert not entry.exists()


def test_a_damaged_object_is_compiled_again(cache: KernelCache, compilations: list[int]) -> None:
    code = _table().object_code(cache)
    (entry,) = cache.folder.iterdir()
    entry.write_bytes(_flip(entry.read_bytes()))
    assert _table().object_code(cache) == code
    assert len(compilations) == 2
    assert cache.get(entry.stem) == code


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path, limit_bytes=2 * (32 + 100))
    for number, key in enumerate(("a", "b")):
        cache.put(key, bytes(100))
        os.utime(tmp_path / f"{key}.kernels", ns=(number, number))
    assert cache.get("a") == bytes(100)  # used now, so "b" is the oldest
    cache.put("c", bytes(100))
    assert [cache.get(key) is not None for key in "abc"] == [True, False, True]


def test_many_writers_and_readers_see_whole_entries(cache: KernelCache) -> None:
    code = os.urandom(300_000)

    def use(_: int) -> bytes | None:
        cache.put(KEY, code)
        return cache.get(KEY)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(use, range(64))) == {code}
    assert [path.suffix for path in cache.folder.iterdir()] == [".kernels"]


def test_a_folder_that_cannot_be_used_is_no_error(tmp_path: Path, compilations: list[int]) -> None:
    (tmp_path / "file").write_text("")
    assert _table().object_code(KernelCache(tmp_path / "file" / "cache"))
    assert len(compilations) == 1


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "daypack" / "kernels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "daypack" / "kernels"
