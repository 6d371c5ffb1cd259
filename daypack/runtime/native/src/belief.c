/* What of the readings can be believed. A battery that does not fall while the job draws on it, a charge that leaps
 * up, a skin that stays at one number while it must have changed: then the profile's model speaks, and the output
 * says so. What is not known at all is taken as what forbids most: an empty battery, no charger, a lit screen, warm
 * air, no memory. */
#include <math.h>
#include <string.h>

#include "internal.h"

static const double AIR_CELSIUS = 30.0;      /* taken for air that nobody measures */
static const double OWNER_LIT_W = 1.5;       /* and for the owner's own use, half of it in the processor */
static const double OWNER_DARK_W = 0.3;
static const double FED_S = 120.0;           /* how long what an app has fed is true */
static const double HELD_S = 600.0;          /* how long a charge is carried on after its sensor is gone */
static const double STUCK_SHARE = 0.05;      /* of the battery drawn while the reading stands still */
static const double LEAP_SHARE = 0.05;       /* that no charger gives in a few seconds */
static const double CONFIRMED_S = 30.0;      /* of leaping and falling readings */
static const double FROZEN_S = 300.0, FROZEN_K = 3.0;
static const double FALL_K = 5.0;            /* that no skin falls at once */
static const double PRESSED = 0.4;           /* share of ten seconds in which tasks waited for memory */

enum { NODES = 3, CPU = 0, SKIN = 1, BATTERY = 2 };

static double model_skin(const daypack_belief *belief, const daypack_policy_header *header) {
  double sum = 0.0;
  for (int mode = 0; mode < NODES; mode++) sum += header->modes[SKIN * NODES + mode] * belief->z[mode];
  return sum;
}

static bool has_network(const daypack_policy_header *header) { return header->decay_per_s[0] > 0.0; }

/* The network's temperatures after `seconds` in which the job gave so many joules. */
static void model_heat(daypack_belief *belief, const daypack_policy_header *header, double seconds, bool lit) {
  double owner_w = lit ? OWNER_LIT_W : OWNER_DARK_W;
  double watts[NODES] = {0.5 * owner_w + (seconds > 0.0 ? belief->heat_j / seconds : 0.0), 0.5 * owner_w, 0.0};
  belief->heat_j = 0.0;
  for (int mode = 0; mode < NODES && has_network(header); mode++) {
    double flow = header->from_air[mode] * AIR_CELSIUS;
    for (int node = 0; node < NODES; node++) flow += header->from_watts[mode * NODES + node] * watts[node];
    double settled = flow / header->decay_per_s[mode];
    if (!belief->begun) {
      belief->z[mode] = header->from_air[mode] * AIR_CELSIUS / header->decay_per_s[mode];
      continue;
    }
    belief->z[mode] = settled + (belief->z[mode] - settled) * exp(-header->decay_per_s[mode] * seconds);
  }
}

static double pick(double fed, double read, double otherwise, daypack_source *source) {
  *source = !isnan(fed) ? DAYPACK_FED : !isnan(read) ? DAYPACK_MEASURED : DAYPACK_ASSUMED;
  return !isnan(fed) ? fed : !isnan(read) ? read : otherwise;
}

static double believe_battery(daypack_belief *belief, const daypack_policy_header *header, double read, bool charging,
                              double at_s, daypack_source *source) {
  double drawn = belief->drawn_j / header->capacity_j;
  if (!isnan(read)) {
    bool leaps = belief->has_charge && read > belief->charge + LEAP_SHARE && at_s - belief->charge_s < CONFIRMED_S;
    if (!leaps || !belief->leaps) belief->leap_s = at_s;
    belief->leaps = leaps;
    if (leaps && at_s - belief->leap_s < CONFIRMED_S) {
      *source = DAYPACK_MODELLED;
      belief->charge_s = at_s;
      return belief->charge;
    }
    if (!belief->has_charge || read != belief->read) belief->drawn_j = drawn = 0.0;
    belief->has_charge = true;
    belief->read = read;
    belief->charge_s = at_s;
    if (charging) belief->drawn_j = 0.0;
    bool stuck = !charging && drawn > STUCK_SHARE;
    *source = stuck ? DAYPACK_MODELLED : DAYPACK_MEASURED;
    return belief->charge = stuck ? fmax(read - drawn, 0.0) : read;
  }
  bool carried = belief->has_charge && at_s - belief->charge_s <= HELD_S;
  *source = carried ? DAYPACK_MODELLED : DAYPACK_ASSUMED;
  if (!carried) return 0.0;
  return fmax(belief->read - drawn - (at_s - belief->charge_s) / 3600.0 * 0.1, 0.0);
}

static double believe_skin(daypack_belief *belief, const daypack_policy_header *header, const daypack_sensed *sensed,
                           double at_s, daypack_source *source) {
  double model = has_network(header) ? model_skin(belief, header) : NAN;
  double read = sensed->skin_celsius;
  if (isnan(read)) {
    *source = isnan(model) && isnan(sensed->battery_celsius) ? DAYPACK_ASSUMED : DAYPACK_MODELLED;
    if (isnan(model) && isnan(sensed->battery_celsius)) return 100.0;
    return fmax(isnan(model) ? -100.0 : model, isnan(sensed->battery_celsius) ? -100.0 : sensed->battery_celsius);
  }
  *source = DAYPACK_MEASURED;
  bool falls = belief->has_skin && read < belief->skin - FALL_K && at_s - belief->skin_s < CONFIRMED_S;
  if (!falls || !belief->falls) belief->fall_s = at_s;
  belief->falls = falls;
  if (falls && at_s - belief->fall_s < CONFIRMED_S) {
    *source = DAYPACK_MODELLED;
    belief->skin_s = at_s;
    return belief->skin;
  }
  if (!belief->has_skin || read != belief->skin_read) {
    belief->skin_changed_s = at_s;
    belief->model_then = model;
  }
  belief->has_skin = true;
  belief->skin_read = read;
  belief->skin_s = at_s;
  bool frozen = at_s - belief->skin_changed_s > FROZEN_S && fabs(model - belief->model_then) > FROZEN_K;
  if (frozen) *source = DAYPACK_MODELLED;
  return belief->skin = frozen ? fmax(read, read + (model - belief->model_then)) : read;
}

void daypack_believe(daypack_governor *governor, const daypack_sensed *sensed, double at_s) {
  daypack_belief *belief = &governor->belief;
  daypack_believed *made = &governor->believed;
  const daypack_policy_header *header = governor->policy.header;
  daypack_sensed fed = governor->fed;
  if (!(at_s - governor->fed_s <= FED_S)) fed = (daypack_sensed){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
  made->values.charging = pick(fed.charging, sensed->charging, header->has_battery ? 0.0 : 1.0, &made->charging) > 0.5;
  made->values.screen = pick(fed.screen, sensed->screen, 1.0, &made->screen) > 0.5;
  made->values.ambient_celsius = pick(fed.ambient_celsius, sensed->ambient_celsius, AIR_CELSIUS, &made->ambient);
  made->values.memory_mb = pick(fed.memory_mb, sensed->memory_mb, 0.0, &made->memory);
  made->memory_pressure = sensed->memory_pressure;
  made->battery_w = sensed->battery_w;
  if (sensed->memory_pressure > PRESSED) made->values.memory_mb = 0.0;
  double elapsed_s = belief->begun ? fmax(at_s - belief->at_s, 0.0) : 0.0;
  model_heat(belief, header, elapsed_s, made->values.screen);
  belief->begun = true;
  belief->at_s = at_s;
  made->battery = DAYPACK_FED;
  made->values.battery = fed.battery;
  if (!header->has_battery) {
    made->battery = DAYPACK_ASSUMED;
    made->values.battery = 1.0;
  } else if (isnan(fed.battery)) {
    made->values.battery =
        believe_battery(belief, header, sensed->battery, made->values.charging, at_s, &made->battery);
  }
  made->skin = DAYPACK_FED;
  made->values.skin_celsius = fed.skin_celsius;
  if (isnan(fed.skin_celsius)) made->values.skin_celsius = believe_skin(belief, header, sensed, at_s, &made->skin);
}

void daypack_heat(daypack_governor *governor, double watts, double seconds) {
  governor->belief.heat_j += watts * seconds;
  governor->belief.drawn_j += watts * seconds;
}

void daypack_sense(daypack_engine *engine, double at_s) {
  daypack_sensed sensed;
  const daypack_platform *platform = engine->platform;
  if (platform->sense != NULL)
    platform->sense(&sensed);
  else
    daypack_sense_linux(platform, engine->options.sensors, &sensed);
  daypack_believe(engine->governor, &sensed, at_s);
}
