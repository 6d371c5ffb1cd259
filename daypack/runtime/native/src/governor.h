/* The policy of a bundle, and what decides and acts between two shards.
 *
 * The governor feeds scheduler.c with readings and the time, and does what it says: a gear, a rest, a pause. Which
 * gear runs never changes a result. Energy is modelled: what the device's profile gives for a gear, for the time
 * that it ran. */
#ifndef DAYPACK_GOVERNOR_H
#define DAYPACK_GOVERNOR_H

#include "daypack.h"
#include "daypack_policy.h"
#include "scheduler.h"

enum {
  DAYPACK_MAX_CLUSTERS = 8,
  DAYPACK_MAX_DIMENSIONS = 6,
  DAYPACK_NOTE_BYTES = 256,
};

/* policy.bin as loaded; every pointer is into `bytes`, which were checked, or into the fallback. */
typedef struct {
  bool given;  /* the bundle has a policy */
  bool usable; /* and it can be read */
  char why_not[DAYPACK_NOTE_BYTES];
  const daypack_policy_header *header;
  const daypack_policy_gear *gears;
  const daypack_policy_cluster *clusters;
  const double *shares; /* gear, cluster -> clock over the cluster's highest; 0: it does not compute */
  daypack_policy_table table;
  uint32_t observables[DAYPACK_MAX_DIMENSIONS];
  uint32_t bin_counts[DAYPACK_MAX_DIMENSIONS];
} daypack_policy;

/* Where a reading comes from. */
typedef enum { DAYPACK_ASSUMED, DAYPACK_MODELLED, DAYPACK_MEASURED, DAYPACK_FED } daypack_source;

/* What is told of the readings: each with its source. */
typedef struct {
  daypack_readings values;
  daypack_source battery, skin, ambient, memory, charging, screen;
  double battery_w; /* NAN: not known */
  double memory_pressure;
} daypack_believed;

/* What belief.c remembers. */
typedef struct {
  bool begun, has_charge, has_skin, leaps, falls;
  double at_s;
  double read, charge, charge_s, leap_s; /* of the battery: last read, last believed, when; when it leapt */
  double drawn_j;                        /* by the job since the reading last changed; modelled */
  double skin_read, skin, skin_s, skin_changed_s, fall_s, model_then;
  double z[3]; /* of the thermal network, in warm air */
  double heat_j;
} daypack_belief;

/* What outlives a run: the file `account` in the state directory. */
typedef struct {
  uint64_t began_s; /* when the job was first started, since 1970, the owner's clock */
  int64_t day;      /* since 1970, of what was spent */
  double spent_j;
  uint64_t written_bytes; /* to flash by the job */
} daypack_account;

typedef struct {
  daypack_policy policy;
  daypack_job_terms terms;
  daypack_consultation asked;
  daypack_believed believed;
  daypack_account account;
  daypack_belief belief;
  daypack_sensed fed; /* by a command */
  double fed_s;

  uint64_t start_boot_ns;
  uint64_t start_wall_ns; /* by the owner's clock */
  uint64_t now_ns;        /* since the midnight before the start; never steps back */
  uint64_t observed_ns;
  bool observed;

  daypack_memory_watch memory;
  uint64_t memory_ns; /* when it was looked at last */
  bool memory_seen;

  uint64_t shard, shards; /* done of this step, of each step */
  uint64_t shard_begin_ns;
  uint64_t paused_ns; /* of this step: pauses and rests */
  uint64_t charged_bytes; /* of this step, already in the account */

  int32_t gear; /* that is in force, or DAYPACK_PAUSE */
  uint32_t rest_ms;
  uint32_t reason;
  bool begun;  /* a gear is in force */
  bool held;   /* by a command */
  bool capped; /* clocks are, where the gear asks for it */
  uint64_t cluster_cpus[DAYPACK_MAX_CLUSTERS]; /* 0: not known */
  uint32_t cluster_capacity[DAYPACK_MAX_CLUSTERS]; /* of 1024 */
} daypack_governor;

#endif
