/* Which files a run may open, and when the sandbox around it closes. */
#include <string.h>

#include "internal.h"

/* Read, never written: the process's own memory figures, pressure, and sensors. The folders of /sys/class hold links
 * into /sys/devices. */
static const char *const SYSTEM[] = {
    "/proc/self",           "/proc/meminfo",       "/proc/pressure",  "/sys/class/power_supply",
    "/sys/class/thermal",   "/sys/class/backlight", "/sys/class/leds", "/sys/devices",
};
enum { SYSTEM_COUNT = sizeof SYSTEM / sizeof *SYSTEM, OWN_COUNT = 5 };

static void parent_of(char path[DAYPACK_PATH_BYTES]) {
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  while (length > 0 && path[length - 1] != '/') length--;
  while (length > 1 && path[length - 1] == '/') length--;
  if (length == 0) path[length++] = '.';
  path[length] = '\0';
}

static bool is_there(const daypack_platform *platform, const char *path) {
  int directory = platform->open_directory(path);
  if (directory >= 0) (void)platform->close(directory);
  return directory >= 0;
}

static void confine(daypack_engine *engine, const char *write, bool make, const char *list) {
  const daypack_options *options = &engine->options;
  const char *read[OWN_COUNT + SYSTEM_COUNT] = {options->bundle, options->data, options->tokenize,
                                              options->evaluate ? engine->state_directory_path : NULL,
                                              options->sensors[0] != '\0' ? options->sensors : NULL};
  memcpy(read + OWN_COUNT, SYSTEM, sizeof SYSTEM);
  daypack_confinement allowed = {read, sizeof read / sizeof *read, write, make, list};
  if (engine->platform->confine != NULL) engine->sandbox = engine->platform->confine(&allowed);
}

daypack_code daypack_enter_sandbox(daypack_engine *engine) {
  const daypack_options *options = &engine->options;
  char *state = engine->state_directory_path;
  char parent[DAYPACK_PATH_BYTES];
  daypack_code code = options->state != NULL ? daypack_join(&engine->error, state, options->state, "", "")
                                             : daypack_join(&engine->error, state, options->bundle, "", ".state");
  if (code != DAYPACK_OK) return code;
  bool writes = !options->verify_only && options->tokenize == NULL && !options->evaluate;
  engine->state_missing = writes && !is_there(engine->platform, state);
  if (!writes) {
    confine(engine, NULL, false, NULL);
  } else if (!engine->state_missing) {
    code = daypack_join(&engine->error, parent, state, "/..", "");
    if (code == DAYPACK_OK) confine(engine, state, false, parent);
  } else {
    memcpy(parent, state, sizeof parent);
    parent_of(parent);
    confine(engine, parent, true, NULL);
  }
  return code;
}

daypack_code daypack_confine_to_state(daypack_engine *engine) {
  char parent[DAYPACK_PATH_BYTES];
  if (!engine->state_missing) return DAYPACK_OK;
  daypack_code code = daypack_join(&engine->error, parent, engine->state_directory_path, "/..", "");
  if (code == DAYPACK_OK) confine(engine, engine->state_directory_path, false, parent);
  engine->state_missing = false;
  return code;
}
