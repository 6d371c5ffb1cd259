/* Between two events everything is constant, so battery and heat advance in closed form: a straight line, and one
 * exponential a mode. */
#include "run.h"

#include <math.h>
#include <string.h>

static double node(const daypack_device *device, const daypack_system *at, int which) {
  double sum = 0.0;
  for (int mode = 0; mode < DAYPACK_NODES; mode++) sum += device->modes[which][mode] * at->z[mode];
  return sum;
}

static double loss_w(const daypack_device *device, double drawn_w) {
  double ampere = drawn_w > 0.0 ? drawn_w / device->voltage_v : 0.0;
  return device->resistance_ohm * ampere * ampere;
}

/* Set the load of a system: what training draws while it runs and while it rests, and its share of time. */
static void load(const daypack_run *r, daypack_system *at, double running_w, double resting_w, double duty,
                 double soc_w) {
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

static void advance(const daypack_device *device, daypack_system *at, const double *kept, double step_s) {
  for (int mode = 0; mode < DAYPACK_NODES; mode++)
    at->z[mode] = at->settled[mode] + (at->z[mode] - at->settled[mode]) * kept[mode];
  if (isinf(device->capacity_j)) return;
  at->stored_j = fmin(fmax(at->stored_j + at->stored_w * step_s, 0.0), device->capacity_j);
}

double daypack_run_skin(const daypack_run *r, const daypack_system *at) { return node(r->device, at, DAYPACK_SKIN); }

double daypack_run_battery(const daypack_run *r) {
  return isinf(r->device->capacity_j) ? 1.0 : r->real.stored_j / r->device->capacity_j;
}

void daypack_run_readings(const daypack_run *r, daypack_readings *readings) {
  const daypack_recording *rec = r->recording;
  readings->battery = daypack_run_battery(r);
  readings->skin_celsius = daypack_run_skin(r, &r->real);
  readings->ambient_celsius = rec->ambient_c[r->row];
  readings->memory_mb = rec->memory_mb[r->row];
  readings->charging = rec->charging[r->row];
  readings->screen = rec->screen[r->row];
}

void daypack_run_observe(const daypack_run *r, double *seen) {
  daypack_moment moment = {r->now_s, r->now_s - DAYPACK_DAY_S * floor(r->now_s / DAYPACK_DAY_S), r->steps_left,
                           r->spent_j, r->out->written_bytes};
  daypack_readings readings;
  daypack_run_readings(r, &readings);
  daypack_observe(r->table, &r->terms, &moment, &readings, seen);
}

void daypack_run_consult(daypack_run *r) {
  double seen[DAYPACK_OBSERVABLES];
  daypack_run_observe(r, seen);
  if (daypack_consult(r->table, &r->terms, r->now_s, seen, &r->asked)) daypack_run_decided(r);
}

void daypack_run_decided(daypack_run *r) {
  r->out->consultations++;
  daypack_trace *trace = r->trace;
  if (trace == NULL || trace->decisions >= trace->decision_limit) return;
  trace->decided_s[trace->decisions] = r->now_s;
  trace->decided_cell[trace->decisions] = r->asked.decided_cell;
  trace->decided_gear[trace->decisions++] = r->asked.decision.gear;
}

/* The device's own governor, as Linux's step_wise: a level down each period that is too hot, up when it is cool. */
static void govern(daypack_run *r) {
  if (r->now_s < r->tick_s) return;
  double skin = node(r->device, &r->real, DAYPACK_SKIN);
  if (skin >= r->device->control_celsius && r->level > 0) r->level--;
  if (skin < r->device->control_celsius - r->device->hysteresis_k && r->level < r->job->levels - 1) r->level++;
  r->tick_s = r->now_s + r->device->period_s;
}

void daypack_run_settle(daypack_run *r) {
  const daypack_recording *rec = r->recording;
  while (r->row + 1 < rec->rows && rec->t_s[r->row + 1] <= r->now_s) r->row++;
  int64_t day = (int64_t)(r->now_s / DAYPACK_DAY_S);
  if (day != r->day) {
    r->day = day;
    r->spent_j = 0.0;
  }
  govern(r);
}

int32_t daypack_run_capped(const daypack_run *r, int32_t gear) {
  if (gear == DAYPACK_PAUSE || r->real.stored_j <= 0.0) return DAYPACK_PAUSE;
  return r->job->capped[gear * r->job->levels + r->level];
}

static void load_both(daypack_run *r, double running_w) {
  double awake_w = r->resting_w;
  load(r, &r->real, running_w + awake_w, awake_w, r->duty, r->duty * running_w + awake_w);
  load(r, &r->idle, 0.0, 0.0, 1.0, 0.0);
  if (r->ran && r->gear == DAYPACK_PAUSE) r->out->pauses++;
  r->ran = r->gear != DAYPACK_PAUSE;
}

static const double nothing[CAUSE_AWAKE] = {0.0};

double daypack_run_load(daypack_run *r, int32_t gear, uint32_t rest_ms) {
  double running_w = 0.0, steps_per_s = 0.0;
  r->gear = gear;
  r->watts = nothing;
  r->resting_w = r->duty = 0.0;
  if (gear != DAYPACK_PAUSE) {
    double seconds = r->job->seconds[gear], rest = rest_ms / 1000.0;
    r->watts = r->job->watts + (int64_t)gear * CAUSE_AWAKE;
    for (int cause = 0; cause < CAUSE_AWAKE; cause++) running_w += r->watts[cause];
    r->resting_w = r->recording->screen[r->row] ? 0.0 : r->device->awake_w;
    steps_per_s = 1.0 / (seconds + rest);
    r->duty = seconds / (seconds + rest);
  }
  load_both(r, running_w);
  return steps_per_s;
}

void daypack_run_rest(daypack_run *r) {
  r->watts = nothing;
  r->duty = 0.0;
  r->resting_w = r->recording->screen[r->row] ? 0.0 : r->device->awake_w;
  load_both(r, 0.0);
}

double daypack_run_nearer(double limit_s, double distance, double rate) {
  return rate > 0.0 ? fmin(limit_s, distance / rate) : limit_s;
}

double daypack_run_skin_rate(const daypack_run *r) {
  double rate = 0.0;
  for (int mode = 0; mode < DAYPACK_NODES; mode++)
    rate += fabs(r->device->modes[DAYPACK_SKIN][mode] * (r->real.z[mode] - r->real.settled[mode])) *
            r->device->decay_per_s[mode];
  return rate;
}

double daypack_run_constant_s(const daypack_run *r, double steps_per_s, double step) {
  double row_end = r->row + 1 < r->recording->rows ? r->recording->t_s[r->row + 1] : r->recording->end_s;
  step = fmin(step, row_end - r->now_s);
  if (steps_per_s > 0.0) step = fmin(step, r->steps_left / steps_per_s);
  if (!isinf(r->device->capacity_j) && r->real.stored_w > 0.0 && r->real.stored_j < r->device->capacity_j)
    step = fmin(step, (r->device->capacity_j - r->real.stored_j) / r->real.stored_w);
  if (!isinf(r->device->capacity_j) && r->real.stored_w < 0.0 && r->real.stored_j > 0.0)
    step = fmin(step, -r->real.stored_j / r->real.stored_w);
  return step;
}

static void count(daypack_run *r, double steps_per_s, double step_s) {
  daypack_outcome *out = r->out;
  int running = r->gear != DAYPACK_PAUSE;
  double skin = node(r->device, &r->real, DAYPACK_SKIN), without = node(r->device, &r->idle, DAYPACK_SKIN);
  out->peak_skin_c = fmax(out->peak_skin_c, skin);
  if (skin > r->job->skin_celsius && (running || without <= r->job->skin_celsius)) out->over_limit_s += step_s;
  if (!running) {
    if (r->real.stored_j <= 0.0) out->off_s += step_s;
    out->paused_by_s[r->asked.decision.reason] += step_s;
    return;
  }
  double spent = 0.0;
  for (int cause = 0; cause < CAUSE_AWAKE; cause++) {
    double joules = r->duty * r->watts[cause] * step_s;
    out->joules[cause] += joules;
    spent += joules;
  }
  double lost = (r->real.loss_w - r->idle.loss_w) * step_s, awake = r->resting_w * step_s;
  out->joules[CAUSE_AWAKE] += awake;
  out->joules[CAUSE_BATTERY_LOSS] += lost;
  r->spent_j += spent + awake + lost;
  out->steps += steps_per_s * step_s;
  r->steps_left = fmax(r->steps_left - steps_per_s * step_s, 0.0);
  out->written_bytes += steps_per_s * step_s * r->job->written_bytes_per_step;
  out->running_s += step_s;
  out->lowest_battery = fmin(out->lowest_battery, daypack_run_battery(r));
  if (daypack_run_battery(r) < r->job->reserve) out->under_reserve_s += step_s;
  if (r->gear != r->asked.decision.gear) out->throttled_s += step_s;
  if (r->asked.decision.rest_ms >= 1000) out->slowed_s += step_s;
}

void daypack_run_advance(daypack_run *r, double steps_per_s, double step_s, int active) {
  double kept[DAYPACK_NODES];
  for (int mode = 0; mode < DAYPACK_NODES; mode++) kept[mode] = exp(-r->device->decay_per_s[mode] * step_s);
  advance(r->device, &r->real, kept, step_s);
  advance(r->device, &r->idle, kept, step_s);
  if (active) count(r, steps_per_s, step_s);
  r->now_s += step_s;
  r->out->events++;
}

void daypack_run_sample(daypack_run *r) {
  daypack_trace *trace = r->trace;
  if (trace == NULL || trace->samples >= trace->sample_limit) return;
  int64_t at = trace->samples++;
  trace->t_s[at] = r->now_s;
  trace->skin_c[at] = node(r->device, &r->real, DAYPACK_SKIN);
  trace->battery[at] = daypack_run_battery(r);
  trace->steps[at] = r->out->steps;
  trace->gear[at] = r->gear;
}

void daypack_run_begin(daypack_run *r, const daypack_device *device, const daypack_recording *recording,
                       const daypack_job *job, const daypack_policy_table *table, daypack_trace *trace,
                       daypack_outcome *outcome) {
  memset(r, 0, sizeof *r);
  memset(outcome, 0, sizeof *outcome);
  r->device = device;
  r->recording = recording;
  r->job = job;
  r->table = table;
  r->trace = trace;
  r->out = outcome;
  r->terms = (daypack_job_terms){job->steps, job->fastest_s, job->deadline_s, job->period_s};
  r->steps_left = job->steps;
  r->level = job->levels - 1;
  r->day = -1;
  r->asked.decision.gear = r->gear = DAYPACK_PAUSE;
  r->watts = nothing;
  outcome->finish_s = -1.0;
  outcome->peak_skin_c = -INFINITY;
  outcome->lowest_battery = INFINITY;
  r->real.stored_j = isinf(device->capacity_j) ? INFINITY : job->battery * device->capacity_j;
  for (int mode = 0; mode < DAYPACK_NODES; mode++)
    r->real.z[mode] = device->from_air[mode] * recording->ambient_c[0] / device->decay_per_s[mode];
  r->idle = r->real;
}
