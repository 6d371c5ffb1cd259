// A local search for a layout within a capacity: whatever is in the way is taken out and placed again.
//
// Some buffers are placed, without overlap, and some wait. A step takes a waiting buffer and puts it where the
// buffers in its way weigh least; these wait again. A buffer that had to take others out weighs more from then on, so
// that it is not itself taken out again at once: the weights learn which buffers are hard to place.
//
//     offset ┤ ┌────────┐                 the buffer b lives while p, q and r do. Over the offsets where it could
//            │ │   r    │                 begin, the weight in its way is a step function: each placed buffer adds
//            │ └────────┘ ← 2             its weight from (its offset - size of b) to its end. The least value
//            │   ┌──────┐                 lies at 0, at an end, or right below a buffer.
//            │   │  q   │   5
//            ├───┴──────┤
//            │    p     │   9
//            └──────────┴──
#include "planners.h"

struct eject {
    int64_t buffers, capacity, seed;
    int64_t growth; // a weight that grows does so by this many 64ths, and by one
    int64_t unit;   // every size is a multiple of it
    const int64_t *size;
    // The buffers that live while b does: near_list[near_start[b] .. near_start[b + 1]).
    const int64_t *near_start;
    const int32_t *near_list;
    const int64_t *rank, *by_rank; // of those that wait, the lowest rank comes next; and the buffer of each rank
    int64_t *weight;        // at least 1, at most HEAVIEST
    uint8_t *placed;
    int64_t *offsets;
    // Scratch: the ranks that wait, as bits; two events for each buffer, twice.
    uint64_t *waiting, *events, *sorted;
};

// A sum of the weights of 2^20 buffers stays below 2^62, times a growth below 2^2 too.
#define HEAVIEST (INT64_C(1) << 40)
#define LIGHTER 20

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

static int64_t draw(uint64_t *state, int64_t count) {
    return (int64_t)(next_random(state) % (uint64_t)count);
}

// An event is 2 * place + (1 where a buffer begins to be in the way, 0 where it ends), and the buffer below that.
enum { BUFFER_BITS = 24, DIGIT_BITS = 8, FEW = 48 };

static void sort_few(int64_t count, uint64_t *events) {
    for (int64_t event = 1; event < count; event++) {
        const uint64_t moved = events[event];
        int64_t rank = event;
        for (; rank > 0 && events[rank - 1] > moved; rank--) {
            events[rank] = events[rank - 1];
        }
        events[rank] = moved;
    }
}

// Sort the events by place, digit by digit; where they are then.
static const uint64_t *sort_events(const struct eject *s, int64_t count, uint64_t most_key) {
    uint64_t *from = s->events, *to = s->sorted;
    if (count <= FEW) {
        sort_few(count, from);
        return from;
    }
    for (int shift = BUFFER_BITS; most_key > 0; shift += DIGIT_BITS, most_key >>= DIGIT_BITS) {
        int64_t start[1 << DIGIT_BITS] = {0};
        for (int64_t event = 0; event < count; event++) {
            start[(from[event] >> shift) & ((1 << DIGIT_BITS) - 1)]++;
        }
        for (int64_t digit = 0, total = 0; digit < 1 << DIGIT_BITS; digit++) {
            const int64_t held = start[digit];
            start[digit] = total;
            total += held;
        }
        for (int64_t event = 0; event < count; event++) {
            to[start[(from[event] >> shift) & ((1 << DIGIT_BITS) - 1)]++] = from[event];
        }
        uint64_t *const swapped = from;
        from = to;
        to = swapped;
    }
    return from;
}

// Where the weight in a buffer's way changes as it is lifted from 0 to `highest`; `base` is the weight at 0.
static int64_t find_events(const struct eject *s, int64_t buffer, int64_t highest, int64_t *base) {
    const int64_t size = s->size[buffer];
    int64_t count = 0;
    for (int64_t index = s->near_start[buffer]; index < s->near_start[buffer + 1]; index++) {
        const int32_t other = s->near_list[index];
        if (!s->placed[other]) {
            continue;
        }
        const int64_t before = s->offsets[other] - size, end = s->offsets[other] + s->size[other];
        if (before >= highest) {
            continue;
        }
        if (before < 0) {
            *base += s->weight[other];
        } else {
            s->events[count++] = (uint64_t)(2 * (before / s->unit) + 1) << BUFFER_BITS | (uint64_t)other;
        }
        if (end <= highest) {
            s->events[count++] = (uint64_t)(2 * (end / s->unit)) << BUFFER_BITS | (uint64_t)other;
        }
    }
    return count;
}

struct spot {
    int64_t offset, weight, ties;
};

static void offer(struct spot *best, int64_t offset, int64_t weight, uint64_t *random) {
    if (weight < best->weight) {
        *best = (struct spot){offset, weight, 1};
    } else if (weight == best->weight && weight > 0 && draw(random, ++best->ties) == 0) {
        best->offset = offset;
    }
}

// The offset with the least weight in the way; the lowest one without any, else one of the least at random.
static struct spot lightest(const struct eject *s, int64_t buffer, uint64_t *random) {
    const int64_t highest = s->capacity - s->size[buffer];
    int64_t weight = 0;
    const int64_t count = find_events(s, buffer, highest, &weight);
    const uint64_t *events = sort_events(s, count, (uint64_t)(2 * (highest / s->unit) + 1));
    struct spot best = {0, weight, 1};
    for (int64_t event = 0; event < count && best.weight > 0;) {
        const uint64_t key = events[event] >> BUFFER_BITS;
        const int64_t place = (int64_t)(key >> 1) * s->unit;
        const bool begins = key & 1;
        if (begins) {
            offer(&best, place, weight, random);
        }
        for (; event < count && events[event] >> BUFFER_BITS == key; event++) {
            const int64_t change = s->weight[events[event] & ((1 << BUFFER_BITS) - 1)];
            weight += begins ? change : -change;
        }
        if (!begins) {
            offer(&best, place, weight, random);
        }
    }
    return best;
}

static void set_waiting(const struct eject *s, int64_t buffer, bool waits) {
    const uint64_t bit = UINT64_C(1) << (s->rank[buffer] & 63);
    uint64_t *word = &s->waiting[s->rank[buffer] >> 6];
    *word = waits ? *word | bit : *word & ~bit;
}

// The one that waits and comes next. There is one.
static int64_t choose_waiting(const struct eject *s) {
    int64_t word = 0;
    while (s->waiting[word] == 0) {
        word++;
    }
    return s->by_rank[64 * word + __builtin_ctzll(s->waiting[word])];
}

// A buffer gets heavier; all get lighter where it would be too heavy.
static void grow(const struct eject *s, int64_t buffer) {
    s->weight[buffer] += 1 + s->weight[buffer] * s->growth / 64;
    if (s->weight[buffer] <= HEAVIEST) {
        return;
    }
    for (int64_t other = 0; other < s->buffers; other++) {
        s->weight[other] = most(1, s->weight[other] >> LIGHTER);
    }
}

// Take out what overlaps a place; how many wait then.
static int64_t take_out(const struct eject *s, int64_t buffer, int64_t offset, int64_t waiting) {
    for (int64_t index = s->near_start[buffer]; index < s->near_start[buffer + 1]; index++) {
        const int32_t other = s->near_list[index];
        if (s->placed[other] && s->offsets[other] < offset + s->size[buffer] &&
            offset < s->offsets[other] + s->size[other]) {
            s->placed[other] = 0;
            set_waiting(s, other, true);
            waiting++;
        }
    }
    return waiting;
}

// Search from what is placed until all is placed or `max_visits` neighbours were looked at; how many buffers wait.
int64_t eject(struct eject *s, int64_t max_visits) {
    uint64_t random = (uint64_t)s->seed * UINT64_C(0x9E3779B97F4A7C15) + UINT64_C(88172645463325252);
    int64_t waiting = 0;
    for (int64_t buffer = 0; buffer < s->buffers; buffer++) {
        set_waiting(s, buffer, !s->placed[buffer]);
        waiting += !s->placed[buffer];
    }
    for (int64_t visits = 0; visits < max_visits && waiting > 0;) {
        const int64_t buffer = choose_waiting(s);
        visits += 1 + s->near_start[buffer + 1] - s->near_start[buffer];
        set_waiting(s, buffer, false);
        waiting--;
        const struct spot spot = lightest(s, buffer, &random);
        if (spot.weight > 0) {
            grow(s, buffer);
            waiting = take_out(s, buffer, spot.offset, waiting);
        }
        s->offsets[buffer] = spot.offset;
        s->placed[buffer] = 1;
    }
    return waiting;
}
