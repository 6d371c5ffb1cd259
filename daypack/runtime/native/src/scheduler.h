/* The scheduler's decision: a policy's table, looked up under the limits of its spec.
 *
 * Pure: no clock, no sensor, no allocation; who calls feeds readings and the time. The engine and the simulator are
 * linked with this same file, so what was simulated is what runs. Temperatures are °C, times are seconds, energy
 * is joules; shares are from 0 to 1. */
#ifndef DAYPACK_SCHEDULER_H
#define DAYPACK_SCHEDULER_H

#include <stdint.h>

/* What can be observed. policies/policy.py has the same order. */
enum {
  DAYPACK_OBSERVE_BATTERY,      /* charge left, share of capacity; 1 without a battery */
  DAYPACK_OBSERVE_SKIN,         /* skin temperature */
  DAYPACK_OBSERVE_CHARGING,     /* 0 or 1 */
  DAYPACK_OBSERVE_SCREEN,       /* 0 or 1 */
  DAYPACK_OBSERVE_DEMAND,       /* work left / what the fastest gear does in the free time that is expected */
  DAYPACK_OBSERVE_TIME_LEFT,    /* until the deadline; 0 behind it */
  DAYPACK_OBSERVE_FORECAST,     /* share of the time left that is expected to be free */
  DAYPACK_OBSERVE_WORK_LEFT,    /* share of the job */
  DAYPACK_OBSERVE_AMBIENT,      /* temperature of the air */
  DAYPACK_OBSERVE_HOUR,         /* of the day, 0 to 24 */
  DAYPACK_OBSERVE_SPENT_J,      /* by training since midnight */
  DAYPACK_OBSERVE_WRITTEN_BYTES, /* to flash by the job so far */
  DAYPACK_OBSERVE_MEMORY_MB,    /* what the system could give */
  DAYPACK_OBSERVABLES
};

enum { DAYPACK_HALF_HOURS = 48, DAYPACK_PAUSE = -1 };
#define DAYPACK_DAY_S 86400.0
/* How long, on average, what is free now stays so whatever habits say (assumed; see docs/adr/0027). */
#define DAYPACK_PERSIST_S 1800.0

/* Why nothing runs, or not what the policy says; 0 is the policy's own word. */
enum {
  DAYPACK_BY_POLICY,
  DAYPACK_BY_BATTERY,
  DAYPACK_BY_SKIN,
  DAYPACK_BY_CHARGER,
  DAYPACK_BY_QUIET_HOURS,
  DAYPACK_BY_JOULES,
  DAYPACK_BY_WRITTEN,
  DAYPACK_BY_SCREEN,
  DAYPACK_BY_MEMORY,
  DAYPACK_BY_GARBAGE, /* the table names what there is not: the safest gear runs */
  DAYPACK_REASONS
};

/* What the spec allows. A limit that is not set is 0, or infinity where more is worse. */
typedef struct {
  double reserve;           /* share of the battery that is never touched */
  double skin_celsius;
  double skin_margin_k;     /* pause this far below it */
  double joules_per_day;
  double written_bytes;
  double memory_mb;         /* what a step needs */
  double quiet_from_hour;   /* equal hours: none */
  double quiet_to_hour;
  uint32_t only_charging;
  uint32_t only_screen_off;
} daypack_limits;

/* Bins of a dimension are half-open: value v is in bin i where edges[i-1] <= v < edges[i]. A cell is
 * state-major, then dimensions in their order. policy_file.py writes and checks it. */
typedef struct {
  uint32_t dimension_count;
  uint32_t state_count;
  uint32_t action_count;
  uint32_t gear_count;
  int32_t safest_gear;       /* runs where the table holds garbage */
  const uint32_t *observables;
  const uint32_t *bin_counts;
  const double *edges;       /* of all dimensions, one after the other */
  const uint8_t *actions;    /* cell -> action */
  const uint8_t *next_state; /* cell -> state */
  const int32_t *gears;      /* action -> gear or DAYPACK_PAUSE */
  const uint32_t *rests_ms;  /* action -> rest after every step */
  const double *free_until;  /* expected free seconds from midnight to each half hour, 49 of them */
  daypack_limits limits;
} daypack_policy_table;

typedef struct {
  int32_t gear;
  uint32_t rest_ms;
  uint32_t state;
  uint32_t reason;
} daypack_decision;

/* What the device says of itself. */
typedef struct {
  double battery;  /* charge left, share of capacity; 1 without a battery */
  double skin_celsius;
  double ambient_celsius;
  double memory_mb;
  uint32_t charging;
  uint32_t screen;
} daypack_readings;

/* What the whole job is; times since a midnight, as `now_s` below. */
typedef struct {
  double steps;
  double fastest_s;  /* a step in the fastest gear */
  double deadline_s; /* infinite: none, so nothing is demanded */
  double period_s;   /* the policy is also asked after this long; 0: never */
} daypack_job_terms;

/* How far it is, and when. */
typedef struct {
  double now_s;
  double day_s; /* since the last midnight, by the owner's clock */
  double steps_left;
  double spent_j; /* since that midnight */
  double written_bytes;
} daypack_moment;

/* What was decided last. All zero: nothing yet. */
typedef struct {
  daypack_decision decision;
  double asked_s;
  uint64_t cell;         /* of the observation alone */
  uint64_t decided_cell; /* that was looked up, state included */
  uint32_t limit;
  uint32_t asked;
} daypack_consultation;

/* The observation: one number for each of DAYPACK_OBSERVE_... */
void daypack_observe(const daypack_policy_table *table, const daypack_job_terms *job, const daypack_moment *moment,
                     const daypack_readings *readings, double seen[DAYPACK_OBSERVABLES]);

/* Decide anew where the observation is another one, or a period is over; returns whether it did. */
int daypack_consult(const daypack_policy_table *table, const daypack_job_terms *job, double now_s,
                    const double *observation, daypack_consultation *last);

/* Whether less memory is to be had. `roomy_s`: since when there was enough. All zero at the start. */
typedef struct {
  int pressed;
  int roomy;
  double roomy_s;
} daypack_memory_watch;

/* What readings of memory come to: 1 to go on in less, -1 to take all again, 0 to stay. `pressure` is the share of the
 * last ten seconds in which some task waited for memory, `memory_mb` what the process could have, its own included;
 * NAN is no reading and changes nothing. `running_mb` and `whole_mb`: the plan that runs, and the one without pressure.
 * Memory comes back when there was enough for 30 s, by every reading that there is. */
int daypack_weigh_memory(daypack_memory_watch *watch, double now_s, double pressure, double memory_mb,
                         double running_mb, double whole_mb);

/* Joules that a load of `watts` adds to what a battery gives in `seconds`: its own, and those lost in the battery's
 * resistance. Modelled: what else the battery gives is not known. */
double daypack_drawn_j(double watts, double voltage_v, double resistance_ohm, double seconds);

/* The cell of an observation in a state. */
uint64_t daypack_cell(const daypack_policy_table *table, const double *observation, uint32_t state);

/* The limit that forbids to run now, or DAYPACK_BY_POLICY. */
uint32_t daypack_limit_in_force(const daypack_policy_table *table, const double *observation);

/* What to do; a limit in force pauses whatever the table says, and leaves the state as it is. */
daypack_decision daypack_decide(const daypack_policy_table *table, const double *observation, uint32_t state);

/* Seconds that are expected to be free until a later time, it being free now; both since a midnight. What habits
 * call busy is free with a probability that falls by half in DAYPACK_PERSIST_S. */
double daypack_free_seconds(const daypack_policy_table *table, double from_s, double to_s);

#endif
