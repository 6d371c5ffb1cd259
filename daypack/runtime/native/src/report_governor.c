/* What is told of decisions and commands. Energy and watts are modelled, and say so; each reading has its source. */
#include <math.h>

#include "internal.h"

static const char *const REASONS[] = {"policy", "battery", "skin",   "charger", "quiet_hours",
                                      "joules", "written_bytes", "screen", "memory",  "garbage"};
static const char *const SOURCES[] = {"assumed", "modelled", "measured", "fed"};

static void number(const char *name, double value) {
  if (isfinite(value))
    daypack_line(",\"%s\":%.9g", name, value);
  else
    daypack_line(",\"%s\":null", name);
}

static void reading(const char *between, const char *name, double value, daypack_source source) {
  daypack_line("%s\"%s\":{\"value\":", between, name);
  if (isfinite(value))
    daypack_line("%.9g", value);
  else
    daypack_line("null");
  daypack_line(",\"source\":\"%s\"}", SOURCES[source]);
}

static void readings(const daypack_believed *believed) {
  const daypack_readings *values = &believed->values;
  daypack_line(",\"readings\":{");
  reading("", "battery", values->battery, believed->battery);
  reading(",", "skin_celsius", values->skin_celsius, believed->skin);
  reading(",", "ambient_celsius", values->ambient_celsius, believed->ambient);
  reading(",", "memory_mb", values->memory_mb, believed->memory);
  reading(",", "charging", values->charging, believed->charging);
  reading(",", "screen", values->screen, believed->screen);
  if (isfinite(believed->battery_w)) reading(",", "battery_w", believed->battery_w, DAYPACK_MEASURED);
  if (isfinite(believed->memory_pressure))
    reading(",", "memory_pressure", believed->memory_pressure, DAYPACK_MEASURED);
  daypack_line("}");
}

/* The gear in force and what it is expected to draw. */
static void gear(const daypack_engine *engine) {
  const daypack_governor *governor = engine->governor;
  bool runs = governor->gear != DAYPACK_PAUSE;
  const char *clocks = !runs || governor->policy.gears[governor->gear].slower <= 1.0 ? "free"
                       : governor->capped                                            ? "capped"
                                                                                     : "paced";
  daypack_line(",\"gear\":%d,\"threads\":%u,\"clocks\":\"%s\",\"rest_ms\":%u,\"reason\":\"%s\"", governor->gear,
               runs ? daypack_pool_threads(engine->pool) : 0, clocks, governor->rest_ms, REASONS[governor->reason]);
}

static void energy(const daypack_engine *engine) {
  const daypack_governor *governor = engine->governor;
  number("watts", daypack_gear_watts(governor, governor->gear));
  number("spent_j", governor->account.spent_j);
  daypack_line(",\"source\":\"modelled\"");
}

daypack_code daypack_report_decision(daypack_engine *engine, double at_s) {
  const daypack_governor *governor = engine->governor;
  daypack_line("{\"event\":\"decision\",\"t_s\":%.9f,\"step\":%llu,\"shard\":%llu,\"cell\":%llu", at_s,
               (unsigned long long)engine->step, (unsigned long long)governor->shard,
               (unsigned long long)governor->asked.decided_cell);
  gear(engine);
  readings(&governor->believed);
  energy(engine);
  daypack_line("}");
  return daypack_line_send(engine);
}

daypack_code daypack_report_note(daypack_engine *engine, const char *text) {
  daypack_line("{\"event\":\"note\",\"message\":");
  daypack_line_text(text);
  daypack_line("}");
  return daypack_line_send(engine);
}

static void id(const daypack_command *command) {
  if (!isnan(command->id)) daypack_line(",\"id\":%.17g", command->id);
}

daypack_code daypack_report_refused(daypack_engine *engine, const daypack_command *command, const char *why) {
  daypack_line("{\"event\":\"refused\"");
  id(command);
  daypack_line(",\"message\":");
  daypack_line_text(why);
  daypack_line("}");
  return daypack_line_send(engine);
}

daypack_code daypack_report_done(daypack_engine *engine, const daypack_command *command, const char *name) {
  daypack_line("{\"event\":\"command\",\"command\":\"%s\"", name);
  id(command);
  daypack_line("}");
  return daypack_line_send(engine);
}

daypack_code daypack_report_status(daypack_engine *engine, const daypack_command *command) {
  const daypack_governor *governor = engine->governor;
  daypack_line("{\"event\":\"status\"");
  id(command);
  daypack_line(",\"step\":%llu,\"saved_step\":%llu,\"shard\":%llu,\"shards\":%llu,\"held\":%s,\"threads_most\":%u",
               (unsigned long long)engine->step, (unsigned long long)engine->saved_step,
               (unsigned long long)governor->shard, (unsigned long long)governor->shards,
               governor->held ? "true" : "false", engine->threads);
  daypack_line(",\"peak_rss_bytes\":%llu", (unsigned long long)engine->platform->peak_rss_bytes());
  if (governor->policy.given) {
    gear(engine);
    readings(&governor->believed);
    daypack_line(",\"written_bytes\":%llu", (unsigned long long)governor->account.written_bytes);
    energy(engine);
  }
  daypack_line("}");
  return daypack_line_send(engine);
}
