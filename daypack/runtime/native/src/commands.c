/* A thread reads standard input; the run obeys between two instructions. A stop does not wait for that: it raises the
 * flag that is polled at every tile. */
#include "commands.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum { WAITING = 16 };

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t room;
  _Atomic(uint32_t) count;
  uint32_t first;
  daypack_command waiting[WAITING];
  const daypack_platform *platform;
  _Atomic(bool) stopped;
} inbox = {.mutex = PTHREAD_MUTEX_INITIALIZER, .room = PTHREAD_COND_INITIALIZER};

static void deliver(const char *line) {
  daypack_command command;
  daypack_parse_command(line, &command);
  if (command.kind == DAYPACK_STOP) {
    atomic_store(&inbox.stopped, true);
    inbox.platform->request_stop();
    return;
  }
  (void)pthread_mutex_lock(&inbox.mutex);
  while (atomic_load(&inbox.count) == WAITING) (void)pthread_cond_wait(&inbox.room, &inbox.mutex);
  inbox.waiting[(inbox.first + atomic_load(&inbox.count)) % WAITING] = command;
  (void)atomic_fetch_add(&inbox.count, 1);
  (void)pthread_mutex_unlock(&inbox.mutex);
  inbox.platform->wake();
}

/* Lines that are too long are refused whole; so are bytes that end no line. */
static void *read_lines(void *context) {
  static char line[DAYPACK_COMMAND_LINE_BYTES];
  static char chunk[DAYPACK_COMMAND_LINE_BYTES];
  size_t length = 0;
  bool whole = true;
  int64_t count;
  (void)context;
  while ((count = inbox.platform->read_input(chunk, sizeof chunk)) > 0)
    for (int64_t index = 0; index < count; index++) {
      if (chunk[index] == '\n') {
        line[length] = '\0';
        if (!whole)
          deliver("a line of 1,024 bytes or more");
        else if (length > 0)
          deliver(line);
        length = 0;
        whole = true;
      } else if (chunk[index] == '\0' || length + 1 == sizeof line) {
        whole = false;
      } else {
        line[length++] = chunk[index];
      }
    }
  return NULL;
}

daypack_code daypack_start_commands(daypack_engine *engine) {
  if (!engine->options.commands) return DAYPACK_OK;
  inbox.platform = engine->platform;
  if (engine->platform->start_thread(read_lines, NULL, DAYPACK_STACK_BYTES) < 0)
    return daypack_fail(&engine->error, DAYPACK_MISSING, "--commands: expected one more thread, the system gave none");
  return DAYPACK_OK;
}

bool daypack_stopped_by_command(void) { return atomic_load(&inbox.stopped); }

static bool next_command(daypack_command *command) {
  if (atomic_load_explicit(&inbox.count, memory_order_relaxed) == 0) return false;
  (void)pthread_mutex_lock(&inbox.mutex);
  *command = inbox.waiting[inbox.first];
  inbox.first = (inbox.first + 1) % WAITING;
  (void)atomic_fetch_sub(&inbox.count, 1);
  (void)pthread_cond_signal(&inbox.room);
  (void)pthread_mutex_unlock(&inbox.mutex);
  return true;
}

/* The run goes on in a plan that fits; at once, if the one that runs is too large. */
static daypack_code limit_memory(daypack_engine *engine, const daypack_command *command) {
  char why[DAYPACK_COMMAND_NOTE_BYTES];
  uint64_t least = daypack_least_budget(engine), wanted = (uint64_t)command->memory_bytes;
  if (least > 0 && wanted >= least && daypack_limit_memory(engine, wanted))
    return daypack_report_done(engine, command, "budget");
  if (least == 0)
    (void)snprintf(why, sizeof why, "memory_bytes: this bundle has one plan, without a budget");
  else
    (void)snprintf(why, sizeof why, "memory_bytes: expected at least %llu, the least budget of this bundle's plans",
                   (unsigned long long)least);
  return daypack_report_refused(engine, command, why);
}

/* Limits apply from the next look at the readings. */
static daypack_code set_budget(daypack_engine *engine, const daypack_command *command) {
  daypack_governor *governor = engine->governor;
  daypack_limits *limits = &governor->policy.table.limits;
  if (!isnan(command->memory_bytes)) return limit_memory(engine, command);
  if (!governor->policy.given)
    return daypack_report_refused(engine, command, "this bundle has no policy; compile it with [energy]");
  if (!isnan(command->joules_per_day)) limits->joules_per_day = command->joules_per_day;
  if (!isnan(command->written_bytes)) limits->written_bytes = command->written_bytes;
  governor->observed = false;
  return daypack_report_done(engine, command, "budget");
}

static daypack_code take_readings(daypack_engine *engine, const daypack_command *command) {
  daypack_governor *governor = engine->governor;
  if (!governor->policy.given)
    return daypack_report_refused(engine, command, "this bundle has no policy; compile it with [energy]");
  governor->fed = command->readings;
  governor->fed_s = daypack_governor_now_s(engine);
  governor->observed = false;
  return daypack_report_done(engine, command, "readings");
}

static daypack_code obey(daypack_engine *engine, const daypack_command *command) {
  switch (command->kind) {
    case DAYPACK_PAUSE_RUN:
      engine->governor->held = true;
      return daypack_report_done(engine, command, "pause");
    case DAYPACK_RESUME:
      engine->governor->held = false;
      return daypack_report_done(engine, command, "resume");
    case DAYPACK_STATUS:
      return daypack_report_status(engine, command);
    case DAYPACK_BUDGET:
      return set_budget(engine, command);
    case DAYPACK_READINGS:
      return take_readings(engine, command);
    default:
      return daypack_report_refused(engine, command, command->note);
  }
}

daypack_code daypack_obey_commands(daypack_engine *engine) {
  daypack_command command;
  daypack_code code = DAYPACK_OK;
  while (code == DAYPACK_OK && engine->options.commands && next_command(&command)) code = obey(engine, &command);
  return code;
}
