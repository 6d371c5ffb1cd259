// Moves that load values again: at random, several levels deep, or a family of one operand.
#pragma once

#include "anneal_order.h"

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
