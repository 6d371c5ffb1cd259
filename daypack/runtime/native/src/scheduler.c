#include "scheduler.h"

#include <math.h>

/* Farther from its midnight, a time is within no half hour that could be told. */
static const double FAR_S = 1e12;

uint64_t daypack_cell(const daypack_policy_table *table, const double *observation, uint32_t state) {
  uint64_t cell = state;
  const double *edges = table->edges;
  for (uint32_t dimension = 0; dimension < table->dimension_count; dimension++) {
    uint32_t bins = table->bin_counts[dimension], low = 0, high = bins - 1;
    double value = observation[table->observables[dimension]];
    while (low < high) {
      uint32_t middle = low + (high - low) / 2;
      if (value < edges[middle])
        high = middle;
      else
        low = middle + 1;
    }
    cell = cell * bins + low;
    edges += bins - 1;
  }
  return cell;
}

static int is_quiet(const daypack_limits *limits, double hour) {
  if (limits->quiet_from_hour <= limits->quiet_to_hour)
    return hour >= limits->quiet_from_hour && hour < limits->quiet_to_hour;
  return hour >= limits->quiet_from_hour || hour < limits->quiet_to_hour;
}

/* A reading that is no number is in no order with a limit, and so forbids. */
uint32_t daypack_limit_in_force(const daypack_policy_table *table, const double *observation) {
  const daypack_limits *limits = &table->limits;
  if (!(observation[DAYPACK_OBSERVE_MEMORY_MB] >= limits->memory_mb)) return DAYPACK_BY_MEMORY;
  if (!(observation[DAYPACK_OBSERVE_BATTERY] >= limits->reserve)) return DAYPACK_BY_BATTERY;
  if (!(observation[DAYPACK_OBSERVE_SKIN] < limits->skin_celsius - limits->skin_margin_k)) return DAYPACK_BY_SKIN;
  if (limits->only_charging && observation[DAYPACK_OBSERVE_CHARGING] < 0.5) return DAYPACK_BY_CHARGER;
  if (limits->only_screen_off && observation[DAYPACK_OBSERVE_SCREEN] > 0.5) return DAYPACK_BY_SCREEN;
  if (is_quiet(limits, observation[DAYPACK_OBSERVE_HOUR])) return DAYPACK_BY_QUIET_HOURS;
  if (!(observation[DAYPACK_OBSERVE_SPENT_J] < limits->joules_per_day)) return DAYPACK_BY_JOULES;
  if (!(observation[DAYPACK_OBSERVE_WRITTEN_BYTES] < limits->written_bytes)) return DAYPACK_BY_WRITTEN;
  return DAYPACK_BY_POLICY;
}

daypack_decision daypack_decide(const daypack_policy_table *table, const double *observation, uint32_t state) {
  daypack_decision decision = {DAYPACK_PAUSE, 0, state, daypack_limit_in_force(table, observation)};
  if (decision.reason != DAYPACK_BY_POLICY) return decision;
  uint64_t cell = daypack_cell(table, observation, state);
  uint32_t action = table->actions[cell], next = table->next_state[cell];
  if (action >= table->action_count || next >= table->state_count || table->gears[action] < DAYPACK_PAUSE ||
      table->gears[action] >= (int32_t)table->gear_count) {
    decision.gear = table->safest_gear;
    decision.reason = DAYPACK_BY_GARBAGE;
    return decision;
  }
  decision.gear = table->gears[action];
  decision.rest_ms = table->rests_ms[action];
  decision.state = next;
  return decision;
}

void daypack_observe(const daypack_policy_table *table, const daypack_job_terms *job, const daypack_moment *moment,
                     const daypack_readings *readings, double seen[DAYPACK_OBSERVABLES]) {
  int endless = isinf(job->deadline_s);
  double left_s = fmax(job->deadline_s - moment->now_s, 0.0);
  double free_s = daypack_free_seconds(table, moment->now_s, job->deadline_s);
  double share = endless ? table->free_until[DAYPACK_HALF_HOURS] / DAYPACK_DAY_S : left_s > 0.0 ? free_s / left_s : 1.0;
  seen[DAYPACK_OBSERVE_BATTERY] = readings->battery;
  seen[DAYPACK_OBSERVE_SKIN] = readings->skin_celsius;
  seen[DAYPACK_OBSERVE_CHARGING] = readings->charging;
  seen[DAYPACK_OBSERVE_SCREEN] = readings->screen;
  seen[DAYPACK_OBSERVE_DEMAND] = free_s > 0.0 ? moment->steps_left * job->fastest_s / free_s : INFINITY;
  seen[DAYPACK_OBSERVE_TIME_LEFT] = left_s;
  seen[DAYPACK_OBSERVE_FORECAST] = share;
  seen[DAYPACK_OBSERVE_WORK_LEFT] = moment->steps_left / job->steps;
  seen[DAYPACK_OBSERVE_AMBIENT] = readings->ambient_celsius;
  seen[DAYPACK_OBSERVE_HOUR] = moment->day_s / 3600.0;
  seen[DAYPACK_OBSERVE_SPENT_J] = moment->spent_j;
  seen[DAYPACK_OBSERVE_WRITTEN_BYTES] = moment->written_bytes;
  seen[DAYPACK_OBSERVE_MEMORY_MB] = readings->memory_mb;
}

int daypack_consult(const daypack_policy_table *table, const daypack_job_terms *job, double now_s,
                    const double *observation, daypack_consultation *last) {
  uint64_t cell = daypack_cell(table, observation, 0);
  uint32_t limit = daypack_limit_in_force(table, observation);
  int due = job->period_s > 0.0 && now_s - last->asked_s >= job->period_s;
  if (last->asked && cell == last->cell && limit == last->limit && !due) return 0;
  last->decided_cell = daypack_cell(table, observation, last->decision.state);
  last->decision = daypack_decide(table, observation, last->decision.state);
  last->asked = 1;
  last->asked_s = now_s;
  last->cell = cell;
  last->limit = limit;
  return 1;
}

static const double TIGHT_SHARE = 0.10, CALM_SHARE = 0.01;
static const double SPARE_MB = 64.0; /* that is left to others: twice that before memory is taken again */
static const double ROOMY_S = 30.0;

int daypack_weigh_memory(daypack_memory_watch *watch, double now_s, double pressure, double memory_mb,
                         double running_mb, double whole_mb) {
  int tight = pressure > TIGHT_SHARE || memory_mb < running_mb + SPARE_MB;
  int known = !isnan(pressure) || !isnan(memory_mb);
  int roomy = known && !(pressure > CALM_SHARE) && !(memory_mb < whole_mb + 2.0 * SPARE_MB);
  if (!roomy || !watch->roomy) watch->roomy_s = now_s;
  watch->roomy = roomy;
  if (tight) {
    watch->pressed = 1;
    return 1;
  }
  if (!watch->pressed || !roomy || now_s - watch->roomy_s < ROOMY_S) return 0;
  watch->pressed = 0;
  return -1;
}

double daypack_drawn_j(double watts, double voltage_v, double resistance_ohm, double seconds) {
  double ampere = voltage_v > 0.0 ? watts / voltage_v : 0.0;
  return (watts + resistance_ohm * ampere * ampere) * seconds;
}

static double free_since_first_midnight(const daypack_policy_table *table, double at_s) {
  double days = floor(at_s / DAYPACK_DAY_S);
  double half_hours = (at_s - days * DAYPACK_DAY_S) / 1800.0;
  int32_t whole = (int32_t)half_hours;
  if (whole == DAYPACK_HALF_HOURS) whole--; /* rounded up to the end of the day */
  const double *until = table->free_until;
  double part = (half_hours - whole) * (until[whole + 1] - until[whole]);
  return days * until[DAYPACK_HALF_HOURS] + until[whole] + part;
}

double daypack_free_seconds(const daypack_policy_table *table, double from_s, double to_s) {
  if (!(to_s > from_s)) return 0.0;
  if (isinf(to_s)) return INFINITY;
  double all_s = to_s - from_s;
  if (!(from_s > -FAR_S && to_s < FAR_S)) return all_s * (table->free_until[DAYPACK_HALF_HOURS] / DAYPACK_DAY_S);
  double habit_s = free_since_first_midnight(table, to_s) - free_since_first_midnight(table, from_s);
  return habit_s + (all_s - habit_s) * DAYPACK_PERSIST_S / (DAYPACK_PERSIST_S + all_s);
}
