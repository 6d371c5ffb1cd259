// One pass over an order within a budget: what does not fit is evicted, and comes back by page-in or recomputation
// when it is needed. `greedy.py` makes the arrays.
//
// The victim is the value with the least price for the room it makes: the cost of bringing it back, divided by its
// bytes and the time until it is needed (Belady's rule with costs; the scores of DTR, Kirisame et al. 2021, but with
// the future known). A value that nothing reads any more is still needed if an evicted value would be recomputed
// from it.
#include "planners.h"

enum { COMPUTE = 0, PAGE_IN = 1 };
enum { SOURCE = 1, KEPT = 2, PAGEABLE = 4, DIRTY = 8, PINNED = 16, ONCE = 32 };
enum { DONE = 1, DOES_NOT_FIT = 0, TOO_LONG = -1 };

// Stack frames of one look-up.
enum { MOST_DEPTH = 1000 };

#define NEVER ((int64_t)1 << 62)

struct greedy {
    int64_t values, steps, budget, most_loads;
    const int32_t *operand_start, *operand_list;
    const int32_t *user_start, *user_list;
    const int64_t *size, *workspace;
    const double *compute_cost, *read_cost, *write_cost;
    const uint8_t *traits;
    const int32_t *overwrites;
    const int32_t *order;                  // `steps` computes
    const int32_t *use_start, *use_list;   // of each value, the steps that use it, in order
    const int32_t *leave_start, *leave_list; // of each step, the values to give up after it without need
    int32_t *next_use;                     // index into use_list
    uint8_t *resident, *stale, *gone;      // gone: overwritten, cannot come back
    int64_t *need;                         // of an evicted value: the step that needs it
    double *restore;                       // of an evicted value: what bringing it back costs
    int32_t *pins;                         // how often a value must not be evicted now
    int32_t *members, *place;              // the resident values that may be evicted, and where each is in the list
    int32_t *stack, *stack_state;          // values under way, and how many of their operands are there
    int32_t *loads;                        // out: 2 * value + (compute 0 or page-in 1)
    int64_t *totals;
};

enum { LIVE, LOADS, MEMBERS, STEP, PEAK };

static bool is(const struct greedy *g, int32_t value, int trait) {
    return (g->traits[value] & trait) != 0;
}

static void enter(struct greedy *g, int32_t value) {
    g->resident[value] = 1;
    g->place[value] = (int32_t)g->totals[MEMBERS];
    g->members[g->totals[MEMBERS]++] = value;
}

static void leave(struct greedy *g, int32_t value) {
    const int32_t last = g->members[--g->totals[MEMBERS]];
    g->members[g->place[value]] = last;
    g->place[last] = g->place[value];
    g->resident[value] = 0;
}

// The step that reads a value next, itself or through an evicted value that is recomputed from it. What an evicted
// value was needed for may have passed without it, where another way was cheaper: it is then looked up anew, so deep;
// what lies deeper counts as needed now.
static int64_t needed_within(struct greedy *g, int32_t value, int depth) {
    if (depth == 0) {
        return g->totals[STEP];
    }
    int32_t *next = &g->next_use[value];
    while (*next < g->use_start[value + 1] && g->use_list[*next] < g->totals[STEP]) {
        (*next)++;
    }
    int64_t step = *next < g->use_start[value + 1] ? g->use_list[*next] : NEVER;
    for (int32_t i = g->user_start[value]; i < g->user_start[value + 1]; i++) {
        const int32_t user = g->user_list[i];
        if (!g->resident[user] && !g->gone[user]) {
            if (g->need[user] < g->totals[STEP]) {
                g->need[user] = needed_within(g, user, depth - 1);
            }
            step = least(step, g->need[user]);
        }
    }
    return step;
}

static int64_t needed_at(struct greedy *g, int32_t value) {
    return needed_within(g, value, MOST_DEPTH);
}

// What a page-in costs, and the page-out before it where flash has no current copy.
static double paging_cost(const struct greedy *g, int32_t value) {
    return g->read_cost[value] + (g->stale[value] ? g->write_cost[value] : 0.0);
}

// What bringing a value back would cost; negative if nothing can.
static double restore_cost(const struct greedy *g, int32_t value) {
    const double paged = is(g, value, PAGEABLE) ? paging_cost(g, value) : -1.0;
    if (is(g, value, SOURCE | ONCE) || g->overwrites[value] >= 0) {
        return paged;
    }
    double computed = g->compute_cost[value];
    for (int32_t i = g->operand_start[value]; i < g->operand_start[value + 1]; i++) {
        const int32_t operand = g->operand_list[i];
        if (g->gone[operand]) {
            return paged;
        }
        if (!g->resident[operand] && g->restore[operand] < 0.0) {
            return paged; // dropped for good
        }
        if (!g->resident[operand]) {
            computed += g->restore[operand];
        }
    }
    return paged >= 0.0 && paged < computed ? paged : computed;
}

// Written out if that is how it will come back.
static void evict(struct greedy *g, int32_t value, int64_t need, double cost) {
    g->need[value] = need;
    g->restore[value] = cost;
    g->totals[LIVE] -= g->size[value];
    leave(g, value);
    if (is(g, value, PAGEABLE) && cost == paging_cost(g, value)) {
        g->stale[value] = 0;
    }
}

// Evict until `bytes` more fit; false if what is left is pinned.
static bool make_room(struct greedy *g, int64_t bytes) {
    while (g->totals[LIVE] + bytes > g->budget) {
        int32_t victim = -1;
        int64_t victim_need = 0;
        double best = 0.0, victim_cost = 0.0;
        for (int64_t i = 0; i < g->totals[MEMBERS]; i++) {
            const int32_t value = g->members[i];
            if (g->pins[value] > 0 || is(g, value, PINNED) || g->size[value] == 0) {
                continue;
            }
            const int64_t need = needed_at(g, value);
            const double cost = restore_cost(g, value);
            if (need == NEVER && !(is(g, value, KEPT) && cost < 0.0)) {
                victim = value;
                victim_need = need;
                victim_cost = cost;
                break;
            }
            if (cost < 0.0) {
                continue;
            }
            const double room = (double)g->size[value] * (double)(need - g->totals[STEP] + 1);
            if (victim < 0 || cost * best < victim_cost * room) {
                victim = value;
                victim_need = need;
                victim_cost = cost;
                best = room;
            }
        }
        if (victim < 0) {
            return false;
        }
        evict(g, victim, victim_need, victim_cost);
    }
    return true;
}

static bool record(struct greedy *g, int32_t load) {
    if (g->totals[LOADS] == g->most_loads) {
        return false;
    }
    g->loads[g->totals[LOADS]++] = load;
    return true;
}

static void pin_operands(struct greedy *g, int32_t value, int32_t by) {
    for (int32_t i = g->operand_start[value]; i < g->operand_start[value + 1]; i++) {
        if (g->resident[g->operand_list[i]]) {
            g->pins[g->operand_list[i]] += by;
        }
    }
}

// A value is gone: what was evicted to be recomputed from it, directly or through others, has another price or no way
// back. What is in memory learns of it when it is evicted.
static void reprice_users(struct greedy *g, int32_t value, int depth) {
    for (int32_t i = g->user_start[value]; depth > 0 && i < g->user_start[value + 1]; i++) {
        const int32_t user = g->user_list[i];
        if (g->resident[user] || g->gone[user] || g->restore[user] < 0.0) {
            continue;
        }
        const double cost = restore_cost(g, user);
        if (cost != g->restore[user]) {
            g->restore[user] = cost;
            reprice_users(g, user, depth - 1);
        }
    }
}

// Run a node whose operands are resident.
static int64_t compute(struct greedy *g, int32_t value) {
    const int32_t old = g->overwrites[value];
    pin_operands(g, value, 1);
    const bool fits = make_room(g, (old < 0 ? g->size[value] : 0) + g->workspace[value]);
    pin_operands(g, value, -1);
    if (!fits) {
        return DOES_NOT_FIT;
    }
    for (int32_t i = g->operand_start[value]; i < g->operand_start[value + 1]; i++) {
        const int32_t operand = g->operand_list[i];
        if (is(g, operand, SOURCE) && is(g, operand, DIRTY)) {
            g->stale[operand] = 1;
        }
    }
    if (old >= 0) {
        leave(g, old);
        g->gone[old] = 1;
        reprice_users(g, old, MOST_DEPTH);
    } else {
        g->totals[LIVE] += g->size[value];
    }
    g->stale[value] = 1;
    enter(g, value);
    return record(g, 2 * value + COMPUTE) ? DONE : TOO_LONG;
}

static bool page_in_is_best(const struct greedy *g, int32_t value, bool ever) {
    if (!is(g, value, PAGEABLE) || !ever) {
        return false;
    }
    if (is(g, value, SOURCE | ONCE) || g->overwrites[value] >= 0) {
        return true;
    }
    double computed = g->compute_cost[value];
    for (int32_t i = g->operand_start[value]; i < g->operand_start[value + 1]; i++) {
        const int32_t operand = g->operand_list[i];
        if (g->gone[operand] || (!g->resident[operand] && g->restore[operand] < 0.0)) {
            return true;
        }
        computed += g->resident[operand] ? 0.0 : g->restore[operand];
    }
    return paging_cost(g, value) <= computed;
}

// Bring a value into memory, and first whatever it is computed from. Operands that are there wait pinned.
static int64_t materialize(struct greedy *g, int32_t wanted, bool first_time) {
    int32_t depth = 0;
    g->stack[0] = wanted;
    g->stack_state[0] = g->operand_start[wanted];
    while (depth >= 0) {
        const int32_t value = g->stack[depth];
        const bool anew = depth == 0 && first_time;
        if (!anew && g->stack_state[depth] == g->operand_start[value] && page_in_is_best(g, value, true)) {
            if (!make_room(g, g->size[value])) {
                return DOES_NOT_FIT;
            }
            g->totals[LIVE] += g->size[value];
            g->stale[value] = 0;
            enter(g, value);
            if (!record(g, 2 * value + PAGE_IN)) {
                return TOO_LONG;
            }
            if (depth-- > 0) {
                g->pins[value]++;
            }
            continue;
        }
        if (!anew && is(g, value, ONCE)) {
            return DOES_NOT_FIT;
        }
        if (g->stack_state[depth] < g->operand_start[value + 1]) {
            const int32_t operand = g->operand_list[g->stack_state[depth]++];
            if (g->gone[operand]) {
                return DOES_NOT_FIT;
            }
            if (g->resident[operand]) {
                g->pins[operand]++;
                continue;
            }
            if (is(g, operand, SOURCE) && !is(g, operand, PAGEABLE)) {
                return DOES_NOT_FIT;
            }
            depth++;
            g->stack[depth] = operand;
            g->stack_state[depth] = g->operand_start[operand];
            continue;
        }
        if (is(g, value, SOURCE)) {
            return DOES_NOT_FIT;
        }
        for (int32_t i = g->operand_start[value]; i < g->operand_start[value + 1]; i++) {
            g->pins[g->operand_list[i]]--;
        }
        const int64_t done = compute(g, value);
        if (done != DONE) {
            return done;
        }
        if (depth-- > 0) {
            g->pins[value]++;
        }
    }
    return DONE;
}

// Bring back what is evicted, still needed and could only be recomputed from `wanted`, which is about to change.
static int64_t rescue(struct greedy *g, int32_t wanted, int32_t writer) {
    for (int32_t i = g->user_start[wanted]; i < g->user_start[wanted + 1]; i++) {
        const int32_t user = g->user_list[i];
        const bool lost = user != writer && !g->resident[user] && !g->gone[user] && !is(g, user, PAGEABLE);
        if (lost && g->need[user] < NEVER && needed_at(g, user) < NEVER) {
            const int64_t done = materialize(g, user, false);
            if (done != DONE) {
                return done;
            }
            g->pins[user] += 1; // it cannot be recomputed any more
        }
    }
    return DONE;
}

// Drop what nothing needs, so that the list of candidates stays short.
static void sweep(struct greedy *g) {
    for (int64_t i = g->totals[MEMBERS] - 1; i >= 0; i--) {
        const int32_t value = g->members[i];
        const bool held = g->pins[value] > 0 || is(g, value, PINNED | KEPT);
        if (!held && needed_at(g, value) == NEVER) {
            evict(g, value, NEVER, restore_cost(g, value));
        }
    }
}

// Give up what the caller says, if it is still needed and can come back.
static void give_up(struct greedy *g, int64_t step) {
    for (int32_t i = g->leave_start[step]; i < g->leave_start[step + 1]; i++) {
        const int32_t value = g->leave_list[i];
        if (!g->resident[value] || g->pins[value] > 0 || is(g, value, PINNED)) {
            continue;
        }
        const int64_t need = needed_at(g, value);
        const double cost = restore_cost(g, value);
        if (cost >= 0.0 || (need == NEVER && !is(g, value, KEPT))) {
            evict(g, value, need, cost);
        }
    }
}

// Loads for the whole order, then for the kept values that are not there. DONE, DOES_NOT_FIT or TOO_LONG.
int64_t greedy_order(struct greedy *g) {
    for (int32_t value = 0; value < g->values; value++) {
        if (g->resident[value]) {
            g->totals[LIVE] += g->size[value];
            enter(g, value);
        }
    }
    for (int64_t step = 0; step < g->steps; step++) {
        const int32_t value = g->order[step];
        g->totals[STEP] = step;
        if (g->overwrites[value] >= 0) {
            const int64_t done = rescue(g, g->overwrites[value], value);
            if (done != DONE) {
                return done;
            }
        }
        const int64_t done = materialize(g, value, true);
        if (done != DONE) {
            return done;
        }
        g->totals[STEP] = step + 1;
        give_up(g, step);
        if (step % 16 == 0) {
            sweep(g);
        }
    }
    g->totals[STEP] = g->steps;
    for (int32_t value = 0; value < g->values; value++) {
        const bool missing = !g->resident[value] && !g->gone[value] && is(g, value, KEPT);
        if (missing && !is(g, value, PAGEABLE)) {
            const int64_t done = materialize(g, value, false);
            if (done != DONE) {
                return done;
            }
        }
        if (is(g, value, KEPT) && g->resident[value]) {
            g->pins[value]++;
        }
    }
    return DONE;
}
