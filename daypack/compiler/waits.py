"""Where a stream of instructions must wait for the transfers that run beside it.

Transfers are done in the order they were begun in, one after another. So a fetch may fill what an earlier
store still reads, and a store may write what an earlier fetch still fills, without a wait. What is left are
kernels: they may not use a range that a fetch fills, nor change one that a store reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Range = tuple[int, int]
"""Offset and size in bytes."""


@dataclass(slots=True)
class Waits:
    """Transfers that may still be under way: (number from 1, offset, end, whether a fetch)."""

    begun: int = 0
    waited: int = 0
    pending: list[tuple[int, int, int, bool]] = field(default_factory=list[tuple[int, int, int, bool]])

    def begin(self, offset: int, end: int, *, fetch: bool) -> None:
        """A transfer of the bytes [offset, end) begins."""
        self.begun += 1
        self.pending.append((self.begun, offset, end, fetch))

    def needed(self, reads: Sequence[Range], writes: Sequence[Range]) -> int:
        """How many transfers must be done before an instruction; 0 if those waited for will do."""
        number = max(
            (
                transfer
                for transfer, offset, end, fetch in self.pending
                if any(place < end and offset < place + size for place, size in writes)
                or (fetch and any(place < end and offset < place + size for place, size in reads))
            ),
            default=0,
        )
        if number:
            self.waited = number
            self.pending = [entry for entry in self.pending if entry[0] > number]
        return number
