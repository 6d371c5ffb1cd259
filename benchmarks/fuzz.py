"""Fuzz the engine's readers of files for a while, and say which lines of them were reached.

`python benchmarks/fuzz.py --seconds 1800 plan state`; without names all harnesses, one after another, each in
one process at the lowest priority; the seconds are those that it computes. Exit code 1 when an input failed
(it is kept under --work, its place is said) or when too little of a reader was reached.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parity.figures import keep, table
from survival.fuzzing import HARNESSES
from survival.sections import fuzz_figures

REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("harnesses", nargs="*", metavar="HARNESS", help=", ".join(HARNESSES))
    parser.add_argument("--seconds", type=int, default=60, help="of a processor, for each harness")
    parser.add_argument("--work", type=Path, help="where corpora and failed inputs are kept; else temporary")
    parser.add_argument("--results", type=Path, help="where the figures are kept; else only shown")
    given = parser.parse_args()
    unknown = set(given.harnesses) - set(HARNESSES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(HARNESSES)}")
    with tempfile.TemporaryDirectory(prefix="daypack-fuzz-") as temporary:
        work = given.work or Path(temporary)
        figures = fuzz_figures(given.harnesses or HARNESSES, work, given.seconds)
        print("\n".join(table(figures)))
        if given.results:
            command = f"python benchmarks/fuzz.py --seconds {given.seconds}"
            print(f"kept in {keep(given.results, 'fuzz', command, figures, {}, REPOSITORY)}")
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
