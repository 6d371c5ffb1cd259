"""Commands on standard input: each obeyed, each mistake refused, and the run goes on to the same bits."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from daypack.errors import Stopped
from daypack.runtime.launch import Control, EngineArguments, Local
from tests.runtime.test_governor import always_in, make_setting, policy_bytes, shipped_policy

Event = dict[str, Any]


def tensors(path: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_file(path).items()}


class Talk:
    """A run that one can talk to."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process, self.events = process, list[Event]()

    def say(self, line: str | bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line if isinstance(line, bytes) else line.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self, kind: str) -> Event:
        """The next event of this kind."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == kind:
                return self.events[-1]
        raise AssertionError((kind, self.events))


@contextmanager
def talking(case: Any, *arguments: str) -> Iterator[Talk]:
    command = case.command("--commands", "--threads", "2", *arguments)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield Talk(process)
        finally:
            process.kill()


def slow_steps(make_case: Callable[..., Any], example: Any, calls: int = 1) -> Any:
    """The example, with about 20 minutes of one kernel in each step."""
    slow = example.call(4, "partial")
    return make_case(steps=(*example.example_plan().steps, *[slow] * calls))


def test_pause_status_resume(make_case: Callable[..., Any]) -> None:
    case, plain = make_case(), make_case(name="plain")
    with talking(case, "--steps", "300") as talk:
        talk.hear("start")
        talk.say('{"command": "pause", "id": 1}')
        assert talk.hear("command") == {"event": "command", "command": "pause", "id": 1}
        time.sleep(0.3)  # the shard under way ends
        talk.say('{"command": "status", "id": 2}')
        first = talk.hear("status")
        talk.say(' { "id" : 3 , "command" : "status" } ')
        second = talk.hear("status")
        assert first == {**second, "id": 2} and first["held"] is True and first["shards"] == 3
        assert second["step"] <= 300
        talk.say('{"command": "resume"}')
        talk.say('{"command": "status"}')
        assert talk.hear("status")["held"] is False
        talk.hear("end")
        assert talk.process.wait() == 0
    assert max(event["paused_seconds"] for event in talk.events if event["event"] == "step") > 0.1
    assert plain.run("--steps", "300", "--threads", "1").status == 0
    assert tensors(case.state) == tensors(plain.state)


def test_stop_in_the_middle_of_a_kernel(make_case: Callable[..., Any], example: Any) -> None:
    case = slow_steps(make_case, example)
    with talking(case, "--steps", "3") as talk:
        talk.hear("start")
        talk.say('{"command": "stop"}')
        error = talk.hear("error")
        assert talk.process.wait() == 6
    assert "stopped by a command" in error["message"]
    assert not case.state.exists()
    again, plain = make_case(name="again"), make_case(name="plain")
    with talking(again, "--steps", "100000") as talk:
        talk.hear("step")
        talk.say('{"command": "stop"}')
        talk.hear("error")
    done = int(load_file(again.state)["clock/step"])
    assert again.run("--steps", "1").status == 0 and plain.run("--steps", str(done + 1)).status == 0
    assert tensors(again.state) == tensors(plain.state)


@pytest.mark.parametrize("held", [False, True], ids=["running", "paused"])
def test_a_signal_is_a_stop(held: bool, make_case: Callable[..., Any], example: Any) -> None:
    with talking(make_case() if held else slow_steps(make_case, example), "--steps", "1000000") as talk:
        talk.hear("start")
        if held:
            talk.say('{"command": "pause"}')
            talk.hear("command")
        talk.process.terminate()
        assert "stopped by a signal" in talk.hear("error")["message"]
        assert talk.process.wait() == 6


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pause", "expected a JSON object, found 'pause'"),
        ("[]", "expected a JSON object, found '[]'"),
        ("{}", "expected \"command\", found '{}'"),
        ('{"command": "dance"}', "expected pause, resume, stop, status, budget or readings, found 'dance'"),
        ('{"command": pause}', "expected a command's name, found 'pause}'"),
        ('{"command": "pause"', "expected , or }, found ''"),
        ('{"command": "pause"} {}', "expected the end of the line, found '{}'"),
        ('{"command": "pause", "when": 3}', "expected a key that commands have, found 'when'"),
        ('{"command": "pause", "battery": 1}', "expected keys of this command, found 'battery'"),
        ('{"command": "status", "id": "x"}', "expected id: a number from 0 to 9.0072e+15, found '\"x\"}'"),
        ('{"command": "budget"}', "expected joules_per_day, written_bytes or memory_bytes, found 'none'"),
        (
            '{"command": "budget", "joules_per_day": -1}',
            "expected joules_per_day: a number from 0 to 1e+12, found '-1}'",
        ),
        ('{"command": "budget", "joules_per_day": 1e999}', "expected joules_per_day: a number"),
        (
            '{"command": "budget", "memory_bytes": 1e6}',
            "memory_bytes: expected at least 6000000, the least budget of this bundle's plans",
        ),
        ('{"command": "budget", "joules_per_day": 5}', "this bundle has no policy; compile it with [energy]"),
        ('{"command": "readings"}', "expected a reading, found 'none'"),
        ('{"command": "readings", "battery": 1.5}', "expected battery: a number from 0 to 1, found '1.5}'"),
        ('{"command": "readings", "battery": 0.5}', "this bundle has no policy; compile it with [energy]"),
        ('{"command": "' + "p" * 40 + '"}', "expected a command's name"),
        ("x" * 5000, "expected a JSON object, found 'a line of 1,024 bytes or more'"),
        ("\0", "expected a JSON object, found 'a line of 1,024 bytes or more'"),
        ('\xff{"', "expected a JSON object, found"),
    ],
)
def test_a_mistake_is_refused_and_the_run_goes_on(
    line: str, message: str, make_case: Callable[..., Any]
) -> None:
    with talking(make_case(), "--steps", "100000") as talk:
        talk.say('{"command": "pause"}')
        talk.hear("command")
        talk.say(line)
        assert talk.hear("refused")["message"].startswith(message)
        talk.say('{"command": "status", "id": 7}')
        assert talk.hear("status")["id"] == 7


def test_the_end_of_the_input_and_half_a_line_end_nothing(make_case: Callable[..., Any]) -> None:
    done = subprocess.run(
        make_case().command("--commands", "--steps", "3"),
        input=b'{"command": "st',
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "end"


def test_a_memory_budget_that_the_plan_keeps_is_taken(make_case: Callable[..., Any]) -> None:
    with talking(make_case(), "--steps", "1000000") as talk:
        talk.say('{"command": "budget", "memory_bytes": 7e6, "id": 4}')
        assert talk.hear("command") == {"event": "command", "command": "budget", "id": 4}
    with talking(make_case(name="free", budget_bytes=0), "--steps", "1000000") as talk:
        talk.say('{"command": "budget", "memory_bytes": 7e6}')
        assert talk.hear("refused")["message"] == "memory_bytes: this bundle has one plan, without a budget"


def test_many_commands_at_once_are_all_answered(make_case: Callable[..., Any]) -> None:
    with talking(make_case(), "--steps", "1000000") as talk:
        for number in range(200):
            talk.say(f'{{"command": "status", "id": {number}}}')
        assert [talk.hear("status")["id"] for _ in range(200)] == list(range(200))


def test_a_budget_and_readings_take_effect(make_case: Callable[..., Any], tmp_path: Path) -> None:
    """No sensor says anything (an empty tree), so the engine waits; then an app speaks for them."""
    setting = make_setting("pixel8")
    case = make_case()
    case.set_policy(policy_bytes(shipped_policy(always_in(setting, 0), setting, 1000)))
    with talking(case, "--steps", "1000000", "--sensors", str(tmp_path)) as talk:
        assert talk.hear("decision")["reason"] == "memory"
        talk.say(
            '{"command": "readings", "battery": 0.9, "skin_celsius": 30, "charging": false, "screen": false, '
            '"memory_mb": 4000}'
        )
        decision = talk.hear("decision")
        assert decision["gear"] == 0 and decision["readings"]["battery"] == {"value": 0.9, "source": "fed"}
        talk.say('{"command": "budget", "joules_per_day": 0}')
        assert talk.hear("decision")["reason"] == "joules"
        talk.say('{"command": "budget", "joules_per_day": 1e6, "written_bytes": 0}')
        assert talk.hear("decision")["reason"] == "written_bytes"
        talk.say('{"command": "budget", "written_bytes": 1e18}')
        assert talk.hear("decision")["reason"] == "policy"
        talk.say('{"command": "readings", "battery": 0.1, "memory_mb": 4000}')
        assert talk.hear("decision")["reason"] == "battery"


def test_a_launcher_takes_commands_and_stops_by_one(case: Any) -> None:
    control = Control()
    control.status(5)
    with closing(iter(Local().run(case.bundle, EngineArguments(steps=1_000_000), control))) as events:
        assert next(e for e in events if e["event"] == "status")["id"] == 5
        control.pause()
        assert next(e for e in events if e["event"] == "command")["command"] == "pause"
        control.resume()
        control.stop()
        with pytest.raises(Stopped, match="stopped by a command"):
            list(events)
    control.pause()  # nobody hears it
