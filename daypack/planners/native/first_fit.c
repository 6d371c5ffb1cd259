// First fit: place buffers in a given order, each at the lowest offset that is free during its life.
#include "planners.h"

// Writes offsets in buffer order. `placed` (scratch, `count` long) keeps the placed buffers sorted by offset, so
// that a scan meets the gaps from below.
void first_fit(int64_t count, const int64_t *order, const int64_t *lower, const int64_t *upper, const int64_t *size,
               int64_t *placed, int64_t *offsets) {
    for (int64_t used = 0; used < count; used++) {
        const int64_t buffer = order[used];
        int64_t offset = 0;
        for (int64_t rank = 0; rank < used; rank++) {
            const int64_t other = placed[rank];
            if (lower[other] >= upper[buffer] || lower[buffer] >= upper[other]) {
                continue;
            }
            if (offsets[other] - offset >= size[buffer]) {
                break;
            }
            const int64_t end = offsets[other] + size[other];
            offset = end > offset ? end : offset;
        }
        offsets[buffer] = offset;
        int64_t rank = used;
        while (rank > 0 && offsets[placed[rank - 1]] > offset) {
            placed[rank] = placed[rank - 1];
            rank--;
        }
        placed[rank] = buffer;
    }
}
