"""`docs/spec.md` names every key, with the text that errors use and the default; its example is a spec."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from daypack.spec import TrainSpec, parse_spec
from daypack.spec.errors import keys_of

KEYS = {key: field for key, field in keys_of(TrainSpec).items() if "." in key}
BY_OTHER_KEY = {
    "train.rank": "8",
    "train.alpha": "8.0",
    "train.lora_dropout": "0.0",
    "train.targets": "none",
    "train.frozen_dtype": '"checkpoint"',
    "train.frozen_group": "32",
    "train.betas": "by optimizer",
    "train.eps": "by optimizer",
    "train.momentum": "by optimizer",
}


@pytest.fixture(scope="module")
def document(repository: Path) -> str:
    return (repository / "docs" / "spec.md").read_text()


@pytest.fixture(scope="module")
def rows(document: str) -> dict[str, list[str]]:
    """`section.key` -> the other cells of its row."""
    found: dict[str, list[str]] = {}
    for section in re.split(r"^## ", document, flags=re.MULTILINE)[1:]:
        name = section.partition("\n")[0].strip("[]")
        for key, *cells in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE):
            found[f"{name}.{key}"] = cells
    return found


def default_of(key: str, field: FieldInfo) -> str:
    if key in BY_OTHER_KEY:
        return BY_OTHER_KEY[key]
    if field.default is PydanticUndefined:
        return "–"
    if field.default is None:
        return "none"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return f'"{field.default}"' if isinstance(field.default, str) else str(field.default)


def test_every_key_has_its_row_and_no_other_is_named(rows: dict[str, list[str]]) -> None:
    assert list(rows) == list(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_a_row_says_what_the_code_does(rows: dict[str, list[str]], key: str) -> None:
    takes, default, _ = rows[key]
    assert takes == KEYS[key].description
    assert default == default_of(key, KEYS[key])


def test_the_examples_are_specs(document: str) -> None:
    examples = re.findall(r"```toml\n(.*?)```", document, re.DOTALL)
    assert len(examples) == 1
    assert parse_spec(examples[0]).train.window == 4
