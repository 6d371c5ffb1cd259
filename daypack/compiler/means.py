"""What a compilation may do to keep its budgets, as switches: a door for measuring what each is worth."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Means:
    """All are used unless said otherwise.

    `recompute`: computing a value again instead of keeping it; `reread`: also where that reads a paged weight
    once more. `paging`: moving values and weights between memory and flash; `swap`: of computed values too.
    `reorder`: nodes in another order than the step lists them, micro-steps interleaved. `cut_rows`: matrices
    that are read by rows as parts of their own. The micro-batch is one more; it is chosen from the steps that
    a compilation is given.

    Cutting rows decides which kernels there are; the others change no bit of any result.
    """

    recompute: bool = True
    paging: bool = True
    swap: bool = True
    reorder: bool = True
    cut_rows: bool = True
    reread: bool = True
