// Shared by the planners' inner loops: C11, freestanding, no allocation; every array is the caller's.
#pragma once

#include <stdbool.h>
#include <stdint.h>

static inline int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}
