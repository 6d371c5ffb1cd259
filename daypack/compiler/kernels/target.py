"""What the schedules need to know about a processor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KernelTarget:
    """`vector_bits` and `registers` size the tiles; the strings are LLVM's."""

    triple: str
    cpu: str
    features: tuple[str, ...]
    vector_bits: int
    registers: int
    l1_bytes: int
    l2_bytes: int

    @property
    def lanes(self) -> int:
        """float32 elements in one vector register."""
        return self.vector_bits // 32

    @property
    def tile_rows(self) -> int:
        """Rows of the register tile of a matrix product."""
        return 8 if self.registers >= 32 else 4

    @property
    def tile_vectors(self) -> int:
        """Vectors a row of the register tile: with 8 rows, 24 of 32 registers accumulate."""
        return 3

    @property
    def unroll(self) -> int:
        """Steps of a matrix product's reduction written out in its inner loop.

        Each turn of the loop begins with loads that an in-order core waits for: with 8 steps a Cortex-A510
        spends 77 to 80 % of its time multiplying by LLVM's model, with 4 from 74 %.
        """
        return 8 if self.vector_bits == 128 and self.registers >= 32 else 4
