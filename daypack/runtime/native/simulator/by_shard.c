#include "by_shard.h"

#include <math.h>

static const double OBSERVE_NS = 1e9; /* at most once a second */

uint64_t daypack_shard_now_ns(const daypack_run *r) { return (uint64_t)llround(r->now_s * 1e9); }

static void round_clock(daypack_run *r) { r->now_s = (double)daypack_shard_now_ns(r) / 1e9; }

/* The longest for which everything is constant, at most `step` seconds. */
static double piece_s(const daypack_run *r, double step) {
  step = fmin(step, DAYPACK_MOST_S);
  step = fmin(step, r->tick_s - r->now_s);
  return fmax(daypack_run_constant_s(r, 0.0, step), 1e-9);
}

void daypack_shard_run(daypack_run *r, int32_t gear, int64_t shard) {
  double left = 1.0;
  while (left > 0.0 && r->now_s < r->recording->end_s) {
    daypack_run_settle(r);
    int32_t capped = daypack_run_capped(r, gear);
    (void)daypack_run_load(r, capped, 0);
    double whole_s = capped == DAYPACK_PAUSE ? INFINITY : r->job->shard_s[capped * r->job->shards + shard];
    double step = piece_s(r, left * whole_s);
    daypack_run_advance(r, 0.0, step, 1);
    left = step >= left * whole_s ? 0.0 : left - step / whole_s;
  }
  round_clock(r);
}

void daypack_shard_wait(daypack_run *r, double seconds, int awake, int active) {
  double end_s = fmin(r->now_s + seconds, r->recording->end_s);
  while (r->now_s < end_s) {
    daypack_run_settle(r);
    if (awake)
      daypack_run_rest(r);
    else
      (void)daypack_run_load(r, DAYPACK_PAUSE, 0);
    daypack_run_advance(r, 0.0, piece_s(r, end_s - r->now_s), active);
  }
  round_clock(r);
}

/* What the engine knows of itself. */
typedef struct {
  daypack_readings readings;
  uint64_t observed_ns;
  int64_t step, shard, day;
  double spent_j, sampled_s;
  int observed;
} engine_state;

static double steps_done(const daypack_run *r, const engine_state *at) {
  return (double)at->step + (double)at->shard / (double)r->job->shards;
}

static void observe(daypack_run *r, engine_state *at) {
  uint64_t now_ns = daypack_shard_now_ns(r);
  if (at->observed && (double)(now_ns - at->observed_ns) < OBSERVE_NS) return;
  at->observed = 1;
  at->observed_ns = now_ns;
  int64_t day = (int64_t)(r->now_s / DAYPACK_DAY_S);
  if (day > at->day) at->spent_j = 0.0;
  at->day = day;
  daypack_run_settle(r);
  daypack_run_readings(r, &at->readings);
  daypack_moment moment = {r->now_s, r->now_s - DAYPACK_DAY_S * floor(r->now_s / DAYPACK_DAY_S), r->steps_left,
                           at->spent_j, r->out->written_bytes};
  double seen[DAYPACK_OBSERVABLES];
  daypack_observe(r->table, &r->terms, &moment, &at->readings, seen);
  if (daypack_consult(r->table, &r->terms, r->now_s, seen, &r->asked)) daypack_run_decided(r);
}

static void spend(const daypack_run *r, engine_state *at, double watts, uint64_t since_ns) {
  double seconds = (double)(daypack_shard_now_ns(r) - since_ns) / 1e9;
  if (!at->readings.screen) watts += r->device->awake_w;
  at->spent_j += daypack_drawn_j(watts, r->device->voltage_v, r->device->resistance_ohm, seconds);
}

static void run_shard(daypack_run *r, engine_state *at) {
  const double *causes = r->job->watts + (int64_t)r->asked.decision.gear * CAUSE_AWAKE;
  double watts = 0.0;
  for (int cause = 0; cause < CAUSE_AWAKE; cause++) watts += causes[cause];
  uint64_t begin_ns = daypack_shard_now_ns(r);
  daypack_shard_run(r, r->asked.decision.gear, at->shard);
  spend(r, at, watts, begin_ns);
  if (++at->shard == r->job->shards) {
    at->shard = 0;
    at->step++;
    r->out->written_bytes += r->job->written_bytes_per_step;
  }
  r->out->steps = steps_done(r, at);
  r->steps_left = r->job->steps - r->out->steps;
  if (at->shard != 0 || r->asked.decision.rest_ms == 0) return;
  begin_ns = daypack_shard_now_ns(r);
  daypack_shard_wait(r, r->asked.decision.rest_ms / 1000.0, 1, 1);
  spend(r, at, 0.0, begin_ns);
}

void daypack_simulate_by_shard(const daypack_device *device, const daypack_recording *recording,
                               const daypack_job *job, const daypack_policy_table *table, daypack_trace *trace,
                               daypack_outcome *outcome) {
  daypack_run r;
  engine_state at = {.day = -1, .sampled_s = -DAYPACK_MOST_S};
  daypack_run_begin(&r, device, recording, job, table, trace, outcome);
  daypack_shard_wait(&r, job->start_s, 0, 0);
  while (r.now_s < recording->end_s - 1e-6 && (double)at.step < job->steps) {
    observe(&r, &at);
    if (r.asked.decision.gear == DAYPACK_PAUSE)
      daypack_shard_wait(&r, DAYPACK_LEAST_S, 0, 1);
    else
      run_shard(&r, &at);
    if (r.now_s - at.sampled_s < DAYPACK_MOST_S && (double)at.step < job->steps) continue;
    daypack_run_sample(&r);
    at.sampled_s = r.now_s;
  }
  if ((double)at.step >= job->steps) outcome->finish_s = r.now_s;
}
