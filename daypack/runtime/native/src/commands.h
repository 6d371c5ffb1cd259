/* Commands: one JSON object a line on standard input. What is not known is refused, and the run goes on. */
#ifndef DAYPACK_COMMANDS_H
#define DAYPACK_COMMANDS_H

#include "daypack.h"

enum { DAYPACK_COMMAND_LINE_BYTES = 1024, DAYPACK_COMMAND_NOTE_BYTES = 160 };

typedef enum {
  DAYPACK_REFUSED,
  DAYPACK_PAUSE_RUN,
  DAYPACK_RESUME,
  DAYPACK_STOP,
  DAYPACK_STATUS,
  DAYPACK_BUDGET,
  DAYPACK_READINGS,
} daypack_command_kind;

/* Numbers that were not given are NAN. */
typedef struct {
  daypack_command_kind kind;
  double id;
  double joules_per_day, written_bytes, memory_bytes;
  daypack_sensed readings;
  char note[DAYPACK_COMMAND_NOTE_BYTES]; /* why it is refused */
} daypack_command;

/* A line without its end. Pure. */
void daypack_parse_command(const char *line, daypack_command *command);

#endif
