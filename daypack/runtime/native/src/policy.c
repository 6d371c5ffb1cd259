/* policy.bin: a policy's table, its limits, the job and the device's gears. What cannot be read does not end the run:
 * one thread then trains within the usual limits, and the run says why. Numbers of the table itself are checked when
 * they are looked up. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum { MAX_POLICY_BYTES = 4 << 20, SECTIONS = sizeof DAYPACK_POLICY_ELEMENT_BYTES / sizeof(uint64_t) };

/* Without a policy that can be read: one gear, what the device does at one core, and the limits of a spec that names
 * none (limits.py). */
static const daypack_policy_gear FALLBACK_GEAR = {1.0, 5.0, 0.0, 0.0, 0.0, 1.0};
static const daypack_policy_cluster FALLBACK_CLUSTER = {1e9, 1e9, 1, 0};
static const double FALLBACK_SHARE = 1.0;
static const daypack_limits FALLBACK_LIMITS = {0.202, 42.0, 0.5, INFINITY, INFINITY, 0.0, 0.0, 0.0, 0, 0};
static const int32_t FALLBACK_ACTION_GEAR = 0;
static const uint32_t FALLBACK_REST_MS = 0;
static const uint8_t FALLBACK_CELL = 0;
static double fallback_free_until[DAYPACK_HALF_HOURS + 1];
static daypack_policy_header fallback_header;

static void fall_back(daypack_policy *policy) {
  for (int half = 0; half <= DAYPACK_HALF_HOURS; half++) fallback_free_until[half] = half * 1800.0;
  fallback_header = (daypack_policy_header){.gear_count = 1, .cluster_count = 1, .cell_count = 1, .has_battery = 1};
  fallback_header.steps = 1.0;
  fallback_header.deadline_s = INFINITY;
  fallback_header.fastest_s = 1.0;
  fallback_header.capacity_j = 40e3; /* a small phone's */
  fallback_header.voltage_v = 3.85;
  fallback_header.resistance_ohm = 0.1;
  policy->header = &fallback_header;
  policy->gears = &FALLBACK_GEAR;
  policy->clusters = &FALLBACK_CLUSTER;
  policy->shares = &FALLBACK_SHARE;
  policy->table = (daypack_policy_table){
      .state_count = 1, .action_count = 1, .gear_count = 1, .observables = policy->observables,
      .bin_counts = policy->bin_counts, .edges = fallback_free_until, .actions = &FALLBACK_CELL,
      .next_state = &FALLBACK_CELL, .gears = &FALLBACK_ACTION_GEAR, .rests_ms = &FALLBACK_REST_MS,
      .free_until = fallback_free_until, .limits = FALLBACK_LIMITS};
}

static bool finite(const double *values, uint64_t count, double least) {
  for (uint64_t index = 0; index < count; index++)
    if (!(isfinite(values[index]) && values[index] >= least)) return false;
  return true;
}

static const char *check_header(const daypack_policy_header *header) {
  static const uint8_t magic[8] = DAYPACK_POLICY_MAGIC;
  if (memcmp(header->magic, magic, sizeof magic) != 0 || header->version != DAYPACK_POLICY_VERSION)
    return "it is another file or version";
  if (header->dimension_count > DAYPACK_MAX_DIMENSIONS || header->edge_count > MAX_POLICY_BYTES / 8)
    return "its dimensions are too many";
  if (header->state_count < 1 || header->state_count > 256 || header->action_count < 1 ||
      header->action_count > 256 || header->cell_count < 1 || header->cell_count > MAX_POLICY_BYTES / 2)
    return "its table is empty or too large";
  if (header->gear_count < 1 || header->gear_count > 4096 || header->cluster_count < 1 ||
      header->cluster_count > DAYPACK_MAX_CLUSTERS || header->safest_gear >= header->gear_count)
    return "its gears are none or too many";
  const double amounts[] = {header->steps, header->fastest_s, header->memory_mb, header->voltage_v,
                            header->resistance_ohm, header->awake_w, header->period_s, header->reserve,
                            header->reserve_margin, header->skin_margin_k, header->quiet_from, header->quiet_to};
  if (!finite(amounts, sizeof amounts / sizeof *amounts, 0.0) || !(header->steps >= 1.0) ||
      !(header->fastest_s > 0.0) || !(header->deadline_s > 0.0) || !(header->capacity_j > 0.0) ||
      isnan(header->skin_celsius) || isnan(header->joules_per_day) || isnan(header->written_bytes))
    return "a figure of its job, its limits or its device is no number";
  if (!finite(header->decay_per_s, 3, 1e-9) || !finite(header->modes, 9, -INFINITY) ||
      !finite(header->from_watts, 9, -INFINITY) || !finite(header->from_air, 3, -INFINITY))
    return "its thermal network is no network";
  return NULL;
}

static uint64_t count_of(const daypack_policy_header *header, int section) {
  switch (section) {
    case DAYPACK_POLICY_SECTION_EDGES: return header->edge_count;
    case DAYPACK_POLICY_SECTION_FREE_UNTIL: return DAYPACK_HALF_HOURS + 1;
    case DAYPACK_POLICY_SECTION_GEARS: return header->gear_count;
    case DAYPACK_POLICY_SECTION_SHARES: return (uint64_t)header->gear_count * header->cluster_count;
    case DAYPACK_POLICY_SECTION_CLUSTERS: return header->cluster_count;
    case DAYPACK_POLICY_SECTION_DIMENSIONS: return header->dimension_count;
    case DAYPACK_POLICY_SECTION_ACTION_GEARS:
    case DAYPACK_POLICY_SECTION_RESTS_MS: return header->action_count;
    default: return header->cell_count;
  }
}

static const char *check_dimensions(daypack_policy *policy, const daypack_policy_dimension *dimensions,
                                    const double *edges) {
  const daypack_policy_header *header = policy->header;
  uint64_t used = 0, cells = header->state_count;
  for (uint32_t index = 0; index < header->dimension_count; index++) {
    uint32_t bins = dimensions[index].bins;
    if (dimensions[index].observable >= DAYPACK_OBSERVABLES || bins < 1 || bins - 1 > header->edge_count - used)
      return "a dimension is none";
    for (uint32_t edge = 0; edge + 1 < bins; edge++)
      if (!isfinite(edges[used + edge]) || (edge > 0 && !(edges[used + edge] > edges[used + edge - 1])))
        return "its edges are out of order";
    used += bins - 1;
    cells = cells <= MAX_POLICY_BYTES ? cells * bins : cells;
    policy->observables[index] = dimensions[index].observable;
    policy->bin_counts[index] = bins;
  }
  return used == header->edge_count && cells == header->cell_count ? NULL : "its cells do not add up";
}

static const char *check_figures(const daypack_policy *policy, const double *free_until) {
  const daypack_policy_header *header = policy->header;
  for (int half = 0; half <= DAYPACK_HALF_HOURS; half++)
    if (!isfinite(free_until[half]) || free_until[half] < (half == 0 ? 0.0 : free_until[half - 1]))
      return "its habits are out of order";
  for (uint32_t gear = 0; gear < header->gear_count; gear++)
    if (!finite(&policy->gears[gear].seconds, sizeof *policy->gears / sizeof(double), 0.0) ||
        !(policy->gears[gear].seconds > 0.0))
      return "a gear's figure is no number";
  for (uint64_t share = 0; share < (uint64_t)header->gear_count * header->cluster_count; share++)
    if (!(policy->shares[share] >= 0.0 && policy->shares[share] <= 1.0)) return "a gear's clock is no share";
  for (uint32_t cluster = 0; cluster < header->cluster_count; cluster++)
    if (policy->clusters[cluster].cores < 1 || policy->clusters[cluster].cores > 1024 ||
        !finite(&policy->clusters[cluster].clock_hz, 2, 0.0))
      return "a cluster is none";
  return NULL;
}

static const char *parse(daypack_policy *policy, const uint8_t *bytes, uint64_t size_bytes) {
  const daypack_policy_header *header = policy->header = (const void *)bytes;
  const uint8_t *sections[SECTIONS];
  uint64_t at = sizeof *header;
  if (size_bytes < at) return "it is too short";
  const char *wrong = check_header(header);
  for (int section = 0; wrong == NULL && section < SECTIONS; section++) {
    sections[section] = bytes + at;
    at += count_of(header, section) * DAYPACK_POLICY_ELEMENT_BYTES[section];
  }
  if (wrong == NULL && at != size_bytes) wrong = "its length is another than its counts say";
  if (wrong != NULL) return wrong;
  const double *edges = (const void *)sections[DAYPACK_POLICY_SECTION_EDGES];
  const double *free_until = (const void *)sections[DAYPACK_POLICY_SECTION_FREE_UNTIL];
  policy->gears = (const void *)sections[DAYPACK_POLICY_SECTION_GEARS];
  policy->shares = (const void *)sections[DAYPACK_POLICY_SECTION_SHARES];
  policy->clusters = (const void *)sections[DAYPACK_POLICY_SECTION_CLUSTERS];
  wrong = check_dimensions(policy, (const void *)sections[DAYPACK_POLICY_SECTION_DIMENSIONS], edges);
  if (wrong == NULL) wrong = check_figures(policy, free_until);
  if (wrong != NULL) return wrong;
  policy->table = (daypack_policy_table){
      .dimension_count = header->dimension_count,
      .state_count = header->state_count,
      .action_count = header->action_count,
      .gear_count = header->gear_count,
      .safest_gear = (int32_t)header->safest_gear,
      .observables = policy->observables,
      .bin_counts = policy->bin_counts,
      .edges = edges,
      .actions = sections[DAYPACK_POLICY_SECTION_ACTIONS],
      .next_state = sections[DAYPACK_POLICY_SECTION_NEXT_STATES],
      .gears = (const void *)sections[DAYPACK_POLICY_SECTION_ACTION_GEARS],
      .rests_ms = (const void *)sections[DAYPACK_POLICY_SECTION_RESTS_MS],
      .free_until = free_until,
      .limits = {.reserve = header->reserve > 0.0 ? header->reserve + header->reserve_margin : 0.0,
                 .skin_celsius = header->skin_celsius,
                 .skin_margin_k = header->skin_margin_k,
                 .joules_per_day = header->joules_per_day,
                 .written_bytes = header->written_bytes,
                 .memory_mb = header->memory_mb,
                 .quiet_from_hour = header->has_quiet_hours ? header->quiet_from : 0.0,
                 .quiet_to_hour = header->has_quiet_hours ? header->quiet_to : 0.0,
                 .only_charging = header->only_charging,
                 .only_screen_off = header->only_screen_off}};
  return NULL;
}

daypack_code daypack_load_policy(daypack_engine *engine, daypack_policy *policy) {
  int file = -1;
  uint64_t size_bytes = 0;
  policy->given = engine->policy_listed;
  if (!policy->given) return DAYPACK_OK;
  daypack_code code =
      daypack_open(engine, DAYPACK_BAD_BUNDLE, engine->options.bundle, "policy.bin", &file, &size_bytes);
  if (code != DAYPACK_OK) return code;
  uint8_t *bytes = size_bytes <= MAX_POLICY_BYTES ? engine->platform->map((size_t)size_bytes + 1) : NULL;
  const char *wrong = size_bytes > MAX_POLICY_BYTES ? "it is too large" : NULL;
  if (bytes == NULL && wrong == NULL)
    code = daypack_fail(&engine->error, DAYPACK_MISSING, "memory: expected %llu bytes for the policy, found less",
                        (unsigned long long)size_bytes);
  if (bytes != NULL) code = daypack_read_exactly(engine, file, "policy.bin", bytes, size_bytes, 0);
  (void)engine->platform->close(file);
  if (code != DAYPACK_OK) return code;
  if (wrong == NULL) wrong = parse(policy, bytes, size_bytes);
  policy->usable = wrong == NULL;
  if (wrong != NULL) {
    (void)snprintf(policy->why_not, sizeof policy->why_not,
                   "policy.bin: expected a policy, found that %s; the safest gear runs within the usual limits", wrong);
    fall_back(policy);
  }
  return DAYPACK_OK;
}
