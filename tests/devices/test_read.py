"""A profile file that is not right is refused by a message that names file, key, found and expected."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from daypack.devices import load_profile, profile_names, profile_text
from daypack.devices.read import parse_profile
from daypack.errors import SpecError

GOOD = (resources.files("daypack.devices") / "cortex-a76.toml").read_text()


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_profile(text, name="board", where="board.toml")
    return caught.value.message


def test_the_unchanged_text_is_read() -> None:
    assert parse_profile(GOOD, name="board", where="board.toml").name == "board"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'arch = "aarch64"',
            'arch = "arm64"',
            "arch: found 'arm64', takes 'aarch64' or 'x86_64'",
        ),
        ("title =", "titel =", "title: found nothing, takes a text"),
        ('title = "Raspberry Pi 5 (Cortex-A76)"', "title = 3", "title: found 3, takes a text"),
        (
            "vector_bits = 128",
            "vector_bits = 0",
            "vector_bits: found 0, takes a whole number of at least 1",
        ),
        ("cores = 4", "cores = true", "cluster[0].cores: found True, takes a whole number of at least 1"),
        (
            "value = 2.4e9",
            "value = nan",
            "cluster[0].clock_hz.value: found nan, takes a finite number above 0",
        ),
        ('kind = "stated"', 'kind = "known"', "kind: found 'known', takes 'measured' or 'stated' or"),
        (
            'llvm_features = ["+neon"]',
            'llvm_features = "+neon"',
            "llvm_features: found '+neon', takes a list of",
        ),
        ('design = "all"', 'design = "big"', "design: found 'big', takes the name of a [[cluster]]"),
        (
            "read_bytes_per_s",
            "read_byte_per_s",
            "flash.read_byte_per_s: unknown key; did you mean 'read_bytes_per_s'?",
        ),
        ("[flash]", "[flashes]", "flashes: unknown key; did you mean 'flash'?"),
        ("[[cluster]]", "[cluster]", "takes an array of tables"),
        (
            next(line for line in GOOD.splitlines() if line.startswith("l1d_bytes")),
            "l1d_bytes = 3",
            "cluster[0].l1d_bytes: found 3, takes a table",
        ),
        ("title", "= title", "board.toml: not TOML: Invalid statement"),
        (
            "range = [0.5, 2], ",
            "",
            "power.uncore_w: found {'value': 1.0, 'source': \"no published figure: the board's memory and",
        ),
        (
            "range = [0.5, 2]",
            "range = [2, 3]",
            "power.uncore_w.range: found [2, 3], takes a list of two numbers above 0 with the value 1 ",
        ),
        ("range = [0.5, 2]", "range = [0.5]", "uncore_w.range: found [0.5], takes a list of two numbers"),
        ("range = [0.5, 2]", "range = 2", "uncore_w.range: found 2, takes a list of two numbers"),
        ("awake_w", "wake_w", "power.wake_w: unknown key; did you mean 'awake_w'?"),
    ],
)
def test_a_wrong_profile_is_refused(old: str, new: str, message: str) -> None:
    assert old in GOOD
    found = refusal(GOOD.replace(old, new, 1))
    assert found.startswith("board.toml: ")
    assert message in found


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(SpecError, match="unknown device 'pixle8', did you mean 'pixel8'"):
        load_profile("pixle8")


def test_an_unknown_device_names_all() -> None:
    with pytest.raises(
        SpecError, match=r"known: host, cortex-a510, cortex-a76, .*pixel8, snapdragon-8gen2, .*or a path"
    ):
        load_profile("toaster")


def test_a_profile_may_be_a_path(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD)
    assert load_profile(str(path)).name == "board"


def test_a_missing_profile_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read the device profile .*none.toml: .*No such file"):
        load_profile(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("name", profile_names())
def test_a_written_profile_is_read_back(name: str) -> None:
    profile = load_profile(name)
    assert parse_profile(profile_text(profile, "a note"), name=name, where="p") == profile
