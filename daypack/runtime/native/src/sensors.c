/* What Linux says of battery, heat, memory and screen, through sysfs and proc (Documentation/ABI/testing/
 * sysfs-class-power, sysfs-class-thermal). Devices depart from it: units are other ones, signs differ, names too,
 * values are missing, denied or nonsense. Here each file is read as what it can only mean, or not at all; belief.c
 * then doubts what changes or stays in ways that it cannot. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { TEXT_BYTES = 64, PATH_BYTES = 512, NAMES = 128, NAME_BYTES = 64 };

#define POWER "/sys/class/power_supply"
#define THERMAL "/sys/class/thermal"
#define BACKLIGHT "/sys/class/backlight"
#define LIGHTS "/sys/class/leds/lcd-backlight"

/* Everything that is ever opened for reading here or in gears.c; a star stands for a name. */
const char *const daypack_sensor_paths[] = {
    POWER, POWER "/*/type", POWER "/*/scope", POWER "/*/capacity", POWER "/*/status", POWER "/*/online",
    POWER "/*/temp", POWER "/*/current_now", POWER "/*/voltage_now", POWER "/*/charge_now", POWER "/*/charge_full",
    THERMAL, THERMAL "/*/type", THERMAL "/*/temp", BACKLIGHT, BACKLIGHT "/*/brightness", BACKLIGHT "/*/bl_power",
    LIGHTS "/brightness", "/proc/meminfo", "/proc/pressure/memory", "/proc/self/status",
    "/sys/devices/system/cpu/*/cpu_capacity", "/sys/devices/system/cpu/*/cpufreq/cpuinfo_max_freq", NULL};

/* Names that a battery has where a folder may not be listed. */
static const char *const SUPPLIES[] = {"battery", "bms", "BAT0", "BAT1", "main-battery", "usb", "ac", "wireless"};

typedef struct {
  const daypack_platform *platform;
  const char *root;
} place;

typedef struct {
  char names[NAMES][NAME_BYTES];
  uint32_t count;
} names;

static bool read_bytes(const place *at, const char *path, char *text, size_t size_bytes) {
  char full[PATH_BYTES];
  if ((size_t)snprintf(full, sizeof full, "%s%s", at->root, path) >= sizeof full) return false;
  int file = at->platform->open_read(full);
  if (file < 0) return false;
  size_t length = 0;
  int64_t count = 1;
  while (length + 1 < size_bytes && count > 0) {
    count = at->platform->read_at(file, text + length, size_bytes - 1 - length, length);
    if (count > 0) length += (size_t)count;
  }
  (void)at->platform->close(file);
  while (length > 0 && isspace((unsigned char)text[length - 1])) length--;
  text[length] = '\0';
  return count >= 0 && length > 0; /* half a number is none */
}

static bool read_number(const place *at, const char *path, double *value) {
  char text[TEXT_BYTES];
  char *end = text;
  if (!read_bytes(at, path, text, sizeof text)) return false;
  *value = strtod(text, &end);
  return end != text && *end == '\0' && isfinite(*value);
}

bool daypack_sensor_number(const daypack_platform *platform, const char *root, const char *path, double *value) {
  place at = {platform, root};
  return read_number(&at, path, value);
}

static void attribute(char path[PATH_BYTES], const char *class, const char *name, const char *file) {
  if ((size_t)snprintf(path, PATH_BYTES, "%s/%s/%s", class, name, file) >= PATH_BYTES) path[0] = '\0';
}

static bool attribute_number(const place *at, const char *class, const char *name, const char *file, double *value) {
  char path[PATH_BYTES];
  attribute(path, class, name, file);
  return read_number(at, path, value);
}

static bool attribute_text(const place *at, const char *class, const char *name, const char *file,
                           char text[TEXT_BYTES]) {
  char path[PATH_BYTES];
  attribute(path, class, name, file);
  return read_bytes(at, path, text, TEXT_BYTES);
}

static void keep_name(void *context, const char *name) {
  names *found = context;
  if (found->count == NAMES || strlen(name) >= NAME_BYTES) return;
  strcpy(found->names[found->count++], name);
}

static void list(const place *at, const char *path, names *found) {
  char full[PATH_BYTES];
  found->count = 0;
  if ((size_t)snprintf(full, sizeof full, "%s%s", at->root, path) >= sizeof full) return;
  if (at->platform->list(full, keep_name, found) < 0) found->count = 0;
}

/* Tenths of a degree by the book; some say thousandths, some degrees. Of two meanings that could both be, the warmer. */
double daypack_degrees(double raw, double per_degree) {
  static const double PER_DEGREE[] = {1.0, 10.0, 1000.0};
  double found = NAN;
  if (raw == 0.0) return NAN; /* what an absent thermistor gives */
  for (int index = 0; index < 3; index++) {
    double value = raw / PER_DEGREE[index];
    bool usual = PER_DEGREE[index] == per_degree;
    if (value < -30.0 || value > 100.0 || (!usual && value < 10.0)) continue;
    if (!(value <= found)) found = value;
  }
  return found;
}

static bool contains(const char *text, const char *word) {
  size_t length = strlen(word);
  for (; *text != '\0'; text++) {
    size_t same = 0;
    while (same < length && tolower((unsigned char)text[same]) == word[same]) same++;
    if (same == length) return true;
  }
  return false;
}

static double charge_of(const place *at, const char *name) {
  double percent, now, full;
  if (attribute_number(at, POWER, name, "capacity", &percent) && percent >= 0.0 && percent <= 100.0)
    return percent / 100.0;
  if (attribute_number(at, POWER, name, "charge_now", &now) &&
      attribute_number(at, POWER, name, "charge_full", &full) && now >= 0.0 && full > 0.0 && now <= 1.1 * full)
    return fmin(now / full, 1.0);
  return NAN;
}

/* Watts that the battery gives: the sign is the status's, since devices differ in that of the current. */
static double battery_w(const place *at, const char *name, const char *status) {
  double current, voltage;
  if (!attribute_number(at, POWER, name, "current_now", &current) ||
      !attribute_number(at, POWER, name, "voltage_now", &voltage))
    return NAN;
  double sign = strcmp(status, "Discharging") == 0 ? 1.0 : strcmp(status, "Charging") == 0 ? -1.0 : NAN;
  double ampere = fabs(current) < 15000.0 ? fabs(current) / 1e3 : fabs(current) / 1e6; /* 15 mA is less than awake */
  double volt = voltage > 1e6 ? voltage / 1e6 : voltage > 1e3 ? voltage / 1e3 : voltage;
  if (ampere == 0.0 || ampere > 20.0 || volt < 2.5 || volt > 26.0) return NAN;
  return sign * ampere * volt;
}

static void read_battery(const place *at, const char *name, daypack_sensed *sensed) {
  char status[TEXT_BYTES] = "";
  double raw;
  double charge = charge_of(at, name);
  if (isnan(charge) && !isnan(sensed->battery)) return; /* a gauge beside the battery that says less */
  if (!isnan(charge)) sensed->battery = charge;
  if (attribute_number(at, POWER, name, "temp", &raw)) {
    double celsius = daypack_degrees(raw, 10.0);
    if (!isnan(celsius)) sensed->battery_celsius = celsius;
  }
  if (!attribute_text(at, POWER, name, "status", status)) return;
  double watts = battery_w(at, name, status);
  if (!isnan(watts)) sensed->battery_w = watts;
  if (strcmp(status, "Charging") == 0 || strcmp(status, "Full") == 0) sensed->charging = 1.0;
  if (strcmp(status, "Discharging") == 0) sensed->charging = 0.0;
}

static void read_power(const place *at, daypack_sensed *sensed) {
  static names found;
  double online, plugged = NAN;
  list(at, POWER, &found);
  if (found.count == 0)
    for (size_t index = 0; index < sizeof SUPPLIES / sizeof *SUPPLIES; index++) keep_name(&found, SUPPLIES[index]);
  for (uint32_t index = 0; index < found.count; index++) {
    const char *name = found.names[index];
    char type[TEXT_BYTES] = "", scope[TEXT_BYTES] = "";
    bool typed = attribute_text(at, POWER, name, "type", type);
    bool foreign = attribute_text(at, POWER, name, "scope", scope) && strcmp(scope, "Device") == 0;
    if (foreign) continue; /* a mouse or a pen */
    if (strcmp(type, "Battery") == 0 || strcmp(type, "BMS") == 0 || (!typed && (contains(name, "bat") || strcmp(name, "bms") == 0)))
      read_battery(at, name, sensed);
    else if (attribute_number(at, POWER, name, "online", &online))
      plugged = online > 0.0 || plugged > 0.0 ? 1.0 : 0.0;
  }
  if (isnan(sensed->charging)) sensed->charging = plugged;
}

/* The warmest of the sensors that are named for the skin, else those of the case. */
static void read_heat(const place *at, daypack_sensed *sensed) {
  static names found;
  double best = NAN, second = NAN;
  list(at, THERMAL, &found);
  if (found.count == 0)
    for (uint32_t index = 0; index < 64; index++) (void)snprintf(found.names[found.count++], NAME_BYTES, "thermal_zone%u", index);
  for (uint32_t index = 0; index < found.count; index++) {
    char type[TEXT_BYTES];
    double raw;
    if (strncmp(found.names[index], "thermal_zone", 12) != 0) continue;
    if (!attribute_text(at, THERMAL, found.names[index], "type", type)) continue;
    bool skin = contains(type, "skin"), around = contains(type, "quiet") || contains(type, "shell");
    bool battery = strcmp(type, "battery") == 0 && isnan(sensed->battery_celsius);
    if (!skin && !around && !battery) continue;
    if (!attribute_number(at, THERMAL, found.names[index], "temp", &raw)) continue;
    double celsius = daypack_degrees(raw, 1000.0);
    if (battery) sensed->battery_celsius = celsius;
    if (skin && !(celsius <= best)) best = celsius;
    if (around && !(celsius <= second)) second = celsius;
  }
  sensed->skin_celsius = isnan(best) ? second : best;
}

static double kilobytes(const char *text, const char *key) {
  const char *found = strstr(text, key);
  double value;
  return found != NULL && sscanf(found + strlen(key), "%lf", &value) == 1 && value >= 0.0 ? value : NAN;
}

static void read_memory(const place *at, daypack_sensed *sensed) {
  char text[2048];
  if (read_bytes(at, "/proc/meminfo", text, sizeof text))
    sensed->memory_mb = kilobytes(text, "MemAvailable:") * 1024.0 / 1e6;
  if (read_bytes(at, "/proc/self/status", text, sizeof text)) {
    double own = kilobytes(text, "VmRSS:");
    if (!isnan(own)) sensed->memory_mb += own * 1024.0 / 1e6;
  }
  double percent;
  if (read_bytes(at, "/proc/pressure/memory", text, sizeof text) && sscanf(text, "some avg10=%lf", &percent) == 1 &&
      percent >= 0.0 && percent <= 100.0)
    sensed->memory_pressure = percent / 100.0;
}

static void read_screen(const place *at, daypack_sensed *sensed) {
  static names found;
  double brightness, power;
  list(at, BACKLIGHT, &found);
  for (uint32_t index = 0; index < found.count; index++) {
    if (!attribute_number(at, BACKLIGHT, found.names[index], "brightness", &brightness) || brightness < 0.0) continue;
    bool off = attribute_number(at, BACKLIGHT, found.names[index], "bl_power", &power) && power != 0.0;
    sensed->screen = (brightness > 0.0 && !off) || sensed->screen > 0.0 ? 1.0 : 0.0;
  }
  if (isnan(sensed->screen) && read_number(at, LIGHTS "/brightness", &brightness) && brightness >= 0.0)
    sensed->screen = brightness > 0.0 ? 1.0 : 0.0;
}

void daypack_sense_memory(const daypack_platform *platform, const char *root, daypack_sensed *sensed) {
  place at = {platform, root};
  *sensed = (daypack_sensed){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
  read_memory(&at, sensed);
}

void daypack_sense_linux(const daypack_platform *platform, const char *root, daypack_sensed *sensed) {
  place at = {platform, root};
  *sensed = (daypack_sensed){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
  read_power(&at, sensed);
  read_heat(&at, sensed);
  read_memory(&at, sensed);
  read_screen(&at, sensed);
}
