"""A spec written as TOML reads back as the same spec, whatever it declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from daypack.spec import check_spec, parse_spec, to_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
SCALAR = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
CONFIG = st.dictionaries(
    TEXT, SCALAR | st.lists(SCALAR, max_size=3) | st.dictionaries(TEXT, SCALAR, max_size=3)
)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
FRACTION = st.floats(min_value=0, max_value=1, exclude_max=True)
COUNT = st.integers(1, 10**9)
SEED = st.integers(0, 2**32 - 1)
FILE = NAME.map(lambda name: f"folder/{name}")


def optional(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any subset of the keys."""
    return st.fixed_dictionaries({}, optional=keys)


@st.composite
def trains(draw: st.DrawFn) -> dict[str, Any]:
    window, micro_batch = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    method = draw(st.sampled_from(["lora", "full", "partial"]))
    optimizer = draw(st.sampled_from(["adamw", "sgd", "adafactor", "lion"]))
    of_method = {
        "lora": optional(
            adapter=FILE,
            rank=COUNT,
            alpha=POSITIVE,
            targets=st.lists(NAME, min_size=1),
            lora_dropout=FRACTION,
        ),
        "full": st.just({}),
        "partial": st.fixed_dictionaries({"train_only": st.lists(NAME, min_size=1)}),
    }[method]
    own = {
        "adamw": optional(betas=st.lists(FRACTION, min_size=2, max_size=2), eps=POSITIVE),
        "sgd": optional(momentum=FRACTION),
        "adafactor": optional(eps=POSITIVE, momentum=FRACTION),
        "lion": optional(betas=st.lists(FRACTION, min_size=2, max_size=2)),
    }[optimizer]
    warmup = st.sampled_from([{}, {"warmup_steps": 1}, {"warmup_ratio": 0.5}])
    others = optional(
        dropout=FRACTION,
        weight_decay=POSITIVE,
        schedule=st.sampled_from(["constant", "linear", "cosine"]),
        max_grad_norm=POSITIVE,
        micro_batch=st.just(micro_batch),
        gradient_accumulation_steps=st.just(window),
        seed=SEED,
        save_steps=COUNT,
    )
    return {
        "method": method,
        "optimizer": optimizer,
        "learning_rate": draw(POSITIVE),
        "max_steps": draw(COUNT),
        "batch": window * micro_batch,
        "sequence": draw(COUNT),
        **draw(of_method),
        **draw(own),
        **draw(warmup),
        **draw(others),
    }


MODEL = st.fixed_dictionaries({"checkpoint": FILE}) | st.fixed_dictionaries(
    {"family": NAME}, optional={"config": CONFIG, "seed": SEED}
)
DATA = st.sampled_from([{}, {"path": "a b/c.txt"}, {"builtin": "pydoc"}]).flatmap(
    lambda source: st.fixed_dictionaries(
        {key: st.just(value) for key, value in source.items()},
        optional={"tokenizer": st.just("bytes") | FILE},
    )
)
DEVICE = optional(profile=st.sampled_from(["host", "pixel8", "cortex-a76"]))
BUDGET = optional(memory=COUNT | COUNT.map(lambda count: f"{count} MiB"))


@given(
    st.fixed_dictionaries(
        {"model": MODEL, "train": trains()}, optional={"data": DATA, "device": DEVICE, "budget": BUDGET}
    )
)
def test_writing_and_reading_gives_the_same_spec(document: dict[str, Any]) -> None:
    spec = check_spec(document, base=Path("/specs"))
    text = to_toml(spec)
    assert parse_spec(text, base=Path("/elsewhere")) == spec
    assert to_toml(parse_spec(text)) == text


def test_only_what_is_declared_is_written() -> None:
    text = """\
[model]
family = "gpt2"

[model.config]
n_layer = 2

[train]
method = "full"
learning_rate = 0.0001
max_steps = 10
batch = 8
sequence = 32

[budget]
memory = 160000000
"""
    assert to_toml(parse_spec(text)) == text
    assert to_toml(parse_spec(text.replace("160000000", '"160MB"'))) == text
