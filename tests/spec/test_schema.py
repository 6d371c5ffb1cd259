"""What a spec may say: defaults, derived values, and every mistake with its message."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from daypack.errors import ExitCode, SpecError
from daypack.spec import TrainSpec, load_spec, parse_spec

GOOD = """
[model]
family = "gpt2"
[model.config]
n_layer = 2
[train]
method = "lora"
learning_rate = 1e-4
max_steps = 10
batch = 8
sequence = 32
"""
FULL = GOOD.replace('"lora"', '"full"')
PARTIAL = FULL.replace('"full"', '"partial"')
CHECKPOINT = GOOD.replace('family = "gpt2"\n[model.config]\nn_layer = 2', 'checkpoint = "gpt2"')


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, where="train.toml")
    assert caught.value.code is ExitCode.BAD_INPUT
    return caught.value.message


def test_the_least_that_a_spec_says() -> None:
    spec = parse_spec(GOOD)
    assert spec.model.family == "gpt2"
    assert spec.model.config == {"n_layer": 2}
    assert spec.device.profile == "host"
    assert spec.budget.memory_bytes is None
    assert spec.data is None
    train = spec.train
    assert (train.rank, train.alpha, train.lora_dropout, train.targets) == (8, 8.0, 0.0, None)
    assert (train.optimizer, train.betas, train.eps, train.momentum) == ("adamw", (0.9, 0.999), 1e-8, None)
    assert (train.schedule, train.warmup, train.max_grad_norm, train.save_steps) == ("constant", 0, 1.0, None)
    assert (train.window, train.micro_batch, train.dropout, train.weight_decay) == (None, None, None, 0.0)


def test_frozen_matrices_are_stored_as_the_checkpoint_has_them_unless_said() -> None:
    def form(text: str) -> tuple[str | None, int | None]:
        train = parse_spec(text).train
        return train.frozen_dtype, train.frozen_group

    assert form(GOOD) == ("checkpoint", None)
    assert form(FULL) == (None, None)
    assert form(GOOD + 'frozen_dtype = "bfloat16"') == ("bfloat16", None)
    assert form(GOOD + 'frozen_dtype = "int4"') == ("int4", 32)
    assert form(GOOD + 'frozen_dtype = "int8"\nfrozen_group = 64') == ("int8", 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            FULL + 'frozen_dtype = "bfloat16"',
            'train.toml: train.frozen_dtype: is of frozen weights, and method = "full" trains every one; '
            "remove it",
        ),
        (
            GOOD + "frozen_group = 64",
            'train.toml: train.frozen_group: is a key of "int8" and "int4", and frozen_dtype is '
            '"checkpoint"; remove it',
        ),
        (
            GOOD + 'frozen_dtype = "int8"\nfrozen_group = 48',
            "train.toml: train.frozen_group: got 48 (a whole number), takes 32 or 64",
        ),
        (
            GOOD + 'frozen_dtype = "fp8"',
            'train.toml: train.frozen_dtype: got "fp8" (a text), takes "checkpoint", "float32", "bfloat16", '
            '"float16", "int8" or "int4"',
        ),
    ],
)
def test_frozen_keys_that_do_not_fit(text: str, message: str) -> None:
    assert refusal(text) == message


def test_keys_that_do_not_apply_are_none() -> None:
    train = parse_spec(FULL + 'optimizer = "sgd"').train
    assert (train.rank, train.alpha, train.lora_dropout, train.targets) == (None, None, None, None)
    assert (train.betas, train.eps, train.momentum) == (None, None, 0.0)


@pytest.mark.parametrize(
    ("optimizer", "betas", "eps", "momentum"),
    [
        ("adamw", (0.9, 0.999), 1e-8, None),
        ("sgd", None, None, 0.0),
        ("adafactor", None, 1e-30, 0.0),
        ("lion", (0.9, 0.99), None, None),
    ],
)
def test_an_optimizer_brings_its_defaults(
    optimizer: str, betas: object, eps: object, momentum: object
) -> None:
    train = parse_spec(GOOD + f'optimizer = "{optimizer}"').train
    assert (train.betas, train.eps, train.momentum) == (betas, eps, momentum)


@pytest.mark.parametrize(
    ("lines", "window"),
    [
        ("", None),
        ("micro_batch = 2", 4),
        ("gradient_accumulation_steps = 8", 8),
        ("micro_batch = 4\ngradient_accumulation_steps = 2", 2),
    ],
)
def test_the_window_comes_from_either_key(lines: str, window: int | None) -> None:
    assert parse_spec(GOOD + lines).train.window == window


@pytest.mark.parametrize(
    ("lines", "warmup"),
    [("", 0), ("warmup_steps = 3", 3), ("warmup_ratio = 0.25", 3), ("warmup_ratio = 1", 10)],
)
def test_the_warmup_comes_from_either_key(lines: str, warmup: int) -> None:
    assert parse_spec(GOOD + lines).train.warmup == warmup


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [
        (GOOD, "bytes"),
        (CHECKPOINT, Path("/specs/gpt2/tokenizer.json")),
        (CHECKPOINT + '[data]\ntokenizer = "bytes"', "bytes"),
        (GOOD + '[data]\ntokenizer = "tokens/t.json"', Path("/specs/tokens/t.json")),
        (GOOD + '[data]\nkind = "ids"\npath = "a"', None),
    ],
)
def test_the_tokenizer_is_declared_or_follows_the_model(text: str, tokenizer: object) -> None:
    assert parse_spec(text, base=Path("/specs")).tokenizer == tokenizer


def test_paths_start_at_the_folder_of_the_spec(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "train.toml"
    path.parent.mkdir()
    path.write_text(CHECKPOINT + '[data]\npath = "../text.txt"\n')
    spec = load_spec(path)
    assert spec.model.checkpoint == path.parent / "gpt2"
    assert spec.data is not None and spec.data.path == path.parent / "../text.txt"


def test_an_absolute_path_stays() -> None:
    spec = parse_spec(CHECKPOINT.replace('"gpt2"', '"/models/gpt2"'), base=Path("/specs"))
    assert spec.model.checkpoint == Path("/models/gpt2")


def test_a_spec_does_not_change() -> None:
    spec = parse_spec(GOOD)
    with pytest.raises(ValidationError, match="frozen"):
        spec.train.batch = 3  # type: ignore[misc]


def test_a_device_may_be_a_profile_of_ones_own(tmp_path: Path, repository: Path) -> None:
    board = (repository / "daypack" / "devices" / "cortex-a76.toml").read_text()
    (tmp_path / "board.toml").write_text(board)
    spec = parse_spec(GOOD + '[device]\nprofile = "board.toml"', base=tmp_path)
    assert spec.device.profile == str(tmp_path / "board.toml")


TAKES_CONFIG = "a text, number, boolean, or a list or table of these"
TAKES_FRACTION = "a number from 0 up to, but not including, 1"
TAKES_SIZE = (
    'a size such as "160MB" (units B, KB, MB, GB, KiB, MiB, GiB; 1 MB is 10^6 bytes), or a whole number'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # Unknown keys
        (GOOD + "learning_rte = 1", "train.learning_rte: unknown key; did you mean train.learning_rate?"),
        (GOOD + "memory = 1", "train.memory: unknown key; did you mean budget.memory?"),
        (
            GOOD + "[budget]\nmemory_bytes = 1",
            "budget.memory_bytes: unknown key; did you mean budget.memory?",
        ),
        (GOOD + "[trian]\nx = 1", "trian: unknown key; did you mean train?"),
        ("max_steps = 3\n" + GOOD, "max_steps: unknown key; did you mean train.max_steps?"),
        (GOOD + "[device]\nxyzzy = 1", "device.xyzzy: unknown key; known here: profile"),
        (
            GOOD + "[xyzzy]",
            "xyzzy: unknown key; known here: budget, data, device, energy, evaluation, model, train",
        ),
        # Missing keys and sections
        (GOOD.replace("batch = 8", ""), "train.batch: missing; takes a whole number of at least 1"),
        (GOOD.replace('method = "lora"', ""), 'train.method: missing; takes "lora", "full" or "partial"'),
        ("", "model: missing; takes a section [model]"),
        ("train = 3", "train: got 3 (a whole number), takes a section [train]"),
        # Wrong types
        (
            GOOD.replace("1e-4", '"fast"'),
            'train.learning_rate: got "fast" (a text), takes a number above 0',
        ),
        (
            GOOD.replace("batch = 8", "batch = 8.0"),
            "train.batch: got 8.0 (a number), takes a whole number of",
        ),
        (
            GOOD.replace("batch = 8", "batch = true"),
            "train.batch: got true (a boolean), takes a whole number",
        ),
        (GOOD + "targets = 3", "train.targets: got 3 (a whole number), takes a list of projection names, at"),
        (GOOD + "seed = 1979-05-27", "train.seed: got 1979-05-27 (a date), takes a whole number from 0 to"),
        (GOOD.replace("n_layer = 2", "n_layer = [[2]]"), "model.config.n_layer: got [[2]] (a list), takes"),
        (
            GOOD.replace("n_layer = 2", "n_layer = nan"),
            f"model.config.n_layer: got NaN (a number), takes {TAKES_CONFIG}",
        ),
        # Impossible values
        (
            GOOD.replace("1e-4", "-1e-4"),
            "train.learning_rate: got -0.0001 (a number), takes a number above 0",
        ),
        (GOOD.replace("1e-4", "inf"), "train.learning_rate: got Infinity (a number), takes a number above 0"),
        (
            GOOD.replace('"lora"', '"lra"'),
            'train.method: got "lra" (a text), takes "lora", "full" or "partial"',
        ),
        (GOOD + "rank = 0", "train.rank: got 0 (a whole number), takes a whole number of at least 1"),
        (GOOD + "alpha = 0", "train.alpha: got 0 (a whole number), takes a number above 0"),
        (GOOD + "targets = []", "train.targets: got [] (a list), takes a list of projection names, at least"),
        (GOOD + "lora_dropout = 1.0", f"train.lora_dropout: got 1.0 (a number), takes {TAKES_FRACTION}"),
        (GOOD + "dropout = 1", f"train.dropout: got 1 (a whole number), takes {TAKES_FRACTION}"),
        (
            GOOD + 'optimizer = "adam"',
            'train.optimizer: got "adam" (a text), takes "adamw", "sgd", "adafactor"',
        ),
        (GOOD + "betas = [0.9]", "train.betas: got [0.9] (a list), takes a list of two numbers from 0"),
        (GOOD + "eps = 0", "train.eps: got 0 (a whole number), takes a number above 0"),
        (
            GOOD + 'optimizer = "sgd"\nmomentum = 2',
            f"train.momentum: got 2 (a whole number), takes {TAKES_FRACTION}",
        ),
        (
            GOOD + "weight_decay = -1",
            "train.weight_decay: got -1 (a whole number), takes a number of at least 0",
        ),
        (
            GOOD + 'schedule = "cos"',
            'train.schedule: got "cos" (a text), takes "constant", "linear" or "cosine"',
        ),
        (
            GOOD + "warmup_steps = -1",
            "train.warmup_steps: got -1 (a whole number), takes a whole number from 0",
        ),
        (GOOD + "warmup_ratio = 2", "train.warmup_ratio: got 2 (a whole number), takes a number from 0 to 1"),
        (
            GOOD.replace("max_steps = 10", "max_steps = 0"),
            "train.max_steps: got 0 (a whole number), takes a whole",
        ),
        (
            GOOD + "max_grad_norm = -1",
            "train.max_grad_norm: got -1 (a whole number), takes a number of at least 0",
        ),
        (
            GOOD + "micro_batch = 0",
            "train.micro_batch: got 0 (a whole number), takes a whole number that divides",
        ),
        (
            GOOD.replace("sequence = 32", "sequence = 0"),
            "train.sequence: got 0 (a whole number), takes a whole",
        ),
        (
            GOOD + "seed = 4294967296",
            "train.seed: got 4294967296 (a whole number), takes a whole number from 0",
        ),
        (
            GOOD + "save_steps = 0",
            "train.save_steps: got 0 (a whole number), takes a whole number of at least 1",
        ),
        (
            GOOD.replace('family = "gpt2"', 'family = ""'),
            'model.family: got "" (a text), takes the name of a',
        ),
        (
            CHECKPOINT.replace('"gpt2"', '""'),
            'model.checkpoint: got "" (a text), takes a path to a Hugging Face',
        ),
        (
            GOOD + '[device]\nprofile = "pixle8"',
            "device.profile: unknown device 'pixle8', did you mean 'pixel8'?",
        ),
        (
            GOOD + "[device]\nprofile = 8",
            "device.profile: got 8 (a whole number), takes the name of a device",
        ),
        (GOOD + '[device]\nprofile = "no.toml"', "device.profile: cannot read the device profile"),
        (GOOD + '[budget]\nmemory = "160QB"', f'budget.memory: got "160QB" (a text), takes {TAKES_SIZE}'),
        (GOOD + "[budget]\nmemory = 0", f"budget.memory: got 0 (a whole number), takes {TAKES_SIZE}"),
        (GOOD + '[data]\npath = ""', 'data.path: got "" (a text), takes a path to a file'),
        (
            GOOD + '[data]\nbuiltin = "x"',
            'data.builtin: got "x" (a text), takes "pydoc", the text that every',
        ),
        (
            GOOD + '[data]\nkind = "xml"',
            'data.kind: got "xml" (a text), takes "text", "jsonl", "csv" or "ids"',
        ),
        (
            GOOD + "[data]\ntokenizer = 3",
            'data.tokenizer: got 3 (a whole number), takes "bytes" or a path to a',
        ),
        # Keys that conflict
        (
            GOOD.replace('family = "gpt2"', ""),
            "model.checkpoint: missing, and so is model.family; give one of",
        ),
        (
            GOOD.replace('family = "gpt2"', 'family = "gpt2"\ncheckpoint = "gpt2"'),
            "model.family: conflicts with model.checkpoint, which brings its own; remove one of the two",
        ),
        (
            CHECKPOINT.replace("[train]", "seed = 1\n[train]"),
            "model.seed: conflicts with model.checkpoint, which",
        ),
        (
            CHECKPOINT.replace("[train]", "config = {}\n[train]"),
            "model.config: conflicts with model.checkpoint, which",
        ),
        (FULL + "rank = 8", 'train.rank: is a key of method = "lora", and method is "full"; remove it'),
        (
            FULL + 'train_only = ["biases"]',
            'train.train_only: is a key of method = "partial", and method is "full"; remove it',
        ),
        (
            PARTIAL,
            'train.train_only: missing; method = "partial" takes a list of "biases", "norms" or names of',
        ),
        (PARTIAL + "train_only = []", 'train.train_only: got [] (a list), takes a list of "biases", "norms"'),
        (
            PARTIAL + 'train_only = ["h.1"]\nrank = 8',
            'train.rank: is a key of method = "lora", and method is "partial"; remove it',
        ),
        (FULL + 'targets = ["c_attn"]', 'train.targets: is a key of method = "lora", and method is "full"'),
        (
            GOOD + "momentum = 0.9",
            'train.momentum: is a key of "sgd" or "adafactor", and optimizer is "adamw"',
        ),
        (
            GOOD + 'optimizer = "sgd"\neps = 1',
            'train.eps: is a key of "adamw" or "adafactor", and optimizer is',
        ),
        (
            GOOD + "warmup_steps = 1\nwarmup_ratio = 0.1",
            "train.warmup_ratio: conflicts with train.warmup_steps; remove one of the two",
        ),
        (GOOD + "warmup_steps = 11", "train.warmup_steps: got 11, takes at most train.max_steps = 10"),
        (GOOD + "micro_batch = 3", "train.micro_batch: got 3, which does not divide train.batch = 8"),
        (
            GOOD + "gradient_accumulation_steps = 5",
            "train.gradient_accumulation_steps: got 5, which does not divide train.batch = 8",
        ),
        (
            GOOD + "micro_batch = 2\ngradient_accumulation_steps = 2",
            "train.batch: got 8, and micro_batch 2 times gradient_accumulation_steps 2 is 4; make them agree",
        ),
        (
            GOOD + '[data]\npath = "a"\nbuiltin = "pydoc"',
            "data.builtin: conflicts with data.path; remove one of",
        ),
        (
            GOOD + '[data]\nkind = "jsonl"\nbuiltin = "pydoc"',
            'data.kind: got "jsonl", and data.builtin = "pydoc"',
        ),
        (
            GOOD + '[data]\nkind = "ids"\ntokenizer = "bytes"',
            'data.tokenizer: conflicts with data.kind = "ids", which needs none; remove it',
        ),
        (
            GOOD + "[data]\nshuffle = false\nseed = 3",
            "data.seed: is of the order, and data.shuffle is false; remove one of the two",
        ),
        (GOOD + "[data]\npacking = 1", "data.packing: got 1 (a whole number), takes true or false"),
        # Not TOML
        (GOOD + "batch 8", "not TOML: Expected '=' after a key"),
        (GOOD + "batch = 8", "not TOML: Cannot overwrite a value"),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    lines = refusal(text).splitlines()
    assert all(line.startswith("train.toml: ") for line in lines)
    assert any(line.startswith(f"train.toml: {message}") for line in lines), lines


def test_every_mistake_has_its_line() -> None:
    lines = refusal(
        GOOD.replace("batch = 8", "batch = 0").replace("1e-4", "0") + "[data]\nkind = 3"
    ).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["train.learning_rate", "train.batch", "data.kind"]


def test_a_long_value_is_cut() -> None:
    message = refusal(GOOD + f'schedule = "{"x" * 500}"')
    assert f'got "{"x" * 56}... (a text)' in message


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read the spec .*train.toml: No such file"), (b"\xff", "train.toml: not UTF-8 at byte 0")],
)
def test_an_unreadable_file_is_an_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "train.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=message):
        load_spec(path)


def test_the_class_itself_checks_too() -> None:
    with pytest.raises(ValidationError):
        TrainSpec.model_validate({"model": {"family": "gpt2"}})
