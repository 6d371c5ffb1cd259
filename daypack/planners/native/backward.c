// Best-first search over the sets of values that must be in memory, from the window's end to its begin.
//
// A plan is read backwards. Its state between two instructions is the set of values that are still to be used:
// undoing the computation of y takes y from the set and adds y's operands,
//
//     {y, ...}  ─ undo y ─►  {operands of y, ...}       which needs room for both and for y's workspace,
//
// until only sources are left. What a plan drops, and when, follows from the set: a value is in it from each
// computation to the last use of that. Every node below the set must still be computed once, so a state's cost
// above "every node once" grows by cost(y) exactly where y is undone while something in the set was made from
// it (y will be needed again, earlier in time): that is a recomputation. `backward.py` has the laws.
#include "planners.h"

enum { FOUND = 1, EXHAUSTED = 0, AGAIN = -1, FULL = -2 };
enum { MOST_WORDS = 16 }; // far above MOST_NODES of backward.py
enum { ONCE = 1, TOKEN = 2, SOURCE = 4 }; // a token has no bytes in the set: it is only still to be computed

struct backward {
    int64_t values, words, budget, most_states, table_mask;
    const int64_t *size, *workspace;
    const double *cost;
    const int32_t *operand_start, *operand_list, *overwrites;
    const uint8_t *traits, *is_overwritten;
    const uint64_t *operands, *above, *below; // a row of words for each value: operands, users and theirs, all it needs
    const uint64_t *start, *goal;             // a subset of goal ends the search
    const double *pair;                       // values x values: extra cost of having both at once, at least
    const double *limit;                      // states of this extra cost or more are left out
    const double *haste;                      // extra cost expected for a unit of cost that is still to come
    uint64_t *set;                            // words a state
    double *extra, *total;                    // extra cost up to the state; with what is still to come, at least
    float *rest;
    int32_t *parent, *move, *place, *heap, *table; // place in the heap or -1; table holds index + 1
    int64_t *counts;                               // states, heap, found state, expanded
};

// Inlined with a constant number of words where it pays.
#define INLINE static inline __attribute__((always_inline))

INLINE bool has(const uint64_t *set, int32_t value) {
    return set[value >> 6] >> (value & 63) & 1;
}

INLINE bool meets(const uint64_t *a, const uint64_t *b, int64_t words) {
    uint64_t both = 0;
    for (int64_t w = 0; w < words; w++) {
        both |= a[w] & b[w];
    }
    return both != 0;
}

// The next member from `value` on, or -1.
INLINE int32_t next_member(const uint64_t *set, int32_t value, int64_t words) {
    for (int64_t w = value >> 6; w < words; w++) {
        const uint64_t bits = set[w] & (w == value >> 6 ? ~0ULL << (value & 63) : ~0ULL);
        if (bits) {
            return (int32_t)(64 * w + __builtin_ctzll(bits));
        }
    }
    return -1;
}

#define FOR_EACH(value, set, words) \
    for (int32_t value = next_member(set, 0, words); value >= 0; value = next_member(set, value + 1, words))

INLINE bool is_top(const struct backward *s, const uint64_t *set, int32_t value, int64_t words) {
    return !meets(s->above + value * words, set, words);
}

// Bytes that undoing `value` adds to the set before the value leaves it; -1 if it cannot be undone now.
INLINE int64_t added_bytes(const struct backward *s, const uint64_t *set, int64_t bytes, int32_t value) {
    if (s->traits[value] & SOURCE) {
        return -1;
    }
    int64_t added = 0;
    for (int32_t i = s->operand_start[value]; i < s->operand_start[value + 1]; i++) {
        const int32_t operand = s->operand_list[i];
        added += has(set, operand) ? 0 : s->size[operand];
    }
    int64_t moment = bytes + added + s->workspace[value] + (s->traits[value] & TOKEN ? s->size[value] : 0);
    if (s->overwrites[value] >= 0) {
        if (has(set, s->overwrites[value])) {
            return -1; // what it overwrites is needed afterwards
        }
        moment -= s->size[value];
    }
    return moment <= s->budget ? added : -1;
}

INLINE int64_t own_bytes(const struct backward *s, int32_t value) {
    return s->traits[value] & TOKEN ? 0 : s->size[value];
}

INLINE void undo(const struct backward *s, uint64_t *set, int32_t value, int64_t words) {
    set[value >> 6] &= ~(1ULL << (value & 63));
    for (int64_t w = 0; w < words; w++) {
        set[w] |= s->operands[value * words + w];
    }
}

// Adding what is overwritten later on could forbid a move that is possible now.
INLINE bool adds_overwritten(const struct backward *s, const uint64_t *set, int32_t value) {
    for (int32_t i = s->operand_start[value]; i < s->operand_start[value + 1]; i++) {
        if (s->is_overwritten[s->operand_list[i]] && !has(set, s->operand_list[i])) {
            return true;
        }
    }
    return false;
}

// Undo at once whatever nothing in the set was made from and adds no more than it takes away: no plan gets worse
// by that. What was undone goes to `trail` if there is one; the bytes of the set.
INLINE int64_t settle(
    const struct backward *s, uint64_t *set, int64_t bytes, int64_t words, int32_t *trail, int64_t *length
) {
    for (bool again = true; again;) {
        again = false;
        FOR_EACH(value, set, words) {
            if (has(s->goal, value) || !is_top(s, set, value, words) || adds_overwritten(s, set, value)) {
                continue;
            }
            const int64_t added = added_bytes(s, set, bytes, value), own = own_bytes(s, value);
            if (added < 0 || added > own) {
                continue;
            }
            undo(s, set, value, words);
            bytes += added - own;
            again = true;
            if (trail) {
                trail[(*length)++] = value;
            }
        }
    }
    return bytes;
}

INLINE int64_t set_bytes(const struct backward *s, const uint64_t *set, int64_t words) {
    int64_t bytes = 0;
    FOR_EACH(value, set, words) {
        bytes += own_bytes(s, value);
    }
    return bytes;
}

// The most that two of its members (or one) are known to cost at least.
INLINE double still_to_come(const struct backward *s, const uint64_t *set, int64_t words) {
    double most_extra = 0.0;
    FOR_EACH(value, set, words) {
        const double *row = s->pair + value * s->values;
        for (int32_t other = value; other >= 0; other = next_member(set, other + 1, words)) {
            most_extra = row[other] > most_extra ? row[other] : most_extra;
        }
    }
    return most_extra;
}

INLINE float rest_of(const struct backward *s, const uint64_t *set, int64_t words) {
    double rest = 0.0;
    for (int64_t w = 0; w < words; w++) {
        uint64_t below = set[w];
        FOR_EACH(value, set, words) {
            below |= s->below[value * words + w];
        }
        for (; below; below &= below - 1) {
            rest += s->cost[64 * w + __builtin_ctzll(below)];
        }
    }
    return (float)rest;
}

// Without haste the cheapest state comes first, which makes the search exact; with endless haste cost is nothing.
INLINE bool before(const struct backward *s, int32_t a, int32_t b) {
    if (s->haste[0] > 1e100) {
        return s->rest[a] < s->rest[b];
    }
    const bool hasty = s->haste[0] > 0.0; // without, a rest that is no finite float must not touch the order
    const double first = s->total[a] + (hasty ? s->haste[0] * (double)s->rest[a] : 0.0);
    const double second = s->total[b] + (hasty ? s->haste[0] * (double)s->rest[b] : 0.0);
    return first < second || (first == second && s->rest[a] < s->rest[b]);
}

static void put(struct backward *s, int64_t at, int32_t state) {
    s->heap[at] = state;
    s->place[state] = (int32_t)at;
}

static void rise(struct backward *s, int64_t at) {
    const int32_t state = s->heap[at];
    for (; at && before(s, state, s->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        put(s, at, s->heap[(at - 1) / 2]);
    }
    put(s, at, state);
}

static int32_t pop(struct backward *s) {
    const int32_t top = s->heap[0];
    s->place[top] = -1;
    const int64_t count = --s->counts[1];
    const int32_t state = s->heap[count];
    int64_t at = 0;
    for (int64_t child = 1; child < count && count; child = 2 * at + 1) {
        child += child + 1 < count && before(s, s->heap[child + 1], s->heap[child]);
        if (!before(s, s->heap[child], state)) {
            break;
        }
        put(s, at, s->heap[child]);
        at = child;
    }
    if (count) {
        put(s, at, state);
    }
    return top;
}

INLINE uint64_t hash_of(const uint64_t *set, int64_t words) {
    uint64_t hash = 0;
    for (int64_t w = 0; w < words; w++) {
        hash = (hash ^ set[w]) * 0xD6E8FEB86659FD93ULL;
        hash ^= hash >> 32;
    }
    hash *= 0x9E3779B97F4A7C15ULL;
    return hash ^ hash >> 29;
}

INLINE bool same(const uint64_t *a, const uint64_t *b, int64_t words) {
    uint64_t difference = 0;
    for (int64_t w = 0; w < words; w++) {
        difference |= a[w] ^ b[w];
    }
    return !difference;
}

INLINE bool ends(const struct backward *s, const uint64_t *set, int64_t words) {
    uint64_t open = 0;
    for (int64_t w = 0; w < words; w++) {
        open |= set[w] & ~s->goal[w];
    }
    return !open;
}

// Keep a state that is new or cheaper than before.
INLINE void keep(
    struct backward *s, const uint64_t *set, double extra, int32_t parent, int32_t move, int64_t words
) {
    uint64_t slot = hash_of(set, words) & (uint64_t)s->table_mask;
    for (; s->table[slot]; slot = (slot + 1) & (uint64_t)s->table_mask) {
        const int32_t old = s->table[slot] - 1;
        if (same(s->set + old * words, set, words)) {
            if (extra >= s->extra[old]) {
                return;
            }
            s->total[old] -= s->extra[old] - extra;
            s->extra[old] = extra;
            s->parent[old] = parent;
            s->move[old] = move;
            if (s->place[old] < 0) {
                put(s, s->counts[1]++, old);
            }
            rise(s, s->place[old]);
            return;
        }
    }
    const double total = extra + still_to_come(s, set, words);
    if (total >= s->limit[0]) {
        return;
    }
    const int32_t state = (int32_t)s->counts[0]++;
    for (int64_t w = 0; w < words; w++) {
        s->set[state * words + w] = set[w];
    }
    s->table[slot] = state + 1;
    s->extra[state] = extra;
    s->total[state] = total;
    s->rest[state] = rest_of(s, set, words);
    s->parent[state] = parent;
    s->move[state] = move;
    put(s, s->counts[1]++, state);
    rise(s, s->place[state]);
}

INLINE void expand(struct backward *s, int32_t state, int64_t words) {
    uint64_t next[MOST_WORDS];
    const uint64_t *set = s->set + state * words;
    const int64_t bytes = set_bytes(s, set, words);
    FOR_EACH(value, set, words) {
        const int64_t added = added_bytes(s, set, bytes, value);
        const bool top = is_top(s, set, value, words);
        if (added < 0 || (!top && s->traits[value] & ONCE)) {
            continue;
        }
        const double extra = s->extra[state] + (top ? 0.0 : s->cost[value]);
        if (extra >= s->limit[0]) {
            continue;
        }
        for (int64_t w = 0; w < words; w++) {
            next[w] = set[w];
        }
        undo(s, next, value, words);
        settle(s, next, bytes + added - own_bytes(s, value), words, 0, 0);
        keep(s, next, extra, state, value, words);
    }
}

INLINE int64_t run(struct backward *s, int64_t expansions, int64_t words) {
    for (; s->counts[1]; expansions--) {
        const int32_t best = s->heap[0];
        if (ends(s, s->set + best * words, words)) {
            s->counts[2] = best;
            return FOUND;
        }
        if (s->counts[0] + s->values > s->most_states) {
            return FULL;
        }
        if (expansions <= 0) {
            return AGAIN;
        }
        s->counts[3]++;
        expand(s, pop(s), words);
    }
    return EXHAUSTED;
}

// Begin at `start`; the table is empty.
void backward_begin(struct backward *s) {
    const int64_t words = s->words;
    uint64_t first[MOST_WORDS];
    for (int64_t w = 0; w < words; w++) {
        first[w] = s->start[w];
    }
    settle(s, first, set_bytes(s, first, words), words, 0, 0);
    keep(s, first, 0.0, -1, -1, words);
}

// Expand so many states; FOUND (counts[2] is the cheapest end), EXHAUSTED (there is none below the limit), FULL, or
// AGAIN.
int64_t backward_run(struct backward *s, int64_t expansions) {
    if (s->words == 2) {
        return run(s, expansions, 2);
    }
    return run(s, expansions, s->words);
}

// The values undone on the way to a state, last computed first; their number. `trail` has room for `most`.
int64_t backward_trail(const struct backward *s, int32_t state, int32_t *chain, int32_t *trail) {
    const int64_t words = s->words;
    uint64_t set[MOST_WORDS];
    int64_t depth = 0, length = 0;
    for (; s->parent[state] >= 0; state = s->parent[state]) {
        chain[depth++] = s->move[state];
    }
    for (int64_t w = 0; w < words; w++) {
        set[w] = s->start[w];
    }
    int64_t bytes = settle(s, set, set_bytes(s, set, words), words, trail, &length);
    while (depth--) {
        bytes += added_bytes(s, set, bytes, chain[depth]) - own_bytes(s, chain[depth]);
        undo(s, set, chain[depth], words);
        trail[length++] = chain[depth];
        bytes = settle(s, set, bytes, words, trail, &length);
    }
    return length;
}
