/* A gear as threads, processors and clocks. Which processors make up a cluster of the profile is read from sysfs;
 * where that does not fit the profile, threads run wherever the system puts them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum { CPUS = 64 };

/* Processors by what sysfs says of each: its capacity of 1024, else its highest clock; 0 when it says neither. */
static uint32_t strength(daypack_engine *engine, int cpu) {
  char path[64];
  double value;
  (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpu_capacity", cpu);
  if (daypack_sensor_number(engine->platform, engine->options.sensors, path, &value)) return (uint32_t)value;
  (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq", cpu);
  return daypack_sensor_number(engine->platform, engine->options.sensors, path, &value) ? (uint32_t)(value / 1000.0) : 0;
}

/* The clusters of the profile, strongest first, are the groups of equally strong processors, strongest first, if they
 * have the same sizes. */
void daypack_find_clusters(daypack_engine *engine, daypack_governor *governor) {
  const daypack_policy_header *header = governor->policy.header;
  uint32_t strengths[CPUS];
  uint32_t most = 0;
  for (int cpu = 0; cpu < CPUS; cpu++) {
    strengths[cpu] = strength(engine, cpu);
    if (strengths[cpu] > most) most = strengths[cpu];
  }
  uint64_t cpus[DAYPACK_MAX_CLUSTERS];
  uint32_t capacity[DAYPACK_MAX_CLUSTERS];
  uint32_t below = UINT32_MAX;
  for (uint32_t cluster = 0; cluster < header->cluster_count; cluster++) {
    uint32_t next = 0, count = 0;
    for (int cpu = 0; cpu < CPUS; cpu++)
      if (strengths[cpu] < below && strengths[cpu] > next) next = strengths[cpu];
    cpus[cluster] = 0;
    for (int cpu = 0; next > 0 && cpu < CPUS; cpu++)
      if (strengths[cpu] == next) cpus[cluster] |= UINT64_C(1) << cpu, count++;
    if (count != governor->policy.clusters[cluster].cores) return;
    capacity[cluster] = (uint32_t)(1024.0 * next / most + 0.5);
    below = next;
  }
  for (int cpu = 0; cpu < CPUS; cpu++)
    if (strengths[cpu] != 0 && strengths[cpu] < below) return; /* a group that the profile does not have */
  memcpy(governor->cluster_cpus, cpus, sizeof cpus);
  memcpy(governor->cluster_capacity, capacity, sizeof capacity);
}

static uint32_t clamp_of(const daypack_governor *governor, uint32_t cluster, double share) {
  double capacity = governor->cluster_capacity[cluster];
  double strongest = governor->policy.clusters[0].flops_per_s;
  if (capacity == 0.0 && strongest > 0.0)
    capacity = fmin(1024.0 * governor->policy.clusters[cluster].flops_per_s / strongest, 1024.0);
  return share >= 1.0 ? 1024 : (uint32_t)(capacity * share + 0.5);
}

/* Threads of a gear in the order of the clusters, at most as many as the engine has. */
void daypack_shift(daypack_engine *engine, int32_t gear) {
  daypack_governor *governor = engine->governor;
  const daypack_policy_header *header = governor->policy.header;
  const double *shares = governor->policy.shares + (uint64_t)gear * header->cluster_count;
  daypack_placement places[DAYPACK_MAX_THREADS];
  uint32_t threads = 0;
  for (uint32_t cluster = 0; cluster < header->cluster_count; cluster++)
    for (uint32_t core = 0; shares[cluster] > 0.0 && core < governor->policy.clusters[cluster].cores; core++)
      if (threads < engine->threads)
        places[threads++] = (daypack_placement){gear, governor->cluster_cpus[cluster],
                                                clamp_of(governor, cluster, shares[cluster])};
  if (threads == 0) places[threads++] = (daypack_placement){gear, 0, 1024};
  governor->capped = daypack_place_pool(engine->pool, places, threads);
}

daypack_code daypack_pin(daypack_engine *engine) {
  const daypack_options *options = &engine->options;
  if (options->cpus == 0 && options->clamp == 0) return DAYPACK_OK;
  if (engine->governor->policy.given)
    return daypack_fail(&engine->error, DAYPACK_BAD_INPUT,
                        "--cpus, --clamp: expected a bundle without a policy, found policy.bin, which chooses them");
  daypack_placement places[DAYPACK_MAX_THREADS];
  for (uint32_t index = 0; index < engine->threads; index++)
    places[index] = (daypack_placement){0, options->cpus, options->clamp == 0 ? 1024 : options->clamp};
  bool capped = daypack_place_pool(engine->pool, places, engine->threads);
  if (capped || options->clamp == 0) return DAYPACK_OK;
  return daypack_report_note(engine, "clocks cannot be capped here: --clamp has no effect");
}
