// Moves of the order: a load by itself, or with the loads that must stay before or after it.
#pragma once

#include "anneal_state.h"

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
