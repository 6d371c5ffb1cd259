/* A job on a device through a recorded day. Every array is the caller's; runtime/simulator.py fills them. */
#ifndef DAYPACK_SIMULATOR_H
#define DAYPACK_SIMULATOR_H

#include <stdint.h>

#include "scheduler.h"

enum { DAYPACK_NODES = 3, DAYPACK_CPU = 0, DAYPACK_SKIN = 1, DAYPACK_BATTERY = 2, DAYPACK_CAUSES = 6 };

/* Causes of energy, in the order of the totals. */
enum { CAUSE_CORES, CAUSE_UNCORE, CAUSE_MEMORY, CAUSE_FLASH, CAUSE_AWAKE, CAUSE_BATTERY_LOSS };

/* Temperatures T of the nodes are modes * z, and dz/dt = -decay * z + from_watts * p + from_air * T_air. */
typedef struct {
  double decay_per_s[DAYPACK_NODES];
  double modes[DAYPACK_NODES][DAYPACK_NODES];      /* node, mode */
  double from_watts[DAYPACK_NODES][DAYPACK_NODES]; /* mode, node */
  double from_air[DAYPACK_NODES];
  double capacity_j; /* infinite without a battery */
  double voltage_v;
  double resistance_ohm;
  double charge_efficiency;
  double awake_w;
  double owner_cpu_share; /* of the owner's watts, the rest warms the skin */
  double control_celsius; /* the device's own governor */
  double hysteresis_k;
  double period_s;
} daypack_device;

typedef struct {
  const double *t_s; /* ascending, the first is 0; a row holds until the next */
  const double *charge_w;
  const double *foreground_w;
  const double *ambient_c;
  const double *memory_mb;
  const uint8_t *charging;
  const uint8_t *screen;
  int64_t rows;
  double end_s;
} daypack_recording;

typedef struct {
  const double *seconds;  /* gear -> of a step */
  const double *watts;    /* gear, the first four causes -> while it runs */
  const int32_t *capped;  /* gear, the governor's level -> gear */
  int64_t levels;         /* the last one caps nothing */
  double steps;
  double written_bytes_per_step;
  double fastest_s;       /* a step in the fastest gear */
  double start_s;
  double deadline_s;
  double battery;         /* share at the start of the recording */
  double skin_celsius;    /* what is counted as too hot */
  double reserve;         /* what is counted as too empty */
  double period_s;        /* the policy is also asked after this long; 0: never */
  const double *shard_s;  /* gear, shard -> seconds; used shard by shard */
  int64_t shards;
} daypack_job;

typedef struct {
  double *t_s, *skin_c, *battery, *steps;
  int32_t *gear;
  double *decided_s;      /* every decision: when, in which cell, and what */
  uint64_t *decided_cell;
  int32_t *decided_gear;
  int64_t samples, sample_limit, decisions, decision_limit;
} daypack_trace;

typedef struct {
  double steps;
  double joules[DAYPACK_CAUSES];
  double finish_s;         /* of the recording; negative if it did not finish */
  double peak_skin_c;
  double over_limit_s;     /* too hot while training ran, or only because it had */
  double lowest_battery;   /* while training ran */
  double under_reserve_s;  /* training below the reserve */
  double running_s;
  double throttled_s;      /* in a lower gear than asked for, by the governor */
  double slowed_s;         /* with a rest of at least a second after every step */
  double off_s;            /* the battery was empty */
  double written_bytes;
  int64_t pauses;
  int64_t consultations;
  int64_t events;
  double paused_by_s[DAYPACK_REASONS];
} daypack_outcome;

/* Work flows; a policy is asked when the observation changes. */
void daypack_simulate(const daypack_device *device, const daypack_recording *recording, const daypack_job *job,
                      const daypack_policy_table *table, daypack_trace *trace, daypack_outcome *outcome);

/* As the engine runs: shard by shard, asked between two of them, at most once a second. */
void daypack_simulate_by_shard(const daypack_device *device, const daypack_recording *recording,
                               const daypack_job *job, const daypack_policy_table *table, daypack_trace *trace,
                               daypack_outcome *outcome);

#endif
