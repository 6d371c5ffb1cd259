/* The simulator's loop in which work flows. A step never passes the next row, minute, tick of the governor or end of
 * the job, nor the earliest moment at which an observed value could enter another bin; but it is at least one
 * second, so a policy is asked at most once a second. */
#include "simulator.h"

#include <math.h>

#include "run.h"

/* The soonest that a value which changes by at most `rate` a second can be in another bin or pass `also`. */
static double soonest(const daypack_run *r, uint32_t observable, double value, double rate, double also,
                      double limit_s) {
  limit_s = daypack_run_nearer(limit_s, fabs(value - also), rate);
  const double *edges = r->table->edges;
  for (uint32_t dimension = 0; dimension < r->table->dimension_count; dimension++) {
    uint32_t bins = r->table->bin_counts[dimension];
    if (r->table->observables[dimension] == observable)
      for (uint32_t edge = 0; edge + 1 < bins; edge++)
        limit_s = daypack_run_nearer(limit_s, fabs(value - edges[edge]), rate);
    edges += bins - 1;
  }
  return limit_s;
}

/* The soonest that the policy could see something else. */
static double unseen_s(const daypack_run *r, double steps_per_s, double step) {
  const daypack_limits *limits = &r->table->limits;
  double seen[DAYPACK_OBSERVABLES];
  daypack_run_observe(r, seen);
  double skin = seen[DAYPACK_OBSERVE_SKIN], rate = daypack_run_skin_rate(r);
  step = soonest(r, DAYPACK_OBSERVE_SKIN, skin, rate, limits->skin_celsius - limits->skin_margin_k, step);
  if (!isinf(r->device->capacity_j))
    step = soonest(r, DAYPACK_OBSERVE_BATTERY, seen[DAYPACK_OBSERVE_BATTERY],
                   fabs(r->real.stored_w) / r->device->capacity_j, limits->reserve, step);
  double demand = seen[DAYPACK_OBSERVE_DEMAND];
  double free_s = daypack_free_seconds(r->table, r->now_s, r->job->deadline_s);
  if (demand > 0.0 && free_s > 0.0)
    step = soonest(r, DAYPACK_OBSERVE_DEMAND, demand,
                   demand * (1.0 / free_s + steps_per_s / fmax(r->steps_left, 1e-9)), -1.0, step);
  step = soonest(r, DAYPACK_OBSERVE_TIME_LEFT, seen[DAYPACK_OBSERVE_TIME_LEFT], 1.0, 0.0, step);
  if (r->job->period_s > 0.0) step = fmin(step, r->job->period_s - (r->now_s - r->asked.asked_s));
  return step;
}

/* How long nothing can happen. */
static double quiet_s(const daypack_run *r, double steps_per_s, int active) {
  double minute = DAYPACK_MOST_S - fmod(r->now_s, DAYPACK_MOST_S);
  double step = active ? unseen_s(r, steps_per_s, minute) : minute;
  double skin = daypack_run_skin(r, &r->real), rate = daypack_run_skin_rate(r);
  step = daypack_run_nearer(step, fabs(skin - r->device->control_celsius), rate);
  step = daypack_run_nearer(step, fabs(skin - r->job->skin_celsius), rate);
  if (r->level < r->job->levels - 1 || skin >= r->device->control_celsius) step = fmin(step, r->tick_s - r->now_s);
  step = fmin(fmax(step, DAYPACK_LEAST_S), minute);
  return fmax(daypack_run_constant_s(r, steps_per_s, step), 1e-6);
}

/* One event: decide, load, advance. `active` is 0 before the job begins. */
static void event(daypack_run *r, int active) {
  daypack_run_settle(r);
  if (active) daypack_run_consult(r);
  int32_t gear = active ? daypack_run_capped(r, r->asked.decision.gear) : DAYPACK_PAUSE;
  double steps_per_s = daypack_run_load(r, gear, r->asked.decision.rest_ms);
  double step_s = quiet_s(r, steps_per_s, active);
  if (!active) step_s = fmin(step_s, fmax(r->job->start_s - r->now_s, 1e-6));
  daypack_run_advance(r, steps_per_s, step_s, active);
}

void daypack_simulate(const daypack_device *device, const daypack_recording *recording, const daypack_job *job,
                      const daypack_policy_table *table, daypack_trace *trace, daypack_outcome *outcome) {
  daypack_run r;
  daypack_run_begin(&r, device, recording, job, table, trace, outcome);
  double sampled_s = -1.0;
  while (r.now_s < recording->end_s - 1e-6 && r.steps_left > 1e-9) {
    event(&r, r.now_s >= job->start_s - 1e-9);
    if (r.now_s - sampled_s >= DAYPACK_MOST_S - 1e-6 || r.steps_left <= 1e-9) {
      daypack_run_sample(&r);
      sampled_s = r.now_s;
    }
  }
  if (r.steps_left <= 1e-9) outcome->finish_s = r.now_s;
}
