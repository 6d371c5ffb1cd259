// Simulated annealing of plans; `anneal.py` makes the arrays and sets temperatures and prices.
//
// A state places loads (computes and page-ins) into slots of which most are empty, so that a load can move without
// shifting the others. From the loads follow the stays of each value (see `schedule.py`), from these the bytes that
// live in each slot. The energy is the cost plus a price on the bytes above the budget, summed over the slots that
// hold a load. A move edits loads, looks again at the values it touched (the loaded ones and their operands), and is
// kept or undone.
//
// Each value has a sorted list of events, `4 * slot + kind`: its loads and the computes that use it.
#include "anneal_chain.h"

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
