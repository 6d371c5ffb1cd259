"""What a run leaves, taken home: a PEFT directory and a merged model, loaded by `peft` and `transformers`."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from daypack import api
from daypack.errors import BundleError, SpecError
from daypack.models.config_fields import ConfigReader
from daypack.models.lora import LoraConfig, adapt
from daypack.models.registry import by_name
from daypack.models.sources import RandomSource
from daypack.models.structure import structure_of
from daypack.models.task import build_task
from daypack.models.write_checkpoint import write_checkpoint
from daypack.runtime.bundle import read_bundle_plan, write_manifest
from daypack.runtime.state_file import write_state
from daypack.spec import TrainSpec, check_spec

VOCABULARY = 301
TOKENS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 16, **TOKENS},
    "qwen2": {
        "model_type": "qwen2",
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        **TOKENS,
    },
}
METHODS: dict[str, dict[str, Any]] = {
    "gpt2": {"method": "lora", "rank": 3, "alpha": 7.5, "targets": ["c_attn", "mlp.c_proj"]},
    "qwen2": {"method": "lora", "rank": 2, "targets": ["q_proj", "v_proj", "down_proj"]},
    "full": {"method": "full", "save_steps": 3},
    "partial": {"method": "partial", "train_only": ["biases", "ln_f"]},
}
STEPS = 3


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A seeded Hugging Face directory of a family, with a file of its tokenizer's."""
    folder = tmp_path_factory.mktemp("base")

    def directory(name: str) -> Path:
        path = folder / name
        if not path.exists():
            config = CONFIGS[name] | {"vocab_size": VOCABULARY}
            family = by_name(name, "test")
            parsed = family.parse_config(ConfigReader(config, "test"))
            parameters = structure_of(lambda: family.build(parsed)).parameters
            write_checkpoint(path, config, RandomSource(parameters, 11))
            (path / "tokenizer_config.json").write_text("{}")
        return path

    return directory


@pytest.fixture(scope="session")
def spec_of(base: Callable[[str], Path], ids: Callable[[int], Path]) -> Callable[..., TrainSpec]:
    def spec(name: str, method: dict[str, Any]) -> TrainSpec:
        train = {
            "learning_rate": 2e-2,
            "max_steps": STEPS,
            "batch": 2,
            "micro_batch": 2,
            "sequence": 12,
            "dropout": 0.0,
        }
        data = {"path": str(ids(VOCABULARY)), "kind": "ids"}
        model = {"checkpoint": str(base(name))}
        return check_spec({"model": model, "train": train | method, "data": data})

    return spec


@pytest.fixture(scope="session")
def trained(spec_of: Callable[..., TrainSpec], compiled: Callable[..., Path]) -> Callable[[str], Path]:
    """A bundle after its three steps; "full" and "partial" are GPT-2."""
    done: set[Path] = set()

    def bundle(name: str) -> Path:
        path = compiled(spec_of("gpt2" if name in ("full", "partial") else name, METHODS[name]))
        if path not in done:
            assert all(math.isfinite(event.loss) for event in api.run_bundle(path))
            done.add(path)
        return path

    return bundle


def state_of(bundle: Path) -> dict[str, np.ndarray]:
    arrays = load_file(bundle.with_name(bundle.name + ".state") / "state.safetensors")
    return {name: array for name, array in arrays.items() if not name.startswith(("opt/", "clock/"))}


def our_logits(base: Path, name: str, arrays: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    family = by_name(name, "test")
    config = family.parse_config(ConfigReader(json.loads((base / "config.json").read_text()), "test"))
    method = METHODS[name]
    lora = LoraConfig(tuple(method["targets"]), method["rank"], method.get("alpha", 8.0))

    def build() -> Any:
        model = family.build(config)
        return adapt(model, lora) if any("lora_" in key for key in arrays) else model

    structure = structure_of(build)
    weights = load_file(base / "model.safetensors")
    return np.asarray(jax.jit(lambda a, i: structure.bind(a)(i))(weights | arrays, ids))


def their_logits(model: Any, ids: np.ndarray) -> np.ndarray:
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model.eval()(torch.from_numpy(ids.astype(np.int64))).logits.numpy()


def assert_equal(theirs: np.ndarray, ours: np.ndarray) -> None:
    assert theirs.dtype == np.float32
    difference = float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours))
    print(f"relative difference {difference:.1e}")
    assert difference <= 1e-5


IDS = np.random.default_rng(4).integers(0, VOCABULARY, (2, 12)).astype(np.int32)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of transformers, by peft
@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_peft_and_transformers_compute_what_we_do(
    name: str, trained: Callable[[str], Path], base: Callable[[str], Path], tmp_path: Path
) -> None:
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    bundle = trained(name)
    exported = api.export_adapter(bundle, out=tmp_path / "adapter")
    state = state_of(bundle)
    assert (exported.step, exported.parameters) == (STEPS, sum(array.size for array in state.values()))
    ours = our_logits(base(name), name, state, IDS)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base(name), dtype="float32")
    untrained = their_logits(plain, IDS)
    assert np.linalg.norm(untrained - ours) > 1e-2 * np.linalg.norm(ours), "training changes something"
    assert_equal(their_logits(peft.PeftModel.from_pretrained(plain, tmp_path / "adapter"), IDS), ours)

    merged = api.merge_bundle(bundle, out=tmp_path / "merged")
    assert merged.step == STEPS
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert_equal(their_logits(loaded, IDS), ours)
    assert sorted(path.name for path in (tmp_path / "merged").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer_config.json",
    ]


def test_the_way_home_and_back_changes_no_bit(
    trained: Callable[[str], Path], spec_of: Callable[..., TrainSpec], tmp_path: Path
) -> None:
    bundle = trained("gpt2")
    api.export_adapter(bundle, out=tmp_path / "a" / "b")
    config = json.loads((tmp_path / "a" / "b" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["fan_in_fan_out"]) == (3, 7.5, True)
    state = state_of(bundle)
    task = build_task(spec_of("gpt2", {"method": "lora", "adapter": str(tmp_path / "a" / "b")}))
    assert task.trainable.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(task.source.read(name), array)


def test_a_full_fine_tune_is_merged_and_not_exported(
    trained: Callable[[str], Path], base: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = trained("full")
    with pytest.raises(SpecError, match=r'method = "full" trains the model itself, .*`daypack merge` writes'):
        api.export_adapter(bundle, out=tmp_path / "adapter")
    api.merge_bundle(bundle, out=tmp_path / "merged")
    state, merged = state_of(bundle), load_file(tmp_path / "merged" / "model.safetensors")
    assert merged.keys() == state.keys() == load_file(base("gpt2") / "model.safetensors").keys()
    for name, array in state.items():
        np.testing.assert_array_equal(merged[name], array)
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert_equal(their_logits(model, IDS), our_logits(base("gpt2"), "gpt2", state, IDS))


def test_a_partial_fine_tune_merges_beside_what_was_frozen(
    trained: Callable[[str], Path], base: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = trained("partial")
    with pytest.raises(SpecError, match=r'method = "partial" trains the model itself'):
        api.export_adapter(bundle, out=tmp_path / "adapter")
    api.merge_bundle(bundle, out=tmp_path / "merged")
    state, merged = state_of(bundle), load_file(tmp_path / "merged" / "model.safetensors")
    before = load_file(base("gpt2") / "model.safetensors")
    assert state.keys() == {name for name in before if name.endswith(".bias")} | {"transformer.ln_f.weight"}
    assert merged.keys() == before.keys()
    for name, array in merged.items():
        np.testing.assert_array_equal(array, state.get(name, before[name]))
        assert (name in state) == bool((array != before[name]).any()), name


def test_what_cannot_be_taken_home(trained: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = trained("gpt2")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for write in (api.export_adapter, api.merge_bundle):
        with pytest.raises(SpecError, match="already holds files; name a new directory"):
            write(bundle, out=tmp_path / "full")
        with pytest.raises(BundleError, match="expected a saved state, found none; run the bundle with this"):
            write(bundle, out=tmp_path / "new", state=tmp_path / "nowhere")
        other = trained("full").with_name(trained("full").name + ".state")
        with pytest.raises(BundleError, match="for this plan's state, found"):
            write(bundle, out=tmp_path / "new", state=other)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_diverged_training_is_not_taken_home(trained: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = trained("gpt2")
    (tmp_path / "s").mkdir()
    plan = read_bundle_plan(bundle)
    arrays = load_file(bundle / "state.safetensors")
    spoiled = {
        name: np.full_like(array, np.nan) if array.dtype == np.float32 else array
        for name, array in arrays.items()
    }
    write_state(tmp_path / "s" / "state.safetensors", plan.state, spoiled, lambda _: plan.state_id)
    with pytest.raises(SpecError, match="values that are not finite.*or its training diverged"):
        api.export_adapter(bundle, out=tmp_path / "new", state=tmp_path / "s")
    assert not (tmp_path / "new").exists()


def test_a_bundle_of_a_users_own_model_and_a_checkpoint_that_is_gone(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = tmp_path / "b"
    shutil.copytree(trained("gpt2"), bundle)
    description = json.loads((bundle / "bundle.json").read_text())
    spec = description["spec"].replace("base", "gone")
    (bundle / "bundle.json").write_text(json.dumps(description | {"spec": spec}))
    write_manifest(bundle)
    with pytest.raises(
        SpecError, match=r"no such directory; model.checkpoint takes a Hugging Face directory"
    ):
        api.merge_bundle(bundle, out=tmp_path / "new")
    assert api.export_adapter(bundle, out=tmp_path / "adapter").step == 0
    del description["spec"]
    (bundle / "bundle.json").write_text(json.dumps(description))
    write_manifest(bundle)
    for write in (api.export_adapter, api.merge_bundle):
        with pytest.raises(
            SpecError, match=r"compiled from Python; daypack.run\(...\).params are its trained"
        ):
            write(bundle, out=tmp_path / "new")


def test_without_a_run_the_initial_adapters_are_taken(trained: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = trained("gpt2")
    lone = tmp_path / "lone.bundle"
    lone.symlink_to(bundle)
    assert api.export_adapter(lone, out=tmp_path / "adapter").step == 0
    arrays = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert all(not array.any() for name, array in arrays.items() if "lora_B" in name)
