"""First fit, compiled: place buffers in order, each at the lowest offset that is free during its life."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daypack.planners.compiled import compiled

Longs = NDArray[np.int64]


@compiled
def first_fit_offsets(order: Longs, lower: Longs, upper: Longs, size: Longs) -> Longs:
    """Offsets in buffer order. Placed buffers are kept sorted by offset, so a scan meets gaps from below."""
    count = order.shape[0]
    offsets = np.zeros(lower.shape[0], dtype=np.int64)
    placed = np.empty(count, dtype=np.int64)
    for used in range(count):
        buffer = order[used]
        offset = 0
        for rank in range(used):
            other = placed[rank]
            if lower[other] < upper[buffer] and lower[buffer] < upper[other]:
                if offsets[other] - offset >= size[buffer]:
                    break
                offset = max(offset, offsets[other] + size[other])
        offsets[buffer] = offset
        rank = used
        while rank > 0 and offsets[placed[rank - 1]] > offset:
            placed[rank] = placed[rank - 1]
            rank -= 1
        placed[rank] = buffer
    return offsets
