// A state of the annealing search and how a move changes it, is judged, and is undone; see `anneal.c`.
#pragma once

#include "planners.h"

enum { COMPUTE = 0, PAGE_IN = 1, USE = 2 };
enum { SOURCE = 1, KEPT = 2, PAGEABLE = 4, DIRTY = 8, ONCE = 32 };
enum { EMPTY = -1 };
enum { MOST_EDITS = 128 };

// Limit of a slot without a load: nothing overflows it.
#define FREE (-((int64_t)1 << 62))

struct anneal {
    int64_t values, slots, budget, most_spans;
    // The problem: operands in compressed rows, sizes, costs, what each value is.
    const int32_t *operand_start, *operand_list;
    const int64_t *size, *workspace;
    const double *compute_cost, *read_cost, *write_cost;
    const uint8_t *traits;
    const int32_t *overwrites, *overwritten_by, *origin;
    // The state. item[slot] is 2 * value + (compute 0 or page-in 1), or EMPTY. limit[slot] is workspace minus budget
    // where a load is and FREE elsewhere: a slot overflows by max(0, live + limit). begins: in memory at the start.
    int32_t *item;
    int64_t *live, *limit;
    const int32_t *row_start; // of a value's events and stays; there is one more stay than loads at most
    int32_t *event_count, *events, *load_count;
    uint8_t *begins;
    int32_t *stay_count, *stay_low, *stay_high;
    double *value_cost;
    // What the move under way would make of the touched values.
    int32_t *next_count, *next_low, *next_high;
    double *next_cost;
    // The log of the move under way.
    uint8_t *is_touched;
    int32_t *touched;
    int32_t *edits;  // slot and the item before, or -1 and a source whose begin was flipped
    int64_t *spans;  // begin, end, change of live bytes
    int32_t *marks;  // scratch
    int32_t *tight;  // slots + 1: how many slots before this one hold a load and have no room; see `look_at_room`
    int64_t *totals; // see below
    double *costs;   // the total, and that of the move under way
    uint64_t *random;
    // The cheapest state within the budget so far.
    int32_t *best_item;
    uint8_t *best_begins;
};

enum { OVERFLOW, TOUCHED, EDITS, SPANS };

static uint64_t draw(struct anneal *a) {
    // xorshift64*: Vigna 2016.
    uint64_t x = a->random[0];
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    a->random[0] = x;
    return x * UINT64_C(2685821657736338717);
}

static int32_t below(struct anneal *a, int64_t bound) {
    return (int32_t)(((draw(a) >> 32) * (uint64_t)bound) >> 32);
}

// Minus the logarithm of a random number in (0, 1].
static double waiting_time(struct anneal *a) {
    union {
        double number;
        uint64_t bits;
    } u = {.number = (double)((draw(a) >> 11) + 1)};
    const int exponent = (int)(u.bits >> 52) - 1023;
    u.bits = (u.bits & ((UINT64_C(1) << 52) - 1)) | (UINT64_C(1023) << 52);
    const double s = (u.number - 1.0) / (u.number + 1.0), q = s * s;
    const double logarithm = 2.0 * s * (1.0 + q * (1.0 / 3 + q * (1.0 / 5 + q * (1.0 / 7 + q / 9))));
    return (53 - exponent) * 0.69314718055994530942 - logarithm;
}

static bool is(const struct anneal *a, int32_t value, int trait) {
    return (a->traits[value] & trait) != 0;
}

// ---- loads and events --------------------------------------------------------------------------------------------

static void touch(struct anneal *a, int32_t value) {
    if (!a->is_touched[value]) {
        a->is_touched[value] = 1;
        a->touched[a->totals[TOUCHED]++] = value;
    }
}

static bool add_event(struct anneal *a, int32_t value, int32_t event) {
    int32_t *events = a->events + a->row_start[value];
    int32_t rank = a->event_count[value];
    if (rank + 1 >= a->row_start[value + 1] - a->row_start[value]) {
        return false;
    }
    for (; rank > 0 && events[rank - 1] > event; rank--) {
        events[rank] = events[rank - 1];
    }
    events[rank] = event;
    a->event_count[value]++;
    return true;
}

static void remove_event(struct anneal *a, int32_t value, int32_t event) {
    int32_t *events = a->events + a->row_start[value];
    int32_t rank = 0;
    while (rank < a->event_count[value] && events[rank] != event) {
        rank++;
    }
    if (rank == a->event_count[value]) {
        return;
    }
    const int32_t last = --a->event_count[value];
    for (; rank < last; rank++) {
        events[rank] = events[rank + 1];
    }
}

static void set_limit(struct anneal *a, int32_t slot, int64_t limit) {
    a->totals[OVERFLOW] += most(a->live[slot] + limit, 0) - most(a->live[slot] + a->limit[slot], 0);
    a->limit[slot] = limit;
}

static void take(struct anneal *a, int32_t slot) {
    const int32_t value = a->item[slot] >> 1, kind = a->item[slot] & 1;
    remove_event(a, value, 4 * slot + kind);
    a->load_count[value]--;
    for (int32_t i = a->operand_start[value]; kind == COMPUTE && i < a->operand_start[value + 1]; i++) {
        remove_event(a, a->operand_list[i], 4 * slot + USE);
    }
    a->item[slot] = EMPTY;
    set_limit(a, slot, FREE);
}

// False if a list of events is full; the state is then undone by the caller.
static bool put(struct anneal *a, int32_t slot, int32_t item) {
    const int32_t value = item >> 1, kind = item & 1;
    bool fits = add_event(a, value, 4 * slot + kind);
    a->load_count[value]++;
    for (int32_t i = a->operand_start[value]; kind == COMPUTE && i < a->operand_start[value + 1]; i++) {
        fits = add_event(a, a->operand_list[i], 4 * slot + USE) && fits;
    }
    a->item[slot] = item;
    set_limit(a, slot, (kind == COMPUTE ? a->workspace[value] : 0) - a->budget);
    return fits;
}

// Make a slot hold an item (or nothing), log what it held, and touch the values concerned.
static bool edit(struct anneal *a, int32_t slot, int32_t item) {
    const int32_t old = a->item[slot];
    const int32_t changed = (int32_t)((uint32_t)(old >= 0 ? old : item) >> 1);
    a->edits[2 * a->totals[EDITS]] = slot;
    a->edits[2 * a->totals[EDITS] + 1] = old;
    a->totals[EDITS]++;
    touch(a, changed);
    for (int32_t i = a->operand_start[changed]; i < a->operand_start[changed + 1]; i++) {
        touch(a, a->operand_list[i]);
    }
    if (old >= 0) {
        take(a, slot);
    }
    return item < 0 || put(a, slot, item);
}

// Let a source begin on flash instead of in memory, or the other way round; what overwrites it follows.
static void flip_begin(struct anneal *a, int32_t source) {
    a->edits[2 * a->totals[EDITS]] = -1;
    a->edits[2 * a->totals[EDITS] + 1] = source;
    a->totals[EDITS]++;
    a->begins[source] ^= 1;
    for (int32_t heir = source; heir >= 0; heir = a->overwritten_by[heir]) {
        touch(a, heir);
    }
}

// ---- stays -------------------------------------------------------------------------------------------------------

// The slot of the one compute that overwrites a value; past the end if there is none.
static int32_t end_of_life(const struct anneal *a, int32_t value) {
    const int32_t writer = a->overwritten_by[value];
    return writer < 0 ? (int32_t)a->slots : a->events[a->row_start[writer]] >> 2;
}

static bool ends_on_flash(const struct anneal *a, int32_t value) {
    const int32_t root = a->origin[value];
    return is(a, value, KEPT) && is(a, root, SOURCE) && is(a, root, PAGEABLE) && !a->begins[root];
}

// Whether loads and uses come in a legal order.
static bool legal(const struct anneal *a, int32_t value) {
    const int32_t count = a->event_count[value];
    const int32_t *events = a->events + a->row_start[value];
    const bool source = is(a, value, SOURCE);
    if (count == 0) {
        return source;
    }
    if (events[count - 1] >> 2 > end_of_life(a, value)) {
        return false;
    }
    const int kind = events[0] & 3;
    return kind == (!source ? COMPUTE : a->begins[value] ? USE : PAGE_IN);
}

// Derive a value's stays and cost into the `next` rows.
static bool look_again(struct anneal *a, int32_t value) {
    if (!legal(a, value)) {
        return false;
    }
    const int32_t row = a->row_start[value], count = a->event_count[value], last_slot = (int32_t)a->slots - 1;
    const int32_t *events = a->events + row;
    int32_t *low = a->next_low + row, *high = a->next_high + row;
    const int32_t end = end_of_life(a, value);
    double cost = 0.0;
    bool stale = false;
    int32_t stays = 0;
    if (a->begins[value]) {
        low[0] = high[0] = 0;
        stays = 1;
    }
    for (int32_t i = 0; i < count; i++) {
        const int32_t slot = events[i] >> 2, kind = events[i] & 3;
        if (kind == USE) {
            high[stays - 1] = slot;
            stale = stale || is(a, value, DIRTY);
            continue;
        }
        if (kind == PAGE_IN) {
            cost += a->read_cost[value] + (stale ? a->write_cost[value] : 0.0);
            stale = false;
        } else {
            cost += a->compute_cost[value];
            stale = true;
        }
        low[stays] = high[stays] = slot;
        stays++;
    }
    if (stays > 0 && end < a->slots) {
        high[stays - 1] = end - 1;
    } else if (stays > 0 && is(a, value, KEPT)) {
        if (ends_on_flash(a, value)) {
            cost += stale ? a->write_cost[value] : 0.0;
        } else {
            high[stays - 1] = last_slot;
        }
    }
    a->next_count[value] = stays;
    a->next_cost[value] = cost;
    return true;
}

// Add bytes to the live bytes of [begin, end).
static void shift_live(struct anneal *a, int64_t begin, int64_t end, int64_t change) {
    int64_t *restrict live = a->live + begin;
    const int64_t *restrict limit = a->limit + begin;
    int64_t gained = 0;
    for (int64_t i = 0; i < end - begin; i++) {
        const int64_t before = live[i] + limit[i], after = before + change;
        live[i] += change;
        gained += (after > 0 ? after : 0) - (before > 0 ? before : 0);
    }
    a->totals[OVERFLOW] += gained;
}

static bool log_and_shift(struct anneal *a, int64_t begin, int64_t end, int64_t change) {
    if (begin >= end || change == 0) {
        return true;
    }
    if (a->totals[SPANS] == a->most_spans) {
        return false;
    }
    int64_t *span = a->spans + 3 * a->totals[SPANS]++;
    span[0] = begin;
    span[1] = end;
    span[2] = change;
    shift_live(a, begin, end, change);
    return true;
}

// Move the live bytes from a value's stays to its next stays.
static bool replace_stays(struct anneal *a, int32_t value) {
    const int32_t row = a->row_start[value];
    const int32_t *old_low = a->stay_low + row, *old_high = a->stay_high + row;
    const int32_t *new_low = a->next_low + row, *new_high = a->next_high + row;
    const int32_t olds = a->stay_count[value], news = a->next_count[value];
    // Walk the ends of both lists of stays in order: even index the beginning of a stay, odd its end.
    int32_t old = 0, new = 0;
    int64_t here = 0;
    bool fits = true;
    while (fits && (old < 2 * olds || new < 2 * news)) {
        const int64_t old_at = old >= 2 * olds ? a->slots + 1 : old & 1 ? old_high[old / 2] + 1 : old_low[old / 2];
        const int64_t new_at = new >= 2 * news ? a->slots + 1 : new & 1 ? new_high[new / 2] + 1 : new_low[new / 2];
        const int64_t at = least(old_at, new_at);
        fits = log_and_shift(a, here, at, ((new & 1) - (old & 1)) * a->size[value]);
        old += old_at == at;
        new += new_at == at;
        here = at;
    }
    return fits;
}

// ---- moves -------------------------------------------------------------------------------------------------------

static void begin_move(struct anneal *a) {
    a->totals[TOUCHED] = a->totals[EDITS] = a->totals[SPANS] = 0;
}

static void forget(struct anneal *a) {
    for (int64_t i = 0; i < a->totals[TOUCHED]; i++) {
        a->is_touched[a->touched[i]] = 0;
    }
}

static void undo(struct anneal *a) {
    for (int64_t i = a->totals[SPANS] - 1; i >= 0; i--) {
        shift_live(a, a->spans[3 * i], a->spans[3 * i + 1], -a->spans[3 * i + 2]);
    }
    for (int64_t i = a->totals[EDITS] - 1; i >= 0; i--) {
        const int32_t slot = a->edits[2 * i], old = a->edits[2 * i + 1];
        if (slot < 0) {
            a->begins[old] ^= 1;
            continue;
        }
        if (a->item[slot] >= 0) {
            take(a, slot);
        }
        if (old >= 0) {
            put(a, slot, old);
        }
    }
    forget(a);
}

static void keep(struct anneal *a) {
    for (int64_t i = 0; i < a->totals[TOUCHED]; i++) {
        const int32_t value = a->touched[i], row = a->row_start[value];
        for (int32_t stay = 0; stay < a->next_count[value]; stay++) {
            a->stay_low[row + stay] = a->next_low[row + stay];
            a->stay_high[row + stay] = a->next_high[row + stay];
        }
        a->stay_count[value] = a->next_count[value];
        a->value_cost[value] = a->next_cost[value];
    }
    a->costs[0] = a->costs[1];
    forget(a);
}

static bool look_at_all(struct anneal *a) {
    double cost = a->costs[0];
    for (int64_t i = 0; i < a->totals[TOUCHED]; i++) {
        const int32_t value = a->touched[i];
        if (!look_again(a, value)) {
            return false;
        }
        cost += a->next_cost[value] - a->value_cost[value];
    }
    a->costs[1] = cost;
    return true;
}

// Finish a move: keep it if it is legal and raises the energy by at most `allowed`, or undo it.
static bool decide(struct anneal *a, int64_t overflow, double price, double allowed) {
    bool good = look_at_all(a);
    const double gain = a->costs[1] - a->costs[0];
    good = good && gain - price * (double)overflow <= allowed;
    for (int64_t i = 0; good && i < a->totals[TOUCHED]; i++) {
        good = replace_stays(a, a->touched[i]);
    }
    good = good && gain + price * (double)(a->totals[OVERFLOW] - overflow) <= allowed;
    if (good) {
        keep(a);
    } else {
        undo(a);
    }
    return good;
}
