/* The engine on a device that is simulated: VIRTUAL names a file with the device, the recording and the job
 * (tests/runtime/virtual.py). Clock, sensors and sleep are the simulator's; a shard takes the time that the simulator
 * says, when its kernel `spend` runs.
 *
 * LIE=NAME:SECONDS has the sensors or the clock lie from so long after the start: vanish, freeze, leap (readings that
 * jump to what is best and back), clock (steps back by five hours), suspend (for an hour, once). At the end, or at
 * that of the recording, the true extremes go to standard error. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daypack.h"
#include "by_shard.c"
#include "run.c"

static daypack_run the_world;
static daypack_outcome the_outcome;
static int32_t the_gear;
static int64_t the_shard;

void daypack_test_spend(void);

void daypack_test_spend(void) {
  daypack_shard_run(&the_world, the_gear, the_shard);
  the_shard = (the_shard + 1) % the_world.job->shards;
}

static const char *lie = "";
static double lie_s;
static uint64_t suspended_ns;
static const daypack_platform *real;

static bool lies(const char *name) {
  return strncmp(lie, name, strlen(name)) == 0 && the_world.now_s >= the_world.job->start_s + lie_s;
}

static uint64_t boot_ns(void) { return daypack_shard_now_ns(&the_world); }
static uint64_t now_ns(void) { return boot_ns() - suspended_ns; }
static uint64_t wall_ns(void) { return boot_ns() - (lies("clock") ? UINT64_C(18000000000000) : 0); }

/* Waits for a second are the policy's pauses; anything else is a rest, which holds the device awake. */
static void sleep_ns(uint64_t time_ns) {
  daypack_shard_wait(&the_world, (double)time_ns / 1e9, time_ns != UINT64_C(1000000000), 1);
  if (the_world.now_s >= the_world.recording->end_s - 1.0) real->request_stop();
}

static int place(const daypack_placement *where) {
  the_gear = where->gear;
  return 0;
}

static void suspend(void) {
  uint64_t begin_ns = boot_ns();
  if (suspended_ns != 0 || !lies("suspend")) return;
  daypack_shard_wait(&the_world, 3600.0, 0, 1);
  suspended_ns = boot_ns() - begin_ns;
}

static void tell(daypack_sensed *sensed) {
  static daypack_sensed frozen;
  static uint32_t calls;
  if (!lies("freeze")) frozen = *sensed;
  if (lies("freeze")) *sensed = frozen;
  if (lies("vanish")) *sensed = (daypack_sensed){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
  if (lies("leap") && ++calls % 2 == 0) sensed->battery = 1.0, sensed->skin_celsius = 5.0;
}

static void sense(daypack_sensed *sensed) {
  daypack_readings readings;
  suspend();
  daypack_run_settle(&the_world);
  daypack_run_readings(&the_world, &readings);
  *sensed = (daypack_sensed){.battery = readings.battery, .battery_celsius = NAN, .battery_w = NAN,
                             .skin_celsius = readings.skin_celsius, .ambient_celsius = readings.ambient_celsius,
                             .memory_mb = readings.memory_mb, .memory_pressure = NAN,
                             .charging = readings.charging, .screen = readings.screen};
  tell(sensed);
}

static void *take(FILE *file, size_t size_bytes, int64_t count) {
  void *data = malloc(size_bytes * (size_t)count);
  if (data == NULL || fread(data, size_bytes, (size_t)count, file) != (size_t)count) exit(98);
  return data;
}

static double *doubles(FILE *file, int64_t count) { return take(file, sizeof(double), count); }

static void load_device(const char *path) {
  static daypack_recording recording;
  static daypack_job job;
  FILE *file = fopen(path, "rb");
  if (file == NULL) exit(97);
  const daypack_device *device = take(file, sizeof *device, 1);
  const int64_t *counts = take(file, sizeof *counts, 4); /* rows, gears, levels, shards */
  recording = (daypack_recording){doubles(file, counts[0]), doubles(file, counts[0]), doubles(file, counts[0]),
                                  doubles(file, counts[0]), doubles(file, counts[0]), take(file, 1, counts[0]),
                                  take(file, 1, counts[0]), counts[0], *doubles(file, 1)};
  job = (daypack_job){.seconds = doubles(file, counts[1]), .watts = doubles(file, counts[1] * CAUSE_AWAKE),
                      .capped = take(file, sizeof(int32_t), counts[1] * counts[2]), .levels = counts[2],
                      .shard_s = doubles(file, counts[1] * counts[3]), .shards = counts[3]};
  const double *numbers = doubles(file, 4); /* steps, start, battery, skin */
  job.steps = numbers[0];
  job.start_s = numbers[1];
  job.battery = numbers[2];
  job.skin_celsius = numbers[3];
  (void)fclose(file);
  daypack_run_begin(&the_world, device, &recording, &job, NULL, NULL, &the_outcome);
  daypack_shard_wait(&the_world, job.start_s, 0, 0);
}

int main(int argument_count, char **arguments) {
  const char *path = getenv("VIRTUAL");
  if (path == NULL) return 99;
  load_device(path);
  real = daypack_platform_posix();
  daypack_platform platform = *real;
  if (getenv("LIE") != NULL) {
    lie = getenv("LIE");
    lie_s = strchr(lie, ':') == NULL ? 0.0 : strtod(strchr(lie, ':') + 1, NULL);
  }
  platform.now_ns = now_ns;
  platform.boot_ns = boot_ns;
  platform.wall_ns = wall_ns;
  platform.sleep_ns = sleep_ns;
  platform.place = place;
  platform.sense = sense;
  int status = daypack_engine_main(argument_count, arguments, &platform);
  (void)fprintf(stderr, "true %.6f %.3f %.3f %.3f\n", the_outcome.lowest_battery, the_outcome.peak_skin_c,
                the_outcome.over_limit_s, the_outcome.running_s);
  return status;
}
