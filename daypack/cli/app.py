"""The commands, their arguments and their exit codes.

Results go to stdout, progress and errors to stderr. With `--json` stdout holds JSON only, an error included.
Heavy parts are imported inside the commands that need them, so that `daypack --help` stays quick.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daypack import __version__
from daypack.cli import calibrate, evaluate, planning, printing, progress, report, simulate, trust, tune
from daypack.cli.via import Via
from daypack.errors import DaypackError, ExitCode, SpecError, Stopped

if TYPE_CHECKING:
    from daypack.api import Exported

EXIT_CODES: dict[ExitCode, str] = {
    ExitCode.OK: "ok",
    ExitCode.BAD_INPUT: "bad spec, data or arguments",
    ExitCode.BUDGET_INFEASIBLE: "no plan fits the budget",
    ExitCode.BAD_BUNDLE: "corrupt or foreign bundle",
    ExitCode.MISSING_TOOL: "a tool, a device or a processor feature is missing",
    ExitCode.STOPPED: "stopped, and can be resumed",
}
EPILOG = "Exit codes: " + "; ".join(f"{code.value} {text}" for code, text in EXIT_CODES.items()) + "."

app = typer.Typer(
    name="daypack",
    help="From a training step to a plan that a phone executes.",
    epilog=EPILOG,
    add_completion=False,
    pretty_exceptions_enable=False,
)


SavedState = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="Where the run saved; else BUNDLE.state.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the result is the exit code. What is reported on purpose comes without a traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        return app(given, prog_name="daypack", standalone_mode=False) or 0
    except typer.TyperException as error:
        failure = SpecError(error.format_message())
    except DaypackError as error:
        failure = error
    except OSError as error:
        failure = SpecError(_system_error(error))
    printing.print_error(failure, as_json="--json" in given)
    return int(failure.code)


def _system_error(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """What holds for every command."""
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


@app.command("compile", epilog=EPILOG)
def compile_command(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The spec, a TOML file.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="BUNDLE", help="The folder to make.")] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="DEVICE", help="Instead of the spec's device.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option("--memory", metavar="SIZE", help="Instead of the spec's budget: 160MB.")
    ] = None,
    dump_problem: Annotated[
        Path | None, typer.Option("--dump-problem", metavar="FILE", help="Write the planning problem.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Compile every kernel anew, and keep none.")
    ] = False,
    tuning: Annotated[
        Path | None, typer.Option("--tuning", metavar="TABLE", help="Tilings that `tune` measured.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compile a spec into a bundle. With --dump-problem and no --out, only write the planning problem."""
    from daypack import api
    from daypack.spec import load_spec

    memory_bytes = _memory_bytes(memory)
    if out is None:
        _only_problem(spec, dump_problem, target, memory_bytes, as_json=as_json)
        return
    with progress.Stages("compile", plain=not as_json) as stages:
        result = api.compile_spec(
            load_spec(spec),
            out=out,
            target=target,
            memory_bytes=memory_bytes,
            dump_problem=dump_problem,
            cache=not no_cache,
            tuning=tuning,
            on_stage=stages.update,
        )
    if as_json:
        printing.print_json(printing.compile_record(result))
    else:
        printing.print_compiled(result)


def _only_problem(
    spec: Path, file: Path | None, target: str | None, memory_bytes: int | None, *, as_json: bool
) -> None:
    from daypack import api
    from daypack.spec import load_spec

    if file is None:
        raise SpecError("Missing option '--out' (or '--dump-problem' for the planning problem alone).")
    with progress.Stages("compile", plain=not as_json) as stages:
        nodes = api.dump_problem(
            load_spec(spec), file, target=target, memory_bytes=memory_bytes, on_stage=stages.update
        )
        stages.update("done", 1.0)
    row = {"problem": str(file), "nodes": nodes}
    printing.print_json(row) if as_json else printing.print_tree(row)


app.command("eval", epilog=EPILOG)(evaluate.evaluate)
app.command("plan", epilog=EPILOG)(planning.plan)
app.command("layout", epilog=EPILOG)(planning.layout)
app.command("tune", epilog=EPILOG)(tune.tune)
app.command("calibrate", epilog=EPILOG)(calibrate.calibrate)
app.command("report", epilog=EPILOG)(report.report)
app.command("simulate", epilog=EPILOG)(simulate.simulate)
app.command("study", epilog=EPILOG)(simulate.study)
app.command("keygen", epilog=EPILOG)(trust.keygen)
app.command("sign", epilog=EPILOG)(trust.sign)
app.command("verify", epilog=EPILOG)(trust.verify)


@app.command(epilog=EPILOG)
def run(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder that `compile` made.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="PATH", help="Instead of the bundle's data; device:PATH is on the phone."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Stop after this many; else after the spec's.")
    ] = None,
    via: Annotated[Via, typer.Option("--via", help="Where the engine runs.")] = Via.LOCAL,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Else one a core.")] = None,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="What training changes; else BUNDLE.state.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; the saved state is replaced.")] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Flash without the system's cache, for measurements.")
    ] = False,
    order: Annotated[
        str | None, typer.Option("--order", metavar="NAME", help="Of the bundle's orders; else the first.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="SIZE", help="Begin with the largest plan within it: 160MB."),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", metavar="FILE", help="Run only what this key signed: KEY.pub."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train: run a bundle's engine, from where the saved state stands."""
    from daypack import api

    events = api.run_bundle(
        bundle,
        data=data,
        steps=steps,
        via=via.value,
        threads=threads,
        state=state,
        fresh=fresh,
        direct=direct,
        order=order,
        memory_bytes=_memory_bytes(memory),
        public_key=public_key,
    )
    try:
        if as_json:
            for event in events:
                printing.print_json(printing.step_record(event))
        else:
            with progress.steps(steps) as bar:
                count = 0
                for count, event in enumerate(events, start=1):
                    bar.move(count)
                    bar.print(printing.step_line(event))
            if count == 0:
                bar.print("all steps of the spec are done; --steps takes more, --fresh begins again")
    except KeyboardInterrupt as error:
        raise Stopped("interrupted; run the same command to go on from the last saved state") from error


@app.command(epilog=EPILOG)
def export(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder that `compile` made.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to make.")],
    state: SavedState = None,
    as_json: Json = False,
) -> None:
    """Write the trained LoRA adapters as a folder that PEFT loads."""
    from daypack import api

    _print_exported(api.export_adapter(bundle, out=out, state=state), as_json=as_json)


@app.command(epilog=EPILOG)
def merge(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder that `compile` made.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to make.")],
    state: SavedState = None,
    as_json: Json = False,
) -> None:
    """Write the trained model, adapters merged, as a folder that transformers loads."""
    from daypack import api

    _print_exported(api.merge_bundle(bundle, out=out, state=state), as_json=as_json)


def _print_exported(exported: Exported, *, as_json: bool) -> None:
    row = {"out": str(exported.directory), "step": exported.step, "parameters": exported.parameters}
    printing.print_json(row) if as_json else printing.print_tree(row)


@app.command(epilog=EPILOG)
def inspect(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder that `compile` made.")],
    as_json: Json = False,
) -> None:
    """Check a bundle and show what is in it."""
    from daypack import api

    found = api.inspect_bundle(bundle)
    if as_json:
        printing.print_json(found)
    else:
        printing.print_tree(found)


@app.command(epilog=EPILOG)
def devices(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A device to show in full.")] = None,
    as_json: Json = False,
) -> None:
    """List the known devices, or show one with the source of every figure."""
    from daypack.devices import load_profile, profile_names

    if name is None:
        profiles = [load_profile(known) for known in profile_names()]
        records: Any = [printing.device_summary(profile) for profile in profiles]
        show = printing.print_devices
    else:
        records = printing.device_record(load_profile(name))
        show = printing.print_tree
    if as_json:
        printing.print_json(records)
    else:
        show(records)


@app.command(epilog=EPILOG)
def doctor(
    target: Annotated[
        str | None, typer.Option("--target", metavar="DEVICE", help="Also look at this device's profile.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is installed, what is missing, and what each is for."""
    from daypack.cli.doctor import examine

    checks = examine(target)
    if as_json:
        printing.print_json({"checks": [printing.check_record(check) for check in checks]})
    else:
        printing.print_checks(checks)
    if any(check.required and check.found is None for check in checks):
        raise typer.Exit(ExitCode.MISSING_TOOL)


def _memory_bytes(memory: str | None) -> int | None:
    from daypack.spec import parse_size

    if memory is None:
        return None
    try:
        return parse_size(memory)
    except SpecError as error:
        raise SpecError(f"--memory: {error.message}") from error
