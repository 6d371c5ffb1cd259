/* A run through a recording: the device's heat and battery, and the job's progress and totals. */
#ifndef DAYPACK_RUN_H
#define DAYPACK_RUN_H

#include "simulator.h"

#define DAYPACK_LEAST_S 1.0
#define DAYPACK_MOST_S 60.0

/* Battery and heat, once as they are and once as they would be without the job. */
typedef struct {
  double stored_j;
  double z[DAYPACK_NODES];
  double settled[DAYPACK_NODES]; /* where z goes under the present load */
  double stored_w;               /* how fast the charge changes */
  double loss_w;
} daypack_system;

typedef struct {
  const daypack_device *device;
  const daypack_recording *recording;
  const daypack_job *job;
  const daypack_policy_table *table; /* NULL: somebody else decides */
  daypack_trace *trace;
  daypack_outcome *out;
  daypack_system real, idle;
  daypack_job_terms terms;
  daypack_consultation asked;
  double now_s, tick_s, steps_left, spent_j, duty;
  const double *watts; /* of the gear that runs, by cause */
  double resting_w;
  int64_t row, level, day;
  int32_t gear; /* what runs now */
  int ran;
} daypack_run;

void daypack_run_begin(daypack_run *r, const daypack_device *device, const daypack_recording *recording,
                       const daypack_job *job, const daypack_policy_table *table, daypack_trace *trace,
                       daypack_outcome *outcome);
double daypack_run_skin(const daypack_run *r, const daypack_system *at);
double daypack_run_battery(const daypack_run *r);
void daypack_run_readings(const daypack_run *r, daypack_readings *readings);
void daypack_run_observe(const daypack_run *r, double *seen);
/* Ask the policy, if there is anything new. */
void daypack_run_consult(daypack_run *r);
/* Count and trace a decision that was just made. */
void daypack_run_decided(daypack_run *r);
/* The recording's row, the day and the device's own governor as of now. */
void daypack_run_settle(daypack_run *r);
/* What the governor leaves of a gear; DAYPACK_PAUSE with an empty battery. */
int32_t daypack_run_capped(const daypack_run *r, int32_t gear);
/* Run in `gear` (or pause) from now on, computing for `duty` of the time; returns steps a second. */
double daypack_run_load(daypack_run *r, int32_t gear, uint32_t rest_ms);
/* No computing, but held awake. */
void daypack_run_rest(daypack_run *r);
/* The soonest that a value with this rate passes a distance. */
double daypack_run_nearer(double limit_s, double distance, double rate);
/* The most that the skin's temperature can change a second. */
double daypack_run_skin_rate(const daypack_run *r);
/* The longest for which the recording, the battery's ends and the work left keep everything constant. */
double daypack_run_constant_s(const daypack_run *r, double steps_per_s, double step_s);
/* Everything constant for so long; counts it where the job is active. */
void daypack_run_advance(daypack_run *r, double steps_per_s, double step_s, int active);
void daypack_run_sample(daypack_run *r);

#endif
