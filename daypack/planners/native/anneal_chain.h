// Moves of chains: a value comes back by computing what it is made from, and goes with what served it alone.
#pragma once

#include "anneal_reload.h"

// Room below which a slot counts as full, as a share of the budget: one part in so many.
enum { FULL = 100 };
enum { ROOM_MOVES = 256, MOST_CHAIN = 24, DEEPEST = 6, MOST_VISITS = 256 };

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
    int32_t slot, count, visits;
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
    if (!computable(a, value) || depth == DEEPEST || ++chain->visits > MOST_VISITS) {
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
