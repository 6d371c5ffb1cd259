/* One line -> one command. A flat JSON object of strings, numbers, true and false; nothing else is taken. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

enum { WORD_BYTES = 32 };

typedef struct {
  const char *name;
  daypack_command_kind kind;
} kind_name;

static const kind_name KINDS[] = {{"pause", DAYPACK_PAUSE_RUN}, {"resume", DAYPACK_RESUME}, {"stop", DAYPACK_STOP},
                                  {"status", DAYPACK_STATUS},   {"budget", DAYPACK_BUDGET},
                                  {"readings", DAYPACK_READINGS}};

typedef struct {
  const char *name;
  daypack_command_kind kind; /* that takes it; DAYPACK_REFUSED: all do */
  size_t offset;
  double low, high;
} field;

#define READING(name, low, high) \
  {#name, DAYPACK_READINGS, offsetof(daypack_command, readings) + offsetof(daypack_sensed, name), low, high}

static const field FIELDS[] = {
    {"id", DAYPACK_REFUSED, offsetof(daypack_command, id), 0.0, 9007199254740991.0},
    {"joules_per_day", DAYPACK_BUDGET, offsetof(daypack_command, joules_per_day), 0.0, 1e12},
    {"written_bytes", DAYPACK_BUDGET, offsetof(daypack_command, written_bytes), 0.0, 1e18},
    {"memory_bytes", DAYPACK_BUDGET, offsetof(daypack_command, memory_bytes), 1.0, 1e15},
    READING(battery, 0.0, 1.0),
    READING(skin_celsius, -40.0, 120.0),
    READING(ambient_celsius, -60.0, 70.0),
    READING(memory_mb, 0.0, 1e9),
    READING(charging, 0.0, 1.0),
    READING(screen, 0.0, 1.0),
};

enum { KIND_COUNT = sizeof KINDS / sizeof *KINDS, FIELD_COUNT = sizeof FIELDS / sizeof *FIELDS };

static void skip(const char **at) {
  while (**at == ' ' || **at == '\t' || **at == '\r') (*at)++;
}

static bool take(const char **at, char wanted) {
  skip(at);
  if (**at != wanted) return false;
  (*at)++;
  return true;
}

static bool take_word(const char **at, char word[WORD_BYTES]) {
  size_t length = 0;
  if (!take(at, '"')) return false;
  while (islower((unsigned char)**at) || **at == '_')
    if (length + 1 < WORD_BYTES)
      word[length++] = *(*at)++;
    else
      return false;
  word[length] = '\0';
  return *(*at)++ == '"';
}

static bool take_number(const char **at, double *value) {
  skip(at);
  if (strncmp(*at, "true", 4) == 0 || strncmp(*at, "false", 5) == 0) {
    *value = **at == 't';
    *at += **at == 't' ? 4 : 5;
    return true;
  }
  if (**at != '-' && !isdigit((unsigned char)**at)) return false;
  if (**at == '0' && ((*at)[1] == 'x' || (*at)[1] == 'X')) return false;
  char *end = NULL;
  *value = strtod(*at, &end);
  *at = end;
  return isfinite(*value);
}

static void refuse(daypack_command *command, const char *expected, const char *found) {
  command->kind = DAYPACK_REFUSED;
  (void)snprintf(command->note, sizeof command->note, "expected %s, found '%.48s'", expected, found);
}

static const field *field_named(const char *name) {
  for (size_t index = 0; index < FIELD_COUNT; index++)
    if (strcmp(FIELDS[index].name, name) == 0) return &FIELDS[index];
  return NULL;
}

static double *value_of(daypack_command *command, const field *known) {
  return (double *)(void *)((char *)command + known->offset);
}

/* One "key": value; false when the line is refused. */
static bool take_pair(const char **at, daypack_command *command) {
  char key[WORD_BYTES], word[WORD_BYTES];
  const char *begin = *at;
  if (!take_word(at, key) || !take(at, ':')) return refuse(command, "\"key\": value", begin), false;
  skip(at);
  if (strcmp(key, "command") == 0) {
    begin = *at;
    if (!take_word(at, word)) return refuse(command, "a command's name", begin), false;
    for (size_t index = 0; index < KIND_COUNT; index++)
      if (strcmp(KINDS[index].name, word) == 0) command->kind = KINDS[index].kind;
    if (command->kind == DAYPACK_REFUSED)
      refuse(command, "pause, resume, stop, status, budget or readings", word);
    return command->kind != DAYPACK_REFUSED;
  }
  const field *known = field_named(key);
  if (known == NULL) return refuse(command, "a key that commands have", key), false;
  begin = *at;
  double *value = value_of(command, known);
  if (!take_number(at, value) || *value < known->low || *value > known->high) {
    char expected[96];
    (void)snprintf(expected, sizeof expected, "%s: a number from %g to %g", key, known->low, known->high);
    return refuse(command, expected, begin), false;
  }
  return true;
}

static void check_fields(daypack_command *command) {
  bool any = false;
  for (size_t index = 0; index < FIELD_COUNT; index++) {
    const field *known = &FIELDS[index];
    bool given = !isnan(*value_of(command, known));
    if (given && known->kind != DAYPACK_REFUSED && known->kind != command->kind)
      return refuse(command, "keys of this command", known->name);
    any = any || (given && known->kind != DAYPACK_REFUSED);
  }
  if (!any && command->kind == DAYPACK_BUDGET)
    return refuse(command, "joules_per_day, written_bytes or memory_bytes", "none");
  if (!any && command->kind == DAYPACK_READINGS) return refuse(command, "a reading", "none");
}

void daypack_parse_command(const char *line, daypack_command *command) {
  const char *at = line;
  *command = (daypack_command){DAYPACK_REFUSED, NAN, NAN, NAN, NAN, {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN}, ""};
  if (!take(&at, '{')) return refuse(command, "a JSON object", line);
  if (!take(&at, '}')) {
    do {
      if (!take_pair(&at, command)) return;
    } while (take(&at, ','));
    if (!take(&at, '}')) return refuse(command, ", or }", at);
  }
  skip(&at);
  if (*at != '\0') return refuse(command, "the end of the line", at);
  if (command->kind == DAYPACK_REFUSED) return refuse(command, "\"command\"", line);
  check_fields(command);
}
