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
    const int64_t *size;
    // The buffers that live while b does: near_list[near_start[b] .. near_start[b + 1]).
    const int64_t *near_start;
    const int32_t *near_list;
    const double *priority; // of those that wait, the largest comes next
    int64_t *weight;        // at least 1, at most HEAVIEST
    uint8_t *placed;
    int64_t *offsets;
    // Scratch: a position for each buffer, two events for each.
    int64_t *waiting, *event_at, *event_weight;
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

// Sort the events by place: Shell's sort with Ciura's gaps.
static void sort_events(int64_t count, int64_t *at, int64_t *weight) {
    static const int64_t gaps[] = {4861, 1750, 701, 301, 132, 57, 23, 10, 4, 1};
    for (uint64_t index = 0; index < sizeof gaps / sizeof gaps[0]; index++) {
        const int64_t gap = gaps[index];
        for (int64_t event = gap; event < count; event++) {
            const int64_t place = at[event], change = weight[event];
            int64_t rank = event;
            for (; rank >= gap && at[rank - gap] > place; rank -= gap) {
                at[rank] = at[rank - gap];
                weight[rank] = weight[rank - gap];
            }
            at[rank] = place;
            weight[rank] = change;
        }
    }
}

// Where the weight in a buffer's way changes as it is lifted from 0 to `highest`; `base` is the weight at 0.
static int64_t find_events(const struct eject *s, int64_t buffer, int64_t highest, int64_t *base) {
    int64_t count = 0;
    for (int64_t index = s->near_start[buffer]; index < s->near_start[buffer + 1]; index++) {
        const int32_t other = s->near_list[index];
        if (!s->placed[other]) {
            continue;
        }
        const int64_t begin = s->offsets[other] - s->size[buffer] + 1, end = s->offsets[other] + s->size[other];
        if (begin > highest) {
            continue;
        }
        if (begin <= 0) {
            *base += s->weight[other];
        } else {
            s->event_at[count] = begin;
            s->event_weight[count++] = s->weight[other];
        }
        if (end <= highest) {
            s->event_at[count] = end;
            s->event_weight[count++] = -s->weight[other];
        }
    }
    sort_events(count, s->event_at, s->event_weight);
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
    struct spot best = {0, weight, 1};
    for (int64_t event = 0; event < count;) {
        const int64_t at = s->event_at[event], below = weight;
        bool begins = false;
        for (; event < count && s->event_at[event] == at; event++) {
            begins = begins || s->event_weight[event] > 0;
            weight += s->event_weight[event];
        }
        if (begins) {
            offer(&best, at - 1, below, random);
        }
        if (at <= highest) {
            offer(&best, at, weight, random);
        }
    }
    return best;
}

// The one that waits and comes next.
static int64_t choose_waiting(const struct eject *s, int64_t waiting) {
    int64_t best = 0;
    for (int64_t rank = 1; rank < waiting; rank++) {
        if (s->priority[s->waiting[rank]] > s->priority[s->waiting[best]]) {
            best = rank;
        }
    }
    return best;
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
            s->waiting[waiting++] = other;
        }
    }
    return waiting;
}

// Search from what is placed until all is placed or `max_visits` neighbours were looked at; how many buffers wait.
int64_t eject(struct eject *s, int64_t max_visits) {
    uint64_t random = (uint64_t)s->seed * UINT64_C(0x9E3779B97F4A7C15) + UINT64_C(88172645463325252);
    int64_t waiting = 0;
    for (int64_t buffer = 0; buffer < s->buffers; buffer++) {
        if (!s->placed[buffer]) {
            s->waiting[waiting++] = buffer;
        }
    }
    for (int64_t visits = 0; visits < max_visits && waiting > 0;) {
        const int64_t rank = choose_waiting(s, waiting);
        const int64_t buffer = s->waiting[rank];
        visits += waiting + s->near_start[buffer + 1] - s->near_start[buffer];
        s->waiting[rank] = s->waiting[--waiting];
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
