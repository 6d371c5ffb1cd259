"""Every message the engine can fail with, each reached, word for word, with its exit status.

The table is complete by a test: a message in the C sources that no row here gives is a failure. The records
of plan.bin have one message format and many places; test_engine_plan_fields.py reaches each of those.
"""

from __future__ import annotations

import fcntl
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from tokenizing.cases import train
from tokenizing.compare import build_tokenizer, compile_tables, run_engine

from daypack.runtime.build import ARCH_OF_TRIPLE, NATIVE
from daypack.runtime.bundle import write_manifest
from daypack.runtime.cpu_features import FEATURES
from daypack.runtime.data_file import write_data
from daypack.runtime.plan_file import StateTensor
from daypack.runtime.plan_format import write_plan
from tests.runtime.test_engine_suspend import in_memory
from tests.runtime.test_engine_tree import list_blocks

USAGE = (
    "usage: engine --bundle DIR [--state DIR] [--data FILE] [--steps N] [--threads N] [--fresh] "
    "[--verify-only] "
    "[--profile] [--direct] [--audit-arena] [--tokenize FILE] [--require-signature KEY] "
    "[--order NAME] [--memory BYTES] [--rotate] [--squeeze SHARDS] [--relax WINDOWS] "
    "[--evaluate [--choices N]] [--commands] [--decisions] [--sensors DIR] [--utc-offset SECONDS] "
    "[--cpus MASK] [--clamp N]"
)
DIGEST_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@dataclass(frozen=True)
class Row:
    """How to reach a message: `reach` gives a run of the engine, or several of which one has it.

    In `message`, {bundle}, {state}, {arch} and {other} stand for the case's paths and architectures, {*} for
    a figure that depends on the build.
    """

    name: str
    status: int
    message: str
    reach: Callable[..., Any]


ROWS: list[Row] = []
OTHER_ARCH = {"x86_64": "aarch64", "aarch64": "x86_64"}


def reaches(status: int, message: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(reach: Callable[..., Any]) -> Callable[..., Any]:
        ROWS.append(Row(reach.__name__, status, message, reach))
        return reach

    return register


def without_bundle(case: Any, example: Any, arguments: list[str]) -> Any:
    done = subprocess.run([str(case.bundle / "engine"), *arguments], capture_output=True, check=False)
    return as_run(example, done)


def as_run(example: Any, done: Any) -> Any:
    """A run whose word on standard error is all there is."""
    message = done.stderr.decode().removeprefix("error: ").removesuffix("\n")
    return example.Run(done.returncode, [{"event": "error", "code": done.returncode, "message": message}], "")


def search(case: Any, function: str, *arguments: str) -> Iterator[Any]:
    """Fail the first, the second, the third ... call of a platform function."""
    for number in range(1, 200):
        yield case.run(*arguments, env={"FAULT": f"{function}:{number}"})


# ---- the command line


@reaches(2, "--steps: expected a number from 1 to 4294967295, found '0'")
def zero_steps(make: Any, example: Any) -> Any:
    return make().run("--steps", "0")


@reaches(2, "--utc-offset: expected seconds from -86400 to 86400, found '-86401'")
def far_from_greenwich(make: Any, example: Any) -> Any:
    return make().run("--utc-offset", "-86401")


@reaches(2, "--clamp: expected a number from 1 to 1024, found '1025'")
def beyond_the_whole(make: Any, example: Any) -> Any:
    return make().run("--clamp", "1025")


@reaches(2, "--steps: expected a number from 1 to 4294967295, found '4294967296'")
def too_many_steps(make: Any, example: Any) -> Any:
    return make().run("--steps", "4294967296")


@reaches(2, "--threads: expected a number from 1 to 64, found '99999999999999999999999'")
def overflowing_threads(make: Any, example: Any) -> Any:
    return make().run("--threads", "99999999999999999999999")


@reaches(2, "--threads: expected a number from 1 to 64, found '-1'")
def negative_threads(make: Any, example: Any) -> Any:
    return make().run("--threads", "-1")


@reaches(2, "--threads: expected a number from 1 to 64, found ''")
def empty_threads(make: Any, example: Any) -> Any:
    return make().run("--threads", "")


@reaches(2, "--order: expected micro-batch-major, layer-major, deferred or interleaved, found 'layer-minor'")
def unknown_order(make: Any, example: Any) -> Any:
    return make().run("--order", "layer-minor")


@reaches(2, "--order: expected an order of this bundle, found 'layer-major'")
def absent_order(make: Any, example: Any) -> Any:
    return make().run("--order", "layer-major")


@reaches(
    2,
    "--memory: expected at least 6000000 bytes, the least budget of this bundle's plans, found 5999999",
)
def less_memory_than_any_plan(make: Any, example: Any) -> Any:
    return make().run("--memory", "5999999")


@reaches(2, f"unknown argument '--step'; {USAGE}")
def unknown_argument(make: Any, example: Any) -> Any:
    return make().run("--step", "1")


@reaches(2, f"--steps: expected a value after it, found none; {USAGE}")
def missing_value(make: Any, example: Any) -> Any:
    return make().run("--steps")


@reaches(2, f"expected --bundle DIR, found none; {USAGE}")
def no_bundle(make: Any, example: Any) -> Any:
    return without_bundle(make(), example, [])


@reaches(2, "--bundle: expected a path that ends in the bundle's name, found '..'; name it or give --state")
def bundle_without_a_name(make: Any, example: Any) -> Any:
    return without_bundle(make(), example, ["--bundle", "../"])


@reaches(2, f"path too long: expected less than 4096 bytes, found 5006: {'x' * 64}...")
def long_path(make: Any, example: Any) -> Any:
    return without_bundle(make(), example, ["--bundle", "x" * 5000])


@reaches(2, f"--require-signature: expected a public key of 64 digits 0-9 a-f, found '{'f' * 63}F'")
def signer_in_upper_case(make: Any, example: Any) -> Any:
    return make().run("--require-signature", "f" * 63 + "F")


# ---- the manifest and its files


@reaches(
    4,
    f"SIGNATURE: expected a signature of the bundle by the key {'07' * 32}, found none; get the bundle from "
    "who holds that key, or sign it with `daypack sign`",
)
def unsigned_bundle(make: Any, example: Any) -> Any:
    return make().run("--require-signature", "07" * 32)


def signed(make: Any, key: str, text: str = "daypack-signature 1\ned25519 {key} {signature}\n") -> Any:
    case = make()
    (case.bundle / "SIGNATURE").write_text(text.format(key="07" * 32, signature="11" * 64))
    return case.run("--require-signature", key)


@reaches(
    4,
    "SIGNATURE: expected 'daypack-signature 1' and a line 'ed25519 <public key> <signature>', found other "
    "bytes; sign the bundle again",
)
def signature_in_another_form(make: Any, example: Any) -> Any:
    return signed(make, "07" * 32, "daypack-signature 1\n")


@reaches(
    4,
    f"SIGNATURE: expected a signature by the key {'08' * 32}, found one by {'07' * 32}; get the bundle from "
    "who holds the first, or require the other",
)
def signature_by_another_key(make: Any, example: Any) -> Any:
    return signed(make, "08" * 32)


@reaches(
    4,
    f"SIGNATURE: expected the signature of this MANIFEST by the key {'07' * 32}, found another: one of the "
    "two files was changed after signing; copy the bundle again",
)
def signature_of_something_else(make: Any, example: Any) -> Any:
    return signed(make, "07" * 32)


@reaches(
    4,
    "{bundle}/plan.bin: expected a file, found a link; copy the bundle with what its links point to",
)
def link_for_a_file(make: Any, example: Any) -> Any:
    case = make()
    (case.bundle / "plan.bin").rename(case.bundle.parent / "plan.bin")
    (case.bundle / "plan.bin").symlink_to("../plan.bin")
    return case.run()


@reaches(4, "{bundle}/MANIFEST: cannot open: No such file or directory")
def no_manifest(make: Any, example: Any) -> Any:
    case = make()
    (case.bundle / "MANIFEST").unlink()
    return case.run()


@reaches(4, "{bundle}/weights.bin: expected a readable file, found: Is a directory")
def directory_for_a_file(make: Any, example: Any) -> Any:
    case = make()
    (case.bundle / "weights.bin").unlink()
    (case.bundle / "weights.bin").mkdir()
    return case.run()


@reaches(4, "bundle.json: cannot read 21 bytes at 0: I/O error")
def unreadable_file(make: Any, example: Any) -> Any:
    return search(make(variant="faulty"), "read_at")


@reaches(6, "stopped by a signal while the bundle was checked")
def stop_while_checking(make: Any, example: Any) -> Any:
    return search(make(variant="faulty"), "stop_requested")


@reaches(4, "weights.bin: expected 16448 bytes as MANIFEST says, found 16449; copy the bundle again")
def grown_file(make: Any, example: Any) -> Any:
    case = make()
    with (case.bundle / "weights.bin").open("ab") as file:
        file.write(b"x")
    return case.run()


@reaches(
    4,
    "bundle.json: expected SHA-256 f3ad4d8c3dcf8a5eb1ab5ff9b5f8ebb6b8d5f0a5c7d1a0b7c6c5f3d6b8c1d7e2 "
    "as MANIFEST "
    f"says, found {DIGEST_OF_NOTHING}; copy the bundle again",
)
def changed_file(make: Any, example: Any) -> Any:
    case = make()
    lines = (case.bundle / "MANIFEST").read_text().splitlines(keepends=True)
    lines[1] = "f3ad4d8c3dcf8a5eb1ab5ff9b5f8ebb6b8d5f0a5c7d1a0b7c6c5f3d6b8c1d7e2 0 bundle.json\n"
    (case.bundle / "bundle.json").write_bytes(b"")
    (case.bundle / "MANIFEST").write_text("".join(lines))
    return case.run()


@reaches(4, "MANIFEST: expected less than 65536 bytes, found 65536")
def huge_manifest(make: Any, example: Any) -> Any:
    case = make()
    (case.bundle / "MANIFEST").write_bytes(b"x" * 65536)
    return case.run()


@reaches(
    4,
    "MANIFEST: expected the first line 'daypack-bundle 1', found another: not a bundle, or one of "
    "another version",
)
def other_manifest_version(make: Any, example: Any) -> Any:
    case = make()
    text = (case.bundle / "MANIFEST").read_text()
    (case.bundle / "MANIFEST").write_text(text.replace("daypack-bundle 1", "daypack-bundle 2"))
    return case.run()


@reaches(
    4,
    "MANIFEST: line 3: expected '<sha256> <size> <name>' with plain names in ascending order, found "
    "another line",
)
def manifest_leaves_the_directory(make: Any, example: Any) -> Any:
    case = make()
    lines = (case.bundle / "MANIFEST").read_text().splitlines(keepends=True)
    lines[2] = f"{DIGEST_OF_NOTHING} 0 ../example.state\n"
    (case.bundle / "MANIFEST").write_text("".join(lines))
    return case.run()


@reaches(4, "MANIFEST: expected an entry for weights.bin, found none")
def unlisted_weights(make: Any, example: Any) -> Any:
    case = make()
    (case.bundle / "weights.bin").unlink()
    write_manifest(case.bundle)
    return case.run()


NO_DIRECT = (
    "--direct: expected a file system that reads past its cache, found: {bundle}/weights.bin: {*}; "
    "leave out --direct or copy the bundle elsewhere"
)


@reaches(2, NO_DIRECT)
def file_system_that_opens_nothing_directly(make: Any, example: Any) -> Any:
    return make(variant="faulty").run("--direct", env={"FAULT": "open_direct:1"})


@reaches(2, NO_DIRECT)
def file_system_that_reads_nothing_directly(make: Any, example: Any) -> Any:
    return search(make(variant="faulty"), "read_at", "--direct")


# ---- the plan as a file


def patch_plan(case: Any, offset: int, data: bytes) -> Any:
    plan = bytearray((case.bundle / "plan.bin").read_bytes())
    plan[offset : offset + len(data)] = data
    case.set_file("plan.bin", bytes(plan))
    return case


@reaches(
    4,
    "MANIFEST: expected plan-1.bin, plan-2.bin and so on without a gap, found none with the number 1",
)
def gap_in_the_plans(make: Any, example: Any) -> Any:
    case = make()
    case.set_file("plan-2.bin", (case.bundle / "plan.bin").read_bytes())
    return case.run()


@reaches(
    4,
    "plan-1.bin: expected the window, the inputs and the state of plan.bin, found others: not a plan of this "
    "bundle",
)
def plan_of_another_bundle(make: Any, example: Any) -> Any:
    case = make()
    case.set_file("plan-1.bin", write_plan(replace(case.plan, window=3)))
    return case.run()


@reaches(4, "plan.bin: expected a plan's magic bytes, found others")
def wrong_magic(make: Any, example: Any) -> Any:
    return patch_plan(make(), 6, b"2").run()


@reaches(4, "plan.bin: expected version 1, found 2.0; compile the bundle again")
def other_plan_version(make: Any, example: Any) -> Any:
    return patch_plan(make(), 8, b"\2").run()


@reaches(4, "plan.bin: expected {*} bytes, found {*}")
def truncated_plan(make: Any, example: Any) -> Any:
    case = make()
    case.set_file("plan.bin", (case.bundle / "plan.bin").read_bytes()[:-1])
    return case.run()


@reaches(4, "plan.bin: expected at least 304 bytes, found 295")
def truncated_plan_header(make: Any, example: Any) -> Any:
    case = make()
    case.set_file("plan.bin", (case.bundle / "plan.bin").read_bytes()[:295])
    return case.run()


@reaches(
    4,
    "plan.bin: section features: expected to begin at 320 and to fit in the file, "
    "found 1152921504606846976 records at 320",
)
def huge_section(make: Any, example: Any) -> Any:
    return patch_plan(make(), 128, struct.pack("<Q", 1 << 60)).run()


@reaches(4, "plan.bin: expected the last section to end at {*}, found {*}")
def bytes_after_the_last_section(make: Any, example: Any) -> Any:
    case = make()
    plan = (case.bundle / "plan.bin").read_bytes() + b"x"
    case.set_file("plan.bin", plan)
    return patch_plan(case, 16, struct.pack("<Q", len(plan))).run()


@reaches(4, "plan.bin: expected zero at 308, found 7")
def bytes_between_sections(make: Any, example: Any) -> Any:
    return patch_plan(make(), 308, b"\7").run()


@reaches(5, "memory: expected {*} bytes for the plan's tables, found less")
def no_memory_for_tables(make: Any, example: Any) -> Any:
    return make(variant="faulty").run(env={"FAULT": "map:1"})


@reaches(4, "plan.bin: kernels[3].first_phase: expected the next phase, found 3")
def wrong_record(make: Any, example: Any) -> Any:
    case = make()
    (offset,) = struct.unpack_from("<Q", (case.bundle / "plan.bin").read_bytes(), 136)
    return patch_plan(case, offset + 3 * 24 + 8, struct.pack("<I", 3)).run()


@reaches(
    4,
    "plan.bin: expected the kernel_id of this engine's kernels, found another: plan and engine are "
    "not of the same "
    "bundle",
)
def foreign_kernels(make: Any, example: Any) -> Any:
    case = make()
    case.set_plan(kernel_id=bytes(32))
    return case.run()


# ---- processor, memory, threads


@reaches(5, "processor: the plan is for {other}, this engine runs on {arch}")
def other_arch(make: Any, example: Any) -> Any:
    case = make()
    case.set_plan(target_arch=OTHER_ARCH[example.HOST])
    return case.run()


@reaches(4, "plan.bin: features[0]: expected a feature this engine can check, found number 999")
def unknown_feature(make: Any, example: Any) -> Any:
    case = make(cpu_features=(next(iter(FEATURES[example.HOST])),))
    return patch_plan(case, 320, struct.pack("<I", 999)).run()


@reaches(
    5,
    "processor: the plan's kernels need the feature {*}, which this processor or its operating system lacks; "
    "compile for this device's profile",
)
def missing_feature(make: Any, example: Any) -> Any:
    return make(variant="faulty", cpu_features=(next(iter(FEATURES[example.HOST])),)).run(
        env={"FAULT": "has_feature:0"}
    )


@reaches(4, "plan.bin: expected a run of one thread within the budget of 100000 bytes, found {*}")
def budget_too_small(make: Any, example: Any) -> Any:
    return make(budget_bytes=100_000).run()


@reaches(
    2,
    "--threads: expected at most {*}, which is what the plan's budget of 4000000 bytes allows, found 64",
)
def too_many_threads_for_the_budget(make: Any, example: Any) -> Any:
    return make(budget_bytes=4_000_000).run("--threads", "64")


@reaches(5, "memory: expected {*} bytes for the arena, found less")
def no_memory_for_the_arena(make: Any, example: Any) -> Any:
    return make(variant="faulty").run("--threads", "2", env={"FAULT": "map:2"})


@reaches(5, "threads: expected 4 threads, the system gave 2; use fewer")
def no_threads(make: Any, example: Any) -> Any:
    return make(variant="faulty").run("--threads", "4", env={"FAULT": "start_thread:2"})


@reaches(5, "threads: expected one more for the pager, the system gave none")
def no_thread_for_the_pager(make: Any, example: Any) -> Any:
    case = make(variant="faulty", **example.paged_plan())
    return case.run("--threads", "2", env={"FAULT": "start_thread:2"})


@reaches(5, "--commands: expected one more thread, the system gave none")
def no_thread_for_commands(make: Any, example: Any) -> Any:
    return make(variant="faulty").run("--threads", "2", "--commands", env={"FAULT": "start_thread:2"})


@reaches(
    2,
    "--cpus, --clamp: expected a bundle without a policy, found policy.bin, which chooses them",
)
def two_who_choose_processors(make: Any, example: Any) -> Any:
    case = make()
    case.set_policy(bytes(1000))
    return case.run("--cpus", "1")


@reaches(5, "memory: expected {*} bytes for the policy, found less")
def no_memory_for_the_policy(make: Any, example: Any) -> Any:
    case = make(variant="faulty")
    case.set_policy(bytes(1000))
    return case.run(env={"FAULT": "map:2"})


# ---- the data


def with_data(make: Any, change: Callable[[bytearray], Any]) -> Any:
    case = make()
    data = bytearray((case.bundle / "data.bin").read_bytes())
    change(data)
    case.set_file("data.bin", bytes(data))
    return case


def put(data: bytearray, offset: int, value: bytes) -> None:
    data[offset : offset + len(value)] = value


@reaches(2, "data: expected data.bin in the bundle or --data FILE, found neither")
def no_data(make: Any, example: Any) -> Any:
    case = make()
    (case.bundle / "data.bin").unlink()
    write_manifest(case.bundle)
    return case.run()


@reaches(2, "/nowhere/data.bin: cannot open: No such file or directory")
def data_not_there(make: Any, example: Any) -> Any:
    return make().run("--data", "/nowhere/data.bin")


@reaches(4, "data.bin: expected at least 64 bytes, found 63")
def short_data(make: Any, example: Any) -> Any:
    return with_data(make, lambda data: data.__delitem__(slice(63, None))).run()


@reaches(4, "data.bin: expected the header of a data file, found other bytes")
def data_magic(make: Any, example: Any) -> Any:
    return with_data(make, lambda data: put(data, 0, b"X")).run()


@reaches(4, "data.bin: expected version 2, found 3; write it again")
def data_version(make: Any, example: Any) -> Any:
    return with_data(make, lambda data: put(data, 8, b"\3")).run()


@reaches(
    4,
    "data.bin: expected examples of 2 inputs and, 1 in a micro-batch, 192 bytes as this bundle reads, "
    "found 3 and 192",
)
def data_inputs(make: Any, example: Any) -> Any:
    return with_data(make, lambda data: put(data, 12, b"\3")).run()


@reaches(
    4,
    "data.bin: expected examples of 2 inputs and, 64 in a micro-batch, 0 bytes as this bundle reads, "
    "found 2 and 192",
)
def undivided_data(make: Any, example: Any) -> Any:
    return with_data(make, lambda data: put(data, 32, b"\x40")).run()


@reaches(4, "data.bin: expected one example or more and no part of one, found 1023 bytes for 5 examples")
def truncated_data(make: Any, example: Any) -> Any:
    return with_data(make, lambda data: data.__delitem__(slice(1023, None))).run()


@reaches(4, "data.bin: expected one example or more and no part of one, found 64 bytes for 0 examples")
def empty_data(make: Any, example: Any) -> Any:
    def empty(data: bytearray) -> None:
        del data[64:]
        put(data, 24, bytes(8))

    return with_data(make, empty).run()


@reaches(
    4,
    "data.bin: expected one example or more and no part of one, found 1024 bytes for "
    "4611686018427387904 examples",
)
def overflowing_data(make: Any, example: Any) -> Any:
    return with_data(make, lambda data: put(data, 24, struct.pack("<Q", 1 << 62))).run()


@reaches(2, "data.bin: example 1, input ids, position 31: expected a value from 0 to 99, found 100")
def id_out_of_bounds(make: Any, example: Any) -> Any:
    return with_data(make, lambda data: put(data, 64 + 192 + 124, struct.pack("<i", 100))).run()


@reaches(2, "data.bin: example 0, input ids, position 0: expected a value from 0 to 99, found -1")
def negative_id(make: Any, example: Any) -> Any:
    return with_data(make, lambda data: put(data, 64, struct.pack("<i", -1))).run()


# ---- the state


@reaches(
    2, "/proc/nowhere: cannot create the state directory: No such file or directory; give --state another"
)
def no_state_directory(make: Any, example: Any) -> Any:
    return make().run("--state", "/proc/nowhere")


@reaches(2, "{bundle}/plan.bin: cannot open the state directory: Not a directory; give --state another")
def file_for_the_state_directory(make: Any, example: Any) -> Any:
    case = make()
    return case.run("--state", f"{case.bundle}/plan.bin")


@reaches(
    2,
    "/proc/self/fdinfo: cannot write in the state directory: No such file or directory; give --state another",
)
def state_directory_without_writing(make: Any, example: Any) -> Any:
    return make().run("--state", "/proc/self/fdinfo")


@reaches(2, "{state}: cannot write in the state directory: Read-only file system; give --state another")
def read_only_state_directory(make: Any, example: Any) -> Any:
    return make(variant="faulty").run(env={"FAULT": "open_update:1"})


@reaches(6, "{state}/..: cannot write out the directory: I/O error; give --state another")
def directory_that_cannot_be_synced(make: Any, example: Any) -> Any:
    return make(variant="faulty").run(env={"FAULT": "sync:1"})


@reaches(5, "memory: expected 3 checksums of the state, found less")
def no_memory_for_checksums(make: Any, example: Any) -> Any:
    return make(variant="faulty").run("--threads", "2", env={"FAULT": "map:3"})


@reaches(6, "stopped by a signal while the state was checked")
def stop_while_checking_the_state(make: Any, example: Any) -> Any:
    return search(make(variant="faulty"), "stop_requested")


@reaches(
    4,
    "{state}/state.safetensors: block 0: expected CRC-32 {*}, found {*}: the file is damaged; copy it again, "
    "or use --fresh to start again",
)
def damaged_state(make: Any, example: Any) -> Any:
    case = make()
    case.run("--steps", "1")
    data = bytearray(case.state.read_bytes())
    data[-5] ^= 1
    case.state.write_bytes(data)
    return case.run("--steps", "1")


@reaches(2, "{state}: another run is using this state directory; give --state another")
def locked_state_directory(make: Any, example: Any) -> Any:
    case = make()
    case.state.parent.mkdir()
    held = os.open(case.state.parent, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        return case.run()
    finally:
        os.close(held)


def with_state(make: Any, data: bytes) -> Any:
    case = make()
    case.state.parent.mkdir()
    case.state.write_bytes(data)
    return case


@reaches(
    4,
    "{state}/state.safetensors: expected {*} bytes as this bundle's state has, found 10; use --fresh "
    "to start again",
)
def truncated_state(make: Any, example: Any) -> Any:
    return with_state(make, b"0123456789").run()


@reaches(
    4,
    "{state}/state.safetensors: expected the tensors and the identity of this bundle's state, found another "
    "header: it is the state of another model, method or start; use --fresh to start again, or give --state "
    "another",
)
def foreign_state(make: Any, example: Any) -> Any:
    case = make()
    own = (case.bundle / "state.safetensors").read_bytes()
    case.state.parent.mkdir()
    case.state.write_bytes(own.replace(b'"y"', b'"z"'))
    return case.run()


@reaches(
    4,
    "state.safetensors: expected {*} bytes as this bundle's state has, found {*}; use --fresh to start again",
)
def generation_zero_of_another_plan(make: Any, example: Any) -> Any:
    case = make()
    state = (*case.plan.state[:2], StateTensor("clock/step", "U64", (), example.ARENA["clock"]))
    case.set_plan(state=state)
    return case.run()


@reaches(4, "{state}/state.safetensors: expected a readable file, found: Is a directory")
def directory_for_the_state(make: Any, example: Any) -> Any:
    case = make()
    case.state.mkdir(parents=True)
    return case.run()


@reaches(4, "{state}/state.safetensors: cannot open: I/O error")
def unreadable_state(make: Any, example: Any) -> Any:
    return search(make(variant="faulty"), "open_read")


@reaches(
    6,
    "{state}/state.safetensors: cannot save the state of step 1: No space left on device; "
    "the state on disk is of step 0",
)
def full_disk(make: Any, example: Any) -> Any:
    return search(make(variant="faulty"), "write", "--steps", "2")


@reaches(
    6,
    "{state}/state.safetensors: cannot save the state of step 1: File too large; the state on disk "
    "is of step 0",
)
def file_size_limit(make: Any, example: Any) -> Any:
    case = make()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    return case.run("--steps", "1", preexec_fn=limit)


@reaches(
    6,
    "{state}: expected room for 20480 bytes of swap, found: No space left on device; free that much or give "
    "--state another",
)
def no_room_for_the_swap(make: Any, example: Any) -> Any:
    return make(variant="faulty", **example.paged_plan()).run(env={"FAULT": "reserve:1"})


@reaches(
    6,
    "swap: cannot write 16384 bytes at 4096: No space left on device; the state on disk is of step 0",
)
def full_disk_in_a_transfer(make: Any, example: Any) -> Any:
    return search(make(variant="faulty", **example.paged_plan()), "write", "--steps", "2")


# ---- a run underway


@reaches(6, "standard output: cannot write metrics: No space left on device")
def full_standard_output(make: Any, example: Any) -> Any:
    case = make()
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(case.command("--steps", "1"), stdout=full, stderr=subprocess.PIPE, check=False)
    return as_run(example, done)


@reaches(6, "standard output: cannot write metrics: Broken pipe")
def closed_pipe(make: Any, example: Any) -> Any:
    case = make()
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(case.command("--steps", "1"), stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    return as_run(example, done)


@reaches(6, "stopped by a signal before the first step")
def stop_in_setup(make: Any, example: Any) -> Any:
    return search(make(variant="faulty"), "stop_requested")


@reaches(
    6, "stopped by a signal; the next run goes on within the unfinished step, the state on disk is of step 0"
)
def stop_behind_a_kept_place(make: Any, example: Any) -> Any:
    return search(make(variant="faulty", **in_memory(example)), "stop_requested", "--fresh")


@reaches(6, "stopped by a signal; the unfinished step is dropped, the state on disk is of step 0")
def stop_in_the_first_step(make: Any, example: Any) -> Any:
    return search(make(variant="faulty"), "stop_requested")


@reaches(6, "data.bin: cannot read 128 bytes at 64: I/O error")
def unreadable_data(make: Any, example: Any) -> Any:
    return search(make(variant="faulty"), "read_at")


@reaches(4, "plan.bin: expected a step to advance the clock from 0 to 1, found 0")
def clock_stands_still(make: Any, example: Any) -> Any:
    case = make()
    case.set_plan(steps=case.plan.steps[:-1])
    return case.run()


@reaches(6, "step 1: expected a finite loss, found nan; the state on disk is of step 0")
def loss_is_not_a_number(make: Any, example: Any) -> Any:
    return with_data(make, lambda data: put(data, 64 + 128, struct.pack("<f", np.nan))).run()


@reaches(6, "step 1: expected a finite loss, found inf; the state on disk is of step 0")
def loss_is_infinite(make: Any, example: Any) -> Any:
    case = make()
    huge = [{**record, "scale": np.array([3e38], np.float32)} for record in example.records()]
    write_data(case.bundle / "data.bin", example.INPUTS, huge)
    write_manifest(case.bundle)
    return case.run()


@reaches(
    2,
    "step 1: no label in its examples; give each step one or more; the state on disk is of step 0",
)
def nothing_to_learn(make: Any, example: Any) -> Any:
    case = make()
    counting = example.call(0, "ids", "scale", "total", "weight")
    case.set_plan(steps=tuple(step for step in case.plan.steps if step != counting))
    return case.run()


# ---- the tests


# ---- tokenizing


@cache
def tokenizer_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tokenizer-messages-")


@cache
def tables() -> Path:
    return compile_tables(train("qwen", 400, Path(tokenizer_folder().name) / "qwen.json"))


@cache
def tokenizer_alone(arch: str) -> list[str]:
    triple = next(triple for triple, found in ARCH_OF_TRIPLE.items() if found == arch)
    return [str(build_tokenizer(triple, Path(tokenizer_folder().name) / "tokenize"))]


def tokenized(example: Any, text: bytes, workspace_bytes: int) -> Any:
    """A run of the tokenizer in a memory smaller than the engine ever gives it."""
    return as_run(example, run_engine(tokenizer_alone(example.HOST), tables(), [text], workspace_bytes))


def with_tables(case: Any, budget_bytes: int = 0) -> Any:
    case.set_plan(budget_bytes=budget_bytes)
    case.set_file("tokenizer.dpt", tables().read_bytes())
    return case


def notes(case: Any) -> list[str]:
    path = case.bundle.parent / "notes.txt"
    path.write_text("some notes of a day")
    return ["--tokenize", str(path)]


@reaches(2, "--tokenize: expected tokenizer.dpt in the bundle, found none; bundle.json says why")
def no_tokenizer(make: Any, example: Any) -> Any:
    case = make()
    return case.run(*notes(case))


@reaches(5, "memory: expected {*} bytes for the tokenizer, found less; compile for a larger budget")
def no_memory_for_the_tokenizer(make: Any, example: Any) -> Any:
    case = with_tables(make(), budget_bytes=1_000_000)
    return case.run(*notes(case))


@reaches(6, "stopped by a signal while a text was tokenized")
def stop_while_tokenizing(make: Any, example: Any) -> Any:
    case = with_tables(make(variant="faulty"))
    return search(case, "stop_requested", *notes(case))


@reaches(4, "tokenizer.dpt: expected its first bytes to be DPTOKEN1; compile the bundle again")
def foreign_tokenizer(make: Any, example: Any) -> Any:
    case = with_tables(make())
    case.set_file("tokenizer.dpt", b"X" + tables().read_bytes()[1:])
    return case.run(*notes(case))


@reaches(2, "tokenizer: expected room for pieces of 512 symbols, found 1000 bytes")
def no_room_for_pieces(make: Any, example: Any) -> Any:
    return tokenized(example, b"a", 1000)


BREAK_IT = "found a longer run without a boundary; break it into lines or words"


@reaches(2, f"text: expected pieces of less than 1024 characters, {BREAK_IT}")
def long_piece(make: Any, example: Any) -> Any:
    return tokenized(example, b"a" * 5000, 32 * 1024)


@reaches(2, f"text: expected pieces of at most 1024 bytes, {BREAK_IT}")
def wide_piece(make: Any, example: Any) -> Any:
    return tokenized(example, "\U0001f600".encode() * 1000, 32 * 1024)


@reaches(2, "text: expected at most 4096 combining characters in a row, found more")
def many_combining_characters(make: Any, example: Any) -> Any:
    return tokenized(example, b"e" + "\u0323".encode() * 5000, 1 << 20)


# ---- raw data; what is wrong with a file itself: test_raw_data.py


def raw(case: Any, content: bytes = b"Notes of a day. " * 40, **changes: Any) -> list[str]:
    """The arguments of a run on a file of the user's."""
    case.set_corpus(**changes)
    path = case.bundle.parent / "notes"
    path.write_bytes(content)
    return ["--data", str(path), "--steps", "1"]


def reader(make: Any, example: Any, variant: str = "plain", **changes: Any) -> Any:
    return make(variant=variant, **{**example.language_plan(), **changes})


@reaches(2, "{bundle}/../notes: the file is empty")
def empty_file(make: Any, example: Any) -> Any:
    case = reader(make, example)
    words = raw(case, b"")
    words[1] = f"{case.bundle}/../notes"
    return case.run(*words)


@reaches(
    4,
    "corpus.bin: expected examples of 31 tokens for the inputs of plan.bin, found others; compile the bundle "
    "again",
)
def foreign_corpus(make: Any, example: Any) -> Any:
    case = reader(make, example)
    return case.run(*raw(case, sequence=31))


@reaches(5, "memory: expected {*} bytes to tokenize the data in, found less; compile for a larger budget")
def no_memory_for_the_data(make: Any, example: Any) -> Any:
    case = reader(make, example, budget_bytes=3_500_000)
    return case.run("--threads", "1", *raw(case))


@reaches(6, "stopped by a signal while the data were tokenized; run again")
def stop_while_data_are_tokenized(make: Any, example: Any) -> Any:
    case = reader(make, example, variant="faulty")
    return search(case, "stop_requested", *raw(case))


@reaches(6, "{state}: cannot write the tokens of the data: No space left on device; free room and run again")
def full_disk_for_tokens(make: Any, example: Any) -> Any:
    case = reader(make, example, variant="faulty")
    return search(case, "write", *raw(case))


@reaches(6, "{state}: cannot keep the tokens of the data: No space left on device; free room and run again")
def tokens_not_synced(make: Any, example: Any) -> Any:
    case = reader(make, example, variant="faulty")
    return search(case, "reserve", *raw(case))


@reaches(6, "{state}: cannot read back the tokens of the data; run again")
def tokens_not_read_back(make: Any, example: Any) -> Any:
    case = reader(make, example, variant="faulty")
    return search(case, "read_at", *raw(case))


# ---- evaluating


def evaluated(case: Any, *rows: tuple[float, int], choices: int | None = None, **changes: Any) -> Any:
    case.set_evaluation(**changes)
    case.set_rows(*rows)
    return case.run("--evaluate", *(() if choices is None else ("--choices", str(choices))))


@reaches(2, "--evaluate: expected eval.bin in the bundle, found none; bundle.json says why")
def no_evaluation(make: Any, example: Any) -> Any:
    return make().run("--evaluate")


@reaches(2, f"--choices: expected --evaluate with it, found none; {USAGE}")
def choices_of_a_training(make: Any, example: Any) -> Any:
    return make().run("--choices", "4")


@reaches(
    4,
    "{state}/other/state.safetensors: expected a saved state, found none; train with this --state, or give "
    "--fresh for the start",
)
def unknown_state(make: Any, example: Any) -> Any:
    case = make()
    case.set_evaluation()
    return case.run("--evaluate", "--state", str(case.state.parent / "other"))


@reaches(2, "question 2: expected 2 rows with labels, as --choices says, found 1")
def half_a_question(make: Any, example: Any) -> Any:
    return evaluated(make(), (-1, 1), (-2, 1), (-1, 1), choices=2)


@reaches(2, "data: expected a label in 2 records, found none")
def nothing_to_evaluate(make: Any, example: Any) -> Any:
    return evaluated(make(), (0, 0), (0, 0))


@reaches(6, "record 1, row 0: expected a finite log-likelihood, found nan")
def log_likelihood_is_not_a_number(make: Any, example: Any) -> Any:
    return evaluated(make(), (-1, 1), (np.nan, 1))


def pattern_of(message: str, example: Any, tmp_path: Path) -> re.Pattern[str]:
    places = {
        "{bundle}": str(tmp_path / "example"),
        "{state}": str(tmp_path / "example.state"),
        "{arch}": example.HOST,
        "{other}": OTHER_ARCH[example.HOST],
    }
    for name, value in places.items():
        message = message.replace(name, value)
    return re.compile(".+".join(re.escape(part) for part in message.split("{*}")))


# ---- the hash tree


@reaches(4, "blocks.bin: expected 32 bytes a block and at most 32768 blocks, found 33 bytes")
def part_of_a_hash(make: Any, example: Any) -> Any:
    case = make()
    list_blocks(case, bytes(33))
    return case.run("--steps", "1")


@reaches(4, "blocks.bin: expected hashes of the 2 blocks of data.bin and weights.bin, found 3")
def too_many_hashes(make: Any, example: Any) -> Any:
    case = make()
    list_blocks(case, bytes(96))
    return case.run("--steps", "1")


@reaches(
    4,
    "data.bin: block 0, which begins at byte 0: expected its SHA-256 in blocks.bin, found another; "
    "copy the bundle again",
)
def another_block(make: Any, example: Any) -> Any:
    case = make()
    list_blocks(case, bytes(64))
    return case.run("--steps", "1")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_message(row: Row, make_case: Callable[..., Any], example: Any, tmp_path: Path) -> None:
    pattern = pattern_of(row.message, example, tmp_path)
    reached = row.reach(make_case, example)
    runs = [reached] if isinstance(reached, example.Run) else reached
    run = next(run for run in runs if not isinstance(reached, Iterator) or pattern.fullmatch(said(run)))
    assert pattern.fullmatch(run.message), run.message
    assert (run.status, run.error["code"]) == (row.status, row.status)
    if run.stderr:
        assert run.stderr == f"error: {run.message}\n"


def said(run: Any) -> str:
    return run.events[-1].get("message", "") if run.events else ""


def test_every_message_of_the_engine_has_a_row() -> None:
    readers = {*(NATIVE / "src").glob("raw_*.c"), NATIVE / "src" / "corpus.c"}  # test_raw_data.py
    sources = sorted({*(NATIVE / "src").glob("*.c")} - readers)
    formats = {text for path in sources for text in formats_in(path.read_text())}
    assert len(formats) > 54
    missing = [
        text for text in formats if not any(as_pattern(text).fullmatch(sample(row.message)) for row in ROWS)
    ]
    assert missing == []


def formats_in(source: str) -> Iterator[str]:
    """The format of each `daypack_fail(error, code, "..." "..." ...)`, USAGE put in."""
    source = source.replace("USAGE", f'"{USAGE}"')
    for call in re.finditer(r"daypack_fail\((?:[^\"]|\n)*?((?:\"(?:[^\"\\\\]|\\\\.)*\"\s*)+)", source):
        yield "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', call[1]))


def as_pattern(text: str) -> re.Pattern[str]:
    return re.compile(
        ".*".join(re.escape(part) for part in re.split(r"%(?:\.?[\d*]*)(?:ll|z)?[sdugx]", text))
    )


def sample(message: str) -> str:
    return re.sub(r"\{.*?\}", "1", message)
