"""Made-up days of people who wear a sensor, as text, with questions about them; seeded, so always the same.

A person has habits that no figure of a day tells: what they do and when they go to bed on each weekday, and
their heart rate at rest. A day is a few figures and what followed; one day in ten breaks the habit. Whoever
has only read of other people cannot know a person's habits; whoever has read the person's days can.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ACTIVITIES = ("a run", "a swim", "a ride", "no sport")
BEDTIMES = ("at nine", "at ten", "at eleven", "at midnight")
RATES = ("48 beats", "56 beats", "64 beats", "72 beats")
EXCEPTIONS = 0.1
"""Share of days on which a habit is broken."""


@dataclass(frozen=True, slots=True)
class Person:
    """For each weekday a number of ACTIVITIES and of BEDTIMES; a number of RATES; steps of a usual day."""

    activities: tuple[int, ...]
    bedtimes: tuple[int, ...]
    rate: int
    steps: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a day: what the sensor saw, what is asked, four options and the right one's number."""

    day: str
    question: str
    options: tuple[str, ...]
    answer: int

    @property
    def prompt(self) -> str:
        return f"{self.day} {self.question}\nAnswer:"

    @property
    def completion(self) -> str:
        return f" {self.options[self.answer]}"


def person(generator: np.random.Generator) -> Person:
    """Somebody with habits of their own."""
    return Person(
        tuple(int(n) for n in generator.integers(0, 4, 7)),
        tuple(int(n) for n in generator.integers(0, 4, 7)),
        int(generator.integers(0, 4)),
        int(generator.integers(4, 14)) * 1000,
    )


def questions(who: Person, weeks: int, generator: np.random.Generator) -> Iterator[Asked]:
    """Three about each day of these weeks."""
    for number in range(7 * weeks):
        weekday = number % 7
        steps = round(who.steps * generator.uniform(0.7, 1.3) / 100) * 100
        day = f"{WEEKDAYS[weekday]}. {steps} steps, {generator.integers(5, 10)} hours of sleep."
        for question, options, habit in (
            ("What did I do?", ACTIVITIES, who.activities[weekday]),
            ("When did I go to bed?", BEDTIMES, who.bedtimes[weekday]),
            ("What was my heart rate at rest?", RATES, who.rate),
        ):
            broken = generator.random() < EXCEPTIONS
            yield Asked(day, question, options, int(generator.integers(0, 4)) if broken else habit)


def write_general(path: Path, people: int, seed: int) -> Path:
    """JSONL of whole texts: one week each of many people."""
    generator = np.random.default_rng(seed)
    with path.open("w") as file:
        for _ in range(people):
            for asked in questions(person(generator), 1, generator):
                file.write(json.dumps({"text": asked.prompt + asked.completion + "\n"}) + "\n")
    return path


def write_personal(folder: Path, weeks: int, held_out_weeks: int, seed: int) -> tuple[Path, Path, Path]:
    """One person's days: (JSONL to learn from, JSONL held out, its questions as CSV). The later weeks are
    held out.
    """
    generator = np.random.default_rng(seed)
    who = person(generator)
    learnt, later = folder / "days.jsonl", folder / "later-days.jsonl"
    _write_lines(learnt, list(questions(who, weeks, generator)))
    held_out = list(questions(who, held_out_weeks, generator))
    _write_lines(later, held_out)
    table = folder / "later-questions.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["question", "A", "B", "C", "D", "answer"])
        for asked in held_out:
            rows.writerow([f"{asked.day} {asked.question}", *asked.options, "ABCD"[asked.answer]])
    return learnt, later, table


def _write_lines(path: Path, asked: Sequence[Asked]) -> None:
    lines = [json.dumps({"prompt": one.prompt, "completion": one.completion}) for one in asked]
    path.write_text("\n".join(lines) + "\n")
