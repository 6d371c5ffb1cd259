// One depth-first search for a layout within a capacity; `layout_search.py` restarts it with other tastes.
//
// Time is cut into sections (between two neighbouring lifetime ends). Each section has a height (what is filled so
// far) and a slack (capacity minus height minus what is still to be placed over it): waste is paid from slack, and
// a section without slack must be filled without a hole. Every layout can be pushed down until each buffer rests on
// the floor or on another buffer, so some buffer rests on each low plateau, or a part of it stays empty for good
// ("closed").
//
//     height ┤        ┌───┐          sections 1..3 are a low plateau (a run below both its neighbours):
//          3 ┤────┐   │   │          buffers alive only within 1..3 may rest on it. When all of it is closed,
//          1 ┤    └───┘   │          it is raised to its lower wall and its sections pay the difference.
//            └────┴───┴───┴──
//              0   1..3   4
//
// The search branches on the section with the fewest buffers that could rest there (and closing it, where slack
// allows), divided by how often the section made the search fail.
#include "planners.h"

enum { FOUND = 1, IMPOSSIBLE = 0, UNDECIDED = -1 };
enum { CLOSE = -1 };

struct search {
    int64_t buffers, sections, capacity;
    // Of each buffer: first and last section (half-open), size, and the score that orders the choices of a place.
    const int64_t *lower, *upper, *size;
    const double *score;
    // The buffers alive in section s: alive_list[alive_start[s] .. alive_start[s + 1]).
    const int64_t *alive_start, *alive_list;
    double *blame;
    // One row a depth; depths = buffers + sections + 2.
    int64_t *height, *slack; // sections a row; row 0 is the start
    uint8_t *closed;         // sections a row
    int64_t *choices;        // buffers + 1 a row
    int64_t *choice_count, *next_choice, *chosen_section;
    // Scratch of one node.
    uint8_t *placed, *fitting, *usable;
    int64_t *end, *count, *rest, *sorted_rest, *sorted_size;
    int64_t *offsets;
};

// Write the end of each section's run of equal height; mark the sections of low runs that are not closed.
// The first section of a low run that is wholly closed, or -1.
static int64_t mark_plateaus(const struct search *s, const int64_t *height, const uint8_t *closed) {
    int64_t wholly_closed = -1;
    for (int64_t begin = 0, stop = 0; begin < s->sections; begin = stop) {
        bool all_closed = true;
        for (stop = begin; stop < s->sections && height[stop] == height[begin]; stop++) {
            all_closed = all_closed && closed[stop];
        }
        const bool low = (begin == 0 || height[begin - 1] > height[begin]) &&
                         (stop == s->sections || height[stop] > height[begin]) && height[begin] < s->capacity;
        for (int64_t section = begin; section < stop; section++) {
            s->end[section] = stop;
            s->usable[section] = low && !closed[section];
        }
        if (low && all_closed && wholly_closed < 0) {
            wholly_closed = begin;
        }
    }
    return wholly_closed;
}

// Lift a closed run to its lower wall; false if a section's slack cannot pay for it.
static bool raise_run(const struct search *s, int64_t begin, int64_t *height, int64_t *slack, uint8_t *closed) {
    const int64_t stop = s->end[begin];
    int64_t wall = begin > 0 ? height[begin - 1] : s->capacity;
    if (stop < s->sections) {
        wall = least(wall, height[stop]);
    }
    const int64_t waste = wall - height[begin];
    for (int64_t section = begin; section < stop; section++) {
        if (slack[section] < waste) {
            s->blame[section] += 1.0;
            return false;
        }
    }
    for (int64_t section = begin; section < stop; section++) {
        slack[section] -= waste;
        height[section] = wall;
        closed[section] = 0;
    }
    return true;
}

// Which buffers could rest on a low run, and how many of them each section has.
static void count_fitting(const struct search *s) {
    for (int64_t section = 0; section < s->sections; section++) {
        s->count[section] = 0;
    }
    for (int64_t buffer = 0; buffer < s->buffers; buffer++) {
        const int64_t lower = s->lower[buffer], upper = s->upper[buffer];
        bool fits = !s->placed[buffer] && s->usable[lower] && s->end[lower] >= upper;
        for (int64_t section = lower; fits && section < upper; section++) {
            fits = s->usable[section];
        }
        s->fitting[buffer] = fits;
        for (int64_t section = lower; fits && section < upper; section++) {
            s->count[section]++;
        }
    }
}

// Close and raise what has no choice left, until nothing changes; false on a contradiction.
static bool settle(const struct search *s, int64_t *height, int64_t *slack, uint8_t *closed) {
    for (;;) {
        const int64_t run = mark_plateaus(s, height, closed);
        if (run >= 0) {
            if (!raise_run(s, run, height, slack, closed)) {
                return false;
            }
            continue;
        }
        count_fitting(s);
        bool changed = false;
        for (int64_t section = 0; section < s->sections; section++) {
            if (!s->usable[section] || s->count[section] > 0) {
                continue;
            }
            if (slack[section] == 0) {
                s->blame[section] += 1.0;
                return false;
            }
            closed[section] = 1;
            changed = true;
        }
        if (!changed) {
            return true;
        }
    }
}

// Write the lowest place where each unplaced buffer can rest; false if one does not fit over it.
static bool all_reachable(const struct search *s, const int64_t *height) {
    for (int64_t buffer = 0; buffer < s->buffers; buffer++) {
        if (s->placed[buffer]) {
            continue;
        }
        int64_t top = 0;
        for (int64_t section = s->lower[buffer]; section < s->upper[buffer]; section++) {
            top = most(top, height[section]);
        }
        s->rest[buffer] = top;
        if (top + s->size[buffer] <= s->capacity) {
            continue;
        }
        for (int64_t section = s->lower[buffer]; section < s->upper[buffer]; section++) {
            s->blame[section] += height[section] == top ? 1.0 : 0.0;
        }
        return false;
    }
    return true;
}

// Whether a section has no hole larger than its slack below the buffers that cannot come lower: in order of the
// lowest place where they can rest, its buffers plus its slack must reach the place of the next one.
static bool fillable(const struct search *s, int64_t section, int64_t height, int64_t slack) {
    int64_t filled = height + slack, waiting = 0;
    for (int64_t index = s->alive_start[section]; index < s->alive_start[section + 1]; index++) {
        const int64_t buffer = s->alive_list[index];
        if (s->placed[buffer]) {
            continue;
        }
        const int64_t rest = s->rest[buffer];
        if (rest <= height + slack) {
            filled += s->size[buffer];
            continue;
        }
        int64_t rank = waiting++;
        for (; rank > 0 && s->sorted_rest[rank - 1] > rest; rank--) {
            s->sorted_rest[rank] = s->sorted_rest[rank - 1];
            s->sorted_size[rank] = s->sorted_size[rank - 1];
        }
        s->sorted_rest[rank] = rest;
        s->sorted_size[rank] = s->size[buffer];
    }
    for (int64_t rank = 0; rank < waiting; rank++) {
        if (s->sorted_rest[rank] > filled) {
            s->blame[section] += 1.0;
            return false;
        }
        filled += s->sorted_size[rank];
    }
    return true;
}

static bool all_fillable(const struct search *s, const int64_t *height, const int64_t *slack) {
    for (int64_t section = 0; section < s->sections; section++) {
        if (!fillable(s, section, height[section], slack[section])) {
            return false;
        }
    }
    return true;
}

// The usable section with the fewest choices for its blame; -1 if none is left.
static int64_t choose_section(const struct search *s, const int64_t *slack) {
    int64_t best = -1;
    double best_score = 0.0;
    for (int64_t section = 0; section < s->sections; section++) {
        if (!s->usable[section]) {
            continue;
        }
        const int64_t choices = s->count[section] + (slack[section] > 0);
        const double score = choices <= 1 ? 0.0 : (double)choices / s->blame[section];
        if (best < 0 || score < best_score) {
            best = section;
            best_score = score;
        }
    }
    return best;
}

// The buffers that may rest on a section, best score first; how many.
static int64_t collect(const struct search *s, int64_t section, int64_t *choices) {
    int64_t total = 0;
    for (int64_t index = s->alive_start[section]; index < s->alive_start[section + 1]; index++) {
        const int64_t buffer = s->alive_list[index];
        if (!s->fitting[buffer]) {
            continue;
        }
        int64_t rank = total++;
        for (; rank > 0 && s->score[choices[rank - 1]] < s->score[buffer]; rank--) {
            choices[rank] = choices[rank - 1];
        }
        choices[rank] = buffer;
    }
    return total;
}

// Fill the choices of a node: none if it is a dead end.
static void expand(const struct search *s, int64_t depth) {
    const int64_t *slack = s->slack + depth * s->sections;
    const int64_t section = choose_section(s, slack);
    if (section < 0) {
        return;
    }
    int64_t *choices = s->choices + depth * (s->buffers + 1);
    int64_t total = collect(s, section, choices);
    if (slack[section] > 0) {
        choices[total++] = CLOSE;
    }
    s->choice_count[depth] = total;
    s->chosen_section[depth] = section;
}

// Apply the next choice of a node and make the next depth's row; 1 if it places a buffer, 0 if it closes.
static int64_t descend(const struct search *s, int64_t depth) {
    const int64_t sections = s->sections;
    const int64_t *height = s->height + depth * sections, *slack = s->slack + depth * sections;
    const uint8_t *closed = s->closed + depth * sections;
    for (int64_t section = 0; section < sections; section++) {
        s->height[(depth + 1) * sections + section] = height[section];
        s->slack[(depth + 1) * sections + section] = slack[section];
        s->closed[(depth + 1) * sections + section] = closed[section];
    }
    const int64_t choice = s->choices[depth * (s->buffers + 1) + s->next_choice[depth]++];
    if (choice == CLOSE) {
        s->closed[(depth + 1) * sections + s->chosen_section[depth]] = 1;
        return 0;
    }
    s->offsets[choice] = height[s->lower[choice]];
    for (int64_t section = s->lower[choice]; section < s->upper[choice]; section++) {
        s->height[(depth + 1) * sections + section] += s->size[choice];
    }
    s->placed[choice] = 1;
    return 1;
}

// Search at most `max_nodes` nodes. FOUND fills `offsets`; IMPOSSIBLE is a proof; UNDECIDED means out of nodes.
// `thorough` asks for `all_fillable` at each node: fewer nodes, each slower.
int64_t layout_search(struct search *s, int64_t max_nodes, int64_t thorough) {
    int64_t depth = 0, placed = 0;
    for (int64_t node = 0; node < max_nodes; node++) {
        int64_t *height = s->height + depth * s->sections, *slack = s->slack + depth * s->sections;
        bool alive = settle(s, height, slack, s->closed + depth * s->sections);
        if (alive && placed == s->buffers) {
            return FOUND;
        }
        alive = alive && all_reachable(s, height) && (!thorough || all_fillable(s, height, slack));
        s->choice_count[depth] = 0;
        s->next_choice[depth] = 0;
        if (alive) {
            expand(s, depth);
        }
        while (s->next_choice[depth] >= s->choice_count[depth]) {
            if (--depth < 0) {
                return IMPOSSIBLE;
            }
            const int64_t undone = s->choices[depth * (s->buffers + 1) + s->next_choice[depth] - 1];
            if (undone != CLOSE) {
                s->placed[undone] = 0;
                placed--;
            }
        }
        placed += descend(s, depth);
        depth++;
    }
    return UNDECIDED;
}
