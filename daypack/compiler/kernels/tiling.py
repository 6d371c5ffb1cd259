"""The sizes that a matrix product is cut into: a small model of where its time goes, or what was measured.

The unit of time is one multiply-add of vectors. A grid tile packs its panel of the right operand and walks
its rows in register tiles, once for each block of the depth:

    tile = depth · vectors · PACK + groups · (mr · vectors · (depth + blocks · STORE) + blocks · TURN)

Tiles are handed out whole, so `threads` of them take ⌈tiles / threads⌉ · tile; the model adds up the times
for 1, 2, 4 and 8 threads, each by what that many need at least, and takes the cut with the smallest sum.
Rows and columns of register tiles that lie past the end count: they are computed and thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from daypack.compiler.kernels.target import KernelTarget
from daypack.compiler.kernels.tuning import Tuned
from daypack.errors import SpecError

PACK, STORE, TURN = 4.0, 4.0, 100.0
"""Moving a vector of the panel; loading, storing one of the register tile; beginning a register tile. Rough
figures of an AVX-512 core."""
THREADS = (1, 2, 4, 8)
MOST_BLOCKS = 64
PRIVATE_GROUPS = 8
"""Register tiles whose rows are packed at once where each grid tile packs the left operand itself."""


@dataclass(frozen=True, slots=True)
class Size:
    """A product's size, and whether its left operand is read in place."""

    batch: int
    rows: int
    columns: int
    depth: int
    direct: bool

    @property
    def name(self) -> str:
        """As a tuning table has it."""
        how = "in place" if self.direct else "packed"
        return f"{self.batch}x{self.rows}x{self.columns}x{self.depth} {how}"

    def is_private(self, width: int) -> bool:
        """Whether each grid tile packs its rows itself: where hardly another panel would read them."""
        return not self.direct and _ceil(self.columns, width) <= 2


@dataclass(frozen=True, slots=True)
class Tiling:
    """The sizes a schedule is made of; all in elements."""

    mr: int  # rows of the register tile
    vectors: int  # vectors a row of it
    lanes: int
    depth: int  # block of the reduction
    block: int  # rows a grid tile walks
    unroll: int  # steps of the reduction written out in the inner loop
    private: bool  # the left operand is packed a grid tile at a time, in scratch

    @property
    def nr(self) -> int:
        return self.vectors * self.lanes

    @property
    def name(self) -> str:
        """For people, and for a tuner to read back."""
        return f"tile {self.mr}x{self.nr}, depth {self.depth}, rows {self.block}"


def choose_tiling(size: Size, target: KernelTarget) -> Tiling:
    """The measured cut where there is one, else that with the least modelled time; of equals the first.

    Raises:
        SpecError: a measured one that the target's registers do not hold.
    """
    tuned = target.tuning.of(size.name)
    if tuned is not None:
        return _measured(size, target, tuned)
    ranked = sorted(dict.fromkeys(candidates(size, target)), key=lambda tiling: modelled(size, tiling))
    return ranked[min(target.tuning.rank, len(ranked) - 1)]


def _measured(size: Size, target: KernelTarget, tuned: Tuned) -> Tiling:
    needed = tuned.mr * tuned.vectors + tuned.vectors + 1
    if needed > target.registers:
        raise SpecError(
            f"tuning table: {tuned.product}: expected at most {target.registers} vector registers, "
            f"found {tuned.mr} rows of {tuned.vectors} vectors, which need {needed}"
        )
    depth, groups = min(tuned.depth, size.depth), tuned.block // tuned.mr
    private = size.is_private(tuned.vectors * target.lanes)
    block = min(groups, PRIVATE_GROUPS) * tuned.mr if private else tuned.block
    return Tiling(tuned.mr, tuned.vectors, target.lanes, depth, block, target.unroll, private)


def candidates(size: Size, target: KernelTarget) -> Iterator[Tiling]:
    """Every register tile of the target with every cut of the rows that gives at most 64 blocks, and with
    panels that fill a half or a quarter of the L2 cache.
    """
    for rows, most in target.register_tiles:
        mr, vectors = min(rows, max(1, size.rows)), max(1, min(most, _ceil(size.columns, target.lanes)))
        groups = _ceil(size.rows, mr)
        private = size.is_private(vectors * target.lanes)
        cuts = sorted({_ceil(groups, blocks) for blocks in range(1, MOST_BLOCKS + 1)}, reverse=True)
        for depth in (depth_block(size, target, vectors, share) for share in (2, 4)):
            for cut in (min(cut, PRIVATE_GROUPS) if private else cut for cut in cuts):
                yield Tiling(mr, vectors, target.lanes, depth, cut * mr, target.unroll, private)


def depth_block(size: Size, target: KernelTarget, vectors: int, share: int) -> int:
    """Equal blocks of the reduction whose panels fill the `share`-th part of the L2 cache at most."""
    unroll = target.unroll
    limit = max(unroll, target.l2_bytes // share // (4 * vectors * target.lanes) // unroll * unroll)
    if size.depth <= limit:
        return size.depth
    return _ceil(_ceil(size.depth, _ceil(size.depth, limit)), unroll) * unroll


def modelled(size: Size, tiling: Tiling) -> float:
    """The time of a tiling by the least possible, added up over THREADS."""
    groups = _ceil(min(tiling.block, size.rows), tiling.mr)
    blocks = _ceil(size.depth, tiling.depth)
    panel = size.depth * tiling.vectors * PACK
    register_tile = tiling.mr * tiling.vectors * (size.depth + blocks * STORE) + blocks * TURN
    tile = panel + groups * register_tile
    tiles = size.batch * _ceil(size.columns, tiling.nr) * _ceil(size.rows, tiling.block)
    least = max(1, size.batch * size.rows * size.columns * size.depth) / tiling.lanes
    return sum(_ceil(tiles, threads) * tile * threads / least for threads in THREADS)


def _ceil(a: int, b: int) -> int:
    """a/b rounded up."""
    return -(-a // b)
