/* The simulator's loop. Between two events everything is constant, so battery and heat advance in closed form: a
 * straight line, and one exponential a mode. A step never passes the next row, minute, tick of the governor or end
 * of the job, nor the earliest moment at which an observed value could enter another bin; but it is at least one
 * second, so a policy is asked at most once a second. */
#include "simulator.h"

#include <math.h>
#include <string.h>

#define LEAST_S 1.0
#define MOST_S 60.0

/* Battery and heat, once as they are and once as they would be without the job. */
typedef struct {
  double stored_j;
  double z[DAYPACK_NODES];
  double settled[DAYPACK_NODES]; /* where z goes under the present load */
  double stored_w;               /* how fast the charge changes */
  double loss_w;
} system_state;

typedef struct {
  const daypack_device *device;
  const daypack_recording *recording;
  const daypack_job *job;
  const daypack_policy_table *table;
  daypack_trace *trace;
  daypack_outcome *out;
  system_state real, idle;
  daypack_decision decision;
  double now_s, asked_s, tick_s, steps_left, spent_j, duty;
  int64_t row, level, day;
  int32_t gear; /* what runs now */
  uint64_t cell;
  uint32_t limit;
  int asked, ran;
} run;

static double node(const daypack_device *device, const system_state *at, int which) {
  double sum = 0.0;
  for (int mode = 0; mode < DAYPACK_NODES; mode++) sum += device->modes[which][mode] * at->z[mode];
  return sum;
}

static double loss_w(const daypack_device *device, double drawn_w) {
  double ampere = drawn_w > 0.0 ? drawn_w / device->voltage_v : 0.0;
  return device->resistance_ohm * ampere * ampere;
}

/* Set the load of a system: what training draws while it runs and while it rests, and its share of time. */
static void load(const run *r, system_state *at, double running_w, double resting_w, double duty, double soc_w) {
  const daypack_device *device = r->device;
  double owner_w = r->recording->foreground_w[r->row];
  double charge_w = r->recording->charging[r->row] ? r->recording->charge_w[r->row] : 0.0;
  double busy = owner_w + running_w - charge_w, quiet = owner_w + resting_w - charge_w;
  double lost = duty * loss_w(device, busy) + (1.0 - duty) * loss_w(device, quiet);
  double drawn = duty * fmax(busy, 0.0) + (1.0 - duty) * fmax(quiet, 0.0);
  double surplus = duty * fmax(-busy, 0.0) + (1.0 - duty) * fmax(-quiet, 0.0);
  int full = at->stored_j >= device->capacity_j;
  double kept = full ? 0.0 : device->charge_efficiency * surplus;
  double watts[DAYPACK_NODES];
  watts[DAYPACK_CPU] = device->owner_cpu_share * owner_w + soc_w;
  watts[DAYPACK_SKIN] = (1.0 - device->owner_cpu_share) * owner_w;
  watts[DAYPACK_BATTERY] = lost + (full ? 0.0 : surplus - kept);
  at->loss_w = lost;
  at->stored_w = kept - drawn - lost;
  if (isinf(device->capacity_j)) at->stored_w = at->loss_w = watts[DAYPACK_BATTERY] = 0.0;
  for (int mode = 0; mode < DAYPACK_NODES; mode++) {
    double flow = device->from_air[mode] * r->recording->ambient_c[r->row];
    for (int which = 0; which < DAYPACK_NODES; which++) flow += device->from_watts[mode][which] * watts[which];
    at->settled[mode] = flow / device->decay_per_s[mode];
  }
}

static void advance(const daypack_device *device, system_state *at, const double *kept, double step_s) {
  for (int mode = 0; mode < DAYPACK_NODES; mode++)
    at->z[mode] = at->settled[mode] + (at->z[mode] - at->settled[mode]) * kept[mode];
  if (isinf(device->capacity_j)) return;
  at->stored_j = fmin(fmax(at->stored_j + at->stored_w * step_s, 0.0), device->capacity_j);
}

static double battery(const run *r) {
  return isinf(r->device->capacity_j) ? 1.0 : r->real.stored_j / r->device->capacity_j;
}

static void observe(const run *r, double *seen) {
  const daypack_recording *rec = r->recording;
  double left_s = fmax(r->job->deadline_s - r->now_s, 0.0);
  double free_s = daypack_free_seconds(r->table, r->now_s, r->job->deadline_s);
  double day_s = r->now_s - DAYPACK_DAY_S * floor(r->now_s / DAYPACK_DAY_S);
  seen[DAYPACK_OBSERVE_BATTERY] = battery(r);
  seen[DAYPACK_OBSERVE_SKIN] = node(r->device, &r->real, DAYPACK_SKIN);
  seen[DAYPACK_OBSERVE_CHARGING] = rec->charging[r->row];
  seen[DAYPACK_OBSERVE_SCREEN] = rec->screen[r->row];
  seen[DAYPACK_OBSERVE_DEMAND] = free_s > 0.0 ? r->steps_left * r->job->fastest_s / free_s : INFINITY;
  seen[DAYPACK_OBSERVE_TIME_LEFT] = left_s;
  seen[DAYPACK_OBSERVE_FORECAST] = left_s > 0.0 ? free_s / left_s : 1.0;
  seen[DAYPACK_OBSERVE_WORK_LEFT] = r->steps_left / r->job->steps;
  seen[DAYPACK_OBSERVE_AMBIENT] = rec->ambient_c[r->row];
  seen[DAYPACK_OBSERVE_HOUR] = day_s / 3600.0;
  seen[DAYPACK_OBSERVE_SPENT_J] = r->spent_j;
  seen[DAYPACK_OBSERVE_WRITTEN_BYTES] = r->out->written_bytes;
  seen[DAYPACK_OBSERVE_MEMORY_MB] = rec->memory_mb[r->row];
}

static void consult(run *r) {
  double seen[DAYPACK_OBSERVABLES];
  observe(r, seen);
  uint64_t cell = daypack_cell(r->table, seen, 0);
  uint32_t limit = daypack_limit_in_force(r->table, seen);
  int due = r->job->period_s > 0.0 && r->now_s - r->asked_s >= r->job->period_s;
  if (r->asked && cell == r->cell && limit == r->limit && !due) return;
  uint64_t decided = daypack_cell(r->table, seen, r->decision.state);
  r->decision = daypack_decide(r->table, seen, r->decision.state);
  r->asked = 1;
  r->asked_s = r->now_s;
  r->cell = cell;
  r->limit = limit;
  r->out->consultations++;
  daypack_trace *trace = r->trace;
  if (trace != NULL && trace->decisions < trace->decision_limit) {
    trace->decided_s[trace->decisions] = r->now_s;
    trace->decided_cell[trace->decisions] = decided;
    trace->decided_gear[trace->decisions++] = r->decision.gear;
  }
}

/* The device's own governor, as Linux's step_wise: a level down each period that is too hot, up when it is cool. */
static void govern(run *r) {
  if (r->now_s < r->tick_s) return;
  double skin = node(r->device, &r->real, DAYPACK_SKIN);
  if (skin >= r->device->control_celsius && r->level > 0) r->level--;
  if (skin < r->device->control_celsius - r->device->hysteresis_k && r->level < r->job->levels - 1) r->level++;
  r->tick_s = r->now_s + r->device->period_s;
}

static double nearer(double limit_s, double distance, double rate) {
  return rate > 0.0 ? fmin(limit_s, distance / rate) : limit_s;
}

/* The soonest that a value which changes by at most `rate` a second can be in another bin or pass `also`. */
static double soonest(const run *r, uint32_t observable, double value, double rate, double also, double limit_s) {
  limit_s = nearer(limit_s, fabs(value - also), rate);
  const double *edges = r->table->edges;
  for (uint32_t dimension = 0; dimension < r->table->dimension_count; dimension++) {
    uint32_t bins = r->table->bin_counts[dimension];
    if (r->table->observables[dimension] == observable)
      for (uint32_t edge = 0; edge + 1 < bins; edge++)
        limit_s = nearer(limit_s, fabs(value - edges[edge]), rate);
    edges += bins - 1;
  }
  return limit_s;
}

static double skin_rate(const run *r) {
  double rate = 0.0;
  for (int mode = 0; mode < DAYPACK_NODES; mode++)
    rate += fabs(r->device->modes[DAYPACK_SKIN][mode] * (r->real.z[mode] - r->real.settled[mode])) *
            r->device->decay_per_s[mode];
  return rate;
}

/* The soonest that the policy could see something else. */
static double unseen_s(const run *r, double steps_per_s, double step) {
  const daypack_limits *limits = &r->table->limits;
  double seen[DAYPACK_OBSERVABLES];
  observe(r, seen);
  double skin = seen[DAYPACK_OBSERVE_SKIN], rate = skin_rate(r);
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
  if (r->job->period_s > 0.0) step = fmin(step, r->job->period_s - (r->now_s - r->asked_s));
  return step;
}

/* How long nothing can happen. */
static double quiet_s(const run *r, double steps_per_s, int active) {
  double minute = MOST_S - fmod(r->now_s, MOST_S);
  double step = active ? unseen_s(r, steps_per_s, minute) : minute;
  double skin = node(r->device, &r->real, DAYPACK_SKIN), rate = skin_rate(r);
  step = nearer(step, fabs(skin - r->device->control_celsius), rate);
  step = nearer(step, fabs(skin - r->job->skin_celsius), rate);
  if (r->level < r->job->levels - 1 || skin >= r->device->control_celsius) step = fmin(step, r->tick_s - r->now_s);
  step = fmax(step, LEAST_S);
  step = fmin(step, minute);
  double row_end = r->row + 1 < r->recording->rows ? r->recording->t_s[r->row + 1] : r->recording->end_s;
  step = fmin(step, row_end - r->now_s);
  if (steps_per_s > 0.0) step = fmin(step, r->steps_left / steps_per_s);
  if (!isinf(r->device->capacity_j) && r->real.stored_w > 0.0 && r->real.stored_j < r->device->capacity_j)
    step = fmin(step, (r->device->capacity_j - r->real.stored_j) / r->real.stored_w);
  if (!isinf(r->device->capacity_j) && r->real.stored_w < 0.0 && r->real.stored_j > 0.0)
    step = fmin(step, -r->real.stored_j / r->real.stored_w);
  return fmax(step, 1e-6);
}

static void count(run *r, const double *watts, double resting_w, double steps_per_s, double step_s) {
  daypack_outcome *out = r->out;
  int running = r->gear != DAYPACK_PAUSE;
  double skin = node(r->device, &r->real, DAYPACK_SKIN), without = node(r->device, &r->idle, DAYPACK_SKIN);
  out->peak_skin_c = fmax(out->peak_skin_c, skin);
  if (skin > r->job->skin_celsius && (running || without <= r->job->skin_celsius)) out->over_limit_s += step_s;
  if (!running) {
    if (r->real.stored_j <= 0.0) out->off_s += step_s;
    out->paused_by_s[r->decision.reason] += step_s;
    return;
  }
  double spent = 0.0;
  for (int cause = 0; cause < CAUSE_AWAKE; cause++) {
    double joules = r->duty * watts[cause] * step_s;
    out->joules[cause] += joules;
    spent += joules;
  }
  double lost = (r->real.loss_w - r->idle.loss_w) * step_s, awake = resting_w * step_s;
  out->joules[CAUSE_AWAKE] += awake;
  out->joules[CAUSE_BATTERY_LOSS] += lost;
  r->spent_j += spent + awake + lost;
  out->steps += steps_per_s * step_s;
  r->steps_left = fmax(r->steps_left - steps_per_s * step_s, 0.0);
  out->written_bytes += steps_per_s * step_s * r->job->written_bytes_per_step;
  out->running_s += step_s;
  out->lowest_battery = fmin(out->lowest_battery, battery(r));
  if (battery(r) < r->job->reserve) out->under_reserve_s += step_s;
  if (r->gear != r->decision.gear) out->throttled_s += step_s;
  if (r->decision.rest_ms >= 1000) out->slowed_s += step_s;
}

static void sample(run *r) {
  daypack_trace *trace = r->trace;
  if (trace == NULL || trace->samples >= trace->sample_limit) return;
  int64_t at = trace->samples++;
  trace->t_s[at] = r->now_s;
  trace->skin_c[at] = node(r->device, &r->real, DAYPACK_SKIN);
  trace->battery[at] = battery(r);
  trace->steps[at] = r->out->steps;
  trace->gear[at] = r->gear;
}

/* One event: decide, load, advance. `active` is 0 before the job begins. */
static void event(run *r, int active) {
  const daypack_recording *rec = r->recording;
  while (r->row + 1 < rec->rows && rec->t_s[r->row + 1] <= r->now_s) r->row++;
  int64_t day = (int64_t)(r->now_s / DAYPACK_DAY_S);
  if (day != r->day) {
    r->day = day;
    r->spent_j = 0.0;
  }
  govern(r);
  r->gear = DAYPACK_PAUSE;
  if (active) {
    consult(r);
    if (r->decision.gear != DAYPACK_PAUSE && r->real.stored_j > 0.0)
      r->gear = r->job->capped[r->decision.gear * r->job->levels + r->level];
  }
  static const double nothing[CAUSE_AWAKE] = {0.0};
  const double *watts = nothing;
  double resting_w = 0.0, steps_per_s = 0.0, running_w = 0.0;
  r->duty = 0.0;
  if (r->gear != DAYPACK_PAUSE) {
    double seconds = r->job->seconds[r->gear], rest = r->decision.rest_ms / 1000.0;
    watts = r->job->watts + (int64_t)r->gear * CAUSE_AWAKE;
    for (int cause = 0; cause < CAUSE_AWAKE; cause++) running_w += watts[cause];
    resting_w = rec->screen[r->row] ? 0.0 : r->device->awake_w;
    steps_per_s = 1.0 / (seconds + rest);
    r->duty = seconds / (seconds + rest);
  }
  load(r, &r->real, running_w + resting_w, resting_w, r->duty, r->duty * running_w + resting_w);
  load(r, &r->idle, 0.0, 0.0, 1.0, 0.0);
  if (r->ran && r->gear == DAYPACK_PAUSE) r->out->pauses++;
  r->ran = r->gear != DAYPACK_PAUSE;
  double step_s = quiet_s(r, steps_per_s, active);
  if (!active) step_s = fmin(step_s, fmax(r->job->start_s - r->now_s, 1e-6));
  double kept[DAYPACK_NODES];
  for (int mode = 0; mode < DAYPACK_NODES; mode++) kept[mode] = exp(-r->device->decay_per_s[mode] * step_s);
  advance(r->device, &r->real, kept, step_s);
  advance(r->device, &r->idle, kept, step_s);
  if (active) count(r, watts, resting_w, steps_per_s, step_s);
  r->now_s += step_s;
  r->out->events++;
}

void daypack_simulate(const daypack_device *device, const daypack_recording *recording, const daypack_job *job,
                      const daypack_policy_table *table, daypack_trace *trace, daypack_outcome *outcome) {
  run r;
  memset(&r, 0, sizeof r);
  memset(outcome, 0, sizeof *outcome);
  r.device = device;
  r.recording = recording;
  r.job = job;
  r.table = table;
  r.trace = trace;
  r.out = outcome;
  r.steps_left = job->steps;
  r.level = job->levels - 1;
  r.day = -1;
  r.decision.gear = DAYPACK_PAUSE;
  outcome->finish_s = -1.0;
  outcome->peak_skin_c = -INFINITY;
  outcome->lowest_battery = INFINITY;
  r.real.stored_j = isinf(device->capacity_j) ? INFINITY : job->battery * device->capacity_j;
  for (int mode = 0; mode < DAYPACK_NODES; mode++)
    r.real.z[mode] = device->from_air[mode] * recording->ambient_c[0] / device->decay_per_s[mode];
  r.idle = r.real;
  double sampled_s = -1.0;
  while (r.now_s < recording->end_s - 1e-6 && r.steps_left > 1e-9) {
    event(&r, r.now_s >= job->start_s - 1e-9);
    if (r.now_s - sampled_s >= MOST_S - 1e-6 || r.steps_left <= 1e-9) {
      sample(&r);
      sampled_s = r.now_s;
    }
  }
  if (r.steps_left <= 1e-9) outcome->finish_s = r.now_s;
}
