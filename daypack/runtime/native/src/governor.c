/* Between two shards: readings in, a decision out, and what it takes to do it. */
#include "governor.h"

#include <math.h>
#include <string.h>

#include "internal.h"

#define SECOND_NS UINT64_C(1000000000)
#define DAY_NS (UINT64_C(86400) * SECOND_NS)

static const double CLOCK_SLACK_S = 2.0;

static daypack_governor the_governor;

static uint64_t owner_wall_ns(const daypack_engine *engine) {
  int64_t offset_ns = (int64_t)engine->options.utc_offset_s * (int64_t)SECOND_NS;
  return (uint64_t)((int64_t)engine->platform->wall_ns() + offset_ns);
}

/* The time since the midnight before the start; a clock that steps back stands still. */
double daypack_governor_now_s(daypack_engine *engine) {
  daypack_governor *governor = engine->governor;
  uint64_t elapsed_ns = engine->platform->boot_ns() - governor->start_boot_ns;
  uint64_t now_ns = governor->start_wall_ns % DAY_NS + elapsed_ns;
  if ((int64_t)elapsed_ns >= 0 && now_ns > governor->now_ns) governor->now_ns = now_ns;
  return (double)governor->now_ns / 1e9;
}

/* The time of day: of the owner's clock where that was set anew since. */
static double time_of_day_s(daypack_engine *engine, double at_s) {
  double expected_s = at_s - DAYPACK_DAY_S * floor(at_s / DAYPACK_DAY_S);
  double shown_s = (double)(owner_wall_ns(engine) % DAY_NS) / 1e9;
  double apart_s = fabs(shown_s - expected_s);
  return fmin(apart_s, DAYPACK_DAY_S - apart_s) > CLOCK_SLACK_S ? shown_s : expected_s;
}

static uint64_t count_shards(const daypack_plan *plan) {
  uint64_t shards = 0, count = plan->header->steps.count;
  for (uint64_t index = 0; index < count; index++) shards += plan->steps[index].op == DAYPACK_OP_END_SHARD;
  if (count == 0 || plan->steps[count - 1].op != DAYPACK_OP_END_SHARD) shards++;
  return shards;
}

daypack_code daypack_start_governor(daypack_engine *engine) {
  daypack_governor *governor = engine->governor;
  governor->start_boot_ns = engine->platform->boot_ns();
  governor->start_wall_ns = owner_wall_ns(engine);
  governor->gear = DAYPACK_PAUSE;
  governor->fed_s = -INFINITY;
  if (!governor->policy.given) return DAYPACK_OK;
  const daypack_policy_header *header = governor->policy.header;
  daypack_open_account(engine);
  double began_ago_s = (double)(governor->start_wall_ns / SECOND_NS - governor->account.began_s);
  double midnight_s = (double)(governor->start_wall_ns % DAY_NS) / 1e9;
  governor->terms = (daypack_job_terms){header->steps, header->fastest_s,
                                        fmax(midnight_s + header->deadline_s - began_ago_s, 0.0), header->period_s};
  governor->asked.decision.gear = DAYPACK_PAUSE;
  daypack_find_clusters(engine, governor);
  if (!governor->policy.usable) return daypack_report_note(engine, governor->policy.why_not);
  return DAYPACK_OK;
}

/* What of the job is left, in steps. */
static double steps_left(const daypack_engine *engine) {
  const daypack_governor *governor = engine->governor;
  double done = (double)(engine->step - 1) + (double)governor->shard / (double)governor->shards;
  return fmax(governor->terms.steps - done, 0.0);
}

/* What was written since the last time goes into the account. */
static void count_written(daypack_engine *engine) {
  daypack_governor *governor = engine->governor;
  governor->account.written_bytes += engine->written_bytes - governor->charged_bytes;
  governor->charged_bytes = engine->written_bytes;
}

static void new_day(daypack_governor *governor, double at_s) {
  int64_t day = (int64_t)(governor->start_wall_ns / DAY_NS) + (int64_t)(at_s / DAYPACK_DAY_S);
  if (day <= governor->account.day) return;
  governor->account.day = day;
  governor->account.spent_j = 0.0;
}

static daypack_code observe(daypack_engine *engine) {
  daypack_governor *governor = engine->governor;
  double at_s = daypack_governor_now_s(engine);
  if (governor->observed && governor->now_ns - governor->observed_ns < SECOND_NS) return DAYPACK_OK;
  governor->observed = true;
  governor->observed_ns = governor->now_ns;
  new_day(governor, at_s);
  count_written(engine);
  daypack_sense(engine, at_s);
  daypack_moment moment = {at_s, time_of_day_s(engine, at_s), steps_left(engine), governor->account.spent_j,
                           (double)governor->account.written_bytes};
  double seen[DAYPACK_OBSERVABLES];
  daypack_observe(&governor->policy.table, &governor->terms, &moment, &governor->believed.values, seen);
  int anew = daypack_consult(&governor->policy.table, &governor->terms, at_s, seen, &governor->asked);
  const daypack_decision *decision = &governor->asked.decision;
  bool changed = !governor->begun || decision->gear != governor->gear || decision->rest_ms != governor->rest_ms ||
                 decision->reason != governor->reason;
  if (changed && decision->gear != DAYPACK_PAUSE && (!governor->begun || decision->gear != governor->gear))
    daypack_shift(engine, decision->gear);
  governor->gear = decision->gear;
  governor->rest_ms = decision->rest_ms;
  governor->reason = decision->reason;
  governor->begun = true;
  bool told = changed || (anew && engine->options.decisions);
  return told ? daypack_report_decision(engine, at_s) : DAYPACK_OK;
}

static void sleep_counted(daypack_engine *engine, uint64_t time_ns) {
  uint64_t begin_ns = engine->platform->now_ns();
  engine->platform->sleep_ns(time_ns);
  engine->governor->paused_ns += engine->platform->now_ns() - begin_ns;
}

static bool must_wait(const daypack_governor *governor) {
  return governor->held || (governor->policy.given && governor->gear == DAYPACK_PAUSE);
}

daypack_code daypack_between_shards(daypack_engine *engine) {
  daypack_governor *governor = engine->governor;
  for (;;) {
    if (engine->platform->stop_requested()) return daypack_fail_stopped(&engine->error, engine);
    daypack_code code = daypack_obey_commands(engine);
    if (code == DAYPACK_OK) code = daypack_watch_memory(engine);
    if (code == DAYPACK_OK && governor->policy.given) code = observe(engine);
    engine->interrupted = daypack_must_give_back(engine);
    if (code != DAYPACK_OK || engine->interrupted) return code;
    if (!must_wait(governor)) break;
    sleep_counted(engine, SECOND_NS);
  }
  governor->shard_begin_ns = engine->platform->now_ns();
  return DAYPACK_OK;
}

/* Wait to the end, unless a stop is requested or there is a command that needs an answer. */
static daypack_code wait_ns(daypack_engine *engine, uint64_t time_ns) {
  uint64_t end_ns = engine->platform->now_ns() + time_ns;
  daypack_code code = DAYPACK_OK;
  for (uint64_t at_ns = end_ns - time_ns; code == DAYPACK_OK && at_ns < end_ns; at_ns = engine->platform->now_ns()) {
    if (engine->platform->stop_requested()) return daypack_fail_stopped(&engine->error, engine);
    sleep_counted(engine, end_ns - at_ns);
    code = daypack_obey_commands(engine);
    if (daypack_must_give_back(engine)) break;
  }
  return code;
}

static void spend(daypack_governor *governor, double watts, double seconds) {
  const daypack_policy_header *header = governor->policy.header;
  if (!governor->believed.values.screen) watts += header->awake_w;
  governor->account.spent_j += daypack_drawn_j(watts, header->voltage_v, header->resistance_ohm, seconds);
}

double daypack_gear_watts(const daypack_governor *governor, int32_t gear) {
  if (gear == DAYPACK_PAUSE) return 0.0;
  const daypack_policy_gear *made = &governor->policy.gears[gear];
  return made->cores_w + made->uncore_w + made->memory_w + made->flash_w;
}

/* Where clocks cannot be capped, waiting makes up for it: on the average the gear's speed. */
static daypack_code pace(daypack_engine *engine, uint64_t ran_ns) {
  const daypack_governor *governor = engine->governor;
  double slower = governor->policy.gears[governor->gear].slower;
  if (governor->capped || slower <= 1.0) return DAYPACK_OK;
  return wait_ns(engine, (uint64_t)((double)ran_ns * (fmin(slower, 20.0) - 1.0)));
}

daypack_code daypack_shard_is_done(daypack_engine *engine) {
  daypack_governor *governor = engine->governor;
  governor->shard++;
  if (!governor->policy.given || governor->gear == DAYPACK_PAUSE) return DAYPACK_OK;
  uint64_t ran_ns = engine->platform->now_ns() - governor->shard_begin_ns;
  double watts = daypack_gear_watts(governor, governor->gear);
  spend(governor, watts, (double)ran_ns / 1e9);
  daypack_heat(governor, watts, (double)ran_ns / 1e9);
  return pace(engine, ran_ns);
}

void daypack_begin_governed_step(daypack_engine *engine, uint64_t shard) {
  daypack_governor *governor = engine->governor;
  governor->shard = shard;
  governor->paused_ns = governor->charged_bytes = 0;
  governor->shards = count_shards(&engine->plan);
}

daypack_code daypack_end_governed_step(daypack_engine *engine, bool last) {
  daypack_governor *governor = engine->governor;
  if (!governor->policy.given) return DAYPACK_OK;
  count_written(engine);
  daypack_save_account(engine);
  if (governor->rest_ms == 0 || last) return DAYPACK_OK;
  uint64_t begin_ns = engine->platform->now_ns();
  daypack_code code = wait_ns(engine, (uint64_t)governor->rest_ms * 1000000u);
  spend(governor, 0.0, (double)(engine->platform->now_ns() - begin_ns) / 1e9);
  return code;
}

daypack_governor *daypack_new_governor(void) {
  memset(&the_governor, 0, sizeof the_governor);
  return &the_governor;
}
