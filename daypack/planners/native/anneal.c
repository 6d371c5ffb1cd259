// Simulated annealing of plans; `anneal.py` makes the arrays and sets temperatures and prices.
//
// A state places loads (computes and page-ins) into slots of which most are empty, so that a load can move without
// shifting the others. From the loads follow the stays of each value (see `schedule.py`), from these the bytes that
// live in each slot. The energy is the cost plus a price on the bytes above the budget, summed over the slots that
// hold a load. A move edits loads, looks again at the values it touched (the loaded ones and their operands), and is
// kept or undone.
//
// Each value has a sorted list of events, `4 * slot + kind`: its loads and the computes that use it.
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
    const int32_t changed = (old >= 0 ? old : item) >> 1;
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

// The empty slot nearest to `slot` within [low, high); -1 if none is close.
static int32_t empty_near(const struct anneal *a, int32_t slot, int32_t low, int32_t high) {
    for (int32_t distance = 0; distance < 64; distance++) {
        const int32_t left = slot - distance, right = slot + distance;
        if (left >= low && left < high && a->item[left] < 0) {
            return left;
        }
        if (right >= low && right < high && a->item[right] < 0) {
            return right;
        }
    }
    return -1;
}

static int32_t empty_before(const struct anneal *a, int32_t slot) {
    for (int32_t at = slot - 1; at >= 0 && at >= slot - 64; at--) {
        if (a->item[at] < 0) {
            return at;
        }
    }
    return -1;
}

// The slot of a value's first load: -1 if it begins in memory.
static int32_t first_load(const struct anneal *a, int32_t value) {
    return a->begins[value] || a->event_count[value] == 0 ? -1 : a->events[a->row_start[value]] >> 2;
}

// The slots where a load may stand: after its operands' first loads, and before its value's first use if no other
// load comes before that.
static void window(const struct anneal *a, int32_t slot, int32_t *low, int32_t *high) {
    const int32_t item = a->item[slot], value = item >> 1;
    const int32_t *events = a->events + a->row_start[value];
    *low = 0;
    *high = (int32_t)a->slots;
    if ((item & 1) == COMPUTE) {
        for (int32_t i = a->operand_start[value]; i < a->operand_start[value + 1]; i++) {
            const int32_t operand = a->operand_list[i];
            *low = (int32_t)most(*low, first_load(a, operand) + 1);
            if (a->overwritten_by[operand] >= 0 && a->overwritten_by[operand] != value) {
                *high = (int32_t)least(*high, end_of_life(a, operand));
            }
        }
    }
    if (events[0] >> 2 == slot && !a->begins[value] && a->event_count[value] > 1 && (events[1] & 3) == USE) {
        *high = (int32_t)least(*high, events[1] >> 2);
    }
}

// A slot that overflows if there is one close to a random slot, or else one that holds a load.
static int32_t busy_slot(struct anneal *a) {
    int32_t slot = below(a, a->slots);
    const bool over = a->totals[OVERFLOW] > 0;
    for (int32_t tries = 0; tries < 1024; tries++) {
        if (over ? a->live[slot] + a->limit[slot] > 0 : a->item[slot] >= 0) {
            return slot;
        }
        slot = slot + 1 < a->slots ? slot + 1 : 0;
    }
    return slot;
}

// A slot that holds a load; in half of the moves one near a slot that overflows.
static int32_t loaded_slot(struct anneal *a) {
    int32_t slot = below(a, a->slots);
    if (a->totals[OVERFLOW] > 0 && (draw(a) >> 63)) {
        slot = (int32_t)most(0, least(a->slots - 1, busy_slot(a) + below(a, 65) - 32));
    }
    while (a->item[slot] < 0) {
        slot = slot + 1 < a->slots ? slot + 1 : 0;
    }
    return slot;
}

static bool shift(struct anneal *a) {
    const int32_t slot = loaded_slot(a);
    int32_t low, high, bits = 1;
    window(a, slot, &low, &high);
    while ((INT64_C(1) << (bits + 1)) < a->slots) {
        bits++;
    }
    const int32_t scale = INT32_C(1) << below(a, bits);
    const int32_t reach = scale + below(a, scale);
    low = (int32_t)most(low, slot - reach);
    high = (int32_t)least(high, slot + reach + 1);
    const int32_t target = empty_near(a, low + below(a, high - low), low, high);
    if (target < 0) {
        return false;
    }
    const int32_t item = a->item[slot];
    return edit(a, slot, EMPTY) && edit(a, target, item);
}

static int32_t empty_after(const struct anneal *a, int32_t slot) {
    for (int32_t at = slot + 1; at < a->slots && at <= slot + 64; at++) {
        if (a->item[at] < 0) {
            return at;
        }
    }
    return -1;
}

// Add a slot to the sorted list of slots to move; false if the list is full.
static bool join(struct anneal *a, int32_t *count, int32_t slot) {
    int32_t rank = *count;
    while (rank > 0 && a->marks[rank - 1] >= slot) {
        if (a->marks[--rank] == slot) {
            return true;
        }
    }
    if (*count == 40) {
        return false;
    }
    for (int32_t i = *count; i > rank; i--) {
        a->marks[i] = a->marks[i - 1];
    }
    a->marks[rank] = slot;
    ++*count;
    return true;
}

// Move a random load past a slot together with the loads that must stay before it (or after it).
static bool push(struct anneal *a) {
    const int32_t slot = loaded_slot(a);
    const int32_t reach = 1 + below(a, INT32_C(8) << below(a, 6));
    const bool later = draw(a) >> 63;
    const int32_t goal = (int32_t)(later ? least(slot + reach, a->slots - 1) : most(slot - reach, 0));
    int32_t count = 0, done = 0;
    join(a, &count, slot);
    while (done < count) {
        const int32_t at = later ? a->marks[done] : a->marks[count - 1 - done];
        const int32_t value = a->item[at] >> 1;
        done++;
        if (later) {
            const int32_t *events = a->events + a->row_start[value];
            int32_t i = 0;
            while (events[i] >> 2 != at) {
                i++;
            }
            if (i > 0) {
                continue; // an earlier load serves these uses
            }
            for (i++; i < a->event_count[value] && (events[i] & 3) == USE && events[i] >> 2 <= goal; i++) {
                if (!join(a, &count, events[i] >> 2)) {
                    return false;
                }
            }
        } else if ((a->item[at] & 1) == COMPUTE) {
            for (int32_t i = a->operand_start[value]; i < a->operand_start[value + 1]; i++) {
                const int32_t first = first_load(a, a->operand_list[i]);
                if (first >= goal && !join(a, &count, first)) {
                    return false;
                }
            }
        }
    }
    int32_t place = goal;
    for (int32_t i = 0; i < count; i++) {
        const int32_t from = a->marks[later ? i : count - 1 - i], item = a->item[from];
        if (later ? from > place : from < place) {
            place = from;
            continue;
        }
        place = later ? empty_after(a, place - (i == 0)) : empty_before(a, place + (i == 0));
        if (place < 0 || !edit(a, from, EMPTY) || !edit(a, place, item)) {
            return false;
        }
    }
    return true;
}

static bool computable(const struct anneal *a, int32_t value) {
    return !is(a, value, SOURCE | ONCE) && a->overwrites[value] < 0;
}

static bool is_live(const struct anneal *a, int32_t value, int32_t slot) {
    const int32_t row = a->row_start[value];
    for (int32_t stay = row; stay < row + a->stay_count[value]; stay++) {
        if (a->stay_low[stay] < slot && slot <= a->stay_high[stay]) {
            return true;
        }
    }
    return false;
}

// A value and one of its uses: in half of the moves one that idles in a slot that overflows, if there is one.
static int32_t choose_use(struct anneal *a, int32_t *value) {
    int32_t slot = -1;
    *value = below(a, a->values);
    if (a->totals[OVERFLOW] > 0 && (draw(a) >> 63)) {
        slot = below(a, a->slots);
        for (int32_t tries = 0; a->live[slot] + a->limit[slot] <= 0; tries++) {
            slot = slot + 1 < a->slots ? slot + 1 : 0;
            if (tries == 256) {
                return -1;
            }
        }
        for (int32_t tries = 0; tries < 32 && !is_live(a, *value, slot); tries++) {
            *value = below(a, a->values);
        }
    }
    const int32_t *events = a->events + a->row_start[*value];
    const int32_t count = a->event_count[*value];
    if (count == 0) {
        return -1;
    }
    if (slot >= 0) {
        for (int32_t i = 0; i < count; i++) {
            if (events[i] >> 2 > slot && (events[i] & 3) == USE) {
                return events[i] >> 2;
            }
        }
    }
    const int32_t event = events[below(a, count)];
    return (event & 3) == USE ? event >> 2 : -1;
}

// Load a value again before one of its uses, and (some levels deep) what that needs and is not there.
static bool reload(struct anneal *a) {
    int32_t value;
    int32_t slot = choose_use(a, &value);
    if (slot < 0) {
        return false;
    }
    const int32_t deepest = below(a, 5);
    int32_t waiting = 1;
    a->marks[0] = value;
    a->marks[1] = 0;
    while (waiting > 0) {
        waiting--;
        value = a->marks[2 * waiting];
        const int32_t level = a->marks[2 * waiting + 1];
        const bool again = computable(a, value);
        const int32_t target = empty_before(a, slot);
        if (target < 0 || a->totals[EDITS] >= MOST_EDITS || (!again && !is(a, value, PAGEABLE))) {
            return level > 0;
        }
        const bool page_in = is(a, value, PAGEABLE) && (!again || draw(a) >> 63);
        if (!edit(a, target, 2 * value + page_in)) {
            return false;
        }
        slot = target;
        for (int32_t i = a->operand_start[value]; !page_in && level < deepest && i < a->operand_start[value + 1]; i++) {
            const int32_t operand = a->operand_list[i];
            if (waiting < 100 && !is_live(a, operand, target) && below(a, 4) > 0) {
                a->marks[2 * waiting] = operand;
                a->marks[2 * waiting + 1] = level + 1;
                waiting++;
            }
        }
    }
    return true;
}

// The first use of a value after a slot in which it idles; -1 if it is not there or not used again.
static int32_t next_use(const struct anneal *a, int32_t value, int32_t slot) {
    const int32_t *events = a->events + a->row_start[value];
    if (!is_live(a, value, slot)) {
        return -1;
    }
    for (int32_t i = 0; i < a->event_count[value]; i++) {
        if (events[i] >> 2 >= slot) {
            return (events[i] & 3) == USE && events[i] >> 2 > slot ? events[i] >> 2 : -1;
        }
    }
    return -1;
}

// Load several values that share an operand again: those that idle in one slot are computed before their next uses,
// so that their operands are kept instead of them.
static bool reload_family(struct anneal *a) {
    const int32_t slot = busy_slot(a);
    int32_t value = below(a, a->values);
    for (int32_t tries = 0; tries < 32 && next_use(a, value, slot) < 0; tries++) {
        value = below(a, a->values);
    }
    const int32_t operands = a->operand_start[value + 1] - a->operand_start[value];
    if (operands == 0) {
        return false;
    }
    const int32_t parent = a->operand_list[a->operand_start[value] + below(a, operands)];
    int32_t children = 0;
    for (int32_t i = 0; i < a->event_count[parent] && children < 32; i++) {
        const int32_t event = a->events[a->row_start[parent] + i];
        if ((event & 3) == USE && event >> 2 < slot) {
            const int32_t child = a->item[event >> 2] >> 1;
            if (a->overwrites[child] < 0 && !is(a, child, ONCE) && (child == value || below(a, 4) > 0)) {
                a->marks[children++] = child;
            }
        }
    }
    bool any = false;
    for (int32_t i = 0; i < children; i++) {
        const int32_t use = next_use(a, a->marks[i], slot);
        const int32_t target = use < 0 ? -1 : empty_before(a, use);
        if (target > slot) {
            any = true;
            if (!edit(a, target, 2 * a->marks[i])) {
                return false;
            }
        }
    }
    return any;
}

// ---- chains: a value comes back by computing what it is made from, and goes with what served it alone -----------

// Room below which a slot counts as full, as a share of the budget: one part in so many.
enum { FULL = 100 };
enum { ROOM_MOVES = 256, MOST_CHAIN = 24, DEEPEST = 6 };

// Count the full slots, for the price of holding something over a stretch of them.
static void look_at_room(struct anneal *a) {
    const int64_t margin = a->budget / FULL;
    int32_t count = 0;
    for (int64_t slot = 0; slot < a->slots; slot++) {
        a->tight[slot] = count;
        count += a->live[slot] + a->limit[slot] > -margin;
    }
    a->tight[a->slots] = count;
}

struct chain {
    int32_t slot, count;
    double byte_price; // of one byte in one full slot
    int32_t values[MOST_CHAIN]; // to compute before the slot, operands first
};

static bool in_chain(const struct chain *chain, int32_t value) {
    for (int32_t i = 0; i < chain->count; i++) {
        if (chain->values[i] == value) {
            return true;
        }
    }
    return false;
}

// The last event of a value before a slot; -1 if there is none.
static int32_t event_before(const struct anneal *a, int32_t value, int32_t slot) {
    const int32_t *events = a->events + a->row_start[value];
    int32_t i = a->event_count[value] - 1;
    while (i >= 0 && events[i] >> 2 >= slot) {
        i--;
    }
    return i < 0 ? -1 : events[i];
}

// The price of keeping a value until the chain's slot after its last use before that.
static double price_of_holding(const struct anneal *a, const struct chain *chain, int32_t value) {
    const int32_t last = event_before(a, value, chain->slot);
    if (last < 0) {
        return a->begins[value] ? 0.0 : 1e300;
    }
    const int32_t full = a->tight[chain->slot] - a->tight[(last >> 2) + 1];
    return chain->byte_price * (double)a->size[value] * (double)full;
}

// Add a value to the chain if computing it, with what that needs, costs less than `most_cost`; what it costs, or
// `most_cost`. What is not there may be held instead of computed, whichever costs less.
static double way_back(const struct anneal *a, struct chain *chain, int32_t value, double most_cost, int32_t depth) {
    const int32_t begin = chain->count;
    double cost = a->compute_cost[value];
    if (!computable(a, value) || depth == DEEPEST) {
        return most_cost;
    }
    for (int32_t i = a->operand_start[value]; cost < most_cost && i < a->operand_start[value + 1]; i++) {
        const int32_t operand = a->operand_list[i];
        if (!is_live(a, operand, chain->slot) && !in_chain(chain, operand)) {
            const double held = price_of_holding(a, chain, operand);
            cost += way_back(a, chain, operand, held < most_cost - cost ? held : most_cost - cost, depth + 1);
        }
    }
    if (cost >= most_cost || chain->count == MOST_CHAIN) {
        chain->count = begin;
        return most_cost;
    }
    chain->values[chain->count++] = value;
    return cost;
}

// Compute a value again before one of its uses by the cheapest chain, if that may pay.
static bool bring_back(struct anneal *a, int32_t value, int32_t slot, double byte_price, double slack) {
    struct chain chain = {.slot = slot, .byte_price = byte_price};
    const double most_cost = price_of_holding(a, &chain, value) + slack;
    if (way_back(a, &chain, value, most_cost, 0) >= most_cost) {
        return false;
    }
    for (int32_t i = chain.count - 1; i >= 0; i--) {
        slot = empty_before(a, slot);
        if (slot < 0 || !edit(a, slot, 2 * chain.values[i])) {
            return false;
        }
    }
    return true;
}

static bool reload_chain(struct anneal *a, double byte_price, double slack) {
    int32_t value;
    const int32_t slot = choose_use(a, &value);
    return slot >= 0 && bring_back(a, value, slot, byte_price, slack);
}

// Take out the load at a slot, and the loads of its operands that then serve nothing.
static bool take_out(struct anneal *a, int32_t slot) {
    int32_t waiting = 1;
    a->marks[0] = slot;
    while (waiting > 0) {
        slot = a->marks[--waiting];
        const int32_t item = a->item[slot], value = item >> 1;
        if (item < 0) {
            continue;
        }
        if (a->totals[EDITS] >= MOST_EDITS || !edit(a, slot, EMPTY)) {
            return false;
        }
        for (int32_t i = a->operand_start[value]; !(item & 1) && i < a->operand_start[value + 1]; i++) {
            const int32_t operand = a->operand_list[i], row = a->row_start[operand];
            int32_t rank = a->event_count[operand] - 1;
            while (rank >= 0 && a->events[row + rank] >> 2 >= slot) {
                rank--;
            }
            const bool last = rank + 1 >= a->event_count[operand];
            if (rank < 0 || (a->events[row + rank] & 3) == USE || a->load_count[operand] + a->begins[operand] < 2 ||
                (last ? is(a, operand, KEPT) : (a->events[row + rank + 1] & 3) == USE) || waiting == 64) {
                continue;
            }
            a->marks[waiting++] = a->events[row + rank] >> 2;
        }
    }
    return true;
}

// The slot of a random load of a value that has several, or that begins in memory as well; -1 if none was found.
static int32_t spare_load(struct anneal *a) {
    int32_t value = below(a, a->values);
    for (int32_t tries = 0; a->load_count[value] + a->begins[value] < 2 || a->load_count[value] == 0; tries++) {
        value = value + 1 < a->values ? value + 1 : 0;
        if (tries == 512) {
            return -1;
        }
    }
    int32_t rank = below(a, a->load_count[value]);
    const int32_t *event = a->events + a->row_start[value];
    for (;; event++) {
        if ((*event & 3) != USE && rank-- == 0) {
            return *event >> 2;
        }
    }
}

static bool removal(struct anneal *a) {
    const int32_t slot = spare_load(a);
    return slot >= 0 && (draw(a) >> 63 ? edit(a, slot, EMPTY) : take_out(a, slot));
}

// Take a load out and bring another value back in the room that this needs.
static bool swap(struct anneal *a, double byte_price, double slack) {
    const int32_t slot = spare_load(a);
    if (slot < 0) {
        return false;
    }
    const int32_t value = a->item[slot] >> 1, last = event_before(a, value, slot);
    const int32_t begin = last < 0 ? 0 : last >> 2;
    const double saved = a->compute_cost[value];
    if (!take_out(a, slot)) {
        return false;
    }
    const int32_t at = begin + below(a, slot - begin + 1);
    int32_t other = below(a, a->values), use = -1;
    for (int32_t tries = 0; tries < 64; tries++) {
        use = a->is_touched[other] ? -1 : next_use(a, other, at);
        if (use >= 0) {
            break;
        }
        other = below(a, a->values);
    }
    return use >= 0 && bring_back(a, other, use, byte_price, slack + saved);
}

// Change how a pageable value comes: the kind of a load, or where a source begins.
static bool repage(struct anneal *a) {
    int32_t value = below(a, a->values);
    for (int32_t tries = 0; !is(a, value, PAGEABLE); tries++) {
        value = value + 1 < a->values ? value + 1 : 0;
        if (tries == 512) {
            return false;
        }
    }
    const int32_t *events = a->events + a->row_start[value];
    if (a->event_count[value] == 0) {
        return false;
    }
    if (!is(a, value, SOURCE)) {
        const int32_t event = events[below(a, a->event_count[value])];
        if ((event & 3) == USE || a->overwrites[value] >= 0 || is(a, value, ONCE)) {
            return false;
        }
        const int32_t slot = event >> 2, item = a->item[slot];
        return edit(a, slot, EMPTY) && edit(a, slot, item ^ 1);
    }
    if (!a->begins[value]) {
        const bool done = edit(a, events[0] >> 2, EMPTY);
        flip_begin(a, value);
        return done;
    }
    const int32_t target = empty_before(a, events[0] >> 2);
    if (target < 0 || !edit(a, target, 2 * value + PAGE_IN)) {
        return false;
    }
    flip_begin(a, value);
    return true;
}

static bool propose(struct anneal *a, bool paging, double price, double temperature) {
    const int32_t dice = below(a, 100);
    if (dice < 14) {
        return push(a);
    }
    if (dice < 58) {
        return shift(a);
    }
    if (dice < 64) {
        return reload(a);
    }
    if (dice < 74) {
        return reload_chain(a, price, 4.0 * temperature);
    }
    if (dice < 77) {
        return reload_family(a);
    }
    if (dice < 86) {
        return swap(a, price, 4.0 * temperature);
    }
    return dice < 95 || !paging ? removal(a) : repage(a);
}

// Derive everything from the items; -1 if a value's loads and uses are not legal, 0 otherwise.
int64_t anneal_settle(struct anneal *a) {
    begin_move(a);
    a->totals[OVERFLOW] = 0;
    a->costs[0] = 0.0;
    for (int64_t slot = 0; slot < a->slots; slot++) {
        a->live[slot] = 0;
        a->limit[slot] = FREE;
    }
    for (int32_t value = 0; value < a->values; value++) {
        a->event_count[value] = a->load_count[value] = a->stay_count[value] = 0;
        a->value_cost[value] = 0.0;
        touch(a, value);
    }
    bool good = true;
    for (int32_t slot = 0; slot < a->slots; slot++) {
        good = (a->item[slot] < 0 || put(a, slot, a->item[slot])) && good;
    }
    good = good && look_at_all(a);
    for (int32_t value = 0; good && value < a->values; value++) {
        a->totals[SPANS] = 0;
        good = replace_stays(a, value);
    }
    if (good) {
        keep(a);
    } else {
        forget(a);
    }
    return good ? 0 : -1;
}

static void remember(struct anneal *a) {
    for (int64_t slot = 0; slot < a->slots; slot++) {
        a->best_item[slot] = a->item[slot];
    }
    for (int64_t value = 0; value < a->values; value++) {
        a->best_begins[value] = a->begins[value];
    }
}

// Try moves while the temperature falls by `ratio` a move from `temperature`. Returns the least cost of a state
// within the budget, `best` if none was cheaper; that state is in best_item and best_begins.
double anneal_moves(struct anneal *a, int64_t moves, double temperature, double ratio, double price, int64_t paging,
                    double best) {
    for (int64_t move = 0; move < moves; move++) {
        temperature *= ratio;
        begin_move(a);
        const int64_t overflow = a->totals[OVERFLOW];
        if (move % ROOM_MOVES == 0) {
            look_at_room(a);
        }
        if (!propose(a, paging, price, temperature)) {
            undo(a);
            continue;
        }
        if (decide(a, overflow, price, temperature * waiting_time(a)) && a->totals[OVERFLOW] == 0 &&
            a->costs[0] < best * (1.0 - 1e-9)) {
            best = a->costs[0];
            remember(a);
        }
    }
    return best;
}
