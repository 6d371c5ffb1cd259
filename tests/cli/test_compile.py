"""`daypack compile`."""

from __future__ import annotations

from pathlib import Path

from daypack.errors import BudgetInfeasible


def test_json_is_one_object_with_the_documented_keys(command, api, spec_file: Path, tmp_path: Path) -> None:
    outcome = command("compile", spec_file, "--out", tmp_path / "b", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.json == {
        "bundle": str(tmp_path / "b"),
        "predicted": {
            "peak_bytes": 158_000_000,
            "step_seconds": 1.25,
            "step_joules": None,
            "flash_read_bytes": 0,
            "flash_written_bytes": 4096,
            "source": "modelled",
        },
        "kernels": 34,
        "shards": 12,
        "compile_seconds": 41.25,
        "plans": [],
        "refused": {},
    }


def test_what_the_engine_cannot_have_is_a_warning(command, api, spec_file: Path) -> None:
    api.refused = {"engine_tokenizer": "it splits by words", "chat_template": "it counts turns"}
    outcome = command("compile", spec_file, "--out", "b")
    assert outcome.code == 0 and outcome.err.splitlines()[-2:] == [
        "warning: the engine cannot tokenize by itself: it splits by words",
        "warning: the bundle takes no `messages`: it counts turns",
    ]
    assert command("compile", spec_file, "--out", "b", "--json").json["refused"] == api.refused


def test_people_get_lines_and_a_line_a_stage(command, api, spec_file: Path, tmp_path: Path) -> None:
    outcome = command("compile", spec_file, "--out", tmp_path / "b")
    assert outcome.err == "compile: trace\ncompile: kernels\ncompile: emit\n"
    assert "modelled, one step:\n  peak memory  158 MB\n  time         1.25 s\n" in outcome.out
    assert "energy       unknown" in outcome.out


def test_several_plans_are_a_table(command, api, spec_file: Path) -> None:
    plan = {
        "file": "plan.bin",
        "order": "micro-batch-major",
        "budget_bytes": 160_000_000,
        "peak_bytes": 158_000_000,
        "step_seconds": 1.25,
        "step_joules": 3.5,
        "mean_watts": 2.8,
        "peak_watts": 3.1,
        "flash_read_bytes": 5_000_000,
        "flash_written_bytes": 4096,
    }
    unknown = {"budget_bytes": None, "step_joules": None, "mean_watts": None, "peak_watts": None}
    api.plans = (plan, {**plan, **unknown, "file": "plan-1.bin", "order": "layer-major"})
    out = command("compile", spec_file, "--out", "b").out.splitlines()
    assert out[-2].split("  ")[0] == "plan.bin" and "2.8, at most 3.1 W" in out[-2] and "160 MB" in out[-2]
    assert "layer-major" in out[-1] and out[-1].count("unknown") == 2 and "none" in out[-1]
    assert command("compile", spec_file, "--out", "b", "--json").json["plans"] == list(api.plans)


def test_the_options_arrive(command, api, spec_file: Path) -> None:
    command("compile", spec_file, "--out", "b", "--target", "pixel8", "--memory", "1.5 GB")
    ((name, call),) = api.calls
    assert name == "compile"
    assert call["spec"].train.batch == 4
    assert (call["out"], call["target"], call["memory_bytes"]) == (Path("b"), "pixel8", 1_500_000_000)


def test_the_spec_decides_where_no_option_does(command, api, spec_file: Path) -> None:
    command("compile", spec_file, "--out", "b")
    assert (api.calls[0][1]["target"], api.calls[0][1]["memory_bytes"]) == (None, None)


def test_the_cache_is_used_unless_it_is_declined(command, api, spec_file: Path) -> None:
    command("compile", spec_file, "--out", "b")
    command("compile", spec_file, "--out", "b", "--no-cache")
    assert [call["cache"] for _, call in api.calls] == [True, False]


def test_the_tuning_table_arrives(command, api, spec_file: Path) -> None:
    command("compile", spec_file, "--out", "b")
    command("compile", spec_file, "--out", "b", "--tuning", "table.json")
    assert [call["tuning"] for _, call in api.calls] == [None, Path("table.json")]


def test_a_wrong_size_names_the_option(command, api, spec_file: Path) -> None:
    outcome = command("compile", spec_file, "--out", "b", "--memory", "lots")
    assert outcome.code == 2
    assert outcome.err.startswith("error: --memory: got 'lots', takes a size such as \"160MB\"")
    assert api.calls == []


def test_a_wrong_spec_stops_before_anything_is_compiled(command, api, tmp_path: Path) -> None:
    outcome = command("compile", tmp_path / "none.toml", "--out", "b")
    assert outcome.code == 2
    assert outcome.err == f"error: cannot read the spec {tmp_path / 'none.toml'}: No such file or directory\n"
    assert api.calls == []


def test_an_infeasible_budget_is_exit_code_3(command, api, spec_file: Path) -> None:
    api.fail = BudgetInfeasible("needs 12 MB: h.0.mlp forces it")
    outcome = command("compile", spec_file, "--out", "b")
    assert outcome.code == 3
    assert outcome.err.endswith("error: needs 12 MB: h.0.mlp forces it\n")
    assert outcome.out == ""


def test_without_a_bundle_only_the_problem_is_written(command, api, spec_file: Path) -> None:
    outcome = command("compile", spec_file, "--dump-problem", "p.json", "--memory", "1 MB", "--json")
    assert (outcome.code, outcome.json) == (0, {"problem": "p.json", "nodes": 17})
    ((name, call),) = api.calls
    assert (name, call["file"], call["memory_bytes"]) == ("dump", Path("p.json"), 1_000_000)
