"""What the schedules need to know about a processor."""

from __future__ import annotations

from dataclasses import dataclass

from daypack.compiler.kernels.tuning import Tuning


@dataclass(frozen=True, slots=True)
class KernelTarget:
    """`vector_bits` and `registers` size the tiles; the strings are LLVM's. `half`: it has float16
    arithmetic; without, a product in float16 is computed in float32, slowly, to the same bits.
    """

    triple: str
    cpu: str
    features: tuple[str, ...]
    vector_bits: int
    registers: int
    l1_bytes: int
    l2_bytes: int
    tuning: Tuning = Tuning()
    half: bool = False

    @property
    def lanes(self) -> int:
        """float32 elements in one vector register."""
        return self.vector_bits // 32

    @property
    def register_tiles(self) -> tuple[tuple[int, int], ...]:
        """(rows, vectors a row) of the register tiles of a matrix product.

        24 of 32 registers accumulate, or 12 of 16: enough to hide a multiply-add's latency, with room for
        a row of the right operand. One vector of 512 bits more a row suits widths that 48 does not divide.
        """
        if self.registers < 32:
            return ((4, 3),)
        return ((8, 3), (6, 4)) if self.vector_bits >= 512 else ((8, 3),)

    @property
    def unroll(self) -> int:
        """Steps of a matrix product's reduction written out in its inner loop.

        Each turn of the loop begins with loads that an in-order core waits for: with 8 steps a Cortex-A510
        spends 77 to 80 % of its time multiplying by LLVM's model, with 4 from 74 %.
        """
        return 8 if self.vector_bits == 128 and self.registers >= 32 else 4
