/* The system's wish for memory, by its own readings: a bundle with a plan for less goes on in that, and comes back.
 *
 * The kernel's pressure figure (some avg10 of /proc/pressure/memory) and MemAvailable are read once a second, between
 * shards and while a run is paused; scheduler.c says what they come to. What cannot be read forbids nothing here: the
 * limits of a policy are for that. */
#include <math.h>
#include <stdio.h>

#include "internal.h"

#define SECOND_NS UINT64_C(1000000000)

enum { TEXT_BYTES = 160 };

static daypack_code tell(daypack_engine *engine, const daypack_sensed *sensed, bool pressed) {
  char text[TEXT_BYTES], share[32] = "unknown", left[32] = "unknown";
  if (!isnan(sensed->memory_pressure)) (void)snprintf(share, sizeof share, "%.3g", sensed->memory_pressure);
  if (!isnan(sensed->memory_mb)) (void)snprintf(left, sizeof left, "%.0f MB", sensed->memory_mb);
  (void)snprintf(text, sizeof text, "memory: pressure %s, available %s: on in %s", share, left,
                 pressed ? "less memory" : "as much memory as before");
  return daypack_report_note(engine, text);
}

daypack_code daypack_watch_memory(daypack_engine *engine) {
  daypack_governor *governor = engine->governor;
  const daypack_platform *platform = engine->platform;
  uint64_t arena_bytes = 0;
  uint64_t running = daypack_plan_budget(engine->plan_index, &arena_bytes), whole = daypack_unpressed_budget(engine);
  if (engine->plan_count == 1 || (running <= daypack_least_budget(engine) && !governor->memory.pressed))
    return DAYPACK_OK;
  double now_s = daypack_governor_now_s(engine);
  if (governor->memory_seen && governor->now_ns - governor->memory_ns < SECOND_NS) return DAYPACK_OK;
  governor->memory_seen = true;
  governor->memory_ns = governor->now_ns;
  daypack_sensed sensed;
  if (platform->sense != NULL)
    platform->sense(&sensed);
  else
    daypack_sense_memory(platform, engine->options.sensors, &sensed);
  int pressed_before = governor->memory.pressed;
  double running_mb = running == UINT64_MAX ? 0.0 : (double)running / 1e6;
  double whole_mb = whole == UINT64_MAX ? 0.0 : (double)whole / 1e6;
  int wish = daypack_weigh_memory(&governor->memory, now_s, sensed.memory_pressure, sensed.memory_mb, running_mb,
                                  whole_mb);
  bool less = wish == 1 && running > daypack_least_budget(engine);
  if (less || wish == -1) daypack_press_memory(engine, less);
  return less || (wish == -1 && pressed_before) ? tell(engine, &sensed, less) : DAYPACK_OK;
}
